"""Where further candidates come from: a file, an OPTIMADE provider, or the Materials Project."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hts_flows.inventories import Symbol

#: Entries that are fetched where no limit is given.
DEFAULT_LIMIT = 10_000
_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 64


def _window(value: Any) -> Any:
    if (
        isinstance(value, list | tuple)
        and len(value) == 2  # noqa: PLR2004
        and not any(isinstance(bound, bool) for bound in value)
        and not all(bound is None for bound in value)
        and (None in value or value[0] <= value[1])
    ):
        return tuple(value)
    raise ValueError("give the lowest and the highest value, e.g. [0.1, 1.0]; null for none")


def _counts(value: Any) -> Any:
    return _window([value, value] if isinstance(value, int) and not isinstance(value, bool) else value)


def _texts(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Window = Annotated[tuple[float | None, float | None], BeforeValidator(_window)]
Counts = Annotated[tuple[int | None, int | None], BeforeValidator(_counts)]
Texts = Annotated[list[str], BeforeValidator(_texts)]


class MaterialsProjectQuery(BaseModel):
    """Which entries of the Materials Project are candidates; conditions hold together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: list[Symbol] | None = Field(default=None, description="All of these elements are in it")
    exclude_elements: list[Symbol] | None = Field(default=None, description="None of these elements is in it")
    chemsys: Texts | None = Field(default=None, description="Chemical system or systems, e.g. Pb-Te or [Pb-Te, Pb-*]")
    formula: Texts | None = Field(default=None, description="Formula or formulas, e.g. PbTe, ABO3 or Si*")
    material_ids: Texts | None = Field(default=None, description="Ids, e.g. [mp-19717, mp-149]")
    nelements: Counts | None = Field(default=None, description="Number of elements: one number, or lowest and highest")
    num_sites: Counts | None = Field(default=None, description="Atoms in the cell: one number, or lowest and highest")
    band_gap: Window | None = Field(default=None, description="Lowest and highest band gap, eV")
    energy_above_hull: Window | None = Field(default=None, description="Lowest and highest, eV/atom")
    formation_energy_per_atom: Window | None = Field(default=None, description="Lowest and highest, eV/atom")
    density: Window | None = Field(default=None, description="Lowest and highest density, g/cm³")
    volume: Window | None = Field(default=None, description="Lowest and highest volume of the cell, Å³")
    is_stable: bool | None = Field(default=None, strict=True, description="Whether it lies on the convex hull")
    is_metal: bool | None = Field(default=None, strict=True, description="Whether it has no band gap")
    is_gap_direct: bool | None = Field(default=None, strict=True, description="Whether its band gap is direct")
    theoretical: bool | None = Field(
        default=None, strict=True, description="Whether no experiment has found it; false: found by experiment"
    )
    crystal_system: (
        Literal["Triclinic", "Monoclinic", "Orthorhombic", "Tetragonal", "Trigonal", "Hexagonal", "Cubic"] | None
    ) = Field(default=None, description="Crystal system")
    spacegroup_number: int | None = Field(default=None, ge=1, le=230, description="Number of the space group")
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, strict=True, description="Most entries that are fetched")

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if not self.model_fields_set - {"limit"}:
            allowed = ", ".join(name for name in type(self).model_fields if name != "limit")
            raise ValueError(f"give at least one condition, else the whole database is meant; allowed: {allowed}")
        return self


class PoolSource(BaseModel):
    """Further candidates: exactly one of ``file``, ``optimade`` and ``materials_project``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = Field(
        default=None,
        min_length=1,
        description="Table (.csv, .csv.gz, .parquet, .json, .jsonl), .extxyz, or folder of structure files, relative "
        "to the campaign file",
    )
    optimade: str | None = Field(default=None, description="Base URL of an OPTIMADE provider")
    materials_project: MaterialsProjectQuery | None = Field(
        default=None, description="Conditions on entries of the Materials Project; needs MP_API_KEY in the environment"
    )
    filter: str | None = Field(
        default=None, min_length=1, description="OPTIMADE filter, e.g. 'elements HAS \"Te\" AND nelements=2'"
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description=f"Most entries that are fetched from an OPTIMADE provider; {DEFAULT_LIMIT} when left out",
    )
    columns: dict[str, str] = Field(
        default={},
        description="Our name: theirs, for formula, name, structure, volume_per_atom (Å³), density (g/cm³) and any "
        "other number, e.g. {volume_per_atom: target}",
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
        description="Name of the pool; else that of the file, the provider's host, or materials_project",
    )
    timeout: float = Field(
        default=60.0, gt=0, allow_inf_nan=False, description="Longest wait for a part of a provider's answer, s"
    )

    @field_validator("optimade")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)  # a ValueError of its own where brackets are not closed
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("give a web address that begins with https:// or http://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("give the base URL alone, without password, ? and #; conditions stand under 'filter'")
        return value

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        given = [key for key in ("file", "optimade", "materials_project") if getattr(self, key) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none"
            raise ValueError(f"give exactly one of file, optimade, materials_project; {found}")
        if self.optimade is None and (self.filter is not None or self.limit is not None):
            hint = ": it has 'limit' among its own keys" if self.materials_project else ""
            raise ValueError(f"'filter' and 'limit' belong to 'optimade'{hint}")
        if self.materials_project is not None and self.columns:
            raise ValueError("'columns' belongs to 'file' and 'optimade'")
        return self

    @property
    def title(self) -> str:
        """Name of the pool: the given one, else the file's, the provider's host, or materials_project."""
        if self.name:
            return self.name
        if self.optimade:
            name = urlsplit(self.optimade).hostname or ""
        elif self.file:
            name = PurePath(PurePath(self.file).name.removesuffix(".gz")).stem
        else:
            name = "materials_project"
        return _NO_NAME.sub("_", name).strip("._-")[:_LONGEST_NAME] or "pool"
