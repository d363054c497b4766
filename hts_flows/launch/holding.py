"""Holding: queued calculations are paused, alone or with their whole campaign, and resumed; what runs goes on."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne

from hts_flows.launch.actions import GOING, close_audit, open_audit, take_back_reserved, workflow_states
from hts_flows.launch.queued import (
    ARRIVING,
    RECORDING,
    STARTED,
    Left,
    QueuedOutcome,
    QueuedPlan,
    QueuedResult,
    QueuedSelection,
    calculations,
    chunks,
    read_queued,
    slurm_jobs_of,
)
from hts_flows.stores.campaigns import now

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

RUNS_ON = "it runs: it goes on, and is recorded"


@dataclass(frozen=True)
class Pause:
    """Why a campaign submits and starts nothing.

    Attributes
    ----------
    campaign
        Its name.
    audit
        ``_id`` of the document in the audit.
    user, reason, at
        Who paused it, why, and when.
    """

    campaign: str
    audit: str
    user: str
    reason: str
    at: datetime

    def __str__(self) -> str:
        """Say so to people, with the next step."""
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.campaign} is paused by {self.user}{why}; hts resume {self.campaign} goes on"


@dataclass
class _Held:
    """Jobs whose state was changed by one caller.

    Attributes
    ----------
    keys
        Their results.
    states
        How many had, or have again, each state.
    slurm_jobs
        SLURM jobs that were to run them, as (cluster, job id).
    """

    keys: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    slurm_jobs: list[tuple[str, str]] = field(default_factory=list)


def pause_of(database: Database, name: str) -> Pause | None:
    """Tell who has paused a campaign; None where it is not paused."""
    document = database.campaigns.find_one({"_id": name, "paused": {"$ne": None}}, {"paused": 1})
    if document is None:
        return None
    told = document["paused"]
    return Pause(name, told["audit"], told["user"], told["reason"], told["at"])


def what_is_held(database: Database, name: str) -> str | None:
    """Say what of a campaign is paused, by whom, and what to type; None where nothing is."""
    if paused := pause_of(database, name):
        return str(paused)
    held = database.mongo["fireworks"].count_documents({"state": "PAUSED", "spec.hts.campaigns": name})
    return f"{held} calculations of {name} are paused; hts resume {name} goes on" if held else None


def plan_pause(database: Database, selection: QueuedSelection) -> QueuedPlan:
    """Find what pausing would hold back. Changes nothing in the database.

    Of whole campaigns (no ids, no engine) also what they queue later is held back, until they are resumed. A result
    that another campaign wants, which is not paused, goes on.

    Raises
    ------
    InputError
        An unknown campaign, engine or candidate.
    """
    results = read_queued(database, selection)
    running = _running(database)
    meant = sorted(running.intersection(selection.campaigns or running)) if selection.whole else []
    going_on = running.difference(selection.campaigns or running)
    chosen, left = [], []
    for result in results:
        if reason := _why_not_held(result, going_on):
            left.append(Left(result.key, result.label, reason))
        else:
            chosen.append(result)
    next_jobs = sum(not result.jobs.isdisjoint(STARTED) for result in chosen)
    notes = [f"{next_jobs} of them run: the job that runs goes on, and what follows it is held"] if next_jobs else []
    return QueuedPlan("pause", selection, chosen, left, meant, notes=notes)


def _running(database: Database) -> set[str]:
    """Names of the campaigns that go on: neither paused nor finished."""
    found = database.campaigns.find({"state": "running", "paused": None}, {"_id": 1})
    return {document["_id"] for document in found}


def _why_not_held(result: QueuedResult, going_on: set[str]) -> str | None:
    """Say why a queued result is not paused; None where it may be."""
    if result.arriving:
        return ARRIVING
    if others := sorted(going_on.intersection(result.campaigns)):
        return f"{', '.join(others)} wants it too, and is not paused"
    if not result.jobs.isdisjoint({"READY", "RESERVED"}):
        return None
    if not result.jobs.isdisjoint(STARTED):
        return None if "WAITING" in result.jobs else RUNS_ON
    return "it is paused already" if "PAUSED" in result.jobs else RECORDING


def pause(
    database: Database, plan: QueuedPlan, *, user: str, reason: str = "", token: str | None = None
) -> QueuedOutcome:
    """Hold back what has not started. What runs goes on, and is recorded.

    Parameters
    ----------
    database
        Where the results are.
    plan
        Made by :func:`plan_pause`.
    user, reason
        Who wants it and why, for the audit, and for those who wonder why nothing goes on.
    token
        Token of the plan that a person has agreed to, where the plan was made again since.

    Raises
    ------
    InputError
        The plan is not the one that was agreed to.
    """
    plan.check("pause", token)
    if not plan.results and not plan.campaigns:
        return QueuedOutcome("pause", None, left=plan.left)
    outcome = QueuedOutcome("pause", None)
    audit = open_audit(database, plan, user, reason)
    mark = {"audit": audit, "user": user, "reason": reason, "at": now()}
    for name in plan.campaigns:
        # First the campaign: what is queued from now on is held by whoever looks at it next.
        paused = database.campaigns.update_one(
            {"_id": name, "state": "running", "paused": None},
            {"$set": {"state": "paused", "paused": mark, "updated_at": now()}},
        )
        if paused.modified_count:
            outcome.campaigns.append(name)
    held = _hold(database, [result.key for result in plan.results], audit, plan.campaigns)
    outcome.keys, outcome.slurm_jobs = held.keys, held.slurm_jobs
    changes: list[dict[str, Any]] = [
        {"campaign": name, "setting": "state", "old": "running", "new": "paused"} for name in outcome.campaigns
    ]
    changes += [
        {"setting": "jobs", "old": state, "new": "PAUSED", "count": count} for state, count in held.states.items()
    ]
    return close_audit(database, audit, plan, outcome, changes)


def _hold(database: Database, keys: Sequence[str], audit: str, campaigns: Sequence[str]) -> _Held:
    """Pause the calculation jobs of results that no worker has.

    Each job says in ``spec.hts.paused`` which pause that was, what its state is to be again, and for which campaigns
    as a whole.
    """
    fireworks, workflows = database.mongo["fireworks"], database.mongo["workflows"]
    mark = {"audit": audit, "state": "$state", "campaigns": list(campaigns)}
    paused = {"state": "PAUSED", "updated_on": now()}
    for chunk in chunks(keys):
        fireworks.update_many(
            {**calculations(chunk), "state": "READY"}, [{"$set": {"spec.hts.paused": mark, **paused}}]
        )
    reserved = take_back_reserved(database, keys, {"spec.hts.paused": {**mark, "state": "READY"}, **paused})
    held, waiting = _Held(), set()
    for chunk in chunks(keys):
        # What follows a job that runs would be ready as soon as that has ended; what follows a paused one would not.
        started = fireworks.find({**calculations(chunk), "state": {"$in": ["RUNNING", "RESERVED"]}}, {"spec.hts": 1})
        begun = [job["spec"]["hts"]["result"] for job in started]
        following = {**calculations(begun), "state": {"$in": ["READY", "WAITING"]}}
        fireworks.update_many(following, [{"$set": {"spec.hts.paused": mark, **paused}}])
        found = fireworks.find(
            {**calculations(chunk), "state": "PAUSED", "spec.hts.paused.audit": audit},
            {"_id": 0, "fw_id": 1, "spec.hts.result": 1, "spec.hts.paused.state": 1},
        )
        here = set()
        for job in found:
            hts = job["spec"]["hts"]
            here.add(hts["result"])
            held.states[hts["paused"]["state"]] += 1
            if hts["paused"]["state"] == "WAITING":
                waiting.add(job["fw_id"])
        workflows.update_many(
            {"metadata.result": {"$in": list(here)}}, workflow_states(["READY", "RESERVED"], "PAUSED", "PAUSED")
        )
        held.keys += [key for key in chunk if key in here]
    if waiting:
        names = [UpdateOne({"nodes": one}, {"$set": {f"fw_states.{one}": "PAUSED"}}) for one in sorted(waiting)]
        workflows.bulk_write(names, ordered=False)
    if reserved:
        left = fireworks.find({"fw_id": {"$in": reserved}, "state": "PAUSED"}, {"fw_id": 1})
        mine = {"fw_id": {"$in": [job["fw_id"] for job in left]}}
        held.slurm_jobs = [(cluster, job_id) for cluster, job_id, _ in slurm_jobs_of(database, mine)]
    return held


def keep_held(database: Database, paused: Pause) -> int:
    """Hold back what has become ready in a paused campaign since it was paused. Idempotent.

    That is what was being submitted at that moment, and what a worker had and lost.

    Returns
    -------
    int
        How many results.
    """
    # Whoever writes the state of a campaign for other reasons does not resume it.
    database.campaigns.update_one(
        {"_id": paused.campaign, "paused.audit": paused.audit, "state": {"$ne": "paused"}},
        {"$set": {"state": "paused"}},
    )
    ready = {
        "state": "READY",
        "spec.hts.campaigns": {"$eq": paused.campaign, "$nin": sorted(_running(database))},
        "spec.hts.job": "calculate",
    }
    jobs = database.mongo["fireworks"].find(ready, {"_id": 0, "spec.hts.result": 1})
    keys = list(dict.fromkeys(job["spec"]["hts"]["result"] for job in jobs))
    return len(_hold(database, keys, paused.audit, [paused.campaign]).keys) if keys else 0


def release_wanted(database: Database, name: str) -> int:
    """Let go what was paused with another campaign as a whole, and a running one wants. Idempotent.

    It also finishes a resumption that was interrupted.

    Returns
    -------
    int
        How many results.
    """
    held = {"state": "PAUSED", "spec.hts.campaigns": name, "spec.hts.paused.campaigns.0": {"$exists": True}}
    jobs = database.mongo["fireworks"].find(held, {"_id": 0, "spec.hts.result": 1})
    keys = list(dict.fromkeys(job["spec"]["hts"]["result"] for job in jobs))
    return len(_let_go(database, keys, uuid.uuid4().hex[:12]).keys) if keys else 0


def plan_resume(database: Database, selection: QueuedSelection) -> QueuedPlan:
    """Find what resuming would let go. Changes nothing in the database.

    Raises
    ------
    InputError
        An unknown campaign, engine or candidate.
    """
    results = read_queued(database, selection)
    found = database.campaigns.find({"paused": {"$ne": None}}, {"_id": 1})
    paused = {document["_id"] for document in found}
    meant = sorted(paused.intersection(selection.campaigns or paused)) if selection.whole else []
    still = paused.difference(meant)
    chosen, left = [], []
    for result in results:
        reason = None
        if "PAUSED" not in result.jobs:
            reason = "it is not paused"
        elif still.issuperset(result.campaigns):
            reason = f"{', '.join(sorted(result.campaigns))} is paused as a whole: resume that"
        if reason:
            left.append(Left(result.key, result.label, reason))
        else:
            chosen.append(result)
    return QueuedPlan("resume", selection, chosen, left, meant)


def resume(
    database: Database, plan: QueuedPlan, *, user: str, reason: str = "", token: str | None = None
) -> QueuedOutcome:
    """Let go what was paused: each job has the state again that it had, and campaigns go on.

    Parameters
    ----------
    database
        Where the results are.
    plan
        Made by :func:`plan_resume`.
    user, reason
        Who wants it and why, for the audit.
    token
        Token of the plan that a person has agreed to, where the plan was made again since.

    Raises
    ------
    InputError
        The plan is not the one that was agreed to.
    """
    plan.check("resume", token)
    if not plan.results and not plan.campaigns:
        return QueuedOutcome("resume", None, left=plan.left)
    outcome = QueuedOutcome("resume", None)
    audit = open_audit(database, plan, user, reason)
    for name in plan.campaigns:
        resumed = database.campaigns.update_one(
            {"_id": name, "paused": {"$ne": None}},
            {"$set": {"state": "running", "updated_at": now()}, "$unset": {"paused": ""}},
        )
        if resumed.modified_count:
            outcome.campaigns.append(name)
    released = _let_go(database, [result.key for result in plan.results], audit)
    outcome.keys = released.keys
    changes: list[dict[str, Any]] = [
        {"campaign": name, "setting": "state", "old": "paused", "new": "running"} for name in outcome.campaigns
    ]
    changes += [
        {"setting": "jobs", "old": "PAUSED", "new": state, "count": count} for state, count in released.states.items()
    ]
    return close_audit(database, audit, plan, outcome, changes)


def _let_go(database: Database, keys: Sequence[str], audit: str) -> _Held:
    """Give the paused calculation jobs of results back the state that they had."""
    fireworks, workflows = database.mongo["fireworks"], database.mongo["workflows"]
    released, waiting = _Held(), []
    # What FireWorks' own command has paused carries no mark: it waits, until it is looked at below.
    state = {"$ifNull": ["$spec.hts.paused.state", "WAITING"]}
    for chunk in chunks(keys):
        fireworks.update_many(
            {**calculations(chunk), "state": "PAUSED"},
            [
                {"$set": {"state": state, "spec.hts.resumed": audit, "updated_on": now()}},
                {"$unset": "spec.hts.paused"},
            ],
        )
        mine = fireworks.find(
            {**calculations(chunk), "spec.hts.resumed": audit},
            {"_id": 0, "fw_id": 1, "state": 1, "spec.hts.result": 1},
        )
        here = set()
        for job in mine:
            here.add(job["spec"]["hts"]["result"])
            held = "WAITING" if job["state"] == "WAITING" else "READY"
            released.states[held] += 1
            if held == "WAITING":
                waiting.append(job["fw_id"])
        workflows.update_many({"metadata.result": {"$in": list(here)}}, workflow_states(["PAUSED"], "READY", GOING))
        released.keys += [key for key in chunk if key in here]
    for fw_id in waiting:
        # What it waited for may have ended meanwhile. These are few: they follow jobs that ran when it was paused.
        database.launchpad._refresh_wf(fw_id)  # noqa: SLF001 (FireWorks offers no public name for it)
    return released
