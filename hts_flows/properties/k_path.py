"""Paths through reciprocal space that are the same for a layered host and all its intercalation compounds.

The high-symmetry points are those of one layer of the host (Hinuma, Pizzi, Kumagai, Oba, Tanaka: Comput. Mater. Sci.
128, 140 (2017), as in seekpath). They are given in the reciprocal basis of the compound's cell, whichever supercell
that is: bands of compounds with different cells then run along the same directions, folded.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.properties.base import PropertyError
from hts_flows.properties.layering import HostLayers, LayerStack
from hts_flows.structures.layers import SYMMETRY_PRECISION, primitive_cell

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray
    from pymatgen.core import Structure

#: Empty space around the layer whose symmetry is analysed, Å.
VACUUM = 20.0
#: Largest relative difference between the compound's plane cell and a supercell of the host's.
MAX_STRAIN = 0.15
#: Supercells whose fit to the compound differs by less than this are equal but for a rotation.
SAME_FIT = 0.02


@dataclass(frozen=True, eq=False)
class KPath:
    """A path through reciprocal space.

    Attributes
    ----------
    points
        Fractional coordinates, shape (3,), by label, in the reciprocal basis of the structure's lattice.
    segments
        Labels of where each straight piece begins and ends, in order.
    reciprocal
        Reciprocal lattice vectors of the structure as rows, with the factor 2π, shape (3, 3), 1/Å.
    supercell
        Integer matrix, shape (2, 2): the structure's shortest vectors in the plane in terms of the host's.
    """

    points: dict[str, NDArray[np.float64]]
    segments: tuple[tuple[str, str], ...]
    reciprocal: NDArray[np.float64]
    supercell: NDArray[np.int_]

    def document(self) -> dict[str, Any]:
        """Give the path as data that a structure can carry to an engine.

        Returns
        -------
        dict
            ``points``: fractional coordinates by label; ``path``: the labels in order, "," where it jumps. Labels are
            written as ASE reads them: G for Γ, Y2 for Y_2.
        """
        path, last = "", None
        for begin, end in self.segments:
            path += _plain(end) if begin == last else ("," if path else "") + _plain(begin) + _plain(end)
            last = end
        return {"points": {_plain(label): point.tolist() for label, point in self.points.items()}, "path": path}

    def sample(self, spacing: float = 0.02) -> tuple[NDArray[np.float64], list[str]]:
        """Put points on the path.

        Parameters
        ----------
        spacing
            Largest distance between neighbouring points, 1/Å (with the factor 2π).

        Returns
        -------
        tuple
            Fractional coordinates, shape (n, 3), and the label of each point, "" for those in between.
        """
        found: list[NDArray[np.float64]] = []
        labels: list[str] = []
        for begin, end in self.segments:
            start, stop = self.points[begin], self.points[end]
            steps = max(int(np.ceil(np.linalg.norm((stop - start) @ self.reciprocal) / spacing)), 1)
            first = 1 if labels and labels[-1] == begin else 0
            found += [start + (stop - start) * step / steps for step in range(first, steps + 1)]
            labels += [begin if step == 0 else end if step == steps else "" for step in range(first, steps + 1)]
        return np.array(found), labels


def host_k_path(
    host: Structure,
    structure: Structure,
    intercalants: Collection[int] = (),
    *,
    out_of_plane: bool = True,
    precision: float = SYMMETRY_PRECISION,
) -> KPath:
    """Give the host's high-symmetry path for the cell of a compound.

    Parameters
    ----------
    host
        The empty host, any cell.
    structure
        The compound, or the host itself; its layers may be strained by up to 15 % and lie in any orientation. Of
        rotations that fit equally well, the one that turns the host least is taken.
    intercalants
        Site indices of the intercalants in ``structure``.
    out_of_plane
        Also give the pieces along and above the layer normal (A, H, L, …); they end at the boundary of the zone of
        the compound's own period.
    precision
        Distance within which atoms count as related by symmetry, Å.

    Returns
    -------
    KPath
        In the reciprocal basis of ``structure``.

    Raises
    ------
    PropertyError
        One of the two is not layered, or the compound's plane cell is no supercell of the host's.
    """
    cutoffs = HostLayers.of(host).cutoffs
    layer = _stack(_primitive(host), cutoffs, ())
    stack = _stack(structure, cutoffs, intercalants)
    plane, own = plane_vectors(layer), plane_vectors(stack)
    points, segments = _layer_path(layer, plane, precision)
    supercell = match_plane(plane, own)
    dual = np.linalg.pinv(own).T
    mapped = {}
    for label, point in points.items():
        vector = (supercell @ point[:2]) @ dual + point[2] / stack.period * stack.normal
        mapped[label] = np.round(structure.lattice.matrix @ vector, 12) + 0.0
    if not out_of_plane:
        flat = {label for label, point in points.items() if abs(point[2]) < 1e-9}  # noqa: PLR2004
        segments = tuple(segment for segment in segments if set(segment) <= flat)
    used = {label for segment in segments for label in segment}
    return KPath(
        points={label: point for label, point in mapped.items() if label in used},
        segments=segments,
        reciprocal=np.array(structure.lattice.reciprocal_lattice.matrix),
        supercell=supercell,
    )


def _plain(label: str) -> str:
    return label.replace("Γ", "G").replace("_", "")


def plane_vectors(stack: LayerStack) -> NDArray[np.float64]:
    """Two shortest lattice vectors in the layers' plane, shape (2, 3), Å; their cross product is along the normal."""
    miller = np.array(stack.components[0].miller)
    reach = int(np.abs(miller).max()) + 2
    steps = np.array([step for step in product(range(-reach, reach + 1), repeat=3) if not np.dot(step, miller)])
    vectors = np.array(stack.host.lattice.get_cartesian_coords(steps))
    vectors = vectors[np.lexsort((*np.round(-vectors.T, 4), np.round(np.linalg.norm(vectors, axis=1), 4)))][1:]
    first = vectors[0]
    areas = np.cross(first, vectors) @ stack.normal
    second = vectors[np.flatnonzero(np.isclose(areas, stack.area, rtol=1e-4))[0]]
    return np.array([first, second])


