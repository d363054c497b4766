"""Orderings of intercalants over the sites of a gap: superlattices in the plane, the most uniform ones first.

All two-dimensional sublattices of an index are the Hermite normal forms of that determinant (Hart and Forcade, Phys.
Rev. B 77, 224115 (2008)); patterns related by the symmetry of the gap are one ordering.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from math import comb, isclose
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.structures.layers import reduce_plane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Patterns that are compared at most for one concentration.
MAX_PATTERNS = 20_000
_NEIGHBOURS = 12
_IMAGES = 4
_SAME = 1e-6

#: Integer matrix of two rows.
Matrix = tuple[tuple[int, int], tuple[int, int]]
#: A site of the plane: cell along the first and second plane vector, and index of the position in the cell.
PlaneSite = tuple[int, int, int]


@dataclass(frozen=True)
class SiteMap:
    """What a symmetry operation does to the sites of a gap.

    Attributes
    ----------
    rotation
        Its action on cells, for columns.
    images
        For each position of the cell: the cell and position it is taken to.
    """

    rotation: Matrix
    images: tuple[PlaneSite, ...]

    def __call__(self, site: PlaneSite) -> PlaneSite:
        """Image of a site."""
        (a, b), (c, d) = self.rotation
        one, two, position = self.images[site[2]]
        return a * site[0] + b * site[1] + one, c * site[0] + d * site[1] + two, position


@dataclass(frozen=True)
class Ordering:
    """A periodic occupation of the sites of one gap.

    Attributes
    ----------
    superlattice
        Vectors of the superlattice in units of the plane vectors, as rows, Hermite normal form.
    sites
        Occupied sites of one superlattice cell.
    spacing
        Shortest distance between two intercalants, Å.
    """

    superlattice: Matrix
    sites: tuple[PlaneSite, ...]
    spacing: float

    @property
    def index(self) -> int:
        """Number of plane cells in the superlattice cell."""
        return self.superlattice[0][0] * self.superlattice[1][1]


def hermite(rows: NDArray[np.int_] | Matrix) -> Matrix:
    """Hermite normal form ((a, b), (0, c)) with 0 ≤ b < c of an integer matrix of rank 2."""
    (a, b), (c, d) = (tuple(int(entry) for entry in row) for row in rows)
    while c:
        times = a // c
        a, b, c, d = c, d, a - times * c, b - times * d
    if a < 0:
        a, b = -a, -b
    d = abs(d)
    return (a, b % d), (0, d)


def sublattices(index: int) -> list[Matrix]:
    """All sublattices of a plane lattice with ``index`` cells, as Hermite normal forms."""
    return [
        ((first, offset), (0, index // first))
        for first in range(1, index + 1)
        if index % first == 0
        for offset in range(index // first)
    ]


def fold(site: PlaneSite, superlattice: Matrix) -> PlaneSite:
    """Bring a site into the first cell of a superlattice in Hermite normal form."""
    (a, b), (_, c) = superlattice
    times = site[0] // a
    return site[0] - times * a, (site[1] - times * b) % c, site[2]


def cells(superlattice: Matrix) -> list[tuple[int, int]]:
    """All plane cells of one superlattice cell."""
    return list(product(range(superlattice[0][0]), range(superlattice[1][1])))


def count_patterns(index: int, positions: int, occupied: int) -> int:
    """Number of patterns that :func:`ranked_orderings` has to compare."""
    return len(sublattices(index)) * positions * comb(index * positions - 1, occupied - 1)


def ranked_orderings(
    plane: NDArray[np.float64], positions: NDArray[np.float64], maps: list[SiteMap], index: int, occupied: int
) -> Iterator[Ordering]:
    """Yield the symmetry-distinct orderings of a gap, the most uniform first.

    The distances from an intercalant to its neighbours in the gap are compared, nearest first; larger is more
    uniform.

    Parameters
    ----------
    plane
        Plane cell, rows, shape (2, 2), Å.
    positions
        Cartesian positions of the sites of one plane cell, shape (m, 3), Å.
    maps
        Symmetry of the gap.
    index
        Plane cells in one superlattice cell.
    occupied
        Intercalants in one superlattice cell.
    """
    found: dict[tuple[float, ...], list[Ordering]] = {}
    for superlattice in sublattices(index):
        sites = [(*cell, position) for cell in cells(superlattice) for position in range(len(positions))]
        distances = _distances(plane, positions, superlattice, sites)
        for first in range(len(positions)):  # one intercalant in the first cell: the rest follows by translation
            others = [number for number in range(len(sites)) if number != first]
            for chosen in combinations(others, occupied - 1):
                numbers = [first, *chosen]
                shells = np.sort(distances[np.ix_(numbers, numbers)].reshape(occupied, -1))[:, :_NEIGHBOURS]
                key = tuple(-np.round(shells.mean(axis=0), 3) + 0.0)
                ordering = Ordering(superlattice, tuple(sites[number] for number in numbers), float(shells[0, 0]))
                found.setdefault((round(-float(shells.min()), 3), *key), []).append(ordering)
    identity = SiteMap(((1, 0), (0, 1)), tuple((0, 0, position) for position in range(len(positions))))
    for key in sorted(found):
        seen: set[tuple] = set()
        for ordering in found[key]:
            name = _canonical(ordering, maps or [identity])
            if name not in seen:
                seen.add(name)
                yield Ordering(ordering.superlattice, tuple(sorted(ordering.sites)), -key[0])


def _distances(
    plane: NDArray[np.float64], positions: NDArray[np.float64], superlattice: Matrix, sites: list[PlaneSite]
) -> NDArray[np.float64]:
    """Distances between sites with all near images, shape (n, n, images), Å; infinite for a site and itself."""
    vectors = np.array(superlattice) @ plane
    vectors = reduce_plane(vectors) @ vectors
    points = np.array([positions[site[2]] + np.array([*(np.array(site[:2]) @ plane), 0]) for site in sites])
    images = np.zeros(((2 * _IMAGES + 1) ** 2, 3))
    images[:, :2] = np.array(list(product(range(-_IMAGES, _IMAGES + 1), repeat=2))) @ vectors
    offsets = points[None] - points[:, None]
    flat = np.round(np.linalg.solve(vectors.T, offsets[..., :2].reshape(-1, 2).T).T, 6)
    offsets[..., :2] -= (np.round(flat) @ vectors).reshape(offsets[..., :2].shape)
    distances = np.linalg.norm(offsets[:, :, None] + images, axis=3)
    distances[distances < _SAME] = np.inf
    return np.sort(distances, axis=2)[:, :, : 2 * _NEIGHBOURS]


def pattern_spacing(plane: NDArray[np.float64], positions: NDArray[np.float64], ordering: Ordering) -> float:
    """Shortest distance between two occupied sites, Å, when those of a plane cell are at these positions, (m, 3)."""
    return float(_distances(plane, positions, ordering.superlattice, list(ordering.sites)).min())


def _canonical(ordering: Ordering, maps: list[SiteMap]) -> tuple:
    """Name shared by exactly those patterns that symmetry and translation take into each other."""
    names = []
    for operation in maps:
        image = hermite(np.array(ordering.superlattice) @ np.array(operation.rotation).T)
        sites = [operation(site) for site in ordering.sites]
        for origin in sites:
            moved = sorted(fold((one - origin[0], two - origin[1], kind), image) for one, two, kind in sites)
            names.append((image, tuple(moved)))
    return min(names)


def reduced_superlattice(superlattice: Matrix, plane: NDArray[np.float64]) -> NDArray[np.int_]:
    """Shortest vectors of a superlattice in units of the plane vectors, rows, right-handed, shape (2, 2)."""
    rows = np.array(superlattice)
    reduced = reduce_plane(rows @ plane) @ rows
    if np.linalg.det(reduced) < 0:
        reduced = reduced[::-1]
    return reduced


def wood_name(superlattice: Matrix, plane: NDArray[np.float64]) -> str:
    """Name a superlattice in Wood's notation, e.g. "√3×√3 R30°", or as a matrix where there is no such name.

    Parameters
    ----------
    superlattice
        Hermite normal form.
    plane
        Plane cell, rows, shape (2, 2), Å.
    """
    (first, second), lengths = reduce_plane(plane), np.linalg.norm(plane, axis=1)
    equal = isclose(lengths[0], lengths[1], rel_tol=1e-3)
    hexagonal = equal and isclose(float(plane[0] @ plane[1]) / lengths[0] ** 2, -0.5, abs_tol=1e-3)
    bases = [np.array([first, second])]
    if hexagonal:
        bases += [np.array([second, -first - second]), np.array([-first - second, first])]
    for basis in bases:
        for along in range(1, superlattice[0][0] * superlattice[1][1] + 1):
            across, rest = divmod(superlattice[0][0] * superlattice[1][1], along)
            if not rest and hermite(np.diag([along, across]) @ basis) == superlattice:
                return f"{max(along, across)}×{min(along, across)}" if equal else f"{along}×{across}"
    reduced = reduced_superlattice(superlattice, plane)
    vectors = reduced @ plane
    scale = np.linalg.norm(vectors, axis=1) / lengths
    cosines = [float(pair[0] @ pair[1] / np.prod(np.linalg.norm(pair, axis=1))) for pair in (vectors, plane)]
    if isclose(scale[0], scale[1], rel_tol=1e-3) and isclose(cosines[0], cosines[1], abs_tol=1e-3):
        angle = np.degrees(np.arctan2(vectors[0, 1], vectors[0, 0]))
        period = 60 if hexagonal else 90 if equal and isclose(cosines[1], 0, abs_tol=1e-3) else 180
        turn = min(angle % period, period - angle % period)
        root = _root(round(scale[0] ** 2))
        return f"{root}×{root} R{turn:.1f}°".replace(".0°", "°")
    return "({} {}; {} {})".format(*reduced.ravel())


def _root(square: int) -> str:
    """Square root in simplest form, e.g. 2√3 for 12."""
    factor = max(number for number in range(1, square + 1) if square % number**2 == 0)
    rest = square // factor**2
    return (str(factor) if factor > 1 or rest == 1 else "") + (f"√{rest}" if rest > 1 else "")
