"""Everything that is known of one job: its workflow, what it was given, what it used, and why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from pymongo import DESCENDING

from hts_flows.errors import InputError
from hts_flows.stores.allocations import Allocation, token_of
from hts_flows.stores.job_graph import JobGraph, lay_out, nearest_nodes, read_links
from hts_flows.stores.job_inputs import JobInputs, job_inputs
from hts_flows.stores.job_rows import as_time, run_time
from hts_flows.stores.results import Attempt, Failure, JobUsage
from hts_flows.stores.times import UtcTime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hts_flows.stores.database import Database

#: Before the name of a resource, where resources and settings are beside each other.
RESOURCES = "resources."
_LARGEST_ID = 2**63
_OF_ATTEMPT = ("state", "failure", "fw_ids", "folder", "finished_at", "settings", "resources")
#: What is read of a result: no structures and no calculations, which are large.
_OF_RESULT = dict.fromkeys(("candidate_id", "label", "formula", "state", "failure", "settings", "resources"), 1)
_OF_RESULT |= dict.fromkeys(("provenance.fw_ids", "provenance.folder", "provenance.finished_at"), 1)
_OF_RESULT |= {f"attempts.{name}": 1 for name in (*_OF_ATTEMPT, "continued_from", "resubmission")}


class JobLaunch(BaseModel):
    """One time that a worker took the job."""

    launch_id: int = Field(description="FireWorks' number of the launch")
    state: str = Field(description="FireWorks' state of the launch")
    worker: str | None = Field(default=None, description="FireWorks name of the worker")
    host: str | None = Field(default=None, description="Machine it ran on")
    folder: str | None = Field(default=None, description="Folder it ran in")
    started_at: UtcTime | None = Field(default=None, description="When it began (UTC)")
    ended_at: UtcTime | None = Field(default=None, description="When it ended (UTC)")
    run_time: float | None = Field(default=None, description="How long it ran, or has been running, s")
    archived: bool = Field(default=False, description="Whether the job was made ready again after it")
    allocation: str | None = Field(default=None, description="Key of the SLURM job it was in; None: no SLURM")


class AttemptColumn(BaseModel):
    """One run of the job's result, to be read beside the others."""

    number: int = Field(description="1 for the first run")
    current: bool = Field(default=False, description="Whether it is the latest run")
    here: bool = Field(default=False, description="Whether the job belongs to it")
    state: str = Field(description="queued, done or failed")
    cause: str | None = Field(default=None, description="Why it failed, one of the causes of failure")
    message: str | None = Field(default=None, description="The error in one line")
    finished_at: UtcTime | None = Field(default=None, description="When it ended (UTC)")
    folder: str | None = Field(default=None, description="Folder it ran in")
    resources: dict[str, Any] = Field(default={}, description="What its SLURM jobs asked for beyond the cluster's")
    settings: dict[str, Any] = Field(
        default={}, description="Settings and resources in which the runs differ; resources begin with 'resources.'"
    )
    usage: JobUsage | None = Field(default=None, description="What its SLURM job used when it failed")
    continued_from: str | None = Field(default=None, description="Folder whose last geometry it started from")
    resubmission: str | None = Field(default=None, description="The resubmission that queued it: its key in the audit")
    fw_ids: list[int] = Field(default=[], description="FireWorks ids of its jobs")


