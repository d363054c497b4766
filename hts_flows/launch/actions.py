"""What the actions on queued work share: the audit, and taking jobs back that wait in a cluster's queue."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne

from hts_flows.launch.queued import Left, QueuedOutcome, QueuedPlan, reserved_jobs
from hts_flows.stores.campaigns import now

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: A worker that takes a job marks it first and writes its launch then, within this time, s.
TAKING_SECONDS = 1.5
CHANGED = "it has started or changed at this moment"
#: Where the workflow of a result has its jobs' states, as a list.
_PAIRS = {"$objectToArray": {"$ifNull": ["$fw_states", {}]}}


def open_audit(database: Database, plan: QueuedPlan, user: str, reason: str) -> str:
    """Write into the audit what is about to be done, before it is done.

    Returns
    -------
    str
        Its ``_id``.
    """
    audit = uuid.uuid4().hex[:12]
    wanted = {name for result in plan.results for name in result.campaigns}
    database.audit.insert_one(
        {
            "_id": audit,
            "action": plan.action,
            "user": user,
            "reason": reason,
            "at": now(),
            "campaigns": sorted(wanted.union(plan.campaigns)),
            "selection": plan.selection.stored(),
            "results": [result.key for result in plan.results],
            "changes": [],
        }
    )
    return audit


def close_audit(
    database: Database, audit: str, plan: QueuedPlan, outcome: QueuedOutcome, changes: Sequence[dict[str, Any]]
) -> QueuedOutcome:
    """Write into the audit what was done, or take the entry away where nothing was.

    Parameters
    ----------
    database, audit
        The entry, made by :func:`open_audit`.
    plan
        What was to be done; what of it was not done is added to the outcome.
    outcome
        What was done, so far without the audit.
    changes
        Each with setting, old, new and count, or campaign.
    """
    done = {*outcome.keys, *outcome.ending}
    outcome.left = plan.left + [Left(one.key, one.label, CHANGED) for one in plan.results if one.key not in done]
    if not done and not outcome.campaigns:
        database.audit.delete_one({"_id": audit})
        return outcome
    outcome.audit = audit
    database.audit.update_one(
        {"_id": audit},
        {
            "$set": {
                "results": outcome.keys + outcome.ending,
                "changes": list(changes),
                "left": outcome.reasons,
                "slurm_jobs": [list(pair) for pair in outcome.slurm_jobs],
            }
        },
    )
    return outcome


def take_back_reserved(database: Database, keys: Sequence[str], changes: dict[str, Any]) -> list[int]:
    """Take jobs that are reserved for a SLURM job out of its hands, unless a worker in it is taking them.

    A worker that takes a reserved job writes the time of its change anew, then its launch. So one that was reserved
    some time ago and has not changed since is nobody's. Their launches are kept as archived ones.

    Parameters
    ----------
    database
        Where the jobs are.
    keys
        Results whose jobs are meant.
    changes
        What is set in the jobs, as in a pipeline: their new state among it.

    Returns
    -------
    list of int
        Ids of the jobs that may have been taken back: those that were tried.
    """
    reserved = reserved_jobs(database, keys)
    if not reserved:
        return []
    time.sleep(TAKING_SECONDS)
    archived = {"$setUnion": [{"$ifNull": ["$archived_launches", []]}, "$launches"]}
    freed: list[dict[str, Any]] = [
        {"$set": {**changes, "archived_launches": archived, "launches": []}},
        {"$unset": ["spec.hts.allocation", "spec.hts.taken"]},
    ]
    fireworks = database.mongo["fireworks"]
    fireworks.bulk_write(
        [
            UpdateOne({"fw_id": fw_id, "state": "RESERVED", "updated_on": changed}, freed)
            for fw_id, changed in reserved.items()
        ],
        ordered=False,
    )
    taken_back = [job["fw_id"] for job in fireworks.find({"fw_id": {"$in": list(reserved)}, "launches": []})]
    database.mongo["launches"].update_many(
        {"fw_id": {"$in": taken_back}, "state": "RESERVED"}, {"$set": {"state": "DEFUSED"}}
    )
    return list(reserved)


def workflow_states(old: Sequence[str], new: str, state: Any) -> list[dict[str, Any]]:
    """Make the update by which workflows know that jobs of theirs have another state.

    Parameters
    ----------
    old, new
        Jobs in these states have the new one.
    state
        State of the workflow then, as an expression.
    """
    one = {"$cond": [{"$in": ["$$this.v", list(old)]}, new, "$$this.v"]}
    renamed = {"$map": {"input": _PAIRS, "in": {"k": "$$this.k", "v": one}}}
    return [{"$set": {"fw_states": {"$arrayToObject": renamed}}}, {"$set": {"state": state}}]


#: State of a workflow none of whose jobs is held or stopped.
GOING = {
    "$cond": [
        {
            "$gt": [
                {"$size": {"$filter": {"input": _PAIRS, "cond": {"$in": ["$$this.v", ["RUNNING", "COMPLETED"]]}}}},
                0,
            ]
        },
        "RUNNING",
        "READY",
    ]
}
