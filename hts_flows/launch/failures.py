"""Why a job failed: a typed cause with its remedy, found from the traceback."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hts_flows.stores.results import Failure, JobUsage

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

EVIDENCE_LINES = 30
#: How the evidence begins where somebody has cancelled it here; the id in the audit follows.
CANCELLED_BY_A_PERSON = "cancelled by a person; audit "


class FailureCause(StrEnum):
    """Causes a person can act on."""

    WALLTIME = "walltime"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_FAILURE = "node_failure"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    REJECTED = "rejected"
    ENVIRONMENT = "environment"
    FAILED_TO_START = "failed_to_start"
    LOST = "lost"
    SCF_NOT_CONVERGED = "scf_not_converged"
    IONIC_NOT_CONVERGED = "ionic_not_converged"
    UNPHYSICAL_RESULT = "unphysical_result"
    BAD_INPUT = "bad_input"
    MISSING_EXECUTABLE = "missing_executable"
    STORE_UNAVAILABLE = "store_unavailable"
    REFERENCE_FAILED = "reference_failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Remedy:
    """What to do about a cause.

    Attributes
    ----------
    text
        For people.
    retryable
        Whether running the job again unchanged can help.
    change
        Options of ``hts resubmit`` that are proposed.
    """

    text: str
    retryable: bool
    change: str = ""


REMEDIES: dict[FailureCause, Remedy] = {
    FailureCause.WALLTIME: Remedy(
        "resubmit with more time; a relaxation goes on from its last geometry", retryable=False, change="--walltime x2"
    ),
    FailureCause.OUT_OF_MEMORY: Remedy(
        "resubmit with more memory; on one machine run fewer workers instead (hts run FILE --workers 1)",
        retryable=False,
        change="--memory x2",
    ),
    FailureCause.NODE_FAILURE: Remedy("resubmit as it is", retryable=True),
    FailureCause.CANCELLED: Remedy("resubmit as it is if it was cancelled by mistake", retryable=True),
    FailureCause.PREEMPTED: Remedy(
        "resubmit as it is, or with a partition or QOS whose jobs need not give way", retryable=True
    ),
    FailureCause.REJECTED: Remedy(
        "SLURM refuses what the job asks for: read its message, and ask for what the cluster has",
        retryable=False,
        change="--partition NAME",
    ),
    FailureCause.ENVIRONMENT: Remedy(
        "correct modules, pre_commands or python in the settings or the campaign, then resubmit as it is",
        retryable=True,
    ),
    FailureCause.FAILED_TO_START: Remedy(
        "see that every node can write the cluster's scratch folder, then resubmit as it is", retryable=True
    ),
    FailureCause.LOST: Remedy("its worker died several times: look at memory, then resubmit", retryable=True),
    FailureCause.SCF_NOT_CONVERGED: Remedy(
        "resubmit with more SCF steps (gpaw); else more smearing in the campaign file",
        retryable=False,
        change="--set scf_steps=400",
    ),
    FailureCause.IONIC_NOT_CONVERGED: Remedy(
        "resubmit with more steps; it goes on from its last geometry", retryable=False, change="--set steps=1000"
    ),
    FailureCause.UNPHYSICAL_RESULT: Remedy(
        "look at the starting structure; another engine may hold it", retryable=False
    ),
    FailureCause.BAD_INPUT: Remedy(
        "read the message: correct the campaign file or what it names, then resubmit", retryable=False
    ),
    FailureCause.MISSING_EXECUTABLE: Remedy("install the engine where the jobs run, then resubmit", retryable=True),
    FailureCause.STORE_UNAVAILABLE: Remedy(
        "see that MongoDB runs and that the machines of the jobs reach it, then resubmit as it is", retryable=True
    ),
    FailureCause.REFERENCE_FAILED: Remedy(
        "resubmit the reference; this result is then completed without running again", retryable=False
    ),
    FailureCause.UNKNOWN: Remedy("read the evidence; resubmit as it is if it looks like an accident", retryable=True),
}

#: Causes that end a calculation from outside, so that its last geometry is a sound start.
CUT_OFF = frozenset(
    {
        FailureCause.WALLTIME,
        FailureCause.OUT_OF_MEMORY,
        FailureCause.NODE_FAILURE,
        FailureCause.CANCELLED,
        FailureCause.PREEMPTED,
        FailureCause.LOST,
        FailureCause.STORE_UNAVAILABLE,
    }
)


def proposed_change(failure: Failure, engine: str) -> str:
    """Give the options of ``hts resubmit`` that are proposed for a failure; empty where nothing need be changed.

    Parameters
    ----------
    failure
        Why it failed.
    engine
        Name of its engine: a setting that it does not have is not proposed.
    """
    from hts_flows.engines import engine_class

    change = REMEDIES[FailureCause(failure.cause)].change if failure.cause in set(FailureCause) else ""
    if change.startswith("--set "):
        kind = engine_class(engine)
        name = change.removeprefix("--set ").partition("=")[0]
        return change if name in kind.adjustable & set(kind.model_fields) else ""
    # More time or memory is asked of SLURM; on one machine there is nobody to ask.
    return change if failure.job is not None else ""


#: First match on "ExceptionType: message" wins.
_PATTERNS: tuple[tuple[str, FailureCause], ...] = (
    (r"KohnShamConvergenceError|SCFNotConverged|UnconvergedError|SCF.*not converge", FailureCause.SCF_NOT_CONVERGED),
    (r"NotConvergedError", FailureCause.IONIC_NOT_CONVERGED),
    (r"UnphysicalResult", FailureCause.UNPHYSICAL_RESULT),
    (r"MemoryError|out of memory|Cannot allocate memory|DefaultCPUAllocator", FailureCause.OUT_OF_MEMORY),
    (r"No module named '?hts_flows\b|Unable to locate a modulefile|module: (?:command )?not found",
     FailureCause.ENVIRONMENT),
    (r"EngineNotAvailable|ModuleNotFoundError|ImportError|FileNotFoundError.*(?:vasp|cp2k)|command not found",
     FailureCause.MISSING_EXECUTABLE),
    (r"ServerSelectionTimeout|AutoReconnect|NetworkTimeout|ConnectionFailure|StoreUnavailable|NotPrimary",
     FailureCause.STORE_UNAVAILABLE),
    (r"ValidationError|ValueError|TypeError|KeyError|InputError|NotImplementedError|FileNotFoundError",
     FailureCause.BAD_INPUT),
)  # fmt: skip


def failure(cause: FailureCause, message: str, evidence: str = "", job: JobUsage | None = None) -> Failure:
    """Make the document of a failure, with the remedy of its cause."""
    remedy = REMEDIES[cause]
    return Failure(
        cause=cause.value, message=message, evidence=evidence, remedy=remedy.text, retryable=remedy.retryable, job=job
    )


def diagnose_traceback(stacktrace: str) -> Failure:
    """Find the cause in a Python traceback.

    Parameters
    ----------
    stacktrace
        As FireWorks stores it.
    """
    lines = [line for line in stacktrace.strip().splitlines() if line.strip()]
    error = _error_line(lines)
    cause = next((cause for pattern, cause in _PATTERNS if re.search(pattern, error)), FailureCause.UNKNOWN)
    return failure(cause, error, "\n".join(lines[-EVIDENCE_LINES:]))


def _error_line(lines: list[str]) -> str:
    """Find "ExceptionType: message": the first line that is not indented after the innermost frame."""
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    after = lines[frames[-1] :] if frames else lines
    return next((line.strip() for line in after if not line.startswith(" ")), "no traceback was kept")


def diagnose_workflow(database: Database, result_key: str) -> Failure:
    """Find why a result's workflow ended without recording it: the first failed job tells."""
    nodes = [
        node
        for workflow in database.mongo["workflows"].find({"metadata.result": result_key}, {"nodes": 1})
        for node in workflow["nodes"]
    ]
    fizzled = database.mongo["fireworks"].find(
        {"fw_id": {"$in": nodes}, "state": "FIZZLED"}, {"launches": 1, "spec._exception_details": 1, "spec.hts": 1}
    )
    # Parents have larger ids than children in a workflow that FireWorks numbered, so look at all, earliest end first.
    stories: list[tuple[Any, dict[str, Any]]] = []
    for firework in fizzled:
        if firework["spec"].get("_exception_details"):
            return diagnose_traceback(firework["spec"]["_exception_details"].get("_stacktrace", ""))
        if firework["spec"]["hts"].get("lost"):
            return failure(
                FailureCause.LOST, f"the worker died {firework['spec']['hts']['lost']} times while running it"
            )
        launches = database.mongo["launches"].find({"launch_id": {"$in": firework["launches"]}})
        stories += [(launch.get("time_end") or "", launch) for launch in launches]
    for _, launch in sorted(stories, key=lambda story: str(story[0])):
        exception = ((launch.get("action") or {}).get("stored_data") or {}).get("_exception") or {}
        if exception.get("_stacktrace"):
            return diagnose_traceback(exception["_stacktrace"])
    return failure(FailureCause.UNKNOWN, "the workflow ended without a result and left no error message")
