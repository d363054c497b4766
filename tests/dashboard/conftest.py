"""A dashboard that serves a real database, and a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from browsing import Visit, find_chromium
from serving import Site, serve_in_thread

from hts_flows.settings import Settings
from hts_flows.stores import Database

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def site(settings: Settings, database: Database) -> Iterator[Site]:
    """A dashboard on this test's database, for whoever has its token."""
    del database
    with serve_in_thread(settings) as served:
        yield served


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A real browser."""
    from playwright.sync_api import sync_playwright

    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium; install it with 'apt install chromium' or 'playwright install chromium'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a site in a browser of its own; afterwards nothing may have gone wrong in it."""
    visits: list[Visit] = []

    def open_site(site: Site, user: str | None = None, *, dark: bool = False) -> Visit:
        one = Visit(chromium, site, user, dark=dark)
        visits.append(one)
        return one

    yield open_site
    for one in visits:
        one.close()
    for one in visits:
        assert one.wrong == []
