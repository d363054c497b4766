"""The layers of a crystal and the gaps between them, found from its bonds.

Atoms closer than a multiple of the sum of their covalent radii are bonded; a layer is a bonded component that is
periodic in two directions (Larsen, Pandey, Strange, Jacobsen: Phys. Rev. Mater. 3, 034003 (2019), who also scan the
multiple). Nothing is assumed about the cell: layers may lie in any lattice plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

#: Multiples of the sum of covalent radii that are tried; the middle of the longest run that gives layers is used.
BOND_TOLERANCES = tuple(round(0.95 + 0.05 * step, 2) for step in range(12))
#: Distance within which atoms count as related by symmetry, Å.
SYMMETRY_PRECISION = 0.02
_GUEST_OFFSET = 500
_IN_PLANE = 2
_SQUARE_TOLERANCE = 1e-6


class NotLayeredError(InputError):
    """A structure has no parallel two-dimensional layers."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One bonded layer: one plane cell's worth of atoms.

    Attributes
    ----------
    symbols
        Element of each atom.
    positions
        Cartesian, shape (n, 3), Å; z along the layers' normal.
    """

    symbols: tuple[str, ...]
    positions: NDArray[np.float64]

    @property
    def bottom(self) -> float:
        """Height of the lowest atom, Å."""
        return float(self.positions[:, 2].min())

    @property
    def top(self) -> float:
        """Height of the highest atom, Å."""
        return float(self.positions[:, 2].max())

    @property
    def thickness(self) -> float:
        """Height from the lowest to the highest atom, Å."""
        return self.top - self.bottom

    def moved(self, vector: NDArray[np.float64]) -> Layer:
        """Copy of the layer, translated by a vector of shape (3,), Å."""
        return Layer(self.symbols, self.positions + vector)


@dataclass(frozen=True)
class Gap:
    """The space between a layer and the next one above it.

    Attributes
    ----------
    bottom, top
        Heights of the highest atom of the layer below and the lowest atom of the layer above, Å.
    guests
        Symbols of the atoms that lie in it and belong to no layer, one plane cell's worth, sorted.
    """

    bottom: float
    top: float
    guests: tuple[str, ...] = ()

    @property
    def height(self) -> float:
        """Distance between the atoms' centres on either side, along the normal, Å."""
        return self.top - self.bottom


@dataclass(frozen=True, eq=False)
class LayeredCrystal:
    """A crystal as a sequence of layers.

    Attributes
    ----------
    plane
        The two vectors of the plane cell as rows, shape (2, 2), Å: shortest ones, at 90° to 120°, the first along x.
    step
        Translation, shape (3,), Å, after which the sequence of layers repeats; its z is positive.
    layers
        From bottom to top.
    gaps
        Gap ``i`` lies above layer ``i``; the last one lies below the first layer's next copy.
    tolerance
        Multiple of the sum of covalent radii that was used for the bonds.
    """

    plane: NDArray[np.float64]
    step: NDArray[np.float64]
    layers: tuple[Layer, ...]
    gaps: tuple[Gap, ...]
    tolerance: float

    @property
    def area(self) -> float:
        """Area of the plane cell, Å²."""
        return float(abs(np.linalg.det(self.plane)))

    def layer(self, index: int) -> Layer:
        """Give layer ``index`` of the endless stack, which may be negative or beyond the first repeat."""
        repeat, within = divmod(index, len(self.layers))
        return self.layers[within].moved(repeat * self.step)


def covalent_radius(symbol: str) -> float:
    """Covalent radius, Å (Cordero et al., Dalton Trans. 2832 (2008), as tabulated in ASE)."""
    from ase.data import atomic_numbers, covalent_radii

    return float(covalent_radii[atomic_numbers[symbol]])


def primitive_cell(structure: Structure, guests: Sequence[int] = ()) -> tuple[Any, Any, Any]:
    """Reduce to the primitive cell, keeping the orientation.

    Parameters
    ----------
    structure
        Any ordered crystal.
    guests
        Indices of the sites to keep apart from other atoms of their element.

    Returns
    -------
    tuple
        Lattice vectors as rows, shape (3, 3), Å; fractional coordinates, shape (n, 3); atomic numbers, shape (n,),
        with 500 added for guests.
    """
    import spglib

    numbers = np.array([site.specie.Z for site in structure])
    numbers[list(guests)] += _GUEST_OFFSET
    cell: Any = (structure.lattice.matrix, structure.frac_coords, numbers)
    found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=SYMMETRY_PRECISION)
    return cell if found is None else found


