"""Energy, forces and stress of the second-moment potential, compiled by numba.

Importing this module imports numba: do so in functions.

References
----------
F. Cleri, V. Rosato, Phys. Rev. B 48, 22 (1993).
"""

# ruff: noqa: PLR0917 (compiled functions take plain positional arguments)

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.engines._second_moment_parameters import SecondMomentParameters

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Booleans = NDArray[np.bool_]
    PairArrays = tuple[Integers, Integers, Floats]
    Parameters = tuple[float, float, float, float, float, float, float]
    Bins = tuple[Floats, Integers, Floats, Integers, Integers, Integers, Integers]

#: How much further than the cutoff pairs are listed, Å; the list holds until distances may have changed by this much.
SKIN = 0.6

#: Most bins along an axis when pairs are listed.
MOST_BINS = 64

#: Floating-point freedoms that leave the rounding trick of :func:`_exp` intact.
_FAST = {"contract", "nnan", "ninf", "nsz"}

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
_ROUNDER = 6755399441055744.0  # 1.5 × 2^52: adding it leaves a rounded integer in the last bits
_EXPONENT_BITS = 52


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _exp(x: float) -> float:
    """Exponential to within 3e-16 (relative) for |x| < 700, in a form that compilers vectorise."""
    shifted = x * _LOG2_E + _ROUNDER
    whole = shifted - _ROUNDER
    rest = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
    value = 1.0 / 6227020800.0
    value = value * rest + 1.0 / 479001600.0
    value = value * rest + 1.0 / 39916800.0
    value = value * rest + 1.0 / 3628800.0
    value = value * rest + 1.0 / 362880.0
    value = value * rest + 1.0 / 40320.0
    value = value * rest + 1.0 / 5040.0
    value = value * rest + 1.0 / 720.0
    value = value * rest + 1.0 / 120.0
    value = value * rest + 1.0 / 24.0
    value = value * rest + 1.0 / 6.0
    value = value * rest + 0.5
    value = value * rest + 1.0
    value = value * rest + 1.0
    bits = np.float64(value).view(np.int64) + (np.float64(shifted).view(np.int64) << _EXPONENT_BITS)
    return np.int64(bits).view(np.float64)


@njit(cache=True, error_model="numpy")
def _bins(positions: Floats, cell: Floats, pbc: Booleans, reach: float) -> Bins:
    """Sort atoms into bins at least ``reach`` wide, where the cell is.

    Gives the positions inside the cell, the bin of each atom along each axis, the lattice vectors taken away, the
    number of bins along each axis, how many bins ``reach`` spans, the atoms in the order of the bins, and where each
    bin begins.
    """
    n_atoms = len(positions)
    inverse = np.linalg.inv(cell)
    where = np.empty((n_atoms, 3), dtype=np.int64)
    wrapped = np.zeros((n_atoms, 3))
    counts = np.ones(3, dtype=np.int64)
    spans = np.ones(3, dtype=np.int64)
    for axis in range(3):
        width = 1.0 / np.sqrt((inverse[:, axis] ** 2).sum())
        fractions = positions[:, 0] * inverse[0, axis] + positions[:, 1] * inverse[1, axis]
        fractions += positions[:, 2] * inverse[2, axis]
        if pbc[axis]:
            wrapped[:, axis] = np.floor(fractions)
            fractions -= wrapped[:, axis]
            spans[axis] = max(1, int(np.ceil(reach / width)))
        else:
            low = fractions.min()
            extent = max(fractions.max() - low, 1e-9)
            fractions = (fractions - low) / extent
            width *= extent
        counts[axis] = max(1, min(int(width / reach), MOST_BINS))
        for atom in range(n_atoms):
            where[atom, axis] = min(int(fractions[atom] * counts[axis]), counts[axis] - 1)
    inner = positions.copy()
    for axis in range(3):
        for atom in range(n_atoms):
            inner[atom] -= wrapped[atom, axis] * cell[axis]
    boxes = (where[:, 0] * counts[1] + where[:, 1]) * counts[2] + where[:, 2]
    begin = np.zeros(counts.prod() + 1, dtype=np.int64)
    for box in boxes:
        begin[box + 1] += 1
    begin = begin.cumsum()
    return inner, where, wrapped, counts, spans, np.argsort(boxes), begin


