"""Coincidence lattices and which axis, sigma, plane and angle belong together."""

from __future__ import annotations

from itertools import product
from math import atan, degrees, gcd, sqrt

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hts_flows.errors import InputError
from hts_flows.structures.coincidence import (
    Misorientation,
    along,
    coincidence_lattice,
    cross,
    dot,
    family_of,
    lattice_basis,
    misorientations,
    misorientations_of,
    odd_part,
    plane_lattice,
    primitive,
    row_echelon,
)
from hts_flows.structures.coincidence_boundaries import boundary, mirror_planes, symmetric_tilt, symmetric_tilts, twists

INDEX = st.integers(-6, 6)
AXES = st.tuples(INDEX, INDEX, INDEX).filter(any).map(primitive)
ROTATIONS = st.builds(Misorientation, AXES, st.integers(0, 12), st.integers(1, 12)).filter(
    lambda item: gcd(item.m, item.n) == 1
)
CENTRINGS = st.sampled_from(["P", "F", "I"])
#: By hand: twice the angle to (100) about [001], to (001) about [1-10], to the nearest {110} about [111].
KNOWN_TILTS = {
    ((0, 0, 1), (2, 1, 0)): (5, 53.13),
    ((0, 0, 1), (3, 1, 0)): (5, 36.87),
    ((0, 0, 1), (3, 2, 0)): (13, 67.38),
    ((0, 0, 1), (5, 1, 0)): (13, 22.62),
    ((1, -1, 0), (1, 1, 1)): (3, 109.47),
    ((1, -1, 0), (1, 1, 2)): (3, 70.53),
    ((1, -1, 0), (1, 1, 3)): (11, 50.48),
    ((1, -1, 0), (3, 3, 2)): (11, 129.52),
    ((1, -1, 0), (1, 1, 4)): (9, 38.94),
    ((1, -1, 0), (2, 2, 1)): (9, 141.06),
    ((1, 1, 1), (1, 2, -3)): (7, 38.21),
    ((1, 1, 1), (1, 1, -2)): (3, 60.0),
}


def lies_in(vectors, basis):
    coordinates = vectors @ np.linalg.inv(basis)
    return np.allclose(coordinates, np.round(coordinates), atol=1e-6)


@given(ROTATIONS)
def test_the_matrix_is_a_rotation_by_the_angle_about_the_axis(rotation):
    matrix = rotation.matrix() / rotation.sigma
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert np.allclose(matrix @ rotation.axis, rotation.axis)
    assert (np.trace(matrix) - 1) / 2 == pytest.approx(np.cos(np.radians(rotation.angle)), abs=1e-12)


@given(ROTATIONS)
def test_sigma_is_the_smallest_integer_that_makes_the_matrix_whole(rotation):
    matrix = rotation.matrix()
    assert gcd(rotation.sigma, *matrix.ravel().tolist()) == 1


@given(ROTATIONS, CENTRINGS)
def test_the_coincidence_lattice_belongs_to_both_crystals_and_is_sigma_times_larger(rotation, centring):
    basis = lattice_basis(centring)
    shared = coincidence_lattice(rotation, centring)
    rotated = basis @ (rotation.matrix() / rotation.sigma).T
    assert lies_in(shared, basis)
    assert lies_in(shared, rotated)
    assert abs(np.linalg.det(shared)) == pytest.approx(rotation.sigma * abs(np.linalg.det(basis)))


@settings(max_examples=40)
@given(AXES, st.integers(3, 60))
def test_rotations_are_enumerated_completely(axis, limit):
    square = dot(axis, axis)
    every = {
        Misorientation(axis, m, n)
        for m in range(20)
        for n in range(1, 20)
        if gcd(m, n) == 1 and m * m + n * n * square <= 4 * limit and 1 < odd_part(m * m + n * n * square) <= limit
    }
    assert set(misorientations(axis, limit)) == every


@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=5))
def test_the_echelon_form_is_a_unimodular_multiple(rows):
    matrix = np.array(rows)
    echelon, transform = row_echelon(matrix)
    assert np.array_equal(transform @ matrix, echelon)
    assert abs(round(np.linalg.det(transform))) == 1
    leading = [int(np.flatnonzero(row)[0]) for row in echelon if row.any()]
    assert leading == sorted(set(leading))


@given(AXES, CENTRINGS)
def test_plane_lattice_and_step_are_a_basis_of_the_crystal(plane, centring):
    basis = lattice_basis(centring)
    vectors, step = plane_lattice(basis, plane)
    assert not (vectors @ plane).any()
    assert step @ plane > 0
    assert abs(round(np.linalg.det(np.vstack([vectors, step])))) == abs(round(np.linalg.det(basis)))


@given(AXES, CENTRINGS)
def test_the_shortest_vector_along_a_direction(axis, centring):
    basis = lattice_basis(centring)
    vector = along(basis, axis)
    times = dot(vector.tolist(), axis) // dot(axis, axis)
    assert lies_in(vector, basis)
    assert np.array_equal(vector, times * np.array(axis))
    assert not any(lies_in(smaller * np.array(axis), basis) for smaller in range(1, times))


