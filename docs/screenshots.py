"""Screenshots of the dashboard for this documentation, from a real campaign.

``python docs/screenshots.py`` computes workflows/graphite_alkali.yaml and a campaign whose relaxations are cut short,
in a home of its own (about five minutes), and writes docs/images/dashboard_*.png. ``--home DIR`` takes another one.
"""  # noqa: INP001 (a script)

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
#: So few steps that no relaxation converges.
CUT_SHORT = """\
name: cut_short
candidates:
  domain: intercalation
  hosts: [graphite]
  intercalants: [Li, Na, K, Rb]
  concentrations: [1/6]
  stages: [1, 2]
calculate:
  - engine: sevennet
    steps: 2
"""
SIZE = {"width": 1280, "height": 800}


def hts(*arguments: str, home: Path) -> list[str]:
    """Give the command line of ``hts``; its home is told by the environment."""
    os.environ["HTS_HOME"] = str(home)
    return [sys.executable, "-m", "hts_flows.cli.main", *arguments]


def compute(home: Path) -> None:
    """Run the campaigns; the second one ends with failures, and so with another exit code."""
    file = home / "cut_short.yaml"
    file.write_text(CUT_SHORT, encoding="utf-8")
    subprocess.run(hts("run", str(ROOT / "workflows" / "graphite_alkali.yaml"), home=home), check=True)  # noqa: S603
    subprocess.run(hts("run", str(file), home=home), check=False)  # noqa: S603


@contextmanager
def dashboard(home: Path) -> Iterator[str]:
    """Serve the dashboard, and give the link that logs in."""
    command = hts("dashboard", "--json", home=home)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            said = ""
            while not said.rstrip().endswith("}"):
                said += process.stdout.readline() if process.stdout else ""
            yield json.loads(said)["login"]
        finally:
            process.terminate()


def take(page: Page, name: str, *, height: int | None = None) -> None:
    """Write one picture, of so many pixels' height or of the whole page."""
    page.wait_for_timeout(1500)
    page.mouse.move(0, 0)
    clip = {"x": 0, "y": 0, "width": SIZE["width"], "height": height} if height else None
    page.screenshot(path=IMAGES / f"dashboard_{name}.png", full_page=True, clip=clip)  # type: ignore[arg-type]


def take_all(page: Page, address: str) -> None:
    """Visit the pages."""
    overview = page.request.get(f"{address}api/overview").json()
    causes = [one["cause"] for one in overview["failures"]]
    cards = {card["name"]: card for card in overview["campaigns"] if card["best"]}
    take(page, "overview")
    if causes:
        page.goto(f"{address}failures?cause={causes[0]}")
        take(page, "failures", height=760)
        page.goto(f"{address}resubmit?cause={causes[0]}")
        page.click("text=Show what would change")
        take(page, "resubmit")
        found = page.request.get(f"{address}api/jobs?state=FIZZLED&limit=1").json()["rows"]
        if found:
            page.goto(f"{address}jobs/{found[0]['fw_id']}")
            take(page, "job", height=1000)
    for name, card in cards.items():
        row = card["rows"][0]["name"]
        if name == "graphite_alkali":
            page.goto(f"{address}campaigns/{name}?row={row}")
            take(page, "results", height=900)
            page.goto(f"{address}campaigns/{name}?row={row}&tab=figures")
            page.wait_for_selector(".js-plotly-plot .main-svg")
            take(page, "figures", height=980)
            page.goto(f"{address}candidates/{card['best']['candidate_id']}")
            page.wait_for_selector(".js-plotly-plot")
            take(page, "candidate", height=1000)
        if name == "low_conductivity":
            page.goto(f"{address}campaigns/{name}?tab=ranking")
            page.wait_for_selector(".js-plotly-plot .main-svg")
            take(page, "ranking", height=1000)


def main() -> None:
    """Take all pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="home folder with campaigns that are computed already")
    given = parser.parse_args().home
    with tempfile.TemporaryDirectory() as folder:
        home = given or Path(folder)
        if given is None:
            compute(home)
        with dashboard(home) as login, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
            page.goto(login)
            take_all(page, login.partition("login?")[0])
            browser.close()
        if given is None:
            subprocess.run(hts("db", "stop", home=home), check=True)  # noqa: S603


if __name__ == "__main__":
    main()
