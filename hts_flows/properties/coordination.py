"""How atoms of the layers surround an intercalant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.structures.polyhedra import coordination_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from pymatgen.core import Structure

#: The first shell ends within this multiple of the nearest distance.
SHELL_LIMIT = 1.6
#: A step between sorted distances is clear when it is at least this share of the largest one.
CLEAR_STEP = 0.9
#: How much farther than that the next atoms are looked for.
_MARGIN = 1.4
_FIRST_RADIUS = 5.0
_LARGEST_RADIUS = 40.0


@dataclass(frozen=True)
class Coordination:
    """The first shell of an intercalant.

    Attributes
    ----------
    number
        Number of atoms in it.
    geometry
        Its shape: octahedral, trigonal-prismatic, hollow (between two carbon hexagons), …
    """

    number: int
    geometry: str


def coordination(
    host: Structure, position: NDArray[np.float64], normal: NDArray[np.float64] | None, elements: Collection[str]
) -> Coordination:
    """Find the first shell of an intercalant and name its shape.

    The shell ends at the first clear relative step in the sorted distances, one about as large as any. The shape
    follows from how many atoms lie in the layer on either side, and how far the two polygons are twisted against each
    other about the normal.

    Parameters
    ----------
    host
        Structure without intercalants.
    position
        Of the intercalant, Cartesian, shape (3,), Å.
    normal
        Unit vector perpendicular to the layers, shape (3,); None where there are no layers, and so no other name than
        "6-fold".
    elements
        Symbols of the elements that count, those at the layers' surfaces.
    """
    vectors = _surroundings(host, position, elements)
    distances = np.linalg.norm(vectors, axis=1)
    inside = int((distances <= SHELL_LIMIT * distances[0]).sum())
    steps = np.round(distances[1 : inside + 1] / distances[:inside], 6)
    number = int(np.argmax(steps - 1 >= CLEAR_STEP * (steps.max() - 1))) + 1
    return Coordination(number, f"{number}-fold" if normal is None else _geometry(vectors[:number], normal))


def nearest_distance(host: Structure, position: NDArray[np.float64]) -> float:
    """Distance from a position to the nearest atom of the host, Å."""
    return float(np.linalg.norm(_surroundings(host, position, {site.specie.symbol for site in host})[0]))


def _surroundings(host: Structure, position: NDArray[np.float64], elements: Collection[str]) -> NDArray[np.float64]:
    """Vectors to the atoms around a position, nearest first, at least one beyond the limit of the first shell."""
    radius = _FIRST_RADIUS
    while radius < _LARGEST_RADIUS:
        near = [site for site in host.get_sites_in_sphere(position, radius) if site.specie.symbol in elements]
        near.sort(key=lambda site: site.nn_distance)
        if (
            near
            and near[-1].nn_distance > SHELL_LIMIT * near[0].nn_distance
            and (radius > _MARGIN * SHELL_LIMIT * near[0].nn_distance)
        ):
            return np.array([site.coords - position for site in near])
        radius *= _MARGIN
    raise ValueError(f"no atoms of {', '.join(sorted(elements))} within {_LARGEST_RADIUS:g} Å of an intercalant")


def _geometry(vectors: NDArray[np.float64], normal: NDArray[np.float64]) -> str:
    """Name of a polyhedron of vectors, shape (n, 3), Å, around an atom between layers with this normal."""
    along = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    along /= np.linalg.norm(along)
    turned = vectors @ np.array([along, np.cross(normal, along), normal]).T
    return coordination_name(turned[turned[:, 2] <= 0], turned[turned[:, 2] > 0])
