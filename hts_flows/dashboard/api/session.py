"""Who is logged in, what the API offers, and the stream of live updates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from hts_flows.dashboard.access.users import Role
from hts_flows.dashboard.dependencies import Viewer
from hts_flows.dashboard.live import Watcher

router = APIRouter(tags=["session"])


class Login(BaseModel):
    """Who is logged in."""

    user: str = Field(description="Name, as the audit says it")
    role: Role = Field(description="viewer or operator")
    csrf_token: str = Field(description="To be sent in the header X-CSRF-Token with every change")


@router.get("/session")
def session(viewer: Viewer) -> Login:
    """Say who is logged in, and what a change has to bring along."""
    return Login(user=viewer.user, role=viewer.role, csrf_token=viewer.csrf)


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Give the OpenAPI document of this API."""
    document: dict[str, Any] = request.app.openapi()
    return document


@router.get("/live", include_in_schema=False, response_class=EventSourceResponse)
async def live(request: Request) -> AsyncIterator[ServerSentEvent]:
    """Tell an open page, now and whenever it changes, whether there is something new and whether MongoDB answers."""
    watcher: Watcher = request.app.state.watcher
    async for pulse in watcher.pulses():
        yield ServerSentEvent(event="pulse", data=pulse)
