import pytest

from hts_flows.campaign import Campaign
from hts_flows.launch.outcomes import Outcome, OutcomeReader
from hts_flows.stores.results import result_key

CAMPAIGN = {
    "name": "search",
    "candidates": {"domain": "compounds", "compounds": ["PbSe-rocksalt", "PbTe-rocksalt", "NaCl-rocksalt"]},
    "calculate": [
        {
            "engine": "phono3py",
            "screen": {
                "by": "thermal_conductivity",
                "descriptors": ["density"],
                "require": ["dynamically_stable == true", "volume_per_atom < 40"],
                "stop": {"budget": 2},
            },
        }
    ],
}
GOOD = {"thermal_conductivity": 0.7, "dynamically_stable": True, "volume_per_atom": 29.0}


@pytest.fixture(scope="module")
def level():
    return Campaign.from_dict(CAMPAIGN).ladder()[0]


def document(level, candidate, **fields):
    return {
        "_id": result_key(candidate, level.settings_hash),
        "candidate_id": candidate,
        "settings_hash": level.settings_hash,
        "role": "candidate",
        "state": "done",
        "properties": GOOD,
        "failure": None,
    } | fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Outcome("verified", 0.7)),
        ({"state": "queued", "properties": None}, Outcome("queued")),
        ({"properties": None}, Outcome("queued")),
        # What it was derived from has changed since.
        ({"underived": "a token"}, Outcome("queued")),
        ({"state": "failed", "failure": {"cause": "reference_failed"}, "underived": "a token"}, Outcome("queued")),
        ({"state": "failed", "failure": {"cause": "walltime"}}, Outcome("failed", cause="walltime")),
        (
            {"properties": GOOD | {"dynamically_stable": False}},
            Outcome("failed", cause="dynamically_stable is false"),
        ),
        ({"properties": GOOD | {"dynamically_stable": None}}, Outcome("failed", cause="dynamically_stable is null")),
        ({"properties": GOOD | {"volume_per_atom": 41.5}}, Outcome("failed", cause="volume_per_atom is 41.5")),
        ({"properties": GOOD | {"thermal_conductivity": None}}, Outcome("failed", cause="no thermal_conductivity")),
    ],
)
def test_what_a_result_means_for_the_search(level, fields, expected):
    assert OutcomeReader(level).outcome(document(level, "a", **fields)) == expected


def test_outcomes_are_read_at_once_and_missing_ones_left_out(level, database):
    database.results.insert_many(
        [document(level, "a"), document(level, "b", state="failed", failure={"cause": "lost"})]
    )
    found = OutcomeReader(level).of(database, ["a", "b", "c"])
    assert {name: outcome.state for name, outcome in found.items()} == {
        "a": "verified",
        "b": "failed",
    }


def test_the_store_is_searched_for_the_same_settings_alone(level, database):
    database.results.insert_many(
        [
            document(level, "a", campaigns=["another"]),
            document(level, "b", state="queued"),
            document(level, "c", settings_hash="other", _id="c:other"),
            document(level, "d", role="reference"),
        ]
    )
    assert OutcomeReader(level).in_store(database) == {"a": Outcome("verified", 0.7)}
