"""Bicrystals: cells with one or two grain boundaries, checked after they are built.

The frame is the same for every cell of a boundary: z is normal to the boundary plane; y lies along the axis of a tilt
boundary; x makes it right-handed (for a twist boundary x lies along the shortest period). Grain 1 is below the
boundary and keeps the boundary plane's atoms, grain 2 is above it. The origin of translations is the coincidence
position: grain 2 is the mirror image of grain 1 in the plane through the terminating atoms (tilt), or grain 1 rotated
about the normal through its first atom (twist), at the density of the perfect crystal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from hts_flows.errors import InputError
from hts_flows.structures.bicrystal_check import BuiltBoundary, check_built
from hts_flows.structures.coincidence import (
    Vector,
    along,
    coincidence_lattice,
    cross,
    direction,
    dot,
    plane_lattice,
    primitive,
    row_echelon,
)
from hts_flows.structures.layers import reduce_plane

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from hts_flows.structures.boundary_specs import GrainBoundary

Cell = Literal["rectangular", "smallest"]
#: J/m² in an eV/Å².
JOULE_PER_SQUARE_METRE = 16.02176634
_ROUNDING = 1e-6
_RANGE = 6
_ORIGINS = {
    "symmetric_tilt": "grain 2 is the mirror image of grain 1 in the boundary plane, which holds the terminating atoms",
    "twist": "grain 2 is grain 1 rotated about the plane's normal through the first atom of the crystal",
}


@dataclass(frozen=True, eq=False)
class Grain:
    """An endless crystal in the bicrystal's frame, with the boundary plane at z = 0.

    Attributes
    ----------
    plane
        Primitive vectors of the lattice in the boundary plane, rows, shape (2, 2), Å.
    step
        Lattice vector to the next lattice plane, shape (3,), Å; its z is positive.
    symbols
        Elements of the primitive cell's atoms.
    positions
        Their positions, shape (n, 3), Å.
    """

    plane: NDArray[np.float64]
    step: NDArray[np.float64]
    symbols: tuple[str, ...]
    positions: NDArray[np.float64]

    def between(
        self, bottom: float, top: float, cell: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
        """Atoms with bottom < z ≤ top.

        Parameters
        ----------
        bottom, top
            Heights, Å.
        cell
            In-plane cell, rows, shape (2, 2), Å, made of the plane's lattice vectors; without it the primitive one.

        Returns
        -------
        tuple
            Index into ``symbols`` of each atom, shape (n,), and positions, shape (n, 3), Å; lowest first.
        """
        inside = np.zeros((1, 2)) if cell is None else self._points(cell)
        kinds, positions = [], []
        rise = self.step[2]
        for index, start in enumerate(self.positions):
            first = ceil(round((bottom - start[2]) / rise, 6) + _ROUNDING)
            last = ceil(round((top - start[2]) / rise, 6) + _ROUNDING)
            for repeat in range(first, last):
                images = np.repeat((start + repeat * self.step)[None], len(inside), axis=0)
                images[:, :2] += inside
                kinds.append(np.full(len(inside), index))
                positions.append(images)
        found = np.concatenate(positions)
        order = np.argsort(np.round(found[:, 2], 5), kind="stable")
        return np.concatenate(kinds)[order], found[order]

    def _points(self, cell: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of the plane's lattice in a cell of it, shape (n, 2), Å."""
        multiples = np.round(cell @ np.linalg.inv(self.plane)).astype(int)
        echelon, _ = row_echelon(multiples)
        grid = np.indices((echelon[0, 0], echelon[1, 1])).reshape(2, -1).T
        return np.asarray(grid @ self.plane)


@dataclass(frozen=True, eq=False)
class Bicrystal:
    """A built cell with one or two boundaries; :func:`build_bicrystal` makes it.

    Attributes
    ----------
    spec
        The boundary that was asked for.
    symbols
        Element of each atom.
    positions
        Cartesian, shape (n, 3), Å.
    lattice
        Lattice vectors as rows, shape (3, 3), Å; the third is along z.
    grain
        Grain of each atom, 1 or 2, shape (n,).
    rigid
        Atoms of the rigid blocks, boolean, shape (n,).
    boundary_heights
        Height of each boundary plane, Å: one, or two of which the second is at the cell's border.
    lx, ly
        Periods along x and y: the smallest rectangular cell of the boundary, Å, whichever cell was built.
    height
        Thickness of each grain, Å.
    grains
        The two endless crystals.
    built
        What was found in the built cell.
    translation
        Of grain 2 from the origin, (x, y, z), Å; z opens every boundary by as much.
    removed
        Atoms removed because they were too close to another.
    """

    spec: GrainBoundary
    symbols: tuple[str, ...]
    positions: NDArray[np.float64]
    lattice: NDArray[np.float64]
    grain: NDArray[np.int_]
    rigid: NDArray[np.bool_]
    boundary_heights: tuple[float, ...]
    lx: float
    ly: float
    height: float
    grains: tuple[Grain, Grain]
    built: BuiltBoundary
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    removed: int = 0

    @property
    def area(self) -> float:
        """Area of one boundary in the cell, Å²."""
        return float(abs(np.linalg.det(self.lattice[:2, :2])))

    @property
    def origin(self) -> str:
        """What the translation (0, 0, 0) is, in words."""
        return _ORIGINS[self.spec.geometry.kind]

    @cached_property
    def structure(self) -> Structure:
        """The cell as a structure, with the site properties ``grain`` (1 or 2) and ``rigid``."""
        from pymatgen.core import Lattice, Structure

        marks: dict[str, Any] = {"grain": self.grain.tolist(), "rigid": self.rigid.tolist()}
        return Structure(
            Lattice(self.lattice), self.symbols, self.positions, coords_are_cartesian=True, site_properties=marks
        )


