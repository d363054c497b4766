"""What the routes ask for: the dashboard, its database, who asks, and whether they may."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from hts_flows.dashboard.access.gate import SAFE, session_in
from hts_flows.dashboard.access.sessions import Session
from hts_flows.dashboard.forms import MOST_FIELDS
from hts_flows.dashboard.problems import ForbiddenError
from hts_flows.dashboard.state import Dashboard
from hts_flows.stores.database import Database

CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf_token"


def _dashboard(request: Request) -> Dashboard:
    dashboard: Dashboard = request.app.state.dashboard
    return dashboard


def _database(request: Request) -> Database:
    return _dashboard(request).connection.database


def _operator(request: Request) -> Session:
    session = session_in(request)
    if not session.allows("operator"):
        raise ForbiddenError(
            f"{session.user} is a viewer, and viewers change nothing",
            "ask whoever runs the dashboard for the role operator: hts dashboard user add NAME --role operator",
        )
    return session


async def confirmed(request: Request) -> None:
    """See that a request which changes something was made by a page of ours: it brings the session's CSRF token.

    The token is in the header X-CSRF-Token, or in the field csrf_token of a form. It is a dependency of every route.

    Raises
    ------
    ForbiddenError
        It is not there, or not the right one.
    """
    session: Session | None = request.scope["state"]["session"]
    if request.method in SAFE or session is None:
        return
    token = request.headers.get(CSRF_HEADER)
    kind = request.headers.get("content-type", "")
    if token is None and kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        value = (await request.form(max_fields=MOST_FIELDS)).get(CSRF_FIELD)
        token = value if isinstance(value, str) else None
    if not session.confirmed_by(token):
        raise ForbiddenError(
            "the request does not bring the token of this session, so nothing was changed", "reload the page, try again"
        )


Running = Annotated[Dashboard, Depends(_dashboard)]
Db = Annotated[Database, Depends(_database)]
#: Whoever is logged in.
Viewer = Annotated[Session, Depends(session_in)]
#: Whoever is logged in and may change things.
Operator = Annotated[Session, Depends(_operator)]
