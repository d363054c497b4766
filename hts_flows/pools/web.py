"""Answers of web services: JSON, asked for again when the service is busy or the connection breaks."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hts_flows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

logger = logging.getLogger(__name__)

#: How often a page is asked for before giving up.
ATTEMPTS = 5
#: Wait before the second attempt, s; it doubles with each further one.
FIRST_WAIT = 1.0
#: Longest wait that a service may ask for in Retry-After, s.
LONGEST_WAIT = 120.0
#: Busy (429) and errors of the service that pass.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_OK, _REDIRECT, _BAD, _UNAUTHORISED, _FORBIDDEN = 200, 300, 400, 401, 403
_SHOWN = 300


class RefusedError(InputError):
    """The service does not let this user in (401, 403)."""


def get_json(
    session: requests.Session, url: str, parameters: Mapping[str, Any] | None, timeout: float, *, redirects: bool = True
) -> dict[str, Any]:
    """Ask for one JSON object.

    Parameters
    ----------
    session
        With its headers.
    url, parameters
        What to ask for. Neither may hold a secret: messages show them.
    timeout
        Longest wait for a part of the answer, s.
    redirects
        Whether an answer "it is elsewhere" is followed; not where a header holds a key, which would go there too.

    Raises
    ------
    InputError
        The service cannot be reached after several attempts, refuses the request, or answers something else.
    """
    import requests

    host = urlsplit(url).netloc
    problem = ""
    for attempt in range(ATTEMPTS):
        wait = FIRST_WAIT * 2**attempt
        try:
            response = session.get(url, params=parameters, timeout=timeout, allow_redirects=redirects)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            problem = _broken(error, timeout)
        except requests.RequestException as error:
            raise InputError(f"cannot ask {url}: {error}", "check the address") from error
        else:
            if response.status_code not in TRANSIENT:
                return _content(response, host)
            problem = f"it answered {response.status_code} {response.reason}"
            wait = max(wait, _asked_wait(response))
        if attempt + 1 < ATTEMPTS:
            logger.info("%s: %s; again in %.0f s", host, problem, wait)
            time.sleep(wait)
    raise InputError(
        f"no answer from {url} in {ATTEMPTS} attempts: {problem}",
        "try again later; check the address and that this machine reaches the internet",
    )


def _broken(error: Exception, timeout: float) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return f"nothing came for {timeout:g} s (see 'timeout')"
    return f"the connection failed ({str(error)[:_SHOWN]})"


def _asked_wait(response: requests.Response) -> float:
    """Seconds that the service asks to wait; dates are not read."""
    asked = response.headers.get("Retry-After", "")
    return min(float(asked), LONGEST_WAIT) if asked.isdigit() else 0.0


def _content(response: requests.Response, host: str) -> dict[str, Any]:
    address = response.url
    if _REDIRECT <= response.status_code < _BAD:
        raise InputError(
            f"{host} sends requests on to {response.headers.get('Location')!r}", "give that address, if you trust it"
        )
    try:
        content = response.json()
    except ValueError:
        content = None
    if response.status_code != _OK:
        kind = RefusedError if response.status_code in {_UNAUTHORISED, _FORBIDDEN} else InputError
        raise kind(
            f"{host} answered {response.status_code} {response.reason} to {address}: {_detail(content, response.text)}",
            "check the address and the conditions",
        )
    if not isinstance(content, dict):
        raise InputError(
            f"the answer of {address} is no JSON object; it begins {response.text[:80]!r}",
            "check that the address is that of an API and not of a web page",
        )
    return content


def _detail(content: Any, text: str) -> str:
    """What a service says about its refusal: JSON:API's ``errors``, FastAPI's ``detail``, else the text."""
    if isinstance(content, dict):
        errors = content.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            return str(errors[0].get("detail") or errors[0].get("title"))[:_SHOWN]
        for key in ("detail", "message"):
            if content.get(key):
                return str(content[key])[:_SHOWN]
    return text[:_SHOWN].strip() or "no reason given"
