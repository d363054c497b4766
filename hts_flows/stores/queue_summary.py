"""What the queue looks like now: jobs by state, who works on what, what SLURM has, and what waits longest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pymongo import DESCENDING

from hts_flows.slurm.jobs import WAITING
from hts_flows.stores.allocations import token_of
from hts_flows.stores.job_rows import as_time, run_time
from hts_flows.stores.jobs import Among, JobState, count_jobs
from hts_flows.stores.times import UtcTime

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: Workers that are listed unless fewer are asked for; the others are counted.
MOST_WORKERS = 200


class WorkerRow(BaseModel):
    """A worker, and the job it is running."""

    worker: str = Field(description="FireWorks name of the worker")
    host: str | None = Field(default=None, description="Machine it is on")
    since: UtcTime | None = Field(default=None, description="When it began the job (UTC)")
    run_time: float | None = Field(default=None, description="How long the job has been running, s")
    fw_id: int = Field(description="FireWorks id of the job")
    name: str | None = Field(default=None, description="Name of the job")
    engine: str | None = Field(default=None, description="Name of the engine")
    result: str | None = Field(default=None, description="Key of the job's result")
    allocation: str | None = Field(default=None, description="Key of the SLURM job it was started in; None: no SLURM")


class AllocationCount(BaseModel):
    """SLURM jobs of one cluster that have not ended."""

    cluster: str = Field(description="Name of the cluster")
    submitting: int = Field(default=0, description="About to be submitted, or not yet seen by SLURM")
    queued: int = Field(default=0, description="Waiting in SLURM's queue")
    running: int = Field(default=0, description="Running")


class WaitingJob(BaseModel):
    """A job that is ready and that nobody has taken."""

    fw_id: int = Field(description="FireWorks id")
    name: str = Field(description="Name of the job")
    created_at: UtcTime | None = Field(default=None, description="When it was added (UTC)")


class QueueSummary(BaseModel):
    """The queue at one moment."""

    at: UtcTime = Field(description="That moment (UTC)")
    states: dict[JobState, int] = Field(description="Jobs by state")
    workers: list[WorkerRow] = Field(description=f"Workers that run a job, latest first, {MOST_WORKERS} at most")
    workers_left_out: int = Field(default=0, description="Workers that are not listed")
    allocations: list[AllocationCount] = Field(description="SLURM jobs that have not ended, by cluster")
    oldest_ready: WaitingJob | None = Field(default=None, description="The job that has been ready longest, by its id")


def queue_summary(database: Database, total: int | None = None, most_workers: int = MOST_WORKERS) -> QueueSummary:
    """Look at the queue.

    A worker is listed while the database has a launch of it that runs: of one that was killed, until that is noticed.

    Parameters
    ----------
    database
        Where the jobs are.
    total
        How many jobs there are, where that is known.
    most_workers
        How many workers are listed, at most; the others are counted.
    """
    stamp = datetime.now(UTC)
    running = database.mongo["launches"].count_documents({"state": "RUNNING"})
    workers = _workers(database, stamp, most_workers)
    ready = database.mongo["fireworks"].find_one(
        {"state": "READY"}, {"fw_id": 1, "name": 1, "created_on": 1}, sort=[("fw_id", 1)]
    )
    return QueueSummary(
        at=stamp,
        states=count_jobs(database, among=Among(total=total)),
        workers=workers,
        workers_left_out=max(0, running - len(workers)),
        allocations=_allocations(database),
        oldest_ready=WaitingJob(fw_id=ready["fw_id"], name=ready["name"], created_at=as_time(ready.get("created_on")))
        if ready
        else None,
    )


def _workers(database: Database, stamp: datetime, most: int) -> list[WorkerRow]:
    launches = list(
        database.mongo["launches"]
        .find(
            {"state": "RUNNING"},
            {"launch_id": 1, "fw_id": 1, "state": 1, "fworker.name": 1, "host": 1, "time_start": 1, "time_end": 1},
        )
        .sort("launch_id", DESCENDING)
        .limit(most)
    )
    fireworks = database.mongo["fireworks"].find(
        {"fw_id": {"$in": [launch["fw_id"] for launch in launches]}}, {"fw_id": 1, "name": 1, "spec.hts": 1}
    )
    jobs: dict[int, dict[str, Any]] = {job["fw_id"]: job for job in fireworks}
    rows = []
    for launch in launches:
        job = jobs.get(launch["fw_id"]) or {}
        mark = (job.get("spec") or {}).get("hts") or {}
        worker = (launch.get("fworker") or {}).get("name") or ""
        rows.append(
            WorkerRow(
                worker=worker,
                host=launch.get("host"),
                since=as_time(launch.get("time_start")),
                run_time=run_time(launch, until=stamp),
                fw_id=launch["fw_id"],
                name=job.get("name"),
                engine=mark.get("engine"),
                result=mark.get("result"),
                allocation=token_of(worker),
            )
        )
    return rows


def _allocations(database: Database) -> list[AllocationCount]:
    groups = database.allocations.aggregate(
        [
            # Every cluster's name is a text: said so that the index, which begins with it, is used.
            {"$match": {"cluster": {"$gte": ""}, "state": {"$in": ["submitting", "queued"]}}},
            {
                "$group": {
                    "_id": {
                        "cluster": "$cluster",
                        "state": "$state",
                        "slurm": {"$ifNull": ["$slurm.state", "PENDING"]},
                    },
                    "n": {"$sum": 1},
                }
            },
        ]
    )
    counts: dict[str, AllocationCount] = {}
    for group in groups:
        about = group["_id"]
        row = counts.setdefault(about["cluster"], AllocationCount(cluster=about["cluster"]))
        if about["state"] == "submitting":
            row.submitting += group["n"]
        elif about["slurm"] in WAITING:
            row.queued += group["n"]
        else:
            row.running += group["n"]
    return [counts[name] for name in sorted(counts)]
