"""The first page: all campaigns at a glance."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from hts_flows.dashboard.api.overview import overview as read_overview
from hts_flows.dashboard.api.overview import read_queue
from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.templating import page

router = APIRouter()

#: Workers that are listed; how many more there are is told.
_WORKERS = 12


@router.get("/")
def overview(request: Request, dashboard: Running, database: Db) -> Response:
    """Show the campaigns, the queue and what needs attention."""
    context = {"overview": read_overview(dashboard, database), "queue": read_queue(dashboard, database, _WORKERS)}
    return page(request, "overview.html", context)
