"""Frozen pools: the candidates of a campaign as one parquet file, known by its hash, in GridFS and in a local cache."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from gridfs import GridFSBucket
from gridfs.errors import CorruptGridFile, FileExists, NoFile
from pymongo import ASCENDING, IndexModel

from hts_flows.errors import InputError
from hts_flows.pools.frames import frame_from_parquet, frame_to_parquet
from hts_flows.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.stores.database import Database

#: GridFS bucket; a file's name is its SHA-256.
BUCKET = "pools"
#: A pool is found by its hash, and is there once, whoever stores it at the same time; its pieces are read in order.
POOL_INDEXES: dict[str, list[IndexModel]] = {
    f"{BUCKET}.files": [IndexModel([("filename", ASCENDING)], unique=True)],
    f"{BUCKET}.chunks": [IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)],
}
#: Pieces without a file that are older than this were left by a process that was killed.
ABANDONED = timedelta(days=1)
_SHA256 = re.compile(r"^[0-9a-f]{64}$")


def store_pool(database: Database, frame: pd.DataFrame) -> str:
    """Store a pool, once.

    A pool appears when all of it is written: pieces come first, then the one document that names them. The unique index
    on the name lets the first of two callers win; the other takes its own pieces away.

    Parameters
    ----------
    database
        Where to.
    frame
        From :func:`hts_flows.pools.read_pool`.

    Returns
    -------
    str
        SHA-256 of the parquet file, for :func:`fetch_pool`.
    """
    content = frame_to_parquet(frame)
    sha256 = hashlib.sha256(content).hexdigest()
    for name, indexes in POOL_INDEXES.items():
        database.mongo[name].create_indexes(indexes)
    stored = _document(database, sha256)
    if stored and _is_whole(database, stored):
        return sha256
    bucket = GridFSBucket(database.mongo, BUCKET)
    if stored:  # e.g. from a backup that was written while the pool was
        _remove(database, stored)
    _sweep(database)
    stream = bucket.open_upload_stream(sha256, metadata={"rows": len(frame), "columns": list(map(str, frame.columns))})
    try:
        stream.write(content)
        stream.close()
    except FileExists:
        database.mongo[f"{BUCKET}.chunks"].delete_many({"files_id": stream._id})  # noqa: SLF001 (has no public name)
    except BaseException:
        stream.abort()
        raise
    return sha256


def fetch_pool(database: Database, sha256: str, settings: Settings | None = None) -> Path:
    """Give the parquet file of a stored pool, from the cache where it is there unharmed.

    Parameters
    ----------
    database
        Where it is stored.
    sha256
        From :func:`store_pool`.
    settings
        Those in force when left out; the cache is the folder ``pools`` in their home.

    Returns
    -------
    pathlib.Path
        File that must not be changed.

    Raises
    ------
    InputError
        There is no such pool, it is damaged, or the cache cannot be written.
    """
    path = pool_path(sha256, settings)
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InputError(f"cannot read the pool {path}: {error.strerror}", "check the rights of the file") from error
    content = _download(database, sha256)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(
            f"the pool {sha256[:12]}… in the database is damaged", "restore it from a backup, or read its source again"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "check HTS_HOME with 'hts settings'") from error
    try:
        with handle:
            handle.write(content)
        os.replace(handle.name, path)  # noqa: PTH105 (one atomic rename)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", "check the space on the disk") from error
    finally:
        Path(handle.name).unlink(missing_ok=True)
    return path


def pool_path(sha256: str, settings: Settings | None = None) -> Path:
    """Place of a pool's file in the cache, whether it is there or not.

    Parameters
    ----------
    sha256, settings
        As in :func:`fetch_pool`.

    Raises
    ------
    InputError
        That is no SHA-256.
    """
    if not _SHA256.match(sha256):
        raise InputError(f"{sha256!r} is no SHA-256", "64 digits and letters a to f, as store_pool gives them")
    return (settings or load_settings()).home / "pools" / f"{sha256}.parquet"


def pool_frame(path: Path) -> pd.DataFrame:
    """Read the file of a pool.

    Parameters
    ----------
    path
        From :func:`fetch_pool`.

    Returns
    -------
    pandas.DataFrame
        As :func:`hts_flows.pools.read_pool` gave it, without ``attrs``.
    """
    return frame_from_parquet(path)


def _document(database: Database, sha256: str) -> dict[str, Any] | None:
    return database.mongo[f"{BUCKET}.files"].find_one({"filename": sha256})


def _is_whole(database: Database, stored: dict[str, Any]) -> bool:
    pieces = -(-stored["length"] // stored["chunkSize"])
    return database.mongo[f"{BUCKET}.chunks"].count_documents({"files_id": stored["_id"]}) == pieces


def _remove(database: Database, stored: dict[str, Any]) -> None:
    database.mongo[f"{BUCKET}.files"].delete_one({"_id": stored["_id"]})
    database.mongo[f"{BUCKET}.chunks"].delete_many({"files_id": stored["_id"]})


def _sweep(database: Database) -> None:
    """Remove pieces of pools whose writer was killed."""
    chunks = database.mongo[f"{BUCKET}.chunks"]
    old = ObjectId.from_datetime(datetime.now(UTC) - ABANDONED)
    begun = set(chunks.distinct("files_id", {"files_id": {"$lt": old}}))
    named = {found["_id"] for found in database.mongo[f"{BUCKET}.files"].find({}, {"_id": 1})}
    if abandoned := begun - named:
        chunks.delete_many({"files_id": {"$in": sorted(abandoned)}})


def _download(database: Database, sha256: str) -> bytes:
    stored = _document(database, sha256)
    if stored is None:
        raise InputError(
            f"no pool {sha256[:12]}… in the database {database.mongo.name!r}",
            "submit the campaign again where its sources can be read, or restore a backup",
        )
    try:
        with GridFSBucket(database.mongo, BUCKET).open_download_stream(stored["_id"]) as stream:
            return bytes(stream.read())
    except (CorruptGridFile, NoFile) as error:
        raise InputError(
            f"the pool {sha256[:12]}… in the database is not whole: {error}",
            "restore it from a backup, or submit the campaign again",
        ) from error
