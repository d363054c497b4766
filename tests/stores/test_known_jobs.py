"""What is kept in memory of all jobs says the same as counting and searching them in the database."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil
import pytest
from many_jobs import CallCounter, insert_running_jobs, new_allocation
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from hts_flows.launch.mongod import PrivateMongod
from hts_flows.settings import Settings
from hts_flows.stores import Database, connect, known_jobs
from hts_flows.stores.jobs import FEW, NAME_KEYS, JobFilter, JobSort, count_jobs, list_jobs
from hts_flows.stores.known_jobs import KnownJobs

FILTERS = [
    {},
    {"campaign": "many"},
    {"text": "ECORD: 1"},
    {"text": "record"},
    {"text": "5", "campaign": "many", "job": "calculate"},
    {"text": "5", "campaign": "other"},
    {"text": "no such name"},
    {"text": "Å"},
    {"state": "RUNNING", "text": "1"},
]


@pytest.fixture
def allocation(database):
    """An allocation with 60 jobs, half of which run."""
    found = new_allocation("/scratch/pilot", job_id="4711", state="queued")
    database.allocations.insert_one(found.document())
    insert_running_jobs(database, found, range(30))
    return found


@pytest.fixture
def counted(database):
    """The same database through a client that counts its calls."""
    counter = CallCounter()
    client = MongoClient(database.uri, event_listeners=[counter])
    client.admin.command("ping")
    yield Database(database.uri, client[database.mongo.name]), counter
    client.close()


def agree(known, database):
    """See that every filter counts and finds the same with what is known as without."""
    for given in FILTERS:
        wanted = JobFilter(**given)
        among = known.among(database, wanted)
        assert count_jobs(database, wanted, among) == count_jobs(database, wanted), given
        for sort in ("fw_id", "-updated", "-priority"):
            order, cursor = JobSort.read(sort), None
            for _ in range(3):
                page, expected = (list_jobs(database, wanted, order, cursor, 4, among=one) for one in (among, None))
                assert [row.fw_id for row in page.rows] == [row.fw_id for row in expected.rows], (given, sort)
                assert (page.next, page.previous) == (expected.next, expected.previous), (given, sort)
                if not (cursor := page.next):
                    break


@pytest.mark.parametrize("few", [3, FEW], ids=["many", "few"])
def test_counts_and_lists_are_those_of_the_database(database, allocation, monkeypatch, few):
    monkeypatch.setattr(known_jobs, "FEW", few)
    known, jobs = KnownJobs(), database.mongo["fireworks"]
    agree(known, database)
    for change in (
        lambda: insert_running_jobs(database, allocation, range(100, 120), state="READY"),
        lambda: jobs.update_many({"fw_id": {"$lt": 30}}, {"$set": {"state": "COMPLETED"}}),
        lambda: jobs.delete_many({"fw_id": {"$in": [5, 6, 40]}}),
        # With lower ids than jobs that are known: their ids were given out before, and they were added later.
        lambda: insert_running_jobs(database, allocation, range(50, 60)),
        lambda: jobs.delete_many({}),
    ):
        change()
        agree(known, database)


def test_texts_with_few_jobs_give_their_ids_and_others_a_number(database, allocation, monkeypatch):
    monkeypatch.setattr(known_jobs, "FEW", 12)
    known = KnownJobs()
    few = known.among(database, JobFilter(text="Calculate: 2"))
    assert few.ids == tuple(2 * number + 2 for number in (2, *range(20, 30)))
    assert known.among(database, JobFilter(text="calculate")).total == 30
    for unknown in ({"text": "calculate", "campaign": "many"}, {"engine": "sevennet"}, {"text": "Å"}):
        among = known.among(database, JobFilter(**unknown))
        assert (among.total, among.ids) == (None, None)


def test_new_jobs_cost_few_calls_that_read_index_keys_alone(counted, database, allocation):
    watched, counter = counted
    known, wanted = KnownJobs(), JobFilter(text="calculate: 7")
    counter.names.clear()
    known.total(watched)
    assert counter.names == ["aggregate"]
    known.among(watched, wanted)
    for more in (range(30, 90), range(90, 400)):
        insert_running_jobs(database, allocation, more)
        counter.names.clear()
        found = known.among(watched, wanted)
        assert counter.names == ["aggregate", "find"]
        assert len(found.ids) == sum(str(number).startswith("7") for number in range(more.stop))
    counter.names.clear()
    assert sum(count_jobs(watched, wanted, found).values()) == len(found.ids)
    assert counter.names == ["aggregate"]
    counter.names.clear()
    count_jobs(watched, JobFilter(), known.among(watched, JobFilter()))
    assert len(counter.names) == 9
    query = {"find": "fireworks", "filter": {"fw_id": {"$gt": 5}}, "hint": dict(NAME_KEYS)}
    query["projection"] = {"_id": 0, "fw_id": 1, "name": 1}
    stats = database.mongo.command("explain", query, verbosity="executionStats")["executionStats"]
    assert (stats["totalDocsExamined"], stats["nReturned"]) == (0, 795)


def test_a_user_who_may_not_ask_gets_no_number(database, allocation):
    mongo = database.mongo
    privileges = [{"resource": {"db": mongo.name, "collection": ""}, "actions": ["find"]}]
    mongo.command("createRole", "finder", privileges=privileges, roles=[])
    mongo.command("createUser", "finder", pwd="finder", roles=["finder"])
    place = database.uri.partition("@")[2].partition("/")[0]
    uri = f"mongodb://finder:finder@{place}/?authSource={mongo.name}"
    try:
        with MongoClient(uri) as client:
            client.admin.command("ping")
            limited = Database(uri, client[mongo.name])
            assert KnownJobs().total(limited) is None
            agree(KnownJobs(), limited)
    finally:
        mongo.command("dropUser", "finder")
        mongo.command("dropRole", "finder")


def test_the_number_is_compared_with_a_count_again_and_again(database, allocation, monkeypatch):
    known = KnownJobs()
    assert known.total(database) == 60
    known._excess = 7  # as if something had put MongoDB's own number right
    assert known.total(database) == 53
    monkeypatch.setattr(known_jobs, "CHECKED_FOR", 0.0)
    assert known.total(database) == 60


def test_the_number_is_right_after_mongodb_was_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("HTS_DATABASE", "killed")
    server = PrivateMongod(Settings(home=tmp_path))
    try:
        database = connect(Settings(home=tmp_path, database="killed"))
        allocation = new_allocation("/scratch/pilot")
        insert_running_jobs(database, allocation, range(20))
        known = KnownJobs()
        assert known.total(database) == 40
        database.mongo.client.admin.command("fsync")
        insert_running_jobs(database, allocation, range(20, 50))
        assert known.total(database) == 100
        psutil.Process(server.status().pid).kill()
        until = time.monotonic() + 30
        while server.status().running and time.monotonic() < until:
            time.sleep(0.1)
        again = connect(Settings(home=tmp_path, database="killed"))
        with suppress(PyMongoError):
            again.mongo["fireworks"].find_one()
        # MongoDB has all jobs from its journal, and counts those alone that were added before they were on disk.
        assert again.mongo["fireworks"].count_documents({}) == 100
        assert again.mongo["fireworks"].estimated_document_count() < 100
        assert [known.total(again) for _ in range(2)] == [100, 100]
        insert_running_jobs(again, allocation, range(50, 55))
        assert known.total(again) == 110
        agree(known, again)
    finally:
        server.stop()
