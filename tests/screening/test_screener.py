import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import told, trials, valley

from hts_flows.errors import InputError
from hts_flows.screening import Screener

SETTINGS = settings(max_examples=15, deadline=None)
FIXED = {"length_scale": 3.0, "noise": 0.01}


@SETTINGS
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 7), acquisition=st.sampled_from(["z_score", "ucb"]))
def test_nothing_is_asked_twice_and_everything_once(seed, batch, acquisition):
    x, y = valley(23, seed)
    screener = Screener(x, seed=seed, acquisition=acquisition, **FIXED)
    asked = []
    while ids := screener.ask(batch):
        asked += ids
        # One of a batch fails, one stays pending, the others are observed.
        screener.tell(ids[2:], y[ids[2:]], failed=ids[:1])
    assert sorted(asked) == list(range(23))


@SETTINGS
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_order_of_telling_changes_nothing(data, seed):
    x, y = valley(60, seed)
    ids = np.random.default_rng(seed).choice(60, 12, replace=False).tolist()
    one = Screener(x)
    one.tell(ids[:9], y[ids[:9]], failed=ids[9:])
    other = Screener(x)
    for i in data.draw(st.permutations(ids)):
        other.tell([], [], failed=[i]) if i in ids[9:] else other.tell([i], [y[i]])
    assert one.rank().equals(other.rank())
    assert one.ask(4) == other.ask(4)


@SETTINGS
@given(seed=st.integers(0, 10**6), transform=st.sampled_from(["none", "log"]))
def test_turning_the_sign_turns_nothing_but_the_sign(seed, transform):
    x, y = valley(40, seed)
    ids = list(range(10))
    low = told(x, y, ids, transform=transform)
    high = told(x, 1 / y if transform == "log" else -y, ids, transform=transform, minimize=False)
    np.testing.assert_allclose(
        low.rank()["z_score"].sort_index(), high.rank()["z_score"].sort_index(), rtol=1e-5, atol=1e-5
    )
    assert low.best[0] == high.best[0]
    assert low.ask(3) == high.ask(3)


