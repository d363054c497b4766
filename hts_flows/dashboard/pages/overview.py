"""The first page: all campaigns at a glance."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from hts_flows.dashboard.dependencies import Db
from hts_flows.dashboard.templating import page
from hts_flows.stores.overview import overview as read_overview
from hts_flows.stores.queue_summary import queue_summary

router = APIRouter()


@router.get("/")
def overview(request: Request, database: Db) -> Response:
    """Show the campaigns, the queue and what needs attention."""
    return page(request, "overview.html", {"overview": read_overview(database), "queue": queue_summary(database)})
