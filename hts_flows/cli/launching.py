"""``hts launch``: submit what is ready to a SLURM cluster, and settle what became of what was submitted."""

from __future__ import annotations

import re
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hts_flows.cli.output import console, print_json, stderr
from hts_flows.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hts_flows.errors import HtsError
    from hts_flows.launch.launching import Launcher, Pass
    from hts_flows.stores import Database

_NUMBER = re.compile(r"\d+")
#: While a cluster does not answer, the time between passes doubles up to this, s.
LONGEST_INTERVAL = 300.0


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog="Example: hts launch --watch")(launch)


def launch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Campaigns; all that are stored when left out.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Cluster of the settings file; may be left out when there is one.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, pass after pass, until all is finished.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Time between passes with --watch, s.")] = 15.0,
    force: Annotated[
        bool, typer.Option("--force", help="Do not hold back work whose last SLURM jobs could not begin.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs, an object a pass.")] = False,
) -> None:
    """Submit SLURM jobs for what is ready, and settle those that have ended. One pass, for cron; or --watch."""
    from hts_flows.launch.launching import Launcher
    from hts_flows.settings import load_settings, pick_cluster
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import load_campaign

    settings = load_settings()
    chosen = pick_cluster(settings, cluster)
    database = connect(settings)
    for name in names or ():
        load_campaign(database, name)
    if not as_json:
        console.print(f"[bold]{chosen.name}[/] with {database.address}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped as with Ctrl-C
    try:
        last = _passes(
            lambda: Launcher(connect(settings), settings, chosen, names or (), force=force),
            watch=watch,
            interval=interval,
            as_json=as_json,
        )
    except KeyboardInterrupt:
        console.print("\nstopped; SLURM jobs go on. To go on here: hts launch --watch")
        raise typer.Exit(130) from None
    if not as_json:
        _conclude(database, names or (), last)
    if last.problems or _failed(database, names or ()):
        raise typer.Exit(1)


def _passes(make_launcher: Callable[[], Launcher], *, watch: bool, interval: float, as_json: bool) -> Pass:
    """Make one pass, or passes until all is finished.

    The time between them grows while SLURM or MongoDB does not answer.
    """
    from pymongo.errors import ConnectionFailure

    wait = interval
    shown: list[str] = []
    launcher: Launcher | None = None
    while True:
        try:
            launcher = launcher or make_launcher()
            outcome = launcher.one_pass()
        except (ConnectionFailure, StoreUnavailableError) as error:
            if not watch:
                raise
            # Its jobs go on; they meet the same outage, and are settled when MongoDB is back.
            launcher, wait = None, min(2 * wait, max(LONGEST_INTERVAL, interval))
            text = error.message if isinstance(error, StoreUnavailableError) else str(error).split(",")[0]
            stderr.print(f"  [yellow]MongoDB does not answer:[/] {escape(text)}; the next pass is in {wait:.0f} s")
            time.sleep(wait)
            continue
        if as_json:
            print_json(_as_object(outcome))
        else:
            shown = _show(launcher, outcome, shown)
        if not watch or outcome.finished:
            return outcome
        wait = interval if outcome.answering else min(2 * wait, max(LONGEST_INTERVAL, interval))
        time.sleep(wait)


def _show(launcher: Launcher, outcome: Pass, shown: list[str]) -> list[str]:
    """Print the state in one line, and what is wrong, where that is new; gives what was to be shown."""
    if outcome.busy:
        line = f"another launcher is at work on this cluster: {outcome.busy}; this one waits for its turn"
        if line not in shown:
            console.print(f"  {line}")
        return [*shown, line]
    line = _state_line(launcher, outcome)
    if line not in shown:
        console.print(f"  {datetime.now().astimezone().strftime('%H:%M:%S')}  {line}")
    # The same problem with another number in it, such as a time that runs down, is not new.
    told = [line, *(text for text in shown if text.startswith("another launcher"))]
    for problem in outcome.problems:
        text = _NUMBER.sub("", problem.message)
        told.append(text)
        if text not in shown:
            _show_problem(problem)
    return told


def _state_line(launcher: Launcher, outcome: Pass) -> str:
    from hts_flows.stores.results import count_states

    names = launcher.only or [item["_id"] for item in launcher.database.campaigns.find({}, {"_id": 1})]
    states = [count_states(launcher.database, name) for name in names]
    done, failed = (sum(state[key] for state in states) for key in ("done", "failed"))
    total = sum(sum(state.values()) for state in states)
    slurm = outcome.reconciled
    waiting = slurm.waiting + outcome.placed.submitted
    parts = [
        f"{done}/{total} done",
        f"{failed} failed" if failed else "",
        f"{outcome.ready} ready" if outcome.ready else "",
        f"SLURM jobs: {slurm.running} running, {waiting} waiting" if outcome.answering else "SLURM does not answer",
    ]
    for count, what in (
        (outcome.placed.submitted, "submitted"),
        (slurm.ended, "ended"),
        (slurm.failed + outcome.placed.rejected, "found failed"),
        (slurm.again, "cut off, ready again"),
    ):
        parts.append(f"{count} {what}" if count else "")
    return ", ".join(filter(None, parts))


def _show_problem(problem: HtsError) -> None:
    console.print(f"  [yellow]problem:[/] {escape(problem.message)}")
    if problem.hint:
        console.print(f"    [cyan]→[/] {escape(problem.hint)}")


def _as_object(outcome: Pass) -> dict[str, Any]:
    return {
        "busy": outcome.busy,
        **{name: value for name, value in vars(outcome.reconciled).items() if name != "problems"},
        "submitted": outcome.placed.submitted,
        "rejected": outcome.placed.rejected,
        "recorded": outcome.recorded,
        "ready": outcome.ready,
        "paused": outcome.paused,
        "finished": outcome.finished,
        "problems": [{"message": problem.message, "hint": problem.hint} for problem in outcome.problems],
    }


def _failed(database: Database, names: list[str] | tuple[str, ...]) -> int:
    query: dict[str, Any] = {"state": "failed"}
    if names:
        query["campaigns"] = {"$in": list(names)}
    return database.results.count_documents(query)


def _conclude(database: Database, names: list[str] | tuple[str, ...], last: Pass) -> None:
    failed = _failed(database, names)
    name = names[0] if len(names) == 1 else ""
    if failed:
        console.print(f"{failed} failed; next: hts failures {name}".rstrip())
    for text in last.paused:
        console.print(f"[yellow]{escape(text)}[/]")
    if last.finished and not last.paused:
        console.print(f"all campaigns are finished; next: hts results {name or 'NAME'}")
    elif not last.busy and not last.finished:
        console.print("next: hts launch again, from cron or with --watch; hts status shows the campaigns")
