"""``hts failures`` and ``hts resubmit``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hts_flows.cli.output import console, print_json, without_nan
from hts_flows.cli.undoing import connect_for, take_back, user_name
from hts_flows.errors import InputError

if TYPE_CHECKING:
    from hts_flows.launch.resubmission import Resubmission, Resubmitted
    from hts_flows.settings import Settings
    from hts_flows.stores import Database
    from hts_flows.stores.results import Attempt, Failure, JobUsage, Result

#: Members of a group, and results of a plan, that are listed; the others are counted.
SHOWN = 10
_GIGABYTE = 1024
Names = Annotated[list[str] | None, typer.Argument(help="Names of campaigns, as 'hts status' lists them; else all.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog="Example: hts failures graphite_alkali")(failures)
    app.command(epilog="Example: hts resubmit graphite_alkali --cause walltime --walltime x2")(resubmit)


def failures(
    names: Names = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--id", help="Show everything of this one: candidate_id, its beginning, or label; repeatable."),
    ] = None,
    cause: Annotated[str | None, typer.Option(help="Only those that failed for this cause.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show what failed, grouped by cause: what to do, what to type next, and for each the SLURM job it was in."""
    from hts_flows.cli.data import as_object
    from hts_flows.launch.failures import FailureCause
    from hts_flows.launch.selection import identified

    database, campaigns = connect_for(names)
    if cause is not None:
        from hts_flows.errors import nearest

        if cause not in set(FailureCause):
            known = [item.value for item in FailureCause]
            raise InputError(f"--cause {cause!r} is no cause of failure; {nearest(cause, known)}")
    # Of one that is asked for by name its history is shown, however it ended.
    found = _failed(database, campaigns, cause, ended_well=bool(candidate))
    if candidate:
        wanted = identified(database, found, candidate, campaigns)
        found = [result for result in found if wanted is None or result.candidate_id in wanted]
    if as_json:
        print_json([without_nan(as_object(result)) for result in found])
    elif candidate:
        for result in found:
            _print_one(result)
    elif not _print_groups(found, campaigns):
        console.print("nothing failed" + (f" for {cause}" if cause else ""))


def _failed(
    database: Database, names: list[str], cause: str | None = None, *, ended_well: bool = False
) -> list[Result]:
    from hts_flows.stores.results import Result

    query: dict[str, Any] = {"state": "failed"}
    if ended_well:
        query = {"$or": [query, {"attempts.0": {"$exists": True}}]}
    query |= {"campaigns": {"$in": names}} if names else {}
    query |= {"failure.cause": cause} if cause else {}
    return [
        Result.model_validate(document) for document in database.results.find(query).sort([("label", 1), ("_id", 1)])
    ]


def print_failures(database: Database, name: str) -> int:
    """Print a campaign's failures by cause, with what to do; gives their number."""
    return _print_groups(_failed(database, [name]), [name])


def _print_groups(found: list[Result], names: list[str]) -> int:
    from hts_flows.launch.failures import REMEDIES, FailureCause, proposed_change

    groups: dict[str, list[tuple[Result, Failure]]] = {}
    for result in found:
        if result.failure:
            groups.setdefault(result.failure.cause, []).append((result, result.failure))
    for cause, members in sorted(groups.items(), key=lambda group: -len(group[1])):
        # Of a cause that this version knows, its own words; they may be better than those that were stored.
        remedy = REMEDIES[FailureCause(cause)].text if cause in set(FailureCause) else members[0][1].remedy
        console.print(f"[bold red]{len(members)} × {escape(cause)}[/]: {escape(remedy)}")
        for result, failure in members[:SHOWN]:
            line = f"  {result.candidate_id}  {result.label} ({result.engine}): {failure.message}"
            console.print(line, markup=False)
            if failure.job:
                console.print(f"    {_usage(failure.job)}", markup=False, style="dim")
        if len(members) > SHOWN:
            console.print(f"  … and {len(members) - SHOWN} more; all with --json")
        if cause == FailureCause.REFERENCE_FAILED:
            continue
        changes = {proposed_change(failure, result.engine) for result, failure in members}
        change = f" {changes.pop()}" if len(changes) == 1 else ""
        console.print(" ".join(["  next: hts resubmit", *names, "--cause", cause]) + change.rstrip(), markup=False)
    return len(found)


