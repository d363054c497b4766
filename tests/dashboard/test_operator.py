"""What the dashboard is for: a campaign has failed, somebody sees why, corrects it, and it completes."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from failed_results import fail, submitted
from playwright.sync_api import expect

from hts_flows.launch.failures import FailureCause

INTERCALANTS = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr")
#: The first potential is loaded within this time on a busy machine, ms.
PATIENCE = 240_000


@pytest.fixture
def failed(database):
    """Twelve ended at their walltime, two ran out of memory, under one the node failed; the rest is queued."""
    keys = submitted(database, intercalants=INTERCALANTS, task="static")
    candidates = [keys[label] for label in sorted(keys) if label.startswith("graphite ")]
    assert len(candidates) == 16
    for key in candidates[:12]:
        fail(database, key, FailureCause.WALLTIME)
    for key in candidates[12:14]:
        fail(database, key, FailureCause.OUT_OF_MEMORY)
    fail(database, candidates[14], FailureCause.NODE_FAILURE)
    return candidates


@pytest.fixture
def worker(settings):
    """Start a real worker of the campaign; it ends with the test."""
    started = []

    def start():
        command = [sys.executable, "-m", "hts_flows.launch.worker", "small", str(os.getpid())]
        started.append(subprocess.Popen(command, env=os.environ | {"HTS_DATABASE": settings.database}))

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.timeout(600)
def test_an_operator_finds_the_cause_corrects_it_and_follows_it_to_the_end(site, database, failed, worker, visit):
    site.add_user("anna", "operator")
    visited = visit(site, "anna")
    page = visited.page
    causes = page.locator("[data-part=causes] tbody tr")
    expect(causes).to_have_count(3)
    assert [re.split(r"\s+", row)[0] for row in causes.all_inner_texts()] == [
        "walltime",
        "out_of_memory",
        "node_failure",
    ]
    page.click("[data-part=causes] >> text=walltime")
    expect(page.locator("main")).to_contain_text("12")
    page.click("a:has-text('Resubmit'):visible >> nth=0")
    page.fill("[id='resource.walltime']", "6h")
    page.click("text=Show what would change")
    diff = page.locator("#diff tbody tr")
    expect(diff).to_have_count(1)
    assert re.sub(r"\s+", " ", diff.inner_text()).strip() == "resources.walltime 04:00:00 06:00:00 12 of 12"
    assert database.results.count_documents({"state": "failed"}) == 15
    page.click("button.primary")
    page.wait_for_url("**/audit/*")
    page.evaluate("window.sameDocument = true")
    entry = database.audit.find_one({"_id": page.url.rpartition("/")[2]})
    assert (entry["user"], entry["action"], len(entry["results"])) == ("anna", "resubmit", 12)
    stored = list(database.results.find({"_id": {"$in": failed[:12]}}))
    assert {(one["state"], one["resources"]["walltime"], len(one["attempts"])) for one in stored} == {
        ("queued", "06:00:00", 1)
    }
    overview = visited.context.new_page()
    overview.goto(site.address)
    worker()
    expect(page.locator("main")).to_contain_text(re.compile(r"12 (of 12 )?done"), timeout=PATIENCE)
    assert page.evaluate("window.sameDocument") is True
    expect(overview.locator("[data-part=causes] tbody tr")).to_have_count(2, timeout=PATIENCE)
    states = {one["_id"]: one["state"] for one in database.results.find({"_id": {"$in": failed}})}
    assert [states[key] for key in failed[:15]] == ["done"] * 12 + ["failed"] * 3
    page.click("nav >> text=Audit")
    expect(page.locator("main tbody tr").first).to_contain_text("anna")
    expect(page.locator("main tbody tr").first).to_contain_text("06:00:00")


def test_a_viewer_sees_the_same_without_the_buttons(site, database, failed, visit):
    site.add_user("ben", "viewer")
    page = visit(site, "ben").page
    expect(page.locator("[data-part=causes] tbody tr")).to_have_count(3)
    for path in ("", "failures", "failures?cause=walltime", "jobs", "jobs/7", "campaigns/small", "audit"):
        page.goto(site.address + path)
        named = re.compile("^(resubmit|pause|resume|cancel|take it back|change priority)", re.IGNORECASE)
        assert page.get_by_role("link", name=named).count() == 0, path
        assert page.get_by_role("button", name=named).count() == 0, path
        changing = page.locator("form[method=post]:not([action='/logout']), a[href^='/queue/'], a[href^='/resubmit']")
        assert changing.count() == 0, path
    client = site.client("ben")
    plan = {"selection": {"cause": "walltime"}, "edits": {"resources": {"walltime": "6h"}}}
    assert site.post(client, "api/resubmissions/plan", plan).status_code == 403
    assert site.post(client, "api/resubmissions", plan | {"token": "x"}).status_code == 403
    assert database.results.count_documents({"state": "failed"}) == 15
