"""Coincidence-site lattices of cubic crystals, in exact integers.

A rotation about [uvw] that brings lattice points of a cubic crystal to coincide has tan(θ/2) = (n/m)·√(u²+v²+w²) with
integers m and n without a common divisor, and Σ is the odd part of m² + n²(u²+v²+w²), whatever the centring
(Ranganathan, Acta Cryst. 21, 197 (1966); Grimmer, Bollmann, Warrington, Acta Cryst. A 30, 197 (1974)). Vectors of
lattices are integers in units of half the lattice constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from math import atan2, degrees, gcd, isqrt, sqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hts_flows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

Vector = tuple[int, int, int]
Centring = Literal["P", "F", "I"]

_BASES: dict[str, Any] = {
    "P": [[2, 0, 0], [0, 2, 0], [0, 0, 2]],
    "F": [[0, 1, 1], [1, 0, 1], [1, 1, 0]],
    "I": [[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
}


@dataclass(frozen=True)
class Misorientation:
    """A rotation that gives a coincidence-site lattice, by its integer quaternion (m, n·u, n·v, n·w).

    Attributes
    ----------
    axis
        Rotation axis [uvw], without a common divisor.
    m, n
        Integers without a common divisor, m ≥ 0, n ≥ 1.
    """

    axis: Vector
    m: int
    n: int

    @property
    def norm(self) -> int:
        """Squared length of the quaternion: sigma, twice or four times it."""
        return self.m**2 + self.n**2 * dot(self.axis, self.axis)

    @property
    def sigma(self) -> int:
        """Volume of the coincidence-site lattice's cell in cells of the crystal's lattice."""
        return odd_part(self.norm)

    @property
    def angle(self) -> float:
        """Angle of the rotation, degrees, in (0, 180]."""
        return 2 * degrees(atan2(self.n * sqrt(dot(self.axis, self.axis)), self.m))

    def matrix(self) -> NDArray[np.int_]:
        """Give the rotation matrix (for columns) times sigma: integers, shape (3, 3)."""
        u, v, w = self.axis
        squares = self.n**2 * dot(self.axis, self.axis)
        axis = np.array(self.axis)
        cross = np.array([[0, -w, v], [w, 0, -u], [-v, u, 0]])
        times_norm = (
            (self.m**2 - squares) * np.eye(3, dtype=int)
            + 2 * self.n**2 * np.outer(axis, axis)
            + 2 * self.m * self.n * cross
        )
        return np.asarray(times_norm // (self.norm // self.sigma))


def dot(one: Iterable[int], other: Iterable[int]) -> int:
    """Scalar product of integer vectors."""
    return sum(x * y for x, y in zip(one, other, strict=True))


def cross(one: Vector, other: Vector) -> Vector:
    """Vector product of integer vectors."""
    (a, b, c), (x, y, z) = one, other
    return (b * z - c * y, c * x - a * z, a * y - b * x)


def odd_part(number: int) -> int:
    """Divide a positive integer by two until it is odd."""
    return number // (number & -number)


def direction(axis: Vector) -> str:
    """Write an axis: [001], or [0 11 1] where an index has two digits."""
    return f"[{_indices(axis)}]"


def miller(plane: Vector) -> str:
    """Write a plane: (210), or (0 11 1) where an index has two digits."""
    return f"({_indices(plane)})"


def _indices(vector: Vector) -> str:
    return ("" if all(abs(index) < 10 for index in vector) else " ").join(map(str, vector))  # noqa: PLR2004


def primitive(vector: Iterable[int], name: str = "The vector") -> Vector:
    """Divide an integer vector by the greatest common divisor of its components.

    Raises
    ------
    InputError
        It is zero.
    """
    u, v, w = (int(index) for index in vector)
    divisor = gcd(u, v, w)
    if divisor == 0:
        raise InputError(f"{name} [0 0 0] has no direction", "Give three integers, at least one of them not zero")
    return (u // divisor, v // divisor, w // divisor)


@cache
def misorientations(axis: Vector, max_sigma: int) -> tuple[Misorientation, ...]:
    """All coincidence rotations about an axis, angles in (0°, 180°], with 1 < sigma ≤ max_sigma.

    Parameters
    ----------
    axis
        [uvw]; a common divisor does not matter.
    max_sigma
        Largest sigma.

    Returns
    -------
    tuple
        Sorted by sigma, then by angle.
    """
    axis = primitive(axis, "The axis")
    square = dot(axis, axis)
    found = []
    for n in range(1, isqrt(4 * max_sigma // square) + 1):
        for m in range(isqrt(4 * max_sigma - n * n * square) + 1):
            rotation = Misorientation(axis, m, n)
            if gcd(m, n) == 1 and 1 < rotation.sigma <= max_sigma:
                found.append(rotation)
    return tuple(sorted(found, key=lambda item: (item.sigma, item.angle)))


def misorientations_of(axis: Vector, sigma: int) -> tuple[Misorientation, ...]:
    """All rotations about an axis that have a sigma, angles in (0°, 180°], sorted by angle.

    Raises
    ------
    InputError
        There is none; the message names the nearest sigmas that exist for the axis.
    """
    axis = primitive(axis, "The axis")
    found = tuple(rotation for rotation in misorientations(axis, max(sigma, 1)) if rotation.sigma == sigma)
    if found:
        return found
    exist = sorted({rotation.sigma for rotation in misorientations(axis, 2 * max(sigma, 1) + 50)})
    close = sorted(sorted(exist, key=lambda other: (abs(other - sigma), other))[:6])
    even = ": sigmas of cubic crystals are odd" if sigma % 2 == 0 else ""
    none = ": sigma 1 is the perfect crystal" if sigma == 1 else even
    raise InputError(
        f"Σ{sigma} does not exist for rotations about {direction(axis)}{none}",
        f"The nearest that do: {', '.join(f'Σ{other}' for other in close)}",
    )


def family_of(vector: Vector) -> set[Vector]:
    """All vectors that cubic symmetry relates to one."""
    return {apply_to(operation, vector) for operation in cube_operations()}


@cache
def cube_operations() -> tuple[tuple[Vector, Vector], ...]:
    """The 48 operations of the cube, as (order of the components, signs)."""
    return tuple(product(permutations(range(3)), product((1, -1), repeat=3)))  # type: ignore[arg-type]


def apply_to(operation: tuple[Vector, Vector], vector: Vector) -> Vector:
    """Image of a vector under one of :func:`cube_operations`."""
    order, signs = operation
    x, y, z = (sign * vector[index] for index, sign in zip(order, signs, strict=True))
    return (x, y, z)


def negative(vector: Vector) -> Vector:
    """Give the vector that points the other way."""
    return (-vector[0], -vector[1], -vector[2])


def lattice_basis(centring: Centring) -> NDArray[np.int_]:
    """Primitive basis of a cubic lattice as rows, shape (3, 3), in units of half the lattice constant."""
    return np.array(_BASES[centring])


def coincidence_lattice(rotation: Misorientation, centring: Centring = "P") -> NDArray[np.int_]:
    """Basis of the lattice points that the crystal and the rotated crystal share.

    Parameters
    ----------
    rotation
        The rotation, whose matrix R takes the first crystal to the second.
    centring
        "P", "F" or "I".

    Returns
    -------
    ndarray
        Rows, shape (3, 3), in units of half the lattice constant, in the first crystal's axes. Its cell has
        sigma times the volume of the primitive cell.
    """
    basis, sigma = lattice_basis(centring), rotation.sigma
    # A point c·B is R·(a lattice point) when c·B·R·B⁻¹ is an integer vector; times sigma it always is one.
    volume = round(abs(np.linalg.det(basis)))
    inverse = np.round(np.linalg.inv(basis) * volume).astype(int)
    numerators = basis @ rotation.matrix() @ inverse // volume
    stacked = np.vstack([numerators, sigma * np.eye(3, dtype=int)])
    _, transform = row_echelon(stacked)
    return np.asarray(row_echelon(transform[3:, :3])[0][:3] @ basis)


def plane_lattice(basis: NDArray[np.int_], plane: Vector) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Lattice vectors in a plane, and one that leads to the next lattice plane.

    Parameters
    ----------
    basis
        Basis of the lattice as rows, shape (3, 3), integers.
    plane
        Normal of the plane.

    Returns
    -------
    tuple
        Basis of the plane's lattice as rows, shape (2, 3), and the step to the next plane along the normal, shape (3,).
    """
    _, transform = row_echelon((basis @ np.array(plane))[:, None])
    vectors = transform @ basis
    return vectors[1:], vectors[0] if vectors[0] @ np.array(plane) > 0 else -vectors[0]


