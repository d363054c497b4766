"""Symmetric tilt and twist boundaries of cubic crystals: which axis, sigma, plane and angle belong together.

Angles of symmetric tilt boundaries follow the literature: twice the angle between the boundary plane and the nearest
mirror plane {100} that contains the axis, or {110} where no {100} does. So Σ5[001](210) is 53.13° = 2·atan(1/2) and
Σ5[001](310) is 36.87° = 2·atan(1/3), although one misorientation is the other's by symmetry.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import TYPE_CHECKING, Literal

from hts_flows.errors import InputError
from hts_flows.structures.coincidence import (
    Misorientation,
    Vector,
    apply_to,
    cross,
    cube_operations,
    direction,
    dot,
    family_of,
    miller,
    misorientations,
    misorientations_of,
    negative,
    primitive,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["symmetric_tilt", "twist"]

#: How far a given angle may lie from the boundary's own, degrees: angles are often written with one decimal.
ANGLE_TOLERANCE = 0.1
#: Largest sigma that is looked for where only an angle is given.
MAX_SIGMA = 199
_CUBE_PLANES: tuple[Vector, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_DIAGONAL_PLANES: tuple[Vector, ...] = ((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1))


@dataclass(frozen=True)
class CoincidenceBoundary:
    """A symmetric tilt or a twist boundary, without the crystal.

    Attributes
    ----------
    kind
        "symmetric_tilt": the grains are mirror images in the plane, which contains the axis. "twist": the grains are
        rotated about the plane's normal.
    misorientation
        The rotation, with axis, sigma and angle.
    plane
        Miller indices of the boundary plane in either grain, without a common divisor.
    """

    kind: Kind
    misorientation: Misorientation
    plane: Vector

    @property
    def axis(self) -> Vector:
        """Rotation axis."""
        return self.misorientation.axis

    @property
    def sigma(self) -> int:
        """Volume of the coincidence-site lattice's cell in cells of the crystal's lattice."""
        return self.misorientation.sigma

    @property
    def angle(self) -> float:
        """Angle of the rotation, degrees."""
        return self.misorientation.angle

    def __str__(self) -> str:
        tail = "twist" if self.kind == "twist" else ""
        return f"Σ{self.sigma}{direction(self.axis)}{miller(self.plane)}{tail}"


def mirror_planes(axis: Vector) -> tuple[Vector, ...]:
    """Mirror planes of the cube that contain an axis and that angles are counted from: {100}, else {110}, else none."""
    for planes in (_CUBE_PLANES, _DIAGONAL_PLANES):
        found = tuple(plane for plane in planes if dot(plane, axis) == 0)
        if found:
            return found
    return ()


def symmetric_tilt(axis: Vector, plane: Vector) -> CoincidenceBoundary:
    """Symmetric tilt boundary of an axis and a plane.

    Parameters
    ----------
    axis
        Tilt axis [uvw].
    plane
        Miller indices; the plane must contain the axis.

    Raises
    ------
    InputError
        The plane does not contain the axis; it is a mirror plane of the crystal, so that there is no boundary; or no
        mirror plane contains the axis, so that a rotation about it gives no symmetric boundary.
    """
    axis, plane = primitive(axis, "The axis"), primitive(plane, "The plane")
    if dot(axis, plane):
        lie = {max(other, negative(other)) for other in family_of(axis) if dot(other, plane) == 0}
        family = sorted(lie, reverse=True)
        hint = f"Of its family, {' or '.join(map(direction, family[:3]))} lies in {miller(plane)}" if family else None
        raise InputError(
            f"The plane {miller(plane)} does not contain the axis {direction(axis)}: hu + kv + lw = {dot(axis, plane)}",
            hint or "A tilt boundary's plane contains the axis: hu + kv + lw = 0; a twist boundary's is normal to it",
        )
    mirrors = mirror_planes(axis)
    if not mirrors:
        raise InputError(
            f"No mirror plane of a cubic crystal contains {direction(axis)}: it has no symmetric tilt boundaries",
            "Use an axis with a zero or with two indices of the same size, such as [001], [110], [111], [112] or [012]",
        )
    pairs = []
    for mirror in mirrors:
        along = abs(dot(plane, mirror))
        across = abs(dot(cross(mirror, plane), axis)) // dot(axis, axis)
        divisor = gcd(along, across)
        pairs.append(Misorientation(axis, along // divisor, across // divisor))
    best = min(pairs, key=lambda item: item.angle)
    if best.sigma == 1:
        raise InputError(
            f"{miller(plane)} is a mirror plane of the crystal: there is no boundary of grains in it",
            f"Boundaries about {direction(axis)} are: {_listed(_tilts(axis, 33)[:6])}",
        )
    return CoincidenceBoundary("symmetric_tilt", best, plane)


def symmetric_tilts(axis: Vector, sigma: int) -> tuple[CoincidenceBoundary, ...]:
    """Symmetric tilt boundaries of an axis and a sigma, one of each that symmetry relates, sorted by angle.

    Raises
    ------
    InputError
        The sigma does not exist for the axis, or the axis has no symmetric tilt boundaries.
    """
    axis = primitive(axis, "The axis")
    misorientations_of(axis, sigma)
    found = tuple(boundary for boundary in _tilts(axis, sigma) if boundary.sigma == sigma)
    return tuple(sorted(found, key=lambda item: item.angle))


@cache
def _tilts(axis: Vector, max_sigma: int) -> tuple[CoincidenceBoundary, ...]:
    """Symmetric tilt boundaries up to a sigma, one of each that symmetry relates, sorted by sigma and angle."""
    mirrors = mirror_planes(axis)
    if not mirrors:
        symmetric_tilt(axis, primitive(cross(axis, (1, 0, 0))))  # says that there are none
    same_axis = [images for images in cube_operations() if apply_to(images, axis) in {axis, negative(axis)}]
    found: dict[Vector, CoincidenceBoundary] = {}
    for rotation in misorientations(axis, max_sigma):
        for mirror in mirrors:
            side = cross(axis, mirror)
            plane = tuple(rotation.m * x + rotation.n * y for x, y in zip(mirror, side, strict=True))
            plane = primitive(plane)
            images = {apply_to(operation, plane) for operation in same_axis}
            best = max(images | {negative(image) for image in images})
            found[best] = symmetric_tilt(axis, best)
    return tuple(sorted(found.values(), key=lambda item: (item.sigma, item.angle)))


def twists(axis: Vector, sigma: int) -> tuple[CoincidenceBoundary, ...]:
    """Twist boundaries of an axis and a sigma, one of each that symmetry relates (the smallest angle), sorted by angle.

    Raises
    ------
    InputError
        The sigma does not exist for the axis.
    """
    axis = primitive(axis, "The axis")
    found: dict[float, CoincidenceBoundary] = {}
    for rotation in misorientations_of(axis, sigma):
        key = round(_reduced_angle(axis, rotation.angle), 7)
        found.setdefault(key, CoincidenceBoundary("twist", rotation, axis))
    return tuple(sorted(found.values(), key=lambda item: item.angle))


def boundary(
    kind: Kind, axis: Vector, *, sigma: int | None = None, plane: Vector | None = None, angle: float | None = None
) -> CoincidenceBoundary:
    """Find the one boundary that everything given agrees with.

    Parameters
    ----------
    kind
        "symmetric_tilt" or "twist".
    axis
        Rotation axis [uvw].
    sigma, plane, angle
        What is known, the angle in degrees; at least one of them, for a twist boundary sigma or the angle.

    Raises
    ------
    InputError
        They do not belong together, or belong to several boundaries or to none; the message says what does.
    """
    axis = primitive(axis, "The axis")
    if kind == "twist":
        if plane is not None and primitive(plane, "The plane") not in {axis, negative(axis)}:
            raise InputError(
                f"The plane {miller(primitive(plane))} of a twist boundary is not normal to its axis {direction(axis)}",
                f"Leave the plane out, or give {miller(axis)}",
            )
        found = twists(axis, sigma) if sigma is not None else _twists_up_to(axis, MAX_SIGMA)
    elif plane is not None:
        found = (symmetric_tilt(axis, plane),)
        if sigma is not None and found[0].sigma != sigma:
            misorientations_of(axis, sigma)
            raise InputError(
                f"The plane {miller(found[0].plane)} belongs to Σ{found[0].sigma}, not to Σ{sigma}",
                f"Σ{sigma} about {direction(axis)} has: {_listed(symmetric_tilts(axis, sigma))}",
            )
    else:
        found = symmetric_tilts(axis, sigma) if sigma is not None else _tilts(axis, MAX_SIGMA)
    if sigma is None and angle is None and (plane is None or kind == "twist"):
        raise InputError("Nothing says which boundary is meant", "Give its sigma, its angle or (tilt) its plane")
    return _chosen(kind, axis, found, angle)


def _chosen(
    kind: Kind, axis: Vector, found: tuple[CoincidenceBoundary, ...], angle: float | None
) -> CoincidenceBoundary:
    """Choose by the angle, where one is given; the smallest sigma of those that fit."""
    if angle is None:
        if len(found) > 1:
            raise InputError(f"Several boundaries fit: {_listed(found)}", "Give the plane or the angle of one of them")
        return found[0]
    target = _reduced_angle(axis, angle) if kind == "twist" else angle

    def off(item: CoincidenceBoundary) -> float:
        return abs((_reduced_angle(axis, item.angle) if kind == "twist" else item.angle) - target)

    fits = [item for item in found if off(item) <= ANGLE_TOLERANCE]
    if fits:
        return min(fits, key=lambda item: (item.sigma, off(item)))
    what = f"{found[0]} does not belong"
    if len(found) > 1:
        what = f"No boundary up to Σ{max(item.sigma for item in found)} belongs"
    hint = f"Nearest: {_listed(sorted(found, key=off)[:4])}"
    if kind == "symmetric_tilt" and len(found) == 1:
        others = [item for item in _tilts(axis, MAX_SIGMA) if abs(item.angle - angle) <= ANGLE_TOLERANCE]
        also = f"; {angle:g}° belongs to {_listed(others[:1])}" if others else ""
        hint = f"It belongs to {found[0].angle:.2f}° ({found[0]}){also}"
    raise InputError(f"{what} to {angle:g}° about {direction(axis)}", hint)


@cache
def _twists_up_to(axis: Vector, max_sigma: int) -> tuple[CoincidenceBoundary, ...]:
    sigmas = sorted({rotation.sigma for rotation in misorientations(axis, max_sigma)})
    return tuple(item for sigma in sigmas for item in twists(axis, sigma))


def _listed(found: Iterable[CoincidenceBoundary]) -> str:
    return ", ".join(f"{item} {item.angle:.2f}°" for item in found)


def _reduced_angle(axis: Vector, angle: float) -> float:
    """Smallest angle that symmetry relates to it, degrees: n-fold axes, and θ and −θ are mirror images."""
    periods = {(0, 0, 1): 90.0, (1, 1, 1): 120.0, (0, 1, 1): 180.0}
    u, v, w = sorted(map(abs, axis))
    period = periods.get((u, v, w), 360.0)
    return min(angle % period, -angle % period)
