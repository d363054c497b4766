"""Sections inside sections of a campaign, whose kind is known only when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from hts_flows.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

Model = TypeVar("Model", bound=BaseModel)


def read_nested(kind: type[Model], value: Any, *, without: Collection[str] = ()) -> Model:
    """Read a section; who reads the error outside does not know this model's keys, so the message names the nearest.

    Parameters
    ----------
    kind
        Model of the section.
    value
        What was written.
    without
        Keys of the model that may not be written here.

    Raises
    ------
    pydantic.ValidationError
        Its places begin below the section.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        allowed = set(kind.model_fields) - set(without)
        details = [_in_words(detail, allowed) for detail in error.errors()]
        raise ValidationError.from_exception_data(kind.__name__, details) from error


def problem_at(loc: tuple[int | str, ...], message: str, value: Any) -> ValidationError:
    """Make the error that says what is wrong at a place of a section."""
    return ValidationError.from_exception_data("section", [_detail(loc, message, value)])


def _in_words(detail: Any, allowed: Collection[str]) -> InitErrorDetails:
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if detail["type"] == "extra_forbidden":
        message = f"unknown key {detail['loc'][-1]!r}; {nearest(str(detail['loc'][-1]), allowed)}"
    return _detail(detail["loc"], message, detail["input"])


def _detail(loc: tuple[int | str, ...], message: str, value: Any) -> InitErrorDetails:
    error = PydanticCustomError("section", "{message}", {"message": message})
    return InitErrorDetails(type=error, loc=loc, input=value)
