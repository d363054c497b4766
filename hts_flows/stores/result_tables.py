"""Tables of a campaign's results that stay in memory and follow the database: filtered, sorted and counted at once.

Filtering and sorting by any column, and counting the values of each, would need an index for every column; with tens
of thousands of results the plain columns fit into memory instead. What a table was read with is brought up to date by
asking for what changed since, which an index answers without reading a result.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hts_flows.flows import get_domain
from hts_flows.stores.result_columns import Kind, columns_of, converted, joined_kind, kind_of, recast
from hts_flows.stores.result_pages import ResultPage, ResultQuery, Snapshot
from hts_flows.stores.results import CHANGED_AT, ROW_FIELDS, document_row

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.stores.database import Database

#: A table is taken as it is for so long, s; then the database is asked what changed.
FRESH_FOR = 1.0
#: Writes become visible at most so long after the time that they are stamped with, s.
MARGIN = timedelta(seconds=5)
#: Tables and results kept in memory; those that were not asked for longest are dropped first.
MOST_TABLES, MOST_ROWS = 20, 1_000_000
_CHUNK = 5000
_PROJECTION = dict.fromkeys((*ROW_FIELDS, "role", "candidate.domain", CHANGED_AT), 1)
_STAMPS = {"_id": 1, CHANGED_AT: 1}


@dataclass
class _Held:
    """A table in memory, and what is needed to bring it up to date."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    snapshot: Snapshot | None = None
    #: Key of each result to the time of the change that was read.
    seen: dict[str, datetime | None] = field(default_factory=dict)
    #: Changes before this are in the table, by the database's clock.
    since: datetime | None = None
    #: When it was last brought up to date, by this process's clock, s.
    at: float = 0.0

    @property
    def rows(self) -> int:
        return len(self.snapshot.frame) if self.snapshot else 0


class ResultTables:
    """Tables of results, one for each campaign and row of its ladder, shared by the threads of a process.

    Parameters
    ----------
    most_tables, most_rows
        How many tables, and results in all of them, stay in memory; the one asked for last always does.
    fresh_for
        For how long a table is used before the database is asked again, s. What is shown was in the database at most
        this long ago, and the time of the request.
    """

    def __init__(
        self, *, most_tables: int = MOST_TABLES, most_rows: int = MOST_ROWS, fresh_for: float = FRESH_FOR
    ) -> None:
        self.most_tables, self.most_rows, self.fresh_for = most_tables, most_rows, fresh_for
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, str], _Held] = OrderedDict()

    def page(
        self, database: Database, campaign: str, settings_hash: str, query: ResultQuery | None = None
    ) -> ResultPage:
        """Give some rows of a table.

        Parameters
        ----------
        database
            Where from; always the same one, whichever connection to it.
        campaign, settings_hash
            Which row of which campaign; without results the page is empty.
        query
            What to show, and in which order; the first rows by label when left out.

        Raises
        ------
        InputError
            The query names an unknown column, or compares one with a value of another kind.
        """
        return self.snapshot(database, campaign, settings_hash).page(query or ResultQuery())

    def frame(
        self, database: Database, campaign: str, settings_hash: str, query: ResultQuery | None = None
    ) -> pd.DataFrame:
        """Give all rows that a query selects, in its order, for downloads and figures.

        Returns
        -------
        pandas.DataFrame
            Columns as in :func:`hts_flows.stores.results.result_row`, each of one kind; units as in the page's
            columns. A copy: it may be changed.
        """
        return self.snapshot(database, campaign, settings_hash).selected(query or ResultQuery())

    def snapshot(self, database: Database, campaign: str, settings_hash: str) -> Snapshot:
        """Give a table as the database has it, or had it a moment ago; it never changes."""
        key = (campaign, settings_hash)
        with self._lock:
            held = self._held.setdefault(key, _Held())
            self._held.move_to_end(key)
        with held.lock:
            if held.snapshot is None or time.monotonic() - held.at >= self.fresh_for:
                started = time.monotonic()
                _refresh(database, held, *key)
                held.at = started
            snapshot = held.snapshot
        assert snapshot is not None  # noqa: S101 (read above)
        self._drop()
        return snapshot

    def _drop(self) -> None:
        with self._lock:
            rows = sum(held.rows for held in self._held.values())
            while len(self._held) > 1 and (len(self._held) > self.most_tables or rows > self.most_rows):
                rows -= self._held.popitem(last=False)[1].rows


