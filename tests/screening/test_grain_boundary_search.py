"""The search over translations of a grain boundary, on energies that are formulas and on a published table."""

import contextlib
import csv
import math

import numpy as np
import pytest
from problems import DATA

from hts_flows.errors import InputError
from hts_flows.screening import translation_model
from hts_flows.screening.grain_boundaries import EvaluationError, TranslationSpace, search_translations
from hts_flows.screening.translation_model import SymmetricDistances, TranslationModel
from hts_flows.structures.bicrystals import build_bicrystal
from hts_flows.structures.boundary_specs import GrainBoundary

MIRROR_X = ([[-1, 0], [0, 1]], [0, 0])
MIRROR_Y = ([[1, 0], [0, -1]], [0, 0])
CENTRING = ([[1, 0], [0, 1]], [4.0, 2.0])
#: A period of 8 × 4 Å that a grid of 0.25 Å divides.
MIRRORED = TranslationSpace.grid(lx=8.0, ly=4.0, step=0.25, symmetry=[MIRROR_X, MIRROR_Y, CENTRING])


def wells(translation):
    """Two kinds of wells with the symmetry of MIRRORED, J/m²: the lower ones at (2, 0) and its images."""
    x, y, z = translation
    a, b = math.pi * x / 4, math.pi * y / 2
    return (
        1.1 + 0.05 * math.cos(2 * a) * math.cos(b) ** 2 - 0.03 * math.cos(2 * b) + 0.02 * math.cos(a) * math.cos(b) + z
    )


def asked(search):
    return [translation for translation, _ in search.trials]


@pytest.mark.parametrize(
    "symmetry",
    [
        "none",
        [MIRROR_X],
        [MIRROR_X, MIRROR_Y, CENTRING],
        [([[1, 0], [0, 1]], [0.8, 0])],
        [([[-1, 0], [0, -1]], [1.2, 0.4])],
    ],
)
def test_orbits_cover_the_grid_once(symmetry):
    space = TranslationSpace.grid(lx=8.0, ly=4.0, z=[1.0, 1.2], step=0.2, symmetry=symmetry)
    seen = np.zeros(space.n_points, dtype=int)
    for one in space.translations(space.representatives):
        orbit = {space.number((*image, one[2])) for image in space.images(one[None, :2])[0]}
        seen[list(orbit)] += 1
    assert (seen == 1).all()
    assert set(space.orbits) == set(space.representatives)


def test_group_of_two_mirrors_and_a_centring_has_eight_operations():
    # 1, two mirrors, the half turn, and each with the centring. Burnside: of 32 × 16 points they leave 512, 32, 64, 4
    # where they are, and with the centring 0, 0, 0, 4.
    assert len(MIRRORED.operations) == 8
    assert len(MIRRORED.representatives) == (512 + 32 + 64 + 4 + 4) / 8


def test_quarter_turn_of_a_square():
    space = TranslationSpace.grid(lx=4.0, ly=4.0, step=0.5, symmetry=[([[0, -1], [1, 0]], [0, 0])])
    # Burnside: (64 + 2 + 2 + 4) / 4 points stay where they are under 0°, 90°, 270°, 180°.
    assert len(space.operations) == 4
    assert len(space.representatives) == 18


def test_rounded_shifts_make_the_cell_of_non_identical_displacements():
    lx, ly = 3.615 * math.sqrt(5), 3.615
    space = TranslationSpace.grid(lx=lx, ly=ly, step=(lx / 80, ly / 36), symmetry=[([[1, 0], [0, 1]], [0.808, 1.8075])])
    assert len(space.operations) == 10
    assert len(space.representatives) == 80 * 36 / 10


def test_grid_that_does_not_divide_the_period_keeps_its_step():
    # The published table of Cu Σ5(210): 0, 0.1 … 8.0 and 0 … 3.6 Å.
    space = TranslationSpace.grid(lx=3.615 * math.sqrt(5), ly=3.615, z=[1.0, 1.1], step=0.1, symmetry=[MIRROR_X])
    assert space.shape == (81, 37, 2)
    points = space.translations(np.arange(space.n_points))
    assert points.max(axis=0).tolist() == [8.0, 3.6, 1.1]
    assert len(space.representatives) == 41 * 37 * 2


