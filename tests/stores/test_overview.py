"""Where campaigns stand, from documents that the package itself wrote; counts are checked against the documents."""

from __future__ import annotations

import json
import socket
from collections import Counter
from datetime import timedelta

import pytest
from bson.codec_options import CodecOptions, DatetimeConversion
from failed_results import fail, start, submitted
from many_jobs import CallCounter, new_allocation
from pymongo import MongoClient
from ranking_documents import intercalation_search

from hts_flows.errors import InputError
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.recording import derive_waiting, load_result
from hts_flows.stores import Database
from hts_flows.stores.attention import CAUSE_WORDS
from hts_flows.stores.campaigns import now
from hts_flows.stores.overview import _counting, _grouping, _read, campaign_card, headline_indexes, overview


@pytest.fixture
def indexed(database):
    database.results.create_indexes(headline_indexes())
    return database


@pytest.fixture
def counted(indexed):
    """The same database through a client that counts its calls."""
    counter = CallCounter()
    client = MongoClient(indexed.uri, event_listeners=[counter])
    yield Database(indexed.uri, client[indexed.mongo.name]), counter
    client.close()


def insert(database, make_campaign, name, **options):
    documents = make_campaign(database, name, **options)
    for number, document in enumerate(documents):
        ended = now() - timedelta(minutes=10 * number)
        # No result is shared: each campaign has candidates of its own.
        document["candidate_id"] += name
        document["_id"] = f"{document['candidate_id']}:{document['settings_hash']}"
        document["provenance"]["finished_at"] = None if document["state"] == "queued" else ended
    database.results.insert_many(documents)
    return documents


def quiet(database, **minutes):
    """Let campaigns have been stored, and last changed, so many minutes ago."""
    for name, ago in minutes.items():
        stamp = now() - timedelta(minutes=ago)
        database.campaigns.update_one({"_id": name}, {"$set": {"created_at": stamp, "updated_at": stamp}})


def queue(database, document):
    """Let a result be queued."""
    change = {"state": "queued", "properties": None, "provenance.finished_at": None}
    database.results.update_one({"_id": document["_id"]}, {"$set": change})


def told(found, kind):
    return [item.text for item in found.attention if item.kind == kind]


def test_counts_best_and_rate_are_those_of_the_documents(indexed, make_campaign):
    documents = insert(indexed, make_campaign, "many", count=20, failed=(3, 7))
    quiet(indexed, many=180)
    card = campaign_card(indexed, "many")
    assert (card.state, card.domain, [row.name for row in card.rows]) == ("running", "intercalation", ["sevennet"])
    assert card.counts.model_dump() == {"queued": 0, "running": 0, "done": 18, "failed": 2}
    assert card.counts.total == 20
    assert [(one.cause, one.count) for one in card.failures] == [("bad_input", 2)]
    done = [document for document in documents if document["state"] == "done"]
    lowest = min(done, key=lambda document: document["properties"]["intercalation_energy"])
    best = card.best
    assert (best.value, best.unit, best.minimize) == (lowest["properties"]["intercalation_energy"], "eV/M", True)
    ties = {one["label"] for one in done if one["properties"]["intercalation_energy"] == best.value}
    assert best.label in ties
    assert best.key == f"{best.candidate_id}:{card.rows[0].settings_hash}"
    assert now() - card.last_activity < timedelta(minutes=1)
    # Nothing is queued, so nothing comes in.
    assert card.rate is None
    queue(indexed, documents[19])
    # Of one every ten minutes from now on backwards, five came after the first one of the last hour.
    rate = campaign_card(indexed, "many").rate
    assert (rate.settled, rate.window) == (5, pytest.approx(3000, abs=10))
    assert rate.per_minute == pytest.approx(0.1, abs=0.001)
    assert rate.basis == "5 results in the last 50 min"


def test_what_was_before_the_work_began_does_not_count_for_the_rate(indexed, make_campaign):
    documents = insert(indexed, make_campaign, "many", count=6)
    quiet(indexed, many=600)
    # Five ended hours ago and were computed again just now, one every two minutes; one is left.
    for number, document in enumerate(documents):
        ended = {"provenance.finished_at": now() - timedelta(minutes=2 * number)}
        indexed.results.update_one({"_id": document["_id"]}, {"$set": ended})
    queue(indexed, documents[0])
    rate = campaign_card(indexed, "many").rate
    assert (rate.settled, rate.window) == (4, pytest.approx(600, abs=5))
    assert rate.time_left == pytest.approx(150, abs=3)
    indexed.campaigns.update_one({"_id": "many"}, {"$set": {"state": "paused"}})
    assert campaign_card(indexed, "many").rate is None
    indexed.campaigns.update_one({"_id": "many"}, {"$set": {"state": "running"}})
    # One result tells no rate.
    indexed.results.delete_many({"_id": {"$in": [document["_id"] for document in documents[2:]]}})
    assert campaign_card(indexed, "many").rate is None


