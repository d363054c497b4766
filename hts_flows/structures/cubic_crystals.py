"""Cubic crystals of class m-3m as grain boundaries need them: lattice, centring, atoms of a primitive cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError, nearest
from hts_flows.structures.coincidence import Centring, Vector, lattice_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

#: Space groups of the crystal class m-3m, whose mirror planes make symmetric tilt boundaries coincidence boundaries.
_FIRST_HOLOHEDRAL = 221
_TOLERANCE = 1e-3
_FACES: list[list[float]] = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
_ELEMENT_SITES: dict[str, list[list[float]]] = {
    "fcc": _FACES,
    "bcc": [[0, 0, 0], [0.5, 0.5, 0.5]],
    "diamond": _FACES + [[x + 0.25, y + 0.25, z + 0.25] for x, y, z in _FACES],
}
#: Space group of each, and the coordinate of its only site, on the cube's diagonal.
_ELEMENT_SPACEGROUPS = {"fcc": ("Fm-3m", 0.0), "bcc": ("Im-3m", 0.0), "diamond": ("Fd-3m:2", 0.125)}


@dataclass(frozen=True, eq=False)
class CubicCrystal:
    """A cubic crystal as its lattice and the atoms of a primitive cell.

    Attributes
    ----------
    constant
        Lattice constant of the conventional cell, Å.
    centring
        "P", "F" or "I".
    symbols
        Elements of the primitive cell's atoms.
    positions
        Their positions relative to the first of them, along the cube's edges, shape (n, 3), Å.
    contact
        Shortest distance of two atoms, Å.
    """

    constant: float
    centring: Centring
    symbols: tuple[str, ...]
    positions: NDArray[np.float64]
    contact: float

    @property
    def basis(self) -> NDArray[np.int_]:
        """Primitive lattice vectors as rows, shape (3, 3), in units of half the lattice constant."""
        return lattice_basis(self.centring)

    def planes(self, plane: Vector) -> list[float]:
        """Heights of the different atomic planes within one lattice-plane distance, from the first atom's, Å."""
        spacing = self.spacing(plane)
        heights = self.positions @ np.array(plane) / np.linalg.norm(plane)
        within = heights - np.floor(heights / spacing + 1e-6) * spacing
        return sorted({round(height, 5): height for height in within.tolist()}.values())

    def spacing(self, plane: Vector) -> float:
        """Distance of neighbouring lattice planes, Å."""
        least = int(np.gcd.reduce(self.basis @ np.array(plane)))
        return least * self.constant / 2 / float(np.linalg.norm(plane))


def cubic_crystal(structure: Structure) -> CubicCrystal:
    """Take a conventional cubic cell apart.

    Raises
    ------
    InputError
        It is no conventional cubic cell of a crystal of class m-3m.
    """
    import spglib

    formula = structure.composition.reduced_formula
    matrix = structure.lattice.matrix
    constant = float(np.linalg.norm(matrix[0]))
    if not np.allclose(matrix, constant * np.eye(3), atol=_TOLERANCE):
        a, b, c, *angles = (round(value, 4) for value in structure.lattice.parameters)
        raise InputError(
            f"The cell of {formula} is not a conventional cubic one along x, y and z: {a} × {b} × {c} Å, {angles}°",
            "Give the conventional cell: SpacegroupAnalyzer(structure).get_conventional_standard_structure()",
        )
    if not structure.is_ordered:
        raise InputError(f"{formula} has sites with several elements", "Give an ordered structure")
    cell: Any = (matrix, structure.frac_coords, [site.specie.Z for site in structure])
    dataset = spglib.get_symmetry_dataset(cell, symprec=_TOLERANCE)
    if dataset is None or dataset.number < _FIRST_HOLOHEDRAL:
        found = "unknown" if dataset is None else dataset.international
        raise InputError(
            f"{formula} is not a cubic crystal of class m-3m: its space group is {found}",
            "Grain boundaries are built of fcc, bcc, diamond, rocksalt, perovskite and other crystals of that class",
        )
    shifts = np.array(
        [
            np.round(2 * translation).astype(int) % 2
            for rotation, translation in zip(dataset.rotations, dataset.translations, strict=True)
            if np.array_equal(rotation, np.eye(3))
        ]
    )
    centring: Any = {1: "P", 2: "I", 4: "F"}.get(len(shifts))
    if (
        centring is None
        or dataset.international[0] != centring
        or len({tuple(shift) for shift in shifts}) != len(shifts)
    ):
        raise InputError(
            f"The cell of {formula} holds several conventional cells", "Give one conventional cell, not a supercell"
        )
    kept: list[int] = []
    for index, here in enumerate(structure.frac_coords):
        images = here + shifts / 2
        seen = structure.frac_coords[kept][:, None] - images[None]
        seen -= np.round(seen)
        if not (np.linalg.norm(seen, axis=2) * constant < _TOLERANCE).any():
            kept.append(index)
    positions = (structure.frac_coords[kept] - structure.frac_coords[kept[0]]) * constant
    symbols = tuple(structure[index].specie.symbol for index in kept)
    distances = structure.get_neighbor_list(constant)[3]
    return CubicCrystal(constant, centring, symbols, positions, float(distances.min()))


def element_content(element: str, lattice_constant: float) -> dict[str, Any]:
    """Give the crystal of an element as an inventory does: ``spacegroup``, ``lattice`` (Å) and ``sites``.

    Parameters
    ----------
    element
        Symbol.
    lattice_constant
        Å.

    Raises
    ------
    InputError
        As :func:`element_structure`.
    """
    n_sites = len(element_structure(element, lattice_constant))
    crystal = next(name for name, sites in _ELEMENT_SITES.items() if len(sites) == n_sites)
    spacegroup, place = _ELEMENT_SPACEGROUPS[crystal]
    sites = [{"element": element, "xyz": [place] * 3}]
    return {"spacegroup": spacegroup, "lattice": {"a": lattice_constant}, "sites": sites}


def element_structure(element: str, lattice_constant: float | None = None) -> Structure:
    """Conventional cell of an element that crystallises as fcc, bcc or diamond.

    Parameters
    ----------
    element
        Symbol.
    lattice_constant
        Å; without it the experimental one that ASE tabulates (``ase.data.reference_states``).

    Raises
    ------
    InputError
        The element is unknown, or its crystal is none of these.
    """
    from ase.data import atomic_numbers, reference_states

    known: dict[str, dict[str, Any]] = {
        symbol: dict(reference_states[number] or {})
        for symbol, number in atomic_numbers.items()
        if number < len(reference_states)
    }
    state = known.get(element, {})
    crystal = state.get("symmetry")
    if crystal not in _ELEMENT_SITES:
        usable = [symbol for symbol, other in known.items() if other.get("symmetry") in _ELEMENT_SITES]
        what = f"crystallises as {crystal}" if crystal else "is no element with a known crystal"
        raise InputError(
            f"{element!r} {what}: grain boundaries are built of fcc, bcc and diamond elements",
            f"Give `structure` instead, or an element ({nearest(element, usable)})",
        )
    from pymatgen.core import Lattice, Structure

    positions = _ELEMENT_SITES[crystal]
    return Structure(Lattice.cubic(lattice_constant or float(state["a"])), [element] * len(positions), positions)