def along(basis: NDArray[np.int_], vector: Vector) -> NDArray[np.int_]:
    """Shortest lattice vector in a direction: a multiple of the integer vector, shape (3,)."""
    volume = round(abs(np.linalg.det(basis)))
    inverse = np.round(np.linalg.inv(basis) * volume).astype(int)
    coordinates = np.array(vector) @ inverse
    return np.array(vector) * (volume // gcd(volume, *(int(item) for item in coordinates)))


def row_echelon(matrix: NDArray[np.int_]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Bring an integer matrix to echelon form by unimodular row operations.

    Returns
    -------
    tuple
        The echelon form E, and the unimodular U with E = U @ matrix; rows of zeros are last, pivots are positive, and
        entries above a pivot lie from zero to below it (Hermite's normal form).
    """
    rows = len(matrix)
    work = np.hstack([matrix, np.eye(rows, dtype=int)]).astype(object)
    top = 0
    for column in range(matrix.shape[1]):
        while True:
            below = [row for row in range(top, rows) if work[row, column]]
            if not below:
                break
            least = min(below, key=lambda row, at=column: (abs(work[row, at]), row))  # type: ignore[misc]
            work[[top, least]] = work[[least, top]]
            if work[top, column] < 0:
                work[top] = -work[top]
            for row in range(top + 1, rows):
                work[row] -= work[row, column] // work[top, column] * work[top]
            if not any(work[top + 1 :, column]):
                break
        if below:
            for row in range(top):
                work[row] -= work[row, column] // work[top, column] * work[top]
            top += 1
            if top == rows:
                break
    work = work.astype(int)
    return work[:, : matrix.shape[1]], work[:, matrix.shape[1] :]
