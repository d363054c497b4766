"""Whether anything has changed: asked often, so it reads no documents and needs no index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo.errors import OperationFailure

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: What the server need not tell.
_WITHOUT = dict.fromkeys(
    (
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
        status = database.mongo.client.admin.command({"serverStatus": 1, **_WITHOUT})
    except OperationFailure as error:
        if error.code == _NOT_ALLOWED:
            return None
        raise
    written = status["metrics"]["document"]
    started = status["localTime"].timestamp() - status["uptimeMillis"] / 1000
    # Of the start, minutes are enough: it is told to the millisecond, and never the same twice.
    return (*(int(written[name]) for name in ("inserted", "updated", "deleted")), round(started / 60))
