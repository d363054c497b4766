from __future__ import annotations

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from hts_flows.errors import InputError
from hts_flows.stores.database import INDEXES
from hts_flows.stores.results import field_paths, find_results, parse_condition, results_frame


@pytest.fixture
def stored(database, make_campaign):
    """Twenty results of a campaign, some failed, in random order."""
    rows = make_campaign(database, "many", count=20, failed=(3, 7))
    random.Random(0).shuffle(rows)
    database.results.insert_many(rows)
    return database


def values(found, name="intercalation_energy"):
    return [(result.properties or {}).get(name) for result in found]


def test_conditions_filter_in_the_database_and_all_must_hold(stored):
    found = list(find_results(stored, "many", where=["intercalation_energy < 0", "stage == 1", "host = graphite"]))
    assert found
    assert all(result.properties["intercalation_energy"] < 0 and result.facets["stage"] == 1 for result in found)
    everything = list(find_results(stored, "many"))
    expected = [
        r for r in everything if r.properties and r.properties["intercalation_energy"] < 0 and r.facets["stage"] == 1
    ]
    assert {result.candidate_id for result in found} == {result.candidate_id for result in expected}


def test_sorting_puts_results_without_the_value_last_in_either_direction(stored):
    up = values(find_results(stored, "many", sort="intercalation_energy"))
    down = values(find_results(stored, "many", sort="-intercalation_energy"))
    assert up[:18] == sorted(up[:18])
    assert down[:18] == sorted(down[:18], reverse=True)
    assert up[18:] == down[18:] == [None, None]
    assert values(find_results(stored, "many", sort="intercalation_energy", limit=3)) == up[:3]


def test_failures_are_rows_with_their_cause(stored):
    frame = results_frame(find_results(stored, "many", where=["state == failed"]))
    assert list(frame["cause"]) == ["bad_input", "bad_input"]
    assert len(results_frame(find_results(stored, "many"))) == 20


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("stage", "cannot read the condition"),
        ("stge == 1", "did you mean 'stage'"),
        ("intercalation_enrgy < 0", "did you mean 'intercalation_energy'"),
    ],
)
def test_a_bad_condition_is_explained(stored, condition, expected):
    with pytest.raises(InputError, match=expected):
        list(find_results(stored, "many", where=[condition]))


def test_a_bad_sort_field_is_explained(stored):
    with pytest.raises(InputError, match="did you mean 'stage'"):
        list(find_results(stored, "many", sort="-stge"))


@given(number=strategies.floats(allow_nan=False, allow_infinity=False) | strategies.integers())
def test_numbers_in_conditions_are_read_exactly(number):
    assert parse_condition(f"x<= {number!r}", {"x": "properties.x"}) == {"properties.x": {"$lte": number}}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(text=strategies.text(alphabet="abcxyz$.{} ", min_size=1).filter(lambda text: text.strip() == text))
def test_text_in_conditions_never_becomes_a_query_operator(stored, text):
    query = parse_condition(f"label == {text}", field_paths(stored, "many"))
    assert isinstance(query["label"]["$eq"], str | bool | type(None))
    list(find_results(stored, "many", where=[f"label == {text}"]))


def test_declared_indexes_exist_and_serve_the_queries(stored):
    for name, indexes in INDEXES.items():
        present = set(stored.mongo[name].index_information())
        assert {index.document["name"] for index in indexes} <= present
    query = {"campaigns": "many", "settings_hash": "level0", "state": "queued"}
    plan = stored.mongo.command("explain", {"find": "results", "filter": query}, verbosity="queryPlanner")
    assert "COLLSCAN" not in json.dumps(plan["queryPlanner"]["winningPlan"])
