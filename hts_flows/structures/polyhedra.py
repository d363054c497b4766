"""Names of the coordination between two layers: the same words for starting sites and for relaxed structures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Two neighbours at a larger angle than this are opposite, degrees.
OPPOSITE = 155.0
_OCTAHEDRON = 6
#: Names by number of atoms in the layers on either side (fewer first): eclipsed, staggered.
_NAMES = {
    (1, 1): ("linear", "linear"),
    (2, 2): ("rectangular", "tetrahedral"),
    (4, 4): ("cubic", "square-antiprismatic"),
    (6, 6): ("hollow", "hexagonal-antiprismatic"),
    (1, 3): ("tetrahedral", "tetrahedral"),
    (1, 4): ("square-pyramidal", "square-pyramidal"),
    (1, 6): ("hollow-atop", "hollow-atop"),
    (3, 6): ("hollow-bridge", "hollow-bridge"),
}


def coordination_name(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> str:
    """Name a first shell: octahedral, trigonal-prismatic, hollow (between two carbon hexagons) and the like.

    Parameters
    ----------
    lower, upper
        Vectors to the neighbours in the layer below and above, shape (n, 3), Å, the layers' normal along z.
    """
    counts = (len(lower), len(upper))
    if sum(counts) == _OCTAHEDRON:
        if _all_opposite(np.concatenate([lower, upper])):
            return "octahedral"
        if min(counts) > 1:
            return "trigonal-prismatic"
    names = _NAMES.get((min(counts), max(counts)))
    if names is None:
        return f"{sum(counts)}-fold ({counts[0]}+{counts[1]})"
    return names[_twisted(lower, upper)] if counts[0] == counts[1] else names[0]


def _all_opposite(vectors: NDArray[np.float64]) -> bool:
    """Whether each neighbour has one opposite to it, as in an octahedron."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return bool(((units @ units.T).min(axis=1) < np.cos(np.radians(OPPOSITE))).all())


def _twisted(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> bool:
    """Whether the atoms above lie between, not over, those below as seen along the normal."""
    angles = [np.degrees(np.arctan2(shell[:, 1], shell[:, 0])) for shell in (lower, upper)]
    differences = np.abs((angles[1][:, None] - angles[0][None] + 180) % 360 - 180).min(axis=1)
    return bool(differences.mean() > 90 / len(lower))
