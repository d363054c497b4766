"""Resubmitting: choose, edit, see the difference, agree, follow."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from hts_flows.dashboard.api.resubmissions import (
    Edits,
    ResubmissionRequest,
    Selection,
    carry_out,
    make_plan,
    take_back,
)
from hts_flows.dashboard.dependencies import Db, Operator, Running
from hts_flows.dashboard.forms import FormData
from hts_flows.dashboard.problems import ChangedError, Problem
from hts_flows.dashboard.templating import page
from hts_flows.errors import InputError
from hts_flows.launch.editable import editable_fields
from hts_flows.launch.resubmission import Resubmission
from hts_flows.launch.setting_edits import read_edits

router = APIRouter()

_LONGEST = 300


@router.get("/resubmit")
def choose(
    request: Request,
    dashboard: Running,
    database: Db,
    operator: Operator,
    campaign: Annotated[list[str] | None, Query(max_length=100)] = None,
    candidate: Annotated[list[str] | None, Query(alias="id", max_length=10_000)] = None,
    cause: Annotated[str | None, Query(max_length=_LONGEST)] = None,
    engine: Annotated[str | None, Query(max_length=_LONGEST)] = None,
    error: Annotated[str | None, Query(max_length=_LONGEST)] = None,
) -> Response:
    """Show what was chosen, and the form with what may change; the remedy of the cause is filled in."""
    del operator
    selection = Selection(
        campaigns=campaign or [], ids=candidate or [], cause=cause or None, engine=engine or None, error=error or None
    )
    plan = make_plan(dashboard, database, selection, Edits())
    fields = editable_fields(plan.results, dashboard.settings.clusters)
    values = {f"{field.kind}.{field.name}": field.proposed for field in fields if field.proposed}
    return page(request, "resubmit.html", _context(plan, selection, fields, values))


@router.get("/resubmit/plan")
def no_plan(request: Request, operator: Operator) -> Response:
    """Say that a plan has no address: it belongs to the form that asked for it."""
    del operator
    problem = Problem(error="a plan is not kept", hint="choose again what is to run: the page 'Failures' lists it")
    return page(request, "problem.html", {"problem": problem, "status": 200})


@router.post("/resubmit/plan")
def show_plan(request: Request, dashboard: Running, database: Db, operator: Operator, form: FormData) -> Response:
    """Show what would change; a value that cannot be leads back to the form, which says so."""
    del operator
    return _show_plan(request, dashboard, database, form)


@router.post("/resubmit")
def apply(request: Request, dashboard: Running, database: Db, operator: Operator, form: FormData) -> Response:
    """Resubmit, then follow what becomes of it."""
    selection, edits = _read(form)
    wanted = ResubmissionRequest(
        selection=selection, edits=edits, token=form.one("token")[:200], reason=form.one("reason")[:1000]
    )
    try:
        _, outcome = carry_out(dashboard, database, wanted, operator)
    except ChangedError as error:
        return _show_plan(request, dashboard, database, form, notice=f"{error.message}; this is the new plan")
    if outcome.audit is None:
        return _show_plan(
            request, dashboard, database, form, notice="somebody else was faster; nothing was queued here"
        )
    operator.say(
        f"{outcome.added} calculations queued"
        + (f"; left alone, since they have changed meanwhile: {', '.join(outcome.refused)}" if outcome.refused else "")
    )
    return RedirectResponse(f"/audit/{outcome.audit}", status_code=303)


@router.post("/audit/{audit}/undo")
def undo(audit: str, dashboard: Running, database: Db, operator: Operator) -> Response:
    """Take a resubmission back, where it has not started."""
    outcome, problems = take_back(dashboard, database, audit, operator)
    words = [f"{len(outcome.keys)} are as they were before"]
    words += [f"{len(outcome.kept)} stay: {'; '.join(sorted(set(outcome.kept.values())))}"] if outcome.kept else []
    operator.say(". ".join([*words, *problems]))
    return RedirectResponse(f"/audit/{audit}", status_code=303)


def _show_plan(request: Request, dashboard: Running, database: Db, form: FormData, notice: str = "") -> Response:
    selection, values = _selection(form), {name: text for name, text in form.items() if "." in name}
    plain = make_plan(dashboard, database, selection, Edits())
    fields = editable_fields(plain.results, dashboard.settings.clusters)
    context = _context(plain, selection, fields, values) | {"reason": form.one("reason"), "notice": notice}
    if form.one("edit"):
        return page(request, "resubmit.html", context)
    try:
        plan = make_plan(dashboard, database, *_read(form))
    except InputError as error:
        return page(request, "resubmit.html", context | {"problem": error}, status=422)
    return page(request, "resubmit_plan.html", context | {"plan": plan, "diff": plan.diff()})


def _context(plan: Resubmission, selection: Selection, fields: Any, values: dict[str, str]) -> dict[str, Any]:
    causes: dict[str, int] = {}
    for result in plan.results:
        name = result.failure.cause if result.failure else result.state
        causes[name] = causes.get(name, 0) + 1
    return {
        "plan": plan,
        "selection": selection,
        "fields": fields,
        "values": values,
        "causes": causes,
        "engines": sorted({result.engine for result in plan.results}),
        "problem": None,
        "reason": "",
        "notice": "",
    }


def _selection(form: FormData) -> Selection:
    try:
        return Selection(
            campaigns=form.all("campaign"),
            ids=form.all("id"),
            cause=form.one("cause") or None,
            engine=form.one("engine") or None,
            error=form.one("error") or None,
        )
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _read(form: FormData) -> tuple[Selection, Edits]:
    """Read selection and edits; a field that is left empty changes nothing.

    Raises
    ------
    InputError
        A value that cannot be read.
    """
    texts: dict[str, list[tuple[str, str]]] = {"resource": [], "setting": []}
    for name, text in form.items():
        kind, _, field = name.partition(".")
        if kind in texts and field and text.strip():
            texts[kind].append((field, text.strip()))
    settings, _ = read_edits(f"{name}={text}" for name, text in texts["setting"])
    _, resources = read_edits(f"resources.{name}={text}" for name, text in texts["resource"])
    return _selection(form), Edits(settings=settings, resources=resources)
