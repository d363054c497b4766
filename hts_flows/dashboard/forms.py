"""What a form sends, whatever its fields are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request

#: Most fields of a form that are read: the longest allowed body has no room for more selected results.
MOST_FIELDS = 20_000


class SentForm:
    """Names and texts of a form's fields.

    Parameters
    ----------
    pairs
        In the order of the form; a name may come several times.
    """

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def one(self, name: str) -> str:
        """Give the text of a field; empty where it is not there."""
        return next((text for key, text in self._pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """Give all texts of a field that may be there several times, without empty ones."""
        return [text for key, text in self._pairs if key == name and text]

    def items(self) -> Iterator[tuple[str, str]]:
        """Give all fields."""
        yield from self._pairs


async def _sent(request: Request) -> SentForm:
    form = await request.form(max_fields=MOST_FIELDS)
    return SentForm([(name, text) for name, text in form.multi_items() if isinstance(text, str)])


FormData = Annotated[SentForm, Depends(_sent)]
