"""Resubmitting what failed: a plan to look at, its token to agree with, and taking it back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from hts_flows.dashboard.access.sessions import Session
from hts_flows.dashboard.dependencies import Db, Operator, Running
from hts_flows.dashboard.problems import CHANGING, NAMED, ChangedError, ForbiddenError, NotFoundError
from hts_flows.errors import InputError
from hts_flows.launch.cancelling import cancel_slurm_jobs
from hts_flows.launch.editable import COMMANDS
from hts_flows.launch.resource_edits import OPTIONS
from hts_flows.launch.resubmission import Resubmission, Resubmitted, plan_resubmission, resubmit
from hts_flows.launch.undo import Undone, find_resubmission, undo
from hts_flows.stores.database import Database

router = APIRouter(tags=["resubmissions"])


class Selection(BaseModel):
    """Which failed results are meant: all of those for which everything that is given holds."""

    model_config = ConfigDict(extra="forbid")

    campaigns: list[str] = Field(default=[], max_length=100, description="Names of campaigns; empty: all")
    ids: list[str] = Field(
        default=[], max_length=10_000, description="Candidate ids, unique beginnings of them, or labels; empty: all"
    )
    cause: str | None = Field(default=None, description="Only those that failed for this cause")
    engine: str | None = Field(default=None, description="Only those of this engine")
    error: str | None = Field(
        default=None, max_length=500, description="Only those whose message or evidence this regular expression finds"
    )


class Edits(BaseModel):
    """What they run with next; what is not named stays."""

    model_config = ConfigDict(extra="forbid")

    resources: dict[str, Any] = Field(
        default={}, description=f"New values of {', '.join(OPTIONS)}; walltime x2, +30min or 4h, memory x2, +4G or 8G"
    )
    settings: dict[str, Any] = Field(
        default={}, description="New values of engine settings that say how a result is reached, e.g. steps"
    )


class PlanRequest(BaseModel):
    """A resubmission to look at."""

    model_config = ConfigDict(extra="forbid")

    selection: Selection = Field(description="Which results")
    edits: Edits = Field(default=Edits(), description="What changes")


class ResubmissionRequest(PlanRequest):
    """A resubmission that somebody has agreed to."""

    token: str = Field(max_length=200, description="Token of the plan that was agreed to")
    reason: str = Field(default="", max_length=1000, description="Why, for the audit")


class Change(BaseModel):
    """One change."""

    setting: str = Field(description="Name of the setting, or resources.NAME")
    old: Any = Field(description="Value of the failed run; null where it was not set")
    new: Any = Field(description="Value of the next run")


class CountedChange(Change):
    """A change, and how many results it is made to."""

    count: int = Field(description="How many results it is made to")


class PlannedResult(BaseModel):
    """A result that runs again."""

    candidate_id: str = Field(description="Id of the candidate")
    label: str = Field(description="Name for people")
    engine: str = Field(description="Name of the engine")
    cause: str | None = Field(description="Why it failed")
    changes: list[Change] = Field(description="What changes for it")


class Plan(BaseModel):
    """What a resubmission would do."""

    campaigns: list[str] = Field(description="Campaigns that were looked at; empty: all")
    token: str = Field(description="Agree to exactly this plan by sending it back")
    results: list[PlannedResult] = Field(description="What runs again")
    diff: list[CountedChange] = Field(description="Equal changes gathered, the most frequent first")
    notes: list[str] = Field(description="What to know before saying yes")


class Outcome(BaseModel):
    """What came of a resubmission."""

    audit: str | None = Field(description="Its id in the audit; null when nothing was resubmitted")
    keys: list[str] = Field(description="Keys of the results that run again")
    refused: list[str] = Field(description="Labels of results that have changed meanwhile and were left alone")
    added: int = Field(description="Calculations queued")


class UndoOutcome(BaseModel):
    """What came of taking a resubmission back."""

    audit: str | None = Field(description="Id of the undoing in the audit; null when nothing could be taken back")
    resubmission: str = Field(description="What was taken back")
    keys: list[str] = Field(description="Keys of results that are again as they were")
    kept: dict[str, str] = Field(description="Keys of results that stay as they are, each with the reason")
    problems: list[str] = Field(description="SLURM jobs that could not be cancelled; they find no work and end")


def make_plan(dashboard: Running, database: Database, selection: Selection, edits: Edits) -> Resubmission:
    """Plan a resubmission.

    Raises
    ------
    InputError
        An unknown campaign, candidate, cause, engine, setting or resource, or a value that cannot be.
    ForbiddenError
        A command that a shell would run.
    """
    from hts_flows.stores.campaigns import check_names

    check_names(database, selection.campaigns)
    for name in [*(set(edits.resources) - set(OPTIONS)), *(set(edits.settings) & COMMANDS)]:
        if name in COMMANDS | {"modules", "pre_commands", "sbatch"}:
            raise ForbiddenError(
                f"{name} is run by a shell of the cluster, so it cannot be changed from here",
                "change it on the machine of the campaign: hts resubmit --set",
            )
    return plan_resubmission(
        database,
        selection.campaigns,
        ids=selection.ids,
        cause=selection.cause,
        engine=selection.engine,
        error=selection.error,
        settings=edits.settings,
        resources=edits.resources,
        clusters=dashboard.settings.clusters,
    )


def carry_out(
    dashboard: Running, database: Database, request: ResubmissionRequest, session: Session
) -> tuple[Resubmission, Resubmitted]:
    """Carry out a resubmission that somebody has agreed to.

    Raises
    ------
    ChangedError
        The plan is another one by now.
    """
    plan = make_plan(dashboard, database, request.selection, request.edits)
    if plan.token != request.token:
        raise ChangedError("the results have changed since the plan was made", "look at the new plan and agree to it")
    return plan, resubmit(database, plan, user=session.user, reason=request.reason, token=request.token)


def take_back(dashboard: Running, database: Database, audit: str, session: Session) -> tuple[Undone, list[str]]:
    """Take back what a resubmission queued and nobody has started.

    Returns
    -------
    Undone
        What was taken back, and what stays.
    list of str
        SLURM jobs that could not be cancelled, in words.

    Raises
    ------
    NotFoundError, ChangedError
        There is no such resubmission, or it was taken back already.
    """
    if database.audit.find_one({"_id": audit, "action": "resubmit"}, {"_id": 1}) is None:
        raise NotFoundError(f"no resubmission {audit!r} in the audit", "the page 'Audit' lists them")
    try:
        resubmission = find_resubmission(database, audit=audit)
    except InputError as error:
        raise ChangedError(error.message, error.hint) from error
    outcome = undo(database, resubmission, user=session.user)
    return outcome, cancel_slurm_jobs(dashboard.settings, outcome.slurm_jobs)


@router.post("/resubmissions/plan", responses={**CHANGING, **NAMED})
def plan(request: PlanRequest, dashboard: Running, database: Db, operator: Operator) -> Plan:
    """Say what a resubmission would do. Changes nothing."""
    del operator
    return Plan.model_validate(make_plan(dashboard, database, request.selection, request.edits).as_object())


@router.post("/resubmissions", responses={**CHANGING, **NAMED})
def apply(request: ResubmissionRequest, dashboard: Running, database: Db, operator: Operator) -> Outcome:
    """Resubmit what a plan says, unless the results have changed since it was made."""
    return Outcome.model_validate(vars(carry_out(dashboard, database, request, operator)[1]))


@router.post("/resubmissions/{audit}/undo", responses={**CHANGING, **NAMED})
def undo_resubmission(
    audit: Annotated[str, Path(max_length=100)], dashboard: Running, database: Db, operator: Operator
) -> UndoOutcome:
    """Take back what a resubmission queued and nobody has started."""
    outcome, problems = take_back(dashboard, database, audit, operator)
    return UndoOutcome(
        audit=outcome.audit,
        resubmission=outcome.resubmission,
        keys=outcome.keys,
        kept=outcome.kept,
        problems=problems,
    )
