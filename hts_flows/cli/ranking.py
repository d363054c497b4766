"""``hts ranking``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hts_flows.cli.data import CampaignName, Format
from hts_flows.cli.output import cell, console, print_json, print_table, table, without_nan
from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.campaign import Campaign
    from hts_flows.ladder import Level
    from hts_flows.stores import Database
    from hts_flows.stores.rankings import Ranking

#: Rows of a table on the terminal, unless --limit says otherwise.
SHOWN = 20
ELEMENT_SCORES = ("max", "mean")
STATUSES = ("not asked", "queued", "verified", "failed")
#: Columns of the exports, with their names in the table; these names are a promise.
EXPORTED = {
    "rank": "rank",
    "candidate_id": "candidate_id",
    "label": "label",
    "formula": "formula",
    "mean": "mean",
    "standard_deviation": "std",
    "z_score": "z_score",
    "expected_improvement": "expected_improvement",
    "status": "status",
    "value": "value",
    "cause": "cause",
    "asked_in": "asked_in",
    "why": "why",
}


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(
        epilog="Examples: hts ranking low_conductivity --status 'not asked' --limit 10; "
        "hts ranking low_conductivity --history; hts ranking low_conductivity --plot low_conductivity.png"
    )(ranking)


def ranking(
    name: CampaignName,
    number: Annotated[
        int | None, typer.Option(help="The ranking of this number, with what is known by now; else the last.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="The row of this engine; the first with 'screen:' when left out.")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(help="Only candidates that are: 'not asked', queued, verified or failed; repeatable."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Condition NAME OPERATOR VALUE; may be given several times, all hold.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, help=f"At most so many rows; 0 is all. {SHOWN} in a table, else all.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show what was asked for, when, why, and what came out.")
    ] = False,
    output_format: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save the figure of the ranking: .png, .pdf or .svg.")] = None,
    element_score: Annotated[
        str, typer.Option(help="The figure's colour of an element: max or mean Z-score of its candidates.")
    ] = "max",
) -> None:
    """Show how a search ranks its candidates: predictions, Z-scores, and what came out of those it asked for."""
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import load_campaign
    from hts_flows.stores.ranking_queries import current_table, read_outcomes
    from hts_flows.stores.ranking_queries import history as history_of
    from hts_flows.stores.rankings import rankings_of

    output_format = Format.JSON if as_json else output_format
    if output and output_format is Format.TABLE:
        raise InputError("--output needs --format json, csv or parquet")
    _check_words("--status", status or (), STATUSES)
    _check_words("--element-score", [element_score], ELEMENT_SCORES)
    database = connect()
    campaign = load_campaign(database, name)
    level = _screening_level(campaign, engine)
    rankings = rankings_of(database, name, level.settings_hash)
    chosen = _chosen(name, rankings, number)
    outcomes = read_outcomes(database, level, rankings)
    rows = current_table(database, level, chosen, rankings, outcomes)
    trials = history_of(database, level, rankings, outcomes)
    if plot:
        _plot(database, chosen, rows, trials, plot, element_score)
        if output_format is Format.TABLE and not history:
            return
    shown = _exported(trials if history else rows, history=history)
    selected = _selected(shown, status or (), where or ())
    limit = SHOWN if limit is None and output_format is Format.TABLE and not history else limit
    cut = selected.head(limit) if limit else selected
    if output_format is Format.TABLE:
        _print_head(chosen, rankings, rows, trials)
        _print_rows(cut, chosen, history=history)
        _print_tail(campaign, chosen, rows, trials, hidden=len(selected) - len(cut), history=history)
        return
    try:
        _export(cut, chosen, output_format, output, history=history)
    except OSError as error:
        if output is None:
            raise
        raise InputError(f"cannot write {output}: {error.strerror}", "give a file in a folder that exists") from error


def _check_words(option: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    for one in values:
        if one not in allowed:
            raise InputError(f"{option} {one!r} is unknown; {nearest(one, allowed)}")


def _plot(
    database: Database, chosen: Ranking, rows: pd.DataFrame, trials: pd.DataFrame, path: Path, element_score: str
) -> None:
    from hts_flows.figures import save
    from hts_flows.figures.ranking import ranking_figure
    from hts_flows.stores.rankings import ranking_tables

    if not rows["mean"].notna().any():
        message = f"--plot: ranking {chosen.number} predicts nothing; {_training(trials)}"
        raise InputError(message, _go_on(chosen.campaign))
    left_out = ranking_tables(database, chosen)[1]
    seen = trials[trials["asked_in"] <= chosen.number]
    save(ranking_figure(rows, seen, left_out, chosen, element_score=element_score), path)
    console.print(f"figure saved: {path}")


def _screening_level(campaign: Campaign, engine: str | None) -> Level:
    """Row of the ladder whose candidates are ranked."""
    levels = {level.name: level for level in campaign.ladder()}
    screening = {name: level for name, level in levels.items() if level.screen}
    if not screening:
        raise InputError(
            f"campaign {campaign.name!r} ranks nothing: no row of its ladder has a 'screen:' section",
            "add one to a row of 'calculate:', e.g. screen: {by: PROPERTY, descriptors: [density, elements], "
            "stop: {budget: 20}}, then type 'hts run FILE --update'",
        )
    if engine is None:
        return next(iter(screening.values()))
    if engine not in screening:
        what = "has no 'screen:' section" if engine in levels else "is no row of its ladder"
        message = f"--engine {engine!r} {what} in campaign {campaign.name!r}"
        raise InputError(message, f"rows with a ranking: {', '.join(screening)}")
    return screening[engine]


def _chosen(name: str, rankings: list[Ranking], number: int | None) -> Ranking:
    if not rankings:
        raise InputError(f"campaign {name!r} has no ranking yet: nothing was asked for", _go_on(name))
    if number is None:
        return rankings[-1]
    for one in rankings:
        if one.number == number:
            return one
    there = f"{rankings[0].number} to {rankings[-1].number}" if len(rankings) > 1 else str(rankings[0].number)
    raise InputError(f"--number {number}: campaign {name!r} has no such ranking", f"there is {there}")


def _go_on(name: str) -> str:
    return f"'hts run FILE' or 'hts launch {name}' goes on with it, 'hts status {name}' says how far it is"


def _training(trials: pd.DataFrame) -> str:
    """How far the training set is."""
    states = Counter(trials.loc[trials["training"], "status"])
    failed = f", {states['failed']} failed" if states["failed"] else ""
    return f"training: {states['verified'] + states['failed']} of {sum(states.values())} computed{failed}"


def _exported(rows: pd.DataFrame, *, history: bool) -> pd.DataFrame:
    """Columns under the names that programs read."""
    if history:
        return rows.rename(columns={"standard_deviation": "std"})
    further = [column for column in rows.columns if str(column).startswith("x_")]
    return rows[[*EXPORTED, *further]].rename(columns=EXPORTED)


def _selected(rows: pd.DataFrame, statuses: Sequence[str], where: Sequence[str]) -> pd.DataFrame:
    from hts_flows.conditions import read_condition

    conditions = [read_condition(text, list(rows.columns)) for text in where]
    rows = rows[rows["status"].isin(statuses)] if statuses else rows
    for condition in conditions:
        # NaN and NA are no numbers: what is not predicted is neither above nor below anything.
        column = rows[condition.name].astype(object).where(rows[condition.name].notna(), None)
        rows = rows[[condition.holds({condition.name: value}) for value in column]]
    return rows


def _objects(rows: pd.DataFrame) -> list[dict[str, Any]]:
    plain = rows.astype(object).where(rows.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _export(rows: pd.DataFrame, chosen: Ranking, output_format: Format, output: Path | None, *, history: bool) -> None:
    if output_format is Format.JSON:
        document = {
            "campaign": chosen.campaign,
            "ranking": chosen.model_dump(mode="json"),
            "history" if history else "candidates": _objects(rows if history else rows[list(EXPORTED.values())]),
        }
        if output is None:
            print_json(without_nan(document))
            return
        import json

        output.write_text(json.dumps(without_nan(document), indent=2, default=str), encoding="utf-8")
    elif output_format is Format.CSV:
        text = rows.to_csv(output, index=False)
        if output is None:
            typer.echo(text, nl=False)
            return
    else:
        if output is None:
            raise InputError("--format parquet is binary", f"add --output {chosen.campaign}.parquet")
        rows.to_parquet(output, index=False)
    console.print(f"{len(rows)} {'trials' if history else 'candidates'} written: {output}")


def _print_head(chosen: Ranking, rankings: list[Ranking], rows: pd.DataFrame, trials: pd.DataFrame) -> None:
    """Say which ranking it is, what is known, whether the search goes on, and what the model is."""
    counts = Counter(rows["status"])
    known = ", ".join(f"{counts[one]} {one}" for one in ("verified", "failed", "queued", "not asked"))
    wanted = "low" if chosen.minimize else "high"
    last = f"the last of {len(rankings)}" if chosen is rankings[-1] else f"the last is {rankings[-1].number}"
    line = f"ranking {chosen.number} ({last}) of {chosen.created_at:%Y-%m-%d %H:%M} UTC: {chosen.by}, {wanted} is good"
    console.print(line, style="bold", markup=False)
    best = trials["best"].iloc[-1] if len(trials) else float("nan")
    found = ""
    if math.isfinite(best):
        found = f"; best so far: {trials['best_label'].iloc[-1]} with {cell(best, '.4g')} {chosen.unit}"
    console.print(f"{known}{found.rstrip()}", markup=False)
    if chosen.left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in chosen.left_out.items())
        console.print(f"left out by filters: {reasons}", markup=False)
    if not rows["mean"].notna().any():
        console.print(f"nothing is predicted yet; {_training(trials)}", markup=False)
    end = rankings[-1]
    if end.stopped or end.note:
        text = f"the search has ended ({end.stopped}): {end.note}" if end.stopped else f"asks for no more: {end.note}"
        console.print(text.rstrip(": "), markup=False)
    if model := _model(chosen):
        console.print(model, markup=False)
    if not counts["not asked"] and not rows["mean"].notna().any():
        return
    kept = int(rows["rank"].notna().sum())
    if kept < chosen.n_candidates:
        console.print(
            f"the best {kept} of {chosen.n_candidates} candidates are kept, and those that were asked for", markup=False
        )


def _model(chosen: Ranking) -> str:
    """The model in a line; empty where there was none."""
    from hts_flows.figures.ranking_panels import fitted

    found = fitted(chosen)
    if not found:
        return ""
    scales = ", ".join(f"{scale:.3g}" for scale in found["length_scales"])
    values = "logarithms of the values" if found["transform"] == "log" else "the values themselves"
    text = f"model: Gaussian process on {values}, {chosen.n_observed} known; length scale {scales} standard deviations"
    return f"{text}, noise {found['noise']:.2g} of the signal variance"


def _print_rows(rows: pd.DataFrame, chosen: Ranking, *, history: bool) -> None:
    from hts_flows.flows import Column

    unit = chosen.unit
    objects = _objects(rows)
    predicted = predictions([(one["mean"], one["std"]) for one in objects])
    for one, text in zip(objects, predicted, strict=True):
        one["predicted"] = text
        one["state"] = one["status"]  # the word that colours a row
        if one["cause"]:
            one["status"] = f"{one['status']} ({one['cause']})"
    columns = [
        Column("predicted", "predicted", unit),
        Column("z_score", "Z", "", ".2f"),
        Column("status", "status"),
        Column("value", "value", unit, ".4g"),
    ]
    if history:
        for one in objects:
            one["when"] = f"{one['asked_at']:%m-%d %H:%M}"
        columns = [
            Column("trial", "trial"),
            Column("asked_in", "ranking"),
            Column("when", "asked", "UTC"),
            Column("label", "candidate"),
            *columns,
            Column("best", "best so far", unit, ".4g"),
            Column("why", "why"),
        ]
    else:
        columns = [Column("rank", "rank"), Column("label", "candidate"), *columns]
    if objects:
        print_table(table(columns, objects))
    else:
        console.print("no candidates match")


def predictions(pairs: Sequence[tuple[float | None, float | None]]) -> list[str | None]:
    """Write means and standard deviations, these with two digits, plus-minus signs below each other.

    Parameters
    ----------
    pairs
        Mean and standard deviation; None where nothing was predicted.
    """
    parts: list[tuple[str, str] | None] = []
    for mean, spread in pairs:
        if mean is None or spread is None:
            parts.append(None)
            continue
        digits = max(0, 1 - math.floor(math.log10(spread))) if spread > 0 else 3
        digits = min(digits, 6)
        parts.append((f"{mean:.{digits}f}".replace("-", "−"), f"{spread:.{digits}f}"))
    width = max((len(part[0]) for part in parts if part), default=0)
    return [f"{part[0]:>{width}} ± {part[1]}" if part else None for part in parts]


def _print_tail(
    campaign: Campaign, chosen: Ranking, rows: pd.DataFrame, trials: pd.DataFrame, *, hidden: int, history: bool
) -> None:
    """Say what is not shown, and what to type next."""
    name = campaign.name
    if hidden:
        console.print(f"… and {hidden} more; --limit 0 shows all")
    hints = []
    if not history and len(trials):
        hints.append(f"hts ranking {name} --history")
    if rows["mean"].notna().any():
        hints.append(f"hts ranking {name} --plot {name}.png")
    if (rows["status"] == "failed").any():
        hints.append(f"hts failures {name}")
    if (rows["status"] == "verified").any():
        hints.append(f"hts results {name} --sort {'' if chosen.minimize else '-'}{chosen.by}")
    if hints:
        console.print(f"[dim]next: {escape(', '.join(hints))}[/]")