def reduce_plane(vectors: NDArray[np.float64]) -> NDArray[np.int_]:
    """Find the shortest basis of a two-dimensional lattice (Gauss), with an angle from 90° to 120°.

    Parameters
    ----------
    vectors
        Two basis vectors as rows, shape (2, 2) or (2, 3), Å.

    Returns
    -------
    ndarray
        Integer matrix M, shape (2, 2), determinant ±1; the reduced basis is ``M @ vectors``.
    """
    basis = np.eye(2, dtype=int)
    for _ in range(100):
        first, second = basis @ vectors
        if first @ first > second @ second + _SQUARE_TOLERANCE:
            basis = basis[::-1]
            continue
        times = round(float(first @ second) / float(first @ first) - 1e-6)
        if times == 0:
            break
        basis[1] -= times * basis[0]
    if float(np.prod(basis @ vectors, axis=0).sum()) > _SQUARE_TOLERANCE:
        basis[1] *= -1
    return basis


def shortest_shift(vector: NDArray[np.float64], plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shorten the in-plane part of a vector by vectors of the plane lattice.

    Parameters
    ----------
    vector
        Shape (2,) or (3,), Å.
    plane
        Reduced plane cell, rows, shape (2, 2), Å.
    """
    cells = np.round(np.linalg.solve(plane.T, vector[:2]), 6)
    start = vector[:2] - np.floor(cells) @ plane
    images = start - np.array(list(product((-1, 0, 1, 2), repeat=2))) @ plane
    lengths = np.round(np.linalg.norm(images, axis=1), 5)
    best = images[np.lexsort((np.round(images[:, 1], 5), np.round(images[:, 0], 5), lengths))[0]]
    return np.concatenate([best, vector[2:]])


def find_layers(structure: Structure, guests: Sequence[int] | str = ()) -> LayeredCrystal:
    """Find the layers and gaps of a crystal.

    Parameters
    ----------
    structure
        Any cell of it; it is reduced to the primitive one first.
    guests
        Atoms that belong to no layer, such as intercalants: site indices, or the symbol of an element.

    Returns
    -------
    LayeredCrystal
        One repeat of the stack, in a frame with x along a plane vector and z along the normal.

    Raises
    ------
    NotLayeredError
        With any multiple of the covalent radii the bonded components are not parallel layers.
    """
    if isinstance(guests, str):
        guests = [index for index, site in enumerate(structure) if site.specie.symbol == guests]
    lattice, fractional, numbers = primitive_cell(structure, guests)
    is_guest = numbers >= _GUEST_OFFSET
    host = np.flatnonzero(~is_guest)
    tolerance, components = _layers_at_best_tolerance(lattice, fractional[host], numbers[host])
    miller = components[0].miller
    to_plane = _unimodular(miller) @ lattice
    reduced = reduce_plane(to_plane[:2]) @ to_plane[:2]
    normal = np.cross(*reduced)
    normal /= np.linalg.norm(normal)
    along = reduced[0] / np.linalg.norm(reduced[0])
    frame = np.array([along, np.cross(normal, along), normal])
    plane = (reduced @ frame.T)[:, :2]
    step = frame @ to_plane[2]
    step = shortest_shift(step if step[2] > 0 else -step, plane)

    symbols = _symbols(numbers % _GUEST_OFFSET)
    layers = []
    for component in components:
        atoms = host[component.atoms]
        positions = (fractional[atoms] + component.offsets) @ lattice @ frame.T
        positions -= np.floor(round(positions[:, 2].mean() / step[2], 6)) * step
        layers.append(Layer(tuple(symbols[atom] for atom in atoms), positions))
    layers.sort(key=lambda layer: layer.positions[:, 2].mean())
    heights = fractional[is_guest] @ lattice @ frame[2]
    names = [symbols[atom] for atom in np.flatnonzero(is_guest)]
    return LayeredCrystal(plane, step, tuple(layers), _gaps(layers, step, heights, names), tolerance)


@dataclass(frozen=True, eq=False)
class Component:
    """A bonded component: its atoms, the cell each lies in, and the lattice plane it is periodic in."""

    atoms: NDArray[np.int_]
    offsets: NDArray[np.int_]
    dimension: int
    miller: tuple[int, int, int]


def _gaps(
    layers: list[Layer], step: NDArray[np.float64], heights: NDArray[np.float64], names: list[str]
) -> tuple[Gap, ...]:
    """Gap above each layer, with the guests whose heights (Å) lie between the middles of its two layers."""
    gaps = []
    for below, above in pairwise([*layers, layers[0].moved(step)]):
        floor, ceiling = below.positions[:, 2].mean(), above.positions[:, 2].mean()
        inside = (heights - floor) % step[2] < ceiling - floor
        found = sorted(name for name, here in zip(names, inside, strict=True) if here)
        gaps.append(Gap(below.top, above.bottom, tuple(found)))
    return tuple(gaps)


def _symbols(numbers: NDArray[np.int_]) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in numbers]


def _layers_at_best_tolerance(lattice: Any, fractional: Any, numbers: Any) -> tuple[float, list[Component]]:
    """Try all tolerances; take the middle of the longest run of those at which every component is a layer."""
    from pymatgen.core import Lattice, Structure

    symbols = _symbols(numbers)
    radii = np.array([covalent_radius(symbol) for symbol in symbols])
    crystal = Structure(Lattice(lattice), symbols, fractional)
    first, second, images, distances = crystal.get_neighbor_list(2 * radii.max() * BOND_TOLERANCES[-1])
    ratios = distances / (radii[first] + radii[second])
    runs: list[list[tuple[float, list[Component]]]] = [[]]
    seen: dict[int, str] = {}
    for tolerance in BOND_TOLERANCES:
        bonded = ratios < tolerance
        components = connected_components(len(symbols), first[bonded], second[bonded], images[bonded].astype(int))
        if {(part.dimension, part.miller) for part in components} == {(_IN_PLANE, components[0].miller)}:
            runs[-1].append((tolerance, components))
        else:
            seen |= {part.dimension: f"{part.dimension}-dimensional" for part in components}
            runs.append([])
    best = max(runs, key=len)
    if not best:
        raise NotLayeredError(
            f"{crystal.composition.reduced_formula} has no parallel two-dimensional layers: its bonded parts are "
            f"{' and '.join(seen[key] for key in sorted(seen))}"
        )
    return best[(len(best) - 1) // 2]


def connected_components(number: int, first: Any, second: Any, images: Any) -> list[Component]:
    """Connected components of the periodic bond graph, each with the rank of its translations."""
    neighbours: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in range(number)]
    for one, two, image in zip(first.tolist(), second.tolist(), images.tolist(), strict=True):
        neighbours[one].append((two, tuple(image)))
    cell_of: dict[int, tuple[int, ...]] = {}
    components = []
    for start in range(number):
        if start in cell_of:
            continue
        cell_of[start] = (0, 0, 0)
        atoms, cycles = [start], set()
        for atom in atoms:
            here = cell_of[atom]
            for other, image in neighbours[atom]:
                there = tuple(x + y for x, y in zip(here, image, strict=True))
                if other not in cell_of:
                    cell_of[other] = there
                    atoms.append(other)
                elif there != cell_of[other]:
                    cycles.add(tuple(x - y for x, y in zip(there, cell_of[other], strict=True)))
        dimension, miller = _rank(sorted(cycles))
        offsets = np.array([cell_of[atom] for atom in atoms])
        components.append(Component(np.array(atoms), offsets, dimension, miller))
    return components


def _rank(cycles: list[tuple[int, ...]]) -> tuple[int, tuple[int, int, int]]:
    """Rank of a set of lattice vectors, and for rank 2 the Miller indices of their plane (else zeros)."""
    none = (0, 0, 0)
    if not cycles:
        return 0, none
    rank = int(np.linalg.matrix_rank(np.array(cycles)))
    if rank != _IN_PLANE:
        return rank, none
    for other in cycles[1:]:
        normal = [int(index) for index in np.cross(cycles[0], other)]
        if any(normal):
            divisor = gcd(*normal)
            sign = 1 if next(index for index in reversed(normal) if index) > 0 else -1
            return rank, tuple(sign * index // divisor for index in normal)  # type: ignore[return-value]
    return rank, none


def _unimodular(miller: tuple[int, int, int]) -> NDArray[np.int_]:
    """Integer basis (rows): two vectors in the lattice plane, and one that leads to the next plane."""
    h, k, l = miller  # noqa: E741
    if h == k == 0:
        return np.eye(3, dtype=int)
    common, x, y = _extended_gcd(h, k)
    _, u, v = _extended_gcd(common, l)
    return np.array([[k // common, -h // common, 0], [-x * l, -y * l, common], [u * x, u * y, v]])


def _extended_gcd(a: int, b: int) -> tuple[int, int, int]:
    """Greatest common divisor g and integers x, y with a·x + b·y = g."""
    x, y, next_x, next_y = 1, 0, 0, 1
    while b:
        quotient, rest = divmod(a, b)
        a, b = b, rest
        x, y, next_x, next_y = next_x, next_y, x - quotient * next_x, y - quotient * next_y
    return (a, x, y) if a > 0 else (-a, -x, -y)
