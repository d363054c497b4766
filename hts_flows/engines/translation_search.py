"""Search for the rigid-body translation of a grain boundary with the lowest energy, with the forces of a potential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hts_flows.engines._ase import AseEngine
from hts_flows.engines._forces import ForcesEngine
from hts_flows.engines._packages import package_versions
from hts_flows.engines.base import Calculation, Engine
from hts_flows.engines.tight_binding import TightBinding

if TYPE_CHECKING:
    from hts_flows.engines._translation_search_maker import TranslationSearchMaker

Opening = Annotated[float, Field(ge=-2, le=10)]


class TranslationSearch(ForcesEngine):
    """Lowest energy of a grain boundary over the translations of its grains.

    Takes whole boundaries of the domain ``grain_boundaries``; any other structure is relaxed as the crystal that
    further rows refer to. The crystal is relaxed with the engine under ``forces`` (``task: static``: taken as it is,
    and no bicrystal is relaxed either), the bicrystal is built of it, and its translations are relaxed one after the
    other under the ``protocol``, in one process. Which ones says the ``method``: a Gaussian process (S. Kiyohara et
    al., Jpn. J. Appl. Phys. 55, 045502 (2016)) or all of them.
    """

    install_hint: ClassVar[str] = TightBinding.install_hint
    adjustable: ClassVar[frozenset[str]] = frozenset({"steps", "optimizer"})
    packed: ClassVar[bool] = True
    never_gives: ClassVar[frozenset[str]] = frozenset(
        {"thermal_conductivity", "magnetic_moments", "band_gap", "band_structure"}
    )
    domains: ClassVar[frozenset[str] | None] = frozenset({"grain_boundaries"})
    beside: ClassVar[frozenset[str]] = frozenset({"task", "fmax", "steps", "optimizer"})
    decided: ClassVar[frozenset[str]] = frozenset({"relax_cell", "store_trajectory"})

    engine: Literal["translation_search"] = Field(default="translation_search", description="Name of the engine")
    forces: SerializeAsAny[Engine] = Field(
        default_factory=lambda: TranslationSearch.read_forces({"engine": "tight_binding"}),
        description="Potential that relaxes, with its settings: {engine: tight_binding}; its 'task', 'fmax', 'steps' "
        "and 'optimizer' stand beside 'forces'",
    )
    protocol: Literal["fixed translation", "free normal expansion", "free sliding"] = Field(
        default="fixed translation",
        description="What the grains may do while their atoms relax; the distance along the normal always relaxes. "
        "fixed translation = the translation in the plane is held; free normal expansion = it is held by rigid blocks "
        "alone; free sliding = it relaxes too",
    )
    method: Literal["kriging", "enumeration"] = Field(
        default="kriging", description="Relax what a Gaussian process asks for, or all translations that differ"
    )
    step: float = Field(
        default=0.2, ge=0.01, le=5, description="Distance of starting translations in the plane, at most, Å"
    )
    openings: tuple[Opening, ...] = Field(
        default=(0.4, 0.8),
        min_length=1,
        max_length=100,
        description="Starting distances of the grains along the normal, beyond that of the crystal's planes, Å",
    )
    unrelaxed: bool | Literal["auto"] = Field(
        default="auto",
        description="Choose the first translations by unrelaxed energies of all; auto = with tight_binding",
    )
    learned: Literal["verify", "starts"] | None = Field(
        default=None,
        description="With energies of other boundaries: verify = relax the translation that they predict to be lowest; "
        "starts = begin the search at those that they predict to be low. Without such energies the method is used",
    )
    tol: float = Field(default=2e-3, ge=0, le=1, description="Smaller gains do not count as gains, J/m²")
    patience: int = Field(default=12, ge=1, le=100_000, description="Trials without gain that end a search")
    max_trials: int = Field(
        default=200,
        ge=1,
        le=100_000,
        description="Most trials of a search by kriging; each choice of removal is one search",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the first translations")
    fmax: float = Field(default=5e-3, gt=0, le=1, description="A relaxation stops when every force is below this, eV/Å")
    steps: int = Field(
        default=1000, ge=2, le=100_000, description="Most steps of a relaxation; reached = the trial failed"
    )
    optimizer: Literal["LBFGS", "FIRE"] = Field(default="LBFGS", description="L-BFGS with line search, or ASE's FIRE")

    @classmethod
    def can_use(cls, kind: type[Engine]) -> bool:
        """Tell whether an engine can give the forces: it relaxes in this process, in little time."""
        return super().can_use(kind) and issubclass(kind, AseEngine) and kind.packed

    @classmethod
    def unusable(cls, kind: type[Engine]) -> str:
        """Say why an engine cannot give the forces, and what to do."""
        if not super().can_use(kind):
            return super().unusable(kind)
        return (
            f"a search relaxes in its own process, with one of {', '.join(cls.usable())}; for other engines give the "
            "candidates 'translations:', and make the engine a row of its own"
        )

    @field_validator("openings")
    @classmethod
    def _differ(cls, openings: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(openings)) < len(openings):
            raise ValueError("an opening is named twice")
        return tuple(sorted(openings))

    @model_validator(mode="after")
    def _own_optimizer(self) -> Self:
        if self.fast and self.optimizer != "LBFGS":
            raise PydanticCustomError(
                "optimizer", "optimizer: tight_binding relaxes by L-BFGS alone: leave 'optimizer' out"
            )
        return self

    @property
    def learns(self) -> bool:
        """Whether it relaxes what other boundaries predict."""
        return self.learned is not None

    def refuses_cell(self, boundaries: int, rigid: float | None) -> str | None:
        """Say why it cannot compute bicrystals of a cell, in a sentence; None where it can.

        Parameters
        ----------
        boundaries
            Number of boundaries in the cell.
        rigid
            Thickness of the rigid blocks, Å; None for the default, which is none with two boundaries.
        """
        if boundaries == 1 and not self.fast:
            return (
                f"cells with one boundary have surfaces, and {self.forces.engine} gives no energies of single atoms, "
                "which would leave them out: give cell: {boundaries: 2}, or forces: {engine: tight_binding}"
            )
        if self.protocol == "free normal expansion" and not (rigid or (boundaries == 1 and rigid is None)):
            return (
                "protocol 'free normal expansion' holds the grains by rigid blocks, and the cell has none: give cell: "
                "{rigid: 5}, or another protocol"
            )
        return None

    def computing(self) -> Engine:
        """Give the engine that computes a structure that is no boundary."""
        return self.forces.model_copy(update={"task": self.task, "relax_cell": True})

    @property
    def fast(self) -> bool:
        """Whether the forces are those of the second-moment potential."""
        return isinstance(self.forces, TightBinding)

    @property
    def begins_unrelaxed(self) -> bool:
        """Whether unrelaxed energies choose the first translations."""
        return self.task == "relax" and (self.fast if self.unrelaxed == "auto" else self.unrelaxed)

    def resolved(self, *, layered: bool) -> Self:
        """Settle what is "auto", also in the engine of the forces."""
        unrelaxed = self.fast if self.unrelaxed == "auto" else self.unrelaxed
        return super().resolved(layered=layered).model_copy(update={"unrelaxed": unrelaxed})

    def fixed_cell(self) -> Self:
        """The same settings: the cell of a bicrystal follows the grains, it does not relax by itself."""
        return self

    def settings_hash(self, previous: str | None = None) -> str:
        """Hash the settings; of the engine of the forces, those that count in its own hash.

        Parameters
        ----------
        previous
            Hash of the step below on the ladder.

        Raises
        ------
        ValueError
            A setting is still "auto".
        """
        if self.unrelaxed == "auto":
            raise ValueError("setting 'unrelaxed' of engine 'translation_search' is 'auto': call resolved() first")
        return super().settings_hash(previous)

    def check(self) -> None:
        """Find out whether the engine of the forces is installed."""
        self.forces.check()

    def versions(self) -> dict[str, str]:
        """Versions of ASE, NumPy and SciPy, and those of the engine of the forces."""
        return package_versions("ase", "numpy", "scipy", "pymatgen") | self.forces.versions()

    def maker(self) -> TranslationSearchMaker:
        """Give the Maker of the one job."""
        from hts_flows.engines._translation_search_maker import TranslationSearchMaker

        return TranslationSearchMaker(name=f"Translation search {self.task}", settings=self.model_dump(mode="json"))

    def parse(self, task_doc: Any) -> Calculation:
        """Read the Maker's document."""
        from hts_flows.engines._ase import lookup

        return Calculation.model_validate(lookup(task_doc, "calculation"))

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate from what was measured: 30 relaxations a search, some hundred where all are relaxed."""
        trials = 1 if self.learned == "verify" else 30 if self.method == "kriging" else 300
        if self.fast:
            calls = 1 if self.task == "static" else 50
            return 1 + trials * (0.02 + 2e-6 * calls * n_atoms)
        return 1 + trials * self.forces.estimate_seconds(n_atoms)
