"""Logging in, with a password or the token that was printed at the start, and out."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from hts_flows.dashboard.access.gate import seconds_text
from hts_flows.dashboard.access.users import User
from hts_flows.dashboard.dependencies import Running
from hts_flows.dashboard.state import Dashboard
from hts_flows.dashboard.templating import duration, page

router = APIRouter()

_WRONG = "user name or password is wrong"
_NOBODY = "users cannot log in now: ask whoever runs the dashboard"


@router.get("/login")
def form(
    request: Request,
    dashboard: Running,
    token: Annotated[str | None, Query(max_length=200)] = None,
    then: Annotated[str, Query(alias="next", max_length=2000)] = "/",
) -> Response:
    """Show the form; with the token of the printed link, log in at once."""
    if token is None:
        return _form(request, dashboard, then)
    address = _address(request)
    if wait := dashboard.limit_by_address.begin(address):
        return _too_many(request, dashboard, then, wait)
    if not dashboard.is_token(token):
        wrong = "this link is of another start of the dashboard; open the one that it printed last"
        return _form(request, dashboard, then, error=wrong, status=401)
    dashboard.limit_by_address.succeeded(address)
    return _enter(dashboard, dashboard.sessions.start(dashboard.owner, "operator"), then)


@router.post("/login")
async def login(
    request: Request,
    dashboard: Running,
    user: Annotated[str, Form(max_length=100)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    then: Annotated[str, Form(alias="next", max_length=2000)] = "/",
) -> Response:
    """Log in with a password."""
    if dashboard.users.usable() is None:
        return _form(request, dashboard, then, status=503)
    address = _address(request)
    keys = ((dashboard.limit_by_address, address), (dashboard.limit_by_name, f"{address} {user}"))
    for limit, key in keys:
        if wait := limit.begin(key):
            return _too_many(request, dashboard, then, wait)
    # argon2 takes a tenth of a second by design: other requests go on meanwhile.
    found: User | None = await run_in_threadpool(dashboard.users.login, user, password)
    if found is None:
        return _form(request, dashboard, then, error=_WRONG, status=401)
    for limit, key in keys:
        limit.succeeded(key)
    return _enter(dashboard, dashboard.sessions.start(user, found.role, found.password), then)


@router.post("/logout")
def logout(request: Request, dashboard: Running) -> Response:
    """End the session."""
    dashboard.sessions.end(request.cookies.get(dashboard.cookie))
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(dashboard.cookie)
    return answer


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _enter(dashboard: Dashboard, cookie: str, then: str) -> Response:
    answer = RedirectResponse(_local(then), status_code=303)
    # Lax, so that a link which somebody shares opens for who is logged in; no GET changes anything.
    answer.set_cookie(
        dashboard.cookie, cookie, httponly=True, samesite="lax", secure=dashboard.configuration.https, path="/"
    )
    return answer


def _local(target: str) -> str:
    """Give an address of this server; another one's becomes the overview."""
    parts = urlsplit(target)
    ours = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return target if ours and "\\" not in target and target.isprintable() else "/"


def _form(request: Request, dashboard: Dashboard, then: str, *, error: str = "", status: int = 200) -> Response:
    users = dashboard.users.usable()
    context = {
        "error": error or (_NOBODY if users is None else ""),
        "next": then,
        "tokens": dashboard.token is not None,
        "passwords": bool(users),
    }
    return page(request, "login.html", context, status=status)


def _too_many(request: Request, dashboard: Dashboard, then: str, wait: float) -> Response:
    answer = _form(request, dashboard, then, error=f"too many wrong logins; try again in {duration(wait)}", status=429)
    answer.headers["Retry-After"] = seconds_text(wait)
    return answer
