"""Jobs as lists: one page of them, how many are in which state, and what is being worked on now.

A FireWorks document holds everything that its job needs, often 10 kB and more, so lists are found from index keys alone
and read a hundred documents at a time. For each sorting there are two indexes, one with the campaigns and one with the
name; before the field that sorts they have only fields that are compared with listed values, so that MongoDB merges a
few ranges of keys that are in order already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pymongo import ASCENDING, IndexModel

from hts_flows.errors import InputError, nearest
from hts_flows.stores.job_rows import JOB_FIELDS, JobRow, as_time, job_rows
from hts_flows.stores.paging import Cursor, Keyset, Page, checked_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hts_flows.stores.database import Database

JobState = Literal[
    "ARCHIVED", "FIZZLED", "DEFUSED", "PAUSED", "WAITING", "READY", "RESERVED", "RUNNING", "COMPLETED"
]  # fmt: skip
SortField = Literal["fw_id", "updated", "priority"]
STATES: tuple[JobState, ...] = get_args(JobState)
SORT_FIELDS: tuple[SortField, ...] = get_args(SortField)

_CAMPAIGNS, _RESULT = "spec.hts.campaigns", "spec.hts.result"
#: Fields with few different values.
_KINDS = {"engine": "spec.hts.engine", "job": "spec.hts.job", "pool": "spec.hts.pool"}
_SORT_PATHS = {"fw_id": "fw_id", "updated": "updated_on", "priority": "spec._priority"}


def _keys(*names: str) -> list[tuple[str, int]]:
    return [(name, ASCENDING) for name in dict.fromkeys(names)]


#: For each sorting, the jobs of all campaigns with their names.
_BY_STATE = {by: _keys("state", path, "fw_id", *_KINDS.values(), "name") for by, path in _SORT_PATHS.items()}
#: For each sorting, the jobs of one campaign. A name would not help: MongoDB reads none from an index with a list.
_BY_CAMPAIGN = {
    by: _keys(_CAMPAIGNS, "state", path, "fw_id", *_KINDS.values()) for by, path in _SORT_PATHS.items()
}  # fmt: skip
_BY_ID = _keys("fw_id")
_COUNT_ALL = _keys("state", *_KINDS.values())
_COUNT_CAMPAIGN = _keys(_CAMPAIGNS, "state", *_KINDS.values())
#: Indexes of the collection "fireworks" for these queries.
JOB_INDEXES = [IndexModel(keys) for keys in (*_BY_STATE.values(), *_BY_CAMPAIGN.values(), _COUNT_ALL, _COUNT_CAMPAIGN)]
#: Names of all jobs: a job keeps its own whatever becomes of it, so that only new jobs change this index.
NAME_KEYS = _keys("fw_id", "name")
JOB_INDEXES.append(IndexModel(NAME_KEYS))
#: So many jobs are sorted in memory; where there are more, they are read in the order asked for until a page is full.
FEW = 2000
#: Greater than every fw_id.
_NO_ID = 2**62
#: Most jobs are in this state, sooner or later.
_USUAL: JobState = "COMPLETED"


@dataclass(frozen=True)
class Among:
    """What is known beforehand of the jobs that a filter leaves, whatever their state.

    Attributes
    ----------
    total
        How many there are; None: that is not known.
    ids
        FireWorks ids of those that may be among them, in which all of them are; None: that is not known.
    """

    total: int | None = None
    ids: tuple[int, ...] | None = None


class JobFilter(BaseModel):
    """Which jobs are listed: those for which everything that is given holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaign: str | None = Field(default=None, max_length=200, description="Name of a campaign that wants the job")
    state: JobState | None = Field(default=None, description="FireWorks' state of the job")
    engine: str | None = Field(default=None, max_length=100, description="Name of the engine")
    job: Literal["calculate", "record"] | None = Field(
        default=None, description="The engine's jobs, or those that store what it found"
    )
    pool: str | None = Field(
        default=None, max_length=100, description="Kind of work: engine and what its jobs ask of SLURM"
    )
    result: str | None = Field(default=None, max_length=200, description="Key of the result that the job belongs to")
    text: str | None = Field(default=None, max_length=100, description="Part of the job's name, in any case")

    @field_validator("*", mode="before")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        """Take an empty field of a form for none."""
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("*")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("must not hold control characters")
        return value


