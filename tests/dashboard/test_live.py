"""Pages that follow the database, also through a MongoDB that is stopped and started again."""

from __future__ import annotations

import json
import threading
import time

import pytest
import requests
import serving
from failed_results import fail, submitted
from serving import serve_in_thread

from hts_flows.launch.failures import FailureCause
from hts_flows.launch.mongod import PrivateMongod
from hts_flows.settings import load_settings
from hts_flows.stores import connect

SLOW = 30_000


def test_the_overview_follows_the_database_without_being_loaded_again(site, database, visit):
    page = visit(site).page
    assert "hts run workflows/graphite_alkali.yaml" in page.inner_text("main")
    page.evaluate("window.sameDocument = true")
    keys = submitted(database)
    page.wait_for_selector("text=small", timeout=SLOW)
    fail(database, next(iter(keys.values())), FailureCause.WALLTIME)
    page.wait_for_selector("[data-part=causes] >> text=walltime", timeout=SLOW)
    assert page.evaluate("window.sameDocument") is True


def test_what_somebody_types_is_not_swapped_away(site, database, visit):
    submitted(database)
    page = visit(site).open("jobs")
    page.fill("input[type=search]", "LiC6")
    fetched = "performance.getEntriesByType('resource').filter(one => one.name.endsWith('/jobs')).length"
    before = page.evaluate(fetched)
    database.launchpad.pause_fw(1)
    wait_for(lambda: page.evaluate(fetched) > before)
    assert page.input_value("input[type=search]") == "LiC6"


def test_a_stream_tells_of_changes_and_ends_with_the_dashboard(settings, database):
    pulses = []

    def listen(site):
        with site.client().get(f"{site.address}api/live", stream=True, timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            pulses.extend(json.loads(line[6:]) for line in answer.iter_lines() if line.startswith(b"data: "))

    with serve_in_thread(settings) as site:
        thread = threading.Thread(target=listen, args=(site,), daemon=True)
        thread.start()
        wait_for(lambda: len(pulses) == 1)
        submitted(database)
        wait_for(lambda: len(pulses) > 1)
    thread.join(20)
    assert not thread.is_alive()
    assert pulses[0]["database"] == "up"
    assert pulses[-1]["number"] > pulses[0]["number"]


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def own_mongod(tmp_path, monkeypatch):
    """A MongoDB that may be stopped: the other tests do not use it."""
    monkeypatch.setenv("HTS_HOME", str(tmp_path / "own"))
    settings = load_settings()
    mongod = PrivateMongod(settings)
    mongod.uri()
    yield mongod, settings
    mongod.stop()


def test_an_open_page_says_that_mongodb_is_gone_and_recovers(own_mongod, visit):
    mongod, settings = own_mongod
    database = connect(settings)
    submitted(database)
    with serve_in_thread(settings) as site:
        visited = visit(site)
        # What the browser itself says of a page that is answered with 503.
        visited.expected = ("503",)
        page = visited.page
        page.wait_for_selector("text=small")
        page.evaluate("window.sameDocument = true")
        mongod.stop()
        page.wait_for_selector("#connection:has-text('MongoDB does not answer')", timeout=SLOW)
        assert "small" in page.inner_text("main")
        client = requests.Session()
        client.cookies.update({one["name"]: one["value"] for one in visited.context.cookies()})
        for path in ("", "jobs", "failures", "audit", "campaigns/small"):
            answer = site.get(client, path)
            assert (answer.status_code, "MongoDB does not answer" in answer.text) == (503, True)
        assert site.get(client, "api/overview").json()["error"] == "MongoDB does not answer"
        other = visited.context.new_page()
        other.goto(site.address)
        assert "MongoDB does not answer" in other.inner_text("main")
        mongod.uri()
        page.wait_for_selector("#connection", state="hidden", timeout=SLOW)
        other.wait_for_selector("text=small", timeout=SLOW)
        fail(connect(settings), next(iter(submitted(connect(settings)).values())), FailureCause.NODE_FAILURE)
        page.wait_for_selector("[data-part=causes] >> text=node_failure", timeout=SLOW)
        assert page.evaluate("window.sameDocument") is True
        visited.page.close()
        other.close()


def test_a_page_says_that_the_dashboard_itself_was_stopped(settings, database, visit):
    submitted(database)
    with serve_in_thread(settings) as site:
        visited = visit(site)
        visited.expected = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE")
        visited.page.wait_for_selector("text=small")
    visited.page.wait_for_selector("#connection:has-text('The dashboard does not answer')", timeout=SLOW)


def test_a_page_whose_dashboard_was_started_anew_leads_to_the_login_and_back(settings, database, visit, monkeypatch):
    with serve_in_thread(settings) as first:
        one = visit(first)
        one.expected = ("Failed to load resource", "ERR_", "EventSource")
        page = one.open("jobs?state=READY")
        page.wait_for_selector("header.top")
    port = first.dashboard.configuration.port
    same = settings.dashboard.model_copy(update={"port": port})
    monkeypatch.setattr(serving, "_free_port", lambda _: same)
    with serve_in_thread(settings) as second:
        page.wait_for_url("**/login?next=%2Fjobs%3Fstate%3DREADY", timeout=SLOW)
        assert page.input_value("input[name=next]") == "/jobs?state=READY"
        assert second.address == first.address
