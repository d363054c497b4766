"""What all pages share: the overview, the login, colours, keyboard, width."""

from __future__ import annotations

import pytest
import requests
from failed_results import fail, submitted
from playwright.sync_api import expect
from serving import PASSWORD

from hts_flows.launch.failures import FailureCause

PAGES = ("", "jobs", "jobs/7", "failures", "failures?cause=walltime", "audit", "campaigns/small", "nothing")


@pytest.fixture
def failed(database):
    """One ended at its walltime; the others are queued."""
    keys = submitted(database)
    key = next(key for label, key in keys.items() if label.startswith("graphite "))
    fail(database, key, FailureCause.WALLTIME)
    return key


def test_the_overview_says_where_everything_stands(site, database, failed, visit):
    database.results.update_one({"_id": failed}, {"$set": {"label": "<script>alert(1)</script>"}})
    page = visit(site).page
    row = page.locator("[data-part=campaigns] tbody tr")
    expect(row).to_have_count(1)
    for text in ("small", "running", "0 of 7 done", "1 failed", "1 walltime"):
        expect(row).to_contain_text(text)
    expect(page.locator("[data-part=attention]")).to_contain_text("1 result ended at its walltime")
    expect(page.locator("[data-part=queue]")).to_contain_text("ready")


@pytest.mark.parametrize("dark", [False, True])
def test_overview_and_login_have_no_barriers(site, failed, visit, dark):
    site.add_user("anna", "viewer")
    visited = visit(site, dark=dark)
    assert visited.barriers() == []
    visited.page.click("text=Log out")
    visited.page.wait_for_selector("#password")
    assert visited.barriers() == []


def test_no_page_is_wider_than_a_small_screen(site, failed, visit):
    visited = visit(site)
    visited.expected = ("404",)
    for path in PAGES:
        page = visited.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280, path


def test_light_and_dark_are_switched_and_kept(site, visit):
    visited = visit(site)
    page = visited.page
    back = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(back)
    page.click("#theme")
    dark = page.evaluate(back)
    assert dark != light
    page.reload()
    assert page.evaluate(back) == dark
    page.click("#theme")
    assert page.evaluate(back) == light


def test_whoever_prefers_dark_pages_gets_them_and_can_have_light_ones(site, visit):
    page = visit(site, dark=True).page
    style = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.documentElement).colorScheme]"
    assert page.evaluate(style) == ["rgb(20, 23, 27)", "dark"]
    page.click("#theme")
    page.reload()
    assert page.evaluate(style) == ["rgb(247, 248, 249)", "light"]


def test_the_keyboard_reaches_the_content_the_search_and_every_row(site, failed, visit):
    page = visit(site).open("jobs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("LiC6")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs?*text=LiC6*")
    expect(page.locator("main tbody tr")).to_have_count(2)


def test_a_password_in_the_browser_leads_to_the_page_that_was_asked_for(site, failed, visit):
    site.add_user("anna", "viewer")
    visited = visit(site, "anna")
    visited.page.click("text=Log out")
    visited.expected = ("401",)
    page = visited.open("failures?cause=walltime")
    page.fill("#user", "anna")
    page.fill("#password", PASSWORD + "x")
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_contain_text("user name or password is wrong")
    page.fill("#user", "anna")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/failures?cause=walltime")


def test_pages_come_compressed_and_files_of_the_package_may_be_kept(site, failed):
    client = site.client()
    answer = site.get(client, "jobs")
    assert answer.headers["content-encoding"] == "gzip"
    for path in ("static/dashboard.css", "static/plotly/plotly.min.js"):
        answer = requests.get(site.address + path, timeout=30)
        assert answer.status_code == 200
        assert "max-age" in answer.headers["cache-control"]


@pytest.mark.parametrize("content", [{}, None, "text", {"name": "small"}])
def test_a_damaged_campaign_is_said_to_be_one_and_keeps_no_other_page_from_working(site, database, failed, content):
    client = site.client()
    database.campaigns.update_one({"_id": "small"}, {"$set": {"content": content}, "$unset": {"created_at": ""}})
    for path in ("", "jobs", "failures", "audit", "api/overview"):
        assert site.get(client, path).status_code == 200, path
    for path in ("campaigns/small", "campaigns/small?tab=file", "campaigns/small?tab=figures"):
        answer = site.get(client, path)
        assert answer.status_code in {200, 422}, path
        assert "small" in answer.text
    assert site.get(client, "api/campaigns/small/results").status_code == 422
