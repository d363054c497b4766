"""Failures: a panel for each cause with what to do, and the results of one cause to choose from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from hts_flows.dashboard.api.failures import Campaign, CursorText, Engine, Text, cause_named, named_groups
from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.templating import page
from hts_flows.engines import engine_names
from hts_flows.stores.campaigns import campaign_names
from hts_flows.stores.failure_groups import FailedResult, failed_results
from hts_flows.stores.paging import Page

router = APIRouter()

#: Rows of each cause where a text is looked for in all of them.
_FEW = 20


@router.get("/failures")
def failures(
    request: Request,
    dashboard: Running,
    database: Db,
    campaign: Campaign = None,
    engine: Engine = None,
    cause: Annotated[str | None, Query(max_length=100)] = None,
    text: Text = None,
    cursor: CursorText = None,
) -> Response:
    """Show the causes, and the results of the one that is chosen; of all of them where a text is looked for."""
    if cause:
        cause_named(database, cause)
    groups = named_groups(dashboard, database, campaign or None, engine or None)
    tables: dict[str, Page[FailedResult]] = {}
    if cause or text:

        def read(name: str) -> Page[FailedResult]:
            return failed_results(
                database,
                name,
                campaign=campaign or None,
                engine=engine or None,
                text=text or None,
                cursor=(cursor or None) if cause else None,
                limit=50 if cause else _FEW,
            )

        names = [cause] if cause else [group.cause for group in groups]
        # MongoDB looks for a text in what failed for two causes at the same time.
        with ThreadPoolExecutor(2) as threads:
            tables = dict(zip(names, threads.map(read, names), strict=True))
    if text and not cause:
        groups = [group for group in groups if tables[group.cause].rows]
    context = {
        "groups": groups,
        "shown": [group for group in groups if not cause or group.cause == cause],
        "tables": tables,
        "campaigns": campaign_names(database),
        "engines": sorted({*engine_names(), *(one.name for group in groups for one in group.engines)}),
        "campaign": campaign or None,
        "engine": engine or None,
        "cause": cause or None,
        "text": text or None,
    }
    return page(request, "failures.html", context)
