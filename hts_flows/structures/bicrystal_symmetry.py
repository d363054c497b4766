"""Which translations of a bicrystal's grains give the same boundary, by the symmetry of both crystals.

An isometry that keeps the boundary plane takes a bicrystal with the translation t to one with the translation M·t + s:
M is its part in the plane (its negative where it exchanges the grains), and s follows from where it takes each half
crystal. All are found from the half crystals themselves, so that terminations count. Lattice translations of either
grain are among them: t + s with s of the lattice that both grains' plane lattices span.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hts_flows.structures.coincidence import row_echelon
from hts_flows.structures.layers import reduce_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.structures.bicrystals import Bicrystal, Grain

_TOLERANCE = 1e-4
_DIGITS = 5


class TranslationOperation(NamedTuple):
    """Translations t and M·t + s of grain 2 have the same energy; the opening normal to the plane stays as it is.

    Attributes
    ----------
    matrix
        M, shape (2, 2), orthogonal, for columns (x, y).
    shift
        s, shape (2,), Å.
    """

    matrix: NDArray[Any]
    shift: NDArray[Any]

    def __call__(self, translations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply it to translations of shape (n, 2) or (2,), Å."""
        return np.asarray(translations @ self.matrix.T + self.shift)


@dataclass(frozen=True, eq=False)
class _Half:
    """Half a crystal, two lattice planes deep: its side of the boundary (±1), plane lattice, elements and positions."""

    side: int
    plane: NDArray[np.float64]
    symbols: NDArray[np.str_]
    positions: NDArray[np.float64]


def translation_symmetry(
    bicrystal: Bicrystal, periods: tuple[float, float] | None = None
) -> list[TranslationOperation]:
    """Find all operations on (x, y) under which the energy of a bicrystal stays the same.

    Parameters
    ----------
    bicrystal
        With two boundaries the operations are those of both boundaries together.
    periods
        Periods along x and y of the space of translations, Å: ``lx`` and ``ly`` where nothing is given. A twist
        boundary has thousands of operations in these: give :func:`translation_periods`.

    Returns
    -------
    list
        A group, modulo the periods; the identity is first. The images of a translation are
        ``[operation(t) % periods for operation in operations]``.
    """
    lattice = translation_lattice(bicrystal)
    inverse = np.linalg.inv(lattice)
    sides = _interfaces(bicrystal)
    found = _maps(sides[0], sides[0], inverse)
    if len(sides) > 1:
        alone = found.keys() & _maps(sides[1], sides[1], inverse).keys()
        exchanged = _maps(sides[0], sides[1], inverse).keys() & _maps(sides[1], sides[0], inverse).keys()
        found = {key: found[key] for key in alone} | {
            key: value for key, value in _maps(sides[0], sides[1], inverse).items() if key in exchanged
        }
    box = np.array(periods or (bicrystal.lx, bicrystal.ly))
    multiples = np.round(np.diag(box) @ inverse).astype(int)
    echelon, _ = row_echelon(multiples)
    points = np.indices((echelon[0, 0], echelon[1, 1])).reshape(2, -1).T @ lattice
    operations = []
    for matrix, shift in found.values():
        for point in points:
            fraction = (shift + point) / box
            fraction -= np.floor(fraction + _TOLERANCE)
            operations.append(TranslationOperation(matrix, fraction * box))
    return sorted(operations, key=_order)


def translation_lattice(bicrystal: Bicrystal) -> NDArray[np.float64]:
    """Shortest basis of the lattice of in-plane translations that change nothing, rows, shape (2, 2), Å."""
    one, two = (grain.plane for grain in bicrystal.grains)
    periods = np.diag([bicrystal.lx, bicrystal.ly])
    area = bicrystal.lx * bicrystal.ly
    scale = round(area / abs(np.linalg.det(one))) * round(area / abs(np.linalg.det(two)))
    whole = np.round(np.vstack([one, two]) @ np.linalg.inv(periods) * scale).astype(int)
    basis = row_echelon(whole)[0][:2] / scale @ periods
    return np.asarray(reduce_plane(basis) @ basis)


def translation_periods(bicrystal: Bicrystal) -> tuple[float, float]:
    """Shortest translations along x and along y that change nothing, Å: ``lx`` and ``ly`` or whole parts of them."""
    inverse = np.linalg.inv(translation_lattice(bicrystal))
    multiples = np.round(np.diag([bicrystal.lx, bicrystal.ly]) @ inverse).astype(int)
    along_x, along_y = (int(np.gcd.reduce(row)) for row in multiples)
    return bicrystal.lx / along_x, bicrystal.ly / along_y


