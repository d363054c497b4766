"""Undoing a resubmission: what has not started yet is taken back, and is again as it was."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pymongo import DESCENDING

from hts_flows.errors import InputError
from hts_flows.launch.resubmission import KEPT, KEPT_PROVENANCE
from hts_flows.launch.submission import new_claim
from hts_flows.stores.campaigns import claim_is_free, now, set_campaign_state
from hts_flows.stores.results import count_states

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: A worker that takes a job marks it first and writes its launch then, within this time, s.
_TAKING_SECONDS = 1.5
_STARTED = ("RUNNING", "COMPLETED", "FIZZLED")
_AGAIN = "; type the same command again"


@dataclass
class Undone:
    """What came of undoing a resubmission.

    Attributes
    ----------
    audit
        ``_id`` of the document in the audit that says so; None when nothing could be taken back.
    resubmission
        ``_id`` of what was undone.
    keys
        Results that are again as they were.
    kept
        Results that stay, each with the reason.
    slurm_jobs
        SLURM jobs that were to run what was taken back, as (cluster, job id): the caller cancels them.
    """

    audit: str | None
    resubmission: str
    keys: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    slurm_jobs: list[tuple[str, str]] = field(default_factory=list)


def find_resubmission(database: Database, *, audit: str | None = None, campaign: str | None = None) -> dict[str, Any]:
    """Read the audit's document of a resubmission: that of an id, or the latest one that was not undone.

    Raises
    ------
    InputError
        There is none, or it was undone already.
    """
    if audit is not None:
        document = database.audit.find_one({"_id": audit, "action": "resubmit"})
        if document is None:
            raise InputError(f"--undo-id {audit!r}: no resubmission of that id", "the id was printed when it was made")
        if document.get("undone"):
            raise InputError(f"--undo-id {audit!r}: it was undone already")
        return document
    query: dict[str, Any] = {"action": "resubmit", "undone": {"$exists": False}}
    query |= {"campaigns": campaign} if campaign else {}
    document = database.audit.find_one(query, sort=[("at", DESCENDING)])
    if document is None:
        of = f" of {campaign!r}" if campaign else ""
        raise InputError(f"no resubmission{of} is left to undo")
    return document


def undo(database: Database, resubmission: dict[str, Any], *, user: str) -> Undone:
    """Take back what a resubmission queued and nobody has started.

    Each such result gets its last attempt back exactly, as if it had not been resubmitted; its new workflow never
    runs. What has started stays.

    Parameters
    ----------
    database
        Where the results are.
    resubmission
        Document of the audit, from :func:`find_resubmission`.
    user
        Who wants it, for the audit.
    """
    outcome = Undone(None, resubmission["_id"])
    reserved = _reserved(database, resubmission["results"])
    if reserved:
        time.sleep(_TAKING_SECONDS)
    for key in resubmission["results"]:
        reason = _undo_one(database, key, outcome, reserved)
        if reason:
            outcome.kept[key] = reason
        else:
            outcome.keys.append(key)
    if not outcome.keys:
        return outcome
    outcome.audit = uuid.uuid4().hex[:12]
    database.audit.insert_one(
        {
            "_id": outcome.audit,
            "action": "undo",
            "user": user,
            "at": now(),
            "campaigns": resubmission["campaigns"],
            "resubmission": resubmission["_id"],
            "results": outcome.keys,
            "kept": [{"result": key, "reason": reason} for key, reason in outcome.kept.items()],
        }
    )
    if not any(reason.endswith(_AGAIN) for reason in outcome.kept.values()):
        database.audit.update_one({"_id": resubmission["_id"]}, {"$set": {"undone": outcome.audit}})
    for name, state in resubmission.get("campaign_states", {}).items():
        if not count_states(database, name)["queued"]:
            set_campaign_state(database, name, state)
    return outcome


def _reserved(database: Database, keys: list[str]) -> dict[int, Any]:
    """Jobs that are reserved for a SLURM job which waits, each with the time of its last change."""
    found = database.mongo["fireworks"].find(
        {"spec.hts.result": {"$in": keys}, "state": "RESERVED", "launches.0": {"$exists": True}},
        {"fw_id": 1, "updated_on": 1},
    )
    return {job["fw_id"]: job.get("updated_on") for job in found}


def _undo_one(database: Database, key: str, outcome: Undone, reserved: dict[int, Any]) -> str | None:
    """Undo one result; gives why that cannot be done."""
    audit = outcome.resubmission
    document = database.results.find_one({"_id": key}, {"state": 1, "submission": 1, "attempts": 1}) or {}
    if reason := _why_not(document, audit):
        return reason
    before, claim = document["submission"], new_claim()
    # While this claim is not done, nobody else settles, completes or undoes the result.
    mine = {"_id": key, "submission.token": claim["token"]}
    taken = database.results.update_one(
        {"_id": key, "state": "queued", "submission.token": before["token"], "submission.done": before["done"]},
        {"$set": {"submission": claim}},
    )
    if not taken.modified_count:
        return "it changed at this moment" + _AGAIN
    workflow = database.mongo["workflows"].find_one({"metadata.result": key}, {"nodes": 1})
    nodes = workflow["nodes"] if workflow else []
    jobs = _slurm_jobs(database, nodes)
    if not _stop(database, nodes, reserved):
        database.results.update_one(mine, {"$set": {"submission": before}})
        return "it has started"
    if workflow:
        _detach(database, workflow["_id"], "result", "undone_result")
    _give_back(database, mine, document["attempts"][-1])
    for earlier in database.mongo["workflows"].find({"metadata.earlier_result": key, "metadata.retired_by": audit}):
        _detach(database, earlier["_id"], "earlier_result", "result")
    outcome.slurm_jobs += jobs
    return None


def _why_not(document: dict[str, Any], audit: str) -> str | None:
    """Say why a result cannot be as it was before a resubmission; None where it may be."""
    attempts = document.get("attempts") or []
    if not document:
        return "it is no longer stored"
    if not attempts or attempts[-1].get("resubmission") != audit:
        replaced = any(attempt.get("resubmission") == audit for attempt in attempts)
        return "it was resubmitted again since" if replaced else "it was undone already"
    if document["state"] != "queued":
        return f"it has ended: {document['state']}"
    before = document["submission"]
    if not before["done"] and not claim_is_free(before["owner"], before["at"]):
        return "it is being queued at this moment" + _AGAIN
    return None


def _stop(database: Database, nodes: list[int], reserved: dict[int, Any]) -> bool:
    """Defuse the jobs of a workflow that has not started; False where one has, and then all is as it was."""
    fireworks = database.mongo["fireworks"]
    found = fireworks.find({"fw_id": {"$in": nodes}}, {"fw_id": 1, "state": 1})
    before = {job["fw_id"]: job["state"] for job in found if job["state"] != "DEFUSED"}
    stopped: list[int] = []
    # Those that wait for others come last: they cannot start once the others are stopped.
    for fw_id in sorted(before, key=lambda fw_id: before[fw_id] == "WAITING"):
        if before[fw_id] in _STARTED or not _defuse(database, fw_id, reserved):
            for other in stopped:
                fireworks.update_one({"fw_id": other, "state": "DEFUSED"}, {"$set": {"state": before[other]}})
            return False
        stopped.append(fw_id)
    launches = {"fw_id": {"$in": nodes}, "state": "RESERVED"}
    database.mongo["launches"].update_many(launches, {"$set": {"state": "DEFUSED"}})
    states = {f"fw_states.{fw_id}": "DEFUSED" for fw_id in stopped}
    database.mongo["workflows"].update_one({"nodes": {"$in": nodes}}, {"$set": {"state": "DEFUSED", **states}})
    return True


def _defuse(database: Database, fw_id: int, reserved: dict[int, Any]) -> bool:
    """Defuse one job unless a worker has it.

    A worker that takes a reserved job writes the time of its change anew, then its launch. So one that was reserved
    some time ago and has not changed since is nobody's.
    """
    free: list[dict[str, Any]] = [{"state": {"$in": ["READY", "WAITING", "PAUSED"]}}]
    if fw_id in reserved:
        free.append({"state": "RESERVED", "updated_on": reserved[fw_id]})
    stopped = database.mongo["fireworks"].update_one({"fw_id": fw_id, "$or": free}, {"$set": {"state": "DEFUSED"}})
    return stopped.modified_count == 1


def _slurm_jobs(database: Database, nodes: list[int]) -> list[tuple[str, str]]:
    found = database.allocations.find(
        {"fw_id": {"$in": nodes}, "state": {"$ne": "ended"}, "job_id": {"$ne": None}}, {"cluster": 1, "job_id": 1}
    )
    return [(document["cluster"], document["job_id"]) for document in found]


def _detach(database: Database, workflow: Any, old: str, new: str) -> None:
    """Let a workflow stand for its result under another name."""
    forget = {"$unset": {"metadata.retired_by": ""}} if new == "result" else {}
    database.mongo["workflows"].update_one(
        {"_id": workflow}, {"$rename": {f"metadata.{old}": f"metadata.{new}"}, **forget}
    )


def _give_back(database: Database, mine: dict[str, Any], attempt: dict[str, Any]) -> None:
    """Make a result what its last attempt says that it was, in one write."""
    values = {name: attempt[name] for name in KEPT if name in attempt}
    values |= {f"provenance.{name}": attempt[name] for name in KEPT_PROVENANCE if name in attempt}
    update: dict[str, Any] = {"$set": values, "$pop": {"attempts": 1}}
    missing = [name for name in KEPT if name not in attempt]
    missing += [f"provenance.{name}" for name in KEPT_PROVENANCE if name not in attempt]
    if missing:
        update["$unset"] = dict.fromkeys(missing, "")
    database.results.update_one(mine, update)