@njit(cache=True, error_model="numpy")
def _fill(
    cell: Floats, pbc: Booleans, limit: float, binned: Bins, first: Integers, partner: Integers, shift: Floats
) -> int:
    """Write the pairs down, as far as there is room; gives how many there are."""
    inner, where, wrapped, counts, spans, order, begin = binned
    count = 0
    for one in range(len(inner)):
        for i in range(where[one, 0] - spans[0], where[one, 0] + spans[0] + 1):
            image_i = i // counts[0]
            for j in range(where[one, 1] - spans[1], where[one, 1] + spans[1] + 1):
                image_j = j // counts[1]
                for k in range(where[one, 2] - spans[2], where[one, 2] + spans[2] + 1):
                    image_k = k // counts[2]
                    outside = (image_i != 0 and not pbc[0]) or (image_j != 0 and not pbc[1])
                    if outside or (image_k != 0 and not pbc[2]):
                        continue
                    positive = image_i > 0 or (image_i == 0 and (image_j > 0 or (image_j == 0 and image_k > 0)))
                    x = inner[one, 0] - image_i * cell[0, 0] - image_j * cell[1, 0] - image_k * cell[2, 0]
                    y = inner[one, 1] - image_i * cell[0, 1] - image_j * cell[1, 1] - image_k * cell[2, 1]
                    z = inner[one, 2] - image_i * cell[0, 2] - image_j * cell[1, 2] - image_k * cell[2, 2]
                    box = ((i - image_i * counts[0]) * counts[1] + j - image_j * counts[1]) * counts[2]
                    box += k - image_k * counts[2]
                    for place in range(begin[box], begin[box + 1]):
                        other = order[place]
                        if other < one or (other == one and not positive):
                            continue
                        dx, dy, dz = inner[other, 0] - x, inner[other, 1] - y, inner[other, 2] - z
                        if dx * dx + dy * dy + dz * dz < limit:
                            if count < len(partner):
                                partner[count] = other
                                shift[count, 0] = image_i - wrapped[other, 0] + wrapped[one, 0]
                                shift[count, 1] = image_j - wrapped[other, 1] + wrapped[one, 1]
                                shift[count, 2] = image_k - wrapped[other, 2] + wrapped[one, 2]
                            count += 1
        first[one + 1] = count
    return count


@njit(cache=True, error_model="numpy")
def list_pairs(positions: Floats, cell: Floats, pbc: Booleans, reach: float) -> PairArrays:
    """List every pair of atoms closer than ``reach`` once, images included.

    Parameters
    ----------
    positions
        Å, shape (N, 3); atoms may lie outside the cell.
    cell
        Lattice vectors as rows, Å; none may vanish.
    pbc
        Which of them are periods.
    reach
        Å.

    Returns
    -------
    tuple
        Where the partners of each atom begin, shape (N + 1,); the partners; the lattice vectors to add to each, in
        multiples of the rows of the cell, shape (pairs, 3).
    """
    binned = _bins(positions, cell, pbc, reach)
    first = np.zeros(len(positions) + 1, dtype=np.int64)
    room = 80 * len(positions)
    while True:
        partner = np.empty(room, dtype=np.int64)
        shift = np.empty((room, 3))
        count = _fill(cell, pbc, reach * reach, binned, first, partner, shift)
        if count <= room:
            return first, partner[:count].copy(), shift[:count].copy()
        room = count