def boundaries_are_equivalent(bicrystal: Bicrystal) -> bool:
    """Tell whether both boundaries of a cell have the same energy at every translation; true where there is one."""
    sides = _interfaces(bicrystal)
    inverse = np.linalg.inv(translation_lattice(bicrystal))
    return len(sides) == 1 or _key(np.eye(2), np.zeros(2), inverse) in _maps(sides[0], sides[1], inverse)


def _order(operation: TranslationOperation) -> tuple[object, ...]:
    matrix, shift = operation.matrix, operation.shift
    return (
        round(float(np.linalg.norm(matrix - np.eye(2))), _DIGITS),
        np.round(matrix, _DIGITS).tolist(),
        np.round(shift, _DIGITS).tolist(),
    )


def _interfaces(bicrystal: Bicrystal) -> list[tuple[_Half, _Half]]:
    """Each boundary as its halves of grain 1 and grain 2, the boundary plane at z = 0."""
    one, two = bicrystal.grains
    found = [(_half(one, -1, 0.0), _half(two, 1, 0.0))]
    if len(bicrystal.boundary_heights) > 1:
        found.append((_half(one, 1, bicrystal.height), _half(two, -1, -bicrystal.height)))
    return found


def _half(grain: Grain, side: int, lift: float) -> _Half:
    depth = 2 * grain.step[2]
    bottom = (0.0 if side > 0 else -depth) - lift
    kinds, positions = grain.between(bottom, bottom + depth)
    return _Half(side, grain.plane, np.array(grain.symbols)[kinds], positions + np.array([0.0, 0.0, lift]))


Maps = dict[tuple[float, ...], tuple["NDArray[np.float64]", "NDArray[np.float64]"]]


def _maps(source: tuple[_Half, _Half], target: tuple[_Half, _Half], inverse: NDArray[Any]) -> Maps:
    """Operations t → M·t + s by which a boundary becomes another one; by a key that is modulo the lattice."""
    found: Maps = {}
    for flip in (1, -1):
        exchange = source[0].side * flip != target[0].side
        first, second = (target[1], target[0]) if exchange else target
        for matrix in _isometries(source[0].plane, first.plane):
            rise_one, shifts_one = _matches(source[0], first, matrix, flip)
            rise_two, shifts_two = _matches(source[1], second, matrix, flip)
            if abs(rise_one - rise_two) > _TOLERANCE:
                continue
            for one, two in product(shifts_one, shifts_two):
                # Whatever becomes grain 2 moves relative to whatever becomes grain 1.
                part, shift = (-matrix, one - two) if exchange else (matrix, two - one)
                found.setdefault(_key(part, shift, inverse), (part, shift))
    return found


def _key(matrix: NDArray[np.float64], shift: NDArray[np.float64], inverse: NDArray[Any]) -> tuple[float, ...]:
    fraction = np.round(shift @ inverse, _DIGITS - 1) % 1
    return (*np.round(matrix, _DIGITS).ravel().tolist(), *np.round(fraction, _DIGITS - 1).tolist())


def _isometries(source: NDArray[np.float64], target: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Orthogonal matrices, for columns, that take one plane lattice onto another."""
    basis = reduce_plane(source) @ source
    goal = reduce_plane(target) @ target
    points = np.array([(i, j) for i, j in product(range(-2, 3), repeat=2) if i or j]) @ goal
    close = [points[abs(np.linalg.norm(points, axis=1) - np.linalg.norm(vector)) < _TOLERANCE] for vector in basis]
    found = []
    for one, two in product(*close):
        matrix = (np.linalg.inv(basis) @ np.array([one, two])).T
        if np.allclose(matrix @ matrix.T, np.eye(2), atol=_TOLERANCE):
            found.append(matrix)
    return found


def _matches(
    source: _Half, target: _Half, matrix: NDArray[np.float64], flip: int
) -> tuple[float, list[NDArray[np.float64]]]:
    """Translations by which the image of a half crystal lies off another: how far along z, and all in the plane."""
    image = np.column_stack([source.positions[:, :2] @ matrix.T, source.positions[:, 2] * flip])
    outermost = np.min if target.side > 0 else np.max
    rise = float(outermost(image[:, 2]) - outermost(target.positions[:, 2]))
    if len(image) != len(target.positions):
        return rise, []
    near = abs(image[:, 2, None] - rise - target.positions[None, :, 2]) < _TOLERANCE
    near &= source.symbols[:, None] == target.symbols[None]
    offsets = image[:, None, :2] - target.positions[None, :, :2]
    counts = near.sum(axis=1)
    start = int(np.argmin(counts))
    inverse = np.linalg.inv(target.plane)
    found = []
    for shift in offsets[start][near[start]]:
        cells = (offsets - shift) @ inverse
        away = np.linalg.norm((cells - np.round(cells)) @ target.plane, axis=2)
        if (near & (away < _TOLERANCE)).any(axis=1).all():
            found.append(shift)
    return rise, found
