"""Jobs as rows of a list: what their launches, SLURM jobs and results say is beside what FireWorks says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from hts_flows.stores.allocations import token_of
from hts_flows.stores.times import UtcTime, as_utc

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: What of a job's document its row is made from; never its tasks, which are large.
JOB_FIELDS = {"_id": 0, "fw_id": 1, "name": 1, "state": 1, "launches": 1, "created_on": 1, "updated_on": 1}
JOB_FIELDS |= {"spec.hts": 1, "spec._priority": 1}


class JobRow(BaseModel):
    """One job of a list."""

    fw_id: int = Field(description="FireWorks id")
    name: str = Field(description="Name of the job")
    state: str = Field(description="FireWorks' state")
    campaigns: list[str] = Field(default=[], description="Campaigns that want it")
    result: str | None = Field(default=None, description="Key of the result it belongs to")
    label: str | None = Field(default=None, description="Name of the candidate, for people")
    engine: str | None = Field(default=None, description="Name of the engine")
    job: str | None = Field(default=None, description="calculate, or record")
    pool: str | None = Field(default=None, description="Kind of work")
    priority: float | None = Field(default=None, description="Higher ones are taken first")
    created_at: UtcTime | None = Field(default=None, description="When it was added (UTC)")
    updated_at: UtcTime | None = Field(default=None, description="When it changed last (UTC)")
    worker: str | None = Field(default=None, description="FireWorks name of the worker that has or had it")
    host: str | None = Field(default=None, description="Machine it runs or ran on")
    folder: str | None = Field(default=None, description="Folder it runs or ran in")
    cluster: str | None = Field(default=None, description="Cluster, where SLURM started its worker")
    slurm_job: str | None = Field(default=None, description="SLURM's job id")
    run_time: float | None = Field(default=None, description="How long it ran, or has been running, s")
    attempt: int | None = Field(default=None, description="Which run of its result is the latest; 1: the first")
    lost: int = Field(default=0, description="How many workers died with it")


def as_time(value: Any) -> datetime | None:
    """Read a time of FireWorks, which stores some as times and some as texts."""
    try:
        stamp = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return as_utc(stamp) if isinstance(stamp, datetime) else None


def run_time(launch: Mapping[str, Any], *, until: datetime | None = None) -> float | None:
    """Tell how long a launch ran or has been running, s; None where it has not begun.

    Parameters
    ----------
    launch
        Its document.
    until
        Until when one runs that has not ended; now when left out.
    """
    begun, ended = as_time(launch.get("time_start")), as_time(launch.get("time_end"))
    if begun is None:
        return None
    if ended is None and launch.get("state") != "RUNNING":
        return None
    return max(0.0, ((ended or until or datetime.now(UTC)) - begun).total_seconds())


def job_rows(database: Database, documents: list[dict[str, Any]]) -> list[JobRow]:
    """Add to some jobs what their launches, allocations and results say: one query each.

    Parameters
    ----------
    database
        Where they are.
    documents
        Documents of the jobs, with :data:`JOB_FIELDS`.
    """
    latest = {document["fw_id"]: max(document["launches"], default=None) for document in documents}
    launches = _by_key(
        database,
        "launches",
        "launch_id",
        list(latest.values()),
        {"state": 1, "fworker.name": 1, "host": 1, "launch_dir": 1, "time_start": 1, "time_end": 1},
    )
    workers = {fw_id: _worker(launches.get(launch_id)) for fw_id, launch_id in latest.items()}
    marks = {document["fw_id"]: document["spec"].get("hts") or {} for document in documents}
    for fw_id, mark in marks.items():
        workers[fw_id] = workers[fw_id] or mark.get("taken")
    tokens = [token_of(worker) for worker in workers.values() if worker]
    allocations = _by_key(database, "allocations", "_id", tokens, {"cluster": 1, "job_id": 1})
    keys = [mark.get("result") for mark in marks.values()]
    counted = {"label": 1, "attempts": {"$size": {"$ifNull": ["$attempts", []]}}}
    results = _by_key(database, "results", "_id", keys, counted)
    stamp = datetime.now(UTC)
    rows = []
    for document in documents:
        fw_id = document["fw_id"]
        mark, launch, worker = marks[fw_id], launches.get(latest[fw_id]) or {}, workers[fw_id]
        allocation = allocations.get(token_of(worker) if worker else None) or {}
        result = results.get(mark.get("result")) or {}
        rows.append(
            JobRow(
                fw_id=fw_id,
                name=document["name"],
                state=document["state"],
                **{name: mark.get(name) for name in ("result", "engine", "job", "pool")},
                campaigns=mark.get("campaigns") or [],
                label=result.get("label"),
                priority=document["spec"].get("_priority"),
                created_at=as_time(document.get("created_on")),
                updated_at=as_time(document.get("updated_on")),
                worker=worker,
                host=launch.get("host"),
                folder=launch.get("launch_dir"),
                cluster=allocation.get("cluster"),
                slurm_job=allocation.get("job_id"),
                run_time=run_time(launch, until=stamp),
                attempt=result["attempts"] + 1 if result else None,
                lost=mark.get("lost") or 0,
            )
        )
    return rows


def _worker(launch: dict[str, Any] | None) -> str | None:
    return ((launch or {}).get("fworker") or {}).get("name")


def _by_key(
    database: Database, collection: str, key: str, values: list[Any], projection: dict[str, Any]
) -> dict[Any, dict[str, Any]]:
    """Read some documents with one query, each by its key; asked also for none, so that queries can be counted."""
    wanted = [value for value in dict.fromkeys(values) if value is not None]
    found = database.mongo[collection].find({key: {"$in": wanted}}, {key: 1, **projection})
    return {document[key]: document for document in found}
