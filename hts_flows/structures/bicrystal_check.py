"""What a built bicrystal is, found from its atoms alone: orientation of the grains, sigma, plane, angle, contacts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError
from hts_flows.structures.coincidence import Vector, family_of, miller

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.structures.boundary_specs import GrainBoundary

_EXACT = 1e-4
_WHOLE = 1e-6
_MAX_INDEX = 200
_MAX_SIGMA = 999


@dataclass(frozen=True)
class BuiltBoundary:
    """What was found in a built cell.

    Attributes
    ----------
    sigma
        From the rotation between the grains.
    planes
        Miller indices of the boundary plane in grain 1 and in grain 2; of those related by symmetry the largest.
    angle
        Of the rotation about the tilt axis or the plane's normal, degrees.
    formula
        Formula of the cell, such as Sr20 Ti20 O60.
    shortest_contact
        Shortest distance between atoms of different grains, Å; where it is longer than twice the crystal's, infinite.
    """

    sigma: int
    planes: tuple[Vector, Vector]
    angle: float
    formula: str
    shortest_contact: float


def check_built(
    spec: GrainBoundary,
    symbols: tuple[str, ...],
    positions: NDArray[np.float64],
    lattice: NDArray[np.float64],
    grain: NDArray[np.int_],
) -> BuiltBoundary:
    """Find out which boundary a cell holds, and refuse any but the one asked for.

    Parameters
    ----------
    spec
        What was asked for.
    symbols, positions, lattice, grain
        The cell: elements, Cartesian positions (n, 3) and lattice vectors (3, 3) in Å, and each atom's grain (1 or 2).

    Raises
    ------
    InputError
        A grain is too thin to find its orientation, or sigma, plane, angle or composition are not those asked for.
    """
    geometry, crystal = spec.geometry, spec.crystal
    names = np.array(symbols)
    rarest = min(sorted(set(symbols)), key=symbols.count)
    axes = []
    for number in (1, 2):
        chosen = (grain == number) & (names == rarest)
        found = cube_axes(positions[chosen], lattice, crystal.constant)
        if found is None:
            raise InputError(
                f"Grain {number} of {spec} is too thin to find its orientation",
                f"Give a thickness of at least {2 * crystal.constant:.1f} Å",
            )
        axes.append(found)
    one, two = axes
    planes = (_plane(one[:, 2]), _plane(two[:, 2]))
    misfit = one @ two.T
    sigma = _sigma(misfit, max(_MAX_SIGMA, geometry.sigma))
    lab = np.array([0.0, 1.0, 0.0] if geometry.kind == "symmetric_tilt" else [0.0, 0.0, 1.0])
    angle = min(_angles(one, two, lab), key=lambda here: abs(here - geometry.angle), default=0.0)
    wrong = []
    if sigma != geometry.sigma:
        wrong.append(f"sigma {sigma} instead of {geometry.sigma}")
    if any(plane != max(family_of(geometry.plane)) for plane in planes):
        wrong.append(f"planes {miller(planes[0])} and {miller(planes[1])} instead of {miller(geometry.plane)}")
    if abs(angle - geometry.angle) > _EXACT:
        wrong.append(f"angle {angle:.3f}° instead of {geometry.angle:.3f}°")
    counts = [{name: int(((grain == number) & (names == name)).sum()) for name in set(symbols)} for number in (1, 2)]
    units = len(symbols) // len(crystal.symbols)
    expected = {name: units * crystal.symbols.count(name) for name in set(symbols)}
    if counts[0] != counts[1] or {name: 2 * count for name, count in counts[0].items()} != expected:
        wrong.append(f"composition {formula(symbols, spec)}")
    if wrong:
        raise InputError(
            f"The cell built for {spec} is another boundary: {'; '.join(wrong)}", "Please report this: nothing was kept"
        )
    closest, _ = closest_contact(positions, lattice, grain, 2 * crystal.contact)
    return BuiltBoundary(sigma, planes, angle, formula(symbols, spec), closest)


def formula(symbols: tuple[str, ...], spec: GrainBoundary) -> str:
    """Formula of a cell, elements in the crystal's order."""
    return " ".join(f"{name}{symbols.count(name)}" for name in dict.fromkeys(spec.crystal.symbols))


