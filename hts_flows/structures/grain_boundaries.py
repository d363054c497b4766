"""Grain boundaries as candidates: whole boundaries, or every translation of their grains; and starting structures."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from math import cos, pi, sin
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hts_flows.boundary_inventory import specification
from hts_flows.candidates import Candidate, CandidateSpace
from hts_flows.errors import InputError, nearest
from hts_flows.structures.bicrystal_translation import translated
from hts_flows.structures.bicrystals import Bicrystal
from hts_flows.structures.boundary_specs import BicrystalCell, GrainBoundary
from hts_flows.structures.coincidence import direction, miller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymatgen.core import Structure

    from hts_flows.boundary_inventory import Boundary
    from hts_flows.engines import Engine
    from hts_flows.inventories import Inventories

__all__ = ["BicrystalCell", "GrainBoundary", "GrainBoundarySpace", "bicrystal_of", "build", "facets"]

#: Raised when the same inputs give another structure than before; part of every id.
GENERATOR_VERSION = 1
#: The engine that looks for the translation itself.
SEARCH_ENGINE = "translation_search"
_HOW_TO_CHOOSE = "write all, a list of ids, e.g. [Cu-S5-001-210], or {collection: [kiyohara-2016-test]}"
#: A length, Å, with more digits than any is known.
_DIGITS = 6

#: Translation of grain 2 along the normal, Å.
Opening = Annotated[float, Field(ge=-2, le=10)]
#: Distance below which atoms are removed, Å.
Closeness = Annotated[float, Field(gt=0, le=5)]


class BoundaryCollections(BaseModel):
    """Boundaries chosen by their published set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: list[str] = Field(min_length=1, description="Values of 'collection' in the inventory")


