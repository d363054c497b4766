"""Figures of a campaign as plotly's JSON: of its results, as they are filtered, and of its searches."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response

from hts_flows.dashboard.api.rankings import read_search
from hts_flows.dashboard.api.results import LONGEST, CampaignName, Filters, level_named, read_levels
from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.problems import NAMED, NotFoundError
from hts_flows.errors import InputError, nearest
from hts_flows.flows import domain_names, get_domain
from hts_flows.stores.database import Database
from hts_flows.stores.rankings import ranking_tables
from hts_flows.stores.result_columns import ColumnInfo
from hts_flows.stores.result_pages import Snapshot
from hts_flows.stores.results import result_key

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from hts_flows.dashboard.state import Dashboard
    from hts_flows.flows import Domain

router = APIRouter(tags=["figures"])

#: Says that points are not to be coloured by a column.
NO_COLUMN = "none"
#: A column of more different values does not colour points by itself.
_MOST_COLOURS = 7
_FIGURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "plotly's `data` and `layout`",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
#: Of more results than this, only what tables have is drawn.
_MOST_DRAWN = 50
_STYLE_ID = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')
Theme = Literal["light", "dark"]


class FigureQuery(Filters):
    """What a figure shows."""

    theme: Theme = Field(default="light", description="Colours of the text and the scales")
    by: str | None = Field(
        default=None,
        max_length=LONGEST,
        description="periodic-table, histogram: the property; that which tells good candidates from others else",
    )
    how: Literal["best", "mean", "count"] = Field(
        default="best", description="periodic-table: which of the values of the candidates with an element"
    )
    x: str | None = Field(default=None, max_length=LONGEST, description="scatter: column along x")
    y: str | None = Field(default=None, max_length=LONGEST, description="scatter: column along y")
    colour: str | None = Field(
        default=None, max_length=LONGEST, description=f"scatter: column that colours the points, or {NO_COLUMN!r}"
    )
    number: int | None = Field(
        default=None, ge=0, le=10_000_000, description="predictions, parity: number of the ranking; the last else"
    )


@dataclass(frozen=True)
class Axes:
    """What the figures of a table show unless a person chooses something else.

    Attributes
    ----------
    by
        The property; empty where the table has no numbers.
    minimize
        Whether its low values are good.
    x, y
        Columns of the scatter plot.
    colour
        Column that colours its points; None for none.
    numeric
        Columns that hold numbers, those that tables show first.
    colours
        Columns that points may be coloured by.
    """

    by: str
    minimize: bool
    x: str
    y: str
    colour: str | None
    numeric: list[ColumnInfo]
    colours: list[ColumnInfo]


@cache
def plotly_styles() -> tuple[str, ...]:
    """Ids of the style elements that plotly's script makes when it is loaded, unless there are elements with them."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    return tuple(sorted({one.decode() for one in _STYLE_ID.findall(script)}))


def wanted_of(domain: str | None, by: str | None = None, *, minimize: bool = True) -> tuple[str, bool] | None:
    """Tell which property is wanted, and whether low values of it are.

    Parameters
    ----------
    domain
        Name of the candidates' domain.
    by, minimize
        What the row searches for, where it does.
    """
    if by:
        return by, minimize
    headline = get_domain(domain).headline if domain in domain_names() else None
    return (headline.name, headline.good == "low") if headline else None


def axes_of(snapshot: Snapshot, wanted: tuple[str, bool] | None) -> Axes:
    """Choose what the figures of a table show first.

    Parameters
    ----------
    snapshot
        The table.
    wanted
        As :func:`wanted_of` gives it.
    """
    frame = snapshot.frame
    numeric = [one for one in snapshot.columns if one.kind in ("number", "integer") and frame[one.name].notna().any()]
    numeric.sort(key=lambda one: (not one.shown, one.group != "property"))
    names = [one.name for one in numeric]
    first = names[0] if names else ""
    by, minimize = wanted if wanted and wanted[0] in names else (first, True)
    properties = [one.name for one in numeric if one.group == "property" and one.name != by]
    x = (properties or [name for name in names if name != by] or [by])[0]
    groups = [one for one in snapshot.columns if one.group == "facet" or one.name == "state"]
    counts = {one.name: int(frame[one.name].nunique()) for one in groups if one.group == "facet"}
    few = [one for one in groups if 1 < counts.get(one.name, 0) <= _MOST_COLOURS]
    # Names are told apart by colour better than numbers are.
    few.sort(key=lambda one: (one.kind in ("number", "integer"), counts[one.name]))
    return Axes(by, minimize, x, by, few[0].name if few else None, numeric, [*groups, *numeric])


def _periodic_table(snapshot: Snapshot, axes: Axes, query: FigureQuery) -> go.Figure:
    from hts_flows.figures.interactive import periodic_table

    by = query.by or axes.by
    minimize = axes.minimize if by == axes.by else _low_is_good(snapshot.domain, by)
    how = query.how if by else "count"
    frame = snapshot.selected(query.query())
    return periodic_table(frame, by, how, minimize=minimize, columns=snapshot.columns, theme=query.theme)


