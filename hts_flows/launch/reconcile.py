"""Reconciling: what FireWorks believes is compared with what SLURM knows, and every disagreement is settled.

Each source is asked once, for all jobs together. SLURM is asked before the jobs are read: a job that still counts as
running after SLURM said that its allocation had ended has been cut off. What is written is conditional on what was
read, and the allocations come last, so that a pass which is killed, or two at once, do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pymongo import UpdateOne

from hts_flows.launch.diagnosis import diagnose_ending
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.healing import MAX_LOST, heal_job
from hts_flows.launch.settling import CutOff, settle_failures
from hts_flows.slurm.resources import Resources
from hts_flows.stores.allocations import Allocation, Death, restart_of, token_of
from hts_flows.stores.campaigns import claim_is_free, now
from hts_flows.stores.results import Failure

if TYPE_CHECKING:
    from hts_flows.slurm.commands import Slurm, SlurmJob
    from hts_flows.stores.database import Database

#: A job that neither queue nor accounting knows is given up this long after it was last seen.
VANISHED_AFTER = timedelta(seconds=60)
#: A job cut off by the end of a pilot that had given it less than this share of its walltime may try again.
FAIR_SHARE = 0.8
#: Causes that are no fault of the job when they end the pilot it ran in: it runs again.
_NOT_THE_JOBS_FAULT = {
    FailureCause.NODE_FAILURE,
    FailureCause.PREEMPTED,
    FailureCause.FAILED_TO_START,
    FailureCause.STORE_UNAVAILABLE,
    FailureCause.LOST,
}
#: As many documents in one answer as fit.
_ALL = 1_000_000
#: Causes that the next allocation of the same kind would meet too.
_BROKEN = {
    FailureCause.ENVIRONMENT,
    FailureCause.MISSING_EXECUTABLE,
    FailureCause.STORE_UNAVAILABLE,
    FailureCause.FAILED_TO_START,
}
_BROKEN_PILOT = {FailureCause.OUT_OF_MEMORY, FailureCause.LOST}
#: Verdict on a job that runs again.
_AGAIN = object()


@dataclass
class Reconciled:
    """What one pass found and did.

    Attributes
    ----------
    waiting, running
        SLURM jobs in the queue.
    ended
        SLURM jobs whose ending was settled now.
    failed
        Jobs that were given a cause of failure.
    again
        Jobs that were made ready again, through no fault of theirs.
    problems
        Why allocations did no work, for people.
    """

    waiting: int = 0
    running: int = 0
    ended: int = 0
    failed: int = 0
    again: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class _Seen:
    """An allocation beside what SLURM says of it."""

    allocation: Allocation
    job: SlurmJob | None
    over: bool


def reconcile(database: Database, slurm: Slurm) -> Reconciled:
    """Settle every disagreement between FireWorks and one cluster.

    Parameters
    ----------
    database
        Where jobs and allocations are.
    slurm
        The cluster's commands.

    Raises
    ------
    SlurmNotAnsweringError, ClusterUnreachableError
        SLURM's answer did not come or was not whole; nothing was changed.
    """
    outcome = Reconciled()
    open_allocations = [
        Allocation.from_document(document)
        for document in database.allocations.find(
            {"cluster": slurm.cluster.name, "state": {"$ne": "ended"}}, batch_size=_ALL
        )
    ]
    if not open_allocations:
        return outcome
    seen = {item.allocation.token: item for item in _ask(slurm, open_allocations)}
    cut_off = _cut_off_jobs(database)
    paths = [f"{item.allocation.folder}/queue.err" for item in seen.values() if item.over or _new_deaths(item)]
    output = slurm.connection.read_tails(paths) if paths else {}
    failures: list[tuple[CutOff, Failure]] = []
    for job in cut_off:
        item = seen.get(token_of(job.worker) or "")
        verdict = _judge(item, job, output.get(f"{item.allocation.folder}/queue.err", "")) if item else None
        if verdict is _AGAIN and item and _never_submitted(item) and not _close(database, item.allocation):
            continue
        if verdict is _AGAIN:
            if job.needs_seconds:
                # It is taken next by a worker that has more time left.
                needs = {"$max": {"spec.hts.seconds": job.needs_seconds}}
                database.mongo["fireworks"].update_one({"fw_id": job.firework["fw_id"]}, needs)
            heal_job(database, job.firework, job.launch)
            outcome.again += 1
        elif isinstance(verdict, Failure):
            failures.append((job, verdict))
    outcome.failed = settle_failures(database, failures)
    _store(database, list(seen.values()), output, outcome)
    return outcome


def _ask(slurm: Slurm, allocations: list[Allocation]) -> list[_Seen]:
    """Ask SLURM's queue about all, and its accounting about those that have left the queue or ended."""
    queue = slurm.queue()
    by_name = {job.name: job for job in queue.values()}
    found = {item.token: queue.get(item.job_id or "") or by_name.get(item.job_name) for item in allocations}
    for item in allocations:
        if (job := found[item.token]) is not None:
            item.job_id = job.job_id
    asked = [
        item.job_id for item in allocations if item.job_id and ((job := found[item.token]) is None or job.has_ended)
    ]
    accounts = (slurm.account(asked) if asked else {}) or {}
    seen = []
    for item in allocations:
        job, account = found[item.token], accounts.get(item.job_id or "")
        if account is not None and account.has_ended:
            # Accounting knows memory and exit codes; where it is late, the queue knows better that the job has ended.
            job = account
        over = job.has_ended if job is not None else _given_up(item)
        seen.append(_Seen(item, job, over))
    return seen


