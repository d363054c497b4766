"""Settling jobs that will not go on: many at once, in one write to each collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymongo import UpdateMany, UpdateOne

from hts_flows.stores.campaigns import now
from hts_flows.stores.results import stamped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hts_flows.stores.database import Database
    from hts_flows.stores.results import Failure


@dataclass
class CutOff:
    """A job that somebody else ended.

    Attributes
    ----------
    firework
        Its document, with ``fw_id``, ``state`` and ``spec.hts``.
    launch
        Its last launch; empty for a job that never began.
    workflow
        Its workflow, with ``_id`` and ``nodes``; None where that is not known.
    needs_seconds
        It is known to need more time than this, s.
    """

    firework: dict[str, Any]
    launch: dict[str, Any]
    workflow: dict[str, Any] | None
    needs_seconds: float | None = None

    @property
    def worker(self) -> str:
        """FireWorks name of the worker that held it."""
        name = self.launch.get("fworker", {}).get("name") or self.firework["spec"]["hts"].get("taken")
        return str(name or "")


def settle_failures(database: Database, failures: Sequence[tuple[CutOff, Failure]]) -> int:
    """Let jobs fail, with what waits on them, and store the cause in their results.

    A job that has gone on by itself meanwhile is left alone.

    Returns
    -------
    int
        How many results failed now.
    """
    if not failures:
        return 0
    launches, fireworks, workflows, results = [], [], [], []
    stamp = now()
    ended = {"state": "FIZZLED", "created_on": stamp.isoformat(), "updated_on": stamp.isoformat()}
    for job, cause in failures:
        fw_id, hts = job.firework["fw_id"], job.firework["spec"]["hts"]
        if job.launch:
            launches.append(
                UpdateOne(
                    {"launch_id": job.launch["launch_id"], "state": {"$in": ["RUNNING", "RESERVED"]}},
                    {"$set": {"state": "FIZZLED", "time_end": stamp.isoformat()}, "$push": {"state_history": ended}},
                )
            )
        nodes = [node for node in (job.workflow or {}).get("nodes", []) if node != fw_id]
        fireworks.append(
            UpdateMany(
                {"fw_id": fw_id, "state": {"$in": ["READY", "RESERVED", "RUNNING"]}},
                {"$set": {"state": "FIZZLED", "updated_on": stamp}},
            )
        )
        if nodes:
            fireworks.append(
                UpdateMany(
                    {"fw_id": {"$in": nodes}, "state": {"$in": ["WAITING", "READY", "PAUSED"]}},
                    {"$set": {"state": "DEFUSED", "updated_on": stamp}},
                )
            )
        if job.workflow:
            workflows.append(
                UpdateOne(
                    {"_id": job.workflow["_id"]},
                    {"$set": {"state": "FIZZLED", f"fw_states.{fw_id}": "FIZZLED"}, "$unset": {"locked": ""}},
                )
            )
        if hts.get("result"):
            results.append(
                UpdateOne(
                    # Resubmitted since, it has another workflow.
                    {"_id": hts["result"], "state": "queued", "provenance.fw_ids": {"$in": [fw_id, *nodes]}},
                    stamped(
                        {
                            "$set": {
                                "state": "failed",
                                "failure": cause.model_dump(mode="json"),
                                "provenance.finished_at": stamp,
                            }
                        }
                    ),
                )
            )
    failed = database.results.bulk_write(results, ordered=False).modified_count if results else 0
    for name, operations in (("launches", launches), ("fireworks", fireworks), ("workflows", workflows)):
        if operations:
            database.mongo[name].bulk_write(operations, ordered=True)
    _tell_waiting(database, [job.firework["spec"]["hts"] for job, _ in failures])
    return failed


def _tell_waiting(database: Database, marks: list[dict[str, Any]]) -> None:
    """Candidates that wait for a failed reference learn of it."""
    from hts_flows.launch.recording import derive_waiting, load_result

    for hts in marks:
        if hts.get("role") == "reference" and hts.get("result"):
            derive_waiting(database, load_result(database, hts["result"]))
