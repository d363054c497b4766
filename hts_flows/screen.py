"""The ``screen:`` section of a row: candidates are computed where a Gaussian process expects the best, in a loop."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hts_flows.inventories import Symbol, check_symbol

#: More candidates than any pool has.
MOST = 10**9


def _two_numbers(value: Any) -> Any:
    numbers = isinstance(value, list | tuple) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in value
    )
    if numbers and len(value) == 2:  # noqa: PLR2004
        return tuple(value)
    raise ValueError("give two numbers, e.g. [0.1, 1.0]")


def _elements(value: Any) -> Any:
    if value is None or value == "trained":
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("write trained, or a list of elements, e.g. [Pb, Se]")
    for one in value:
        try:
            check_symbol(one)
        except ValueError as error:
            raise ValueError(f"{one!r}: {error}") from None
    return value


Window = Annotated[tuple[float, float], BeforeValidator(_two_numbers)]


class Filters(BaseModel):
    """Which candidates may be computed at all; the others are neither ranked nor computed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    charge_balanced: bool = Field(
        default=False, strict=True, description="Only compositions for which common oxidation states add up to zero"
    )
    only_elements: Annotated[list[Symbol] | Literal["trained"] | None, BeforeValidator(_elements)] = Field(
        default=None, description="Only compounds of these elements; trained: of those that train_on's compounds have"
    )
    exclude_elements: list[Symbol] = Field(default=[], description="No compounds with any of these elements")
    band_gap: Window | None = Field(
        default=None, description="Lowest and highest band gap, eV, where the pool or the row below gives one"
    )
    where: list[str] = Field(
        default=[],
        description="Conditions NAME OPERATOR VALUE on what tells candidates apart, e.g. 'n_atoms <= 6'",
    )

    @field_validator("band_gap")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError("the first number must be the lower one")
        return value


class Stop(BaseModel):
    """When the search ends: as soon as one of the rules that are given holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    budget: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        strict=True,
        description="So many candidates were asked for, beside those of train_on",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=MOST,
        strict=True,
        description="So many evaluations in a row brought no gain above minimal_gain",
    )
    minimal_gain: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Smaller gains do not count, in the property's unit"
    )
    z_below: float | None = Field(
        default=None, allow_inf_nan=False, description="The largest Z-score of what is left is below this"
    )

    @model_validator(mode="after")
    def _some_rule(self) -> Self:
        if self.budget is None and self.patience is None and self.z_below is None:
            raise ValueError("give at least one of budget, patience, z_below: else every candidate is computed")
        if self.minimal_gain and self.patience is None:
            raise ValueError("minimal_gain belongs to patience, which is missing")
        return self


class Screen(BaseModel):
    """Which candidates are computed on a row: those that a Gaussian process on descriptors asks for, one after another.

    The method is that of Seko et al., Phys. Rev. Lett. 115, 205901 (2015).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str = Field(description="Property of this row that is searched for, e.g. thermal_conductivity")
    minimize: bool = Field(default=True, strict=True, description="Whether low values are wanted; else high ones")
    descriptors: list[str] = Field(
        min_length=1, description="What the property is predicted from, e.g. [volume_per_atom, density, elements]"
    )
    train_on: dict[str, list[str | int | float]] = Field(
        default={},
        description="Candidates that are computed first, all of them: allowed values by facet, "
        "e.g. {prototype: [rocksalt]}; random ones when left out",
    )
    n_initial: int = Field(
        default=5,
        ge=1,
        le=MOST,
        strict=True,
        description="Random candidates are computed until so many values are known",
    )
    batch: int = Field(default=1, ge=1, le=10_000, strict=True, description="Candidates in the queue at the same time")
    order: Literal["as_they_come", "as_asked"] = Field(
        default="as_they_come",
        description="as_they_come: each result is learnt from at once; as_asked: results are taken in the order they "
        "were asked for, so that the history does not depend on which calculation is faster",
    )
    acquisition: Literal["z_score", "expected_improvement", "ucb"] = Field(
        default="z_score", description="What decides who is next"
    )
    kappa: float = Field(
        default=2.0, gt=0, allow_inf_nan=False, description="Standard deviations in the confidence bound (ucb)"
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, strict=True, description="Decides the random candidates")
    transform: Literal["auto", "log", "none"] = Field(
        default="auto", description="Model the logarithm of the property; auto: where that fits the values better"
    )
    length_scale: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="In standard deviations of the descriptors; fitted"
    )
    noise: float | None = Field(
        default=None,
        ge=1e-8,
        allow_inf_nan=False,
        description="Variance of noise over that of the signal; fitted",
    )
    prior: str | None = Field(
        default=None,
        min_length=1,
        description="Property of the row below that predictions start from",
    )
    require: list[str] = Field(
        default=[],
        description="Conditions NAME OPERATOR VALUE on the computed properties; where one does not hold, the candidate "
        "counts as failed, e.g. 'dynamically_stable == true'",
    )
    filters: Filters = Field(default=Filters(), description="Which candidates may be computed at all")
    stop: Stop = Field(description="When the search ends")

    def stored(self) -> dict[str, Any]:
        """Give the section as it could stand in a file, every setting spelled out."""
        return self.model_dump(mode="json")
