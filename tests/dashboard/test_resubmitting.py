"""Resubmitting through the API and the pages, on results that failed as SLURM leaves them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from failed_results import fail, submitted

from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission
from hts_flows.launch.resubmission import resubmit as resubmit_now


@pytest.fixture
def failed(database):
    """Four results: two ended at their walltime, one without memory; one is queued."""
    keys = submitted(database)
    wanted = [keys[label] for label in sorted(keys) if label.startswith("graphite")]
    for key in wanted[:2]:
        fail(database, key, FailureCause.WALLTIME)
    fail(database, wanted[2], FailureCause.OUT_OF_MEMORY)
    return wanted


def states(database, keys):
    found = {document["_id"]: document["state"] for document in database.results.find({"_id": {"$in": keys}})}
    return [found[key] for key in keys]


def asked(**changes):
    return {"selection": {"cause": "walltime"}, "edits": {"resources": {"walltime": "x2"}}} | changes


def test_a_plan_says_what_would_change_and_changes_nothing(site, database, failed):
    client = site.client()
    plan = site.post(client, "api/resubmissions/plan", asked()).json()
    assert [(row["setting"], row["old"], row["new"], row["count"]) for row in plan["diff"]] == [
        ("resources.walltime", "04:00:00", "08:00:00", 2)
    ]
    assert len(plan["results"]) == 2
    assert states(database, failed) == ["failed", "failed", "failed", "queued"]
    assert database.audit.count_documents({}) == 0


def test_a_plan_that_was_agreed_to_is_carried_out_in_the_users_name_and_can_be_taken_back(site, database, failed):
    site.add_user("anna", "operator")
    client = site.client("anna")
    plan = site.post(client, "api/resubmissions/plan", asked()).json()
    outcome = site.post(client, "api/resubmissions", asked(token=plan["token"], reason="too short")).json()
    assert (outcome["added"], outcome["refused"]) == (2, [])
    assert states(database, failed) == ["queued", "queued", "failed", "queued"]
    entry = database.audit.find_one({"_id": outcome["audit"]})
    assert (entry["user"], entry["reason"], entry["action"]) == ("anna", "too short", "resubmit")
    undone = site.post(client, f"api/resubmissions/{outcome['audit']}/undo").json()
    assert sorted(undone["keys"]) == sorted(failed[:2])
    assert states(database, failed) == ["failed", "failed", "failed", "queued"]
    again = site.post(client, f"api/resubmissions/{outcome['audit']}/undo")
    assert again.status_code == 409
    assert "undone already" in again.json()["error"]


def test_a_plan_that_has_changed_since_is_refused(site, database, failed):
    client = site.client()
    plan = site.post(client, "api/resubmissions/plan", asked()).json()
    resubmit_now(database, plan_resubmission(database, ids=[failed[0].partition(":")[0]]), user="cli")
    answer = site.post(client, "api/resubmissions", asked(token=plan["token"]))
    assert answer.status_code == 409
    assert "changed since" in answer.json()["error"]
    assert states(database, failed) == ["queued", "failed", "failed", "queued"]


def test_two_who_agree_at_once_resubmit_once(site, database, failed):
    clients = [site.client() for _ in range(6)]
    token = site.post(clients[0], "api/resubmissions/plan", asked()).json()["token"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: site.post(one, "api/resubmissions", asked(token=token)), clients))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert sum(len(answer.json()["keys"]) for answer in answers if answer.status_code == 200) == 2
    for key in failed[:2]:
        assert len(database.results.find_one({"_id": key})["attempts"]) == 1
        assert database.mongo["workflows"].count_documents({"metadata.result": key}) == 1


def test_a_viewer_may_look_and_change_nothing(site, database, failed):
    site.add_user("anna", "viewer")
    client = site.client("anna")
    assert site.get(client, "").status_code == 200
    for path in ("api/resubmissions/plan", "api/resubmissions", "api/resubmissions/1/undo"):
        answer = site.post(client, path, asked(token="x"))
        assert answer.status_code == 403
        assert "anna is a viewer" in answer.json()["error"]
    assert site.get(client, "resubmit?cause=walltime").status_code == 403
    assert states(database, failed) == ["failed", "failed", "failed", "queued"]


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"selection": {"cause": "waltime"}}, 422, "did you mean 'walltime'"),
        ({"selection": {"campaigns": ["smal"]}}, 422, "did you mean 'small'"),
        ({"selection": {"ids": ["nobody"]}}, 422, "is no failed candidate"),
        ({"selection": {"error": "("}}, 422, "regular expression"),
        ({"edits": {"resources": {"walltime": "soon"}}}, 422, "walltime"),
        ({"edits": {"resources": {"wall": "1h"}}}, 422, "did you mean"),
        ({"edits": {"settings": {"model": "7net-l3i5"}}}, 422, "changes what sevennet computes"),
        ({"edits": {"settings": {"steps": "many"}}}, 422, "steps"),
        ({"edits": {"settings": {"command": "rm"}}}, 403, "cannot be changed from here"),
        ({"edits": {"resources": {"pre_commands": ["rm -rf ~"]}}}, 403, "run by a shell"),
        ({"edits": {"resources": {"sbatch": ["--wrap=rm"]}}}, 403, "run by a shell"),
        ({"further": 1}, 422, "further"),
    ],
)
def test_what_cannot_be_is_refused_in_words(site, failed, changes, status, said):
    del failed
    answer = site.post(site.client(), "api/resubmissions/plan", asked(**changes))
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


def test_a_resource_that_would_end_the_line_of_the_batch_script_is_refused(site, database, failed):
    client = site.client()
    edits = {"resources": {"partition": "debug\n#SBATCH --uid=0"}}
    plan = site.post(client, "api/resubmissions/plan", asked(edits=edits))
    assert plan.status_code == 422
    assert "one line" in plan.json()["error"]
    assert states(database, failed)[0] == "failed"


def test_the_form_is_filled_with_the_remedy_and_leads_over_the_diff_to_the_audit(site, database, failed, visit):
    visited = visit(site)
    # What the browser itself says of a form that comes back with what cannot be.
    visited.expected = ("422",)
    page = visited.open("resubmit?cause=walltime&campaign=small")
    assert page.input_value("[id='resource.walltime']") == "x2"
    assert "04:00:00" in page.inner_text("[id='resource.walltime-help']")
    page.fill("[id='setting.steps']", "many")
    page.click("text=Show what would change")
    assert "steps" in page.inner_text("[role=alert]")
    assert page.input_value("[id='setting.steps']") == "many"
    page.fill("[id='setting.steps']", "700")
    page.fill("#reason", "a <b>slow</b> node")
    assert visited.barriers() == []
    page.click("text=Show what would change")
    rows = page.locator("#diff tbody tr").all_inner_texts()
    assert any(re.search(r"walltime\s+04:00:00\s+08:00:00\s+2 of 2", row) for row in rows)
    assert visited.barriers() == []
    page.click("text=Change something")
    assert page.input_value("[id='setting.steps']") == "700"
    page.click("text=Show what would change")
    page.click("button.primary")
    page.wait_for_url("**/audit/*")
    assert "2 calculations queued" in page.inner_text("main")
    assert "a <b>slow</b> node" in page.inner_text("main")
    assert states(database, failed) == ["queued", "queued", "failed", "queued"]
    assert database.results.find_one({"_id": failed[0]})["settings"]["steps"] == 700
    # Said once: not again on the next page.
    page.reload()
    assert "2 calculations queued" not in page.inner_text("main")


def test_the_page_of_a_plan_that_changed_shows_the_new_one(site, database, failed, visit):
    page = visit(site).open("resubmit?cause=walltime")
    page.click("text=Show what would change")
    resubmit_now(database, plan_resubmission(database, ids=[failed[0].partition(":")[0]]), user="cli")
    page.click("button.primary")
    assert "this is the new plan" in page.inner_text("main")
    assert "1 failed calculation again" in page.inner_text("h1")
