"""What can be given to a screener, and what it says of the rest."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import told, valley

from hts_flows.errors import InputError
from hts_flows.screening import Screener

SETTINGS = settings(max_examples=15, deadline=None)
FIXED = {"length_scale": 3.0, "noise": 0.01}
GRID = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"descriptors": np.arange(3.0)}, "shape"),
        ({"descriptors": np.array([[1.0], [np.nan]])}, "candidate 1 is nan"),
        ({"descriptors": np.ones((4, 2))}, "constant"),
        ({"descriptors": [["a"], ["b"]]}, "numbers"),
        ({"descriptors": [[1.0, 2.0], [1.0]]}, "numbers"),
        ({"descriptors": np.ones((2, 2)) * 1j}, "complex"),
        ({"descriptors": np.empty((0, 2))}, "shape"),
        ({"descriptors": [[1.0], [-np.inf]]}, "candidate 1 is -inf"),
        ({"descriptors": [[1.0], [1e200]]}, r"candidate 1 is 1e\+200(.|\n)*up to 1e\+100"),
        ({"acquisition": "zscore"}, "did you mean 'z_score'"),
        ({"transform": "ln"}, "'ln' is unknown"),
        ({"noise": 0.0}, "noise"),
        ({"length_scale": -1.0}, "length_scale"),
        ({"length_scale": [1.0, 2.0]}, "2 numbers for 1 groups"),
        ({"groups": [[0]]}, "each of the 2 descriptors once"),
        ({"n_initial": 0}, "n_initial"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"tolerance": "0.1"}, "tolerance"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"noise": "small"}, "noise"),
        ({"noise": True}, "noise"),
        ({"noise": np.nan}, "noise"),
        ({"length_scale": ["a"]}, "length_scale must be numbers"),
        ({"minimize": "no"}, "minimize: 'no'(.|\n)*True, False"),
        ({"groups": [0, 1]}, "groups"),
        ({"groups": [[0.5], [1]]}, "groups"),
        ({"prior_mean": np.ones(3)}, "prior_mean"),
        ({"prior_mean": ["a"] * 6}, "prior_mean must be numbers"),
        ({"prior_mean": np.full(6, np.nan)}, "no number at all"),
        ({"prior_mean": [1e200] * 6}, "infinite"),
        ({"prior_mean": -np.ones(6), "transform": "log"}, "logarithm"),
        ({"starts": [6]}, "no candidate 6"),
        ({"starts": 3}, "starts: 3 is no list"),
        ({"standardise_on": []}, "standardise_on: no candidate"),
        ({"standardise_on": [2]}, "constant"),
        ({"columns": ["a"]}, "columns"),
    ],
)
def test_options_that_cannot_be_used(options, match):
    arguments = {"descriptors": GRID} | options
    with pytest.raises(InputError, match=match):
        Screener(arguments.pop("descriptors"), **arguments)


@pytest.mark.parametrize(
    ("ids", "values", "failed", "match"),
    [
        ([0, 0], [1.0, 1.0], [], "candidate 0 is there twice"),
        ([], [], [3, 1, 3, 1], "failed: candidate 1 is there twice"),
        ([6], [1.0], [], r"no candidate 6(.|\n)*0 to 5"),
        ([10**30], [1.0], [], "no candidate 10+"),
        ([-1], [1.0], [], "no candidate -1"),
        ([], [], [-1], "failed: there is no candidate -1"),
        ([0.5], [1.0], [], "0.5 is no candidate"),
        ([[0]], [1.0], [], "no candidate"),
        ("0", [1.0], [], "'0' is no candidate"),
        (0, [1.0], [], "ids: 0 is no list"),
        (np.array(0), [1.0], [], "no list"),
        ([], [], 3, "failed: 3 is no list"),
        ([True], [1.0], [], "no candidate True"),
        ([], [], np.array([False]), "False"),
        ([0], [np.nan], [], "candidate 0 is nan"),
        ([0], [None], [], "candidate 0 is nan"),
        ([0], [-np.inf], [], "candidate 0 is -inf"),
        ([0], [1e101], [], r"1e\+101(.|\n)*up to 1e\+100"),
        ([0], ["a"], [], "values must be numbers"),
        ([0], [1j], [], "complex"),
        ([0, 1], [1.0], [], "shape"),
        ([0], 1.0, [], "shape"),
        ([0, 1], [[1.0, 2.0]], [], "shape"),
        ([0], [1.0], [0], "has a value and failed"),
        ([0, 1], [1.0, -1.0], [], "no logarithm"),
    ],
)
def test_results_that_cannot_be_taken_in(ids, values, failed, match):
    screener = Screener(GRID, transform="log")
    with pytest.raises(InputError, match=match):
        screener.tell(ids, values, failed=failed)
    assert screener.observed == {}
    assert screener.failed == []


WRONG_VALUES = st.sampled_from([np.nan, np.inf, -np.inf, 1e101, -1e308])
WRONG_IDS = st.sampled_from([-1, 40, 10**30, True, np.False_, 1.0, "3", None, (2,)])


@SETTINGS
@given(data=st.data(), seed=st.integers(0, 10**6))
def test_a_wrong_result_among_right_ones_changes_nothing(data, seed):
    x, y = valley(40, seed)
    screener = told(x, y, list(range(8)), failed=[8])
    screener.ask(2)
    before, ranked = screener.state_dict(), screener.rank()
    ids, values = list(range(5, 15)), y[5:15].tolist()
    lost = [20, 21, 22]
    place = data.draw(st.integers(0, 9))
    match data.draw(st.sampled_from(["value", "id", "twice", "failed", "overlap", "short"])):
        case "value":
            values[place] = data.draw(WRONG_VALUES)
        case "id":
            ids[place] = data.draw(WRONG_IDS)
        case "twice":
            ids[place] = ids[place - 1]
        case "failed":
            lost[place % 3] = data.draw(WRONG_IDS)
        case "overlap":
            lost[place % 3] = ids[place]
        case "short":
            values.pop()
    with pytest.raises(InputError):
        screener.tell(ids, values, failed=lost)
    assert screener.state_dict() == before
    assert screener.rank().equals(ranked)


@SETTINGS
@given(
    exponent=st.integers(-100, 99),
    offset=st.sampled_from([0.0, 1.0, -1e3]),
    transform=st.sampled_from(["auto", "none", "log"]),
    minimize=st.booleans(),
)
def test_values_of_any_size_give_finite_scores(exponent, offset, transform, minimize):
    x, y = valley(30)
    values = (y + offset) * 10.0**exponent / 1e3
    if transform == "log":
        values = np.abs(values)
    screener = Screener(x, transform=transform, minimize=minimize, **FIXED)
    screener.tell(range(10), values[:10])
    plain = Screener(x, transform=screener.describe()["fitted"]["transform"], minimize=minimize, **FIXED)
    plain.tell(range(10), values[:10] / 10.0**exponent)
    table = screener.rank()
    assert np.isfinite(table.drop(columns="status")).all(axis=None)
    np.testing.assert_allclose(
        table["z_score"].sort_index(), plain.rank()["z_score"].sort_index(), rtol=1e-5, atol=1e-5
    )
    assert len(screener.ask(3)) == 3


@SETTINGS
@given(exponents=st.lists(st.integers(-100, 99), min_size=2, max_size=10), seed=st.integers(0, 100))
def test_values_of_all_sizes_at_once_give_finite_scores(exponents, seed):
    x, _ = valley(30, seed)
    for transform in ("none", "log"):
        screener = Screener(x, transform=transform)
        screener.tell(range(len(exponents)), [10.0**exponent for exponent in exponents])
        assert np.isfinite(screener.rank()[["mean", "z_score"]]).all(axis=None)
        assert len(set(screener.ask(40))) == 30 - len(exponents)


@SETTINGS
@given(seed=st.integers(0, 10**6), scale=st.integers(-90, 90), shift=st.floats(-3, 3))
def test_unit_of_a_descriptor_changes_no_score(seed, scale, shift):
    x, y = valley(30, seed)
    moved = x.copy()
    moved[:, 1] = (x[:, 1] + shift) * 10.0**scale
    one, other = (told(each, y, list(range(8)), **FIXED).rank()["z_score"].sort_index() for each in (x, moved))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_questions_that_cannot_be_answered():
    screener = Screener(GRID)
    for call in (lambda: screener.ask(0), lambda: screener.ask(np.True_), lambda: screener.ask(1.5)):
        with pytest.raises(InputError, match="integers from 1"):
            call()
    for call in (screener.rank, screener.leave_one_out, lambda: screener.best):
        with pytest.raises(InputError, match="nothing was observed"):
            call()
    screener.tell([0], [1.0])
    with pytest.raises(InputError, match="statuses: 'new' is unknown"):
        screener.rank(statuses=["new"])
    for top in (0, -1, True, 2.5, "5"):
        with pytest.raises(InputError, match="top"):
            screener.rank(top)
    for ids in ([6], [True], 3, [1, 1]):
        with pytest.raises(InputError, match="forget"):
            screener.forget(ids)


def test_more_asked_for_than_there_are():
    screener = Screener(GRID)
    screener.tell([0], [1.0])
    assert len(screener.rank(100)) == 6
    assert list(screener.rank(100, statuses=["observed"]).index) == [0]
    assert screener.rank(3, statuses=["failed"]).empty
    assert sorted(screener.ask(100)) == [1, 2, 3, 4, 5]


def test_single_candidate():
    screener = Screener([[3.0, 4.0]])
    assert screener.ask(5) == [0]
    screener.tell([0], [2.0])
    assert screener.ask(5) == []
    assert screener.rank().loc[0, "mean"] == pytest.approx(2.0)


def test_ids_may_come_as_arrays_and_sets_and_from_generators():
    screener = Screener(GRID)
    screener.tell(np.array([0, 1], dtype=np.int32), (1, 2), failed={2})
    screener.tell((), (), failed=(one for one in [3]))
    assert screener.observed == {0: 1.0, 1: 2.0}
    assert screener.failed == [2, 3]


def test_options_may_be_numpy_numbers():
    options = {"seed": np.int64(3), "noise": np.float32(0.25), "length_scale": np.array([2.0]), "minimize": np.True_}
    state = json.loads(json.dumps(Screener(GRID, **options).state_dict()))
    assert Screener.from_state(state, GRID).ask(6) == Screener(GRID, seed=3).ask(6)
