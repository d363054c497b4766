"""Pausing, resuming, cancelling, giving a priority: see what it would do, agree, follow."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from hts_flows.dashboard.api.queue_actions import QueuePlanRequest, QueueRequest, carry_out, make_plan
from hts_flows.dashboard.dependencies import Db, Operator, Running
from hts_flows.dashboard.forms import FormData
from hts_flows.dashboard.naming import campaign_named
from hts_flows.dashboard.problems import ChangedError, NotFoundError
from hts_flows.dashboard.templating import page
from hts_flows.errors import InputError, nearest
from hts_flows.launch.prioritizing import HIGHEST, LEVELS, LOWEST
from hts_flows.launch.queued import Action, QueuedOutcome, QueuedPlan
from hts_flows.stores.database import Database

router = APIRouter()

ActionName = Annotated[str, Path(max_length=20)]
_DONE = {"pause": "paused", "resume": "go on", "cancel": "cancelled", "priority": "have another priority"}


@router.get("/queue/{action}")
def show(
    request: Request,
    action: ActionName,
    database: Db,
    operator: Operator,
    campaign: Annotated[list[str] | None, Query(max_length=100)] = None,
    candidate: Annotated[list[str] | None, Query(alias="id", max_length=10_000)] = None,
    engine: Annotated[str | None, Query(max_length=300)] = None,
    priority: Annotated[str, Query(max_length=20)] = "high",
    number: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show what an action would do, and ask."""
    del operator
    known = _known(action)
    for name in campaign or []:
        campaign_named(database, name)
    wanted = QueuePlanRequest(
        campaigns=campaign or [],
        ids=candidate or [],
        engine=engine or None,
        priority=(number.strip() or priority) if known == "priority" else None,
    )
    return _page(request, database, known, wanted)


@router.post("/queue/{action}")
def apply(
    request: Request, action: ActionName, dashboard: Running, database: Db, operator: Operator, form: FormData
) -> Response:
    """Do it, then follow what becomes of it; where more has been queued since, show the new plan."""
    known = _known(action)
    wanted = _agreed(known, form)
    try:
        outcome, problems = carry_out(dashboard, database, known, wanted, operator)
    except ChangedError:
        notice = "More has been queued since this was shown, so nothing was done; this is the new plan."
        return _page(request, database, known, wanted, notice=notice)
    if outcome.audit is None:
        notice = "There was nothing left to do: what was meant has started, ended or changed at this moment."
        return _page(request, database, known, wanted, notice=notice)
    operator.say(_told(outcome, problems))
    return RedirectResponse(f"/audit/{outcome.audit}", status_code=303)


def _agreed(action: Action, form: FormData) -> QueueRequest:
    """Read what somebody agrees to."""
    try:
        return QueueRequest(
            campaigns=form.all("campaign"),
            ids=form.all("id"),
            engine=form.one("engine") or None,
            priority=(form.one("priority") or None) if action == "priority" else None,
            token=form.one("token"),
            reason=form.one("reason")[:1000],
        )
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _known(action: str) -> Action:
    names: tuple[Action, ...] = get_args(Action)
    for name in names:
        if name == action:
            return name
    raise NotFoundError(f"nothing named {action!r} can be done with the queue; {nearest(action, names)}")


def _page(request: Request, database: Database, action: Action, wanted: QueuePlanRequest, notice: str = "") -> Response:
    problem = None
    try:
        plan = make_plan(database, action, wanted)
    except InputError as error:
        if wanted.priority is None:
            raise
        problem, plan = error, make_plan(database, action, wanted.model_copy(update={"priority": "normal"}))
    context = _context(plan, wanted) | {"notice": notice, "problem": problem}
    return page(request, "queue_action.html", context, status=422 if problem else 200)


def _context(plan: QueuedPlan, wanted: QueuePlanRequest) -> dict[str, Any]:
    left: dict[str, list[str]] = defaultdict(list)
    for one in plan.left:
        left[one.reason].append(one.label)
    return {
        "plan": plan,
        "wanted": wanted,
        "reason": getattr(wanted, "reason", ""),
        "left": sorted(left.items(), key=lambda item: -len(item[1])),
        "priorities": sorted({value for result in plan.results for value in result.priorities}),
        "levels": LEVELS,
        "lowest": LOWEST,
        "highest": HIGHEST,
    }


def _told(outcome: QueuedOutcome, problems: list[str]) -> str:
    words = [f"campaign {name} {'is paused' if outcome.action == 'pause' else 'goes on'}" for name in outcome.campaigns]
    words.append(f"{len(outcome.keys)} calculations {_DONE[outcome.action]}")
    if outcome.ending:
        words.append(f"{len(outcome.ending)} fail when their SLURM jobs, which are cancelled, have ended")
    words += [f"{count} left alone: {reason}" for reason, count in outcome.reasons.items()]
    return ". ".join([*words, *problems])
