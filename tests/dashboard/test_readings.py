"""What pages share as long as nothing is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from many_jobs import CallCounter
from pymongo import MongoClient

from hts_flows.dashboard import readings as module
from hts_flows.dashboard.readings import MOST, Readings
from hts_flows.stores.database import Database


def test_a_reading_is_made_again_when_anything_was_written(database):
    readings, made = Readings(), []
    database.results.insert_one({"_id": "a", "state": "queued"})

    def read():
        made.append(database.results.find_one({"_id": "a"})["state"])
        return made[-1]

    assert [readings.get(database, "key", read) for _ in range(3)] == ["queued"] * 3
    assert len(made) == 1
    database.results.update_one({"_id": "a"}, {"$set": {"state": "failed"}})
    assert readings.get(database, "key", read) == "failed"
    assert readings.get(database, "other", read) == "failed"
    assert len(made) == 3


def test_what_is_written_while_it_is_read_makes_the_next_one_read_again(database):
    readings = Readings()
    database.results.insert_one({"_id": "a", "n": 0})

    def read():
        value = database.results.find_one({"_id": "a"})["n"]
        if value == 0:
            database.results.update_one({"_id": "a"}, {"$set": {"n": 1}})
        return value

    assert readings.get(database, "key", read) == 0
    assert readings.get(database, "key", read) == 1


def test_many_who_ask_at_once_read_once(database):
    readings, made, go = Readings(), [], Event()

    def read():
        go.wait(10)
        made.append(1)
        return "value"

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(readings.get, database, "key", read) for _ in range(8)]
        go.set()
        assert {one.result() for one in asked} == {"value"}
    assert len(made) == 1


def test_readings_are_not_kept_without_end(database, monkeypatch):
    readings, made = Readings(), []
    for number in range(MOST + 5):
        readings.get(database, number, lambda: made.append(1))
    readings.get(database, 0, lambda: made.append(1))
    assert len(made) == MOST + 6
    monkeypatch.setattr(module, "LONGEST", 0.0)
    readings.get(database, 0, lambda: made.append(1))
    assert len(made) == MOST + 7


def test_an_error_is_not_kept(database):
    readings = Readings()
    outcomes = iter([ValueError("not now"), "value"])

    def read():
        outcome = next(outcomes)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="not now"):
        readings.get(database, "key", read)
    assert readings.get(database, "key", read) == "value"


def test_a_page_that_nothing_was_written_for_asks_mongodb_only_whether_that_is_so(site, database):
    counter, client = CallCounter(), site.client()
    counted = MongoClient(database.uri, event_listeners=[counter])
    site.dashboard.connection._database = Database(database.uri, counted[database.mongo.name])
    site.get(client, "")
    counter.names.clear()
    assert site.get(client, "").status_code == 200
    assert counter.names == ["serverStatus"] * 2
    counted.close()
