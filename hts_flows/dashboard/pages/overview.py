"""The first page: all campaigns at a glance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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
    # MongoDB counts results and jobs at the same time.
    with ThreadPoolExecutor(1) as thread:
        queue = thread.submit(read_queue, dashboard, database, _WORKERS)
        context = {"overview": read_overview(dashboard, database), "queue": queue.result()}
    return page(request, "overview.html", context)