def _given_up(allocation: Allocation) -> bool:
    """Tell whether an allocation that SLURM does not know is to be waited for no longer."""
    last = allocation.seen_at or allocation.created_at
    # Also where sbatch failed or its launcher was killed: SLURM may take the job all the same, some time after.
    unseen = now() - last.replace(tzinfo=now().tzinfo) > VANISHED_AFTER
    return unseen and (allocation.state != "submitting" or claim_is_free(allocation.owner, allocation.created_at))


def _cut_off_jobs(database: Database) -> list[CutOff]:
    """All jobs that FireWorks believes to be in some allocation, each with its last launch and its workflow."""
    fireworks = database.mongo["fireworks"].aggregate(
        [
            {"$match": {"state": {"$in": ["RUNNING", "RESERVED"]}}},
            {"$project": {"fw_id": 1, "state": 1, "launches": 1, "spec.hts": 1, "updated_on": 1}},
            {
                "$lookup": {
                    "from": "launches",
                    "localField": "launches",
                    "foreignField": "launch_id",
                    "as": "launch",
                }
            },
            {
                "$match": {
                    "$or": [
                        {"launch.fworker.name": {"$regex": "^slurm:"}},
                        # Taken by a worker that had not begun yet.
                        {"launch": [], "spec.hts.taken": {"$regex": "^slurm:"}},
                    ]
                }
            },
            {"$lookup": {"from": "workflows", "localField": "fw_id", "foreignField": "nodes", "as": "workflow"}},
            {
                "$project": {
                    "fw_id": 1,
                    "state": 1,
                    "spec.hts": 1,
                    "launch.launch_id": 1,
                    "launch.state": 1,
                    "launch.fworker.name": 1,
                    "launch.launch_dir": 1,
                    "launch.time_start": 1,
                    "workflow._id": 1,
                    "workflow.nodes": 1,
                }
            },
        ],
        batchSize=_ALL,
    )
    found = []
    for firework in fireworks:
        launch: dict[str, Any] = max(firework["launch"], key=lambda item: item["launch_id"], default={})
        job = CutOff(firework, launch, firework["workflow"][0] if firework["workflow"] else None)
        if token_of(job.worker):
            found.append(job)
    return found


def _new_deaths(item: _Seen) -> list[Death]:
    return item.allocation.deaths[item.allocation.deaths_settled :]


def _judge(item: _Seen, job: CutOff, output: str) -> Failure | object | None:
    """Decide what becomes of a job: a failure, :data:`_AGAIN`, or None where its worker lives."""
    allocation, slurm_job = item.allocation, item.job
    death = next((death for death in allocation.deaths if death.worker == job.worker), None)
    restarted = (
        slurm_job is not None
        and not item.over
        and job.firework["state"] == "RUNNING"
        and restart_of(job.worker) < slurm_job.restarts
    )
    if restarted or (_never_submitted(item) and job.firework["state"] == "RESERVED"):
        return _AGAIN
    if not item.over and death is None:
        return None
    if job.launch.get("state") in (None, "COMPLETED", "FIZZLED") or job.firework["spec"]["hts"].get("job") == "record":
        return _AGAIN
    used = _time_used(item, job)
    verdict = diagnose_ending(
        allocation,
        slurm_job,
        output,
        death=death,
        folder=job.launch.get("launch_dir"),
        time_used=used if allocation.kind == "pilot" else None,
    )
    if allocation.kind == "pilot" and _may_try_again(item, job, FailureCause(verdict.cause), used):
        return _AGAIN
    return verdict


