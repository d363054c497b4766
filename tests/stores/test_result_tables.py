from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from many_jobs import CallCounter
from pymongo import ASCENDING, IndexModel, MongoClient, UpdateOne

from hts_flows.errors import InputError
from hts_flows.stores import Database
from hts_flows.stores.result_columns import columns_of, unit_of
from hts_flows.stores.result_pages import ResultQuery
from hts_flows.stores.result_tables import ResultTables
from hts_flows.stores.results import ResultCollection, find_results, results_frame, stamped


@pytest.fixture
def stored(database, make_campaign):
    """Twenty results of a campaign, two of them failed, in random order."""
    rows = make_campaign(database, "many", count=20, failed=(3, 7))
    random.Random(0).shuffle(rows)
    database.results.insert_many(rows)
    return database, rows[0]["settings_hash"], ResultCollection(database.mongo, "results")


def shown(tables, stored, **query):
    return tables.page(stored[0], "many", stored[1], ResultQuery(**query))


def column(page, name):
    return [row[name] for row in page.rows]


def test_a_page_has_what_the_command_exports(stored):
    database, settings_hash, _ = stored
    expected = results_frame(find_results(database, "many"))
    frame = ResultTables().frame(database, "many", settings_hash)
    assert list(frame["candidate_id"]) == list(expected["candidate_id"])
    assert set(frame.columns) == set(expected.columns)
    for name in expected.columns:
        given = frame[name].astype(object).where(frame[name].notna(), None)
        assert list(given) == list(expected[name].astype(object).where(expected[name].notna(), None)), name


def test_filters_sorting_and_counts_agree_with_the_database(stored):
    database = stored[0]
    tables = ResultTables()
    for sort in ("intercalation_energy", "-intercalation_energy", "-label", "intercalant"):
        where = ["stage == 1", "interlayer_distance > 4.2"]
        expected = list(find_results(database, "many", where=where, sort=sort))
        page = shown(tables, stored, where=where, sort=sort, limit=5, offset=2)
        assert page.filtered == len(expected)
        values = [(one.properties or {}).get(sort.strip("-"), one.facets.get(sort)) for one in expected]
        if "energy" in sort:
            assert column(page, sort.strip("-")) == values[2:7]
    page = shown(tables, stored, sort="-intercalation_energy", limit=20)
    assert column(page, "intercalation_energy")[-2:] == [None, None]
    missing = column(page, "label")[-2:]
    assert missing == sorted(missing)
    failed = shown(tables, stored, choices={"state": ["failed"]})
    assert (failed.total, failed.filtered) == (20, 2)
    menus = {menu.name: {choice.value: choice.count for choice in menu.choices} for menu in failed.menus}
    assert menus["state"] == {"done": 18, "failed": 2}  # a choice does not hide its alternatives
    assert menus["cause"] == {"bad_input": 2}
    assert sum(menus["stage"].values()) == 2
    text = shown(tables, stored, text="lic", limit=50)
    assert text.filtered == sum("lic" in (one.label + one.formula).lower() for one in find_results(database, "many"))
    assert text.filtered > 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"where": ["stge == 1"]}, "did you mean 'stage'"),
        ({"where": ["stage == graphite"]}, "stage is a number"),
        ({"where": ["host == 3"]}, "host is text"),
        ({"where": ["stays_layered == 1"]}, "true or false"),
        ({"sort": "-lable"}, "did you mean 'label'"),
        ({"choices": {"hots": ["graphite"]}}, "did you mean 'host'"),
        ({"choices": {"stage": ["one"]}}, "stage is a number"),
    ],
)
def test_what_cannot_be_asked_is_explained(stored, query, expected):
    with pytest.raises(InputError, match=expected):
        shown(ResultTables(), stored, **query)


