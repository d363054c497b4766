"""Pausing, resuming, cancelling and giving a priority as pages and API, in a real browser."""

from __future__ import annotations

from collections import Counter

import pytest
from failed_results import calculation_of, everything, start, submitted


@pytest.fixture
def keys(database):
    """Seven queued calculations, by label."""
    return submitted(database)


def jobs(database):
    calculations = database.mongo["fireworks"].find({"spec.hts.job": "calculate"}, {"state": 1})
    return Counter(job["state"] for job in calculations)


def words(text):
    return " ".join(text.split())


def test_pause_and_resume_change_the_states_of_the_jobs(keys, site, visit, database, tmp_path):
    start(database, keys["Lithium, bcc"], tmp_path)
    before = jobs(database)
    window = visit(site)
    page = window.open("/queue/pause?campaign=small")
    assert page.inner_text("h1") == "Pause small"
    assert "6 calculations are held back" in page.inner_text("main")
    assert words(page.inner_text("#left tbody")) == "it runs: it goes on, and is recorded Lithium, bcc 1"
    assert window.barriers() == []
    assert jobs(database) == before
    page.fill("#reason", "the cluster is drained")
    page.click("#confirm")
    page.wait_for_url("**/audit/*")
    assert jobs(database) == {"RUNNING": 1, "PAUSED": 6}
    assert database.campaigns.find_one({"_id": "small"})["paused"]["reason"] == "the cluster is drained"
    assert "campaign small is paused. 6 calculations paused" in page.inner_text(".good")
    assert "“the cluster is drained”" in page.inner_text("main")
    assert window.barriers() == []
    page.click("text=Resume…")
    assert page.inner_text("h1") == "Resume small"
    page.click("#confirm")
    page.wait_for_selector("h1 >> text=resume of 6")
    assert jobs(database) == before
    assert database.campaigns.find_one({"_id": "small"})["state"] == "running"


def test_one_is_cancelled_and_the_audit_leads_to_its_resubmission(keys, site, visit, database):
    window = visit(site)
    page = window.open("/queue/cancel?campaign=small&id=Lithium%2C%20bcc")
    assert page.inner_text("h1") == "Cancel 1 calculation"
    assert "1 are references" in page.inner_text("main")
    assert window.barriers() == []
    page.click("#confirm")
    page.wait_for_url("**/audit/*")
    result = database.results.find_one({"label": "Lithium, bcc"})
    assert (result["state"], result["failure"]["cause"]) == ("failed", "cancelled")
    assert jobs(database) == {"READY": 6, "DEFUSED": 1}
    page.click("text=Resubmit what was cancelled…")
    assert page.inner_text("h1") == "Resubmit 1 failed calculation"


def test_a_priority_is_chosen_by_name_or_number(keys, site, visit, database):
    window = visit(site)
    page = window.open("/queue/priority?campaign=small")
    assert "have the priority 14 (now 5, 10)" in words(page.inner_text("main"))
    page.select_option("select[name=priority]", "low")
    page.wait_for_url("**priority=low*")
    page.fill("input[name=number]", "-20")
    page.click("text=Show")
    page.wait_for_url("**number=-20*")
    assert "have the priority -20" in page.inner_text("main")
    assert window.barriers() == []
    page.click("#confirm")
    page.wait_for_url("**/audit/*")
    priorities = {label: calculation_of(database, key)["spec"]["_priority"] for label, key in keys.items()}
    assert set(priorities.values()) == {-20, -15}
    assert priorities["Lithium, bcc"] == -15
    answer = site.get(site.client(), "queue/priority?number=1000")
    assert (answer.status_code, "from -100 to 100" in answer.text) == (422, True)


def test_what_was_agreed_to_is_not_done_to_more(keys, site, database):
    client = site.client()
    content = {"campaigns": ["small"]}
    plan = site.post(client, "api/queue/pause/plan", content).json()
    assert (len(plan["results"]), plan["campaigns"]) == (7, ["small"])
    submitted(database, "other", intercalants=("Na",), fmax=0.2)
    database.results.update_many({"campaigns": "other"}, {"$set": {"campaigns": ["small"]}})
    before = everything(database)
    form = {"campaign": "small", "token": plan["token"], "reason": "why"}
    answer = client.post(f"{site.address}queue/pause", data=form, timeout=60)
    assert "nothing was done; this is the new plan" in answer.text
    assert 'value="why"' in answer.text
    assert site.post(client, "api/queue/pause", content | {"token": plan["token"]}).status_code == 409
    assert everything(database) == before
    assert database.audit.count_documents({}) == 0


def test_the_second_to_do_the_same_is_told_that_nothing_is_left(keys, site, database):
    client = site.client()
    content = {"campaigns": ["small"]}
    plan = site.post(client, "api/queue/pause/plan", content).json()
    done = site.post(client, "api/queue/pause", content | {"token": plan["token"], "reason": "lunch"}).json()
    assert (len(done["keys"]), done["campaigns"], done["problems"]) == (7, ["small"], [])
    again = site.post(client, "api/queue/pause/plan", content).json()
    assert (again["results"], {one["reason"] for one in again["left"]}) == ([], {"it is paused already"})
    form = {"campaign": "small", "token": again["token"]}
    answer = client.post(f"{site.address}queue/pause", data=form, timeout=60)
    assert "nothing left to do" in answer.text
    assert site.post(client, "api/queue/pause", content | {"token": again["token"]}).json()["audit"] is None
    assert database.audit.count_documents({}) == 1


def test_a_viewer_may_not(keys, site, database):
    site.add_user("anna", "viewer")
    client = site.client("anna")
    before = everything(database)
    assert site.get(client, "queue/pause?campaign=small").status_code == 403
    for action in ("pause", "resume", "cancel", "priority"):
        assert site.post(client, f"api/queue/{action}/plan", {}).status_code == 403
        assert site.post(client, f"api/queue/{action}", {"token": "any"}).status_code == 403
        assert client.post(f"{site.address}queue/{action}", data={"token": "any"}, timeout=30).status_code == 403
    assert everything(database) == before


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("queue/pauze", 404, "pause"),
        ("queue/pause?campaign=smal", 404, "small"),
        ("queue/pause?id=nothing", 422, "no queued candidate"),
        ("queue/pause?engine=sevenet", 422, "sevennet"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(keys, site, path, status, told):
    answer = site.get(site.client(), path)
    assert (answer.status_code, told in answer.text) == (status, True)


def test_the_api_refuses_what_makes_no_sense(keys, site):
    client = site.client()
    for action, content, status in (
        ("priority", {}, 422),
        ("priority", {"priority": "hgh"}, 422),
        ("pause", {"priority": "high"}, 422),
        ("pause", {"campaigns": ["smal"]}, 422),
        ("stop", {}, 422),
        ("pause", {"nothing": 1}, 422),
    ):
        assert site.post(client, f"api/queue/{action}/plan", content).status_code == status, (action, content)
    form = {"token": "x" * 300}
    assert client.post(f"{site.address}queue/pause", data=form, timeout=30).status_code == 422