def test_covariance_has_the_symmetry_and_the_periods():
    distances = SymmetricDistances(MIRRORED)
    matrix = translation_model._covariances(distances, range(len(distances)), (0.6, 0.5))
    assert matrix == pytest.approx(matrix.T, abs=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > 0
    # By hand: the Matérn correlation of the chords to all images.
    a, b = MIRRORED.translations(MIRRORED.representatives)[[7, 50], :2]
    total = 0.0
    for image in MIRRORED.images(b[None])[0]:
        chord = np.hypot(*(np.array([8, 4]) / np.pi * np.sin(np.pi * (a - image) / [8, 4])))
        r = math.sqrt(5) * chord / 0.6
        total += (1 + r + r**2 / 3) * math.exp(-r)
    assert matrix[7, 50] == pytest.approx(total)


def test_density_has_the_gradient_that_differences_give():
    space = TranslationSpace.grid(lx=8.0, ly=4.0, z=[0, 0.1, 0.3], step=0.5, symmetry=[MIRROR_X])
    distances = SymmetricDistances(space)
    some = [0, 11, 30, 77, 100, 130]
    density = translation_model._Density(
        *translation_model._between(distances, some, some), np.array([0.3, -1, 2, 0, -1, 1])
    )
    at = np.array([-0.3, -1.2, -4.0])
    _, gradient = density(at)
    for axis, step in enumerate(1e-5 * np.eye(3)):
        slope = (density(at + step)[0] - density(at - step)[0]) / 2e-5
        assert gradient[axis] == pytest.approx(slope, rel=1e-5)


def test_model_interpolates_and_a_failure_makes_its_neighbourhood_worse():
    distances = SymmetricDistances(MIRRORED)
    points = MIRRORED.translations(MIRRORED.representatives)
    observed = list(range(0, 77, 4))
    energies = np.array([wells(points[one]) for one in observed])
    model = TranslationModel.fit(distances, observed, energies)
    assert model.deviation[observed].max() < model.deviation.max() / 5
    lost = int(np.argmax(model.deviation))
    careful = TranslationModel.fit(distances, observed, energies, [lost])
    assert careful.mean[lost] > model.mean[lost]
    assert careful.deviation[lost] < model.deviation[lost] / 2


@pytest.mark.parametrize("unrelaxed", [None, lambda translation: 3 * wells(translation) + 0.5])
def test_lowest_well_is_found(unrelaxed):
    found = [search_translations(MIRRORED, wells, unrelaxed=unrelaxed, seed=seed) for seed in range(4)]
    lowest = min(wells(one) for one in MIRRORED.translations(np.arange(MIRRORED.n_points)))
    assert all(search.best_energy == pytest.approx(lowest, abs=1e-3) for search in found)
    assert all(search.stop_reason == "patience" for search in found)
    # Of the 77 candidates, half would be needed at random.
    assert np.mean([len(search.trials) for search in found]) <= 32


def test_energies_are_asked_on_representatives_only_and_once():
    space = TranslationSpace.grid(lx=8.0, ly=4.0, z=[0.0, 0.2], step=0.25, symmetry=[MIRROR_X, MIRROR_Y, CENTRING])
    allowed = {tuple(one) for one in space.translations(space.representatives)}
    cheap = []

    def unrelaxed(translation):
        cheap.append(translation)
        return wells(translation)

    search = search_translations(space, wells, unrelaxed=unrelaxed, patience=20, max_trials=20)
    assert set(asked(search)) <= allowed
    assert len(set(asked(search))) == len(search.trials) == 20
    assert set(cheap) == allowed
    assert len(cheap) == len(allowed)
    assert search.n_candidates == len(allowed)
    assert all(energy == wells(translation) for translation, energy in search.trials)
    assert (search.best_translation, search.best_energy) == min(search.trials, key=lambda trial: trial[1])


def test_every_other_start_is_among_the_lowest_unrelaxed_energies_and_apart_the_others_are_random():
    space = TranslationSpace.grid(lx=8.0, ly=4.0, step=0.1, symmetry=[MIRROR_X])
    cheap = {tuple(one): wells(one) for one in space.translations(space.representatives)}
    order = sorted(cheap.values())
    limit = np.quantile(order, 0.051)
    distances, ranks = SymmetricDistances(space), []
    for seed in range(20):
        starts = asked(search_translations(space, wells, unrelaxed=cheap.__getitem__, max_trials=5, seed=seed))
        assert max(cheap[one] for one in starts[::2]) <= limit
        numbers = [list(cheap).index(one) for one in starts[::2]]
        assert min(math.sqrt(distances.nearest(a)[b]) for a in numbers for b in numbers if a < b) > 0.3
        ranks += [order.index(cheap[one]) / len(order) for one in starts[1::2]]
    # Estimates that point to the wrong translations do not decide alone.
    assert np.mean(ranks) == pytest.approx(0.5, abs=0.15)


def test_seed_decides():
    one, same, other = (search_translations(MIRRORED, wells, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert asked(one) != asked(other)


def test_search_ends_with_the_budget_or_when_everything_was_asked():
    assert search_translations(MIRRORED, wells, max_trials=7).stop_reason == "budget"
    small = TranslationSpace.grid(lx=1.0, ly=1.0, step=0.5)
    search = search_translations(small, wells)
    assert search.stop_reason == "exhausted"
    assert len(search.trials) == small.n_points == 4


def test_gains_up_to_tol_do_not_count():
    # Equal energies: the first is the only gain, and 12 more bring none.
    assert len(search_translations(MIRRORED, lambda _: 1.0).trials) == 13
    assert len(search_translations(MIRRORED, lambda _: 1.0, patience=6).trials) == 7
    falling = iter(np.arange(200.0, 0, -1) * 1e-3)
    assert search_translations(MIRRORED, lambda _: next(falling), tol=0.5).stop_reason == "patience"


def raises():
    raise EvaluationError("the relaxation did not converge")


@pytest.mark.parametrize("fail", [lambda: math.nan, lambda: math.inf, raises])
def test_failures_are_trials_and_are_not_asked_again(fail):
    def partly(translation):
        return fail() if translation[1] < 0.9 else wells(translation)

    search = search_translations(MIRRORED, partly, seed=3)
    lost = [one for one, energy in search.trials if math.isnan(energy)]
    assert lost
    assert len(set(asked(search))) == len(search.trials)
    assert search.best_translation[1] >= 0.9
    # Five energies are known before the model chooses.
    assert sum(math.isfinite(energy) for _, energy in search.trials[: search.n_starts]) == 5


def test_failed_unrelaxed_energies_are_no_starts():
    cheap = search_translations(MIRRORED, wells, unrelaxed=lambda t: math.nan if t[1] > 1 else wells(t), max_trials=5)
    assert all(one[1] <= 1 for one in asked(cheap))
    assert len(search_translations(MIRRORED, wells, unrelaxed=lambda _: math.nan, max_trials=5).trials) == 5


def test_errors_of_evaluate_that_are_no_failures_are_not_hidden():
    def broken(_):
        raise KeyError("no such row")

    with pytest.raises(KeyError):
        search_translations(MIRRORED, broken)


def test_search_without_any_energy_says_so():
    with pytest.raises(InputError, match="none of 12 evaluations"):
        search_translations(MIRRORED, lambda _: math.nan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lx": 0}, "lx is 0"),
        ({"ly": math.nan}, "ly is nan"),
        ({"lx": "wide"}, "lx must be numbers"),
        ({"step": 5}, "step 5 Å is longer than ly"),
        ({"step": -0.1}, "step is"),
        ({"step": [0.1, 0.1, 0.1]}, "step has 3 numbers"),
        ({"step": 1e-4}, "translations"),
        ({"z": []}, "z is"),
        ({"z": [0, math.inf]}, "z is"),
        ({"symmetry": "auto"}, "symmetry is 'auto'"),
        ({"symmetry": [[[1, 0], [0, 1]]]}, r"shapes \(2,\) and \(2,\)"),
        ({"symmetry": 3}, "symmetry is 3"),
        ({"symmetry": [([[2, 0], [0, 1]], [0, 0])]}, "does not keep lengths"),
        ({"symmetry": [([[0, -1], [1, 0]], [0, 0])]}, "does not map the periods"),
        ({"symmetry": [([[1, 0], [0, 1]], [math.nan, 0])]}, "not finite"),
        ({"symmetry": [([[1, 0], [0, 1]], [0.037, 0.0411])]}, "generate more than"),
    ],
)
def test_space_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        TranslationSpace.grid(**{"lx": 8.0, "ly": 4.0, "step": 0.5, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"tol": -1.0}, "tol is"),
        ({"tol": math.nan}, "tol is"),
        ({"patience": 0}, "patience is 0"),
        ({"max_trials": 2.5}, "max_trials is 2.5"),
        ({"evaluate": lambda _: "low"}, "what evaluate gave"),
        ({"evaluate": lambda _: [1.0, 2.0]}, "evaluate gave an array"),
        ({"unrelaxed": lambda _: "low", "evaluate": wells}, "what unrelaxed gave"),
    ],
)
def test_option_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        search_translations(MIRRORED, **{"evaluate": wells, **options})


