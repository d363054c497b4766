"""Properties of grain boundaries: energy, excess volume, translation, and how the atoms at the boundary are bonded.

Energies are those of one boundary: what the cell costs beyond as many formula units of the perfect crystal, by the same
engine and settings, over the area of its boundaries (A. P. Sutton, R. W. Balluffi: Interfaces in Crystalline Materials,
Oxford (1995)).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from hts_flows.flows.base import Column
from hts_flows.properties.base import CompositionError, MissingReferenceError, PropertyDoc, PropertyError
from hts_flows.structures.bicrystals import JOULE_PER_SQUARE_METRE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from hts_flows.candidates import Candidate
    from hts_flows.engines.base import Calculation, TranslationTrials
    from hts_flows.structures.grain_boundaries import GrainBoundary

#: Structural unit of a boundary whose atoms have as many neighbours as those of the crystal.
AS_IN_THE_CRYSTAL = "as in the crystal"
#: Where a free cell changed its shape in the plane by more than this, the crystal did, and not the boundary alone.
MOST_STRAIN = 0.03
#: Which upper grain a site belongs to.
_UPPER = 2
_TWO_BOUNDARIES = 2
#: Translations are known no better than this, Å.
_ROUNDING = 5e-3


class GrainBoundaryDoc(PropertyDoc):
    """Properties of one grain boundary, or of one configuration of it."""

    needs: ClassVar[dict[str, str]] = {}

    boundary_energy: float = Field(description="Energy of the boundary over its area, J/m²")
    excess_volume: float = Field(description="Volume beyond that of the perfect crystal over the boundary's area, Å")
    translation_x: float | None = Field(
        default=None,
        description="Translation of the upper grain from the coincidence position after relaxing, along x (in the "
        "plane, across the axis of a tilt boundary), Å; None where an engine went on from what another had relaxed",
    )
    translation_y: float | None = Field(default=None, description="The same along y, the axis of a tilt boundary, Å")
    translation_z: float | None = Field(
        default=None, description="The same along the normal: how far the boundary has opened, Å"
    )
    n_removed: int = Field(description="Number of atoms that were removed at each boundary because they were too close")
    coordination: str = Field(
        description="Structural unit: atoms at a boundary, in one period of it, whose number of nearest neighbours is "
        "not the crystal's, by that number, e.g. '2 × Cu11, 1 × Cu13', or 'as in the crystal'; neighbours are nearer "
        "than half-way between the crystal's first two shells"
    )
    lowest_coordination: int = Field(
        description="Least number of nearest neighbours of an atom; elements without any in the crystal left out"
    )
    shortest_bond: float = Field(description="Shortest distance of two atoms, Å")
    relaxed: Literal["fixed translation", "free normal expansion", "free sliding", "free cell", "static"] = Field(
        description="What could move beside the atoms; free cell: the grains and the whole cell; static: "
        "nothing, not even the atoms"
    )
    method: Literal["kriging", "enumeration", "prediction", "one configuration"] = Field(
        description="How the configuration was chosen: by a Gaussian process, as the lowest of all, by what other "
        "boundaries taught, or it was given"
    )
    n_trials: int = Field(description="Number of configurations that were relaxed for it")
    n_candidates: int = Field(description="Number of configurations that it was chosen from, one of each orbit")
    stop_reason: str = Field(description="Why the search ended: patience, budget, exhausted; empty without a search")
    predicted_energy: float | None = Field(
        default=None, description="Energy predicted from other boundaries before it was relaxed, J/m²; None: not asked"
    )


#: What tables of this domain show, in this order.
COLUMNS = (
    Column("boundary_energy", "γ", "J/m²", ".4f", good="low"),
    Column("excess_volume", "Excess volume", "Å", ".3f"),
    Column("translation_x", "x", "Å", ".2f"),
    Column("translation_y", "y", "Å", ".2f"),
    Column("coordination", "Structural unit"),
    Column("n_trials", "Trials"),
    Column("n_candidates", "of"),
    Column("relaxed", "Relaxed"),
    Column("stop_reason", "Stopped by"),
)


def derive(candidate: Candidate, calculation: Calculation, references: Mapping[str, Calculation]) -> GrainBoundaryDoc:
    """Compute the properties of a boundary.

    Parameters
    ----------
    candidate
        Its inputs give the boundary and its cell.
    calculation
        Of the search for its translation, or of one configuration.
    references
        "crystal": the perfect crystal, for one configuration; a search computes its own.

    Returns
    -------
    GrainBoundaryDoc
        Energies in J/m², lengths in Å.

    Raises
    ------
    MissingReferenceError
        The crystal is missing.
    CompositionError
        The cell is not made of whole formula units of the crystal.
    PropertyError
        The cell has surfaces, or has strained in the plane.
    """
    from hts_flows.boundary_inventory import specification

    spec = specification(candidate.inputs)
    found = calculation.translation_search
    if found is None:
        return GrainBoundaryDoc(**_of_configuration(candidate, calculation, references, spec))
    return GrainBoundaryDoc(**_of_search(found, calculation, spec))


def _of_search(found: TranslationTrials, calculation: Calculation, spec: GrainBoundary) -> dict[str, Any]:
    energy = found.energies[found.best]
    assert energy is not None  # noqa: S101 (the best one has an energy)
    x, y, z = found.relaxed_translation
    predicted = found.predicted[found.best] if found.predicted else None
    return {
        "boundary_energy": energy,
        "excess_volume": found.excess_volume,
        "translation_x": _folded(x, found.periods[0]),
        "translation_y": _folded(y, found.periods[1]),
        "translation_z": z,
        "n_removed": found.removed[found.best] // found.n_boundaries,
        "relaxed": found.protocol,
        "method": found.method,
        "n_trials": len(found.energies),
        "n_candidates": found.n_candidates,
        "stop_reason": found.stop_reason,
        "predicted_energy": predicted,
        **_bonds(calculation.structure, spec, found.n_boundaries, found.lattice_constant),
    }


def _of_configuration(
    candidate: Candidate, calculation: Calculation, references: Mapping[str, Calculation], spec: GrainBoundary
) -> dict[str, Any]:
    from hts_flows.structures.grain_boundaries import build

    structure: Structure = calculation.structure
    if "crystal" not in references:
        raise MissingReferenceError(f"{candidate.label}: the perfect crystal was not computed")
    crystal = references["crystal"]
    if candidate.inputs["cell"]["boundaries"] != _TWO_BOUNDARIES:
        raise PropertyError(
            f"{candidate.label}: the cell has surfaces, whose energy cannot be told from the boundary's"
        )
    copies = _formula_units(structure, crystal.structure, candidate.label)
    start = build(candidate)
    area = _TWO_BOUNDARIES * _area(candidate.label, start, structure, spec, copies * crystal.structure.volume)
    return {
        "boundary_energy": (calculation.energy - copies * crystal.energy) / area * JOULE_PER_SQUARE_METRE,
        "excess_volume": (structure.volume - copies * crystal.structure.volume) / area,
        **_displaced(candidate, start, structure),
        "relaxed": "free cell",
        "method": "one configuration",
        "n_trials": 1,
        "n_candidates": 1,
        "stop_reason": "",
        **_bonds(structure, spec, _TWO_BOUNDARIES, None),
    }


def _area(label: str, start: Structure, structure: Structure, spec: GrainBoundary, volume: float) -> float:
    """Area of a boundary of the unstrained crystal, Å²; refuses a cell that did not keep its shape in the plane.

    Parameters
    ----------
    label
        Name of the candidate.
    start, structure
        The cell before and after the relaxation.
    spec
        Gives the crystal of the start.
    volume
        Of as much crystal, relaxed, as the cell has atoms, Å³.
    """
    crystal = spec.crystal
    primitive = crystal.constant**3 / 8 * abs(np.linalg.det(crystal.basis))
    scale = (volume / (primitive * len(structure) / len(crystal.symbols))) ** (1 / 3)
    plane = start.lattice.matrix[:2, :2] * scale
    strain = structure.lattice.matrix[:2, :2] @ np.linalg.inv(plane) - np.eye(2)
    largest = float(np.abs(strain).max())
    if largest > MOST_STRAIN:
        raise PropertyError(
            f"{label}: the cell strained by {100 * largest:.1f} % in the plane while it relaxed, more than "
            f"{100 * MOST_STRAIN:g} %: the crystal gave way, and not the boundary alone",
            "give the cell a larger thickness, or hold it (relax_cell: false, where the engine has that)",
        )
    return float(abs(np.linalg.det(plane)))


def _displaced(candidate: Candidate, start: Structure, structure: Structure) -> dict[str, Any]:
    """Translation after relaxing and number of removed atoms of a candidate that is one configuration."""
    from hts_flows.structures.grain_boundaries import bicrystal_of

    origin = bicrystal_of(start)
    found: dict[str, Any] = {"n_removed": (len(origin.symbols) - len(structure)) // _TWO_BOUNDARIES}
    if candidate.inputs["translation"] is None:
        return found
    drift = _drift(start, structure)
    if drift is None:
        return found
    x, y, z = candidate.inputs["translation"]
    opening = (structure.lattice.c - start.lattice.c) / _TWO_BOUNDARIES
    return found | {
        "translation_x": _folded(float(x + drift[0]), origin.lx),
        "translation_y": _folded(float(y + drift[1]), origin.ly),
        "translation_z": float(z + opening),
    }


def _folded(length: float, period: float) -> float:
    """A translation within its period; what is a rounding below the period is 0."""
    folded = round(length % period, 6)
    return 0.0 if period - folded < _ROUNDING else folded


def _formula_units(structure: Structure, crystal: Structure, label: str) -> float:
    """How many cells of the crystal have the atoms of a bicrystal."""
    amounts, unit = structure.composition.get_el_amt_dict(), crystal.composition.get_el_amt_dict()
    ratios = {round(amounts.get(element, 0) / number, 6) for element, number in unit.items()}
    if set(amounts) != set(unit) or len(ratios) != 1:
        raise CompositionError(
            f"{label}: {structure.composition.formula} is not made of whole {crystal.composition.reduced_formula}: a "
            "boundary that is not stoichiometric has no energy without chemical potentials"
        )
    return ratios.pop()


def _drift(start: Structure, end: Structure) -> NDArray[np.float64] | None:
    """How far the upper grain has moved against the lower one while relaxing, Å, shape (3,).

    Engines such as VASP sort atoms by element; None where the atoms are in any other order than that and the start's.
    """
    species = [site.specie for site in end]
    orders = (start, start.get_sorted_structure())
    before = next((one for one in orders if [site.specie for site in one] == species), None)
    if before is None:
        return None
    moved = end.frac_coords - before.frac_coords
    moved -= np.round(moved)
    upper = np.array(before.site_properties["grain"]) == _UPPER
    apart = moved[upper].mean(axis=0) - moved[~upper].mean(axis=0)
    return np.asarray(end.lattice.get_cartesian_coords(apart))


def _bonds(structure: Structure, spec: GrainBoundary, n_boundaries: int, constant: float | None) -> dict[str, Any]:
    """Coordination of the atoms, those near a surface left out; ``constant`` is the crystal's, where it is known, Å."""
    scale = 1.0 if constant is None else constant / spec.crystal.constant
    cutoff, usual = crystal_shell(spec)
    first, _, _, distances = structure.get_neighbor_list(cutoff * scale)
    counts = np.bincount(first, minlength=len(structure))
    symbols = [site.specie.symbol for site in structure]
    inner = np.ones(len(structure), dtype=bool)
    if n_boundaries == 1:
        inner = ~np.array(structure.site_properties["rigid"], dtype=bool)
    bonded = np.array([usual[symbol] > 0 for symbol in symbols])
    unusual = Counter(
        (symbol, int(number))
        for symbol, number, kept in zip(symbols, counts, inner, strict=True)
        if kept and number != usual[symbol]
    )
    texts = [
        f"{_count(number / n_boundaries)} × {symbol}{neighbours}"
        for (symbol, neighbours), number in sorted(unusual.items())
    ]
    return {
        "coordination": ", ".join(texts) or AS_IN_THE_CRYSTAL,
        "lowest_coordination": int(counts[inner & bonded].min()),
        "shortest_bond": float(distances.min()),
    }


