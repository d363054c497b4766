"""The layers of a computed structure, measured against the host they came from.

Which atoms of the host are bonded is found once, from the host (:func:`hts_flows.structures.layers.find_layers`); the
same distances then decide which bonds a relaxed compound still has. Components of the bond graph that are periodic in
two directions are layers (Larsen, Pandey, Strange, Jacobsen: Phys. Rev. Mater. 3, 034003 (2019)).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement, pairwise
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.structures.layers import NotLayeredError, connected_components, covalent_radius, find_layers

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from hts_flows.structures.layers import Component

#: A host bond counts as broken when it is longer than this multiple of the longest of its kind in the host.
STRETCH = 1.15
#: Multiple of the sum of covalent radii for hosts in which no layers are found.
DEFAULT_TOLERANCE = 1.2
#: How far the amount of matter per area of a layer may differ from the host's (strain, not a lost or merged layer).
AREAL_TOLERANCE = 0.25
#: Depth below a layer's outermost atom within which an element belongs to its surface, Å.
SURFACE_DEPTH = 0.3
_LAYERED = 2

Pair = tuple[str, str]


def _pair(one: str, other: str) -> Pair:
    return (one, other) if one <= other else (other, one)


def _symbols(structure: Structure) -> list[str]:
    return [site.specie.symbol for site in structure]


@dataclass(frozen=True, eq=False)
class Bonds:
    """The bonds of a structure, each in both directions.

    Attributes
    ----------
    first, second
        Site indices, shape (n_bonds,).
    images
        Lattice translation of the second site, shape (n_bonds, 3).
    distances
        Lengths, shape (n_bonds,), Å.
    """

    first: NDArray[np.int_]
    second: NDArray[np.int_]
    images: NDArray[np.int_]
    distances: NDArray[np.float64]


def find_bonds(structure: Structure, cutoffs: dict[Pair, float]) -> Bonds:
    """Find all pairs of sites that are nearer than the cutoff of their elements.

    Parameters
    ----------
    structure
        Ordered structure.
    cutoffs
        Longest bond by pair of element symbols in alphabetical order, Å.
    """
    symbols = _symbols(structure)
    first, second, images, distances = structure.get_neighbor_list(max(cutoffs.values()))
    limits = np.array([cutoffs[_pair(symbols[i], symbols[j])] for i, j in zip(first, second, strict=True)])
    kept = distances < limits
    return Bonds(first[kept], second[kept], images[kept].astype(int), distances[kept])


@dataclass(frozen=True, eq=False)
class HostLayers:
    """What a compound's layers are compared with.

    Attributes
    ----------
    cutoffs
        Longest bond by pair of element symbols, Å.
    coordination
        For each element, the sorted numbers of bonds of its atoms in one cell of the host; bonds between metals are
        left out where there are others.
    densities
        For each kind of layer (reduced formula), its atoms per area, 1/Å².
    surface
        Elements at the layers' surfaces: those that intercalants touch.
    distance
        Mean distance between the middles of adjacent layers, Å; None where the host has no layers.
    """

    cutoffs: dict[Pair, float]
    coordination: dict[str, tuple[int, ...]]
    densities: dict[str, float]
    surface: frozenset[str]
    distance: float | None

    @classmethod
    def of(cls, host: Structure) -> HostLayers:
        """Measure a host.

        Parameters
        ----------
        host
            Any cell of the host without intercalants.
        """
        elements = sorted({*_symbols(host)})
        try:
            tolerance = find_layers(host).tolerance
        except NotLayeredError:
            tolerance = DEFAULT_TOLERANCE
        cutoffs = {
            (one, other): tolerance * (covalent_radius(one) + covalent_radius(other))
            for one, other in combinations_with_replacement(elements, 2)
        }
        bonds = find_bonds(host, cutoffs)
        stack = LayerStack.of(host, cutoffs)
        densities, surface = {}, set(elements)
        if stack.is_layered:
            densities = {stack.formula(part): len(part.atoms) / stack.area for part in stack.components}
            surface = stack.surface_elements()
        symbols = _symbols(host)
        for i, j, distance in zip(bonds.first, bonds.second, bonds.distances, strict=True):
            pair = _pair(symbols[i], symbols[j])
            cutoffs[pair] = max(cutoffs[pair], STRETCH * float(distance))
        return cls(
            cutoffs=cutoffs,
            coordination=_coordination(host, cutoffs),
            densities=densities,
            surface=frozenset(surface),
            distance=float(np.mean(stack.distances)) if stack.is_layered else None,
        )

    def is_intact(self, stack: LayerStack) -> bool:
        """Tell whether layers are still those of the host: as many, each of the same composition, no bond broken.

        Parameters
        ----------
        stack
            Layers of the compound, found with this host's ``cutoffs``.
        """
        if not (self.densities and stack.is_layered):
            return False
        for part in stack.components:
            expected = self.densities.get(stack.formula(part))
            if expected is None or abs(len(part.atoms) / stack.area / expected - 1) > AREAL_TOLERANCE:
                return False
        found = _coordination(stack.host, self.cutoffs)
        for element, numbers in self.coordination.items():
            copies, rest = divmod(len(found[element]), len(numbers))
            if rest:  # the compound's cell does not hold whole cells of the host: compare with the least
                wanted: Sequence[int] = [numbers[0]] * len(found[element])
            else:
                wanted = sorted(numbers * copies)
            if any(now < before for now, before in zip(found[element], wanted, strict=True)):
                return False
        return True


def _coordination(structure: Structure, cutoffs: dict[Pair, float]) -> dict[str, tuple[int, ...]]:
    """Sorted numbers of bonds of the atoms of each element; metal–metal bonds only where there are no others."""
    from pymatgen.core import Element

    symbols = _symbols(structure)
    metals = {symbol for symbol in symbols if Element(symbol).is_metal}
    if metals == set(symbols):
        metals = set()
    bonds = find_bonds(structure, cutoffs)
    counts: Counter[int] = Counter(
        int(i)
        for i, j in zip(bonds.first, bonds.second, strict=True)
        if not (symbols[i] in metals and symbols[j] in metals)
    )
    found: dict[str, list[int]] = {}
    for index, symbol in enumerate(symbols):
        found.setdefault(symbol, []).append(counts[index])
    return {symbol: tuple(sorted(numbers)) for symbol, numbers in found.items()}


@dataclass(frozen=True, eq=False)
class LayerStack:
    """The layers of a structure along their normal, and what lies between them.

    Attributes
    ----------
    host
        The structure without its intercalants.
    components
        Bonded components of the host.
    guests
        Cartesian positions of the intercalants, shape (n_guests, 3), Å.
    """

    host: Structure
    components: tuple[Component, ...]
    guests: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))

    @classmethod
    def of(cls, structure: Structure, cutoffs: dict[Pair, float], guests: Collection[int] = ()) -> LayerStack:
        """Find the layers.

        Parameters
        ----------
        structure
            Any cell.
        cutoffs
            Longest bond by pair of element symbols, Å.
        guests
            Site indices of the intercalants, which belong to no layer.
        """
        host = structure.copy()
        host.remove_sites(sorted(guests))
        bonds = find_bonds(host, cutoffs)
        parts = connected_components(len(host), bonds.first, bonds.second, bonds.images)
        positions = structure.cart_coords[sorted(guests)].reshape(-1, 3)
        return cls(host, tuple(parts), positions)

    @property
    def dimensionality(self) -> int:
        """Largest number of directions in which a component is periodic, 0 to 3."""
        return max(part.dimension for part in self.components)

    @property
    def is_layered(self) -> bool:
        """Whether all components are layers, parallel to each other."""
        return {(part.dimension, part.miller) for part in self.components} == {(_LAYERED, self.components[0].miller)}

    @cached_property
    def period(self) -> float:
        """Spacing of the lattice planes that the layers lie in, Å."""
        return float(self.host.lattice.d_hkl(self.components[0].miller))

    @cached_property
    def area(self) -> float:
        """Area of the lattice's cell in the layers' plane, Å²."""
        return float(self.host.volume) / self.period

    @cached_property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector perpendicular to the layers, shape (3,)."""
        vector = self.host.lattice.reciprocal_lattice_crystallographic.get_cartesian_coords(self.components[0].miller)
        return np.asarray(vector / np.linalg.norm(vector))

    def formula(self, part: Component) -> str:
        """Reduced formula of a component."""
        from pymatgen.core import Composition

        symbols = _symbols(self.host)
        return str(Composition(Counter(symbols[atom] for atom in part.atoms)).reduced_formula)

    def _atom_heights(self, part: Component) -> NDArray[np.float64]:
        positions = self.host.lattice.get_cartesian_coords(self.host.frac_coords[part.atoms] + part.offsets)
        return np.asarray(positions @ self.normal)

    def surface_elements(self) -> set[str]:
        """Elements within 0.3 Å of the outermost atom of a layer, on either side."""
        symbols = _symbols(self.host)
        found = set()
        for part in self.components:
            heights = self._atom_heights(part)
            outside = (heights > heights.max() - SURFACE_DEPTH) | (heights < heights.min() + SURFACE_DEPTH)
            found |= {symbols[atom] for atom in part.atoms[outside]}
        return found

    @cached_property
    def middles(self) -> NDArray[np.float64]:
        """Mean height of the atoms of each layer, from the lowest in one period upwards, shape (n_layers,), Å."""
        means = np.array([self._atom_heights(part).mean() for part in self.components])
        return np.sort(np.mod(means, self.period))

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """Distance from the middle of each layer to that of the next above, shape (n_layers,), Å."""
        return np.diff(np.append(self.middles, self.middles[0] + self.period))

    @cached_property
    def occupations(self) -> NDArray[np.int_]:
        """Number of intercalants between each layer's middle and the next one's, shape (n_layers,)."""
        heights = np.mod(self.guests @ self.normal - self.middles[0], self.period)
        edges = np.append(self.middles - self.middles[0], self.period)
        return np.array([((heights >= low) & (heights < high)).sum() for low, high in pairwise(edges)])

    def stage(self) -> int | None:
        """Stage: every how-manieth gap is filled; None where there is no such regular order."""
        filled = np.flatnonzero(self.occupations)
        if len(filled) == 0:
            return None
        apart = set(np.diff(np.append(filled, filled[0] + len(self.occupations))).tolist())
        return int(apart.pop()) if len(apart) == 1 else None
