"""Staging: which gaps of a host are filled, and how the layers around them lie.

In a stage-n compound n layers lie between one filled gap and the next (Dresselhaus and Dresselhaus, Adv. Phys. 51, 1
(2002)). Across a filled gap the layers keep the host's stacking, or they become eclipsed, as in graphite.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hts_flows.structures.layers import SYMMETRY_PRECISION, Layer, LayeredCrystal, shortest_shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Widening of a filled gap at which its sites and the symmetry are determined, Å.
NOMINAL_WIDENING = 0.5
_IDENTITY = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@dataclass(frozen=True, eq=False)
class StagedHost:
    """One repeat of a host with its filled gaps widened by :data:`NOMINAL_WIDENING`, still without intercalants.

    Attributes
    ----------
    plane
        Plane cell, rows, shape (2, 2), Å.
    step
        Translation after which the stack repeats, shape (3,), Å.
    layers
        From bottom to top.
    filled
        Indices of the filled gaps; gap ``i`` lies above layer ``i``.
    """

    plane: NDArray[np.float64]
    step: NDArray[np.float64]
    layers: tuple[Layer, ...]
    filled: tuple[int, ...]

    @property
    def lattice(self) -> NDArray[np.float64]:
        """Lattice vectors as rows, shape (3, 3), Å."""
        matrix = np.zeros((3, 3))
        matrix[:2, :2] = self.plane
        matrix[2] = self.step
        return matrix

    def above(self, gap: int) -> Layer:
        """Give the layer above a gap."""
        below_last = gap + 1 < len(self.layers)
        return self.layers[gap + 1] if below_last else self.layers[0].moved(self.step)

    def middle(self, gap: int) -> float:
        """Height of the middle of a gap, Å."""
        return (self.layers[gap].top + self.above(gap).bottom) / 2


def stage_host(crystal: LayeredCrystal, stage: int, stacking: Literal["host", "eclipsed"]) -> StagedHost:
    """Lay out the layers of a stage-n compound in the smallest cell that closes.

    Parameters
    ----------
    crystal
        The host.
    stage
        Every ``stage``-th gap is filled, beginning with the host's widest.
    stacking
        "host": all layers stay where they are, the filled gaps only widen. "eclipsed": the layer above a filled gap
        is the one below it, translated along the normal; the empty gaps keep the host's stacking. When the
        next block of layers is a translate of the first one the cell closes there, with a tilted vector.
    """
    heights = [round(gap.height, 3) for gap in crystal.gaps]
    widest = heights.index(max(heights))
    first = widest - stage + 1
    if stacking == "host":
        number = lcm(stage, len(crystal.layers))
        layers = [crystal.layer(first + index) for index in range(number)]
        step = number // len(crystal.layers) * crystal.step
    else:
        layers, step = _eclipsed(crystal, stage, first)
    filled = tuple(index for index in range(len(layers)) if (index + 1) % stage == 0)
    layers = [
        layer.moved(np.array([0, 0, NOMINAL_WIDENING * sum(gap < index for gap in filled)]))
        for index, layer in enumerate(layers)
    ]
    step = step + np.array([0, 0, NOMINAL_WIDENING * len(filled)])
    return StagedHost(crystal.plane, step, tuple(layers), filled)


def _eclipsed(crystal: LayeredCrystal, stage: int, first: int) -> tuple[list[Layer], NDArray[np.float64]]:
    """Stack blocks of layers, each beginning as the block below it ended, until a block repeats the first one."""
    layers: list[Layer] = []
    shift = np.zeros(3)
    index = first
    while True:
        layers += [crystal.layer(index + within).moved(shift) for within in range(stage)]
        index += stage - 1
        rise = layers[-1].thickness + crystal.gaps[index % len(crystal.gaps)].height
        shift = shift + np.array([0, 0, rise])
        step = _translation(layers[0], crystal.layer(index).moved(shift), crystal.plane)
        if step is not None:
            return layers, step


def _translation(
    one: Layer, other: Layer, plane: NDArray[np.float64], tolerance: float = 0.02
) -> NDArray[np.float64] | None:
    """Translation that takes one layer to the other, with the shortest in-plane part, Å; None when there is none."""
    if sorted(one.symbols) != sorted(other.symbols):
        return None
    names, others = np.array(one.symbols), np.array(other.symbols)
    rarest = min(sorted(set(one.symbols)), key=one.symbols.count)
    origin = one.positions[one.symbols.index(rarest)]
    found = []
    for image in other.positions[others == rarest]:
        vector = image - origin
        offsets = (one.positions + vector)[:, None] - other.positions[None]
        cells = np.round(offsets[..., :2] @ np.linalg.inv(plane))
        offsets[..., :2] -= cells @ plane
        fits = (np.linalg.norm(offsets, axis=2) < tolerance) & (names[:, None] == others[None])
        if fits.any(axis=1).all():
            found.append(shortest_shift(vector, plane))
    return min(
        found,
        key=lambda vector: (round(float(np.hypot(vector[0], vector[1])), 4), *np.round(vector[:2], 4).tolist()),
        default=None,
    )


@dataclass(frozen=True, eq=False)
class Operation:
    """Symmetry operation in fractional coordinates, x' = rotation · x + translation, both layers' normal kept."""

    rotation: NDArray[np.int_]
    translation: NDArray[np.float64]

    @property
    def in_plane(self) -> NDArray[np.int_]:
        """Its action on plane-lattice vectors, shape (2, 2), for columns."""
        return self.rotation[:2, :2]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply it to fractional coordinates of shape (n, 3)."""
        return points @ self.rotation.T + self.translation


def symmetry_operations(staged: StagedHost) -> list[Operation]:
    """Space-group operations of the staged host (without intercalants) that keep layers parallel to themselves."""
    import spglib
    from ase.data import atomic_numbers

    positions = np.concatenate([layer.positions for layer in staged.layers])
    fractional = positions @ np.linalg.inv(staged.lattice)
    numbers = [atomic_numbers[symbol] for layer in staged.layers for symbol in layer.symbols]
    cell: Any = (staged.lattice, fractional, numbers)
    found = spglib.get_symmetry(cell, symprec=SYMMETRY_PRECISION)
    if found is None:
        return [Operation(np.array(_IDENTITY), np.zeros(3))]
    operations = [
        Operation(rotation.astype(int), translation)
        for rotation, translation in zip(found["rotations"], found["translations"], strict=True)
        if not rotation[2, :2].any()
    ]
    return sorted(operations, key=lambda item: (item.rotation.tolist(), np.round(item.translation, 4).tolist()))


def mapping_gap(staged: StagedHost, operations: list[Operation], source: int, target: int) -> list[Operation]:
    """Those operations that take the middle of one gap to that of another, modulo the stack's repeat."""
    height = staged.step[2]
    start, end = staged.middle(source) / height, staged.middle(target) / height
    found = []
    for operation in operations:
        image = operation.rotation[2, 2] * start + operation.translation[2]
        if abs((image - end + 0.5) % 1 - 0.5) * height < 5 * SYMMETRY_PRECISION:
            found.append(operation)
    return found
