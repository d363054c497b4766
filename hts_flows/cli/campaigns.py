"""``hts check``, ``run``, ``submit`` and ``status``."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.markup import escape

from hts_flows.cli.output import cell, console, duration, print_json
from hts_flows.errors import EngineNotAvailableError, InputError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from hts_flows.campaign import Campaign
    from hts_flows.ladder import Level
    from hts_flows.launch.advance import Advance
    from hts_flows.launch.running import Progress
    from hts_flows.settings import Settings
    from hts_flows.stores import Database

CampaignFile = Annotated[Path, typer.Argument(help="Campaign file, e.g. workflows/graphite_alkali.yaml")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Update = Annotated[
    bool, typer.Option("--update", help="Accept a changed file under a name that is stored; its results are kept.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog="Example: hts check workflows/graphite_alkali.yaml")(check)
    app.command(epilog="Example: hts run workflows/graphite_alkali.yaml --workers 2")(run)
    app.command(epilog="Example: hts submit workflows/graphite_alkali.yaml")(submit)
    app.command(epilog="Example: hts status graphite_alkali")(status)


def check(file: CampaignFile, as_json: AsJson = False) -> None:
    """Validate a campaign file, count candidates and jobs, estimate the work. Changes nothing."""
    from hts_flows.campaign import load_campaign_file

    campaign = load_campaign_file(file)
    summary = _summary(campaign)
    if as_json:
        print_json(summary)
        return
    console.print(f"[bold]{campaign.name}[/]: {file} is valid")
    by = summary["by_host"]
    where = f" on {len(by)} hosts" if len(by) > 1 else f" on {next(iter(by))}" if by else ""
    console.print(f"  candidates  {summary['candidates']}{where}, with {summary['references']} references")
    for level in summary["levels"]:
        unknown = "until a rule ends the search" if "screen" in level else "as many as come within the window"
        jobs = f"{level['jobs']} calculations" if level["jobs"] is not None else unknown
        if level["available"]:
            work = duration(level["seconds"])
            note = f"; about {work} of one core" if level["seconds"] is not None else ""
        else:
            note = "; [yellow]not installed: will be skipped[/]" if level["optional"] else "; [red]not installed[/]"
        console.print(f"  {level['engine']:<11}  {jobs}{note}")
        if "screen" in level:
            _print_screen(level["screen"])
    for label, reason in summary["skipped"][:5]:
        console.print(f"  [yellow]left out[/]  {label}: {reason}")
    if len(summary["skipped"]) > 5:  # noqa: PLR2004
        console.print(f"  … and {len(summary['skipped']) - 5} more left out; all with --json")
    for level in summary["levels"]:
        if not level["available"] and not level["optional"]:
            raise EngineNotAvailableError(*level["reason"])
    console.print(f"  next        hts run {file}")


def _print_screen(screen: dict[str, Any]) -> None:
    trained = f"{screen['training']} first, then " if screen["training"] else ""
    console.print(
        f"    searches  {trained}the best of {screen['candidates']} by {screen['by']}, "
        f"{screen['batch']} at a time, until {screen['until']}"
    )
    for reason, count in screen["left_out"].items():
        console.print(f"    left out  {count}: {reason}")


def _summary(campaign: Campaign) -> dict[str, Any]:
    from hts_flows.launch.screening_check import check_screens

    candidates = campaign.all_candidates()
    domain, inventory = campaign.domain, campaign.inventory
    references = {
        reference.candidate_id
        for candidate in candidates
        for reference in domain.references(candidate, inventory).values()
    }
    facets = [domain.facets(candidate) for candidate in candidates]
    atoms = [int(facet["n_atoms"]) for facet in facets if "n_atoms" in facet]
    levels = []
    screens = check_screens(campaign)
    for level in campaign.ladder():
        jobs: int | None = len(candidates) + len(references)
        seconds = sum((level.engine.estimate_seconds(n) for n in atoms), 0.0) if atoms else None
        if level.screen:
            jobs = screens[level.number].jobs
            seconds = jobs * level.engine.estimate_seconds(sum(atoms) // len(atoms)) if jobs and atoms else None
        elif level.promote:
            k = level.promote.lowest
            # Each that goes up takes the host and the intercalant's element along, at most.
            jobs = min(k, len(candidates)) * 3 if k else None
            seconds = jobs * level.engine.estimate_seconds(sum(atoms) // len(atoms)) if jobs and atoms else None
        levels.append(_level_summary(level, jobs, seconds))
        if level.screen:
            levels[-1]["screen"] = screens[level.number].summary()
    return {
        "name": campaign.name,
        "candidates": len(candidates),
        "references": len(references),
        "by_host": dict(Counter(facet["host"] for facet in facets if "host" in facet)),
        "levels": levels,
        "skipped": [list(pair) for pair in campaign.candidates.skipped(inventory)],
    }


def _level_summary(level: Level, jobs: int | None, seconds: float | None) -> dict[str, Any]:
    reason: tuple[str, str | None] | None = None
    try:
        level.engine.check()
    except EngineNotAvailableError as error:
        reason = (error.message, error.hint)
    return {
        "engine": level.name,
        "settings_hash": level.settings_hash,
        "jobs": jobs,
        "seconds": seconds,
        "optional": level.optional,
        "available": reason is None,
        "reason": reason,
    }


def _prepare(file: Path, *, update: bool, check_engines: bool) -> tuple[Campaign, Settings, Database]:
    from hts_flows.campaign import load_campaign_file
    from hts_flows.launch.running import check_writable
    from hts_flows.launch.screening_check import check_screens
    from hts_flows.settings import load_settings
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import save_campaign

    campaign = load_campaign_file(file)
    settings = load_settings()
    for level in campaign.ladder() if check_engines else ():
        if not level.optional:
            level.engine.check()
    campaign.all_candidates()  # unknown names are found before anything is stored
    check_screens(campaign)
    check_writable(settings)
    database = connect(settings)
    save_campaign(database, campaign, update=update)
    return campaign, settings, database


def run(
    file: CampaignFile,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers on this machine, one thread each; see 'hts settings'.")
    ] = None,
    update: Update = False,
) -> None:
    """Submit a campaign and work on it here, with live progress. The same command resumes after any interruption."""
    from hts_flows.launch.advance import Advance
    from hts_flows.launch.running import run_campaign

    campaign, settings, database = _prepare(file, update=update, check_engines=True)
    if workers:
        settings = settings.model_copy(update={"workers": workers})
    console.print(f"[bold]{campaign.name}[/] on {database.address}")
    outcome = Advance()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped as with Ctrl-C
    try:
        with _Watch() as watch:
            outcome = run_campaign(database, campaign.name, settings, watch)
    except KeyboardInterrupt:
        console.print(f"\nstopped; nothing is lost. To go on: hts run {file}")
        raise typer.Exit(130) from None
    _conclude(database, campaign, outcome)


class _Watch:
    """Show progress: a live line in a terminal, else a line whenever something was settled, at most every 5 s."""

    def __init__(self) -> None:
        self.bar: Bar | None = None
        self.last: tuple[int, float] = (-1, 0.0)

    def __enter__(self) -> Self:
        if console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self.bar = Progress(
                BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True
            )
            self.bar.start()
            self.task = self.bar.add_task("queuing calculations, starting workers", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        import time

        settled = progress.done + progress.failed
        total = settled + progress.queued
        rate = f", {progress.rate:.1f} a minute" if progress.rate else ""
        left = f", {duration(progress.time_left)} left" if progress.time_left else ""
        text = (
            f"{settled}/{total}: {progress.done} done, {progress.running} running, {progress.failed} failed{rate}{left}"
        )
        if self.bar:
            self.bar.update(self.task, total=total, completed=settled, description=text)
        elif settled != self.last[0] and time.monotonic() - self.last[1] > 5:  # noqa: PLR2004
            self.last = (settled, time.monotonic())
            console.print(f"  {text}")


def _conclude(database: Database, campaign: Campaign, outcome: Advance) -> None:
    from hts_flows.cli.data import print_results
    from hts_flows.cli.failures import print_failures
    from hts_flows.stores.results import count_states, find_results

    found = list(find_results(database, campaign.name, settings_hash=campaign.ladder()[0].settings_hash))
    print_results(database, campaign, found)
    for engine, reason in outcome.skipped.items():
        first, _, hint = reason.partition("\n")
        console.print(f"[yellow]skipped[/] {engine}: {escape(first)}")
        if hint:
            console.print(f"  {escape(hint.strip())}")
        console.print(f"  then type the same command again: only {engine} is computed")
    if outcome.paused:
        console.print(f"[yellow]stopped:[/] {escape(outcome.paused)}")
    counts = count_states(database, campaign.name)
    total = sum(counts.values())
    console.print(f"{counts['done']} of {total} done, {counts['failed']} failed, {counts['queued']} to do")
    if counts["failed"]:
        print_failures(database, campaign.name)
    for level in campaign.ladder():
        if level.screen:
            _print_search(database, campaign, level)
    name = campaign.name
    given = {key for result in found for key, value in (result.properties or {}).items() if value is not None}
    numbers = [column.name for column in campaign.domain.columns if column.format and column.name in given]
    where = f", or --where '{numbers[0]} < 0'" if numbers else ""
    console.print(f"next: hts results {name} --plot {name}.png, or --format csv{where}")
    if counts["failed"] or not outcome.finished:
        raise typer.Exit(1)


def _print_search(database: Database, campaign: Campaign, level: Level) -> None:
    """Say in two lines where the search of a row stands."""
    from hts_flows.stores.rankings import rankings_of

    rankings = rankings_of(database, campaign.name, level.settings_hash)
    last = rankings[-1] if rankings else None
    if last is None:
        return
    asked = sum(len(ranking.asked) for ranking in rankings if not ranking.trains)
    label = next(
        (
            choice.label
            for ranking in rankings
            for choice in (*ranking.asked, *ranking.shared)
            if choice.candidate_id == last.best_candidate
        ),
        last.best_candidate,
    )
    ended = f"ended: {last.note}" if last.stopped else "goes on"
    known = f"{last.n_observed} values, {last.n_failed} without a usable one"
    best = "no value yet"
    if last.best_value is not None:
        best = f"best {label} with {cell(last.best_value, '.4g')} {last.unit}"
    console.print(f"search by {last.by}: {asked} asked for, {known}; {best}; {ended}")
    engine = f" --engine {level.name}" if level.number else ""
    console.print(f"  see: hts ranking {campaign.name}{engine} --plot {campaign.name}_ranking.png")


def submit(file: CampaignFile, update: Update = False) -> None:
    """Store a campaign and queue its jobs, without working on them here."""
    from hts_flows.launch.advance import advance, check_here

    campaign, settings, database = _prepare(file, update=update, check_engines=False)
    with console.status("queuing the calculations"):
        outcome = advance(database, campaign.name, check=check_here)
    console.print(
        f"{campaign.name}: {outcome.submitted} calculations queued" + (", finished" if outcome.finished else "")
    )
    launch = f"hts launch {campaign.name} --watch, or " if settings.clusters else ""
    console.print(f"next: {launch}hts run {file}, or hts status {campaign.name}")


def status(
    name: Annotated[str | None, typer.Argument(help="Name of a campaign; all when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the state of campaigns: results done, failed and to do, for each engine."""
    from hts_flows.cli.output import print_table, table
    from hts_flows.flows import Column
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import campaign_names

    database = connect()
    rows: list[dict[str, Any]] = []
    remarks: list[str] = []
    for campaign_name in [name] if name else campaign_names(database):
        try:
            more, remark = _standing(database, campaign_name)
        except InputError as error:
            if name:
                raise
            # One campaign that cannot be read hides no other.
            more, remark = [], f"{campaign_name}: {error.message}; {error.hint}"
        rows += more
        remarks += [remark] if remark else []
    if as_json:
        print_json(rows)
        return
    if not rows and not remarks:
        console.print("no campaign is stored yet; next: hts run workflows/graphite_alkali.yaml")
    if rows:
        headers = ("campaign", "state", "engine", "done", "failed", "queued")
        print_table(table([Column(header, header) for header in headers], rows))
    for text in remarks:
        console.print(f"[yellow]{escape(text)}[/]")


def _standing(database: Database, name: str) -> tuple[list[dict[str, Any]], str | None]:
    """Rows of the table of :func:`status` for a campaign, and what is held of it."""
    from hts_flows.launch.holding import what_is_held
    from hts_flows.stores.campaigns import load_campaign
    from hts_flows.stores.results import count_states

    campaign = load_campaign(database, name)
    state = (database.campaigns.find_one({"_id": name}, {"state": 1}) or {})["state"]
    rows = [
        {"campaign": name, "state": state, "engine": level.name} | count_states(database, name, level.settings_hash)
        for level in campaign.ladder()
    ]
    return rows, what_is_held(database, name)