class JobSort(BaseModel):
    """In which order jobs are listed; those that are equal by their id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: SortField = Field(default="fw_id", description="fw_id, time of the last change, or priority")
    descending: bool = Field(default=True, description="From high to low")

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``updated`` or, from high to low, ``-updated``.

        Raises
        ------
        InputError
            Jobs cannot be sorted by it.
        """
        name = text.removeprefix("-")
        if name not in SORT_FIELDS:
            raise InputError(f"sort {text!r}: jobs are not sorted by {name!r}; {nearest(name, SORT_FIELDS)}")
        return cls.model_validate({"by": name, "descending": text.startswith("-")})

    @property
    def keyset(self) -> Keyset:
        """How pages in this order are read."""
        types: dict[SortField, tuple[type, ...]] = {"fw_id": (int,), "updated": (datetime,), "priority": (int, float)}
        return Keyset(
            name=f"jobs:{'-' if self.descending else ''}{self.by}",
            field=_SORT_PATHS[self.by],
            key="fw_id",
            descending=self.descending,
            key_type=int,
            types=types[self.by],
            always=self.by != "priority",
        )


def list_jobs(
    database: Database,
    filter: JobFilter | None = None,  # noqa: A002 (what the page and the API call it)
    sort: JobSort | None = None,
    cursor: str | None = None,
    limit: int = 100,
    *,
    among: Among | None = None,
) -> Page[JobRow]:
    """Read one page of jobs.

    A part of a name is looked for in the keys of an index: about 1 ms for 1000 jobs that do not have it, and no
    document is read for them.

    Parameters
    ----------
    database
        Where the jobs are.
    filter
        Which; all when left out.
    sort
        In which order; newest first when left out.
    cursor
        ``next`` or ``previous`` of another page; None for the first.
    limit
        Most rows.
    among
        What is known of the jobs that the filter leaves.

    Raises
    ------
    InputError
        The cursor or the limit cannot be used.
    """
    wanted, sort = filter or JobFilter(), sort or JobSort()
    keyset = sort.keyset
    place = keyset.decode(cursor) if cursor else None
    documents = _read(database, wanted, sort, place, limit=checked_limit(limit) + 1, among=among or Among())
    more = documents[limit:]
    rows: list[JobRow | None] = [*job_rows(database, documents[:limit]), *([None] * len(more))]
    at = {document["fw_id"]: _value(document, sort.by) for document in documents}
    page = keyset.page(rows, place, limit, lambda row: (at[row.fw_id], row.fw_id) if row else (None, 0))
    return Page(rows=[row for row in page.rows if row], next=page.next, previous=page.previous, limit=limit)


def count_jobs(
    database: Database,
    filter: JobFilter | None = None,  # noqa: A002 (what the page and the API call it)
    among: Among | None = None,
) -> dict[JobState, int]:
    """Count jobs by state, from index keys alone.

    Only for a part of a name in one campaign are documents read: those of a small campaign, or those with the name; and
    where the ids of the jobs are known, which are not many then.

    Parameters
    ----------
    database
        Where the jobs are.
    filter
        Which; all when left out.
    among
        What is known of the jobs that the filter leaves; where that is their number, those that are completed are the
        rest of it.

    Returns
    -------
    dict
        Every state that some job is in, and how many are.
    """
    wanted, known = filter or JobFilter(), among or Among()
    if known.ids is not None:
        return _count_among(database, wanted, known.ids)
    in_campaign = wanted.campaign and wanted.text and _are_few(database, wanted, most=10 * FEW)
    hint = _COUNT_CAMPAIGN if in_campaign else _count_index(wanted)
    query = _conditions(wanted, on_keys=bool(wanted.text and not in_campaign))
    counts: dict[JobState, int] = {}
    rest = None if wanted.state else known.total
    for state in [wanted.state] if wanted.state else STATES:
        # One count for each state: MongoDB only counts the keys of a range, and builds nothing of them.
        query["state"] = state
        if state == _USUAL and rest is not None:
            number = max(0, rest - sum(counts.values()))
        else:
            number = database.mongo["fireworks"].count_documents(query, hint=hint)
        if number:
            counts[state] = number
    return counts


