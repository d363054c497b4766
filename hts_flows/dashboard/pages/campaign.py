"""One campaign: where it stands, its results, its search, figures, and the file it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from hts_flows.dashboard.api.figures import NO_COLUMN, FigureQuery, axes_of, plotly_styles, wanted_of
from hts_flows.dashboard.api.rankings import RankingQuery, ranking_page, read_search, trials_of
from hts_flows.dashboard.api.results import LONGEST, MOST, CampaignName, Filters, no_row
from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.naming import campaign_named
from hts_flows.dashboard.templating import page
from hts_flows.errors import InputError, nearest
from hts_flows.flows import domain_names, get_domain
from hts_flows.stores.overview import campaign_card
from hts_flows.stores.rankings import Status
from hts_flows.stores.result_pages import PAGE, ResultQuery

if TYPE_CHECKING:
    from hts_flows.dashboard.state import Dashboard
    from hts_flows.stores.campaign_cards import CampaignCard, RowCard
    from hts_flows.stores.database import Database
    from hts_flows.stores.result_pages import Snapshot

router = APIRouter()

#: Trials that are listed unless all are asked for.
_TRIALS, _ALL_TRIALS = 15, 5000
#: Earlier versions of a campaign file that are shown, the newest.
_VERSIONS = 10
_UNPROCESSABLE = 422


class CampaignView(FigureQuery):
    """What the page of a campaign shows: everything that is in its address."""

    tab: Literal["results", "ranking", "figures", "file"] = "results"
    columns: list[Annotated[str, Field(max_length=LONGEST)]] = Field(default=[], max_length=500)
    sort: str | None = Field(default=None, max_length=LONGEST)
    offset: int = Field(default=0, ge=0, le=10_000_000)
    limit: int = Field(default=PAGE, ge=1, le=500)
    status: Status | None = None
    trials: Literal["last", "all"] = "last"


@router.get("/campaigns/{campaign}")
def campaign(
    request: Request, campaign: CampaignName, view: Annotated[CampaignView, Query()], dashboard: Running, database: Db
) -> Response:
    """Show a campaign."""
    campaign_named(database, campaign)
    card = dashboard.readings.get(database, ("campaign", campaign), lambda: campaign_card(database, campaign))
    row = _row(card, view)
    context: dict[str, Any] = {
        "card": card,
        "row": row,
        "view": view,
        "tab": view.tab,
        "plotly_styles": plotly_styles(),
    }
    status = 200
    if view.tab == "file":
        context |= _file(database, campaign)
    elif row is not None and view.tab == "ranking":
        context |= _ranking(database, card, row, view)
    elif row is not None:
        context |= _filtered(dashboard, database, card, row, view)
        status = _UNPROCESSABLE if context["problems"] else 200
    return page(request, "campaign.html", context, status=status)


def _row(card: CampaignCard, view: CampaignView) -> RowCard | None:
    """The row that was asked for; else the first, which has all candidates.

    Raises
    ------
    NotFoundError
        There is no such row.
    """
    rows = card.rows
    if view.row is not None:
        found = next((row for row in rows if row.name == view.row), None)
        if found is None:
            raise no_row(view.row, [row.name for row in rows])
        return found
    if view.tab == "ranking":
        rows = [row for row in rows if row.search] or rows
    return rows[0] if rows else None


def _filtered(
    dashboard: Dashboard, database: Database, card: CampaignCard, row: RowCard, view: CampaignView
) -> dict[str, Any]:
    """Results or figures of a row, as they are filtered."""
    snapshot = dashboard.tables.snapshot(database, card.name, row.settings_hash)
    search = row.search
    wanted = wanted_of(card.domain, search.by, minimize=search.minimize) if search else wanted_of(card.domain)
    axes = axes_of(snapshot, wanted)
    conditions = [text for text in view.where if text.strip()]
    problems = _problems(snapshot, conditions)
    kept = [text for number, text in enumerate(conditions) if number not in problems]
    names = [column.name for column in snapshot.columns]
    sort = view.sort or _first_order(wanted, names)
    query = Filters(choice=view.choice, text=view.text, references=view.references).query(
        sort=sort, offset=view.offset, limit=view.limit if view.tab == "results" else 1
    )
    found = snapshot.page(query.model_copy(update={"where": kept}))
    shown = _shown(view.columns, names) or [column.name for column in snapshot.columns if column.shown]
    return {
        "found": found,
        "problems": problems,
        "conditions": conditions,
        "kept": kept,
        "sort": sort,
        "choices": query.choices,
        "columns": [column for column in snapshot.columns if column.name in shown],
        "axes": axes,
        "colour": view.colour or axes.colour or NO_COLUMN,
        "no_column": NO_COLUMN,
        "most_conditions": MOST,
        "own_figure": _own_figure(card.domain),
    }


def _own_figure(domain: str | None) -> str | None:
    """Title of the figure that only candidates of this domain have; None where there is none."""
    figure = get_domain(domain).interactive if domain in domain_names() else None
    return figure.title if figure else None


def _problems(snapshot: Snapshot, conditions: list[str]) -> dict[int, InputError]:
    """What is wrong with each condition that cannot be used, by its place."""
    problems = {}
    for number, text in enumerate(conditions):
        try:
            snapshot.page(ResultQuery(where=[text], limit=0))
        except InputError as error:
            problems[number] = error
    return problems


def _first_order(wanted: tuple[str, bool] | None, names: list[str]) -> str:
    """Best first, where there is a best."""
    if wanted is None or wanted[0] not in names:
        return "label"
    return wanted[0] if wanted[1] else f"-{wanted[0]}"


def _shown(wanted: list[str], names: list[str]) -> list[str]:
    """Columns that were chosen; the label always leads to the candidate.

    Raises
    ------
    InputError
        There is no such column.
    """
    for name in filter(None, wanted):
        if name not in names:
            raise InputError(f"columns: unknown column {name!r}; {nearest(name, names)}")
    return ["label", *filter(None, wanted)] if any(wanted) else []


def _ranking(database: Database, card: CampaignCard, row: RowCard, view: CampaignView) -> dict[str, Any]:
    """A ranking of a row, and what the search has asked for."""
    if row.search is None:
        return {"search": None}
    search = read_search(database, card.name, row.name)
    if not search.rankings:
        return {"search": search, "ranking_page": None}
    wanted = RankingQuery(status=view.status, text=view.text, offset=view.offset, limit=view.limit)
    found = ranking_page(database, search, view.number, wanted)
    table = search.history(database)
    trials = trials_of(table, _ALL_TRIALS if view.trials == "all" else _TRIALS)
    return {
        "search": search,
        "ranking_page": found,
        "ranking": found.ranking,
        "trials": trials[::-1],
        "n_trials": len(table),
        "model": _model_facts(found.ranking.provenance),
    }


def _model_facts(provenance: dict[str, Any]) -> list[tuple[str, Any]]:
    """What the model of a ranking was, without long lists of numbers."""
    screener = provenance.get("screener") or {}
    facts = [("model", screener.get("model")), *(screener.get("fitted") or {}).items()]
    facts += [(name, value) for name, value in (screener.get("options") or {}).items() if not isinstance(value, list)]
    described = (provenance.get("descriptors") or {}).get("descriptors") or {}
    facts += [("descriptors", ", ".join(f"{name} ({one.get('columns', 1)})" for name, one in described.items()))]
    names = {"prior_mean": "prior mean", "descriptors_sha256": "SHA-256 of the descriptors"}
    names |= {"training_sha256": "SHA-256 of the training data"}
    facts += [(words, screener.get(name)) for name, words in names.items()]
    versions = screener.get("versions") or {}
    facts += [("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))]
    return [(name.replace("_", " "), value) for name, value in facts if value not in (None, "", [])]


def _file(database: Database, campaign: str) -> dict[str, Any]:
    """The campaign as it is stored, and as it was before."""
    document = database.campaigns.find_one({"_id": campaign}, {"content": 1, "history": 1, "created_at": 1}) or {}
    history = document.get("history") or []
    # Each version holds from the end of the one before it.
    starts = [document.get("created_at"), *(version["until"] for version in history)]
    versions = [(start, version["until"], version["content"]) for start, version in zip(starts, history, strict=False)]
    return {
        "file": _yaml(document.get("content")),
        "since": starts[-1],
        "versions": [(start, until, _yaml(content)) for start, until, content in versions[::-1][:_VERSIONS]],
        "n_versions": len(versions),
    }


def _yaml(content: Any) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
