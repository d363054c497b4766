"""What the tests share: a real private MongoDB, a database of its own for each test, and the ``hts`` command."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hts_flows.launch.mongod import PrivateMongod, find_mongod
from hts_flows.settings import Settings, load_settings
from hts_flows.stores import Database, connect

pytest_plugins = ("slurm_fixture",)
ROOT = Path(__file__).resolve().parent.parent
#: Variables of the user's that the tests obey; all other HTS_ ones are hidden from them.
_KEPT = ("HTS_MONGOD", "HTS_TESTS_REQUIRE_ALL")
#: How the reason begins for which tests on data outside this repository are skipped.
NO_REFERENCE_DATA = "no reference data"
Hts = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first, so that at the end no worker waits long for another."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where every component is installed, a skipped test is a failure: set HTS_TESTS_REQUIRE_ALL=1 there.

    Reference data that cannot be shipped is no component.
    """
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = [
        report
        for report in (reporter.stats.get("skipped", []) if reporter else [])
        if not str(report.longrepr[-1]).startswith(f"Skipped: {NO_REFERENCE_DATA}")
    ]
    if skipped and os.environ.get("HTS_TESTS_REQUIRE_ALL") == "1":
        reporter.write_line(f"{len(skipped)} tests were skipped, and HTS_TESTS_REQUIRE_ALL=1 forbids it", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder for the whole run: nothing of the user's is read or written."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HTS_") and name not in _KEPT]:
            patch.delenv(name)
        patch.setenv("HTS_HOME", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield folder
        PrivateMongod(load_settings()).stop()


@pytest.fixture(scope="session")
def mongod(home: Path) -> PrivateMongod:
    """The private MongoDB of that home, running."""
    settings = load_settings()
    find_mongod(settings)
    server = PrivateMongod(settings)
    server.uri()
    return server


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, mongod: PrivateMongod) -> Iterator[Settings]:
    """Settings that name a database of this test's own, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("HTS_DATABASE", name)
    loaded = load_settings()
    yield loaded
    connect(loaded).mongo.client.drop_database(name)


@pytest.fixture
def database(settings: Settings) -> Database:
    """That database, with its indexes."""
    return connect(settings)


@pytest.fixture
def hts(tmp_path: Path) -> Hts:
    """Run ``hts`` as a user does, in a folder of the test's own."""

    def run(*arguments: str, timeout: float = 280, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hts_flows.cli.main", *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"} | variables,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def make_campaign() -> Callable[..., list[dict[str, Any]]]:
    """Store a campaign and give documents of results for it, as the package itself lays them out."""

    def make(database: Database, name: str, *, count: int, failed: tuple[int, ...] = ()) -> list[dict[str, Any]]:
        from hts_flows.campaign import Campaign
        from hts_flows.launch.failures import FailureCause, failure
        from hts_flows.properties.intercalation import IntercalationDoc
        from hts_flows.stores.campaigns import save_campaign
        from hts_flows.stores.results import Result

        space = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": "all", "concentrations": ["1/8"]}
        data = {"name": name, "candidates": space | {"stages": [1, 2]}, "calculate": [{"engine": "sevennet"}]}
        campaign = Campaign.from_dict(data)
        save_campaign(database, campaign)
        level = campaign.ladder()[0]
        documents = []
        for number, candidate in enumerate(campaign.all_candidates()[:count]):
            energy = (number * 7 % 11 - 5) / 10
            properties = IntercalationDoc(
                intercalation_energy=energy,
                formation_energy=energy / 9,
                n_intercalants=1,
                interlayer_distance=4 + number / 10,
                stays_layered=True,
                dimensionality=2,
                stage_kept=True,
                intercalant_coordination_number=12,
                coordination_geometry="hollow",
                nearest_distance=2.5,
                volume_change=10,
            )
            broken = number in failed
            result = Result(
                candidate_id=candidate.candidate_id,
                candidate=candidate,
                label=candidate.label,
                formula=candidate.formula,
                engine="sevennet",
                settings=level.engine.model_dump(mode="json"),
                settings_hash=level.settings_hash,
                state="failed" if broken else "done",
                campaigns=[name],
                facets=campaign.domain.facets(candidate),
                properties=None if broken else properties.model_dump(mode="json"),
                failure=failure(FailureCause.BAD_INPUT, "broken on purpose") if broken else None,
            )
            documents.append(result.model_dump(mode="json") | {"_id": result.key})
        return documents

    return make
