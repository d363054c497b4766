"""Keyset paging: pages that begin where the last one ended, so that page 1000 costs what page 1 does."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from pydantic import BaseModel, Field
from pymongo import ASCENDING, DESCENDING

from hts_flows.errors import InputError
from hts_flows.stores.times import as_utc

if TYPE_CHECKING:
    from pymongo.collection import Collection

T = TypeVar("T")
#: What a field that rows are sorted by may hold.
Value = str | int | float | bool | datetime | None
#: What tells rows with the same value apart.
Key = str | int
#: Most rows of a page.
MOST_ROWS = 500
_LONGEST_CURSOR = 4000
_LARGEST_INTEGER = 2**63
_BASIC_TYPES = (str, int, float, bool, datetime)


class Page(BaseModel, Generic[T]):
    """Some rows of many, and how to ask for those beside them."""

    rows: list[T] = Field(description="The rows, in the order asked for")
    next: str | None = Field(default=None, description="Cursor of the rows after these; None: these are the last")
    previous: str | None = Field(default=None, description="Cursor of the rows before these; None: these are the first")
    limit: int = Field(description="Most rows of a page")


@dataclass(frozen=True)
class Cursor:
    """A place between two rows.

    Attributes
    ----------
    value
        What the row beside it is sorted by; None where it has no such value.
    key
        Key of that row.
    back
        Whether the rows before that row are meant, and not those after it.
    """

    value: Value
    key: Key
    back: bool = False

    def encode(self, sorting: str) -> str:
        """Write it as a text that fits into an address.

        Parameters
        ----------
        sorting
            Name of the sorting it belongs to; it is of no use with another one.
        """
        value = {"time": as_utc(self.value).isoformat()} if isinstance(self.value, datetime) else self.value
        content = json.dumps([sorting, value, self.key, int(self.back)], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()


@dataclass(frozen=True)
class Keyset:
    """A sorting by one field, and by a unique key where that is the same.

    Rows without a value come first where values rise, and last where they fall, as MongoDB sorts them.

    Attributes
    ----------
    name
        Name of the sorting, with what is sorted: cursors of other sortings are refused.
    field
        Place of the field in the document; the same as ``key`` for a sorting by key alone.
    key
        Place of a unique field.
    descending
        Whether values and keys fall.
    key_type
        Type of the key: str or int.
    types
        Types that the field holds, of one kind in MongoDB's order: texts, numbers, or times.
    always
        Whether every document has a value, so that those without need not be looked for.
    """

    name: str
    field: str
    key: str = "_id"
    descending: bool = False
    key_type: type[str | int] = str
    types: tuple[type, ...] = _BASIC_TYPES
    always: bool = False

    def decode(self, text: str) -> Cursor:
        """Read a cursor of this sorting.

        Raises
        ------
        InputError
            It is damaged, or belongs to another sorting.
        """
        try:
            if len(text) > _LONGEST_CURSOR:
                _refuse("is too long")
            content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            parts = json.loads(content, parse_constant=lambda name: _refuse(f"holds {name}"))
        except (binascii.Error, ValueError, RecursionError) as error:
            _refuse("cannot be read", error)
        if not isinstance(parts, list) or len(parts) != 4:  # noqa: PLR2004 (sorting, value, key, direction)
            _refuse("cannot be read")
        sorting, value, key, back = parts
        if sorting != self.name:
            _refuse(f"belongs to the sorting {str(sorting)[:60]!r} and not to {self.name!r}")
        if isinstance(value, dict):
            value = _read_time(value)
        fits = value is None or (type(value) in self.types and _is_storable(value))
        if not fits or type(key) is not self.key_type or not _is_storable(key) or back not in (0, 1):
            _refuse("holds what this sorting never has")
        return Cursor(value, key, bool(back))

    def sort(self, *, back: bool = False) -> list[tuple[str, int]]:
        """Give the order as pymongo takes it.

        Parameters
        ----------
        back
            Whether rows are read backwards, from a cursor towards the first.
        """
        direction = DESCENDING if self.descending != back else ASCENDING
        return [(name, direction) for name in dict.fromkeys((self.field, self.key))]

    def segments(self, cursor: Cursor | None) -> list[dict[str, Any]]:
        """Give conditions whose rows, one condition after the other, are those beyond a cursor.

        Each is one range of an index that begins with the field and the key, which a single condition with ``$or``
        would not be.

        Parameters
        ----------
        cursor
            Where to begin; None for the first row.
        """
        if cursor is None:
            return [{}]
        falling = self.descending != cursor.back
        beyond = "$lt" if falling else "$gt"
        if self.field == self.key:
            return [{self.key: {beyond: cursor.key}}]
        # The value of the row beside the cursor itself; null also stands for a field that is not there.
        segments: list[dict[str, Any]] = [{self.field: cursor.value, self.key: {beyond: cursor.key}}]
        if cursor.value is not None:
            segments.append({self.field: {beyond: cursor.value}})
            if falling and not self.always:
                segments.append({self.field: None})
        elif not falling:
            segments.append({self.field: {"$ne": None}})
        return segments

    def condition(self, cursor: Cursor | None) -> dict[str, Any]:
        """Give one condition for the rows beyond a cursor, for pipelines and for collections that are not large."""
        segments = self.segments(cursor)
        return segments[0] if len(segments) == 1 else {"$or": segments}

    def find(
        self,
        collection: Collection[dict[str, Any]],
        query: Mapping[str, Any],
        projection: Mapping[str, Any],
        cursor: Cursor | None,
        limit: int,
        *,
        hint: Sequence[tuple[str, int]] | None = None,
    ) -> list[dict[str, Any]]:
        """Read the documents beyond a cursor, at most three queries.

        Parameters
        ----------
        collection
            Where from.
        query
            Condition on the documents, without one on the field or the key.
        projection
            What of them is read.
        cursor
            Where to begin; None for the first row.
        limit
            Most documents.
        hint
            Index to use.

        Returns
        -------
        list of dict
            In the order read: backwards where the cursor points back.
        """
        found: list[dict[str, Any]] = []
        order = self.sort(back=cursor is not None and cursor.back)
        for segment in self.segments(cursor):
            # Among equal values only the key sorts; MongoDB reads several ranges of an index in order only if told so.
            equal = self.field != self.key and self.key in segment
            cut = collection.find({**query, **segment}, projection).sort(order[1:] if equal else order)
            cut = cut.limit(limit - len(found))
            found += cut.hint(hint) if hint else cut
            if len(found) >= limit:
                break
        return found

    def page(
        self,
        rows: Sequence[T],
        cursor: Cursor | None,
        limit: int,
        position: Callable[[T], tuple[Value, Key]],
    ) -> Page[T]:
        """Make a page of rows that were read beyond a cursor.

        Parameters
        ----------
        rows
            In the order read, one more than ``limit`` where there are so many: that one tells that more follow.
        cursor
            Where the reading began.
        limit
            Most rows of the page.
        position
            Gives the value and the key of a row.
        """
        back = cursor is not None and cursor.back
        more = len(rows) > limit
        kept = list(rows[:limit])
        if back:
            kept.reverse()
        first, last = (more, True) if back else (cursor is not None, more)
        return Page(
            rows=kept,
            next=Cursor(*position(kept[-1])).encode(self.name) if kept and last else None,
            previous=Cursor(*position(kept[0]), back=True).encode(self.name) if kept and first else None,
            limit=limit,
        )


def checked_limit(limit: int) -> int:
    """Check how many rows of a page are asked for.

    Raises
    ------
    InputError
        They are none, or more than :data:`MOST_ROWS`.
    """
    if not 1 <= limit <= MOST_ROWS:
        raise InputError(f"limit {limit}: a page has 1 to {MOST_ROWS} rows", "ask for the next page for more")
    return limit


def _is_storable(value: Value) -> bool:
    """Tell whether MongoDB can compare with it: its integers have 64 bits, and texts must be valid."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    return not isinstance(value, int) or -_LARGEST_INTEGER <= value < _LARGEST_INTEGER


def _read_time(value: dict[str, Any]) -> datetime:
    try:
        return as_utc(datetime.fromisoformat(value["time"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        _refuse("cannot be read", error)


def _refuse(why: str, error: Exception | None = None) -> NoReturn:
    raise InputError(
        f"cursor: it {why}", "take 'next' or 'previous' of the page before, or leave it out for the first page"
    ) from error
