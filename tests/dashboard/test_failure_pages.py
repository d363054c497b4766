"""Failures as pages and API: groups, the results of one, and resubmitting what is chosen, in a real browser."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from failed_results import fail, submitted
from many_jobs import CallCounter
from pymongo import MongoClient

from hts_flows.launch.failures import FailureCause
from hts_flows.stores import Database

CAUSES = [FailureCause.WALLTIME] * 3 + [FailureCause.OUT_OF_MEMORY] * 2 + [FailureCause.NODE_FAILURE] * 2


@pytest.fixture
def keys(database, tmp_path):
    """Seven results: three at the time limit, two out of memory, two lost with their node; by label."""
    found = dict(sorted(submitted(database).items()))
    for number, (key, cause) in enumerate(zip(found.values(), CAUSES, strict=True)):
        fail(database, key, cause, tmp_path / str(number), node=f"n{number}")
    return found


def of(keys, cause):
    return [label for label, wanted in zip(keys, CAUSES, strict=True) if wanted is cause]


def stored(database):
    """The results, without when they were last written."""
    return {document["_id"]: document for document in database.results.find({}, {"changed_at": 0})}


def states(database):
    return Counter(document["state"] for document in database.results.find({}, {"state": 1}))


def test_every_cause_has_a_panel_with_its_count_its_remedy_and_a_button(keys, site, visit):
    window = visit(site)
    page = window.open("/failures")
    panels = page.locator("section.panel").filter(has=page.locator("h2 a"))
    titles = [" ".join(text.split()) for text in panels.locator("h2").all_inner_texts()]
    assert titles == ["walltime 3 results", "node_failure 2 results", "out_of_memory 2 results"]
    buttons = [" ".join(text.split()) for text in panels.locator("a.primary").all_inner_texts()]
    assert buttons == [
        "Resubmit 3 with walltime ×2",
        "Resubmit 2 as they are",
        "Resubmit 2 with memory ×2",
    ]
    assert "resubmit with more time" in panels.first.inner_text()
    assert "SLURM job # on n#: walltime" in panels.first.inner_text()
    assert window.barriers() == []
    panels.first.locator("a.primary").click()
    assert page.locator("h1").inner_text() == "Resubmit 3 failed calculations"
    assert page.input_value("[name='resource.walltime']") == "x2"


def test_the_link_in_the_title_opens_the_results_with_what_was_asked_and_used(keys, site, visit):
    window = visit(site)
    page = window.open("/failures?campaign=small")
    page.click("h2 >> text=out_of_memory")
    table = page.locator("section[aria-labelledby='results-out_of_memory'] table")
    assert table.locator("tbody th a").all_inner_texts() == of(keys, FailureCause.OUT_OF_MEMORY)
    row = table.locator("tbody tr").first
    text = row.inner_text()
    assert all(part in text for part in ("n3", "4711", "3 h 59 min", "of 4 h", "7.5 GB", "of 8.0 GB"))
    assert float(row.locator("rect").last.get_attribute("width")) == pytest.approx(1000 * 7700 / 8192, abs=0.1)
    key = next(iter(keys.values()))
    assert page.locator(f"a[href*='/jobs?result='][href$='{key.partition(':')[2]}']").count() == 2
    assert window.barriers() == []


def test_two_that_are_selected_are_resubmitted_followed_and_taken_back(keys, site, visit, database):
    before = stored(database)
    window = visit(site)
    page = window.open("/failures?cause=walltime")
    resubmit = page.locator("button.primary")
    assert resubmit.is_disabled()
    boxes = page.locator("input[name=id]")
    boxes.nth(0).check()
    boxes.nth(1).check()
    assert resubmit.inner_text() == "Resubmit the 2 selected"
    resubmit.click()
    assert page.locator("h1").inner_text() == "Resubmit 2 failed calculations"
    page.fill("#reason", "two more hours")
    page.click("button.primary")
    page.wait_for_selector("#diff")
    row = page.locator("#diff tbody tr")
    assert [" ".join(text.split()) for text in row.all_inner_texts()] == ["resources.walltime 04:00:00 08:00:00 2 of 2"]
    assert window.barriers() == []
    assert states(database) == {"failed": 7}
    page.click("text=Resubmit 2")
    page.wait_for_url("**/audit/*")
    assert states(database) == {"queued": 2, "failed": 5}
    assert page.locator("section[data-part=progress] .counts").inner_text() == "0 done\n2 queued"
    assert "“two more hours”" in page.inner_text("main")
    assert "2 have not started" in page.inner_text("main")
    assert window.barriers() == []
    page.click("#undo")
    assert "2 are as they were before" in page.inner_text("[role=status].good")
    assert page.locator("#undo").count() == 0
    assert stored(database) == before


def test_of_two_who_agree_to_the_same_plan_one_resubmits_and_the_other_is_told(keys, site, database):
    site.add_user("ada", "operator")
    clients = [site.client(), site.client("ada")]
    content = {"selection": {"cause": "walltime"}, "edits": {"resources": {"walltime": "x2"}}}
    tokens = {site.post(client, "api/resubmissions/plan", content).json()["token"] for client in clients}
    (token,) = tokens
    form = {"cause": "walltime", "resource.walltime": "x2", "token": token}
    answers = []

    def agree(client):
        answers.append(client.post(f"{site.address}resubmit", data=form, timeout=60, allow_redirects=False))

    threads = [threading.Thread(target=agree, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Both may have got some of the three; together each runs again once.
    assert states(database) == {"queued": 3, "failed": 4}
    runs = [len(document.get("attempts") or []) for document in database.results.find({"state": "queued"})]
    assert runs == [1, 1, 1]
    told = [answer for answer in answers if answer.status_code == 200]
    if told:
        assert "this is the new plan" in told[0].text or "somebody else was faster" in told[0].text
    followed = [answer.headers["location"] for answer in answers if answer.status_code == 303]
    assert database.audit.count_documents({}) == len(followed) == 2 - len(told)
    resubmitted = [key for document in database.audit.find() for key in document["results"]]
    assert sorted(resubmitted) == sorted({*resubmitted})
    again = site.post(clients[0], "api/resubmissions", content | {"token": token})
    assert (again.status_code, "have changed" in again.json()["error"]) == (409, True)


def test_a_text_is_looked_for_in_all_causes(keys, site):
    client = site.client()
    text = site.get(client, "failures?text=NODE_FAILURE").text
    assert [label in text for label in keys] == [label in of(keys, FailureCause.NODE_FAILURE) for label in keys]
    assert "No failure has" in site.get(client, "failures?text=nothing%20like%20it").text
    one = of(keys, FailureCause.WALLTIME)[0]
    rows = client.get(f"{site.address}api/failures/walltime", params={"text": one}, timeout=30).json()["rows"]
    assert [row["label"] for row in rows] == [one]


def test_a_viewer_sees_no_buttons_and_may_change_nothing(keys, site):
    site.add_user("anna", "viewer")
    client = site.client("anna")
    for path in ("failures", "failures?cause=walltime", "failures?text=slurm"):
        answer = site.get(client, path)
        assert answer.status_code == 200
        assert "/resubmit" not in answer.text
    content = {"selection": {"cause": "walltime"}, "token": "any"}
    assert site.post(client, "api/resubmissions", content).status_code == 403
    assert site.get(client, "resubmit?cause=walltime").status_code == 403


def test_what_waits_for_a_reference_is_not_offered(keys, site, database):
    told = {"failure.cause": "reference_failed", "failure.message": "its reference failed"}
    database.results.update_many({"failure.cause": "walltime"}, {"$set": told})
    text = site.get(site.client(), "failures?cause=reference_failed").text
    assert "resubmit the reference" in text
    assert "/resubmit" not in text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("failures?cause=waltime", "walltime"),
        ("failures?campaign=smal", "small"),
        ("failures?engine=sevenet", "sevennet"),
        ("api/failures/waltime", "walltime"),
        ("api/failures?campaign=smal", "small"),
    ],
)
def test_what_is_not_there_is_404_and_names_the_nearest(keys, site, path, words):
    answer = site.get(site.client(), path)
    assert answer.status_code == 404
    assert f"{words}" in answer.text


def test_rows_come_page_by_page(keys, site):
    client, found, cursor = site.client(), [], ""
    while cursor is not None:
        answer = site.get(client, f"api/failures/walltime?limit=2&cursor={cursor}").json()
        found += [row["label"] for row in answer["rows"]]
        cursor = answer["next"]
    assert found == of(keys, FailureCause.WALLTIME)
    assert site.get(client, "failures?cause=walltime&cursor=broken").status_code == 422


def test_where_nothing_failed_the_page_says_so(site):
    text = site.get(site.client(), "failures").text
    assert "Nothing has failed" in text


def test_an_open_page_follows_what_fails_and_what_is_resubmitted(site, visit, database, tmp_path):
    found = submitted(database)
    page = visit(site).open("/failures")
    page.wait_for_selector("text=Nothing has failed")
    fail(database, next(iter(found.values())), FailureCause.WALLTIME, tmp_path)
    page.wait_for_selector("h2 >> text=walltime")


def test_few_calls_of_the_database_however_many_failed(keys, site, monkeypatch):
    counter = CallCounter()
    database = site.dashboard.connection.database
    with MongoClient(database.uri, event_listeners=[counter]) as client:
        mine = Database(database.uri, client[database.mongo.name])
        monkeypatch.setattr(site.dashboard.connection, "_database", mine)
        session = site.client()
        site.get(session, "failures")
        for path, calls in (
            ("failures", {"aggregate": 4, "find": 2}),
            ("failures?cause=walltime", {"aggregate": 4, "find": 3}),
            ("failures?cause=walltime&campaign=small", {"aggregate": 4, "find": 3}),
        ):
            site.forget()
            counter.names.clear()
            assert site.get(session, path).status_code == 200
            # One more tells whether anything was written since it was read last.
            assert Counter(counter.names) == calls | {"serverStatus": 1}, path