def test_values_that_are_no_numbers_are_never_the_best(indexed, make_campaign):
    documents = insert(indexed, make_campaign, "many", count=6)
    for document, value in zip(documents, (float("nan"), None, float("-inf"), "low"), strict=False):
        change = {"properties.intercalation_energy": value}
        indexed.results.update_one({"_id": document["_id"]}, {"$set": change})
    left = [document["properties"]["intercalation_energy"] for document in documents[4:]]
    assert campaign_card(indexed, "many").best.value == min(left)
    # References and results that failed are no candidates.
    indexed.results.update_many({}, {"$set": {"role": "reference"}})
    assert campaign_card(indexed, "many").best is None


def test_a_search_tells_its_trials_and_the_best_of_its_rankings(indexed):
    level, search = intercalation_search(indexed)
    assert campaign_card(indexed, "search").rows[0].search.model_dump() == {
        "by": "intercalation_energy", "minimize": True, "training": 0, "asked": 0, "rankings": 0, "stopped": None,
        "note": "",
    }  # fmt: skip
    search.run(3, batch=2)
    search.rank(2, stopped="budget", note="20 were asked for")
    search.store(indexed)
    indexed.rankings.update_one({"number": 0}, {"$set": {"trains": True}})
    card = campaign_card(indexed, "search")
    state = card.rows[0].search
    assert (state.training, state.asked, state.rankings) == (8, 8, 5)
    assert (state.stopped, state.note) == ("budget", "20 were asked for")
    number, value = search.screener.best
    assert (card.best.value, card.best.label) == (value, search.identities["label"][number])
    assert (card.best.unit, card.best.header) == ("eV/M", "E_int")
    assert card.rows[0].settings_hash == level.settings_hash


def test_two_rows_have_their_own_counts_and_the_higher_one_the_best(indexed, make_campaign):
    documents = insert(indexed, make_campaign, "many", count=5)
    content = indexed.campaigns.find_one({"_id": "many"})["content"]
    content["calculate"].append(
        content["calculate"][0] | {"promote": {"by": "intercalation_energy", "lowest": 2}, "fmax": 0.02}
    )
    indexed.campaigns.update_one({"_id": "many"}, {"$set": {"content": content}})
    upper = campaign_card(indexed, "many").rows[1].settings_hash
    one = documents[0] | {"_id": f"{documents[0]['candidate_id']}:{upper}", "settings_hash": upper}
    indexed.results.insert_one(one)
    card = campaign_card(indexed, "many")
    assert [(row.name, row.counts.done) for row in card.rows] == [("sevennet", 5), ("sevennet:2", 1)]
    assert card.best == card.rows[1].best
    assert card.best.key == one["_id"]


def test_running_jobs_and_what_nobody_works_on_are_told(indexed, tmp_path):
    keys = list(submitted(indexed).values())
    start(indexed, keys[0], tmp_path)
    quiet(indexed, small=60)
    found = overview(indexed)
    assert found.campaigns[0].counts.model_dump() == {"queued": 7, "running": 1, "done": 0, "failed": 0}
    assert found.attention == []
    # The worker is gone: no process has this number.
    gone = f"{socket.gethostname()}:999999999:1.00"
    indexed.mongo["launches"].update_many({}, {"$set": {"fworker.name": gone}})
    (text,) = told(overview(indexed), "unattended")
    assert text.startswith("nobody works on small, which has 7 results to do")
    allocation = new_allocation(str(tmp_path), state="queued")
    indexed.allocations.insert_one(allocation.document())
    assert told(overview(indexed), "unattended") == []
    indexed.allocations.update_one({}, {"$set": {"engine": "chgnet"}})
    assert len(told(overview(indexed), "unattended")) == 1
    # What was stored a moment ago may yet be taken.
    quiet(indexed, small=0)
    assert told(overview(indexed), "unattended") == []


def test_paused_jobs_and_campaigns_are_not_called_unattended(indexed):
    submitted(indexed)
    quiet(indexed, small=60)
    indexed.mongo["fireworks"].update_many({"state": "READY"}, {"$set": {"state": "PAUSED"}})
    found = overview(indexed)
    assert [item.kind for item in found.attention] == ["paused"]
    assert found.attention[0].text == "7 jobs of small paused, and nothing else of it is ready"
    mark = {"audit": "0", "user": "ada", "reason": "quota", "at": now()}
    indexed.campaigns.update_one({"_id": "small"}, {"$set": {"state": "paused", "paused": mark}})
    assert told(overview(indexed), "paused") == ["small is paused by ada (quota), with 7 results to do"]


