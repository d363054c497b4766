"""Jobs and allocations as the package lays them out, many at once, without submitting each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pymongo.monitoring import CommandListener

from hts_flows.stores.allocations import Allocation, worker_name
from hts_flows.stores.campaigns import now
from hts_flows.stores.database import Database

_TASK = {"_fw_name": "{{fireworks.user_objects.firetasks.script_task.PyTask}}", "func": "time.sleep", "args": [1]}


class CallCounter(CommandListener):
    """Names of the commands that a MongoDB client sends."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: Any) -> None:
        if event.command_name not in ("hello", "ismaster", "endSessions", "saslStart", "saslContinue"):
            self.names.append(event.command_name)

    def succeeded(self, event: Any) -> None:
        del event

    def failed(self, event: Any) -> None:
        del event


def new_allocation(folder: str, **fields: Any) -> Allocation:
    """An allocation as the launcher writes it before ``sbatch``."""
    content = {
        "cluster": "tiny",
        "kind": "pilot",
        "pool": "sevennet",
        "engine": "sevennet",
        "resources": {"walltime": "01:00:00", "memory": "50M"},
        "folder": folder,
        "owner": "",
        "created_at": now(),
    }
    return Allocation.model_validate(content | fields)


def insert_running_jobs(
    database: Database, allocation: Allocation, numbers: Sequence[int], *, state: str = "RUNNING", ago: float = 0
) -> list[str]:
    """Store evaluations whose calculation is in an allocation, one for each number; gives the results' keys."""
    fireworks, launches, workflows, results = [], [], [], []
    stamp = now() - timedelta(seconds=ago)
    for number in numbers:
        key, calculate, record = f"many-{number}:0", 2 * number + 2, 2 * number + 1
        mark = {"result": key, "campaigns": ["many"], "role": "candidate", "engine": "sevennet", "pool": "sevennet"}
        common = {"created_on": stamp.isoformat(), "updated_on": stamp.isoformat(), "archived_launches": []}
        for fw_id, job, now_in in ((calculate, "calculate", state), (record, "record", "WAITING")):
            spec = {"_tasks": [_TASK], "hts": mark | {"job": job, "seconds": 1.0, "resources": {}}}
            own = {"fw_id": fw_id, "name": f"{job}: {number}", "spec": spec, "state": now_in}
            fireworks.append(own | common | {"launches": [calculate] if job == "calculate" else []})
        launches.append(
            {
                "launch_id": calculate,
                "fw_id": calculate,
                "state": state,
                "fworker": {"name": worker_name(allocation.token, 0, "node:1:1.00"), "query": "{}", "env": "{}",
                            "category": ""},
                "launch_dir": allocation.folder,
                "host": "node",
                "ip": "127.0.0.1",
                "trackers": [],
                "action": None,
                "state_history": [{"state": state, "created_on": stamp.isoformat()}],
                "time_start": stamp.isoformat(),
            }
        )  # fmt: skip
        workflows.append(
            {
                "nodes": [calculate, record],
                "parent_links": {str(record): [calculate]},
                "links": {str(calculate): [record], str(record): []},
                "state": "RUNNING",
                "metadata": {"result": key, "campaigns": ["many"]},
                "fw_states": {str(calculate): state, str(record): "WAITING"},
                "name": f"many {number}",
                **{name: stamp.isoformat() for name in ("created_on", "updated_on")},
            }
        )
        identity = {"_id": key, "candidate_id": f"many-{number}", "campaigns": ["many"], "role": "candidate"}
        results.append(identity | {"state": "queued", "provenance": {"fw_ids": [record, calculate]}})
    for name, documents in (
        ("fireworks", fireworks),
        ("launches", launches),
        ("workflows", workflows),
        ("results", results),
    ):
        database.mongo[name].insert_many(documents)
    return [result["_id"] for result in results]
