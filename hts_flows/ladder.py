"""The ladder of a campaign: its rows of engines, and who goes up from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from hts_flows.engines import Engine
from hts_flows.screen import Screen
from hts_flows.slurm.resources import Resources


class Promotion(BaseModel):
    """Which candidates go up to this engine: the best of the engine before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str = Field(description="Property that decides, e.g. intercalation_energy; low is good")
    lowest: int | None = Field(default=None, ge=1, description="How many go up")
    window: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="All within this distance of the lowest go up, in the property's unit (eV)",
    )

    @field_validator("lowest", "window", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("not a number")  # noqa: TRY004 - pydantic reports ValueError
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.lowest is None) == (self.window is None):
            raise ValueError("give either 'lowest' (how many) or 'window' (how far from the lowest), not both")
        return self


class LadderRow(BaseModel):
    """One row of ``calculate:``: an engine with its settings, and who goes up to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: SerializeAsAny[Engine] = Field(description="Name of the engine; its settings stand beside it")
    promote: Promotion | None = Field(default=None, description="Who goes up from the row above; not in the first row")
    screen: Screen | None = Field(
        default=None, description="Compute only candidates that a Gaussian process asks for, in a loop; see below"
    )
    optional: bool = Field(
        default=False, description="Skip this row, saying so, where its engine is not installed; else that is an error"
    )
    resources: Resources = Field(
        default=Resources(), description="What its SLURM jobs ask for, beyond the cluster's settings for this engine"
    )

    def content(self) -> dict[str, Any]:
        """Give the row as it could stand in a file, every setting spelled out."""
        row = self.engine.model_dump(mode="json")
        if self.promote:
            row["promote"] = self.promote.model_dump(mode="json", exclude_none=True)
        if self.screen:
            row["screen"] = self.screen.stored()
        if resources := self.resources.stored():
            row["resources"] = resources
        return row | {"optional": self.optional}


@dataclass(frozen=True)
class Level:
    """A row of the ladder ready to run: "auto" settings resolved, hashes known."""

    number: int
    engine: Engine
    settings_hash: str
    previous_hash: str | None
    promote: Promotion | None
    screen: Screen | None
    optional: bool

    resources: dict[str, Any]
    """What the campaign asks for its SLURM jobs, as stored; the cluster's settings fill in the rest."""

    name: str
    """Name for people: the engine's, with a number where the ladder has it more than once."""

    @property
    def step(self) -> str:
        """Name of the campaign's step that submits it."""
        return f"calculate-{self.number}"
