"""The engine and the domain that the documentation adds run as they stand there, from campaign file to results."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import import_module

import pytest
import yaml

PACKAGES = ("engines", "flows", "properties", "structures")
NAMES = (
    "hts_flows.engines.emt",
    "hts_flows.flows.alloys",
    "hts_flows.properties.alloys",
    "hts_flows.structures.alloys",
)


@pytest.fixture
def examples(all_blocks, tmp_path, monkeypatch):
    """Put the files of the pages beside those of the package."""
    from hts_flows.engines import engine_class
    from hts_flows.flows import get_domain

    titled = {block.title: block.code for block in all_blocks if block.title}
    for title, code in titled.items():
        path = tmp_path / title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    for name in PACKAGES:
        package = import_module(f"hts_flows.{name}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "hts_flows" / name)])
    importlib.invalidate_caches()
    yield titled
    for name in NAMES:
        sys.modules.pop(name, None)
        parent, _, child = name.rpartition(".")
        vars(sys.modules[parent]).pop(child, None)
    engine_class.cache_clear()
    get_domain.cache_clear()


def test_the_added_engine_and_domain_run_a_campaign(examples, database, settings, monkeypatch, tmp_path):
    from hts_flows.campaign import Campaign
    from hts_flows.launch.worker import work
    from hts_flows.stores.campaigns import save_campaign
    from hts_flows.stores.results import find_results, results_frame

    monkeypatch.chdir(tmp_path)
    campaign = Campaign.from_dict(yaml.safe_load(examples["copper_gold.yaml"]))
    save_campaign(database, campaign)
    work(database, campaign.name, settings)
    frame = results_frame(find_results(database, "copper_gold", sort="formation_energy"))
    assert list(frame["formula"]) == RANKED
    assert list(frame["state"]) == ["done"] * 3
    assert frame["formation_energy"].round(3).tolist() == ENERGIES
    assert frame["volume_per_atom"].between(10, 18).all()


def test_the_page_states_what_the_added_domain_gives():
    from docs_pages import ROOT

    text = " ".join((ROOT / "docs" / "adding_a_domain.md").read_text(encoding="utf-8").split())
    assert all(
        f"{formula} {energy:+.3f}".replace("-", "−") in text for formula, energy in zip(RANKED, ENERGIES, strict=True)
    )


def test_the_files_of_the_examples_pass_the_linter(examples, tmp_path):
    from docs_pages import ROOT

    ruff = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "--ignore", "INP001"]
    ruff += ["--config", 'lint.isort.known-first-party = ["hts_flows"]', str(tmp_path)]
    done = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


#: What EMT of ASE gives, eV/atom, lowest first.
RANKED = ["Cu3Au", "CuAu", "CuAu3"]
ENERGIES = [-0.010, -0.008, 0.007]
