"""What engines share that take their forces from another engine, under the key ``forces``."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, SerializeAsAny, field_serializer, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hts_flows.candidates import stable_hash
from hts_flows.engines.base import Engine
from hts_flows.errors import InputError, nearest
from hts_flows.nested_models import problem_at, read_nested

ANOTHER = "it is the engine whose forces these are: name another one"


class ForcesEngine(Engine):
    """An engine that computes with energies and forces of another one, and has that one's settings inside its own."""

    #: Settings of the engine of the forces that stand beside ``forces``, not under it.
    beside: ClassVar[frozenset[str]] = frozenset({"task", "fmax", "steps"})
    #: Those that follow from what is computed: nobody writes them.
    decided: ClassVar[frozenset[str]] = frozenset()

    forces: SerializeAsAny[Engine] = Field(description="Engine of the forces, with its settings")

    @classmethod
    def can_use(cls, kind: type[Engine]) -> bool:
        """Tell whether an engine can give the forces."""
        return not issubclass(kind, ForcesEngine)

    @classmethod
    def unusable(cls, kind: type[Engine]) -> str:
        """Say why an engine cannot give the forces, and what to do."""
        return ANOTHER if issubclass(kind, cls) else "it takes its forces from another engine itself: name that one"

    @classmethod
    def usable(cls) -> list[str]:
        """Names of the engines that can give the forces."""
        from hts_flows.engines import engine_class, engine_names

        return [name for name in engine_names() if cls.can_use(engine_class(name))]

    @classmethod
    def read_forces(cls, value: Any) -> Engine:
        """Read the settings under ``forces``; whatever is wrong is told with the key it is wrong in.

        Parameters
        ----------
        value
            What was written.

        Raises
        ------
        pydantic.ValidationError
            Its places begin below ``forces``.
        """
        from hts_flows.engines import engine_class

        if not isinstance(value, dict) or "engine" not in value:
            raise PydanticCustomError(
                "forces", "expected keys, 'engine' among them: {allowed}", {"allowed": nearest("", cls.usable())}
            )
        name = str(value["engine"])
        try:
            kind = engine_class(name)
        except InputError as error:
            raise problem_at(("engine",), f"unknown engine {name!r}; {nearest(name, cls.usable())}", name) from error
        if not cls.can_use(kind):
            raise problem_at(("engine",), cls.unusable(kind), name)
        for key in sorted(cls.beside & set(value)):
            raise problem_at((key,), f"write '{key}' beside 'forces', not under it", value[key])
        for key in sorted(cls.decided & set(value)):
            own = cls.model_fields["engine"].default
            raise problem_at((key,), f"leave '{key}' out: {own} decides it", value[key])
        return read_nested(kind, value, without=cls.beside | cls.decided)

    @field_validator("forces", mode="before")
    @classmethod
    def _engine_of_forces(cls, value: Any) -> Engine:
        return value if isinstance(value, Engine) else cls.read_forces(value)

    @model_validator(mode="after")
    def _hand_down(self) -> Self:
        """Give the engine of the forces what stands beside it; it says itself what it cannot take."""
        kind = type(self.forces)
        if not self.can_use(kind):
            raise PydanticCustomError("forces", "{message}", {"message": f"forces: {self.unusable(kind)}"})
        names = self.beside & set(kind.model_fields)
        own = {name: getattr(self, name) for name in names}
        if {name: getattr(self.forces, name) for name in names} != own:
            object.__setattr__(self, "forces", kind.model_validate(self.forces.model_dump() | own))
        return self

    @field_serializer("forces")
    def _without_own(self, forces: Engine) -> dict[str, Any]:
        return forces.model_dump(mode="json", exclude=set(self.beside | self.decided))

    @property
    def is_selective(self) -> bool:
        """Whether there are compositions that the engine of the forces refuses."""
        return self.forces.is_selective

    def refuses(self, formula: str) -> str | None:
        """Say why the engine of the forces cannot compute a composition."""
        return self.forces.refuses(formula)

    @property
    def runs_as(self) -> str:
        """Name of the engine of the forces: its jobs ask a cluster for the same."""
        return self.forces.runs_as

    def resolved(self, *, layered: bool) -> Self:
        """Settle what is "auto" in the engine of the forces; the other "auto" are rules, the same for every crystal."""
        return self.model_copy(update={"forces": self.forces.resolved(layered=layered)})

    def fixed_cell(self) -> Self:
        """The same settings with the cell held while the atoms relax."""
        return self.model_copy(update={"forces": self.forces.fixed_cell()})

    def settings_hash(self, previous: str | None = None) -> str:
        """Hash the settings; of the engine of the forces, those that count in its own hash.

        Parameters
        ----------
        previous
            Hash of the step below on the ladder.

        Raises
        ------
        ValueError
            A setting of the engine of the forces is still "auto".
        """
        own = self.model_copy(update={"forces": None}).model_dump(mode="json", exclude={"forces", *self.not_hashed})
        settings = {name: f"{value:.12g}" if isinstance(value, float) else value for name, value in own.items()}
        return stable_hash({"settings": settings | {"forces": self.forces.settings_hash()}, "previous": previous})
