"""Cancelling: queued calculations become failures that a person asked for, and can be resubmitted as every failure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hts_flows.errors import HtsError
from hts_flows.launch.actions import close_audit, open_audit, take_back_reserved, workflow_states
from hts_flows.launch.failures import CANCELLED_BY_A_PERSON, FailureCause, failure
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
    from collections.abc import Iterable

    from hts_flows.settings import Settings
    from hts_flows.stores.database import Database

RUNS_ON = "it runs, and not in a SLURM job of its own: it goes on"


def plan_cancel(database: Database, selection: QueuedSelection) -> QueuedPlan:
    """Find what cancelling would end. Changes nothing in the database.

    Those that have not started, and those that run in a SLURM job of their own. A result that another campaign wants,
    which is not named, goes on.

    Raises
    ------
    InputError
        An unknown campaign, engine or candidate.
    """
    results = read_queued(database, selection)
    running = [result for result in results if not result.jobs.isdisjoint(STARTED)]
    alone = _alone(database, running)
    chosen, left = [], []
    for result in results:
        if reason := _why_not(result, selection, alone):
            left.append(Left(result.key, result.label, reason))
        else:
            chosen.append(result)
    notes = [f"{len(alone)} of them run in SLURM jobs of their own, which are cancelled"] if alone else []
    if references := sum(result.role == "reference" for result in chosen):
        notes.append(f"{references} are references: what needs them gets no energies until they are resubmitted")
    return QueuedPlan("cancel", selection, chosen, left, notes=notes)


def _alone(database: Database, running: Sequence[QueuedResult]) -> dict[str, tuple[str, str]]:
    """Find the SLURM jobs that run one result each, as (cluster, job id) by key."""
    found: dict[str, tuple[str, str]] = {}
    for chunk in chunks([result.key for result in running]):
        mine = {"kind": "single", "result": {"$in": chunk}}
        found |= {key: (cluster, job_id) for cluster, job_id, key in slurm_jobs_of(database, mine)}
    return found


def _why_not(result: QueuedResult, selection: QueuedSelection, alone: dict[str, tuple[str, str]]) -> str | None:
    """Say why a queued result is not cancelled; None where it may be."""
    if result.arriving:
        return ARRIVING
    others = sorted(set(result.campaigns).difference(selection.campaigns)) if selection.campaigns else []
    if others:
        return f"{', '.join(others)} wants it too"
    if not result.jobs.isdisjoint(STARTED):
        return None if result.key in alone else RUNS_ON
    return None if result.jobs else RECORDING


def cancel(
    database: Database, plan: QueuedPlan, *, user: str, reason: str = "", token: str | None = None
) -> QueuedOutcome:
    """Let queued results fail as cancelled, where they have not started.

    Those that run in a SLURM job of their own fail when it has ended: the caller cancels it, the next launch settles
    it. Candidates that wait for a cancelled reference learn of it, as of every reference that failed.

    Parameters
    ----------
    database
        Where the results are.
    plan
        Made by :func:`plan_cancel`.
    user, reason
        Who wants it and why, for the failures and the audit.
    token
        Token of the plan that a person has agreed to, where the plan was made again since.

    Raises
    ------
    InputError
        The plan is not the one that was agreed to.
    """
    plan.check("cancel", token)
    if not plan.results:
        return QueuedOutcome("cancel", None, left=plan.left)
    outcome = QueuedOutcome("cancel", None)
    audit = open_audit(database, plan, user, reason)
    running = [result for result in plan.results if not result.jobs.isdisjoint(STARTED)]
    waiting = [result for result in plan.results if result.jobs.isdisjoint(STARTED)]
    stopped, reserved = _stop(database, [result.key for result in waiting], audit)
    outcome.keys = _let_fail(database, stopped, audit, user, reason)
    cancelled = set(outcome.keys)
    _tell_candidates(database, [result for result in waiting if result.key in cancelled and result.role == "reference"])
    for cluster, job_id, key in slurm_jobs_of(database, {"fw_id": {"$in": reserved}}) if reserved else ():
        if key in cancelled:
            outcome.slurm_jobs.append((cluster, job_id))
    alone = _alone(database, running)
    outcome.slurm_jobs += alone.values()
    outcome.ending = [result.key for result in running if result.key in alone]
    changes = [{"setting": "state", "old": "queued", "new": "failed", "count": len(outcome.keys)}]
    return close_audit(database, audit, plan, outcome, changes)


def _stop(database: Database, keys: Sequence[str], audit: str) -> tuple[list[str], list[int]]:
    """Defuse the calculation jobs of results that have not started.

    Returns
    -------
    list of str
        Results nothing of which can start any more.
    list of int
        Jobs that were reserved for SLURM jobs.
    """
    fireworks = database.mongo["fireworks"]
    mark = {"audit": audit, "state": "$state"}
    defused = {"state": "DEFUSED", "updated_on": now()}
    marking = [{"$set": {"spec.hts.cancelled": mark, **defused}}]
    for chunk in chunks(keys):
        fireworks.update_many({**calculations(chunk), "state": {"$in": ["READY", "PAUSED"]}}, marking)
        # What an interrupted cancellation has left: stopped, and still queued.
        nodes = [
            fw_id
            for document in database.results.find({"_id": {"$in": chunk}, "state": "queued"}, {"provenance.fw_ids": 1})
            for fw_id in document["provenance"]["fw_ids"]
        ]
        left = {"fw_id": {"$in": nodes}, "state": "DEFUSED", "spec.hts.cancelled.audit": {"$nin": [None, audit]}}
        fireworks.update_many(left, {"$set": {"spec.hts.cancelled.audit": audit}})
    reserved = take_back_reserved(database, keys, {"spec.hts.cancelled": {**mark, "state": "READY"}, **defused})
    stopped = []
    for chunk in chunks(keys):
        mine = {**calculations(chunk), "state": "DEFUSED", "spec.hts.cancelled.audit": audit}
        marked = {job["spec"]["hts"]["result"] for job in fireworks.find(mine, {"spec.hts.result": 1})}
        begun = _begun(database, list(marked))
        # A worker was faster with another job of theirs.
        undo: list[dict[str, Any]] = [
            {"$set": {"state": "$spec.hts.cancelled.state"}},
            {"$unset": "spec.hts.cancelled"},
        ]
        fireworks.update_many({**mine, "spec.hts.result": {"$in": list(begun)}}, undo)
        marked -= begun
        here = [key for key in chunk if key in marked]
        fireworks.update_many({"spec.hts.result": {"$in": here}, "state": "WAITING"}, {"$set": defused})
        stopped += here
    return stopped, reserved


def _begun(database: Database, keys: list[str]) -> set[str]:
    running = {**calculations(keys), "state": {"$in": ["RUNNING", "RESERVED"]}}
    return {job["spec"]["hts"]["result"] for job in database.mongo["fireworks"].find(running, {"spec.hts.result": 1})}


def _let_fail(database: Database, keys: Sequence[str], audit: str, user: str, reason: str) -> list[str]:
    """Store that results were cancelled; gives those that were queued until now.

    The results come before their workflows: a workflow that has ended with its result still queued would be settled as
    one whose end nobody knows.
    """
    message = f"cancelled by {user}" + (f": {reason}" if reason else "")
    told = failure(FailureCause.CANCELLED, message, CANCELLED_BY_A_PERSON + audit)
    failed = []
    for chunk in chunks(keys):
        database.results.update_many(
            {"_id": {"$in": chunk}, "state": "queued"},
            {"$set": {"state": "failed", "failure": told.model_dump(mode="json"), "provenance.finished_at": now()}},
        )
        mine = {"_id": {"$in": chunk}, "state": "failed", "failure.evidence": told.evidence}
        failed += [document["_id"] for document in database.results.find(mine, {"_id": 1})]
        database.mongo["workflows"].update_many(
            {"metadata.result": {"$in": chunk}},
            workflow_states(["READY", "WAITING", "PAUSED", "RESERVED"], "DEFUSED", "DEFUSED"),
        )
    return failed


def _tell_candidates(database: Database, references: Iterable[QueuedResult]) -> None:
    """Candidates that were computed and wait for a cancelled reference learn of it."""
    from hts_flows.launch.recording import derive_waiting, load_result

    for reference in references:
        derive_waiting(database, load_result(database, reference.key))


def cancel_slurm_jobs(settings: Settings, jobs: Sequence[tuple[str, str]]) -> list[str]:
    """Cancel SLURM jobs that have nothing to do any more; one that is not cancelled finds no work and ends.

    Parameters
    ----------
    settings
        Give the clusters.
    jobs
        As (cluster, job id).

    Returns
    -------
    list of str
        What went wrong, for people.
    """
    from hts_flows.slurm.commands import Slurm

    problems = []
    by_cluster: dict[str, list[str]] = {}
    for cluster, job_id in jobs:
        by_cluster.setdefault(cluster, []).append(job_id)
    for name, job_ids in by_cluster.items():
        stay = f"SLURM jobs {', '.join(job_ids)} stay in the queue"
        if name not in settings.clusters:
            problems.append(f"{stay}: no cluster {name!r} in the settings")
            continue
        try:
            Slurm(settings.clusters[name]).cancel(job_ids)
        except HtsError as error:
            problems.append(f"{stay}: {error.message}")
    return problems