@given(AXES, AXES)
def test_sigma_of_a_symmetric_tilt_is_the_odd_part_of_its_plane(axis, other):
    assume(mirror_planes(axis))
    assume(any(cross(axis, other)))
    plane = primitive(cross(axis, other))
    sigma = odd_part(dot(plane, plane))
    if sigma == 1:
        with pytest.raises(InputError, match="mirror plane of the crystal"):
            symmetric_tilt(axis, plane)
        return
    found = symmetric_tilt(axis, plane)
    assert found.sigma == sigma
    # Rotating the plane's normal by half the angle leads to a mirror plane.
    turned = [abs(dot(mirror, plane)) / sqrt(dot(mirror, mirror) * dot(plane, plane)) for mirror in mirror_planes(axis)]
    assert np.degrees(np.arccos(max(turned))) == pytest.approx(found.angle / 2, abs=1e-5)


@settings(max_examples=30)
@given(st.sampled_from([(0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 1, 1), (1, 1, 2), (0, 1, 2)]), st.integers(3, 99))
def test_listed_tilts_are_complete_and_unrelated_by_symmetry(axis, sigma):
    try:
        found = symmetric_tilts(axis, sigma)
    except InputError:
        assert all(item.sigma != sigma for item in misorientations(axis, sigma))
        return
    assert len({round(item.angle, 6) for item in found}) == len(found)
    assert all(symmetric_tilt(axis, item.plane) == item for item in found)
    limit = range(-7, 8)
    planes = {primitive(item) for item in product(limit, repeat=3) if any(item) and dot(item, axis) == 0}
    by_hand = {plane for plane in planes if odd_part(dot(plane, plane)) == sigma}
    families = {max(family_of(item.plane)) for item in found}
    assert {max(family_of(plane)) for plane in by_hand} <= families


@pytest.mark.parametrize(("axis", "plane"), KNOWN_TILTS)
def test_known_symmetric_tilts(axis, plane):
    sigma, angle = KNOWN_TILTS[axis, plane]
    found = symmetric_tilt(axis, plane)
    assert (found.sigma, round(found.angle, 2)) == (sigma, angle)
    assert boundary("symmetric_tilt", axis, sigma=sigma, plane=plane, angle=angle) == found
    assert any(found.angle == item.angle for item in symmetric_tilts(axis, sigma))


def test_known_twists():
    assert [round(item.angle, 2) for item in twists((0, 0, 1), 5)] == [36.87]
    assert [round(item.angle, 2) for item in twists((1, 1, 1), 7)] == [38.21]
    assert [round(item.angle, 2) for item in twists((0, 0, 1), 65)] == [14.25, 30.51]
    assert boundary("twist", (0, 0, 1), angle=53.13).sigma == 5
    assert boundary("twist", (0, 0, 2), sigma=5, plane=(0, 0, -1)).plane == (0, 0, 1)


def test_an_angle_alone_finds_the_smallest_sigma():
    found = boundary("symmetric_tilt", (0, 0, 1), angle=36.9)
    assert (found.sigma, found.plane) == (5, (3, 1, 0))
    assert found.angle == pytest.approx(2 * degrees(atan(1 / 3)), abs=1e-9)


@pytest.mark.parametrize(
    ("given_values", "says", "helps"),
    [
        ({"sigma": 7}, "Σ7 does not exist for rotations about [001]", "Σ5, Σ13, Σ17"),
        ({"sigma": 4}, "odd", "Σ5"),
        ({"sigma": 1}, "perfect crystal", "Σ5"),
        ({"sigma": 5}, "Several boundaries fit", "Give the plane or the angle"),
        ({}, "Nothing says", "plane"),
        (
            {"plane": (2, 1, 0), "angle": 36.87},
            "does not belong to 36.87°",
            "53.13° (Σ5[001](210)); 36.87° belongs to Σ5",
        ),
        ({"plane": (3, 1, 0), "sigma": 17}, "belongs to Σ5, not to Σ17", "Σ17[001](410) 28.07°"),
        ({"sigma": 5, "angle": 40}, "No boundary up to Σ5 belongs to 40°", "Σ5[001](310) 36.87°"),
        ({"axis": (1, 1, 0), "plane": (1, 1, 1)}, "does not contain the axis [110]", "[1-10]"),
        ({"plane": (0, 4, 3)}, "does not contain the axis [001]", "[100] lies in (043)"),
        ({"plane": (1, 1, 1)}, "hu + kv + lw = 1", "contains the axis"),
        ({"plane": (1, 1, 0)}, "mirror plane of the crystal", "Σ5[001](310)"),
        ({"plane": (0, 0, 0)}, "no direction", "three integers"),
        ({"axis": (1, 2, 3), "sigma": 7}, "no symmetric tilt boundaries", "[001]"),
        ({"kind": "twist", "plane": (1, 0, 0), "sigma": 5}, "not normal to its axis", "(001)"),
        ({"kind": "twist", "sigma": 5, "angle": 30}, "does not belong to 30°", "36.87°"),
    ],
)
def test_what_does_not_belong_together_says_what_does(given_values, says, helps):
    values = {"kind": "symmetric_tilt", "axis": (0, 0, 1)} | given_values
    with pytest.raises(InputError) as caught:
        boundary(**values)
    assert says in caught.value.message
    assert helps in caught.value.hint


def test_every_sigma_named_as_nearest_exists():
    for axis in ((0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 2, 3)):
        for sigma in range(2, 30):
            try:
                assert misorientations_of(axis, sigma)
            except InputError as error:
                named = [int(word.strip("Σ,")) for word in error.hint.split() if word.startswith("Σ")]
                assert all(misorientations_of(axis, other) for other in named)