def test_failures_are_told_in_words_and_shared_results_count_once(indexed, tmp_path):
    keys = submitted(indexed)
    submitted(indexed, name="other")
    references = {key for key in keys.values() if load_result(indexed, key).role == "reference"}
    one, two, *_ = sorted(set(keys.values()) - references)
    fail(indexed, one, FailureCause.WALLTIME, tmp_path / "1")
    fail(indexed, two, FailureCause.WALLTIME, tmp_path / "2")
    (host, *_) = sorted(references)
    fail(indexed, host, FailureCause.OUT_OF_MEMORY, tmp_path / "3")
    derive_waiting(indexed, load_result(indexed, host))
    found = overview(indexed)
    assert {(failure.cause, failure.count) for failure in found.failures} == {("walltime", 2), ("out_of_memory", 1)}
    assert [card.failed_references for card in found.campaigns] == [1, 1]
    assert "2 results ended at their walltime" in told(found, "failures")
    assert "1 result ran out of memory" in told(found, "failures")
    assert told(found, "references")[0].startswith("1 reference of ")
    both = next(item.campaigns for item in found.attention if item.cause == "walltime")
    assert sorted(both) == ["other", "small"]


def test_every_cause_has_words():
    assert set(CAUSE_WORDS) == {cause.value for cause in FailureCause}


def test_a_campaign_that_cannot_be_read_hides_nothing(indexed, make_campaign):
    insert(indexed, make_campaign, "many", count=5, failed=(1,))
    insert(indexed, make_campaign, "old", count=3)
    indexed.campaigns.update_one({"_id": "old"}, {"$set": {"content.calculate.0.engine": "gone"}})
    found = overview(indexed)
    cards = {card.name: card for card in found.campaigns}
    assert "gone" in cards["old"].problem
    states = Counter(one["state"] for one in indexed.results.find({"campaigns": "old"}))
    assert cards["old"].counts.done == states["done"]
    assert cards["old"].rows[0].engine == "sevennet"
    assert cards["many"].problem is None
    assert told(found, "unreadable")[0].startswith("the stored file of old cannot be read")


@pytest.mark.parametrize(
    "damage",
    [
        {"$set": {"content": {}}},
        {"$set": {"content": None}},
        {"$set": {"content": "text"}},
        {"$set": {"content": {"candidates": [], "calculate": {"a": now()}}}},
        {"$unset": {"content": 1}},
        {"$unset": {"state": 1}},
        {"$unset": {"created_at": 1}},
        {"$unset": {"updated_at": 1}},
        {"$set": {"created_at": "yesterday", "updated_at": 3, "state": None, "paused": "yes"}},
    ],
)
def test_a_damaged_campaign_hides_nothing(indexed, make_campaign, damage):
    insert(indexed, make_campaign, "many", count=3)
    insert(indexed, make_campaign, "broken", count=2)
    indexed.campaigns.update_one({"_id": "broken"}, damage)
    found = overview(indexed)
    cards = {card.name: card for card in found.campaigns}
    assert (cards["many"].problem, cards["many"].counts.done) == (None, 3)
    assert cards["broken"].problem
    assert cards["broken"].counts.total == 2
    assert len(told(found, "unreadable")) == 1


def test_an_unknown_campaign_and_an_empty_database_are_explained(indexed):
    assert overview(indexed).model_dump() == {"campaigns": [], "failures": [], "attention": []}
    with pytest.raises(InputError, match="no campaign named 'nosuch'"):
        campaign_card(indexed, "nosuch")


def test_calls_do_not_grow_with_campaigns_or_results(counted, make_campaign):
    database, counter = counted
    numbers = []
    for name, count in (("one", 3), ("two", 30), ("three", 10)):
        insert(database, make_campaign, name, count=count, failed=(1,))
        quiet(database, **{name: 60})
        counter.names.clear()
        overview(database)
        # A second connection logs in when it is first needed.
        numbers.append(Counter(one for one in counter.names if not one.startswith("sasl")))
    assert numbers[1:] == numbers[:1] * 2
    assert numbers[0].total() <= 9
    counter.names.clear()
    campaign_card(database, "two")
    assert len(counter.names) <= 6


def test_no_result_is_read_but_the_best(indexed, make_campaign):
    insert(indexed, make_campaign, "many", count=20, failed=(3, 7))
    stored = _read(indexed.campaigns.find_one({"_id": "many"}))
    # Bounds of an index are dates that Python does not have.
    dates = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
    for branch in (*_grouping(stored), *_counting(stored, now() - timedelta(hours=1))):
        command = {"aggregate": "results", "pipeline": branch, "cursor": {}}
        plan = indexed.mongo.command("explain", command, verbosity="executionStats", codec_options=dates)
        text = json.dumps(plan, default=str)
        stages = plan["stages"][0]["$cursor"]["executionStats"] if "stages" in plan else plan["executionStats"]
        most = 1 if '"$properties.intercalation_energy"' in text else 0
        assert stages["totalDocsExamined"] <= most, branch