def match_plane(plane: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.int_]:
    """Find the supercell of one plane lattice that another one is, apart from a rotation and strain.

    Parameters
    ----------
    plane, own
        Two vectors each as rows, shape (2, 3), Å.

    Returns
    -------
    ndarray
        Integer matrix N, shape (2, 2), with ``N @ plane`` ≈ ``own``, possibly rotated.

    Raises
    ------
    PropertyError
        There is none within 15 %.
    """
    lengths = np.linalg.norm(own, axis=1)
    shortest = np.linalg.norm(np.cross(*plane)) / np.linalg.norm(plane, axis=1).max()
    reach = int(np.ceil((1 + MAX_STRAIN) * lengths.max() / shortest))
    steps = np.array(list(product(range(-reach, reach + 1), repeat=2)))
    sizes = np.linalg.norm(steps @ plane, axis=1)
    choices = [steps[np.abs(sizes / length - 1) < MAX_STRAIN] for length in lengths]
    metric = own @ own.T
    found = []
    for pair in product(*choices):
        matrix = np.array(pair)
        trial = matrix @ plane
        if np.linalg.det(matrix) < 0.5:  # noqa: PLR2004 - mirrored, or both along one line
            continue
        misfit = float(np.abs(trial @ trial.T - metric).max() / metric.max())
        found.append((misfit, float(np.linalg.norm(trial - own)), matrix))
    best = min((misfit for misfit, _, _ in found), default=np.inf)
    if best > 2 * MAX_STRAIN:
        raise PropertyError("the compound's plane cell is no supercell of the host's: there is no common path")
    return min((item for item in found if item[0] <= best + SAME_FIT), key=lambda item: round(item[1], 4))[2]


def _primitive(host: Structure) -> Structure:
    from pymatgen.core import Element, Lattice, Structure

    lattice, fractional, numbers = primitive_cell(host)
    return Structure(Lattice(lattice), [Element.from_Z(int(number)) for number in numbers], fractional)


def _stack(structure: Structure, cutoffs: dict[tuple[str, str], float], guests: Collection[int]) -> LayerStack:
    stack = LayerStack.of(structure, cutoffs, guests)
    if not stack.is_layered:
        raise PropertyError(f"{structure.composition.reduced_formula} is not layered: there is no path in its plane")
    return stack


def _layer_path(
    stack: LayerStack, plane: NDArray[np.float64], precision: float
) -> tuple[dict[str, NDArray[np.float64]], tuple[tuple[str, str], ...]]:
    """Points of one layer, in the reciprocal basis of the plane vectors and the normal, and the path along them."""
    from seekpath import get_path_orig_cell

    part = stack.components[0]
    lattice = stack.host.lattice
    positions = lattice.get_cartesian_coords(stack.host.frac_coords[part.atoms] + part.offsets)
    heights = positions @ stack.normal
    cell = np.array([*plane, (np.ptp(heights) + VACUUM) * stack.normal])
    numbers = [stack.host[int(atom)].specie.Z for atom in part.atoms]
    found = get_path_orig_cell((cell, np.linalg.solve(cell.T, positions.T).T, numbers), symprec=precision)
    points = {_label(name): np.array(point, dtype=float) for name, point in found["point_coords"].items()}
    return points, tuple((_label(begin), _label(end)) for begin, end in found["path"])


def _label(name: str) -> str:
    return "Γ" if name == "GAMMA" else name
