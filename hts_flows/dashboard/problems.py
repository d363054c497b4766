"""Errors as people and programs see them: a status, what is wrong, what to do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pymongo.errors import ConnectionFailure, ExecutionTimeout, PyMongoError
from starlette.exceptions import HTTPException

from hts_flows.errors import HtsError, InputError, StoreUnavailableError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

logger = logging.getLogger("hts_flows.dashboard")


#: MongoDB does not answer, or not in time; pymongo's others are of what it was asked.
_UNREACHABLE = (ConnectionFailure, ExecutionTimeout, StoreUnavailableError)


class Problem(BaseModel):
    """An error, in every answer that is none."""

    error: str = Field(description="What is wrong")
    hint: str | None = Field(default=None, description="What to do about it")


class NotFoundError(InputError):
    """What was asked for is not stored."""


class ForbiddenError(InputError):
    """The role of the user does not allow it, or the request does not prove that it comes from a page of ours."""


class ChangedError(InputError):
    """What a person has agreed to is no longer what there is."""


#: Statuses of every route of the API, for its OpenAPI document.
RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The server does not go by this name, or the request cannot be read"},
    401: {"model": Problem, "description": "Not logged in"},
    422: {"model": Problem, "description": "A value that cannot be; the message names it and what is allowed"},
    503: {"model": Problem, "description": "MongoDB does not answer"},
}
#: And of one that asks for something by its name.
NAMED: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "Not stored"}}
#: And of one that changes something.
CHANGING: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "Viewers change nothing, and a change needs the header X-CSRF-Token"},
    409: {"model": Problem, "description": "What was agreed to has changed since"},
    413: {"model": Problem, "description": "The request is too long"},
}


def explain(error: Exception) -> tuple[int, Problem]:
    """Give the status and the words of an error."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        return 422, Problem(error=f"{place}: {message}")
    if isinstance(error, HTTPException):
        return error.status_code, Problem(error=str(error.detail))
    if isinstance(error, _UNREACHABLE):
        return 503, Problem(
            error="MongoDB does not answer", hint="nothing stored is lost; this page recovers by itself when it is back"
        )
    if isinstance(error, HtsError):
        kinds = {NotFoundError: 404, ForbiddenError: 403, ChangedError: 409}
        status = next((status for kind, status in kinds.items() if isinstance(error, kind)), 422)
        return status, Problem(error=error.message, hint=error.hint)
    return 500, Problem(error="the dashboard could not do this", hint="the reason is in the log of 'hts dashboard'")


def add_handlers(app: FastAPI) -> None:
    """Let an app answer every error: with JSON under /api, else with a page."""

    def answer(request: Request, error: Exception) -> Response:
        from starlette.responses import JSONResponse

        from hts_flows.dashboard.templating import page

        status, problem = explain(error)
        if status == 500:  # noqa: PLR2004
            logger.error("%s %s", request.method, request.url.path, exc_info=error)
        headers = dict(getattr(error, "headers", None) or {})
        if request.url.path.startswith("/api"):
            return JSONResponse(problem.model_dump(), status_code=status, headers=headers)
        return page(request, "problem.html", {"problem": problem, "status": status}, status=status, headers=headers)

    for kind in (RequestValidationError, HTTPException, PyMongoError, HtsError, Exception):
        app.add_exception_handler(kind, answer)