def _usage(job: JobUsage) -> str:
    """Say in one line which SLURM job it was, and what it used of what it asked for."""
    from hts_flows.slurm.resources import format_walltime

    parts = [f"SLURM job {job.job_id}" if job.job_id else "no SLURM job"]
    if job.cluster:
        parts[0] += f" of {job.cluster}"
    if job.node:
        parts[0] += f" on {job.node}"
    if job.state:
        parts.append(job.state)
    for asked, used, write in (
        (job.walltime_asked, job.time_used, format_walltime),
        (job.memory_asked, job.memory_used, _memory),
    ):
        if asked is not None and used is not None:
            parts.append(f"{write(used)} of {write(asked)}")
        elif asked is not None or used is not None:
            parts.append(f"{write(asked)} asked" if asked is not None else f"{write(used or 0)} used")
    return ", ".join(parts)


def _memory(megabytes: float) -> str:
    return f"{megabytes / _GIGABYTE:.1f} GB" if megabytes >= _GIGABYTE else f"{megabytes:.0f} MB"


def _print_one(result: Result) -> None:
    """Print everything of one failed result: evidence, folder, and its earlier attempts."""
    console.print(f"[bold]{escape(result.label)}[/]  {result.candidate_id}  ({result.engine}, {result.state})")
    console.print(f"  campaigns  {', '.join(result.campaigns)}", markup=False)
    if result.failure:
        _print_failure(result.failure, result.provenance.folder)
    for number, attempt in enumerate(result.attempts, 1):
        later = result.attempts[number] if number < len(result.attempts) else result
        _print_attempt(number, attempt, later)


def _print_failure(failure: Failure, folder: str | None) -> None:
    console.print(f"  [bold red]{escape(failure.cause)}[/]: {escape(failure.message)}")
    console.print(f"  remedy     {failure.remedy}", markup=False)
    if failure.job:
        console.print(f"  job        {_usage(failure.job)}", markup=False)
    if where := (failure.job.folder if failure.job else None) or folder:
        console.print(f"  folder     {where}", markup=False)
    if failure.evidence:
        console.print("  evidence")
        for line in failure.evidence.splitlines():
            console.print(f"    {line}", markup=False, style="dim")


def _print_attempt(number: int, attempt: Attempt, later: Attempt | Result) -> None:
    when = f"{attempt.finished_at:%Y-%m-%d %H:%M} UTC" if attempt.finished_at else "at an unknown time"
    failure = attempt.failure
    console.print(f"  [bold]attempt {number}[/]  {escape(failure.cause if failure else attempt.state)}, {when}")
    if failure:
        console.print(f"    {failure.message}", markup=False)
        if failure.job:
            console.print(f"    {_usage(failure.job)}", markup=False)
    if attempt.folder:
        console.print(f"    folder {attempt.folder}", markup=False)
    old = attempt.settings | {f"resources.{name}": value for name, value in (attempt.resources or {}).items()}
    new = later.settings | {f"resources.{name}": value for name, value in (later.resources or {}).items()}
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            console.print(f"    then {name}: {_shown(old.get(name))} → {_shown(new.get(name))}", markup=False)
    if attempt.continued_from:
        console.print(f"    then went on from {attempt.continued_from}", markup=False)


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


