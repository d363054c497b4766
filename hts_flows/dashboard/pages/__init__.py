"""The pages: one module a subject, each drawing with a template what the API gives as JSON."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from fastapi import FastAPI

#: Modules of this package that have routes.
SUBJECTS = (
    "login",
    "overview",
    "jobs",
    "resubmit",
    "failures",
    "audit",
    "queue_actions",
    "campaign",
    "candidate",
)


def add_to(app: FastAPI) -> None:
    """Add all pages."""
    pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    for subject in SUBJECTS:
        pages.include_router(import_module(f"{__name__}.{subject}").router)
    app.include_router(pages)