def _count_among(database: Database, wanted: JobFilter, ids: Sequence[int]) -> dict[JobState, int]:
    """Count by state the jobs of some that a filter leaves, in one call."""
    query = _conditions(wanted, on_keys=False) | {"fw_id": {"$in": list(ids)}, "state": _states(wanted)}
    groups: list[dict[str, Any]] = [{"$match": query}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
    found = {group["_id"]: group["n"] for group in database.mongo["fireworks"].aggregate(groups, hint=dict(_BY_ID))}
    return {state: found[state] for state in STATES if state in found}


def _exactly(value: str) -> dict[str, str]:
    """Compare whole values, key after key: for a plain value MongoDB would jump from each key to the next."""
    return {"$regex": f"(?:^{re.escape(value)}$)"}


def _conditions(wanted: JobFilter, *, on_keys: bool) -> dict[str, Any]:
    """Give the condition on everything but the state.

    Parameters
    ----------
    wanted
        What is asked for.
    on_keys
        Whether an index is read from end to end, which has its kinds behind the field that sorts.
    """
    query: dict[str, Any] = {}
    for name, path in _KINDS.items():
        if (value := getattr(wanted, name)) is not None:
            query[path] = _exactly(value) if on_keys else value
    if wanted.campaign:
        query[_CAMPAIGNS] = wanted.campaign
    if wanted.result:
        query[_RESULT] = wanted.result
    if wanted.text:
        query["name"] = {"$regex": re.escape(wanted.text), "$options": "i"}
    return query


def _states(wanted: JobFilter) -> Any:
    """Give the condition on the state: every state is named, so that each is a range of its own in the index."""
    return wanted.state or {"$in": list(STATES)}


def _count_index(wanted: JobFilter) -> list[tuple[str, int]]:
    if wanted.result:
        return [(_RESULT, ASCENDING)]
    if wanted.text:
        return _BY_STATE["fw_id"]
    return _COUNT_CAMPAIGN if wanted.campaign else _COUNT_ALL


def _are_few(database: Database, wanted: JobFilter, most: int) -> bool:
    """Tell whether so few jobs are of the kinds asked for that reading until a page is full could mean reading all."""
    if not (wanted.engine or wanted.job or wanted.pool or (wanted.campaign and wanted.text)):
        return False
    kinds = wanted.model_copy(update={"text": None})
    query = _conditions(kinds, on_keys=False) | {"state": _states(wanted)}
    return database.mongo["fireworks"].count_documents(query, limit=most + 1, hint=_count_index(kinds)) <= most


def _read(
    database: Database, wanted: JobFilter, sort: JobSort, cursor: Cursor | None, *, limit: int, among: Among
) -> list[dict[str, Any]]:
    """Read the documents beyond a cursor, in the order read."""
    by, keyset = sort.by, sort.keyset
    query: dict[str, Any] = {"state": _states(wanted)}
    if among.ids is not None:
        # Beside the condition on the same field that a cursor makes.
        query |= _conditions(wanted, on_keys=False) | {"$and": [{"fw_id": {"$in": list(among.ids)}}]}
        hint = _BY_ID
    elif wanted.result or _are_few(database, wanted, FEW):
        query |= _conditions(wanted, on_keys=False)
        hint = _count_index(wanted if wanted.result else wanted.model_copy(update={"text": None}))
    elif wanted.campaign and not wanted.text:
        query |= _conditions(wanted, on_keys=False)
        hint = _BY_CAMPAIGN[by]
    else:
        query |= _conditions(wanted, on_keys=True)
        hint = _BY_STATE[by]
    collection = database.mongo["fireworks"]
    if by != "updated":
        return keyset.find(collection, query, JOB_FIELDS, cursor, limit=limit, hint=hint)
    # FireWorks writes some of these times as texts and some as times, which MongoDB sorts apart.
    places = [(_text_place(cursor), ""), (_time_place(cursor), datetime(1970, 1, 1, tzinfo=UTC))]
    found = []
    for place, least in places:
        every = {} if place else {keyset.field: {"$gte": least}}
        found += keyset.find(collection, query | every, JOB_FIELDS, place, limit, hint=hint)
    falling = keyset.descending != (cursor is not None and cursor.back)
    found.sort(key=lambda document: (_time(document), document["fw_id"]), reverse=falling)
    return found[:limit]


def _text_place(cursor: Cursor | None) -> Cursor | None:
    """Say where a cursor is among the times that are texts."""
    if cursor is None or not isinstance(cursor.value, datetime):
        return None
    return Cursor(cursor.value.isoformat(), cursor.key, cursor.back)


def _time_place(cursor: Cursor | None) -> Cursor | None:
    """Say where a cursor is among the times that are times, which have no parts of a millisecond."""
    if cursor is None or not isinstance(cursor.value, datetime):
        return None
    parts = cursor.value.microsecond % 1000
    value = cursor.value.replace(microsecond=cursor.value.microsecond - parts)
    return Cursor(value, _NO_ID if parts else cursor.key, cursor.back)


def _time(document: dict[str, Any]) -> datetime:
    return as_time(document["updated_on"]) or datetime.min.replace(tzinfo=UTC)


def _value(document: dict[str, Any], by: SortField) -> Any:
    if by == "fw_id":
        return document["fw_id"]
    return _time(document) if by == "updated" else document["spec"].get("_priority")
