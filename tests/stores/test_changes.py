"""Whether anything has changed."""

from __future__ import annotations

import pytest
from many_jobs import CallCounter, insert_running_jobs, new_allocation
from pymongo import MongoClient

from hts_flows.stores.changes import write_counts
from hts_flows.stores.database import Database, open_database


@pytest.fixture
def filled(database, tmp_path):
    insert_running_jobs(database, new_allocation(str(tmp_path)), range(20))
    return database


def test_reading_is_no_change(filled):
    before = write_counts(filled)
    list(filled.results.find())
    filled.mongo["fireworks"].find_one_and_update({"state": "NOTHING"}, {"$set": {"state": "READY"}})
    assert write_counts(filled) == before


def test_every_insertion_update_and_deletion_is_a_change(filled):
    collection = filled.mongo["fireworks"]
    seen = [write_counts(filled)]
    for change in (
        lambda: collection.insert_one({"_id": "x", "fw_id": -1, "state": "READY"}),
        # As long as what was there before, so that no size changes.
        lambda: collection.update_one({"_id": "x"}, {"$set": {"state": "DAYRE"}}),
        lambda: collection.replace_one({"_id": "x"}, {"fw_id": -1, "state": "REDAY"}),
        lambda: collection.delete_one({"_id": "x"}),
    ):
        change()
        seen.append(write_counts(filled))
    assert len(set(seen)) == len(seen)


def test_looking_is_one_call_that_reads_no_document(filled, settings):
    counter = CallCounter()
    with MongoClient(filled.uri, event_listeners=[counter]) as client:
        client.admin.command("ping")
        counter.names.clear()
        write_counts(Database(filled.uri, client[settings.database]))
    assert counter.names == ["serverStatus"]


def test_a_user_who_may_not_ask_is_told_nothing(filled):
    mongo = filled.mongo
    mongo.command("createUser", "reader", pwd="reader", roles=[{"role": "readWrite", "db": mongo.name}])
    _, _, place = filled.uri.partition("@")
    uri = f"mongodb://reader:reader@{place.partition('/')[0]}/?authSource={mongo.name}"
    try:
        assert write_counts(open_database(uri, mongo.name, 5)) is None
    finally:
        mongo.command("dropUser", "reader")