class JobDetail(BaseModel):
    """Everything that is known of one job."""

    fw_id: int = Field(description="FireWorks id")
    name: str = Field(description="Name of the job")
    state: str = Field(description="FireWorks' state")
    job: str | None = Field(default=None, description="calculate, or record")
    engine: str | None = Field(default=None, description="Name of the engine")
    pool: str | None = Field(default=None, description="Kind of work: engine and what its jobs ask of SLURM")
    priority: float | None = Field(default=None, description="Higher ones are taken first")
    campaigns: list[str] = Field(default=[], description="Campaigns that want it")
    created_at: UtcTime | None = Field(default=None, description="When it was added (UTC)")
    updated_at: UtcTime | None = Field(default=None, description="When it changed last (UTC)")
    lost: int = Field(default=0, description="How many workers died with it")
    expected: float | None = Field(default=None, description="How long it was expected to run, s")

    result: str | None = Field(default=None, description="Key of the result it belongs to")
    candidate_id: str | None = Field(default=None, description="Candidate of that result")
    label: str | None = Field(default=None, description="Name of the candidate, for people")
    formula: str | None = Field(default=None, description="Reduced formula")
    result_state: str | None = Field(default=None, description="State of the result: queued, done or failed")
    earlier: bool = Field(default=False, description="Whether a resubmission has replaced the run it belongs to")

    workflow: str | None = Field(default=None, description="Name of the workflow")
    workflow_state: str | None = Field(default=None, description="FireWorks' state of the workflow")
    graph: JobGraph = Field(description="The workflow around the job")

    settings: dict[str, Any] = Field(default={}, description="Every setting of the engine in the job's run")
    inputs: JobInputs = Field(description="What the job is given")
    resources: dict[str, Any] = Field(default={}, description="What it asks of SLURM beyond the cluster's settings")
    asked: dict[str, Any] = Field(default={}, description="What its latest SLURM job asked for")
    used: JobUsage | None = Field(default=None, description="What its latest SLURM job asked for and used")

    launches: list[JobLaunch] = Field(default=[], description="Each time that a worker took it, latest first")
    attempts: list[AttemptColumn] = Field(default=[], description="Runs of its result, oldest first")

    failure: Failure | None = Field(default=None, description="Why the run it belongs to failed")
    traceback: str | None = Field(default=None, description="Python's traceback of the job, where it ended with one")
    allocation: Allocation | None = Field(default=None, description="The latest SLURM job it was in, with its state")


def job_detail(database: Database, fw_id: int) -> JobDetail:
    """Read everything about one job, with six queries however large its workflow is.

    Parameters
    ----------
    database
        Where it is.
    fw_id
        FireWorks id.

    Raises
    ------
    InputError
        There is no such job.
    """
    known = -_LARGEST_ID <= fw_id < _LARGEST_ID
    firework = database.mongo["fireworks"].find_one({"fw_id": fw_id}) if known else None
    if firework is None:
        raise InputError(f"job {fw_id}: there is none with this id", "look for it in the list of jobs, by name")
    spec = firework["spec"]
    mark = spec.get("hts") or {}
    workflow = database.mongo["workflows"].find_one({"nodes": fw_id}, {"links": 1, "name": 1, "state": 1}) or {}
    result = database.results.find_one({"_id": mark.get("result")}, _OF_RESULT) or {}
    archived = firework.get("archived_launches") or []
    stored = list(
        database.mongo["launches"]
        .find({"launch_id": {"$in": [*firework["launches"], *archived]}})
        .sort("launch_id", DESCENDING)
    )
    launches = [_launch(launch, archived=launch["launch_id"] in archived) for launch in stored]
    allocation = _allocation(database, launches, mark)
    attempts, failure, settings = _attempts(result, fw_id)
    return JobDetail(
        fw_id=fw_id,
        name=firework["name"],
        state=firework["state"],
        **{name: mark.get(name) for name in ("job", "engine", "pool", "result")},
        priority=spec.get("_priority"),
        campaigns=mark.get("campaigns") or [],
        created_at=as_time(firework.get("created_on")),
        updated_at=as_time(firework.get("updated_on")),
        lost=mark.get("lost") or 0,
        expected=mark.get("seconds"),
        **{name: result.get(name) for name in ("candidate_id", "label", "formula")},
        result_state=result.get("state"),
        earlier=any(column.here and not column.current for column in attempts),
        workflow=workflow.get("name"),
        workflow_state=workflow.get("state"),
        graph=_graph(database, firework, read_links(workflow.get("links") or {})),
        settings=settings,
        inputs=job_inputs(spec),
        resources=mark.get("resources") or {},
        asked=allocation.resources if allocation else {},
        used=(failure.job if failure else None) or _usage(allocation, launches),
        launches=launches,
        attempts=attempts,
        failure=failure,
        traceback=_traceback(spec, stored),
        allocation=allocation,
    )


def _launch(launch: Mapping[str, Any], *, archived: bool) -> JobLaunch:
    worker = (launch.get("fworker") or {}).get("name")
    return JobLaunch(
        launch_id=launch["launch_id"],
        state=launch["state"],
        worker=worker,
        host=launch.get("host"),
        folder=launch.get("launch_dir"),
        started_at=as_time(launch.get("time_start")),
        ended_at=as_time(launch.get("time_end")),
        run_time=run_time(launch),
        archived=archived,
        allocation=token_of(worker) if worker else None,
    )