@njit(cache=True, error_model="numpy")
def drift(positions: Floats, cell: Floats, listed_positions: Floats, listed_cell: Floats, shift: Floats) -> float:
    """Bound by how much the distance of a pair may have changed since the pairs were listed, Å."""
    farthest = 0.0
    for atom in range(len(positions)):
        farthest = max(farthest, ((positions[atom] - listed_positions[atom]) ** 2).sum())
    bound = 2.0 * np.sqrt(farthest)
    for axis in range(3):
        change = np.sqrt(((cell[axis] - listed_cell[axis]) ** 2).sum())
        if change > 0.0 and len(shift):
            bound += change * np.abs(shift[:, axis]).max()
    return bound


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _within(
    positions: Floats, cell: Floats, pairs: PairArrays, cutoff: float
) -> tuple[Integers, Integers, Floats, Floats]:
    """Pick the listed pairs closer than the cutoff: where those of each atom begin, partners, differences, squares."""
    first, partner, shift = pairs
    begin = np.zeros(len(positions) + 1, dtype=np.int64)
    near = np.empty(len(partner), dtype=np.int64)
    delta = np.empty((3, len(partner)))
    squares = np.empty(len(partner))
    limit = cutoff * cutoff
    count = 0
    for one in range(len(positions)):
        x, y, z = positions[one, 0], positions[one, 1], positions[one, 2]
        for k in range(first[one], first[one + 1]):
            other = partner[k]
            s0, s1, s2 = shift[k, 0], shift[k, 1], shift[k, 2]
            dx = positions[other, 0] - x + (s0 * cell[0, 0] + s1 * cell[1, 0] + s2 * cell[2, 0])
            dy = positions[other, 1] - y + (s0 * cell[0, 1] + s1 * cell[1, 1] + s2 * cell[2, 1])
            dz = positions[other, 2] - z + (s0 * cell[0, 2] + s1 * cell[1, 2] + s2 * cell[2, 2])
            square = dx * dx + dy * dy + dz * dz
            # written always, kept only where it counts: a branch here costs more than the writes
            near[count] = other
            delta[0, count] = dx
            delta[1, count] = dy
            delta[2, count] = dz
            squares[count] = square
            count += square < limit
        begin[one + 1] = count
    return begin, near, delta, squares


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _terms(squares: Floats, parameters: Parameters) -> tuple[Floats, Floats, Floats, Floats]:
    """Repulsion of each pair and its contribution to the densities, and the derivatives of both, divided by r."""
    a, xi, p, q, r0, start, cutoff = parameters
    repulsion, repulsion_slope = np.empty(len(squares)), np.empty(len(squares))
    density, density_slope = np.empty(len(squares)), np.empty(len(squares))
    width = 1.0 / (cutoff - start)
    for k in range(len(squares)):
        r = np.sqrt(squares[k])
        x = r / r0 - 1.0
        u = min(max((r - start) * width, 0.0), 1.0)
        switch = 1.0 - u * u * u * (10.0 - u * (15.0 - 6.0 * u))
        switch_slope = -30.0 * width * u * u * (1.0 - u) * (1.0 - u)
        repelling = a * _exp(-p * x)
        hopping = xi * xi * _exp(-2.0 * q * x)
        repulsion[k] = repelling * switch
        density[k] = hopping * switch
        repulsion_slope[k] = 2.0 * repelling * (switch_slope - switch * p / r0) / r
        density_slope[k] = hopping * (switch_slope - switch * 2.0 * q / r0) / r
    return repulsion, repulsion_slope, density, density_slope


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def evaluate_pairs(
    positions: Floats,
    cell: Floats,
    pairs: PairArrays,
    parameters: Parameters,
    energies: Floats,
    forces: Floats,
    virial: Floats,
) -> float:
    """Compute energies, forces and virial of listed pairs.

    Parameters
    ----------
    positions, cell
        Å.
    pairs
        From :func:`list_pairs`.
    parameters
        A, ξ, p, q, r0, start of the taper, cutoff (eV, Å).
    energies, forces, virial
        Filled: eV, shape (N,); eV/Å, shape (N, 3); derivative of the energy by the strain, eV, shape (3, 3).

    Returns
    -------
    float
        Shortest distance, Å; infinite without pairs.
    """
    n_atoms = len(positions)
    begin, near, delta, squares = _within(positions, cell, pairs, parameters[6])
    repulsion, repulsion_slope, density, density_slope = _terms(squares[: begin[n_atoms]], parameters)
    bonds = np.zeros(n_atoms)
    energies[:] = 0.0
    closest = np.inf
    for one in range(n_atoms):
        for k in range(begin[one], begin[one + 1]):
            other = near[k]
            energies[one] += repulsion[k]
            energies[other] += repulsion[k]
            bonds[one] += density[k]
            bonds[other] += density[k]
            closest = min(closest, squares[k])
    for one in range(n_atoms):
        root = np.sqrt(bonds[one])
        energies[one] -= root
        bonds[one] = 0.5 / root if root > 0.0 else 0.0  # minus the derivative of the energy by the density
    forces[:] = 0.0
    virial[:] = 0.0
    for one in range(n_atoms):
        for k in range(begin[one], begin[one + 1]):
            other = near[k]
            pull = repulsion_slope[k] - (bonds[one] + bonds[other]) * density_slope[k]
            for i in range(3):
                part = pull * delta[i, k]
                forces[one, i] += part
                forces[other, i] -= part
                for j in range(i, 3):
                    virial[i, j] += part * delta[j, k]
    virial[1, 0], virial[2, 0], virial[2, 1] = virial[0, 1], virial[0, 2], virial[1, 2]
    return np.sqrt(closest)