def _refresh(database: Database, held: _Held, campaign: str, settings_hash: str) -> None:
    """Read a table, or what changed of it."""
    now = database.mongo.command("hello")["localTime"]
    query = {"campaigns": campaign, "settings_hash": settings_hash}
    results = database.results
    if held.snapshot is None or held.snapshot.domain is None:  # without a candidate, its columns are not known
        documents = list(results.find(query, _PROJECTION))
        held.snapshot = _first(documents)
        held.seen = {document["_id"]: document.get(CHANGED_AT) for document in documents}
    else:
        stamps = {
            document["_id"]: document[CHANGED_AT]
            for document in results.find({**query, CHANGED_AT: {"$gte": held.since}}, _STAMPS)
        }
        gone: set[str] = set()
        if results.count_documents(query) != len(held.seen) + sum(key not in held.seen for key in stamps):
            # Some were released from the campaign, deleted, or came in without a stamp.
            stamps = {document["_id"]: document.get(CHANGED_AT) for document in results.find(query, _STAMPS)}
            gone = held.seen.keys() - stamps.keys()
        changed = [key for key, stamp in stamps.items() if key not in held.seen or held.seen[key] != stamp]
        if changed or gone:
            held.snapshot = _updated(database, held, query, changed, gone)
    held.since = now - MARGIN


def _updated(database: Database, held: _Held, query: dict[str, str], changed: list[str], gone: set[str]) -> Snapshot:
    """Read some results again and forget others."""
    documents: list[dict[str, Any]] = []
    for start in range(0, len(changed), _CHUNK):
        wanted = {**query, "_id": {"$in": changed[start : start + _CHUNK]}}
        documents += database.results.find(wanted, _PROJECTION)
    assert held.snapshot is not None  # noqa: S101 (only a table that was read is brought up to date)
    snapshot = _renewed(held.snapshot, documents, {*changed, *gone})
    for key in (*changed, *gone):
        held.seen.pop(key, None)
    held.seen |= {document["_id"]: document.get(CHANGED_AT) for document in documents}
    return snapshot


def _first(documents: list[dict[str, Any]]) -> Snapshot:
    """Make a table from all its results."""
    domain = next((one["candidate"]["domain"] for one in documents if _is_candidate(one)), None)
    return _table(documents, domain, _facet_kinds(documents))


def _table(documents: list[dict[str, Any]], domain: str | None, facets: dict[str, Kind | None]) -> Snapshot:
    import pandas as pd

    columns = columns_of(get_domain(domain) if domain else None, facets)
    rows = [document_row(document) for document in documents]
    index = pd.Index([document["_id"] for document in documents], dtype=object, name="key")
    data = {one.name: converted((row.get(one.name) for row in rows), one.kind).set_axis(index) for one in columns}
    candidate = pd.Series([_is_candidate(document) for document in documents], index=index, dtype=bool)
    return Snapshot(pd.DataFrame(data, index=index), candidate, tuple(columns), domain, facets)


def _renewed(before: Snapshot, documents: list[dict[str, Any]], replaced: set[str]) -> Snapshot:
    """Put new rows in the place of some, in a table of its own."""
    import pandas as pd

    facets = dict(before.facets)
    for name, kind in _facet_kinds(documents).items():
        known = facets.get(name)
        facets[name] = joined_kind(known, kind) if known and kind else known or kind
    fresh = _table(documents, before.domain, facets)
    kept = ~before.frame.index.isin(list(replaced))
    old, candidate = before.frame[kept], before.candidate[kept]
    kinds = {column.name: column.kind for column in before.columns}
    data = {
        one.name: recast(old[one.name], kinds[one.name], one.kind)
        if one.name in kinds
        else converted([None] * len(old), one.kind).set_axis(old.index)
        for one in fresh.columns
    }
    frame = pd.DataFrame(data, index=old.index)
    if documents:
        frame, candidate = pd.concat([frame, fresh.frame]), pd.concat([candidate, fresh.candidate])
    return Snapshot(frame, candidate, fresh.columns, before.domain, facets)


def _is_candidate(document: dict[str, Any]) -> bool:
    return bool(document.get("role", "candidate") == "candidate")


def _facet_kinds(documents: Iterable[dict[str, Any]]) -> dict[str, Kind | None]:
    values: dict[str, list[Any]] = {}
    for document in documents:
        for name, value in (document.get("facets") or {}).items():
            values.setdefault(name, []).append(value)
    return {name: kind_of(found) for name, found in values.items()}
