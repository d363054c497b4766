from __future__ import annotations

import pytest
from failed_results import calculation_of, start, submitted
from fireworks import FWorker

from hts_flows.errors import InputError
from hts_flows.launch.owner import owner_name
from hts_flows.launch.prioritizing import plan_priority, prioritize, read_priority
from hts_flows.launch.queued import QueuedSelection


def give(database, priority, *campaigns, **selection):
    plan = plan_priority(database, QueuedSelection(campaigns, **selection), priority)
    return prioritize(database, plan, user="ada", token=plan.token)


def priorities(database, keys):
    return {label: calculation_of(database, key)["spec"]["_priority"] for label, key in keys.items()}


def test_one_with_high_priority_is_taken_first_and_its_references_before_it(database, tmp_path):
    keys = submitted(database)
    one = "graphite KC8 stage 1"
    before = priorities(database, keys)
    done = give(database, "high", ids=(one,))
    assert done.keys == [keys[one]]
    after = priorities(database, keys)
    needed = database.results.find_one({"_id": keys[one]})["reference_results"]
    assert {label for label in keys if after[label] != before[label]} == {one} | {
        label for label, key in keys.items() if key in needed
    }
    order = []
    for _ in range(3):
        job, _ = database.launchpad.checkout_fw(FWorker(name=owner_name()), str(tmp_path))
        order.append(job.spec["hts"]["result"])
    assert order[-1] == keys[one]
    assert set(order[:-1]) == set(needed)
    records = database.mongo["fireworks"].find({"spec.hts.job": "record"})
    assert {job["spec"]["_priority"] for job in records} == {20}
    told = database.audit.find_one({"_id": done.audit})
    assert (told["action"], told["changes"]) == (
        "priority",
        [{"setting": "priority", "old": 5, "new": 14, "count": 1}],
    )


def test_a_whole_campaign_goes_last_but_not_what_another_one_wants(database, tmp_path):
    keys = submitted(database)
    other = submitted(database, "other", intercalants=["Li"])
    start(database, keys["graphite KC6 stage 1"], tmp_path)
    done = give(database, "low", "small")
    assert done.reasons == {"it runs": 1}
    values = priorities(database, keys)
    references = {
        label for label, key in keys.items() if database.results.find_one({"_id": key})["role"] == "reference"
    }
    for label, key in keys.items():
        normal = 10 if label in references else 5
        low = 0 if label in references else -5
        assert values[label] == (normal if key in other.values() or label == "graphite KC6 stage 1" else low), label
    give(database, "normal", "small")
    assert set(priorities(database, keys).values()) == {5, 10}


def test_numbers_are_taken_within_bounds_and_words_are_guessed():
    assert [read_priority(text) for text in ("high", "normal", "low", "-100", 100)] == [14, 5, -5, -100, 100]
    for text, words in (
        ("101", "from -100 to 100"),
        ("hihg", "did you mean 'high'"),
        ("1.5", "neither a whole number"),
    ):
        with pytest.raises(InputError, match=words):
            read_priority(text)
