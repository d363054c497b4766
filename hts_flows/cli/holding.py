"""``hts pause``, ``resume``, ``cancel`` and ``priority``: what a person does with queued work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hts_flows.cli.output import console, print_json
from hts_flows.cli.undoing import connect_for, user_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from hts_flows.launch.queued import QueuedOutcome, QueuedPlan, QueuedSelection
    from hts_flows.stores import Database

#: Results of a plan that are listed; the others are counted.
SHOWN = 10
#: Reasons for which results are left alone, and labels to each, that are listed.
SHOWN_LEFT = 3
Names = Annotated[list[str] | None, typer.Argument(help="Names of campaigns, as 'hts status' lists them; else all.")]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", help="Only this one: candidate_id, its unique beginning, or label; may be repeated."),
]
Engine = Annotated[str | None, typer.Option(help="Only those of this engine.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; without --yes the plan, changing nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog="Example: hts pause graphite_alkali --reason 'the cluster is drained'")(pause)
    app.command(epilog="Example: hts resume graphite_alkali")(resume)
    app.command(epilog="Example: hts cancel graphite_alkali --id 'graphite LiC6 stage 1'")(cancel)
    app.command(epilog="Example: hts priority graphite_alkali high; below zero: hts priority graphite_alkali -- -20")(
        priority
    )


def pause(
    names: Names = None,
    candidate: Ids = None,
    engine: Engine = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Start nothing more: of whole campaigns, or of those chosen. What runs goes on, and is recorded."""
    from hts_flows.launch import holding

    _act(names, candidate, engine, holding.plan_pause, holding.pause, reason=reason, yes=yes, as_json=as_json)


