"""Crystal structures as candidates keep them: read from many layouts, checked, written as compact JSON text."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from hts_flows.pools.json_text import load_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ase import Atoms
    from numpy.typing import NDArray
    from pymatgen.core import Composition, Structure

    Floats = NDArray[np.float64]

#: Decimals of the lattice (Å) and of fractional coordinates. Fewer of the latter would lose the symmetry of 1/3.
LATTICE_DECIMALS, FRACTION_DECIMALS = 6, 8
#: Volume per atom, Å³, outside of which a lattice is in another unit (nm, pm) or wrong.
SMALLEST_VOLUME, LARGEST_VOLUME = 0.5, 5000.0
#: Atoms that are closer than this, Å, are one atom written twice, unresolved disorder, or in another unit.
CLOSEST = 0.3
#: Å³ g⁻¹ cm³ for each atomic mass unit: 1 u / 1 Å³ in g/cm³.
DENSITY_UNIT = 1.66053906892
#: Keys of an OPTIMADE structure, which tables of other origin use too.
OPTIMADE_KEYS = ("lattice_vectors", "cartesian_site_positions", "species_at_sites")
#: Isotopes that are elements of their own in files, and that no engine tells apart.
_ISOTOPES = {"D": "H", "T": "H"}
_OCCUPIED = 1e-3
_THREE = 3
#: What parsers of structure files raise when a file is not what they expect.
PARSER_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, TypeError, ValueError)


class Cell(NamedTuple):
    """An ordered crystal.

    Attributes
    ----------
    lattice
        Lattice vectors as rows, Å, shape (3, 3).
    species
        Symbol of the element of each atom.
    fractions
        Fractional coordinates, shape (n_atoms, 3).
    """

    lattice: Floats
    species: tuple[str, ...]
    fractions: Floats

    @property
    def volume(self) -> float:
        """Volume, Å³."""
        return abs(float(np.linalg.det(self.lattice)))

    def text(self) -> str:
        """Give it as compact JSON."""
        content = {"lattice": self.lattice.tolist(), "species": self.species, "coords": self.fractions.tolist()}
        return json.dumps(content, separators=(",", ":"))

    def checked(self) -> Cell:
        """Round it, where it can be a crystal: lattice to 10⁻⁶ Å, fractional coordinates in [0, 1) to 10⁻⁸.

        Raises
        ------
        ValueError
            It says why not: no atoms, an unknown element, a lattice that is flat or in another unit, atoms on top of
            each other.
        """
        n_atoms = len(self.species)
        if not n_atoms or self.fractions.shape != (n_atoms, _THREE) or self.lattice.shape != (_THREE, _THREE):
            raise ValueError(f"{n_atoms} atoms, {self.fractions.shape} coordinates, {self.lattice.shape} lattice")
        if not (np.isfinite(self.lattice).all() and np.isfinite(self.fractions).all()):
            raise ValueError("the lattice or a coordinate is not a finite number")
        fractions = np.round(self.fractions - np.floor(self.fractions), FRACTION_DECIMALS)
        fractions[fractions >= 1] = 0.0
        cell = Cell(
            np.round(self.lattice, LATTICE_DECIMALS) + 0.0,  # -0.0 + 0.0 is 0.0
            tuple(_ISOTOPES.get(symbol, symbol) for symbol in self.species),
            fractions + 0.0,
        )
        for symbol in set(cell.species):
            atomic_mass(symbol)
        volume = cell.volume / n_atoms
        if not SMALLEST_VOLUME <= volume <= LARGEST_VOLUME:
            raise ValueError(f"{volume:.3g} Å³ per atom: the lattice is not in Å, or wrong")
        _refuse_overlaps(cell)
        return cell


def structure_to_text(structure: Structure) -> str:
    """Write an ordered structure as the text that pools keep.

    Parameters
    ----------
    structure
        From pymatgen; oxidation states and site properties are left out.

    Returns
    -------
    str
        Compact JSON: ``lattice`` (rows, Å, to 10⁻⁶), ``species``, ``coords`` (fractional, in [0, 1), to 10⁻⁸).

    Raises
    ------
    ValueError
        Partial occupancies, an unknown element, or no crystal.
    """
    return cell_from_pymatgen(structure).checked().text()


def structure_from_text(text: str) -> Structure:
    """Read the text that :func:`structure_to_text` writes.

    Raises
    ------
    ValueError
        It is no such text.
    """
    from pymatgen.core import Lattice, Structure

    cell = cell_from_text(text)
    return Structure(Lattice(cell.lattice), list(cell.species), cell.fractions)


def cell_from_text(text: str) -> Cell:
    """Read JSON of a structure, ours or pymatgen's, a CIF or a POSCAR.

    Raises
    ------
    ValueError
        It is none of them, or disordered.
    """
    if text.lstrip().startswith("{"):
        try:
            return cell_from_mapping(load_json(text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from error
    from pymatgen.core import Structure

    kind: Literal["cif", "poscar"] = "cif" if "_cell_length_a" in text else "poscar"
    try:
        return cell_from_pymatgen(Structure.from_str(text, fmt=kind))
    except PARSER_ERRORS as error:
        raise ValueError(f"not a structure ({'CIF' if kind == 'cif' else 'JSON, CIF or POSCAR'}): {error}") from error


def cell_from_mapping(content: Mapping[str, Any]) -> Cell:
    """Read a structure that is a dictionary: of this package, of pymatgen, or with OPTIMADE's keys.

    pymatgen's layout is read without making pymatgen's objects, which would take ten times as long.

    Raises
    ------
    ValueError
        It is none of them, disordered, or does not fit together.
    """
    try:
        if "sites" in content:
            return _from_sites(content)
        if "lattice_vectors" in content:
            return cell_from_optimade(content)
        if {"lattice", "species", "coords"} <= content.keys():
            return Cell(_array(content["lattice"]), tuple(map(str, content["species"])), _array(content["coords"]))
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a structure: {type(error).__name__} {error}") from error
    raise ValueError("not a structure: neither 'sites' nor 'lattice', 'species' and 'coords' in it")


def _from_sites(content: Mapping[str, Any]) -> Cell:
    species = []
    for number, site in enumerate(content["sites"]):
        occupants = site["species"]
        if len(occupants) != 1 or abs(occupants[0].get("occu", 1) - 1) > _OCCUPIED:
            raise ValueError(f"site {number + 1} is partially occupied")
        species.append(str(occupants[0]["element"]))
    if not content.get("lattice"):
        raise ValueError("a molecule: it has no lattice")
    if not all(content["lattice"].get("pbc") or (True,)):
        raise ValueError("not periodic in three directions")
    return Cell(
        _array(content["lattice"]["matrix"]), tuple(species), _array([site["abc"] for site in content["sites"]])
    )


def cell_from_optimade(attributes: Mapping[str, Any]) -> Cell:
    """Read the attributes of an OPTIMADE structure (specification 1.2, entry type "structures").

    Raises
    ------
    ValueError
        Not periodic in three directions, disordered, with vacancies or unknown atoms, or not whole.
    """
    missing = [key for key in OPTIMADE_KEYS if attributes.get(key) is None]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    if attributes.get("dimension_types", [1, 1, 1]) not in ([1, 1, 1], None):
        raise ValueError("not periodic in three directions")
    features = set(attributes.get("structure_features") or ()) & {"disorder", "implicit_atoms", "unknown_positions"}
    if features:
        raise ValueError(f"marked as {', '.join(sorted(features))}")
    symbols = {str(kind["name"]): _symbol(kind) for kind in attributes.get("species") or ()}
    names = [str(name) for name in attributes["species_at_sites"]]
    lattice = _array(attributes["lattice_vectors"])
    if abs(np.linalg.det(lattice)) == 0:
        raise ValueError("the lattice vectors lie in one plane")
    fractions = _array(attributes["cartesian_site_positions"]) @ np.linalg.inv(lattice)
    # Where species are not described, their names are the elements.
    return Cell(lattice, tuple(symbols[name] if symbols else name for name in names), fractions)


def _symbol(kind: Mapping[str, Any]) -> str:
    symbols, shares = kind["chemical_symbols"], kind.get("concentration") or [1.0]
    if kind.get("attached"):
        raise ValueError(f"species {kind['name']!r} has atoms attached whose positions are not known")
    if len(symbols) != 1 or abs(shares[0] - 1) > _OCCUPIED:
        raise ValueError(f"species {kind['name']!r} is partially occupied")
    if symbols[0] in {"X", "vacancy"}:
        raise ValueError(f"species {kind['name']!r} is no element ({symbols[0]})")
    return str(symbols[0])


def cell_from_pymatgen(structure: Structure) -> Cell:
    """Read a pymatgen structure.

    Raises
    ------
    ValueError
        Partial occupancies.
    """
    if not structure.is_ordered:
        partial = next(number for number, site in enumerate(structure, start=1) if not site.is_ordered)
        raise ValueError(f"site {partial} is partially occupied")
    if not all(structure.pbc):
        raise ValueError("not periodic in three directions")
    species = tuple(site.specie.symbol for site in structure)
    return Cell(np.array(structure.lattice.matrix), species, np.array(structure.frac_coords))


def cell_from_ase(atoms: Atoms) -> Cell:
    """Read ASE's atoms.

    Raises
    ------
    ValueError
        Not periodic in three directions.
    """
    if not atoms.pbc.all():
        raise ValueError("not periodic in three directions (pbc)")
    if atoms.cell.rank < _THREE:
        raise ValueError("without a lattice")
    lattice = np.array(atoms.cell)
    return Cell(lattice, tuple(atoms.get_chemical_symbols()), atoms.positions @ np.linalg.inv(lattice))


def _refuse_overlaps(cell: Cell) -> None:
    if len(cell.species) == 1:
        return
    apart = cell.fractions[:, None, :] - cell.fractions[None, :, :]
    apart -= np.round(apart)
    # The nearest image of close atoms is the one that rounding finds; the others are far in any case.
    squares = ((apart @ cell.lattice) ** 2).sum(axis=-1)
    np.fill_diagonal(squares, np.inf)
    where = int(squares.argmin())
    if squares.flat[where] < CLOSEST**2:
        first, second = sorted(divmod(where, len(cell.species)))
        raise ValueError(
            f"atoms {first + 1} and {second + 1} are {squares.flat[where] ** 0.5:.2f} Å apart: "
            "unresolved disorder, or not in Å"
        )


def _array(values: Sequence[Any]) -> Floats:
    return np.array(values, dtype=float)


@cache
def atomic_mass(symbol: str) -> float:
    """Atomic mass, u.

    Raises
    ------
    ValueError
        No such element.
    """
    from pymatgen.core import Element

    if not Element.is_valid_symbol(symbol):
        raise ValueError(f"unknown element {symbol!r}")
    return float(Element(symbol).atomic_mass)


def mean_mass(composition: Composition) -> float:
    """Mean mass of an atom, u."""
    amounts = composition.get_el_amt_dict()
    return sum(atomic_mass(symbol) * amount for symbol, amount in amounts.items()) / sum(amounts.values())
