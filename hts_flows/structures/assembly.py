"""The atoms of an intercalated structure: intercalants on their sites, gaps widened until ion and surface touch."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.structures.filling import Geometry, Impossible
from hts_flows.structures.layers import Layer, covalent_radius
from hts_flows.structures.orderings import Ordering, cells, hermite, pattern_spacing, reduced_superlattice, wood_name
from hts_flows.structures.sites import GapSite, gap_sites
from hts_flows.structures.stacking import NOMINAL_WIDENING, StagedHost, mapping_gap

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure


#: Shortest distance allowed between intercalants, as a multiple of the sum of covalent radii.
SHORTEST_CONTACT = 0.7
#: Distance of intercalant and host atoms to start from at least, as a multiple of the sum of covalent radii.
_STARTING_CONTACT = 0.75
_NEAR_CELLS = np.array(list(product((-1, 0, 1), repeat=2)))
#: Radius of the usual anion of an element, six-fold coordination, Å (Shannon, Acta Cryst. A 32, 751 (1976); N: four).
ANION_RADII = {
    "N": 1.46,
    "O": 1.40,
    "F": 1.33,
    "S": 1.84,
    "Cl": 1.81,
    "Se": 1.98,
    "Br": 1.96,
    "Te": 2.21,
    "I": 2.20,
}
#: For the atoms of elemental hosts: multiple of the van der Waals radius at which c of LiC6 to CsC8 is met within 3 %.
_VAN_DER_WAALS_SHARE = 0.95


def surface_radius(symbol: str, host_symbols: frozenset[str]) -> float:
    """Radius of a host atom towards a cation in the gap, Å: anion, van der Waals (elemental host) or covalent."""
    from ase.data import atomic_numbers
    from ase.data.vdw_alvarez import vdw_radii as alvarez
    from pymatgen.core import Element

    if symbol in ANION_RADII:
        return ANION_RADII[symbol]
    if len(host_symbols) == 1:
        radius = Element(symbol).van_der_waals_radius or alvarez[atomic_numbers[symbol]]
        return _VAN_DER_WAALS_SHARE * float(radius)
    return covalent_radius(symbol)


def assemble(host: Geometry, site: GapSite, ordering: Ordering, element: str, ionic_radius: float) -> Structure:
    """Put intercalants into the filled gaps and widen these until ion and surface just touch.

    Parameters
    ----------
    host
        The staged host.
    site
        Kind of site, in the first filled gap.
    ordering
        Its occupation.
    element
        The intercalant.
    ionic_radius
        Its radius, Å.

    Returns
    -------
    Structure
        First two vectors in the plane of the layers, host atoms first, intercalants last.
    """
    from pymatgen.core import Lattice, Structure

    staged = host.staged
    occupied = _gap_positions(host, site, ordering)
    radii = _contact_radii(host, element, ionic_radius)
    symbols: list[str] = []
    points: list[NDArray[np.float64]] = []
    guests: list[NDArray[np.float64]] = []
    rise = 0.0
    shifts = np.array(cells(ordering.superlattice)) @ staged.plane
    for index, layer in enumerate(staged.layers):
        for shift in shifts:
            points += list(layer.positions + np.array([*shift, rise]))
            symbols += layer.symbols
        if index in staged.filled:
            here = occupied[staged.filled.index(index)] @ staged.lattice
            widening, moves = _widening(here, layer, staged.above(index), staged.plane, radii)
            guests += [point + np.array([0, 0, rise + move]) for point, move in zip(here, moves, strict=True)]
            rise += widening
    lattice = np.zeros((3, 3))
    lattice[:2, :2] = reduced_superlattice(ordering.superlattice, staged.plane) @ staged.plane
    lattice[2] = staged.step + np.array([0, 0, rise])
    order = sorted(range(len(symbols)), key=lambda number: list(host.composition).index(symbols[number]))
    structure = Structure(
        Lattice(lattice),
        [*(symbols[number] for number in order), *[element] * len(guests)],
        [*(points[number] for number in order), *guests],
        coords_are_cartesian=True,
        to_unit_cell=True,
    )
    structure.properties["provenance"] = {
        "site": site.label,
        "coordination": list(site.coordination),
        "superlattice": reduced_superlattice(ordering.superlattice, staged.plane).tolist(),
        "superlattice_name": wood_name(ordering.superlattice, staged.plane),
        "intercalant_spacing": round(ordering.spacing, 4),
        "intercalant_sites": list(range(len(symbols), len(symbols) + len(guests))),
        "layers": len(staged.layers),
        "filled_gaps": len(staged.filled),
        "bond_tolerance": host.crystal.tolerance,
    }
    return structure


def _contact_radii(host: Geometry, element: str, ionic_radius: float) -> dict[str, float]:
    """Distance that an intercalant is to keep from each element of the host, Å."""
    return {
        symbol: max(
            ionic_radius + surface_radius(symbol, frozenset(host.composition)),
            _STARTING_CONTACT * (covalent_radius(element) + covalent_radius(symbol)),
        )
        for symbol in host.composition
    }


def check_contacts(host: Geometry, site: GapSite, ordering: Ordering, element: str, ionic_radius: float) -> None:
    """Make sure that the intercalants of a gap are not too near to each other.

    Raises
    ------
    Impossible
        With their distance.
    """
    shortest = 2 * SHORTEST_CONTACT * covalent_radius(element)
    spacing = ordering.spacing
    if spacing >= shortest and len(ordering.sites) > 1 and len(site.positions) > 1:  # heights change with the gap's
        staged, gap = host.staged, host.staged.filled[0]
        points = site.positions @ staged.lattice
        radii = _contact_radii(host, element, ionic_radius)
        points[:, 2] += _widening(points, staged.layers[gap], staged.above(gap), staged.plane, radii)[1]
        spacing = pattern_spacing(staged.plane, points, ordering)
    if spacing < shortest:
        raise Impossible(
            f"{element} atoms would be {spacing:.2f} Å apart, less than {SHORTEST_CONTACT} of twice their "
            f"covalent radius ({shortest:.2f} Å)"
        )


def _widening(
    points: NDArray[np.float64], lower: Layer, upper: Layer, plane: NDArray[np.float64], radii: dict[str, float]
) -> tuple[float, NDArray[np.float64]]:
    """Change of a gap's height from its nominal one, and the rise of each intercalant with it, Å.

    The host's own height is kept where there is room enough.
    """
    needs = []
    images = _NEAR_CELLS @ plane
    for layer, sign in ((lower, 1), (upper, -1)):
        offsets = points[:, None] - layer.positions[None]
        flat = offsets[..., :2] - np.round(offsets[..., :2] @ np.linalg.inv(plane)) @ plane
        nearest = ((flat[:, :, None] + images) ** 2).sum(axis=3).min(axis=2)
        reach = np.array([radii[symbol] for symbol in layer.symbols]) ** 2 - nearest
        missing = np.where(reach > 0, np.sqrt(np.maximum(reach, 0)) - sign * offsets[..., 2], -np.inf)
        needs.append(np.maximum(missing.max(axis=1), -NOMINAL_WIDENING))
    below, above = needs
    widening = max(-NOMINAL_WIDENING, float((below + above).max()))
    return widening, (below + widening - above) / 2


def _gap_positions(host: Geometry, site: GapSite, ordering: Ordering) -> list[NDArray[np.float64]]:
    """Occupied positions in each filled gap, fractional in the staged cell, shapes (k, 3).

    Other gaps take the image of the first one's pattern under a symmetry operation of the host that keeps the
    superlattice, such that intercalants lie above each other as nearly as possible.
    """
    staged = host.staged
    source = staged.filled[0]
    first = np.array([site.positions[kind] + np.array([one, two, 0]) for one, two, kind in ordering.sites])
    found = [first]
    for gap in staged.filled[1:]:
        images = [
            _in_gap(operation(first), staged, gap)
            for operation in mapping_gap(staged, host.operations, source, gap)
            if hermite(np.array(ordering.superlattice) @ operation.in_plane.T) == ordering.superlattice
        ]
        choices = [
            image + np.array([one, two, 0]) for image in images for one, two in cells(ordering.superlattice)
        ] or [_nearest_sites(host, site, ordering, first, gap)]
        costs = [round(_sideways(image, first, staged, ordering), 3) for image in choices]
        found.append(choices[costs.index(min(costs))])
    return found


def _in_gap(points: NDArray[np.float64], staged: StagedHost, gap: int) -> NDArray[np.float64]:
    """Translate points along the stack's repeat until they lie in a gap."""
    return points - np.array([0, 0, 1]) * np.round(points[:, 2:] - staged.middle(gap) / staged.step[2])