def _never_submitted(item: _Seen) -> bool:
    return item.over and item.job is None and item.allocation.job_id is None


def _close(database: Database, allocation: Allocation) -> bool:
    """End an allocation that SLURM never had, before its job is given back; False where it has just begun after all."""
    closed = database.allocations.update_one(
        {"_id": allocation.token, "job_id": None, "state": "submitting"}, {"$set": {"state": "ended"}}
    )
    return closed.modified_count == 1


def _may_try_again(item: _Seen, job: CutOff, cause: FailureCause, used: float | None) -> bool:
    """Tell whether a job that its pilot took along may run again: the pilot ended, not the job."""
    if job.firework["spec"]["hts"].get("lost", 0) + 1 >= MAX_LOST:
        return False
    if cause is FailureCause.WALLTIME:
        walltime = Resources.model_validate(item.allocation.resources).walltime or 0
        if used is None or used < FAIR_SHARE * walltime:
            job.needs_seconds = 1.2 * used if used else None
            return True
        return False
    return cause in _NOT_THE_JOBS_FAULT


def _time_used(item: _Seen, job: CutOff) -> float | None:
    """How long a job ran until its allocation ended, s."""
    ended = item.job.ended if item.job else None
    started = job.launch.get("time_start")
    if ended is None or not started:
        return None
    begun = datetime.fromisoformat(started) if isinstance(started, str) else started
    if begun.tzinfo is None:
        begun = begun.replace(tzinfo=ended.tzinfo)
    return max(0.0, (ended - begun).total_seconds())


def _store(database: Database, seen: list[_Seen], output: dict[str, str], outcome: Reconciled) -> None:
    """Write down what SLURM said of each allocation, where that is new."""
    changes = []
    for item in seen:
        allocation, job = item.allocation, item.job
        told = job.model_dump(mode="json", exclude={"elapsed"}) if job else allocation.slurm
        change: dict[str, Any] = {"deaths_settled": len(allocation.deaths)}
        if item.over:
            outcome.ended += 1
            change |= {"state": "ended", "problem": _problem(item, output)}
            if change["problem"]:
                outcome.problems.append(change["problem"])
        elif job is not None:
            outcome.waiting += job.is_waiting
            outcome.running += not job.is_waiting
            change |= {"state": "queued", "restarts": job.restarts}
        change |= {"slurm": told, "job_id": allocation.job_id}
        if job is not None:
            change["seen_at"] = now()
        stored = allocation.model_dump(include=change.keys() - {"seen_at"})
        if any(stored[name] != change[name] for name in stored) or _old(allocation):
            # Where SLURM does not know it, it may have begun since: then it has said so itself.
            unchanged = {"job_id": None} if job is None and allocation.job_id is None else {}
            changes.append(UpdateOne({"_id": allocation.token, **unchanged}, {"$set": change}))
    if changes:
        database.allocations.bulk_write(changes, ordered=False)


def _old(allocation: Allocation) -> bool:
    """Tell whether the time at which an allocation was last seen should be written again."""
    return allocation.seen_at is None or now() - allocation.seen_at.replace(tzinfo=now().tzinfo) > VANISHED_AFTER / 2


def _problem(item: _Seen, output: dict[str, str]) -> str | None:
    """Say why an allocation that has ended did no work; None where it did, or where nothing was wrong."""
    allocation, job = item.allocation, item.job
    if allocation.done or (job is None and allocation.job_id is None) or (job and job.state == "COMPLETED"):
        return None
    last_death = allocation.deaths[-1] if allocation.deaths else None
    told = diagnose_ending(allocation, job, output.get(f"{allocation.folder}/queue.err", ""), death=last_death)
    serious = _BROKEN | _BROKEN_PILOT if allocation.kind == "pilot" else _BROKEN
    if told.cause not in serious:
        return None
    if told.cause == FailureCause.OUT_OF_MEMORY:
        where = f"clusters.{allocation.cluster}.resources.{allocation.engine}.memory"
        return f"{told.message}; ask for more with {where} in the settings file"
    return told.message
