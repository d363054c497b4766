"""Sites for intercalants in a gap: the local maxima of the distance to the host's atoms.

Such maxima are vertices of the atoms' Voronoi diagram (Blatov and Shevchenko, Acta Cryst. A 59, 34 (2003)); they
are reduced by symmetry and named by how many atoms coordinate them from below and above, and how the two are twisted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.structures.polyhedra import coordination_name
from hts_flows.structures.stacking import Operation, StagedHost, mapping_gap

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A site nearer than this to its own image under symmetry lies on the symmetry element, Å.
MERGE_DISTANCE = 0.4
#: Of sites nearer to each other than this only the roomiest is kept: the others would relax into it, Å.
DISTINCT_DISTANCE = 1.0
#: Atoms up to this multiple of the shortest distance coordinate a site.
COORDINATION_FACTOR = 1.2
#: Atoms less electronegative than the host's anions are screened if they lie deeper than this in a layer, Å.
SCREENED_DEPTH = 0.3
#: How much less electronegative (Pauling) than the host's most electronegative element an anion may be.
ANION_MARGIN = 0.3
_REACH = 8.0
_SURFACE = 4.0
_PROBE = 0.02
_EDGE = 0.01


@dataclass(frozen=True, eq=False)
class GapSite:
    """One kind of site in a gap, with all symmetry-equivalent positions of one plane cell.

    Attributes
    ----------
    label
        Geometry, e.g. octahedral; with a number when another kind has the same.
    positions
        Fractional coordinates in the staged host's cell, shape (m, 3).
    clearance
        Distance to the nearest host atom at the nominal widening, Å.
    coordination
        Number of coordinating atoms of the layer below and above.
    """

    label: str
    positions: NDArray[np.float64]
    clearance: float
    coordination: tuple[int, int]


def gap_sites(staged: StagedHost, operations: list[Operation], gap: int) -> list[GapSite]:
    """Find the symmetry-distinct sites of a gap, the roomiest first.

    Parameters
    ----------
    staged
        The host with its filled gaps widened.
    operations
        Its symmetry.
    gap
        Index of a filled gap.
    """
    below, above = _surroundings(staged, gap)
    stabilizer = mapping_gap(staged, operations, gap, gap)
    inverse = np.linalg.inv(staged.lattice)
    sites: list[GapSite] = []
    taken = np.empty((0, 3))
    for point in _maxima(staged, below.atoms, above.atoms):
        orbit = _orbit(point @ inverse, stabilizer, staged)
        if len(taken) and _distance(orbit[0], taken, staged).min() < DISTINCT_DISTANCE:
            continue
        taken = np.concatenate([taken, orbit])
        site = _describe(orbit, staged, below, above)
        if min(site.coordination):
            sites.append(site)
    sites.sort(key=lambda site: (-round(site.clearance, 2), -sum(site.coordination), len(site.positions)))
    counts: dict[str, int] = {}
    for index, site in enumerate(sites):
        counts[site.label] = counts.get(site.label, 0) + 1
        if counts[site.label] > 1:
            sites[index] = replace(site, label=f"{site.label} {counts[site.label]}")
    return sites


@dataclass(frozen=True, eq=False)
class _Wall:
    """One side of a gap: atoms with their periodic images, and which of them can coordinate an intercalant."""

    atoms: NDArray[np.float64]
    exposed: NDArray[np.bool_]


def _surroundings(staged: StagedHost, gap: int) -> tuple[_Wall, _Wall]:
    """Atoms near a gap, of the layer below and the one above."""
    lower, upper = staged.layers[gap], staged.above(gap)
    from pymatgen.core import Element

    elements = [Element(symbol) for symbol in sorted({*lower.symbols, *upper.symbols})]
    strongest = max([item for item in elements if not item.is_metal] or elements, key=lambda element: element.X)
    anions = {strongest.symbol} | {
        element.symbol
        for element in elements
        if strongest.X - element.X < ANION_MARGIN and not element.is_metal and not element.is_metalloid
    }
    height = staged.middle(gap)
    inverse = np.linalg.inv(staged.plane)
    reach = np.ceil(_REACH * np.linalg.norm(inverse, axis=0)).astype(int)
    cells = np.array(list(product(range(-reach[0], reach[0] + 2), range(-reach[1], reach[1] + 2))))
    offset = height / staged.step[2] * staged.step[:2]  # the site cell is that of the fractional coordinates
    walls = []
    for layer, depth in ((lower, lower.top - lower.positions[:, 2]), (upper, upper.positions[:, 2] - upper.bottom)):
        near = depth < _SURFACE
        atoms = layer.positions[near]
        anion = np.array([symbol in anions for symbol in layer.symbols])
        exposed = (anion | (depth < SCREENED_DEPTH))[near]
        folded = atoms.copy()
        relative = (atoms[:, :2] - offset) @ inverse
        folded[:, :2] = (relative - np.floor(relative + 1e-6)) @ staged.plane + offset
        shifts = np.zeros((len(cells), 1, 3))
        shifts[:, 0, :2] = cells @ staged.plane
        walls.append(_Wall((folded[None] + shifts).reshape(-1, 3), np.tile(exposed, len(cells))))
    return walls[0], walls[1]


def _maxima(staged: StagedHost, below: NDArray[np.float64], above: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Local maxima of the distance to the atoms, inside one plane cell, Å, the roomiest first."""
    from scipy.spatial import KDTree, Voronoi

    atoms = np.concatenate([below, above])
    floor, ceiling = below[:, 2].max() - _SURFACE / 2, above[:, 2].min() + _SURFACE / 2
    vertices = Voronoi(atoms).vertices
    vertices = vertices[(vertices[:, 2] > floor) & (vertices[:, 2] < ceiling)]
    cells = vertices @ np.linalg.inv(staged.lattice)
    inside = (np.abs(cells[:, :2] - 0.5) < 0.5 + _EDGE).all(axis=1)
    vertices = vertices[inside]
    tree = KDTree(atoms)
    clearance = tree.query(vertices)[0]
    directions = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)], dtype=float)
    directions *= _PROBE / np.linalg.norm(directions, axis=1, keepdims=True)
    around = tree.query(vertices[:, None] + directions)[0].max(axis=1)
    keep = around <= clearance + 1e-4
    vertices, clearance = vertices[keep], clearance[keep]
    order = np.lexsort((*np.round(vertices.T, 2), -np.round(clearance, 2)))
    return list(vertices[order])


