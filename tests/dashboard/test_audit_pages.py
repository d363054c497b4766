"""The audit as pages and API, of resubmissions that really happened, in a real browser."""

from __future__ import annotations

from collections import Counter

import pytest
from failed_results import calculation_of, fail, start, submitted
from many_jobs import CallCounter
from pymongo import MongoClient

from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.stores import Database


@pytest.fixture
def keys(database, tmp_path):
    """All seven calculations of a campaign, failed at the time limit."""
    found = sorted(submitted(database).values())
    for number, key in enumerate(found):
        fail(database, key, FailureCause.WALLTIME, tmp_path / str(number))
    return found


def again(database, *, user="ada", reason="two hours were too short", **selection):
    plan = plan_resubmission(database, "small", resources={"walltime": "x2"}, **selection)
    return resubmit(database, plan, user=user, reason=reason).audit


def words(text):
    return " ".join(text.split())


def test_a_row_says_who_did_what_why_and_how_far_it_is(keys, site, visit, database):
    audit = again(database)
    window = visit(site)
    page = window.open("/audit")
    row = page.locator("tbody tr")
    assert row.count() == 1
    text = words(row.inner_text())
    for part in (
        "ada resubmit 7",
        "resources.walltime: 04:00:00 → 08:00:00 × 7",
        "0 done 7 queued",
        "two hours",
        "small",
    ):
        assert part in text
    assert window.barriers() == []
    page.click("text=resubmit >> nth=-1")
    page.wait_for_url(f"**/audit/{audit}")
    assert window.barriers() == []


def test_filters_are_in_the_address(keys, site, database, visit):
    again(database, ids=[keys[0].partition(":")[0]])
    again(database, user="bob", ids=[keys[1].partition(":")[0]])
    client = site.client()
    for query, found in (("", 2), ("?user=bob", 1), ("?action=pause", 0), ("?campaign=small", 2), ("?campaign=no", 0)):
        text = site.get(client, f"audit{query}").text
        assert text.count("/audit/") == found, query
        assert ("Nothing like that" in text) == (found == 0)
        assert len(site.get(client, f"api/audit{query}").json()["rows"]) == found
    first = site.get(client, "api/audit?limit=1").json()
    after = site.get(client, f"api/audit?limit=1&cursor={first['next']}").json()
    assert [one["user"] for one in first["rows"] + after["rows"]] == ["bob", "ada"]
    page = visit(site).open("/audit")
    page.fill("input[name=user]", "bob")
    page.press("input[name=user]", "Enter")
    page.wait_for_url("**/audit?user=bob")


def test_a_person_follows_a_resubmission_without_reloading(keys, site, visit, database, tmp_path):
    audit = again(database)
    window = visit(site)
    page = window.open(f"/audit/{audit}")
    assert words(page.inner_text("#diff tbody")) == "resources.walltime 04:00:00 08:00:00 7"
    counts = page.locator("section[data-part=progress] .counts")
    assert words(counts.inner_text()) == "0 done 7 queued"
    assert "7 have not started" in page.inner_text("main")
    page.evaluate("window.same = true")
    start(database, keys[0], tmp_path / "again")
    page.wait_for_selector(".counts >> text=1 running")
    assert "6 have not started" in page.inner_text("main")
    fail(database, keys[1], FailureCause.OUT_OF_MEMORY, tmp_path / "third")
    page.wait_for_selector("#results >> text=out_of_memory")
    assert words(counts.inner_text()) == "0 done 1 failed 1 running 5 queued"
    assert page.evaluate("window.same")
    fw_id = calculation_of(database, keys[0])["fw_id"]
    assert page.locator(f"#results a[href='/jobs/{fw_id}']").count() == 1
    page.click("text=running 1")
    page.wait_for_url("**?now=running")
    assert page.locator("#results tbody tr").count() == 1
    assert window.barriers() == []


def test_taking_back_gives_back_what_has_not_started(keys, site, visit, database, tmp_path):
    audit = again(database)
    start(database, keys[0], tmp_path / "again")
    page = visit(site).open(f"/audit/{audit}")
    page.click("#undo")
    page.wait_for_selector(".good")
    assert "6 are as they were before. 1 stay: it has started" in page.inner_text(".good")
    assert page.locator("#undo").count() == 0
    assert "taken back" in page.inner_text("main").lower()
    states = Counter(document["state"] for document in database.results.find())
    assert states == {"failed": 6, "queued": 1}
    page.click("dd a[href^='/audit/']")
    assert "undo of 6 results" in page.inner_text("h1")
    assert "it has started" in page.inner_text("main")


def test_a_viewer_sees_everything_and_takes_nothing_back(keys, site, database):
    audit = again(database)
    site.add_user("anna", "viewer")
    client = site.client("anna")
    text = site.get(client, f"audit/{audit}").text
    assert "two hours were too short" in text
    assert "/undo" not in text
    assert site.post(client, f"api/resubmissions/{audit}/undo").status_code == 403
    assert client.post(f"{site.address}audit/{audit}/undo", timeout=30).status_code == 403
    assert database.results.count_documents({"state": "queued"}) == 7


def test_an_entry_that_is_not_there_is_404_and_names_the_nearest(keys, site, database):
    audit = again(database)
    client = site.client()
    for path in ("audit/", "api/audit/"):
        answer = site.get(client, path + audit[:-2])
        assert answer.status_code == 404
        assert audit in answer.text
    assert site.get(client, "audit?cursor=broken").status_code == 422
    assert site.get(client, f"audit/{audit}?now=broken").status_code == 422


def test_the_api_follows_the_results(keys, site, database, tmp_path):
    audit = again(database)
    start(database, keys[0], tmp_path / "again")
    entry = site.get(site.client(), f"api/audit/{audit}").json()
    assert entry["progress"] == {"queued": 7, "running": 1, "done": 0, "failed": 0, "gone": 0}
    assert (entry["row"]["undoable"], entry["why_not_undoable"]) == (True, None)


def test_where_nothing_was_changed_the_page_says_so(site):
    assert "Nobody has changed anything yet" in site.get(site.client(), "audit").text


def test_few_calls_of_the_database_however_much_was_changed(keys, site, database, monkeypatch):
    counter = CallCounter()
    ours = site.dashboard.connection.database
    audits = [again(database, ids=[key.partition(":")[0]]) for key in keys]
    with MongoClient(ours.uri, event_listeners=[counter]) as client:
        monkeypatch.setattr(site.dashboard.connection, "_database", Database(ours.uri, client[ours.mongo.name]))
        session = site.client()
        site.get(session, "audit")
        for path, calls in (
            ("audit", {"find": 2, "aggregate": 2}),
            ("audit?campaign=small&user=ada&action=resubmit", {"find": 2, "aggregate": 2}),
            (f"audit/{audits[0]}", {"find": 4, "aggregate": 2}),
        ):
            counter.names.clear()
            assert site.get(session, path).status_code == 200
            assert Counter(counter.names) == calls, path
