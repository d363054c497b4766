"""What a person does with queued work: pause, resume, cancel, give a priority; a plan to look at comes first."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from hts_flows.dashboard.access.sessions import Session
from hts_flows.dashboard.dependencies import Db, Operator, Running
from hts_flows.dashboard.problems import CHANGING, ChangedError
from hts_flows.errors import InputError
from hts_flows.launch.cancelling import cancel, cancel_slurm_jobs, plan_cancel
from hts_flows.launch.holding import pause, plan_pause, plan_resume, resume
from hts_flows.launch.prioritizing import HIGHEST, LEVELS, LOWEST, plan_priority, prioritize
from hts_flows.launch.queued import Action, QueuedOutcome, QueuedPlan, QueuedSelection
from hts_flows.stores.database import Database

router = APIRouter(tags=["queue"])

_PLANS = {"pause": plan_pause, "resume": plan_resume, "cancel": plan_cancel}
_ACTS = {"pause": pause, "resume": resume, "cancel": cancel, "priority": prioritize}


class QueuePlanRequest(BaseModel):
    """What is to be done with queued results: all of those for which everything that is given holds."""

    model_config = ConfigDict(extra="forbid")

    campaigns: list[str] = Field(
        default=[], max_length=100, description="Names of campaigns; empty: all. A whole one is paused and resumed"
    )
    ids: list[str] = Field(
        default=[], max_length=10_000, description="Candidate ids, unique beginnings of them, or labels; empty: all"
    )
    engine: str | None = Field(default=None, max_length=300, description="Only those of this engine")
    priority: str | int | None = Field(
        default=None,
        description=f"For the action priority: {', '.join(LEVELS)}, or {LOWEST} to {HIGHEST}; others take none",
    )


class QueueRequest(QueuePlanRequest):
    """What somebody has agreed to."""

    token: str = Field(max_length=200, description="Token of the plan that was agreed to")
    reason: str = Field(default="", max_length=1000, description="Why, for the audit")


class QueuedOne(BaseModel):
    """A queued result that is touched."""

    key: str = Field(description="Key of the result")
    candidate_id: str = Field(description="Id of the candidate")
    label: str = Field(description="Name for people")
    engine: str = Field(description="Name of the engine")
    campaigns: list[str] = Field(description="Campaigns that want it")


class LeftAlone(BaseModel):
    """A queued result that is left as it is."""

    key: str = Field(description="Key of the result")
    label: str = Field(description="Name for people")
    reason: str = Field(description="Why")


class QueueActionPlan(BaseModel):
    """What an action would do."""

    action: Action = Field(description="pause, resume, cancel or priority")
    token: str = Field(
        description="Agree to this by sending it back; it holds still when some of the results have started or ended"
    )
    campaigns: list[str] = Field(description="Campaigns that are paused or resumed as a whole")
    priority: int | None = Field(description="The new priority")
    results: list[QueuedOne] = Field(description="Results that are touched, by label")
    left: list[LeftAlone] = Field(description="Those that were meant and are left as they are")
    notes: list[str] = Field(description="What to know before saying yes")


class QueueOutcome(BaseModel):
    """What an action did."""

    action: Action = Field(description="pause, resume, cancel or priority")
    audit: str | None = Field(description="Its id in the audit; null when there was nothing to do")
    campaigns: list[str] = Field(description="Campaigns that were paused or resumed as a whole")
    keys: list[str] = Field(description="Keys of the results that it was done to")
    ending: list[str] = Field(description="Keys of results that fail as soon as their SLURM job has ended")
    left: list[LeftAlone] = Field(description="Those that were meant and are as they were")
    problems: list[str] = Field(description="SLURM jobs that could not be cancelled; they find no work and end")


def make_plan(database: Database, action: Action, request: QueuePlanRequest) -> QueuedPlan:
    """Plan an action.

    Raises
    ------
    InputError
        An unknown campaign, engine or candidate, or a priority that cannot be, is missing, or makes no sense here.
    """
    selection = QueuedSelection(tuple(request.campaigns), tuple(request.ids), request.engine)
    if action == "priority":
        if request.priority is None:
            raise InputError("priority: missing", f"{', '.join(LEVELS)}, or a number from {LOWEST} to {HIGHEST}")
        return plan_priority(database, selection, request.priority)
    if request.priority is not None:
        raise InputError(f"priority {request.priority!r}: {action} takes none", "leave it out, or ask for 'priority'")
    return _PLANS[action](database, selection)


def carry_out(
    dashboard: Running, database: Database, action: Action, request: QueueRequest, session: Session
) -> tuple[QueuedOutcome, list[str]]:
    """Do what somebody has agreed to.

    Returns
    -------
    QueuedOutcome
        What was done.
    list of str
        SLURM jobs that could not be cancelled, in words.

    Raises
    ------
    ChangedError
        It would touch more than was agreed to.
    """
    plan = make_plan(database, action, request)
    try:
        plan.check(action, request.token)
    except InputError as error:
        raise ChangedError(error.message, error.hint) from error
    outcome = _ACTS[action](database, plan, user=session.user, reason=request.reason)
    return outcome, cancel_slurm_jobs(dashboard.settings, outcome.slurm_jobs)


def _left(found: QueuedPlan | QueuedOutcome) -> list[dict[str, Any]]:
    return [one._asdict() for one in found.left]


@router.post("/queue/{action}/plan", responses=CHANGING)
def plan(action: Action, request: QueuePlanRequest, database: Db, operator: Operator) -> QueueActionPlan:
    """Say what an action would do. Changes nothing."""
    del operator
    made = make_plan(database, action, request)
    fields = ("key", "candidate_id", "label", "engine", "campaigns")
    return QueueActionPlan.model_validate(
        {
            "action": action,
            "token": made.token,
            "campaigns": made.campaigns,
            "priority": made.value,
            "results": [{name: getattr(result, name) for name in fields} for result in made.results],
            "left": _left(made),
            "notes": made.notes,
        }
    )


@router.post("/queue/{action}", responses=CHANGING)
def apply(action: Action, request: QueueRequest, dashboard: Running, database: Db, operator: Operator) -> QueueOutcome:
    """Do what a plan says, unless more has been queued since it was made."""
    outcome, problems = carry_out(dashboard, database, action, request, operator)
    names = ("action", "audit", "campaigns", "keys", "ending")
    return QueueOutcome.model_validate(
        {name: getattr(outcome, name) for name in names} | {"left": _left(outcome), "problems": problems}
    )