def test_translation_off_the_grid_is_refused():
    assert MIRRORED.number((8.25, -3.75, 0)) == MIRRORED.number((0.25, 0.25, 0))
    with pytest.raises(InputError, match="no point of the grid"):
        MIRRORED.number((0.3, 0, 0))
    with pytest.raises(InputError, match="three finite numbers"):
        MIRRORED.number((0.3, 0))


SEEDS = range(74)


def table_of_copper():
    """Σ5[001](210) of Cu at fixed translation: the space, and energies and unrelaxed ones of its representatives."""
    from hts_flows.engines._second_moment_relaxation import evaluate, relax

    spec = GrainBoundary(element="Cu", lattice_constant=3.615, axis=(0, 0, 1), plane=(2, 1, 0))
    bicrystal = build_bicrystal(spec, thickness=20)
    space = TranslationSpace.of_bicrystal(bicrystal, step=0.1)
    upper = bicrystal.grain == 2
    start = bicrystal.positions.copy()
    start[upper & (start[:, 2] < bicrystal.boundary_heights[0] - 1e-3), 2] += bicrystal.lattice[2, 2]
    crystal = evaluate([[0, 0, 0]], 3.615 / 2 * (1 - np.eye(3)), (True, True, True), "Cu").energy

    def per_area(energy):
        return (energy - len(start) * crystal) / (2 * bicrystal.area) * 16.02176634

    relaxed, unrelaxed = {}, {}
    for translation in space.translations(space.representatives):
        positions, key = start + np.where(upper[:, None], translation, 0), tuple(translation)
        unrelaxed[key] = per_area(evaluate(positions, bicrystal.lattice, (True, True, True), "Cu").energy)
        end = relax(
            positions,
            bicrystal.lattice,
            (True, True, True),
            "Cu",
            groups=bicrystal.grain.tolist(),
            protocol="fixed translation",
        )
        assert end.converged
        relaxed[key] = per_area(end.energy)
    return space, relaxed, unrelaxed