def _flat_distances(
    points: NDArray[np.float64], others: NDArray[np.float64], staged: StagedHost, ordering: Ordering
) -> NDArray[np.float64]:
    """In-plane distances, modulo the superlattice, between fractional points, shape (n, m), Å."""
    vectors = reduced_superlattice(ordering.superlattice, staged.plane) @ staged.plane
    offsets = ((points[:, None] - others[None]) @ staged.lattice)[..., :2]
    offsets = offsets - np.round(offsets @ np.linalg.inv(vectors)) @ vectors
    return np.linalg.norm(offsets[:, :, None] + _NEAR_CELLS @ vectors, axis=3).min(axis=2)


def _sideways(
    points: NDArray[np.float64], others: NDArray[np.float64], staged: StagedHost, ordering: Ordering
) -> float:
    """Sum of the squared in-plane distances from each point to the nearest of the others, Å²."""
    return float((_flat_distances(points, others, staged, ordering).min(axis=1) ** 2).sum())


def _nearest_sites(
    host: Geometry, site: GapSite, ordering: Ordering, first: NDArray[np.float64], gap: int
) -> NDArray[np.float64]:
    """Occupy the sites of a gap that symmetry does not relate to the first one, as nearly above it as possible."""
    kinds = gap_sites(host.staged, host.operations, gap)
    same = [kind for kind in kinds if kind.label == site.label] or kinds
    places = np.array(
        [point + np.array([one, two, 0]) for one, two in cells(ordering.superlattice) for point in same[0].positions]
    )
    distances = np.round(_flat_distances(first, places, host.staged, ordering), 3)
    chosen: list[int] = []
    for row in distances:
        row[chosen] = np.inf
        chosen.append(int(row.argmin()))
    return places[chosen]