def _allocation(database: Database, launches: list[JobLaunch], mark: Mapping[str, Any]) -> Allocation | None:
    """Read the latest SLURM job that a job was in."""
    # One that was taken by a worker that has not begun yet has no launch.
    token = next((launch.allocation for launch in launches if launch.allocation), None)
    token = token or token_of(str(mark.get("taken") or ""))
    document = database.allocations.find_one({"_id": token})
    return Allocation.from_document(document) if document else None


def _graph(database: Database, firework: Mapping[str, Any], links: dict[int, list[int]]) -> JobGraph:
    chosen = nearest_nodes(links, firework["fw_id"])
    found = database.mongo["fireworks"].find({"fw_id": {"$in": chosen}}, {"_id": 0, "fw_id": 1, "name": 1, "state": 1})
    return lay_out(links, {job["fw_id"]: job for job in found}, firework["fw_id"])


def _attempts(result: dict[str, Any], fw_id: int) -> tuple[list[AttemptColumn], Failure | None, dict[str, Any]]:
    """Put the runs of a result beside each other; gives also failure and settings of the one that a job is of."""
    if not result:
        return [], None, {}
    # The latest run has the same fields as the earlier ones, some of them one level down.
    kept = {**(result.get("provenance") or {}), **result}
    now = Attempt.model_validate({name: kept[name] for name in _OF_ATTEMPT if name in kept})
    runs = [*(Attempt.model_validate(attempt) for attempt in result.get("attempts") or []), now]
    values = [run.settings | {RESOURCES + name: value for name, value in (run.resources or {}).items()} for run in runs]
    differing = sorted(
        name
        for name in {name for own in values for name in own}
        if any(own.get(name) != values[0].get(name) for own in values)
    )
    # A job that was added while its workflow ran is in no list: it is of the run whose jobs are nearest before it.
    begun = [number for number, run in enumerate(runs) if run.fw_ids and min(run.fw_ids) <= fw_id]
    mine = next((number for number, run in enumerate(runs) if fw_id in run.fw_ids), begun[-1] if begun else None)
    columns = [
        AttemptColumn(
            number=number + 1,
            current=run is now,
            here=number == mine,
            state=run.state,
            cause=run.failure.cause if run.failure else None,
            message=run.failure.message if run.failure else None,
            finished_at=run.finished_at,
            folder=run.folder or (run.failure.job.folder if run.failure and run.failure.job else None),
            resources=run.resources or {},
            settings={name: values[number].get(name) for name in differing},
            usage=run.failure.job if run.failure else None,
            # An attempt says what replaced it: that is where the next one is from.
            continued_from=runs[number - 1].continued_from if number else None,
            resubmission=runs[number - 1].resubmission if number else None,
            fw_ids=run.fw_ids,
        )
        for number, run in enumerate(runs)
    ]
    if mine is None:
        return columns, None, now.settings
    return columns, runs[mine].failure, runs[mine].settings or now.settings


def _usage(allocation: Allocation | None, launches: list[JobLaunch]) -> JobUsage | None:
    """Say what the SLURM job of the latest launch used, as far as SLURM was asked about it."""
    launch = next((launch for launch in launches if launch.allocation), None)
    if allocation is None or launch is None:
        return None
    told = allocation.slurm or {}
    return JobUsage(
        cluster=allocation.cluster,
        job_id=allocation.job_id,
        **{name: told.get(name) for name in ("state", "exit_code", "signal", "memory_asked", "memory_used")},
        node=told.get("nodes") or launch.host,
        walltime_asked=told.get("walltime"),
        time_used=launch.run_time,
        folder=launch.folder or allocation.folder,
    )


def _traceback(spec: Mapping[str, Any], launches: list[dict[str, Any]]) -> str | None:
    """Find the traceback that FireWorks kept of a job: in the job where it was given there, else in a launch."""
    kept = [spec.get("_exception_details")]
    kept += [((launch.get("action") or {}).get("stored_data") or {}).get("_exception") for launch in launches]
    return next((text for item in kept if isinstance(item, dict) and (text := item.get("_stacktrace"))), None)