def test_computed_table_of_copper_is_searched_and_the_search_knows_when_to_stop():
    pytest.importorskip("numba", reason="numba is not installed: pip install --editable '.[tight-binding]'")
    space, relaxed, unrelaxed = table_of_copper()
    lowest = min(relaxed.values())
    # Jpn. J. Appl. Phys. 55, 045502 (2016): 0.96 J/m², with the same potential.
    assert lowest == pytest.approx(0.96, abs=0.005)
    counts, stops, found = [], [], []
    for seed in SEEDS:
        search = search_translations(space, relaxed.__getitem__, unrelaxed=unrelaxed.__getitem__, seed=seed)
        near = [energy <= lowest + 5e-3 for _, energy in search.trials]
        counts.append(near.index(True) + 1 if any(near) else math.inf)
        stops.append(len(search.trials))
        found.append(any(near))
        assert search.stop_reason == "patience"
    assert np.mean(found) >= 0.99
    assert np.mean(stops) <= 22
    assert np.mean(np.array(counts)[found]) <= 9
    assert sorted(counts)[math.ceil(0.9 * len(SEEDS)) - 1] <= 13


class FoundError(Exception):
    """Ends a search that has come to its goal."""


def test_published_grid_of_copper_is_searched():
    # Kiyohara et al. (2016) need 70 trials, 20 of them starts; here energies only, to within 0.5 mJ/m² of the minimum.
    path = DATA / "cu_s5_210_gb_17982.csv"
    if not path.exists():
        pytest.skip("no reference data: cu_s5_210_gb_17982.csv is not beside this clone")
    with path.open() as file:
        rows = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    table = {(x, y, z): energy for x, z, y, energy in rows}
    space = TranslationSpace.grid(lx=8.083, ly=3.615, z=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5], step=0.1)
    assert space.n_points == len(table)
    goal = min(table.values()) + 0.5e-3
    counts = []
    # Seeds that no setting was chosen with.
    for seed in range(1000, 1074):
        trials = []

        def evaluate(translation, trials=trials):
            trials.append(table[translation])
            if trials[-1] <= goal:
                raise FoundError
            return trials[-1]

        with contextlib.suppress(FoundError):
            search_translations(space, evaluate, seed=seed, patience=200, max_trials=200)
        assert min(trials) <= goal
        counts.append(len(trials))
    # Few searches stay long in a narrow well 1 mJ/m² above the lowest; they decide the mean.
    assert np.median(counts) <= 18
    assert np.mean(counts) <= 25
