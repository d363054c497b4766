from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "launch"))

from failed_results import everything, submitted


def test_pausing_is_shown_agreed_to_done_and_taken_back(database, hts):
    submitted(database)
    before = everything(database)
    refused = hts("pause", "small")  # nobody answers
    assert refused.returncode == 1
    assert "campaign small" in refused.stdout
    plan = json.loads(hts("pause", "small", "--json").stdout)
    assert (len(plan["results"]), plan["campaigns"]) == (7, ["small"])
    assert everything(database) == before
    done = hts("pause", "small", "--reason", "[drained]", "--yes")
    assert done.returncode == 0, done.stderr
    assert "7 calculations paused\ncampaign small is paused" in done.stdout
    assert done.stdout.splitlines()[-1] == "next: hts resume small"
    status = hts("status").stdout
    assert "([drained]); hts resume small goes on" in status
    assert json.loads(hts("status", "--json").stdout)[0]["state"] == "paused"
    assert hts("pause", "small", "--yes").stdout.startswith("nothing to pause\n  stays: ")
    back = json.loads(hts("resume", "small", "--yes", "--json").stdout)
    assert (len(back["resume"]["keys"]), back["resume"]["campaigns"]) == (7, ["small"])
    states = {job["state"] for job in database.mongo["fireworks"].find({"spec.hts.job": "calculate"})}
    assert states == {"READY"}


def test_chosen_ones_get_a_priority_and_are_cancelled_with_the_next_command_to_type(database, hts):
    submitted(database)
    raised = hts("priority", "small", "high", "--id", "Lithium, bcc", "--yes")
    assert "1 calculations have the priority 14" in raised.stdout
    assert hts("priority", "small", "--yes", "--", "-20").returncode == 0
    assert database.mongo["fireworks"].count_documents({"spec._priority": {"$in": [-20, -15]}}) == 7
    done = hts("cancel", "small", "--id", "graphite LiC6 stage 1", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "next: hts resubmit small --cause cancelled runs them again"
    assert "1 × cancelled" in hts("failures", "small").stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pause", "smal"], "did you mean 'small'"),
        (["cancel", "--id", "nosuch"], "no queued candidate"),
        (["resume", "--engine", "sevenet"], "no such engine"),
        (["priority", "small", "hihg"], "did you mean 'high'"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(arguments, expected, database, hts):
    submitted(database)
    before = everything(database)
    done = hts(*arguments, "--yes")
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert expected in done.stderr
    assert everything(database) == before
