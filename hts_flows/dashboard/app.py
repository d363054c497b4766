"""The web application: routes, what every request passes, and how errors are answered."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

import hts_flows
from hts_flows.dashboard import api, pages
from hts_flows.dashboard.access.gate import Gate
from hts_flows.dashboard.dependencies import confirmed
from hts_flows.dashboard.live import Watcher
from hts_flows.dashboard.problems import add_handlers

if TYPE_CHECKING:
    from hts_flows.dashboard.state import Dashboard

HERE = Path(__file__).parent


def create_app(dashboard: Dashboard) -> FastAPI:
    """Make the application of a dashboard.

    Parameters
    ----------
    dashboard
        What it shows, and who may see it.
    """
    app = FastAPI(
        title="hts_flows",
        version=hts_flows.__version__,
        summary="Campaigns, results, rankings, jobs, failures and the audit, as the pages of the dashboard show them.",
        # The document is a route of the API like others, so that it needs a login too.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(confirmed)],
    )
    app.state.dashboard = dashboard
    app.state.watcher = Watcher(dashboard.connection)
    add_handlers(app)
    api.add_to(app)
    pages.add_to(app)
    app.mount("/static/plotly", StaticFiles(directory=str(files("plotly") / "package_data")))
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_middleware(GZipMiddleware, minimum_size=2000, compresslevel=4)
    # Added last, so that it is the outermost.
    app.add_middleware(Gate, dashboard=dashboard)
    return app