def cube_axes(
    positions: NDArray[np.float64], lattice: NDArray[np.float64], constant: float
) -> NDArray[np.float64] | None:
    """Directions of a cubic crystal's edges, from pairs of equal atoms a lattice constant apart.

    Parameters
    ----------
    positions
        Atoms of one element in one grain, shape (n, 3), Å.
    lattice
        Of the bicrystal, rows, shape (3, 3), Å.
    constant
        Lattice constant, Å.

    Returns
    -------
    ndarray or None
        Three unit vectors as rows, right-handed; None where no atom has neighbours along all three edges.
    """
    images = _images(lattice, constant * 1.01)
    order = sorted(range(len(positions)), key=lambda index: (abs(index - len(positions) // 2), index))
    for index in order:
        offsets = (positions - positions[index])[:, None] + images
        lengths = np.linalg.norm(offsets, axis=2)
        edges = offsets[abs(lengths - constant) < _EXACT * constant] / constant
        for one in edges:
            across = edges[abs(edges @ one) < _EXACT]
            for two in across:
                third = np.cross(one, two)
                if (abs(abs(edges @ third) - 1) < _EXACT).any():
                    return np.array([one, two, third])
    return None


def close_pairs(
    positions: NDArray[np.float64], lattice: NDArray[np.float64], grain: NDArray[np.int_], cutoff: float
) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.float64]]:
    """Pairs of an atom of grain 1 and one of grain 2 that are closer than a cutoff.

    Returns
    -------
    tuple
        Index of the atom of grain 1, of that of grain 2, and distance, Å, each of shape (n,); closest first.
    """
    from scipy.spatial import cKDTree

    lower, upper = np.flatnonzero(grain == 1), np.flatnonzero(grain == 2)  # noqa: PLR2004
    images = _images(lattice, cutoff)
    places = (positions[upper][:, None] + images).reshape(-1, 3)
    found: Any = cKDTree(positions[lower]).sparse_distance_matrix(cKDTree(places), cutoff, output_type="ndarray")
    first, second = lower[found["i"]], upper[found["j"] // len(images)]
    order = np.lexsort((second, first, np.round(found["v"], 6)))
    return first[order], second[order], found["v"][order]


def closest_contact(
    positions: NDArray[np.float64], lattice: NDArray[np.float64], grain: NDArray[np.int_], cutoff: float
) -> tuple[float, tuple[int, int] | tuple[()]]:
    """Shortest distance between the grains, Å, and its atoms; infinite and none where it is longer than the cutoff."""
    first, second, distances = close_pairs(positions, lattice, grain, cutoff)
    if not len(distances):
        return float("inf"), ()
    return float(distances[0]), (int(first[0]), int(second[0]))


def _images(lattice: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    """Translations of the lattice that bring atoms of the cell within a cutoff, shape (n, 3), Å."""
    widths = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    ranges = [range(-ceil(cutoff / width), ceil(cutoff / width) + 1) for width in widths]
    return np.array(list(product(*ranges))) @ lattice


def _plane(normal: NDArray[np.float64]) -> Vector:
    """Miller indices of a unit vector; zeros where they would be large."""
    for index in range(1, _MAX_INDEX):
        scaled = normal / abs(normal).max() * index
        if abs(scaled - np.round(scaled)).max() < _WHOLE:
            h, k, l = (int(value) for value in np.round(scaled))  # noqa: E741
            return max(family_of((h, k, l)))
    return (0, 0, 0)


def _sigma(misfit: NDArray[np.float64], limit: int) -> int:
    """Smallest integer that makes a rotation matrix an integer one; 0 where there is none."""
    numbers = np.arange(1, limit + 1, 2)
    scaled = numbers[:, None, None] * misfit
    whole = abs(scaled - np.round(scaled)).max(axis=(1, 2)) < _WHOLE
    return int(numbers[whole][0]) if whole.any() else 0


def _angles(one: NDArray[np.float64], two: NDArray[np.float64], axis: NDArray[np.float64]) -> list[float]:
    """Angles, degrees, of all rotations about an axis of the frame that take grain 1 to grain 2."""
    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        rotation = (two[list(order)] * np.array(signs)[:, None]).T @ one
        if np.linalg.det(rotation) > 0 and np.allclose(rotation @ axis, axis, atol=_EXACT):
            side = np.roll(axis, 1)
            image = rotation @ side
            found.append(float(np.degrees(np.arctan2(abs(np.cross(side, image) @ axis), side @ image))))
    return found
