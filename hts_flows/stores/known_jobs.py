"""What is kept in memory of all jobs, so that they need not be counted and searched anew for each page.

MongoDB counts a key of an index in about 0.2 µs and compares a name in about 1 µs, which is long for all jobs of years,
most of which have ended. Two things about them hardly change: how many there are, which MongoDB keeps itself, and
what they are called.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson.min_key import MinKey
from pymongo.errors import OperationFailure

from hts_flows.stores.jobs import FEW, NAME_KEYS, Among, JobFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from hts_flows.stores.database import Database

#: MongoDB's own number of jobs is compared with a count again after so long, s.
CHECKED_FOR = 600.0
#: Parts that the names in memory are in at most; then they are put together.
_MOST_PARTS = 50
#: Names that are read in one answer.
_BATCH = 20_000
#: Servers that know how many documents they have; one of several that share a collection does not.
_ALONE = {"Standalone", "RSPrimary"}
#: Errors of a user who may not ask, and of a collection that there is not yet.
_NOT_TOLD = (13, 26)


@dataclass(frozen=True)
class _Names:
    """Names of jobs, in small letters, with the ids of the jobs; in order of the ids."""

    ids: pa.ChunkedArray
    texts: pa.ChunkedArray

    @classmethod
    def of(cls, jobs: Iterable[dict[str, Any]]) -> _Names:
        import pyarrow as pa

        pairs = [(job["fw_id"], str(job.get("name") or "").lower()) for job in jobs]
        ids = pa.chunked_array([pa.array([fw_id for fw_id, _ in pairs], pa.int64())])
        return cls(ids, pa.chunked_array([pa.array([text for _, text in pairs], pa.string())]))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def last(self) -> int | None:
        """Id of the newest job."""
        last: int | None = self.ids[-1].as_py() if len(self) else None
        return last

    def followed_by(self, more: _Names) -> _Names:
        """Append the names of newer jobs."""
        import pyarrow as pa

        if not len(more):
            return self
        found = [
            pa.chunked_array([*mine.chunks, *theirs.chunks])
            for mine, theirs in ((self.ids, more.ids), (self.texts, more.texts))
        ]
        if found[0].num_chunks > _MOST_PARTS:
            found = [one.combine_chunks() for one in found]
            found = [one if isinstance(one, pa.ChunkedArray) else pa.chunked_array([one]) for one in found]
        return _Names(*found)

    def having(self, text: str) -> pa.ChunkedArray:
        """Give the ids of the jobs whose names have a text."""
        import pyarrow.compute as pc

        return self.ids.filter(pc.match_substring(self.texts, text.lower()))


class KnownJobs:
    """How many jobs there are, and their names, of one database; shared by the threads of a process.

    The number is MongoDB's own, which is exact while the server runs and may be wrong after it was killed. So it is
    compared with a count, and again when the server was started again, and every ten minutes. Names are read once; of
    jobs that are added later when they are asked for, and all again when there are not as many as MongoDB has.
    """

    def __init__(self) -> None:
        self._lock, self._names_lock = threading.Lock(), threading.Lock()
        self._names: _Names | None = None
        #: Which start of the server the number was compared for, and by how much it was too large.
        self._server: object = None
        self._excess, self._checked = 0, 0.0

    def among(self, database: Database, wanted: JobFilter) -> Among:
        """Tell what is known of the jobs that a filter leaves, whatever their state.

        Parameters
        ----------
        database
            Where the jobs are; always the same one, whichever connection to it.
        wanted
            Which jobs.
        """
        kinds = wanted.model_copy(update={"state": None, "text": None}) != JobFilter()
        if not wanted.text:
            return Among() if kinds else Among(total=self.total(database))
        # Of other letters, small and capital ones are compared in different ways.
        if not wanted.text.isascii():
            return Among()
        names = self._up_to_date(database)
        if names is None:
            return Among()
        found = names.having(wanted.text)
        if len(found) <= FEW:
            return Among(ids=tuple(found.to_pylist()))
        return Among() if kinds else Among(total=len(found))

    def read(self, database: Database) -> None:
        """Read all names, so that nobody who looks for one first waits for that."""
        self._up_to_date(database)

    def total(self, database: Database) -> int | None:
        """Tell how many jobs there are; None where MongoDB does not know. One call of the database."""
        server = _server_of(database)
        if server is None:
            return None
        with self._lock:
            return self._total(database, server)

    def _total(self, database: Database, server: object) -> int | None:
        stored: list[dict[str, Any]] = [{"$collStats": {"count": {}}}, {"$project": {"stored": "$count"}}]
        counted = [{"$match": {"fw_id": {"$gte": MinKey()}}}, {"$count": "counted"}]
        now = time.monotonic()
        known = server == self._server and now - self._checked < CHECKED_FOR
        more = [] if known else [{"$unionWith": {"coll": "fireworks", "pipeline": part}} for part in (counted, stored)]
        try:
            found = list(database.mongo["fireworks"].aggregate([*stored, *more]))
        except OperationFailure as error:
            if error.code in _NOT_TOLD:
                return None
            raise
        before, after = found[0]["stored"], found[-1]["stored"]
        if known:
            return int(before - self._excess)
        exact: int = next((one["counted"] for one in found if "counted" in one), 0)
        if before == after:  # nothing was added while it was counted
            self._server, self._excess, self._checked = server, before - exact, now
        return exact

    def _up_to_date(self, database: Database) -> _Names | None:
        """Read new names; None where MongoDB does not tell how many jobs there are."""
        with self._names_lock:
            least = self.total(database)
            if least is None:
                return None
            before = self._names
            names = before.followed_by(_read(database, before.last)) if before is not None else None
            # Some may have been added since they were counted.
            most = least if names is None or len(names) <= least else self.total(database) or 0
            # Jobs may have been deleted, or have been added later than some with a higher id.
            if names is None or not least <= len(names) <= most:
                names = _read(database, None)
            self._names = names
            return names


def _read(database: Database, after: int | None) -> _Names:
    """Read names from the keys of an index."""
    query = {"fw_id": {"$gte": MinKey()} if after is None else {"$gt": after}}
    found = database.mongo["fireworks"].find(query, {"_id": 0, "fw_id": 1, "name": 1}, batch_size=_BATCH)
    return _Names.of(found.sort("fw_id").hint(NAME_KEYS))


def _server_of(database: Database) -> object:
    """Tell this start of the server from others; None where one server does not have all jobs, or does not say."""
    servers = list(database.mongo.client.topology_description.server_descriptions().values())
    if len(servers) != 1 or servers[0].server_type_name not in _ALONE:
        return None
    version = servers[0].topology_version
    return version["processId"] if version else None
