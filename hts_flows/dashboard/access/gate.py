"""What every request has to pass: a name this server goes by, a session, and for changes the right origin."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from hts_flows.dashboard.templating import page

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from hts_flows.dashboard.access.sessions import Session
    from hts_flows.dashboard.state import Dashboard

#: Everything comes from this server; plotly writes style elements of its own, see docs/dashboard.md.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" browsers would send the origin "null" with the forms of our own pages.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
#: Paths that need no session: how to log in, and what the login page is drawn with.
PUBLIC = ("/login", "/static/")
#: Methods that change nothing.
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Longest request body, bytes.
LONGEST_BODY = 1_000_000


class Gate:
    """Middleware around everything: no route can be reached without it.

    Parameters
    ----------
    app
        What lies behind.
    dashboard
        Sessions and settings.
    """

    def __init__(self, app: ASGIApp, dashboard: Dashboard) -> None:
        self.app = app
        self.dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # Pages hold what only users may see; the own files, whose addresses name the version, may be kept.
                static = request.url.path.startswith("/static/")
                headers.setdefault("Cache-Control", "public, max-age=86400" if static else "no-store")
                if self.dashboard.configuration.https:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> Response | None:
        return self._wrong(request) or self._without_session(request)

    def _wrong(self, request: Request) -> Response | None:
        """Answer a request that nobody may send."""
        host = request.headers.get("host", "")
        if not self.dashboard.goes_by(_host_name(host)):
            return PlainTextResponse(
                f"This dashboard does not go by the name {_host_name(host)!r}.\n"
                "Open the address that 'hts dashboard' printed, or add the name to 'dashboard: names:' in the settings "
                "file.\n",
                status_code=400,
            )
        if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
            return refuse(request, 400, "an address must not hold the character NUL (%00)", "take it out")
        if request.method not in SAFE:
            if not same_origin(request):
                return refuse(request, 403, "this request comes from another site, so nothing was changed")
            if too_long(request):
                return refuse(request, 413, f"the request is longer than {LONGEST_BODY:,} bytes", "choose less at once")
        return None

    def _without_session(self, request: Request) -> Response | None:
        """Find the session, and answer a request that needs one and has none."""
        path: str = request.scope["path"]
        session = self.dashboard.session_of(request)
        request.scope.setdefault("state", {})["session"] = session
        if session is not None or any(path == public or path.startswith(public) for public in PUBLIC):
            return None
        if path.startswith("/api"):
            return problem(401, "not logged in", "open /login in a browser; 'hts dashboard' prints the address")
        if request.method not in SAFE:
            # What a form has sent is lost, and where it was sent to has no page.
            return RedirectResponse("/login?next=/", status_code=303)
        target = path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(target, safe='')}", status_code=303)


def problem(status: int, error: str, hint: str | None = None) -> JSONResponse:
    """Answer with an error in the form of :class:`hts_flows.dashboard.problems.Problem`."""
    content: dict[str, Any] = {"error": error, "hint": hint}
    return JSONResponse(content, status_code=status)


def refuse(request: Request, status: int, error: str, hint: str | None = None) -> Response:
    """Answer with an error, with JSON under /api, else with a page."""
    if request.scope["path"].startswith("/api"):
        return problem(status, error, hint)
    return page(request, "problem.html", {"problem": {"error": error, "hint": hint}, "status": status}, status=status)


def session_in(request: Request) -> Session:
    """Give the session that the gate has found; only behind the gate."""
    session: Session | None = request.scope["state"]["session"]
    if session is None:
        raise AssertionError("the gate lets nobody through without a session")
    return session


def same_origin(request: Request) -> bool:
    """Tell whether the page that sent a request is one of this server's, as far as the browser says."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def too_long(request: Request) -> bool:
    """Tell whether a request says that its body is too long, or does not say how long it is."""
    length = request.headers.get("content-length")
    if length is None:
        return "transfer-encoding" in request.headers
    return not length.isdigit() or int(length) > LONGEST_BODY


def _host_name(host: str) -> str:
    """Name in a Host header, without the port."""
    return (host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host).strip("[]").lower()


def seconds_text(seconds: float) -> str:
    """Whole seconds, rounded up, for the header Retry-After."""
    return str(max(1, math.ceil(seconds)))