def _count(number: float) -> str:
    """A number of atoms at one boundary; half ones occur where both boundaries of a cell differ."""
    return f"{number:g}"


def crystal_shell(spec: GrainBoundary) -> tuple[float, dict[str, int]]:
    """First shell of neighbours in the perfect crystal.

    Parameters
    ----------
    spec
        Gives the crystal.

    Returns
    -------
    float
        Distance half-way between the first two shells, Å. In bcc the two shells are almost as far, and both are taken
        together: it lies between the second and the third.
    dict
        Number of neighbours within it, by element.
    """
    from pymatgen.core import Lattice, Structure

    crystal = spec.crystal
    primitive = Lattice(crystal.basis * (crystal.constant / 2))
    structure = Structure(primitive, crystal.symbols, crystal.positions, coords_are_cartesian=True)
    first, _, _, distances = structure.get_neighbor_list(2 * crystal.constant)
    shells = sorted({round(float(one), 4) for one in distances})
    number = 2 if crystal.centring == "I" and len(crystal.symbols) == 1 else 1
    cutoff = (shells[number - 1] + shells[number]) / 2
    counts = Counter(symbol for symbol in (crystal.symbols[one] for one in first[distances < cutoff]))
    sites = Counter(crystal.symbols)
    return cutoff, {symbol: counts[symbol] // sites[symbol] for symbol in sites}