def resume(
    names: Names = None,
    candidate: Ids = None,
    engine: Engine = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Go on with what was paused."""
    from hts_flows.launch import holding

    _act(names, candidate, engine, holding.plan_resume, holding.resume, reason=reason, yes=yes, as_json=as_json)


def cancel(
    names: Names = None,
    candidate: Ids = None,
    engine: Engine = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let queued calculations fail as cancelled; they can be resubmitted. SLURM jobs that run one alone are cancelled.

    The campaign itself goes on: a search asks for others, and rows above take what is there. 'hts pause' stops it.
    """
    from hts_flows.launch import cancelling

    _act(names, candidate, engine, cancelling.plan_cancel, cancelling.cancel, reason=reason, yes=yes, as_json=as_json)


def priority(
    names: Annotated[list[str], typer.Argument(help="Names of campaigns, as 'hts status' lists them.")],
    value: Annotated[str, typer.Argument(metavar="PRIORITY", help="high, normal, low, or -100 to 100 (normal is 5).")],
    candidate: Ids = None,
    engine: Engine = None,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Have queued calculations taken earlier or later; their references go before them. A resubmission is normal again.

    It counts where hts chooses: which job a worker takes next, and what is given to SLURM first.
    """
    from hts_flows.launch import prioritizing

    prioritizing.read_priority(value)

    def plan(database: Database, selection: QueuedSelection) -> QueuedPlan:
        return prioritizing.plan_priority(database, selection, value)

    _act(names, candidate, engine, plan, prioritizing.prioritize, reason=reason, yes=yes, as_json=as_json)


def _act(
    names: list[str] | None,
    ids: list[str] | None,
    engine: str | None,
    plan_for: Callable[[Database, QueuedSelection], QueuedPlan],
    carry_out: Callable[..., QueuedOutcome],
    *,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what would be done, ask, do it, and say what was done."""
    from hts_flows.launch.cancelling import cancel_slurm_jobs
    from hts_flows.launch.queued import QueuedSelection
    from hts_flows.settings import load_settings

    database, campaigns = connect_for(names)
    plan = plan_for(database, QueuedSelection(tuple(campaigns), tuple(ids or ()), engine))
    if as_json and not yes:
        print_json(_plan_as_object(plan))
        return
    if not as_json:
        _print_plan(plan)
    if not plan.results and not plan.campaigns:
        if as_json:
            print_json(_plan_as_object(plan))
        return
    if not yes and not typer.confirm(_question(plan)):
        raise typer.Exit(1)
    outcome = carry_out(database, plan, user=user_name(), reason=reason, token=plan.token)
    problems = cancel_slurm_jobs(load_settings(), outcome.slurm_jobs)
    if as_json:
        print_json(_plan_as_object(plan) | {plan.action: _outcome_as_object(outcome, problems)})
    else:
        _print_outcome(outcome, plan, problems)
    if not outcome.audit:
        raise typer.Exit(1)


def _question(plan: QueuedPlan) -> str:
    count = len(plan.results)
    what = "this one" if count == 1 else f"these {count}"
    if plan.campaigns:
        what = ", ".join(plan.campaigns)
    return f"give {what} the priority {plan.value}?" if plan.action == "priority" else f"{plan.action} {what}?"


def _print_plan(plan: QueuedPlan) -> None:
    if not plan.results and not plan.campaigns:
        what = "give another priority" if plan.action == "priority" else plan.action
        console.print(f"nothing to {what}")
    for name in plan.campaigns:
        console.print(f"  campaign {name}", markup=False)
    for result in plan.results[:SHOWN]:
        console.print(f"  {result.candidate_id}  {result.label} ({result.engine})", markup=False)
    if len(plan.results) > SHOWN:
        console.print(f"  … and {len(plan.results) - SHOWN} more; all with --json", markup=False)
    for note in plan.notes:
        console.print(f"  [yellow]{escape(note)}[/]")
    if not plan.results or plan.selection.ids:
        _print_left(plan)


def _print_left(done: QueuedPlan | QueuedOutcome) -> None:
    for reason, count in done.reasons.items():
        labels = [item.label for item in done.left if item.reason == reason]
        more = f" and {count - SHOWN_LEFT} more" if count > SHOWN_LEFT else ""
        text = f"{', '.join(labels[:SHOWN_LEFT])}{more}: {reason}"
        console.print(f"  [yellow]stays:[/] {escape(text)}")


def _print_outcome(outcome: QueuedOutcome, plan: QueuedPlan, problems: list[str]) -> None:
    done = {"pause": "paused", "resume": "go on", "cancel": "cancelled", "priority": f"have the priority {plan.value}"}
    console.print(f"{len(outcome.keys)} calculations {done[outcome.action]}")
    for name in outcome.campaigns:
        told = "is paused: nothing more is submitted for it" if outcome.action == "pause" else "goes on"
        console.print(f"campaign {name} {told}", markup=False)
    if outcome.ending:
        console.print(f"{len(outcome.ending)} fail when their SLURM jobs, which are cancelled, have ended")
    _print_left(outcome)
    for problem in problems:
        console.print(f"  [yellow]{escape(problem)}[/]")
    if outcome.audit:
        console.print(f"next: {_next(outcome, plan)}", markup=False)


def _next(outcome: QueuedOutcome, plan: QueuedPlan) -> str:
    """Tell what to type next."""
    names = " ".join(plan.selection.campaigns)
    if outcome.action == "pause":
        chosen = [f"--id '{text}'" for text in plan.selection.ids]
        chosen += [f"--engine {plan.selection.engine}"] if plan.selection.engine else []
        return " ".join(filter(None, ["hts resume", names, *chosen]))
    if outcome.action == "cancel":
        first = "hts launch, which settles those; then " if outcome.ending else ""
        return first + " ".join(filter(None, ["hts resubmit", names, "--cause cancelled"])) + " runs them again"
    return "hts run FILE, with the campaign's file, or hts launch; hts status shows the campaigns"


def _plan_as_object(plan: QueuedPlan) -> dict[str, Any]:
    return {
        "action": plan.action,
        "campaigns": plan.campaigns,
        "token": plan.token,
        "priority": plan.value,
        "results": [
            {
                "candidate_id": result.candidate_id,
                "label": result.label,
                "engine": result.engine,
                "campaigns": result.campaigns,
            }
            for result in plan.results
        ],
        "left": [item._asdict() for item in plan.left],
        "notes": plan.notes,
    }


def _outcome_as_object(outcome: QueuedOutcome, problems: list[str]) -> dict[str, Any]:
    return {
        "audit": outcome.audit,
        "keys": outcome.keys,
        "ending": outcome.ending,
        "campaigns": outcome.campaigns,
        "left": [item._asdict() for item in outcome.left],
        "slurm_jobs": outcome.slurm_jobs,
        "problems": problems,
    }