def _scatter(snapshot: Snapshot, axes: Axes, query: FigureQuery) -> go.Figure:
    from hts_flows.figures.interactive import scatter

    colour = query.colour or axes.colour
    return scatter(
        snapshot.selected(query.query()),
        query.x or _some(axes.x),
        query.y or _some(axes.y),
        None if colour == NO_COLUMN else colour,
        columns=snapshot.columns,
        theme=query.theme,
    )


def _histogram(snapshot: Snapshot, axes: Axes, query: FigureQuery) -> go.Figure:
    from hts_flows.figures.interactive import histogram

    frame = snapshot.selected(query.query())
    return histogram(frame, query.by or _some(axes.by), columns=snapshot.columns, theme=query.theme)


def _own(database: Database, snapshot: Snapshot, query: FigureQuery) -> go.Figure:
    domain = get_domain(snapshot.domain) if snapshot.domain in domain_names() else None
    if domain is None or domain.interactive is None:
        having = [name for name in domain_names() if get_domain(name).interactive]
        raise NotFoundError(
            f"{snapshot.domain or 'a campaign without results'} has no figure of its own",
            f"domains with one: {', '.join(having)}",
        )
    frame = snapshot.selected(query.query())
    if len(frame) <= _MOST_DRAWN:
        frame = _with_drawn(database, domain, frame)
    return domain.interactive.draw(frame, query.theme)


def _with_drawn(database: Database, domain: Domain, frame: pd.DataFrame) -> pd.DataFrame:
    """Add what the domain's figure draws beside the columns of tables; too much to keep for all results."""
    drawn = domain.drawn
    keys = [result_key(*one) for one in zip(frame["candidate_id"], frame["settings_hash"], strict=True)]
    wanted = {f"calculation.{field}": 1 for field in drawn.values()}
    found = database.results.find({"_id": {"$in": keys}}, wanted)
    calculations = {document["_id"]: document.get("calculation") or {} for document in found}
    for name, field in drawn.items():
        frame[name] = [calculations.get(key, {}).get(field) for key in keys]
    return frame


def _some(name: str) -> str:
    if not name:
        raise InputError("there are no numbers to draw yet", "figures appear with the first results")
    return name


def _low_is_good(domain: str | None, name: str) -> bool:
    columns = get_domain(domain).columns if domain in domain_names() else ()
    return next((column.good != "high" for column in columns if column.name == name), True)


def _search_figure(database: Database, campaign: str, figure: str, query: FigureQuery) -> go.Figure:
    from hts_flows.figures.interactive import ranking_parity, ranking_predictions, ranking_progress

    search = read_search(database, campaign, query.row)
    if not search.rankings:
        raise InputError("nothing was ranked yet", "the first ranking comes when the training set has values")
    if figure == "progress":
        return ranking_progress(search.history(database), search.rankings[-1], theme=query.theme)
    ranking = search.ranking(query.number)
    if figure == "predictions":
        return ranking_predictions(search.table(database, ranking), ranking, theme=query.theme)
    return ranking_parity(ranking_tables(database, ranking)[1], ranking, theme=query.theme)


_OF_RESULTS: dict[str, Callable[[Snapshot, Axes, FigureQuery], Any]] = {
    "periodic-table": _periodic_table,
    "scatter": _scatter,
    "histogram": _histogram,
}
_OF_SEARCHES = ("progress", "predictions", "parity")
#: The figure that only candidates of a domain have.
_OWN = "own"
FIGURES = (*_OF_RESULTS, _OWN, *_OF_SEARCHES)


def draw(dashboard: Dashboard, database: Database, campaign: str, figure: str, query: FigureQuery) -> go.Figure:
    """Draw a figure of a campaign.

    Raises
    ------
    NotFoundError
        There is no such campaign, row, ranking or figure.
    InputError
        There is nothing to draw, or the query names an unknown column.
    """
    if figure not in FIGURES:
        raise NotFoundError(f"no figure is called {figure!r}; {nearest(figure, FIGURES)}", "see /api/openapi.json")
    if figure in _OF_SEARCHES:
        return _search_figure(database, campaign, figure, query)
    level = level_named(read_levels(database, campaign), query.row)
    snapshot = dashboard.tables.snapshot(database, campaign, level.settings_hash)
    if figure == _OWN:
        return _own(database, snapshot, query)
    screen = level.screen
    wanted = wanted_of(snapshot.domain, screen.by, minimize=screen.minimize) if screen else wanted_of(snapshot.domain)
    return _OF_RESULTS[figure](snapshot, axes_of(snapshot, wanted), query)


@router.get("/campaigns/{campaign}/figures/{figure}", response_class=Response, responses={**NAMED, **_FIGURE})
def figure(
    campaign: CampaignName,
    figure: Annotated[str, Path(max_length=LONGEST, description=f"One of {', '.join(FIGURES)}")],
    query: Annotated[FigureQuery, Query()],
    dashboard: Running,
    database: Db,
) -> Response:
    """Draw a figure for plotly: of the results that are chosen, or of a search."""
    from hts_flows.figures.interactive import figure_json

    return Response(figure_json(draw(dashboard, database, campaign, figure, query)), media_type="application/json")
