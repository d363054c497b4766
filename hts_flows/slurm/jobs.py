"""SLURM jobs as the queue and the accounting tell of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hts_flows.slurm.resources import DAY, HOUR, MINUTE

#: Between the fields of a job; before the name, which comes last because it may hold anything.
SEPARATOR = "\x1f"
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"})
ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "RECONFIG_FAIL",
        "REVOKED",
        "TIMEOUT",
    }
)
#: What is asked of squeue (its names of the fields), in this order.
QUEUE_FIELDS = [
    "JobArrayID",
    "State",
    "exit_code",
    "Reason",
    "NodeList",
    "SubmitTime",
    "StartTime",
    "EndTime",
    "TimeUsed",
    "TimeLimit",
    "tres-alloc",
    "NumNodes",
    "RestartCnt",
    "Name",
]
#: What is asked of sacct; "Restarts", which not every version has, comes before the name.
ACCOUNT_FIELDS = [
    "JobIDRaw",
    "State",
    "ExitCode",
    "Reason",
    "NodeList",
    "Submit",
    "Start",
    "End",
    "ElapsedRaw",
    "TimelimitRaw",
    "ReqTRES",
    "AllocTRES",
    "NNodes",
    "MaxRSS",
]
_CLOCK = re.compile(r"^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)([KMGTP]?)[cn]?$")
_MEGABYTES = {"": 1 / 1024**2, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}
_TRES_MEMORY = re.compile(r"(?:^|,)mem=([^,]+)")
_MAX_SIGNAL = 64


class SlurmJob(BaseModel):
    """What SLURM knows of a job."""

    model_config = ConfigDict(frozen=True)

    job_id: str = Field(description="Job id")
    name: str = Field(description="Name")
    state: str = Field(description="State, SLURM's word in capitals")
    reason: str = Field(default="", description="Why it waits, or why it ended")
    nodes: str = Field(default="", description="Nodes it ran on, as SLURM writes them")
    exit_code: int | None = Field(default=None, description="Exit code of the batch script; only once it has ended")
    signal: int | None = Field(default=None, description="Signal that ended it")
    submitted: datetime | None = Field(default=None, description="When it was submitted (UTC)")
    started: datetime | None = Field(default=None, description="When it was started, the last time (UTC)")
    ended: datetime | None = Field(default=None, description="When it ended (UTC)")
    elapsed: float | None = Field(default=None, description="How long it has run, s")
    walltime: float | None = Field(default=None, description="Time limit, s; None: none")
    memory_asked: float | None = Field(default=None, description="Memory it was given on a node, MB")
    memory_used: float | None = Field(default=None, description="Largest memory of a task of its steps, MB")
    restarts: int = Field(default=0, description="How often SLURM has started it again")
    cancelled_by: str | None = Field(default=None, description="Id of the user who cancelled it")

    @property
    def is_waiting(self) -> bool:
        """Whether it has not been started yet, or is to be started again."""
        return self.state in WAITING

    @property
    def has_ended(self) -> bool:
        """Whether it will not run any more."""
        return self.state in ENDED

    @property
    def is_running(self) -> bool:
        """Whether it is on its nodes: running, suspended, or just beginning or ending."""
        return not self.is_waiting and not self.has_ended


def job_of_queue(record: str) -> SlurmJob:
    """Read one job as squeue prints it.

    Raises
    ------
    ValueError
        Fields are missing.
    """
    fields = _fields(record, QUEUE_FIELDS)
    state = _state(fields["State"])
    code, number = _exit(fields["exit_code"])
    return _job(
        fields,
        state,
        job_id=fields["JobArrayID"],
        name=fields["Name"],
        exit_code=code if state in ENDED else None,
        signal=number if state in ENDED else None,
        submitted=_time(fields["SubmitTime"]),
        started=_time(fields["StartTime"]),
        ended=_time(fields["EndTime"]),
        elapsed=clock_seconds(fields["TimeUsed"]),
        walltime=clock_seconds(fields["TimeLimit"]),
        memory_asked=_memory_of_node(fields["tres-alloc"], fields["NumNodes"]),
        restarts=_count(fields["RestartCnt"]) or 0,
    )


def jobs_of_accounting(records: list[str], *, with_restarts: bool) -> dict[str, SlurmJob]:
    """Read jobs and their steps as sacct prints them.

    Parameters
    ----------
    records
        One line for each job and for each step, a job before its steps.
    with_restarts
        Whether they have the field "Restarts".

    Raises
    ------
    ValueError
        Fields are missing, or a step comes without its job.
    """
    names = [*ACCOUNT_FIELDS, *(["Restarts"] if with_restarts else []), "JobName"]
    jobs: dict[str, SlurmJob] = {}
    for record in records:
        fields = _fields(record, names)
        job_id, _, step = fields["JobIDRaw"].partition(".")
        if not step:
            jobs[job_id] = _accounted(fields, job_id)
            continue
        if job_id not in jobs:
            raise ValueError(f"step {fields['JobIDRaw']} without its job")
        job = jobs[job_id]
        used = [value for value in (job.memory_used, megabytes(fields["MaxRSS"])) if value]
        state = job.state
        if state in ENDED - {"COMPLETED"} and _state(fields["State"]) == "OUT_OF_MEMORY":
            state = "OUT_OF_MEMORY"
        jobs[job_id] = job.model_copy(update={"memory_used": max(used, default=None), "state": state})
    return jobs


def _accounted(fields: dict[str, str], job_id: str) -> SlurmJob:
    state = _state(fields["State"])
    code, number = _exit(fields["ExitCode"])
    limit = _count(fields["TimelimitRaw"])
    by = re.match(r"CANCELLED by (\S+)", fields["State"])
    elapsed = _count(fields["ElapsedRaw"])
    nodes = fields["NNodes"]
    return _job(
        fields,
        state,
        job_id=job_id,
        name=fields["JobName"],
        exit_code=code if state in ENDED else None,
        signal=number if state in ENDED else None,
        submitted=_time(fields["Submit"]),
        started=_time(fields["Start"]),
        ended=_time(fields["End"]),
        elapsed=None if elapsed is None else float(elapsed),
        walltime=None if limit is None else limit * 60.0,
        memory_asked=_memory_of_node(fields["AllocTRES"], nodes) or _memory_of_node(fields["ReqTRES"], nodes),
        memory_used=megabytes(fields["MaxRSS"]) or None,
        restarts=_count(fields.get("Restarts", "")) or 0,
        cancelled_by=by[1] if by else None,
    )


def _job(fields: dict[str, str], state: str, **values: Any) -> SlurmJob:
    """Leave out what SLURM only expects, such as the start of a job that waits."""
    if state in WAITING:
        values["started"] = None
    if state not in ENDED:
        values["ended"] = None
    reason = fields["Reason"].strip("()")
    nodes = fields["NodeList"]
    return SlurmJob(
        state=state,
        reason="" if reason in {"None", "N/A"} else reason,
        nodes="" if nodes in {"None assigned", "None", "(null)", "N/A"} else nodes,
        **values,
    )


def _fields(record: str, names: list[str]) -> dict[str, str]:
    values = record.split(SEPARATOR, len(names) - 1)
    if len(values) != len(names) or not values[0] or not values[1]:
        raise ValueError(f"{len(values)} of {len(names)} fields: {record!r}")
    return dict(zip(names, (value.strip() for value in values), strict=True))


def _state(text: str) -> str:
    """SLURM's word for a state: sacct adds who cancelled, and marks what was cut off with a plus."""
    return text.split(" ", 1)[0].rstrip("+*").upper()


