"""``hts resubmit --undo``, and what the commands that change queued or failed work share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from hts_flows.cli.output import console, print_json
from hts_flows.errors import InputError
from hts_flows.launch.owner import user_name

if TYPE_CHECKING:
    from hts_flows.launch.undo import Undone
    from hts_flows.stores import Database


def connect_for(names: list[str] | None) -> tuple[Database, list[str]]:
    """Open the database, and see that the campaigns are there."""
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import load_campaign

    database = connect()
    for name in names or []:
        load_campaign(database, name)
    return database, list(names or [])


def take_back(names: list[str] | None, undo_id: str | None, others: list[str], *, yes: bool, as_json: bool) -> None:
    """Undo a resubmission, and cancel the SLURM jobs that have nothing to do any more.

    Parameters
    ----------
    names
        The campaign whose latest resubmission is meant, where no id is given.
    undo_id
        Id of the resubmission.
    others
        Options that were given beside, which do not go with it.
    yes, as_json
        Do not ask; print JSON.
    """
    from hts_flows.launch.cancelling import cancel_slurm_jobs
    from hts_flows.launch.undo import find_resubmission
    from hts_flows.launch.undo import undo as carry_out
    from hts_flows.settings import load_settings

    database, campaigns = connect_for(names)
    _check(campaigns, others)
    resubmission = find_resubmission(database, audit=undo_id, campaign=campaigns[0] if campaigns else None)
    if campaigns and campaigns[0] not in resubmission["campaigns"]:
        raise InputError(f"--undo-id {undo_id!r} is of {', '.join(resubmission['campaigns'])}", "leave the name out")
    if not as_json:
        of = ", ".join(resubmission["campaigns"])
        count, when = len(resubmission["results"]), f"{resubmission['at']:%Y-%m-%d %H:%M} UTC"
        console.print(f"  {resubmission['_id']}  {count} of {of}, by {resubmission['user']}, {when}", markup=False)
    if not yes:
        if as_json:
            print_json(resubmission)
            return
        if not typer.confirm("take it back, where nothing has started?"):
            raise typer.Exit(1)
    outcome = carry_out(database, resubmission, user=user_name())
    problems = cancel_slurm_jobs(load_settings(), outcome.slurm_jobs)
    if as_json:
        print_json(vars(outcome) | {"problems": problems})
    else:
        _print_undone(database, outcome, problems)
    if not outcome.keys:
        raise typer.Exit(1)


def _check(campaigns: list[str], others: list[str]) -> None:
    if others:
        raise InputError(
            f"--undo takes a whole resubmission back; --{others[0]} does not go with it", f"leave --{others[0]} out"
        )
    if len(campaigns) > 1:
        raise InputError("--undo takes back one resubmission", "name one campaign")


def _print_undone(database: Database, outcome: Undone, problems: list[str]) -> None:
    console.print(f"{len(outcome.keys)} are as they were before")
    labels = {
        document["_id"]: document["label"]
        for document in database.results.find({"_id": {"$in": list(outcome.kept)}}, {"label": 1})
    }
    for key, why in outcome.kept.items():
        console.print(f"  [yellow]stays:[/] {escape(labels.get(key, key))}: {escape(why)}")
    for problem in problems:
        console.print(f"  [yellow]{escape(problem)}[/]")
