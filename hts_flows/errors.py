"""Errors a user can act on: each says what is wrong, where, and what to do next."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class HtsError(Exception):
    """An error whose message is for the user; commands print it without a traceback.

    Parameters
    ----------
    message
        What is wrong: the value, and the place it came from.
    hint
        What to do next, often a command to type.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class InputError(HtsError):
    """A campaign, inventory, settings file or option that cannot be used (exit code 2)."""


class EngineNotAvailableError(InputError):
    """An engine's program or Python package is not installed on this machine."""


class StoreUnavailableError(InputError):
    """MongoDB cannot be started, reached or logged in to."""


def nearest(value: str, allowed: Iterable[str], *, limit: int = 12) -> str:
    """Say which value was probably meant, or list the allowed ones.

    Parameters
    ----------
    value
        What the user wrote.
    allowed
        What could have been written.
    limit
        How many allowed values are listed when none is near.
    """
    names = sorted(allowed)
    close = get_close_matches(value, names, n=3, cutoff=0.6)
    if not close:
        close = [name for name in names if name.lower() == value.lower()]
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    shown = ", ".join(names[:limit])
    more = f", … ({len(names)} in all)" if len(names) > limit else ""
    return f"allowed: {shown}{more}" if names else "nothing is allowed here"