def build_bicrystal(
    spec: GrainBoundary,
    *,
    thickness: float = 20.0,
    boundaries: Literal[1, 2] = 2,
    vacuum: float = 12.0,
    rigid: float | None = None,
    cell: Cell = "rectangular",
    max_atoms: int = 2000,
) -> Bicrystal:
    """Build a bicrystal in the coincidence position and check that it is the boundary asked for.

    Parameters
    ----------
    spec
        The boundary.
    thickness
        Least thickness of each grain, Å; it is rounded up to whole lattice planes, so that each grain has the crystal's
        composition.
    boundaries
        2: periodic, with a boundary in the middle and another at the border of the cell (whether they are equal says
        :func:`~hts_flows.structures.bicrystal_symmetry.boundaries_are_equivalent`). 1: one boundary in the middle, the
        outer surfaces face vacuum.
    vacuum
        Thickness of the vacuum with one boundary, Å.
    rigid
        Thickness of the rigid block of each grain, Å: the outermost atoms with one boundary (there 6 Å where nothing is
        given), the middle of the grain with two (there none).
    cell
        "rectangular": the smallest rectangular one, along x and y. "smallest": the smallest one, with the shortest
        vectors.
    max_atoms
        Largest number of atoms.

    Raises
    ------
    InputError
        The cell would have more atoms; a grain is too thin for its rigid block or for the check; or the check fails.
    """
    if boundaries not in {1, 2} or cell not in get_args(Cell):
        raise InputError(
            f"boundaries={boundaries!r} and cell={cell!r} make no bicrystal",
            'Allowed: boundaries 1 or 2, cell "rectangular" or "smallest"',
        )
    if thickness <= 0 or vacuum < 0 or (rigid or 0) < 0:
        raise InputError(
            "thickness must be positive, vacuum and rigid not negative", f"thickness={thickness} Å was given"
        )
    grains, periods, smallest, repeat = _crystals(spec)
    rise = float(grains[0].step[2])
    stack = repeat if boundaries == 2 and spec.geometry.kind == "twist" else 1  # noqa: PLR2004
    layers = stack * ceil(round(thickness / (stack * rise), 6))
    height = layers * rise
    in_plane = periods if cell == "rectangular" else smallest
    areas = float(abs(np.linalg.det(in_plane))), float(abs(np.linalg.det(smallest)))
    _few_enough(spec, grains, areas=areas, layers=(layers, stack), limit=max_atoms)
    block = (6.0 if boundaries == 1 else 0.0) if rigid is None else rigid
    if block > height - rise:
        raise InputError(
            f"A rigid block of {block:g} Å leaves nothing free of a grain of {height:.2f} Å ({spec})",
            "Give a larger thickness or a smaller rigid",
        )
    length = 2 * height + (vacuum if boundaries == 1 else 0.0)
    kinds, places, owner = [], [], []
    for number, (grain, bottom) in enumerate(zip(grains, (-height, 0.0), strict=True), start=1):
        kind, positions = grain.between(bottom, bottom + height, in_plane)
        kinds.append(kind)
        places.append(positions)
        owner.append(np.full(len(kind), number))
    positions, grain_of = np.concatenate(places), np.concatenate(owner)
    lattice = np.zeros((3, 3))
    lattice[:2, :2], lattice[2, 2] = in_plane, length
    depth = np.abs(positions[:, 2]) if boundaries == 1 else height / 2 - np.abs(np.abs(positions[:, 2]) - height / 2)
    mask = depth > (height - block if boundaries == 1 else (height - block) / 2)
    positions[:, 2] += length / 2
    positions = inside_cell(positions, lattice)
    symbols = tuple(spec.crystal.symbols[kind] for kind in np.concatenate(kinds))
    heights = (length / 2,) if boundaries == 1 else (length / 2, 0.0)
    built = check_built(spec, symbols, positions, lattice, grain_of)
    lx, ly = float(periods[0, 0]), float(periods[1, 1])
    return Bicrystal(
        spec, symbols, positions, lattice, grain_of, mask & (block > 0), heights, lx, ly, height, grains, built
    )


