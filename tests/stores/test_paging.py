"""Keyset paging: pages that follow each other without gaps, forwards and backwards, whatever the field holds."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest

from hts_flows.errors import InputError
from hts_flows.stores.paging import MOST_ROWS, Cursor, Keyset, checked_limit

VALUES = [3, None, 1.5, 3, "missing", 1.5, -2, None, 3, 7, "missing", 3]


@pytest.fixture
def collection(database):
    """Rows with equal values, with null, and without the field."""
    rows = [{"_id": f"key-{number:02d}", "energy": value} for number, value in enumerate(VALUES)]
    for row in rows:
        if row["energy"] == "missing":
            del row["energy"]
    # Not stored in the order of the keys.
    database.mongo["rows"].insert_many(rows[::-1])
    return database.mongo["rows"]


def read(keyset, collection, text, limit):
    cursor = keyset.decode(text) if text else None
    rows = keyset.find(collection, {}, {"energy": 1}, cursor, limit + 1)
    whole = collection.find(keyset.condition(cursor)).sort(keyset.sort(back=cursor is not None and cursor.back))
    assert [row["_id"] for row in rows] == [row["_id"] for row in whole.limit(limit + 1)]
    return keyset.page(rows, cursor, limit, lambda row: (row.get("energy"), row["_id"]))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 3, len(VALUES), 50])
def test_pages_follow_each_other_without_gaps_and_lead_back(collection, descending, limit):
    keyset = Keyset("rows", "energy", descending=descending, types=(int, float))
    direction = -1 if descending else 1
    wanted = [row["_id"] for row in collection.find({}).sort([("energy", direction), ("_id", direction)])]
    pages, text = [], None
    while not pages or text:
        page = read(keyset, collection, text, limit)
        pages.append([row["_id"] for row in page.rows])
        last, text = page, page.next
    assert [key for page in pages for key in page] == wanted
    assert all(len(page) == limit for page in pages[:-1])
    back, text = [], last.previous
    while text:
        page = read(keyset, collection, text, limit)
        back.append([row["_id"] for row in page.rows])
        assert page.next
        text = page.previous
    assert back[::-1] == pages[:-1]


def test_rows_that_appear_before_a_cursor_do_not_shift_the_next_page(collection):
    keyset = Keyset("rows", "_id")
    first = read(keyset, collection, None, 4)
    assert first.previous is None
    collection.insert_one({"_id": "a-new-one"})
    assert [row["_id"] for row in read(keyset, collection, first.next, 4).rows] == [f"key-{n:02d}" for n in range(4, 8)]


@pytest.mark.parametrize(
    "value", [None, "text = ä/+?&", -3, 0.1, True, datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)]
)
@pytest.mark.parametrize("back", [False, True])
def test_a_cursor_is_read_as_it_was_written_and_fits_into_an_address(value, back):
    keyset = Keyset("rows", "value")
    text = Cursor(value, "key", back).encode("rows")
    assert keyset.decode(text) == Cursor(value, "key", back)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_time_of_mongodb_is_read_as_utc():
    text = Cursor(datetime(2026, 1, 2, tzinfo=UTC).replace(tzinfo=None), "key").encode("rows")
    assert Keyset("rows", "at").decode(text).value == datetime(2026, 1, 2, tzinfo=UTC)


def packed(content):
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "%%%%",
        "ä",
        "A" * 5000,
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        packed(["rows"]),
        packed({"rows": 1}),
        packed(["others", 1, "key", 0]),
        packed([["rows"], 1, "key", 0]),
        packed(["rows", 1, 5, 0]),
        packed(["rows", 1, "key", 2]),
        packed(["rows", 1, "key", [0]]),
        packed(["rows", {"$gt": ""}, "key", 0]),
        packed(["rows", {"time": "yesterday"}, "key", 0]),
        packed(["rows", {"time": 5}, "key", 0]),
        packed(["rows", [1], "key", 0]),
        packed(["rows", "text", "key", 0]),
        packed(["rows", True, "key", 0]),
        packed(["rows", 2**63, "key", 0]),
        packed(["rows", 1, "\ud800", 0]),
        packed(["rows", float("nan"), "key", 0]),
        packed(["rows", 1, {"$ne": None}, 0]),
    ],
)
def test_a_cursor_that_is_damaged_or_of_another_sorting_is_refused(text):
    with pytest.raises(InputError, match="cursor") as refused:
        Keyset("rows", "energy", types=(int, float)).decode(text)
    assert "first page" in refused.value.hint


@pytest.mark.parametrize("limit", [0, -1, MOST_ROWS + 1])
def test_a_page_without_rows_or_with_too_many_is_refused(limit):
    with pytest.raises(InputError, match=f"limit {limit}"):
        checked_limit(limit)
