"""A campaign small enough for tests, and what is asked of the database about it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter

import pytest

CAMPAIGN = """\
name: small
candidates:
  domain: intercalation
  hosts: [graphite]
  intercalants: [{intercalants}]
  concentrations: [1/6, 1/8]
calculate:
  - engine: sevennet
    task: static
"""
PROMOTE = """\
  - engine: sevennet
    task: static
    model: 7net-l3i5
    promote: {by: intercalation_energy, lowest: 1}
"""


def launches_by_result(database):
    """Launches ever made, finished or not, for each result."""
    count = Counter()
    for firework in database.mongo["fireworks"].find({}):
        ran = firework["launches"] + firework["archived_launches"]
        count[firework["spec"]["hts"]["result"]] += len(ran)
    return count


def engine_launches(database):
    """Launches of the engines' jobs alone, for each result."""
    return {
        firework["spec"]["hts"]["result"]: len(firework["launches"] + firework["archived_launches"])
        for firework in database.mongo["fireworks"].find({"name": {"$regex": "^sevennet"}})
    }


def states(database):
    return Counter(document["state"] for document in database.results.find({}))


def start_run(tmp_path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "hts_flows.cli.main", "run", "small.yaml", *arguments],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("what was waited for did not happen")


def break_one(database, **which):
    """Make one queued calculation fail, as a damaged input would."""
    result = database.results.find_one(which)
    firework = database.mongo["fireworks"].find_one({"spec.hts.result": result["_id"], "state": "READY"})
    bound = firework["spec"]["_tasks"][0]["job"]["function"]["@bound"]
    assert bound["model"] == "7net-0"
    place = "spec._tasks.0.job.function.@bound.model"
    database.mongo["fireworks"].update_one({"_id": firework["_id"]}, {"$set": {place: "7net-broken"}})
    return result["_id"]