@dataclass(frozen=True)
class Evaluation:
    """Energy and its derivatives."""

    energy: float
    """eV."""
    energies: Floats
    """Energy of each atom, eV, shape (N,)."""
    forces: Floats
    """eV/Å, shape (N, 3)."""
    virial: Floats
    """Derivative of the energy by the strain, eV, shape (3, 3); divided by the volume it is the stress."""
    shortest: float
    """Shortest distance of two atoms, Å."""


class SecondMoment:
    """The potential of one metal; pairs are listed again only when atoms or cell moved more than the skin allows.

    Parameters
    ----------
    parameters
        The potential.
    """

    def __init__(self, parameters: SecondMomentParameters) -> None:
        self._parameters = parameters.as_tuple()
        self._reach = parameters.cutoff + SKIN
        self._listed: tuple[Floats, Floats, Booleans, PairArrays] | None = None
        self.n_lists = 0

    def evaluate(self, positions: Floats, cell: Floats, pbc: Booleans) -> Evaluation:
        """Compute energy, forces and virial.

        Parameters
        ----------
        positions
            Å, shape (N, 3).
        cell
            Lattice vectors as rows, Å, shape (3, 3); three independent ones, periodic or not.
        pbc
            Which of them are periods, shape (3,).
        """
        energies, forces, virial = np.empty(len(positions)), np.empty((len(positions), 3)), np.empty((3, 3))
        pairs = self._pairs(positions, cell, pbc)
        shortest = evaluate_pairs(positions, cell, pairs, self._parameters, energies, forces, virial)
        return Evaluation(float(energies.sum()), energies, forces, virial, float(shortest))

    def _pairs(self, positions: Floats, cell: Floats, pbc: Booleans) -> PairArrays:
        if self._listed is not None and len(self._listed[0]) == len(positions):
            old_positions, old_cell, old_pbc, pairs = self._listed
            if (old_pbc == pbc).all() and drift(positions, cell, old_positions, old_cell, pairs[2]) < SKIN:
                return pairs
        pairs = list_pairs(positions, cell, pbc, self._reach)
        self._listed = (positions.copy(), cell.copy(), pbc.copy(), pairs)
        self.n_lists += 1
        return pairs
