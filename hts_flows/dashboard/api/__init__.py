"""The JSON API under ``/api``: one module a subject, each answering with the documents that the pages show."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import APIRouter

from hts_flows.dashboard.problems import RESPONSES, NotFoundError

if TYPE_CHECKING:
    from fastapi import FastAPI

#: Modules of this package that have routes.
SUBJECTS = (
    "session",
    "overview",
    "jobs",
    "resubmissions",
    "failures",
    "audit",
    "queue_actions",
    "results",
    "rankings",
    "figures",
    "candidates",
)


def add_to(app: FastAPI) -> None:
    """Add all routes of the API."""
    api = APIRouter(prefix="/api", responses=RESPONSES)
    for subject in SUBJECTS:
        api.include_router(import_module(f"{__name__}.{subject}").router)

    @api.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing(path: str) -> None:
        raise NotFoundError(f"the API has no /api/{path} for this method", "see /api/openapi.json")

    app.include_router(api)
