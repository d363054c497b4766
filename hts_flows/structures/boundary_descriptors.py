"""Geometric descriptors of grain-boundary configurations: bond lengths and local densities of two rigid grains.

A configuration is a rigid translation of grain 2 and what was removed because it was too close. Nothing is relaxed:
both grains stay perfect crystals, of which the distance along the normal is scanned. Grains bend, though: where the
boundary fits well they close up, and stay apart where it does not. So each atom is counted at the distance that is best
for the atoms around it, within a radius in the plane, and not at one that is best for all. Each atom has the sum
Σ exp(−p (r/d − 1)) over its bonds, which the short ones dominate, and the local density Σ exp(−2q (r/d − 1)), where d
is the shortest distance in the crystal. Their combination a·Σ − b·√density is the cohesion of an atom in the
second-moment approximation (Cleri, Rosato: Phys. Rev. B 48, 22 (1993)), with the same p and q for every element, and a
and b such that the crystal is in equilibrium and its atoms have the cohesion −1. So lengths scale with d and no energy
enters.

Descriptors from bond lengths and atomic densities of unrelaxed boundaries are those of Kiyohara et al.: Sci. Adv. 2,
e1600746 (2016); which ones are used here is this project's choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hts_flows.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from hts_flows.structures.bicrystals import Bicrystal
    from hts_flows.structures.cubic_crystals import CubicCrystal

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int_]
    Booleans = NDArray[np.bool_]

#: What the columns are; d is the shortest distance in the crystal.
DESCRIPTORS = {
    "pliant cohesion": "lost cohesion per area, each atom at the opening where those within 1.9 d are best, in "
    "cohesions of an atom per d²",
    "cohesion": "the same, where those within 2.3 d are best",
    "stiff cohesion": "the same, where those within 3.1 d are best",
}
#: Radii within which atoms share an opening, in d, and how their weights fall to 0 there: (1 − r²/R²) to this power.
_RADII, _POWER = (1.9, 2.3, 3.1), 3
#: Exponents of the bond sum and of the local density: middle values of the fcc metals of Cleri and Rosato.
BOND_EXPONENT, DENSITY_EXPONENT = 10.0, 2.5
#: Between these multiples of d bonds fade out.
_FADES = (1.45, 1.9)
#: Bonds shorter than this multiple of d count as this long: two grains may overlap.
_SHORTEST = 0.35
#: Openings that are scanned, in d.
_OPENINGS = np.arange(-0.25, 0.63, 0.06)
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Cohesion:
    """Bond sums and local densities of a crystal.

    Attributes
    ----------
    distance
        Shortest distance of the crystal, d, Å.
    repulsion, attraction
        Factors a of the bond sum and b of the root of the density.
    densities, energies
        Local density and a·Σ − b·√density of each atom of the primitive cell in the crystal, shape (n,).
    """

    distance: float
    repulsion: float
    attraction: float
    densities: Floats
    energies: Floats

    @property
    def reach(self) -> float:
        """Longest bond, Å."""
        return _FADES[1] * self.distance

    @classmethod
    def of(cls, crystal: CubicCrystal) -> Cohesion:
        """Make the crystal one in equilibrium whose atoms have the mean cohesion −1.

        Parameters
        ----------
        crystal
            Any cubic crystal.
        """
        basis = crystal.basis * crystal.constant / 2
        size = ceil(2 * _FADES[1] * crystal.contact / np.linalg.norm(basis, axis=1).min()) + 1
        cells = np.array(list(product(range(-size, size + 1), repeat=3))) @ basis
        offsets = crystal.positions[None, :, None] + cells[None, None] - crystal.positions[:, None, None]
        lengths = np.linalg.norm(offsets, axis=-1).reshape(len(crystal.positions), -1)
        lengths[lengths < _ROUNDING] = np.inf

        def sums(stretch: float) -> Floats:
            return bond_weights(lengths * stretch / crystal.contact).sum(axis=-1)

        step = 1e-4
        more, less, here = sums(1 + step), sums(1 - step), sums(1.0)
        ratio = (np.sqrt(more[1]) - np.sqrt(less[1])).sum() / (more[0] - less[0]).sum()
        unit = float((np.sqrt(here[1]) - ratio * here[0]).mean())
        energies = (ratio * here[0] - np.sqrt(here[1])) / unit
        return cls(crystal.contact, float(ratio) / unit, 1 / unit, here[1], energies)


def bond_weights(lengths: Floats) -> Floats:
    """What bonds add to the bond sum and to the local density of their atoms, shape (2, …).

    Parameters
    ----------
    lengths
        In d, any shape.
    """
    fading = np.clip((lengths - _FADES[0]) / (_FADES[1] - _FADES[0]), 0.0, 1.0)
    fading = 1 - fading**3 * (10 - 15 * fading + 6 * fading**2)
    beyond = np.clip(lengths, _SHORTEST, _FADES[1]) - 1
    return np.stack([np.exp(-BOND_EXPONENT * beyond), np.exp(-2 * DENSITY_EXPONENT * beyond)]) * fading


class _Pairs(NamedTuple):
    """Pairs of an atom below and one above: their numbers, distance in the plane and along the normal, Å."""

    lower: Integers
    upper: Integers
    plane: Floats
    normal: Floats


@dataclass(frozen=True, eq=False)
class _Half:
    """One grain near a boundary.

    Attributes
    ----------
    kinds, positions
        Numbers in the primitive cell, shape (n,), and positions in the boundary's frame, shape (n, 3), Å.
    own
        Bond sum and density from the grain itself, shape (2, n).
    between
        What atom j of the grain adds to them for atom i, shape (2, n, n).
    """

    kinds: Integers
    positions: Floats
    own: Floats
    between: Floats


@dataclass(frozen=True, eq=False)
class _Side:
    """A boundary: the half crystals below and above it, and which of them is grain 2 and moves (±1 up, down)."""

    cell: Floats
    lower: _Half
    upper: _Half
    moves: int

    def pairs(self, plane: Floats, reach: float) -> _Pairs:
        """Pairs that bond at some opening, for a translation (x, y) of grain 2 against grain 1, Å."""
        return _pairs(self.lower.positions, self.above(plane), self.cell, reach)

    def above(self, plane: Floats) -> Floats:
        """Positions of the upper half for a translation (x, y) of grain 2, shape (n, 3), Å."""
        moved = self.upper.positions.copy()
        moved[:, :2] = _folded(moved[:, :2] + self.moves * plane, self.cell)
        return moved

    def shares(self, plane: Floats, radii: Sequence[float]) -> Floats:
        """How much atoms count for the openings of each other, shape (n_radii, n, n), for a translation (x, y)."""
        flat = np.concatenate([self.lower.positions, self.above(plane)]) * [1.0, 1.0, 0.0]
        found = _pairs(flat, flat, self.cell, max(radii), everywhere=True)
        places, n_atoms = found.lower * len(flat) + found.upper, len(flat)
        falling = [np.clip(1 - (found.plane / radius) ** 2, 0, None) ** _POWER for radius in radii]
        summed = [np.bincount(places, weights, n_atoms**2).reshape(n_atoms, n_atoms) for weights in falling]
        return np.stack(summed)


def describe(bicrystal: Bicrystal, translations: ArrayLike, removal: Sequence[float | None]) -> Floats:
    """Descriptors of configurations, the columns of :data:`DESCRIPTORS`, shape (n, 3).

    They are the same for translations that the symmetry of the bicrystal maps onto each other, and for every choice of
    its cell. With two boundaries they are of both together.

    Parameters
    ----------
    bicrystal
        In the coincidence position, with no atoms removed.
    translations
        Of grain 2 from there, Å, shape (n, 3); the third is the opening of each boundary, at which atoms are removed.
    removal
        Atoms of grain 2 closer than this to one of grain 1 of their element are removed at that translation, Å; None
        keeps all. One for each translation.

    Raises
    ------
    InputError
        The bicrystal was translated already, or the lengths differ.
    """
    given = np.asarray(translations, dtype=float).reshape(-1, 3)
    if any(bicrystal.translation) or bicrystal.removed:
        raise InputError(
            f"{bicrystal.spec} is at the translation {bicrystal.translation} with {bicrystal.removed} atoms removed",
            "Give the bicrystal that build_bicrystal made; translations are counted from there",
        )
    if len(given) != len(removal):
        raise InputError(f"{len(given)} translations and {len(removal)} removals", "Give one removal for each, or None")
    cohesion = Cohesion.of(bicrystal.spec.crystal)
    sides = _sides(bicrystal, cohesion)
    names = np.array(bicrystal.spec.crystal.symbols)
    limits = np.array([0.0 if one is None else one for one in removal])
    area = bicrystal.area * len(sides) / cohesion.distance**2
    planes, members = np.unique(np.round(given[:, :2], 9), axis=0, return_inverse=True)
    result = np.empty((len(given), len(DESCRIPTORS)))
    for number, plane in enumerate(planes):
        pairs = [side.pairs(plane, cohesion.reach) for side in sides]
        shares = [side.shares(plane, [one * cohesion.distance for one in _RADII]) for side in sides]
        weights = [_scanned(one, _OPENINGS * cohesion.distance, cohesion) for one in pairs]
        known: dict[bytes, Floats] = {}
        for row in np.flatnonzero(members.ravel() == number):
            opening = given[row, 2]
            kept = [_kept(*both, names, limit=limits[row], opening=opening) for both in zip(sides, pairs, strict=True)]
            key = b"".join(np.concatenate(masks).tobytes() for masks in kept)
            if key not in known:
                parts = zip(sides, pairs, weights, shares, kept, strict=True)
                known[key] = np.sum([_lost(_sites(cohesion, *part[:3], part[4]), *part[3:]) for part in parts], axis=0)
            result[row] = known[key] / area
    return result


def _lost(energies: Floats, shares: Floats, kept: tuple[Booleans, Booleans]) -> Floats:
    """Lost cohesion of one boundary for each radius, each atom at the opening that is best around it."""
    stays, atoms = np.concatenate(kept), np.arange(energies.shape[1])
    return np.array([energies[(energies @ one[np.ix_(stays, stays)]).argmin(axis=0), atoms].sum() for one in shares])


def _sites(cohesion: Cohesion, side: _Side, pairs: _Pairs, weights: Floats, kept: tuple[Booleans, Booleans]) -> Floats:
    """Lost cohesion of all atoms that stay, for each opening, shape (n_z, n)."""
    bonded = kept[0][pairs.lower] & kept[1][pairs.upper]
    energies = []
    for half, numbers, stays in zip((side.lower, side.upper), (pairs.lower, pairs.upper), kept, strict=True):
        shape = (weights.shape[1], len(stays))
        places = (numbers[bonded] + np.arange(shape[0])[:, None] * shape[1]).ravel()
        own = half.own if stays.all() else half.own - half.between[:, :, ~stays].sum(axis=-1)
        bonds, density = (
            own[which] + np.bincount(places, weights[which][:, bonded].ravel(), shape[0] * shape[1]).reshape(shape)
            for which in (0, 1)
        )
        energy = cohesion.repulsion * bonds - cohesion.attraction * np.sqrt(np.maximum(density, 0))
        energies.append((energy - cohesion.energies[half.kinds])[:, stays])
    return np.concatenate(energies, axis=1)


def _scanned(pairs: _Pairs, openings: Floats, cohesion: Cohesion) -> Floats:
    """Weights of the pairs at openings (Å), shape (2, n_z, n_pairs)."""
    lengths = np.sqrt(pairs.plane**2 + (pairs.normal + openings[:, None]) ** 2)
    return bond_weights(lengths / cohesion.distance)


def _kept(
    side: _Side, pairs: _Pairs, names: NDArray[np.str_], *, limit: float, opening: float
) -> tuple[Booleans, Booleans]:
    """Which atoms below and above stay, as :func:`~hts_flows.structures.bicrystal_translation.translated` has it."""
    below, above = np.ones(len(side.lower.kinds), dtype=bool), np.ones(len(side.upper.kinds), dtype=bool)
    close = np.hypot(pairs.plane, pairs.normal + opening) <= limit
    close &= names[side.lower.kinds[pairs.lower]] == names[side.upper.kinds[pairs.upper]]
    if side.moves > 0:
        above[pairs.upper[close]] = False
    else:
        below[pairs.lower[close]] = False
    return below, above


def _sides(bicrystal: Bicrystal, cohesion: Cohesion) -> list[_Side]:
    """Both boundaries of a periodic cell, or the only one."""
    cell, height = bicrystal.lattice[:2, :2], bicrystal.height
    one, two = bicrystal.grains
    deep = 2 * cohesion.reach
    found = [
        _Side(
            cell,
            _half(*one.between(-deep, 0.0, cell), 0.0, cell, cohesion),
            _half(*two.between(0.0, deep, cell), 0.0, cell, cohesion),
            moves=1,
        )
    ]
    if len(bicrystal.boundary_heights) > 1:
        below = _half(*two.between(height - deep, height, cell), -height, cell, cohesion)
        above = _half(*one.between(-height, deep - height, cell), height, cell, cohesion)
        found.append(_Side(cell, below, above, moves=-1))
    return found


def _half(kinds: Integers, positions: Floats, lift: float, cell: Floats, cohesion: Cohesion) -> _Half:
    """Atoms that can bond across the boundary, with their bonds in the grain."""
    placed = np.column_stack([_folded(positions[:, :2], cell), positions[:, 2] + lift])
    # The scan of openings starts where the grains are closer than in the crystal.
    near = np.flatnonzero(np.abs(placed[:, 2]) < (_FADES[1] - _OPENINGS[0]) * cohesion.distance)
    pairs = _pairs(placed[near], placed, cell, cohesion.reach, everywhere=True)
    lengths = np.hypot(pairs.plane, pairs.normal)
    weights = bond_weights(lengths / cohesion.distance) * (lengths > _ROUNDING)
    number = np.full(len(placed), -1)
    number[near] = np.arange(len(near))
    other = number[pairs.upper]
    inside = other >= 0
    own = np.stack([np.bincount(pairs.lower, one, len(near)) for one in weights]).astype(float)
    places = pairs.lower[inside] * len(near) + other[inside]
    between = np.stack([np.bincount(places, one[inside], len(near) ** 2) for one in weights]).astype(float)
    return _Half(kinds[near], placed[near], own, between.reshape(2, len(near), len(near)))


def _pairs(lower: Floats, upper: Floats, cell: Floats, reach: float, *, everywhere: bool = False) -> _Pairs:
    """Pairs with images, closer than the reach in space, or at least at the smallest opening scanned."""
    widths = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    ranges = [range(-ceil(reach / width) - 1, ceil(reach / width) + 2) for width in widths]
    images = np.array(list(product(*ranges))) @ cell
    points = (upper[:, None, :2] + images).reshape(-1, 2)
    numbers = np.repeat(np.arange(len(upper)), len(images))
    bottom, top = lower[:, :2].min(axis=0) - reach, lower[:, :2].max(axis=0) + reach
    around = ((points > bottom) & (points < top)).all(axis=1)
    points, numbers = points[around], numbers[around]
    plane = ((points[None] - lower[:, None, :2]) ** 2).sum(axis=-1)
    normal = upper[numbers, 2][None] - lower[:, None, 2]
    nearest = normal if everywhere else np.maximum(normal + _OPENINGS[0] * reach / _FADES[1], 0)
    first, second = np.nonzero(plane + nearest**2 < reach**2)
    return _Pairs(first, numbers[second], np.sqrt(plane[first, second]), normal[first, second])


def _folded(plane: Floats, cell: Floats) -> Floats:
    """Points in the cell, in the plane, Å."""
    fractions = plane @ np.linalg.inv(cell)
    return np.asarray((fractions - np.floor(fractions + _ROUNDING)) @ cell)
