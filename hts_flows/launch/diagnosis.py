"""Why a job ended that SLURM or the kernel ended: a cause, and the evidence of it."""

from __future__ import annotations

import pwd
import re
from typing import TYPE_CHECKING

from pymongo import DESCENDING

from hts_flows.launch.failures import EVIDENCE_LINES, FailureCause, diagnose_traceback, failure
from hts_flows.launch.pilot import EXIT_NO_DATABASE, EXIT_NO_ENGINE
from hts_flows.slurm.resources import Resources, format_memory, format_walltime
from hts_flows.slurm.script import EXIT_ENVIRONMENT
from hts_flows.stores.allocations import WORKER_PREFIX, Allocation, token_of
from hts_flows.stores.results import Failure, JobUsage

if TYPE_CHECKING:
    from hts_flows.slurm.commands import SlurmJob
    from hts_flows.stores.allocations import Death
    from hts_flows.stores.database import Database

#: What SLURM calls an ending, and what it means for the job.
STATES: dict[str, FailureCause] = {
    "TIMEOUT": FailureCause.WALLTIME,
    "DEADLINE": FailureCause.WALLTIME,
    "OUT_OF_MEMORY": FailureCause.OUT_OF_MEMORY,
    "NODE_FAIL": FailureCause.NODE_FAILURE,
    "PREEMPTED": FailureCause.PREEMPTED,
    "CANCELLED": FailureCause.CANCELLED,
    "REVOKED": FailureCause.CANCELLED,
    "BOOT_FAIL": FailureCause.FAILED_TO_START,
}
#: What the batch script's exit codes mean.
EXIT_CODES: dict[int, FailureCause] = {
    EXIT_NO_ENGINE: FailureCause.MISSING_EXECUTABLE,
    EXIT_NO_DATABASE: FailureCause.STORE_UNAVAILABLE,
    EXIT_ENVIRONMENT: FailureCause.ENVIRONMENT,
    126: FailureCause.ENVIRONMENT,
    127: FailureCause.ENVIRONMENT,
}
#: What SLURM gives as the signal of a job whose folder or output file its node cannot write.
_NO_OUTPUT_SIGNAL = 53
#: How SLURM without control groups says that it killed a job for its memory, in the job's error output.
_MEMORY_LIMIT = re.compile(r"exceeded (?:job|step) memory limit|oom[-_ ]kill|out of memory", re.IGNORECASE)
_SIGKILL = 9


def diagnose_ending(
    allocation: Allocation,
    job: SlurmJob | None,
    output: str,
    *,
    death: Death | None = None,
    folder: str | None = None,
    time_used: float | None = None,
) -> Failure:
    """Find why a job did not end by itself.

    Parameters
    ----------
    allocation
        The SLURM job that it was in.
    job
        What SLURM says of it; None when SLURM does not know it any more.
    output
        End of its error output, ``queue.err``.
    death
        How the job's worker ended, where that was seen.
    folder
        Folder the engine ran in.
    time_used
        How long it ran, s, where that differs from the SLURM job's time (in a pilot).
    """
    usage = _usage(allocation, job, death, folder, time_used)
    cause = _cause(job, death, output)
    traceback = output[output.rfind("Traceback (most recent call last)") :] if "Traceback (most" in output else ""
    if cause is FailureCause.LOST and traceback:
        found = diagnose_traceback(traceback)
        return found.model_copy(update={"job": usage, "evidence": _end(output)})
    told = failure(cause, _message(cause, allocation, job, usage, output), _end(output))
    return told.model_copy(update={"job": usage})


def usage_of(database: Database, key: str) -> JobUsage | None:
    """Say in which SLURM job the last calculation of a result ran; None outside SLURM.

    Parameters
    ----------
    database
        Where it ran.
    key
        Key of the result.
    """
    nodes = [
        node
        for workflow in database.mongo["workflows"].find({"metadata.result": key}, {"nodes": 1})
        for node in workflow["nodes"]
    ]
    launch = database.mongo["launches"].find_one(
        {"fw_id": {"$in": nodes}, "fworker.name": {"$regex": f"^{WORKER_PREFIX}"}},
        {"fworker.name": 1, "launch_dir": 1, "host": 1, "state_history.state": 1},
        sort=[("launch_id", DESCENDING)],
    )
    document = launch and database.allocations.find_one({"_id": token_of(launch["fworker"]["name"])})
    if not launch or not document:
        return None
    usage = _usage(Allocation.from_document(document), None, None, launch["launch_dir"], None)
    # Before it ran, the launch's host is that of the launcher.
    ran = any(entry["state"] == "RUNNING" for entry in launch.get("state_history", []))
    host = launch.get("host") if ran else None
    return usage.model_copy(update={"node": (document.get("slurm") or {}).get("nodes") or host})


