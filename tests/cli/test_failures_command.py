from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hts_flows.launch.failures import FailureCause

sys.path.insert(0, str(Path(__file__).parents[1] / "launch"))

from failed_results import fail, submitted

SETTINGS = "clusters:\n  big:\n    scratch: /nowhere\n    limits: {max_walltime: 24h}\n"


@pytest.fixture
def failed(database):
    """Seven calculations: two failed at the time limit, one for memory."""
    keys = submitted(database)
    for label, cause in (("graphite LiC6 stage 1", FailureCause.WALLTIME), ("Lithium, bcc", FailureCause.WALLTIME)):
        fail(database, keys[label], cause)
    fail(database, keys["graphite KC8 stage 1"], FailureCause.OUT_OF_MEMORY, job_id=None, memory_used=8192.0)
    return keys


def test_failures_are_grouped_with_the_slurm_job_and_the_command_to_type(failed, hts):
    text = hts("failures", "small").stdout
    lines = text.splitlines()
    assert lines[0].startswith("2 × walltime: resubmit with more time")
    assert "    SLURM job 4711 of big on n3, TIMEOUT, 03:59:58 of 04:00:00, 7.5 GB of 8.0 GB" in lines
    assert "  next: hts resubmit small --cause walltime --walltime x2" in lines
    assert "  next: hts resubmit small --cause out_of_memory --memory x2" in lines
    everywhere = hts("failures").stdout
    assert "  next: hts resubmit --cause walltime --walltime x2" in everywhere.splitlines()
    assert "walltime" not in hts("failures", "small", "--cause", "out_of_memory").stdout.replace("--walltime", "")
    assert len(json.loads(hts("failures", "--cause", "walltime", "--json").stdout)) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["failures", "smal"], "did you mean 'small'"),
        (["failures", "--cause", "waltime"], "did you mean 'walltime'"),
        (["failures", "--id", "nosuch"], "no failed candidate"),
        (["resubmit", "--walltime", "2"], "--walltime 2: cannot be read"),
        (["resubmit", "--walltime", "x2", "--set", "resources.walltime=4h"], "are both given"),
        (["resubmit", "--walltime", "x7"], "longer than clusters.big.limits.max_walltime"),
        (["resubmit", "--error", "["], "no regular expression"),
        (["resubmit", "--state", "done"], "not recomputed"),
        (["resubmit", "small", "--undo"], "no resubmission of 'small' is left to undo"),
        (["resubmit", "small", "--undo", "--cause", "lost"], "leave --cause out"),
        (["resubmit", "--undo-id", "abc"], "no resubmission of that id"),
    ],
)
@pytest.mark.usefixtures("failed")
def test_what_cannot_be_is_said_and_changes_nothing(arguments, expected, database, hts, tmp_path):
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    before = list(database.results.find({}))
    done = hts(*arguments, "--yes" if arguments[0] == "resubmit" else "--json", HTS_CONFIG_FILE="settings.yaml")
    assert done.returncode == 2, done.stdout
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert list(database.results.find({})) == before


def test_a_resubmission_is_shown_agreed_to_and_taken_back(failed, database, hts, tmp_path):
    (tmp_path / "settings.yaml").write_text(SETTINGS)

    def run(*arguments):
        return hts(*arguments, HTS_CONFIG_FILE="settings.yaml")

    before = list(database.results.find({}, {"changed_at": 0}))
    asked = ["resubmit", "small", "--cause", "walltime", "--walltime", "x2", "--set", "steps=900"]
    refused = run(*asked)  # nobody answers
    assert refused.returncode == 1
    assert "resources.walltime: 04:00:00 → 08:00:00  2 of 2" in refused.stdout
    plan = json.loads(run(*asked, "--json").stdout)
    assert [row["count"] for row in plan["diff"]] == [2, 2]
    assert list(database.results.find({}, {"changed_at": 0})) == before
    done = run(*asked, "--reason", "slow [cells]", "--yes")
    assert done.returncode == 0, done.stderr
    assert "2 calculations queued" in done.stdout
    assert "or hts launch" in done.stdout
    audit = database.audit.find_one({})
    assert audit["reason"] == "slow [cells]"
    assert f"hts resubmit --undo-id {audit['_id']}" in done.stdout
    back = run("resubmit", "small", "--undo", "--yes")
    assert back.returncode == 0, back.stderr
    assert "2 are as they were before" in back.stdout
    assert list(database.results.find({}, {"changed_at": 0})) == before
    assert run("resubmit", "--undo-id", audit["_id"], "--yes").returncode == 2


def test_everything_of_one_is_shown_with_its_history(failed, database, hts):
    assert hts("resubmit", "--id", "Lithium, bcc", "--walltime", "x2", "--set", "steps=900", "--yes").returncode == 0
    fail(database, failed["Lithium, bcc"], FailureCause.OUT_OF_MEMORY, job_id="[5000]", state="OUT_OF_MEMORY")
    text = hts("failures", "--id", "Lithium, bcc").stdout
    for words in (
        "out_of_memory: SLURM job 4711",
        "SLURM job [5000] of big on n3, OUT_OF_MEMORY",
        "slurmstepd: [4711] cancelled",
        "attempt 1  walltime, 20",
        "then steps: ",
        "→ 900",
        "then resources.walltime: – → 08:00:00",
    ):
        assert words in text, words
    shown = json.loads(hts("failures", "--id", "Lithium, bcc", "--json").stdout)
    assert [item["failure"]["job"]["job_id"] for item in shown] == ["[5000]"]
    assert "calculation" not in shown[0]["attempts"][0]


def test_nothing_to_do_is_said(database, hts):
    submitted(database)
    assert hts("failures", "small").stdout == "nothing failed\n"
    assert hts("resubmit", "small", "--yes").stdout == "nothing to resubmit\n"
