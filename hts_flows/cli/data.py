"""``hts results`` and ``hts rebuild``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hts_flows.cli.output import console, print_json, print_table, table, without_nan
from hts_flows.errors import InputError

if TYPE_CHECKING:
    from hts_flows.campaign import Campaign
    from hts_flows.ladder import Level
    from hts_flows.stores import Database
    from hts_flows.stores.results import Result

CampaignName = Annotated[str, typer.Argument(help="Name of the campaign, as 'hts status' lists it.")]

#: Of an earlier attempt, what stays in the database.
_BULKY = {"start", "calculation", "properties", "structure", "submission"}


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(
        epilog="Example: hts results graphite_alkali --where 'intercalation_energy < 0' --sort intercalation_energy"
    )(results)
    app.command(epilog="Example: hts rebuild graphite_alkali")(rebuild)


def results(
    name: CampaignName,
    where: Annotated[
        list[str] | None, typer.Option(help="Condition NAME OPERATOR VALUE; may be given several times, all hold.")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="Sort by this field; with a leading - from high to low.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many rows; 0 is all.")] = 0,
    engine: Annotated[
        str | None, typer.Option(help="Results of this engine; the first of the ladder when left out.")
    ] = None,
    references: Annotated[bool, typer.Option("--references", help="Show the references instead.")] = False,
    output_format: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Save the campaign's figure: .png, .pdf or .svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Query a campaign's results: filter, sort, export, draw. One row a candidate."""
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import load_campaign
    from hts_flows.stores.results import find_results, results_frame

    database = connect()
    campaign = load_campaign(database, name)
    level = _chosen_level(campaign, engine)
    found = list(
        find_results(
            database,
            name,
            settings_hash=level.settings_hash,
            where=where or (),
            sort=sort or ("label" if references else None),
            limit=limit,
            references=references,
        )
    )
    output_format = Format.JSON if as_json else output_format
    if plot and not found:
        raise InputError("--plot: no results match, there is nothing to draw", "leave --where out, or see 'hts status'")
    if plot:
        if references:
            raise InputError("--plot draws candidates", "leave --references out")
        if campaign.domain.figure is None:
            raise InputError(f"--plot: the domain {campaign.domain.name!r} has no figure")
        from hts_flows.figures import save

        save(campaign.domain.figure(results_frame(found, campaign.domain.drawn)), plot)
        console.print(f"figure saved: {plot}")
        if output_format is Format.TABLE and output is None:
            return
    if output_format is Format.TABLE:
        if output:
            raise InputError("--output needs --format json, csv or parquet")
        print_results(database, campaign, found)
        return
    try:
        _export(database, campaign, found, output_format, output)
    except OSError as error:
        if output is None:
            raise
        raise InputError(f"cannot write {output}: {error.strerror}", "give a file in a folder that exists") from error


def _chosen_level(campaign: Campaign, engine: str | None) -> Level:
    levels = {level.name: level for level in campaign.ladder()}
    if engine is None:
        return next(iter(levels.values()))
    if engine not in levels:
        raise InputError(f"--engine {engine!r}: campaign {campaign.name!r} has {', '.join(levels)}")
    return levels[engine]


def _export(
    database: Database, campaign: Campaign, found: list[Result], output_format: Format, output: Path | None
) -> None:
    from hts_flows.stores.results import results_frame

    if output_format is Format.JSON:
        objects = [as_object(result) for result in found]
        promoted: dict[str, list[dict[str, Any]]] = {}
        for _, results in _higher_results(database, campaign, found):
            for result in results:
                promoted.setdefault(result.candidate_id, []).append(as_object(result))
        for item in objects:
            item["promoted"] = promoted.get(item["candidate_id"], [])
        if output is None:
            print_json(without_nan(objects))
            return
        import json

        output.write_text(json.dumps(without_nan(objects), indent=2, default=str), encoding="utf-8")
    elif output_format is Format.CSV:
        text = results_frame(found).to_csv(output, index=False)
        if output is None:
            typer.echo(text, nl=False)
            return
    else:
        if output is None:
            raise InputError("--format parquet is binary", f"add --output {campaign.name}.parquet")
        results_frame(found).to_parquet(output, index=False)
    console.print(f"{len(found)} results written: {output}")


def as_object(result: Result) -> dict[str, Any]:
    """One candidate as JSON: identity, properties at the top, then structure and provenance."""
    from hts_flows.stores.results import result_row

    calculation = result.calculation or {}
    return {
        **result_row(result),
        "failure": result.failure.model_dump(mode="json") if result.failure else None,
        "structure": calculation.get("structure") or result.start,
        "references": result.references,
        "settings": result.settings,
        "attempts": [attempt.model_dump(mode="json", exclude=_BULKY) for attempt in result.attempts],
        "provenance": result.provenance.model_dump(mode="json"),
    }


def _higher_results(database: Database, campaign: Campaign, found: list[Result]) -> list[tuple[Level, list[Result]]]:
    """Results of the same candidates on the rows of the ladder above theirs, row by row."""
    from hts_flows.stores.results import Result

    shown = {result.settings_hash for result in found}
    ladder = campaign.ladder()
    lowest = max((level.number for level in ladder if level.settings_hash in shown), default=len(ladder))
    ids = [result.candidate_id for result in found]
    higher = []
    for level in ladder[lowest + 1 :]:
        query = {
            "campaigns": campaign.name,
            "role": "candidate",
            "candidate_id": {"$in": ids},
            "settings_hash": level.settings_hash,
        }
        results = [Result.model_validate(document) for document in database.results.find(query)]
        if results:
            higher.append((level, results))
    return higher


def print_results(database: Database, campaign: Campaign, found: list[Result]) -> None:
    """Print a campaign's table, what higher rows of the ladder say beside it, and what failed."""
    from hts_flows.flows import Column
    from hts_flows.stores.results import result_row

    if not found:
        console.print("no results match")
        return
    rows = {result.candidate_id: result_row(result) for result in found}
    if found[0].role == "reference":
        columns = [
            Column("label", "reference"),
            Column("candidate_id", "candidate_id"),
            Column("energy", "E", "eV", ".3f"),
            Column("max_force", "max. force", "eV/Å", ".3f"),
            Column("state", "state"),
        ]
    else:
        columns = list(campaign.domain.columns)
    for level, results in _higher_results(database, campaign, found):
        by = level.promote.by if level.promote else "energy"
        base = next((column for column in columns if column.name == by), Column(by, by))
        columns.append(Column(f"{by} {level.name}", f"{base.header} {level.name}", base.unit, base.format))
        for result in results:
            value = "failed" if result.state == "failed" else (result.properties or {}).get(by)
            rows[result.candidate_id][f"{by} {level.name}"] = value
    if any(row["state"] == "done" for row in rows.values()):
        # What the engine does not give is no column; exports have it.
        columns = [column for column in columns if any(row.get(column.name) is not None for row in rows.values())]
    if any(row["state"] != "done" for row in rows.values()):
        columns += [Column("state", "state"), Column("cause", "cause")]
    print_table(table(columns, list(rows.values())))


def rebuild(name: CampaignName) -> None:
    """Parse the stored raw outputs of a campaign again and derive its properties anew. Runs no engine."""
    from hts_flows.launch.recording import rebuild_results
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import load_campaign

    database = connect()
    load_campaign(database, name)
    count, missing = rebuild_results(database, name)
    console.print(f"{count} results parsed again from their raw outputs")
    if missing:
        console.print(f"[yellow]{len(missing)} left as they are, no raw output stored:[/] {', '.join(missing[:10])}")
        raise typer.Exit(1)
