"""Whether anything has changed: asked often, so it reads no documents and needs no index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: What the server need not tell; of what it tells all the same, only what is looked at is decoded.
_RAW = CodecOptions(document_class=RawBSONDocument, tz_aware=True)
_WITHOUT = dict.fromkeys(
    (
        "activeIndexBuilds",
        "asserts",
        "batchedDeletes",
        "catalogStats",
        "connections",
        "electionMetrics",
        "extra_info",
        "flowControl",
        "freeMonitoring",
        "globalLock",
        "indexBulkBuilder",
        "indexStats",
        "logicalSessionRecordCache",
        "mem",
        "network",
        "opLatencies",
        "opcounters",
        "opcountersRepl",
        "readConcernCounters",
        "scramCache",
        "security",
        "tenantMigrations",
        "trafficRecording",
        "transportSecurity",
        "repl",
        "wiredTiger",
        "locks",
        "tcmalloc",
        "storageEngine",
        "sharding",
        "transactions",
        "twoPhaseCommitCoordinator",
    ),
    0,
)
_NOT_ALLOWED = 13


def write_counts(database: Database) -> tuple[int, ...] | None:
    """Count the documents written since MongoDB was started.

    Parameters
    ----------
    database
        Which; what is written into others on the same server is counted too.

    Returns
    -------
    tuple of int
        Inserted, updated and deleted documents, and the server's start; another one after every change. None where the
        user of the database may not ask: it takes the role ``clusterMonitor``.
    """
    try:
        status = database.mongo.client.admin.command({"serverStatus": 1, **_WITHOUT}, codec_options=_RAW)
    except OperationFailure as error:
        if error.code == _NOT_ALLOWED:
            return None
        raise
    written = status["metrics"]["document"]
    started = status["localTime"].timestamp() - status["uptimeMillis"] / 1000
    # Of the start, minutes are enough: it is told to the millisecond, and never the same twice.
    return (*(int(written[name]) for name in ("inserted", "updated", "deleted")), round(started / 60))