def _exit(text: str) -> tuple[int | None, int | None]:
    """Read ``code:signal``, or the two in one number as from wait(2)."""
    if text.isdecimal():
        code, number = int(text) >> 8 & 0xFF, int(text) & 0x7F
    elif match := re.match(r"^(\d+):(\d+)", text):
        code, number = int(match[1]), int(match[2])
    else:
        return None, None
    return code, number if 0 < number <= _MAX_SIGNAL else None


def _time(text: str) -> datetime | None:
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() and int(text) else None


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def clock_seconds(text: str) -> float | None:
    """Read ``D-HH:MM:SS`` or a shorter form, in s; None for words such as UNLIMITED, INVALID or Partition_Limit."""
    match = _CLOCK.match(text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(days * DAY + hours * HOUR + minutes * MINUTE + seconds)


def megabytes(text: str) -> float | None:
    """Read a size such as ``3332K`` or ``2.5G``, in MB; one without a unit is in bytes."""
    match = _SIZE.match(text)
    return float(match[1]) * _MEGABYTES[match[2]] if match else None


def _memory_of_node(tres: str, nodes: str) -> float | None:
    found = _TRES_MEMORY.search(tres)
    total = megabytes(found[1]) if found else None
    return total / max(1, _count(nodes.partition("-")[0]) or 1) if total else None