def _crystals(spec: GrainBoundary) -> tuple[tuple[Grain, Grain], Any, Any, int]:
    """Both grains; the rectangular and the smallest cell, Å; lattice planes until the stacking repeats."""
    geometry, crystal = spec.geometry, spec.crystal
    tilt = geometry.kind == "symmetric_tilt"
    half, basis, normal = crystal.constant / 2, crystal.basis, np.array(geometry.plane)
    shared = basis if tilt else coincidence_lattice(geometry.misorientation, crystal.centring)
    common, _ = plane_lattice(shared, geometry.plane)
    if tilt:
        second = along(shared, geometry.axis)
        first = along(shared, primitive(cross(geometry.axis, geometry.plane)))
    else:
        first, second = _shortest_rectangle(shared, common, geometry.plane)
    z = normal / np.linalg.norm(normal)
    x = first / np.linalg.norm(first)
    frame = np.array([x, np.cross(z, x), z])
    plane, step = plane_lattice(basis, geometry.plane)
    offset = np.array([0.0, 0.0, crystal.planes(geometry.plane)[spec.termination]])
    positions = crystal.positions @ frame.T - offset
    lower = Grain((plane @ frame.T)[:, :2] * half, np.asarray(frame @ step * half), crystal.symbols, positions)
    if tilt:
        flip = np.array([1.0, 1.0, -1.0])
        upper = Grain(lower.plane, -lower.step * flip, lower.symbols, lower.positions * flip)
    else:
        angle = np.radians(geometry.angle)
        turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        upper = Grain(lower.plane @ turn[:2, :2], lower.step @ turn, lower.symbols, lower.positions @ turn)
    rectangle = (np.array([first, second]) @ frame.T)[:, :2] * half
    repeat = dot(along(basis, geometry.plane).tolist(), geometry.plane) // dot(step.tolist(), geometry.plane)
    return (lower, upper), rectangle, _smallest(common @ frame.T * half), int(repeat)


def _smallest(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shortest in-plane vectors, the same ones for every basis of the lattice, right-handed, shape (2, 2), Å."""
    reduced = reduce_plane(vectors) @ vectors
    signs = [1 if (round(y, 6), round(x, 6)) > (0, 0) else -1 for x, y, _ in reduced]
    first, second = sorted(
        (sign * vector for sign, vector in zip(signs, reduced, strict=True)),
        key=lambda vector: (round(float(vector @ vector), 5), round(float(np.arctan2(vector[1], vector[0])), 5)),
    )
    if first[0] * second[1] - first[1] * second[0] < 0:
        second = -second
    return np.array([first[:2], second[:2]])


def _shortest_rectangle(shared: NDArray[np.int_], common: NDArray[np.int_], normal: Vector) -> tuple[Any, Any]:
    """Perpendicular vectors of the coincidence lattice in the plane, of the smallest area, the shorter one first."""
    reduced = reduce_plane(common.astype(float)) @ common
    best: tuple[Any, ...] | None = None
    for i in range(-_RANGE, _RANGE + 1):
        for j in range(-_RANGE, _RANGE + 1):
            if not (i or j):
                continue
            one = along(shared, primitive(i * reduced[0] + j * reduced[1]))
            other = along(shared, primitive(cross(normal, (int(one[0]), int(one[1]), int(one[2])))))
            squares = int(one @ one), int(other @ other)
            key = (squares[0] * squares[1], squares[0], tuple(-one))
            if best is None or key < best[0]:
                best = (key, one, other)
    if best is None:
        raise InputError(f"No rectangular cell in the plane normal to {direction(normal)}", "Use another axis")
    return best[1], best[2]


def inside_cell(positions: NDArray[np.float64], lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions in the cell, with none a rounding below its border."""
    fractional = positions @ np.linalg.inv(lattice)
    fractional -= np.floor(fractional + 1e-9)
    return np.asarray(fractional @ lattice)


def _few_enough(
    spec: GrainBoundary, grains: tuple[Grain, Grain], *, areas: tuple[float, float], layers: tuple[int, int], limit: int
) -> None:
    """Refuse more atoms than allowed, before they are made."""
    cells = round(areas[0] / abs(np.linalg.det(grains[0].plane)))
    layer = 2 * cells * len(grains[0].symbols)
    atoms = layer * layers[0]
    if atoms <= limit:
        return
    most = limit // (layer * layers[1]) * layers[1]
    rise = float(grains[0].step[2])
    helps = f"thickness up to {most * rise:.1f} Å fits" if most else f"one stack of planes has {layer * layers[1]}"
    smaller = f'; cell="smallest" has {atoms * areas[1] / areas[0]:.0f}' if areas[1] < 0.99 * areas[0] else ""
    raise InputError(
        f"The bicrystal of {spec} would have {atoms} atoms, more than max_atoms = {limit}",
        f"Raise max_atoms, or make it smaller: {helps}{smaller}; boundaries of smaller sigma have smaller cells",
    )