def test_every_kind_of_change_is_seen_without_reading_the_others_again(stored, make_campaign):
    database, _, results = stored
    tables = ResultTables(fresh_for=0.0)
    shown(tables, stored)
    keys = sorted(document["_id"] for document in database.results.find({"state": "done"}, {"_id": 1}))
    # Derived anew: neither state nor time of recording change.
    results.update_one({"_id": keys[0]}, {"$set": {"properties.intercalation_energy": -99.5}})
    # By a pipeline, as a resubmission does, and in bulk, as failures are settled.
    results.update_one({"_id": keys[1]}, [{"$set": {"state": "queued", "properties": None}}])
    failed = stamped({"$set": {"state": "failed", "failure": {"cause": "oom", "message": ""}}})
    # One is released and another comes in, so that there are as many as before.
    results.update_one({"_id": keys[3]}, {"$pull": {"campaigns": "many"}})
    extra = make_campaign(database, "other", count=21)[20]
    joined = stamped({"$setOnInsert": {**extra, "campaigns": ["many"]}})
    results.bulk_write([UpdateOne({"_id": keys[2]}, failed), UpdateOne({"_id": extra["_id"]}, joined, upsert=True)])
    page = shown(tables, stored, limit=50)
    rows = {row["key"]: row for row in page.rows}
    assert rows[keys[0]]["intercalation_energy"] == -99.5
    assert (rows[keys[1]]["state"], rows[keys[1]]["intercalation_energy"]) == ("queued", None)
    assert rows[keys[2]]["cause"] == "oom"
    assert page.total == 20
    assert keys[3] not in rows
    assert extra["_id"] in rows
    database.results.delete_one({"_id": keys[4]})
    assert keys[4] not in column(shown(tables, stored, limit=50), "key")
    assert "NaN" not in page.model_dump_json()


def test_a_table_is_kept_and_a_change_costs_few_calls(settings, stored):
    counter = CallCounter()
    database, settings_hash, results = stored
    client = MongoClient(database.uri, event_listeners=[counter])
    watched = Database(database.uri, client[database.mongo.name])
    tables = ResultTables(fresh_for=60.0)
    watched.results.find_one()
    counter.names.clear()
    tables.page(watched, "many", settings_hash)
    assert counter.names[0] == "find"
    assert set(counter.names[1:]) <= {"getMore"}
    counter.names.clear()
    for _ in range(3):
        tables.page(watched, "many", settings_hash, ResultQuery(where=["stage == 2"], sort="-label"))
    assert counter.names == []
    tables.fresh_for = 0.0
    counter.names.clear()
    tables.page(watched, "many", settings_hash)
    assert counter.names == ["find", "aggregate"]
    results.update_one({}, {"$set": {"state": "done"}})
    counter.names.clear()
    tables.page(watched, "many", settings_hash)
    assert counter.names == ["find", "aggregate", "find"]
    client.close()


def test_old_tables_are_dropped_and_threads_share_one(stored):
    database, settings_hash, _ = stored
    tables = ResultTables(most_tables=2)
    with ThreadPoolExecutor(8) as pool:
        pages = list(pool.map(lambda _: tables.snapshot(database, "many", settings_hash), range(16)))
    assert len({id(page) for page in pages}) == 1
    for name in ("a", "b"):
        assert tables.page(database, name, settings_hash).total == 0
    assert len(tables._held) == 2
    assert ("many", settings_hash) not in tables._held


def test_what_changed_is_found_by_an_index_alone(stored):
    database, settings_hash, _ = stored
    order = ("campaigns", "settings_hash", "changed_at", "_id")
    database.results.create_indexes([IndexModel([(name, ASCENDING) for name in order])])
    query = {
        "campaigns": "many",
        "settings_hash": settings_hash,
        "changed_at": {"$gte": datetime(2026, 1, 1, tzinfo=UTC)},
    }
    command = {"find": "results", "filter": query, "projection": {"_id": 1, "changed_at": 1}}
    stats = database.mongo.command("explain", command, verbosity="executionStats")["executionStats"]
    assert stats["totalDocsExamined"] == 0


def test_columns_say_what_they_are(stored):
    page = shown(ResultTables(), stored)
    columns = {one.name: one for one in page.columns}
    energy = columns["intercalation_energy"]
    assert (energy.header, energy.unit, energy.format, energy.shown) == ("E_int", "eV/M", "+.3f", True)
    assert "takes it up" in energy.description
    assert (columns["volume_change"].unit, columns["volume_change"].shown) == ("%", False)
    assert (columns["stage"].kind, columns["stage"].group) == ("integer", "facet")
    assert columns["max_force"].unit == "eV/Å"
    assert set(page.rows[0]) == {"key", *columns}
    assert unit_of("Shape of that shell: octahedral, hollow, …; all that occur") == ""
    assert [one.name for one in columns_of(None, {})][:3] == ["candidate_id", "label", "formula"]
