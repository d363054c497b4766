"""Grids of translations that are made of a bicrystal have its periods and its symmetry."""

from __future__ import annotations

import numpy as np
import pytest

from hts_flows.errors import InputError
from hts_flows.screening.translation_space import TranslationSpace
from hts_flows.structures.bicrystal_symmetry import translation_periods, translation_symmetry
from hts_flows.structures.bicrystals import build_bicrystal
from hts_flows.structures.boundary_specs import GrainBoundary

CASES = {
    "tilt 210": {"axis": (0, 0, 1), "plane": (2, 1, 0)},
    "tilt 310": {"axis": (0, 0, 1), "plane": (3, 1, 0)},
    "tilt 530": {"axis": (0, 0, 1), "plane": (5, 3, 0)},
    "twin 111": {"axis": (1, -1, 0), "plane": (1, 1, 1)},
    "twist 5": {"axis": (0, 0, 1), "sigma": 5, "kind": "twist"},
    "twist 7": {"axis": (1, 1, 1), "sigma": 7, "kind": "twist"},
}


def copper(name, **cell):
    return build_bicrystal(GrainBoundary(element="Cu", **CASES[name]), thickness=12, **cell)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step", [0.2, 0.37])
def test_grid_divides_the_periods_and_is_mapped_onto_itself(name, step):
    bicrystal = copper(name)
    space = TranslationSpace.of_bicrystal(bicrystal, step=step, openings=[0.4, 0.8])
    assert space.periods == translation_periods(bicrystal)
    counts = np.array(space.periods) / space.steps
    assert counts == pytest.approx(np.rint(counts))
    assert step / 2 * 0.9 < min(space.steps) <= max(space.steps) <= step + 1e-9
    grid = space.translations(np.arange(0, space.n_points, 2))[:, :2]
    places = space.images(grid) / space.steps
    assert np.abs(places - np.rint(places)).max() < 1e-3
    sizes = np.bincount(space.orbits)[space.representatives]
    assert sizes.sum() == space.n_points
    assert all(len(space.operations) % size == 0 for size in sizes)


def test_symmetry_is_that_of_the_bicrystal():
    bicrystal = copper("tilt 210")
    space = TranslationSpace.of_bicrystal(bicrystal, step=0.2, openings=[0.4, 0.8])
    found = translation_symmetry(bicrystal, space.periods)
    assert len(space.operations) == len(found) == 8
    point = np.array([[0.31, 0.77]])
    images = {tuple(np.round(image, 5)) for image in space.images(point)[0]}
    assert images == {tuple(np.round(one(point[0]) % space.periods, 5)) for one in found}
    assert (space.z == [0.4, 0.8]).all()
    assert len(space.representatives) < space.n_points / 6


def test_three_fold_axis_leaves_what_a_rectangular_grid_can_have():
    bicrystal = copper("twist 7")
    space = TranslationSpace.of_bicrystal(bicrystal, step=0.1)
    assert 1 < len(space.operations) < len(translation_symmetry(bicrystal, space.periods))


def test_step_longer_than_the_periods_leaves_one_point():
    space = TranslationSpace.of_bicrystal(copper("tilt 310"), step=50)
    assert space.shape == (1, 1, 1)


@pytest.mark.parametrize(("step", "openings", "message"), [(0, [0], "step"), (-1, [0], "step"), (0.2, [], "z is")])
def test_numbers_that_make_no_grid_are_refused(step, openings, message):
    with pytest.raises(InputError, match=message):
        TranslationSpace.of_bicrystal(copper("tilt 310"), step=step, openings=openings)
