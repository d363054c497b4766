"""Superlattices and orderings in the plane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hts_flows.structures.orderings import (
    SiteMap,
    count_patterns,
    fold,
    hermite,
    ranked_orderings,
    sublattices,
    wood_name,
)

HEXAGONAL = np.array([[2.46, 0], [-1.23, 2.46 * np.sqrt(3) / 2]])
SQUARE = np.array([[3.0, 0], [0, 3.0]])
ORIGIN = np.zeros((1, 3))


def point_group(plane):
    """All symmetry operations of a plane lattice with one site."""
    maps = []
    metric = plane @ plane.T
    entries = range(-1, 2)
    for matrix in ([[a, b], [c, d]] for a in entries for b in entries for c in entries for d in entries):
        rotation = np.array(matrix)
        if np.allclose(rotation.T @ metric @ rotation, metric, atol=1e-6):
            maps.append(SiteMap(tuple(map(tuple, matrix)), ((0, 0, 0),)))
    return maps


def test_point_groups_used_here_are_complete():
    assert (len(point_group(HEXAGONAL)), len(point_group(SQUARE))) == (12, 8)


@pytest.mark.parametrize(("index", "number"), [(1, 1), (2, 3), (3, 4), (4, 7), (6, 12), (12, 28)])
def test_number_of_sublattices_is_the_sum_of_divisors(index, number):
    assert len(set(sublattices(index))) == number == len(sublattices(index))


@pytest.mark.parametrize(("plane", "numbers"), [(HEXAGONAL, [1, 1, 2, 3, 2, 3, 3, 5]), (SQUARE, [1, 2, 2, 4, 3, 5])])
def test_number_of_distinct_sublattices_as_published(plane, numbers):
    # Sequences A003051 and A054346 of the On-Line Encyclopedia of Integer Sequences.
    found = [
        len(list(ranked_orderings(plane, ORIGIN, point_group(plane), index, 1))) for index in range(1, len(numbers) + 1)
    ]
    assert found == numbers


@pytest.mark.parametrize(
    ("index", "name", "spacing"),
    [(1, "1×1", 1), (2, "2×1", 1), (3, "√3×√3 R30°", 3), (4, "2×2", 4), (7, "√7×√7 R19.1°", 7), (9, "3×3", 9)],
)
def test_most_uniform_hexagonal_superlattice_comes_first(index, name, spacing):
    first, *rest = ranked_orderings(HEXAGONAL, ORIGIN, point_group(HEXAGONAL), index, 1)
    assert wood_name(first.superlattice, HEXAGONAL) == name
    assert first.spacing == pytest.approx(2.46 * np.sqrt(spacing), abs=1e-3)
    assert [ordering.spacing for ordering in rest] == sorted((item.spacing for item in rest), reverse=True)


@pytest.mark.parametrize(
    ("superlattice", "plane", "name"),
    [
        (((2, 4), (0, 6)), HEXAGONAL, "2√3×2√3 R30°"),
        (((1, 1), (0, 2)), SQUARE, "√2×√2 R45°"),
        (((1, 0), (0, 3)), np.diag([3.3, 4.4]), "1×3"),
        (((1, 0), (0, 3)), HEXAGONAL, "3×1"),
        (((1, 1), (0, 4)), np.diag([3.3, 4.4]), "(1 1; -3 1)"),
    ],
)
def test_wood_notation(superlattice, plane, name):
    assert wood_name(superlattice, plane) == name


def test_two_thirds_is_the_honeycomb():
    first = next(ranked_orderings(HEXAGONAL, ORIGIN, point_group(HEXAGONAL), 3, 2))
    assert wood_name(first.superlattice, HEXAGONAL) == "√3×√3 R30°"
    assert len(first.sites) == 2


@pytest.mark.parametrize(("index", "occupied"), [(4, 1), (5, 2), (6, 2), (6, 3)])
def test_orderings_and_their_complements_are_equally_many(index, occupied):
    maps = point_group(HEXAGONAL)
    one = len(list(ranked_orderings(HEXAGONAL, ORIGIN, maps, index, occupied)))
    other = len(list(ranked_orderings(HEXAGONAL, ORIGIN, maps, index, index - occupied)))
    assert one == other


def test_number_of_compared_patterns_is_predicted():
    maps = [SiteMap(((1, 0), (0, 1)), ((0, 0, 0), (0, 0, 1)))]
    positions = np.array([[0, 0, 0], [1.23, 0.71, 0.4]])
    found = list(ranked_orderings(HEXAGONAL, positions, maps, 2, 1))
    assert count_patterns(2, 2, 1) == 6 == len(found)


integers = st.integers(-6, 6)


@given(st.tuples(st.tuples(integers, integers), st.tuples(integers, integers)), st.tuples(integers, integers))
def test_hermite_form_and_folding_keep_the_lattice(rows, cell):
    determinant = rows[0][0] * rows[1][1] - rows[0][1] * rows[1][0]
    if determinant == 0:
        return
    form = hermite(rows)
    (a, b), (zero, c) = form
    assert zero == 0
    assert a > 0
    assert 0 <= b < c
    assert a * c == abs(determinant)
    assert hermite(form) == form
    for row in rows:
        assert fold((*row, 0), form) == (0, 0, 0)
    folded = fold((*cell, 5), form)
    assert folded[2] == 5
    assert fold(folded, form) == folded
    steps = np.linalg.solve(np.array(rows, dtype=float).T, np.array(cell) - folded[:2])
    assert steps == pytest.approx(np.round(steps), abs=1e-6)