def resubmit(
    names: Names = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--id", help="Only this one: candidate_id, its unique beginning, or label; may be repeated."),
    ] = None,
    cause: Annotated[str | None, typer.Option(help="Only those that failed for this cause.")] = None,
    engine: Annotated[str | None, typer.Option(help="Only those of this engine.")] = None,
    error: Annotated[
        str | None, typer.Option(help="Only those whose message or evidence this regular expression finds.")
    ] = None,
    state: Annotated[str, typer.Option(help="Results in this state; none but failed ones are resubmitted.")] = "failed",
    edits: Annotated[
        list[str] | None, typer.Option("--set", help="New engine setting NAME=VALUE, or resources.NAME=VALUE.")
    ] = None,
    walltime: Annotated[str | None, typer.Option(help="New walltime: x2, +30min, 4h or 02:00:00.")] = None,
    memory: Annotated[str | None, typer.Option(help="New memory on each node: x2, +4G or 8G.")] = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes of the SLURM job.")] = None,
    tasks: Annotated[int | None, typer.Option(help="MPI tasks of the SLURM job.")] = None,
    cpus: Annotated[int | None, typer.Option(help="Cores of each task.")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of the SLURM job.")] = None,
    partition: Annotated[str | None, typer.Option(help="Partition of the SLURM job.")] = None,
    account: Annotated[str | None, typer.Option(help="Account that is charged.")] = None,
    qos: Annotated[str | None, typer.Option(help="Quality of service.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take the latest resubmission back, where not started.")] = False,
    undo_id: Annotated[str | None, typer.Option(help="Take this resubmission back, where not started.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; without --yes the plan, changing nothing.")
    ] = False,
) -> None:
    """Run failed results again, alone, with other settings or resources if wanted. Earlier attempts stay readable."""
    from hts_flows.launch.resubmission import plan_resubmission
    from hts_flows.launch.resubmission import resubmit as carry_out
    from hts_flows.launch.setting_edits import read_edits
    from hts_flows.settings import load_settings

    options: dict[str, Any] = {"walltime": walltime, "memory": memory, "nodes": nodes, "tasks": tasks, "cpus": cpus}
    options |= {"gpus": gpus, "partition": partition, "account": account, "qos": qos}
    options = {name: value for name, value in options.items() if value is not None}
    selection = {"id": candidate, "cause": cause, "engine": engine, "error": error, "set": edits, **options}
    if undo or undo_id is not None:
        take_back(names, undo_id, [name for name, value in selection.items() if value], yes=yes, as_json=as_json)
        return
    new_settings, new_resources = read_edits(edits or [])
    if twice := sorted(new_resources.keys() & options.keys()):
        raise InputError(f"--{twice[0]} and --set resources.{twice[0]} are both given", "keep one of the two")
    database, campaigns = connect_for(names)
    settings = load_settings()
    plan = plan_resubmission(
        database,
        campaigns,
        ids=candidate or (),
        cause=cause,
        engine=engine,
        error=error,
        state=state,
        settings=new_settings,
        resources=new_resources | options,
        clusters=settings.clusters,
    )
    if as_json and not yes:
        print_json(plan.as_object())
        return
    if not as_json:
        _print_plan(plan)
    if not plan.results:
        if as_json:
            print_json(plan.as_object())
        return
    if not yes and not typer.confirm(
        f"run {'this one' if len(plan.results) == 1 else f'these {len(plan.results)}'} again?"
    ):
        raise typer.Exit(1)
    _print_outcome(carry_out(database, plan, user=user_name(), reason=reason), plan, settings, as_json=as_json)


def _print_plan(plan: Resubmission) -> None:
    if not plan.results:
        console.print("nothing to resubmit")
    for result in plan.results[:SHOWN]:
        why = result.failure.cause if result.failure else result.state
        console.print(f"  {result.candidate_id}  {result.label} ({result.engine}, {why})", markup=False)
    if len(plan.results) > SHOWN:
        causes = Counter(result.failure.cause for result in plan.results[SHOWN:] if result.failure)
        rest = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
        console.print(f"  … and {len(plan.results) - SHOWN} more ({rest})", markup=False)
    for row in plan.diff():
        old, new = escape(_shown(row.old)), escape(_shown(row.new))
        count = f"  [dim]{row.count} of {len(plan.results)}[/]" if len(plan.results) > 1 else ""
        console.print(f"  {escape(row.setting)}: [red]{old}[/] → [green]{new}[/]{count}")
    for note in plan.notes:
        console.print(f"  [yellow]{escape(note)}[/]")


def _print_outcome(outcome: Resubmitted, plan: Resubmission, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        print_json(plan.as_object() | {"resubmission": vars(outcome)})
    else:
        console.print(f"{outcome.added} calculations queued")
        for label in outcome.refused:
            console.print(f"  [yellow]left alone, changed since it was looked at:[/] {escape(label)}")
        if outcome.audit:
            launch = ", or hts launch" if settings.clusters else ""
            console.print(f"  to take it back: hts resubmit --undo-id {outcome.audit}")
            console.print(f"next: hts run FILE, with the campaign's file{launch}")
    if not outcome.keys:
        raise typer.Exit(1)
