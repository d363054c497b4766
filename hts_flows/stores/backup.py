"""Backups: every collection in one file, laid out as mongodump does, so that mongorestore reads it too."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import bson
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError, InvalidName

from hts_flows.errors import InputError

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

_READ_AT_ONCE = 1 << 20
BATCH = 500
_RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)


def write_backup(database: Database, target: Path) -> int:
    """Write all documents to a ``.tar.gz`` file, which appears only when it is complete.

    Collections are read one after the other: stop runs first if they must agree to the last job.

    Returns
    -------
    int
        Number of documents.
    """
    count = 0
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder", f"give a file, e.g. {target / 'backup.tar.gz'}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False)  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"cannot write {target}: {error.strerror}", "give a file in a folder you can write in"
        ) from error
    try:
        with handle, tarfile.open(fileobj=handle, mode="w:gz") as archive:
            for name in sorted(database.mongo.list_collection_names()):
                count += _write_collection(database, archive, name)
        os.replace(handle.name, target)  # noqa: PTH105 (one atomic rename)
    except BaseException:
        Path(handle.name).unlink(missing_ok=True)
        raise
    return count


def _write_collection(database: Database, archive: tarfile.TarFile, name: str) -> int:
    count = 0
    with tempfile.TemporaryFile() as data:
        for document in database.mongo[name].with_options(codec_options=_RAW).find({}):
            data.write(document.raw)
            count += 1
        _add(archive, f"{database.mongo.name}/{name}.bson", data)
    indexes = [dict(index) for index in database.mongo[name].list_indexes()]
    metadata = json_util.dumps({"indexes": indexes, "collectionName": name, "type": "collection"}).encode()
    _add(archive, f"{database.mongo.name}/{name}.metadata.json", io.BytesIO(metadata))
    return count


def _add(archive: tarfile.TarFile, name: str, data: Any) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = data.seek(0, os.SEEK_END)
    entry.mode = 0o600
    data.seek(0)
    archive.addfile(entry, data)


def read_backup(database: Database, source: Path, *, replace: bool = False) -> int:
    """Put the documents of a backup into the database.

    Parameters
    ----------
    database
        Where to, whatever its name was in the backup.
    source
        File that :func:`write_backup` wrote.
    replace
        Drop what is there first.

    Raises
    ------
    InputError
        The file is missing or no backup, or the database holds results and ``replace`` is not set.
    """
    if not source.is_file():
        raise InputError(f"backup not found: {source}", "give a file that 'hts db backup' wrote")
    if not replace and any(database.mongo[name].find_one({}) for name in ("results", "campaigns", "fireworks")):
        raise InputError(
            f"the database {database.mongo.name!r} is not empty",
            "add --replace to drop what it holds (make a backup first), or set HTS_DATABASE to a new name",
        )
    try:
        # The checksum is at the end, where reading the archive need not come.
        with gzip.open(source) as whole:
            while whole.read(_READ_AT_ONCE):
                pass
        with tarfile.open(source, mode="r:gz") as archive:
            members = [member for member in archive if member.name.endswith(".bson")]
            if not members:
                raise InputError(f"{source} holds no collections", "give a file that 'hts db backup' wrote")
            for member in members:
                # Every document is decoded once before anything is dropped.
                deque(bson.decode_file_iter(_content(archive, member), codec_options=_RAW), maxlen=0)
            for name in database.mongo.list_collection_names() if replace else ():
                database.mongo[name].delete_many({})
            return sum(_read_collection(database, archive, member) for member in members)
    except (tarfile.TarError, EOFError, zlib.error, bson.errors.InvalidBSON, OSError) as error:
        raise InputError(
            f"{source} is no backup that can be read: {error}", "give a file that 'hts db backup' wrote"
        ) from error
    except (BulkWriteError, InvalidName) as error:
        raise InputError(
            f"{source} holds documents that MongoDB refuses: {error}", "the database may now hold a part of them"
        ) from error


def _read_collection(database: Database, archive: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    name = Path(member.name).name.removesuffix(".bson")
    collection = database.mongo[name]
    if name == "fw_id_assigner":
        collection.delete_many({})  # the counter that connecting has made
    count = 0
    for batch in _batches(bson.decode_file_iter(_content(archive, member), codec_options=_RAW)):
        collection.insert_many(batch, ordered=False)
        count += len(batch)
    return count


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    data = archive.extractfile(member)
    if data is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return data


def _batches(documents: Iterator[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for document in documents:
        batch.append(document)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