def _distance(point: NDArray[np.float64], points: NDArray[np.float64], staged: StagedHost) -> NDArray[np.float64]:
    """Distances of fractional points (n, 3) from one point, modulo the lattice, Å."""
    difference = points - point
    difference -= np.round(difference)
    images = np.array([(*shift, 0) for shift in product((-1, 0, 1), repeat=2)])
    return np.linalg.norm((difference[:, None] + images) @ staged.lattice, axis=2).min(axis=1)


def _nearest_image(
    point: NDArray[np.float64], reference: NDArray[np.float64], staged: StagedHost
) -> NDArray[np.float64]:
    """Image of a fractional point that is nearest to a reference."""
    base = point - np.round(point - reference)
    images = base + np.array([(*shift, 0) for shift in product((-1, 0, 1), repeat=2)])
    return images[np.linalg.norm((images - reference) @ staged.lattice, axis=1).argmin()]


def _orbit(point: NDArray[np.float64], stabilizer: list[Operation], staged: StagedHost) -> NDArray[np.float64]:
    """All positions equivalent to a point after it is moved onto the symmetry elements next to it, shape (m, 3)."""
    near = []
    for operation in stabilizer:
        image = _nearest_image(operation(point[None])[0], point, staged)
        if np.linalg.norm((image - point) @ staged.lattice) < MERGE_DISTANCE:
            near.append(image)
    centred = np.mean(near, axis=0) if near else point
    orbit: list[NDArray[np.float64]] = []
    for operation in stabilizer:
        image = operation(centred[None])[0]
        image -= np.floor(np.round(image, 5))
        if not orbit or _distance(image, np.array(orbit), staged).min() > MERGE_DISTANCE / 2:
            orbit.append(image)
    found = np.array(orbit or [centred])
    found[:, 2] += np.round(centred[2] - found[:, 2])  # in this gap, not in a copy of it
    return found[np.lexsort(np.round(found.T[::-1], 4))]


def _describe(orbit: NDArray[np.float64], staged: StagedHost, below: _Wall, above: _Wall) -> GapSite:
    """Name a site by its coordination."""
    point = orbit[0] @ staged.lattice
    nearest = min(float(np.linalg.norm(wall.atoms - point, axis=1).min()) for wall in (below, above))
    shells = []
    for wall in (below, above):
        vectors = wall.atoms[wall.exposed] - point
        shells.append(vectors[np.linalg.norm(vectors, axis=1) < COORDINATION_FACTOR * nearest])
    return GapSite(coordination_name(*shells), orbit, nearest, (len(shells[0]), len(shells[1])))
