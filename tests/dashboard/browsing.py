"""A visit with a real browser that notes what goes wrong: console errors, and requests that leave the machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request
    from serving import Site

_HERE = {"127.0.0.1", "localhost"}
#: Rules of axe that are about documents we do not write: plotly draws its own SVG.
_WITHOUT = [".js-plotly-plot"]


def find_chromium() -> str | None:
    """Find a Chromium: of the system, else the one that playwright installs."""
    from playwright.sync_api import sync_playwright

    if found := shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome"):
        return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).is_file() else None


class Visit:
    """A browser window on a site, of its own cookies.

    Parameters
    ----------
    browser
        The browser.
    site
        What is visited.
    user
        Who logs in; with the printed link when left out.
    dark
        Whether dark colours are preferred.
    """

    def __init__(self, browser: Browser, site: Site, user: str | None = None, *, dark: bool = False) -> None:
        from serving import PASSWORD

        self.site = site
        self.wrong: list[str] = []
        self.expected: tuple[str, ...] = ()
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        self.context.set_default_timeout(30_000)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self._note(f"error: {error}"))
        self.page.on("request", self._request)
        if user is None:
            self.page.goto(site.login)
        else:
            self.page.goto(site.address)
            self.page.fill("#user", user)
            self.page.fill("#password", PASSWORD)
            self.page.click("button.primary")
        self.page.wait_for_selector("header.top")

    def _note(self, text: str) -> None:
        if not any(part in text for part in self.expected):
            self.wrong.append(text)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.hostname not in _HERE:
            self.wrong.append(f"left the machine: {request.url}")

    def open(self, path: str) -> Page:
        """Open a page of the site."""
        self.page.goto(self.site.address + path.lstrip("/"))
        return self.page

    def barriers(self) -> list[str]:
        """Find with axe what keeps people with disabilities from using the page."""
        import axe_playwright_python

        script = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
        # Put in by the debugger, which the page's policy does not bind.
        self.page.evaluate(script)
        found: dict[str, Any] = self.page.evaluate("without => axe.run({exclude: without.map(one => [one])})", _WITHOUT)
        return [
            f"{violation['id']} ({violation['help']}): {node['html'][:200]}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def close(self) -> None:
        """Close the window."""
        self.context.close()
