"""Allocations: one document for each SLURM job that was submitted, or was about to be."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, IndexModel

from hts_flows.stores.times import UtcTime

ALLOCATION_INDEXES = [
    IndexModel([("cluster", ASCENDING), ("state", ASCENDING)]),
    IndexModel([("job_id", ASCENDING)]),
]
#: Before every name of a SLURM job, so that they are found in the queue.
JOB_NAME_PREFIX = "hts-"
#: Before every FireWorks worker name inside an allocation.
WORKER_PREFIX = "slurm:"

#: submitting: sbatch may or may not have been reached; queued: waiting or running; ended: settled.
AllocationState = Literal["submitting", "queued", "ended"]


class Death(BaseModel):
    """A worker process that did not end by itself."""

    model_config = ConfigDict(extra="ignore")

    worker: str = Field(description="FireWorks worker name of the process")
    exit_code: int = Field(description="Exit code; negative: the signal that ended it")
    out_of_memory: bool = Field(description="Whether the kernel killed it for want of memory")
    memory_used: float | None = Field(default=None, description="Most memory it held, MB")
    node: str = Field(description="Node it ran on")
    at: UtcTime = Field(description="When it was seen (UTC)")


class Allocation(BaseModel):
    """One SLURM job: a single evaluation, or a pilot that works through many jobs."""

    model_config = ConfigDict(extra="ignore")

    token: str = Field(default_factory=lambda: uuid.uuid4().hex[:12], description="Key; part of the SLURM job's name")
    cluster: str = Field(description="Name of the cluster in the settings")
    kind: Literal["single", "pilot"] = Field(description="One evaluation, or many")
    pool: str = Field(description="Kind of work: engine and resources; see spec.hts.pool of the jobs")
    engine: str = Field(description="Name of the engine")
    resources: dict[str, Any] = Field(description="What the SLURM job asked for")
    result: str | None = Field(default=None, description="Key of the single evaluation's result")
    fw_id: int | None = Field(default=None, description="FireWorks job reserved for it")
    folder: str = Field(description="Folder of the script, queue.out and queue.err, on the cluster")
    state: AllocationState = Field(default="submitting", description="submitting, queued or ended")
    job_id: str | None = Field(default=None, description="SLURM's job id")
    owner: str = Field(description="Launcher that submitted it, host:pid:start")
    created_at: UtcTime = Field(description="When it was claimed (UTC)")
    seen_at: UtcTime | None = Field(default=None, description="When SLURM last knew it (UTC)")
    restarts: int = Field(default=0, description="How often SLURM started it again")
    done: int = Field(default=0, description="FireWorks jobs its workers have run")
    deaths: list[Death] = Field(default_factory=list, description="Workers that did not end by themselves")
    deaths_settled: int = Field(default=0, description="How many of the deaths were settled")
    slurm: dict[str, Any] | None = Field(default=None, description="What SLURM last said of it")
    problem: str | None = Field(default=None, description="Why it did no work, for people")

    @property
    def job_name(self) -> str:
        """Name of the SLURM job."""
        return JOB_NAME_PREFIX + self.token

    def document(self) -> dict[str, Any]:
        """Give it as it is stored."""
        return self.model_dump(mode="python", exclude={"token"}) | {"_id": self.token}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Allocation:
        """Read a stored document."""
        return cls.model_validate(document | {"token": document["_id"]})


def worker_name(token: str, restart: int, owner: str) -> str:
    """Name a worker process of an allocation for FireWorks: ``slurm:token:restart:host:pid:start``."""
    return f"{WORKER_PREFIX}{token}:{restart}:{owner}"


def token_of(worker: str) -> str | None:
    """Token of the allocation that a FireWorks worker belongs to; None for workers outside SLURM."""
    return worker.split(":")[1] if worker.startswith(WORKER_PREFIX) else None


def restart_of(worker: str) -> int:
    """How often SLURM had started the allocation again when this worker was started."""
    return int(worker.split(":")[2])