@SETTINGS
@given(seed=st.integers(0, 10**6), shift=st.floats(-5, 5), unit=st.floats(0.01, 100))
def test_unit_of_values_changes_no_score(seed, shift, unit):
    x, y = valley(40, seed)
    one = told(x, y, list(range(8)), transform="none").rank()
    other = told(x, unit * y + shift, list(range(8)), transform="none").rank().loc[one.index]
    np.testing.assert_allclose(one["z_score"], other["z_score"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(unit * one["mean"] + shift, other["mean"], rtol=1e-4, atol=1e-4)


def test_same_seed_same_starts_and_other_seed_others():
    x, _ = valley(500)
    assert Screener(x, seed=3).ask(5) == Screener(x, seed=3).ask(5)
    assert Screener(x, seed=3).ask(5) != Screener(x, seed=4).ask(5)
    single = Screener(x, seed=3)
    assert [single.ask(1)[0] for _ in range(5)] == Screener(x, seed=3).ask(5)


def test_preferred_starts_come_first():
    x, _ = valley(500)
    assert set(Screener(x, starts=[7, 9, 11]).ask(5)[:3]) == {7, 9, 11}


def test_minimum_is_found_sooner_than_at_random():
    x, y = valley(300)
    found = [trials(Screener(x, seed=seed), y, int(y.argmin())) for seed in range(8)]
    assert np.mean(found) < 25  # 150 at random


def test_z_score_is_best_minus_mean_over_deviation():
    x, y = valley(50)
    table = told(x, y, list(range(10)), transform="none").rank()
    expected = (y[:10].min() - table["mean"]) / table["standard_deviation"]
    np.testing.assert_allclose(table["z_score"], expected, rtol=1e-8)
    np.testing.assert_allclose(table["ucb"], table["mean"] - 2 * table["standard_deviation"], rtol=1e-8)
    assert table["z_score"].is_monotonic_decreasing


def test_logarithms_go_back_to_the_unit_of_the_values():
    x, y = valley(50)
    table = told(x, np.exp(3 * y), list(range(10)), transform="log").rank().sort_index()
    plain = told(x, 3 * y, list(range(10)), transform="none").rank().sort_index()
    np.testing.assert_allclose(table["mean"], np.exp(plain["mean"]), rtol=1e-6)
    np.testing.assert_allclose(table["z_score"], plain["z_score"], rtol=1e-6, atol=1e-9)
    half = np.exp(plain["mean"]) * np.sinh(plain["standard_deviation"])
    np.testing.assert_allclose(table["standard_deviation"], half, rtol=1e-6)


def test_ties_are_broken_by_number():
    x = np.repeat(np.linspace(0, 1, 10), 3)[:, None]
    table = told(x, x[:, 0] ** 2, [6, 12, 27]).rank(statuses=["not asked"])
    rounded = table["z_score"].round(9)
    for _, group in table.groupby(rounded, sort=False):
        assert list(group.index) == sorted(group.index)


def test_batches_hold_no_near_duplicates():
    rng = np.random.default_rng(5)
    centres = rng.uniform(size=(40, 3))
    # Forty families of 25 members that hardly differ.
    x = np.repeat(centres, 25, axis=0) + rng.normal(scale=1e-5, size=(1000, 3))
    family = np.repeat(np.arange(40), 25)
    y = ((x - 0.4) ** 2).sum(axis=1)
    for acquisition in ("z_score", "expected_improvement", "ucb"):
        screener = told(x, y, list(range(0, 250, 25)), acquisition=acquisition)
        alone = screener.rank(8, statuses=["not asked"]).index
        assert len(set(family[alone])) == 1
        batch = screener.ask(4) + screener.ask(4)
        assert batch[0] == alone[0]
        assert len(set(family[batch])) == 8


def test_batch_is_what_single_asks_give():
    x, y = valley(3000)
    one, other = (told(x, y, list(range(8))) for _ in range(2))
    assert one.ask(5) == [other.ask(1)[0] for _ in range(5)]
    assert one.pending == other.pending


def test_pending_places_are_given_back():
    x, y = valley(50)
    screener = told(x, y, list(range(6)))
    first = screener.ask(1)
    assert screener.pending == first
    assert screener.ask(1) != first
    screener.forget(screener.pending)
    assert screener.pending == []
    assert screener.ask(1) == first


def test_failed_one_is_asked_again_only_when_forgotten():
    x, y = valley(12)
    screener = told(x, y, list(range(6)))
    (lost,) = screener.ask(1)
    screener.tell([], [], failed=[lost])
    assert lost not in screener.ask(12)
    assert screener.rank().loc[lost, "status"] == "failed"
    screener.forget([lost])
    assert screener.ask(12) == [lost]


@SETTINGS
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_what_was_told_last_counts(data, seed):
    x, y = valley(20, seed)
    screener, last = Screener(x), {}
    for _ in range(4):
        ids = data.draw(st.lists(st.integers(0, 19), max_size=8, unique=True))
        lost = data.draw(st.sets(st.sampled_from(ids), max_size=4)) if ids else set()
        kept = [one for one in ids if one not in lost]
        shift = data.draw(st.floats(0, 3))
        screener.tell(kept, y[kept] + shift, failed=lost)
        last |= {one: None if one in lost else float(y[one] + shift) for one in ids}
    assert screener.observed == {one: last[one] for one in sorted(last) if last[one] is not None}
    assert screener.failed == sorted(one for one in last if last[one] is None)
    if screener.observed:
        fresh = Screener(x)
        fresh.tell(list(screener.observed), list(screener.observed.values()), failed=screener.failed)
        assert fresh.rank().equals(screener.rank())


def test_late_value_replaces_the_earlier_one_and_a_failure():
    x, y = valley(30)
    screener = told(x, y + 1, list(range(8)))
    screener.tell([], [], failed=[8])
    screener.tell(list(range(9)), y[:9])
    assert screener.rank().equals(told(x, y, list(range(9))).rank())


def test_failures_discourage_their_neighbourhood():
    x = np.linspace(0, 1, 101)[:, None]
    y = 1 + (x[:, 0] - 0.7) ** 2
    screener = told(x, y, [0, 20, 40, 100])
    (wanted,) = screener.ask(1)
    before = screener.rank().loc[wanted + 1]
    screener.tell([], [], failed=[wanted])
    after = screener.rank().loc[wanted + 1]
    assert after["mean"] > before["mean"]
    assert after["z_score"] < before["z_score"]


def test_target_is_found_though_a_fifth_fails():
    x, y = valley(300)
    target = int(y.argmin())
    counts = []
    for seed in range(8):
        fails = set(np.random.default_rng(seed).choice(300, 60, replace=False).tolist()) - {target}
        counts.append(trials(Screener(x, seed=seed), y, target, fails))
    # 10.7 where nothing fails, 13.4 here (means over 40 seeds); 240 at random.
    assert np.mean(counts) < 18
    assert max(counts) < 40


def test_region_that_fails_throughout_is_left():
    # Half the cube fails, with the minimum just inside: 17 trials. Without what failures say of their surroundings 28
    # would be needed, and 53 if they counted as the worst value.
    counts = []
    for seed in range(20):
        x, y = valley(300, seed)
        fails = set(np.flatnonzero(x[:, 0] < 0.5).tolist())
        target = int(np.where(x[:, 0] < 0.5, np.inf, y).argmin())
        counts.append(trials(Screener(x, seed=seed), y, target, fails))
    assert np.mean(counts) < 21
    assert max(counts) < 60


def test_all_failing_ends():
    x, _ = valley(20)
    screener = Screener(x)
    while ids := screener.ask(3):
        screener.tell([], [], failed=ids)
    assert screener.failed == list(range(20))
    with pytest.raises(InputError, match="nothing was observed"):
        screener.rank()


def test_fewer_left_than_asked_for():
    x, _ = valley(4)
    screener = Screener(x)
    assert sorted(screener.ask(10)) == [0, 1, 2, 3]
    assert screener.ask(1) == []


def test_goes_on_from_a_state_as_an_unbroken_run():
    x, y = valley(80)
    lower = np.where(np.arange(80) % 5, y + 0.1, np.nan)
    options = {"seed": 2, "groups": [[0, 1], [2]], "prior_mean": lower, "acquisition": "expected_improvement"}
    whole = Screener(x, **options)
    broken = Screener(x, **options)
    for _ in range(7):
        ids = whole.ask(2)
        assert broken.ask(2) == ids
        state = json.loads(json.dumps(broken.state_dict()))
        broken = Screener.from_state(state, x, prior_mean=lower)
        for screener in (whole, broken):
            screener.tell(ids[:1], y[ids[:1]], failed=[ids[1]] if ids[1] % 3 == 0 else [])
    assert broken.describe() == whole.describe()
    with pytest.raises(InputError, match="other descriptors"):
        Screener.from_state(state, x + 1, prior_mean=lower)


def test_same_scores_in_another_process(tmp_path):
    x, y = valley(200)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    screener = told(x, y, list(range(20)))
    code = (
        "import sys, numpy as np; from hts_flows.screening import Screener; x = np.load(sys.argv[1]); "
        "y = np.load(sys.argv[2]); s = Screener(x); i = list(range(19, -1, -1)); s.tell(i, y[i]); "
        "print(s.rank()['z_score'].to_list())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == screener.rank()["z_score"].to_list()


def test_lower_fidelity_values_help():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 4))
    y = rng.normal(size=100)  # nothing to learn from the descriptors
    lower = 3 * y + 7 + 0.3 * rng.normal(size=100)
    lower[::10] = np.nan
    y[::10] += 3
    target = int(y.argmin())
    plain = np.mean([trials(Screener(x, seed=seed), y, target) for seed in range(10)])
    helped = np.mean([trials(Screener(x, seed=seed, prior_mean=lower), y, target) for seed in range(10)])
    assert helped < 8  # of which 5 are random
    assert plain > 20


def test_biased_cheap_function_helps_and_a_useless_one_does_no_harm():
    counts = {"none": [], "cheap": [], "useless": []}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = rng.uniform(size=(300, 6))
        smooth = ((x - 0.4) ** 2).sum(axis=1)
        y = 0.4 + smooth + 0.3 * np.sin(9 * x[:, 0]) * np.sin(7 * x[:, 1])
        # In another unit, with an offset, and without the rough part.
        priors = {"none": None, "cheap": 2 * smooth + 5, "useless": rng.normal(size=300)}
        for name, prior in priors.items():
            counts[name].append(trials(Screener(x, seed=seed, prior_mean=prior), y, int(y.argmin())))
    # 36.7, 13.7 and 33.3 over 20 seeds.
    assert np.mean(counts["cheap"]) < 0.6 * np.mean(counts["none"])
    assert np.mean(counts["useless"]) < 1.3 * np.mean(counts["none"])


def test_constant_descriptors_contribute_nothing():
    x, y = valley(40)
    padded = np.hstack([x, np.full((40, 1), 0.1), np.full((40, 1), 1e9)])
    one, other = told(x, y, list(range(10))), told(padded, y, list(range(10)))
    assert one.rank().equals(other.rank())
    assert other.describe()["constant_descriptors"] == ["3", "4"]


def test_equal_values_are_no_error():
    x, _ = valley(40)
    table = told(x, np.ones(40), list(range(10))).rank()
    np.testing.assert_allclose(table["mean"], 1.0)
    assert np.isfinite(table["z_score"]).all()


def test_leave_one_out_table_is_in_the_unit_of_the_values():
    x, y = valley(60)
    table = told(x, np.exp(y), list(range(30)), transform="log").leave_one_out()
    assert list(table.index) == list(range(30))
    assert np.abs(table["mean"] / table["value"] - 1).max() < 0.2
    assert (table["standard_deviation"] > 0).all()


def test_description_names_what_was_used():
    x, y = valley(30)
    screener = told(x, y, list(range(10)), seed=4)
    described = json.loads(json.dumps(screener.describe()))
    assert described["options"]["seed"] == 4
    assert len(described["fitted"]["length_scales"]) == 1
    assert described["n_observed"] == 10
    before = described["training_sha256"]
    screener.tell([0], [9.0])
    assert screener.describe()["training_sha256"] != before
