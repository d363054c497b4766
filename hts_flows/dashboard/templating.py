"""Pages: templates, and how numbers, times and states are written in them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse

import hts_flows

if TYPE_CHECKING:
    from fastapi import Request

    from hts_flows.dashboard.access.sessions import Session

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_GIGABYTE = 1024
_MANY_DIGITS, _FEW_DIGITS = 1e5, 1e-3
#: States of results, jobs, campaigns and allocations: the shape that stands for them, whatever their colour.
SHAPES = {
    "done": "done",
    "finished": "done",
    "COMPLETED": "done",
    "verified": "done",
    "ended": "done",
    "failed": "failed",
    "FIZZLED": "failed",
    "running": "running",
    "RUNNING": "running",
    "queued": "queued",
    "READY": "queued",
    "RESERVED": "reserved",
    "submitting": "reserved",
    "WAITING": "waiting",
    "not asked": "waiting",
    "paused": "paused",
    "PAUSED": "paused",
    "DEFUSED": "stopped",
    "ARCHIVED": "stopped",
}
#: What FireWorks calls a state, in plain words.
WORDS = {
    "COMPLETED": "done",
    "FIZZLED": "failed",
    "RUNNING": "running",
    "READY": "ready",
    "RESERVED": "sent to SLURM",
    "WAITING": "waits for others",
    "PAUSED": "paused",
    "DEFUSED": "will not run",
    "ARCHIVED": "archived",
}


def duration(seconds: float | None) -> str:
    """Write a time span in its two largest units: 45 s, 3 min, 2 h 5 min, 4 d 3 h."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    seconds = max(0, round(seconds))
    if seconds < _MINUTE:
        return f"{seconds} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE} min"
    first, second, names = (_HOUR, _MINUTE, ("h", "min")) if seconds < _DAY else (_DAY, _HOUR, ("d", "h"))
    rest = seconds % first // second
    return f"{seconds // first} {names[0]}" + (f" {rest} {names[1]}" if rest else "")


def ago(moment: datetime | None) -> str:
    """Write how long ago something was."""
    if moment is None:
        return "–"
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = (datetime.now(UTC) - aware).total_seconds()
    return "now" if seconds < 2 else f"{duration(seconds)} ago"  # noqa: PLR2004


def since(moment: datetime | None) -> str:
    """Write for how long something has been so."""
    text = ago(moment)
    return "a moment" if text == "now" else text.removesuffix(" ago")


def stamp(moment: datetime | None) -> str:
    """Write a time as people read it, UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "–"


def number(value: Any, spec: str = "") -> str:
    """Write a value of a table: numbers with four digits that count unless a format says otherwise."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else _float(value, spec)
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, ensure_ascii=False)
    words = {None: "–", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, datetime):
        return stamp(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _float(value: float, spec: str) -> str:
    if not spec:
        large = abs(value) >= _MANY_DIGITS or 0 < abs(value) < _FEW_DIGITS
        spec = ".3e" if large else ".4g"
    return format(value, spec).replace("-", "−")


def megabytes(value: float | None) -> str:
    """Write an amount of memory given in MB."""
    if value is None:
        return "–"
    return f"{value / _GIGABYTE:.1f} GB" if value >= _GIGABYTE else f"{value:.0f} MB"


def with_query(request: Request, **changes: Any) -> str:
    """Give the address of this page with some parameters changed; None takes one out.

    Paging starts anew, unless it is what changes.
    """
    pairs = [(key, value) for key, value in request.query_params.multi_items() if key not in changes]
    if not {"cursor", "offset"} & changes.keys():
        pairs = [(key, value) for key, value in pairs if key not in {"cursor", "offset"}]
    for key, value in changes.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(key, str(one)) for one in values if one is not None and one != ""]
    return request.url.path + ("?" + urlencode(pairs) if pairs else "")


def address(path: str, **parameters: Any) -> str:
    """Give an address with parameters; those that are None or empty are left out."""
    pairs = [
        (key, str(one))
        for key, value in parameters.items()
        for one in (value if isinstance(value, list | tuple) else [value])
        if one is not None and one != ""
    ]
    return path + ("?" + urlencode(pairs) if pairs else "")


def environment() -> Environment:
    """Make the environment of all templates; what they are given is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "duration": duration,
        "ago": ago,
        "since": since,
        "stamp": stamp,
        "number": number,
        "megabytes": megabytes,
        "shape": lambda state: SHAPES.get(str(state), "waiting"),
        "word": lambda state: WORDS.get(str(state), str(state)),
    }
    made.globals |= {"with_query": with_query, "address": address, "version": hts_flows.__version__}
    return made


_ENVIRONMENT = environment()


def page(
    request: Request,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Draw a page.

    Parameters
    ----------
    request
        Whose session decides which buttons there are, and whose cookie "theme" which colours.
    template
        File in ``templates/``.
    context
        What the template shows.
    status, headers
        Of the answer.
    """
    session: Session | None = request.scope.get("state", {}).get("session")
    theme = request.cookies.get("hts_theme")
    text = _ENVIRONMENT.get_template(template).render(
        **context,
        request=request,
        session=session,
        may_change=session is not None and session.allows("operator"),
        theme=theme if theme in {"light", "dark"} else "",
    )
    return HTMLResponse(text, status_code=status, headers=dict(headers or {}))