class TranslationGrid(BaseModel):
    """Which translations of one grain against the other are candidates; the keys of ``translations:``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: float = Field(0.2, ge=0.01, le=5, description="Distance of grid points in the boundary plane, at most, Å")
    openings: list[Opening] = Field(
        [0.0], min_length=1, description="By how much each boundary is opened along its normal, Å; negative: closed"
    )


class GrainBoundarySpace(CandidateSpace):
    """Grain boundaries of the inventory, each as a whole or with each of its translations."""

    domain: Literal["grain_boundaries"] = Field(description="Name of the domain")
    boundaries: Literal["all"] | list[str] | BoundaryCollections = Field(
        description="Ids in inventories/grain_boundaries.yaml ('hts inventory boundaries'), {collection: [...]}, or all"
    )
    cell: BicrystalCell = Field(BicrystalCell(), description="The cell of every boundary")
    remove_closer: list[Closeness | None] = Field(
        [None],
        min_length=1,
        description="Distances, Å, below which atoms of grain 2 are removed; each is tried, null removes none",
    )
    translations: TranslationGrid | None = Field(
        None,
        description="One candidate for each translation that symmetry does not relate to another; "
        f"left out, a candidate is a whole boundary, for the engine {SEARCH_ENGINE}",
    )

    @field_validator("boundaries", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"collection"}:
            value = value["collection"]
            names = [value] if isinstance(value, str) else value
            if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
                return BoundaryCollections(collection=names)
        if isinstance(value, BoundaryCollections) or value == "all":
            return value
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            raise ValueError(_HOW_TO_CHOOSE)
        return value

    @field_validator("remove_closer")
    @classmethod
    def _distances(cls, value: list[float | None]) -> list[float | None]:
        if len(set(value)) < len(value):
            raise ValueError("a distance is given twice: leave one out")
        return value

    @model_validator(mode="after")
    def _without_surfaces(self) -> Self:
        if self.translations is not None and self.cell.boundaries == 1:
            raise ValueError(
                "with translations the cell needs boundaries: 2: one boundary leaves surfaces, whose energy cannot be "
                f"told from the boundary's (only the engine {SEARCH_ENGINE} leaves them out)"
            )
        return self

    def candidates(self, inventories: Inventories) -> Iterator[Candidate]:
        """Yield the boundaries in the order of the file, each with its translations in the order of the grid.

        Raises
        ------
        InputError
            A boundary or a collection is not in the inventory, an entry is no boundary, a cell would have too many
            atoms, or no configuration is left.
        """
        left_out: tuple[str, str] | None = None
        none = True
        for item in self._walk(inventories):
            if isinstance(item, Candidate):
                none = False
                yield item
            else:
                left_out = left_out or item
        if none and left_out:
            raise InputError(
                f"no candidate is left; the first: {left_out[0]}: {left_out[1]}",
                "give larger openings, or remove_closer, in the candidates section",
            )

    def skipped(self, inventories: Inventories) -> list[tuple[str, str]]:
        """Configurations that are no candidates: atoms overlap, or nothing differs from another one."""
        return [item for item in self._walk(inventories) if not isinstance(item, Candidate)]

    def refuses(self, engine: Engine) -> str | None:
        """Say why an engine cannot compute these candidates, or nothing."""
        from hts_flows.engines.translation_search import TranslationSearch

        if self.translations is None and isinstance(engine, TranslationSearch):
            return engine.refuses_cell(self.cell.boundaries, self.cell.rigid)
        if self.translations is None:
            return (
                f"{engine.engine} computes one configuration, and a candidate is a whole boundary: use the engine "
                f"{SEARCH_ENGINE}, or give translations, e.g. translations: {{step: 0.2}}, in the candidates section"
            )
        if engine.engine == SEARCH_ENGINE:
            return (
                f"{SEARCH_ENGINE} looks for the translation itself, and each candidate is one translation: leave "
                "translations out of the candidates section, or use another engine"
            )
        return None

    def _walk(self, inventories: Inventories) -> Iterator[Candidate | tuple[str, str]]:
        for boundary in self._chosen(inventories):
            content = boundary.content(inventories)
            inputs = {"version": GENERATOR_VERSION, **content, "cell": _cell_content(self.cell)}
            try:
                whole = _whole(_text(content), self.cell)
            except InputError as error:
                raise InputError(f"boundary {boundary.id}: {error.message}", error.hint) from error
            if self.translations is None:
                own = {"remove_closer": list(self.remove_closer), "translation": None}
                yield _candidate(boundary, whole, inputs | own, whole.n_atoms)
                continue
            grid, removal = _text(self.translations.model_dump()), tuple(self.remove_closer)
            try:
                configurations = _configurations(_text(content), self.cell, grid, removal)
            except InputError as error:
                raise InputError(f"boundary {boundary.id}: {error.message}", error.hint) from error
            for one in configurations:
                own = {"remove_closer": [one.remove_closer], "translation": list(one.translation)}
                candidate = _candidate(boundary, whole, inputs | own, one.n_atoms)
                yield (candidate.label, one.left_out) if one.left_out else candidate

    def _chosen(self, inventories: Inventories) -> list[Boundary]:
        known = inventories.boundaries
        if isinstance(self.boundaries, list):
            for name in self.boundaries:
                inventories.pick("boundaries", name)
            return [known[name] for name in self.boundaries]
        if self.boundaries == "all":
            return list(known.values())
        wanted = self.boundaries.collection
        collections = {boundary.collection for boundary in known.values() if boundary.collection}
        for name in wanted:
            if name not in collections:
                raise InputError(
                    f"no boundary is of the collection {name!r}; {nearest(name, collections)}",
                    "list them with 'hts inventory boundaries'",
                )
        return [boundary for name in wanted for boundary in known.values() if boundary.collection == name]


class _Whole(NamedTuple):
    """What is known of a boundary and its cell."""

    title: str
    formula: str
    n_atoms: int
    periods: tuple[float, float]
    facets: dict[str, Any]


class _Configuration(NamedTuple):
    """A translation (x, y, z), Å, the distance below which atoms are removed, Å, and why it is no candidate."""

    translation: tuple[float, float, float]
    remove_closer: float | None
    n_atoms: int
    left_out: str | None


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)


def _cell_content(cell: BicrystalCell) -> dict[str, Any]:
    """What determines the structure: not the limit of atoms, nor a vacuum that is not there."""
    unused = {"max_atoms"} if cell.boundaries == 1 else {"max_atoms", "vacuum"}
    return cell.model_dump(mode="json", exclude=unused)


@lru_cache(maxsize=256)
def _bicrystal(content: str, cell: BicrystalCell) -> Bicrystal:
    return cell.bicrystal(specification(json.loads(content)))


@lru_cache(maxsize=1024)
def _whole(content: str, cell: BicrystalCell) -> _Whole:
    from hts_flows.structures.bicrystal_symmetry import translation_periods

    bicrystal = _bicrystal(content, cell)
    spec, geometry = bicrystal.spec, bicrystal.spec.geometry
    several = len(spec.crystal.planes(geometry.plane)) > 1
    title = f"{spec} termination {spec.termination}" if several else str(spec)
    described = {
        "crystal": spec.formula,
        "sigma": geometry.sigma,
        "axis": direction(geometry.axis),
        "plane": miller(geometry.plane),
        "kind": geometry.kind,
        "angle": round(geometry.angle, 2),
    }
    return _Whole(title, spec.formula, len(bicrystal.symbols), translation_periods(bicrystal), described)


@lru_cache(maxsize=256)
def _configurations(
    content: str, cell: BicrystalCell, grid: str, removal: tuple[float | None, ...]
) -> tuple[_Configuration, ...]:
    """Every representative translation with every removal."""
    from hts_flows.screening.translation_space import TranslationSpace

    bicrystal, options = _bicrystal(content, cell), json.loads(grid)
    n_atoms = len(bicrystal.symbols)
    furthest = max(bicrystal.spec.crystal.contact, *(distance or 0.0 for distance in removal))
    near = _near_boundaries(bicrystal, furthest + max(map(abs, options["openings"])))
    space = TranslationSpace.of_bicrystal(bicrystal, step=options["step"], openings=options["openings"])
    found = []
    for x, y, z in space.translations(space.representatives):
        translation = (round(float(x), _DIGITS), round(float(y), _DIGITS), round(float(z), _DIGITS))
        same: dict[int, float | None] = {}
        for distance in removal:
            try:
                moved = translated(near, *translation, remove_closer=distance)
            except InputError as error:
                found.append(_Configuration(translation, distance, n_atoms, error.message))
                continue
            other = same.setdefault(moved.removed, distance)
            left_out = None
            if other != distance:
                before = "null" if other is None else f"{other:g}"
                left_out = f"remove_closer {distance:g} Å removes {moved.removed} atoms, as {before} does"
            found.append(_Configuration(translation, distance, n_atoms - moved.removed, left_out))
    return tuple(found)


def _near_boundaries(bicrystal: Bicrystal, reach: float) -> Bicrystal:
    """Atoms within a reach of a boundary plane, Å: contacts that are shorter are those of the whole cell."""
    length = bicrystal.lattice[2, 2]
    away = bicrystal.positions[:, 2, None] - np.array(bicrystal.boundary_heights)
    if len(bicrystal.boundary_heights) > 1:
        away -= np.round(away / length) * length
    kept = np.abs(away).min(axis=1) <= reach
    return replace(
        bicrystal,
        symbols=tuple(symbol for symbol, keep in zip(bicrystal.symbols, kept, strict=True) if keep),
        positions=bicrystal.positions[kept],
        grain=bicrystal.grain[kept],
        rigid=bicrystal.rigid[kept],
    )


def _candidate(boundary: Boundary, whole: _Whole, inputs: dict[str, Any], n_atoms: int) -> Candidate:
    label = whole.title
    data = {"boundary": boundary.id, **whole.facets, "n_atoms": n_atoms}
    if boundary.collection is not None:
        data["collection"] = boundary.collection
    if inputs["translation"] is not None:
        label += " at ({:g}, {:g}, {:g}) Å".format(*inputs["translation"])
        if removed := whole.n_atoms - n_atoms:
            label += f", {removed} atoms removed"
        data["periods"] = list(whole.periods)
    return Candidate(domain="grain_boundaries", inputs=inputs, label=label, formula=whole.formula, data=data)


def facets(candidate: Candidate) -> dict[str, Any]:
    """Give what candidates are told apart by.

    Returns
    -------
    dict
        ``boundary`` (id), ``crystal``, ``sigma``, ``axis``, ``plane``, ``kind``, ``angle`` (degrees), ``n_atoms``,
        ``collection`` where there is one; of a translation x, y, z (Å) and, so that it is periodic, ``x_cos``,
        ``x_sin``, ``y_cos``, ``y_sin``: x and y on circles whose circumferences are the periods, Å.
    """
    found = {name: value for name, value in candidate.data.items() if name != "periods"}
    translation = candidate.inputs["translation"]
    if translation is not None:
        found |= dict(zip("xyz", translation, strict=True))
        for name, value, period in zip("xy", translation[:2], candidate.data["periods"], strict=True):
            angle, radius = 2 * pi * value / period, period / (2 * pi)
            found |= {f"{name}_cos": radius * cos(angle), f"{name}_sin": radius * sin(angle)}
    return found


def build(candidate: Candidate) -> Structure:
    """Build the bicrystal from the candidate's inputs alone.

    Returns
    -------
    Structure
        With the site properties ``grain`` (1 or 2) and ``rigid``; ``properties["grain_boundary"]`` holds what
        :func:`bicrystal_of` rebuilds it from: ``boundary``, ``cell``, ``remove_closer`` and ``translation``, Å.

    Raises
    ------
    InputError
        There is no such boundary, or atoms overlap.
    """
    inputs = candidate.inputs
    spec = specification(inputs)
    # How many atoms are too many was asked when the candidate was made.
    limit = BicrystalCell.model_fields["max_atoms"].default
    whole = BicrystalCell.model_validate(inputs["cell"] | {"max_atoms": 10**9}).bicrystal(spec)
    cell = BicrystalCell.model_validate(inputs["cell"] | {"max_atoms": max(limit, len(whole.symbols))})
    translation = inputs["translation"]
    placed = whole if translation is None else translated(whole, *translation, remove_closer=inputs["remove_closer"][0])
    structure = placed.structure
    structure.properties["grain_boundary"] = {
        "boundary": spec.model_dump(mode="json"),
        "cell": cell.model_dump(mode="json"),
        "remove_closer": list(inputs["remove_closer"]),
        "translation": None if translation is None else list(translation),
    }
    structure.properties["provenance"] = {"name": candidate.data.get("boundary"), "origin": placed.origin}
    return structure


def bicrystal_of(structure: Structure, lattice_constant: float | None = None) -> Bicrystal:
    """Rebuild the bicrystal of a starting structure in the coincidence position, without atoms removed.

    Parameters
    ----------
    structure
        What :func:`build` made; only its ``properties["grain_boundary"]`` is read.
    lattice_constant
        Of the crystal that is wanted, Å. The grains' thickness and a rigid block's are scaled with it, so that the
        cell has as many atoms as before.

    Raises
    ------
    InputError
        The structure does not say which boundary it is.
    """
    found: dict[str, Any] | None = structure.properties.get("grain_boundary")
    if found is None:
        raise InputError(
            f"The structure {structure.composition.reduced_formula} does not say which grain boundary it holds",
            "Give a starting structure of the domain grain_boundaries, with its properties",
        )
    spec, cell = GrainBoundary.model_validate(found["boundary"]), BicrystalCell.model_validate(found["cell"])
    if lattice_constant is None:
        return cell.bicrystal(spec)
    return cell.scaled(lattice_constant / spec.crystal.constant).bicrystal(spec.with_lattice_constant(lattice_constant))