def _cause(job: SlurmJob | None, death: Death | None, output: str) -> FailureCause:
    if death is not None and death.out_of_memory:
        return FailureCause.OUT_OF_MEMORY
    if job is None:
        return FailureCause.LOST
    if job.state in {"CANCELLED", "FAILED", "COMPLETED"} and _MEMORY_LIMIT.search(output):
        return FailureCause.OUT_OF_MEMORY
    not_started = job.started is None and "launch failed" in job.reason.lower()
    if job.signal == _NO_OUTPUT_SIGNAL or (job.state == "CANCELLED" and not_started):
        return FailureCause.FAILED_TO_START
    return STATES.get(job.state) or EXIT_CODES.get(job.exit_code or 0, FailureCause.LOST)


def _usage(
    allocation: Allocation, job: SlurmJob | None, death: Death | None, folder: str | None, time_used: float | None
) -> JobUsage:
    asked = Resources.model_validate(allocation.resources)
    used = [value for value in (job and job.memory_used, death and death.memory_used) if value]
    return JobUsage(
        cluster=allocation.cluster,
        job_id=allocation.job_id,
        state=job.state if job else None,
        exit_code=job.exit_code if job else None,
        signal=-death.exit_code if death and death.exit_code < 0 else (job.signal if job else None),
        node=(death.node if death else None) or (job.nodes if job else None) or None,
        walltime_asked=asked.walltime or (job.walltime if job else None),
        time_used=time_used if time_used is not None else (job.elapsed if job else None),
        memory_asked=asked.memory or (job.memory_asked if job else None),
        memory_used=max(used) if used else None,
        folder=folder or allocation.folder,
    )


def _message(cause: FailureCause, allocation: Allocation, job: SlurmJob | None, usage: JobUsage, output: str) -> str:
    name = f"SLURM job {usage.job_id or allocation.job_name}" + (f" on {usage.node}" if usage.node else "")
    after = f" after {format_walltime(usage.time_used)}" if usage.time_used else ""
    if after and allocation.kind == "pilot":
        after = f", {format_walltime(usage.time_used or 0)} after this calculation began"
    ran = job is not None and job.started is not None and bool(job.nodes)
    asked = f" of {format_walltime(usage.walltime_asked)} asked" if usage.walltime_asked else ""
    by = f" by {_user(job.cancelled_by)}" if job and job.cancelled_by else ""
    own_words = _own_words(output) or "the batch script could not begin"
    messages = {
        FailureCause.WALLTIME: f"{name} was ended at its time limit{after}{asked}",
        FailureCause.OUT_OF_MEMORY: f"{name} was killed for want of memory{_memory(usage)}",
        FailureCause.NODE_FAILURE: f"the node failed under {name}{after}",
        FailureCause.PREEMPTED: f"{name} had to give way to a more urgent one{after}",
        FailureCause.CANCELLED: f"{name} was cancelled{by}{after if ran else ' while it waited'}",
        FailureCause.FAILED_TO_START: f"SLURM could not start {name}: {_why_not_started(job, allocation)}",
        FailureCause.ENVIRONMENT: f"{own_words} ({name})",
        FailureCause.MISSING_EXECUTABLE: f"{own_words} ({name})",
        FailureCause.STORE_UNAVAILABLE: f"{own_words} ({name})",
    }
    if job is None:
        return f"{name} is not known to SLURM any more, and left no result"
    code = f" with exit code {job.exit_code}" if job.exit_code else f" by signal {usage.signal}" if usage.signal else ""
    return messages.get(cause, f"{name} ended ({job.state}){code}{after} and left no result")


def _why_not_started(job: SlurmJob | None, allocation: Allocation) -> str:
    if job is not None and job.signal == _NO_OUTPUT_SIGNAL:
        return f"the node cannot write {allocation.folder} (is scratch seen by every node?)"
    return job.reason if job else "no reason given"


def _user(uid: str) -> str:
    """Name of a user, where this machine knows it."""
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError):
        return f"user id {uid}"


def _memory(usage: JobUsage) -> str:
    used = f": used {format_memory(usage.memory_used)}" if usage.memory_used else ""
    return used + (f" of {format_memory(usage.memory_asked)} asked" if usage.memory_asked else "")


def _own_words(output: str) -> str:
    """What the batch script or the pilot said last of why it could not go on."""
    said = [line.removeprefix("hts: ").strip() for line in output.splitlines() if line.startswith("hts: ")]
    return said[-1] if said else ""


def _end(output: str) -> str:
    return "\n".join(output.splitlines()[-EVIDENCE_LINES:])
