"""Descriptors of structures on disk: computed once, read by every later call, in this process or another."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: So many files of one family are put together into one.
MOST_FILES = 32
#: How often the folder is listed again when a file that was listed is gone.
_ATTEMPTS = 3


class DescriptorCache:
    """Vectors of one family of descriptors, by what they are of.

    A folder of parquet files, each whole from the moment it has its name and never changed afterwards, so processes
    that write at the same time, also from several machines, cannot harm each other; at worst a vector is computed
    twice. Pages carry checksums: a file that is damaged is removed, and what was in it is computed again.

    Parameters
    ----------
    folder
        Of all families.
    family
        Name of the family.
    recipe
        Everything that the numbers depend on beside the structure: options, versions. Compatible with JSON.
    length
        Of each vector.
    """

    def __init__(self, folder: Path, family: str, recipe: Mapping[str, Any], length: int) -> None:
        content = json.dumps({"family": family, "recipe": recipe, "length": length}, sort_keys=True)
        self.folder = folder / f"{family}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        self.content = content
        self.length = length

    def read(self, wanted: Iterable[str]) -> dict[str, Floats]:
        """Vectors that are stored, by key.

        Parameters
        ----------
        wanted
            Keys; those that are not stored are not in the result.
        """
        keys = set(wanted)
        found: dict[str, Floats] = {}
        for _ in range(_ATTEMPTS if keys else 0):
            contents = [self._read_file(path) for path in self._files()]
            for content in contents:
                found.update((key, vector) for key, vector in (content or {}).items() if key in keys)
            # A file that is gone was put together with others meanwhile: they are in a new one.
            if None not in contents or len(found) == len(keys):
                break
        return found

    def write(self, vectors: Mapping[str, Floats]) -> None:
        """Store vectors.

        Parameters
        ----------
        vectors
            By key, each of the cache's length.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        if not vectors:
            return
        try:
            self._write_file(vectors)
            files = self._files()
            if len(files) > MOST_FILES:
                self._put_together(files)
        except OSError as error:
            raise InputError(
                f"descriptors cannot be stored in {self.folder}: {error.strerror or error}",
                "make the folder writable or free space on its disk",
            ) from error

    def _put_together(self, files: list[Path]) -> None:
        """Write one file of several, and then remove those; what one process removes is whole in a file by then."""
        contents = {path: content for path in files if (content := self._read_file(path)) is not None}
        whole = self._write_file({key: vector for content in contents.values() for key, vector in content.items()})
        for path in contents:
            if path != whole:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _read_file(self, path: Path) -> dict[str, Floats] | None:
        """Vectors of a file by key; none where it was damaged, and is removed; None where it cannot be read now."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # Not mapped into memory: the file may be put together with others and removed meanwhile.
            table = pq.read_table(path, memory_map=False, page_checksum_verification=True)
            keys = table.column("key").to_pylist()
            vectors = table.column("values").combine_chunks()
            values = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(keys), self.length)
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            # Errors of the system have a number: the file is gone, or its disk. All others mean that its content is
            # not what was written here.
            if isinstance(error, OSError) and error.errno:
                return None
            path.unlink(missing_ok=True)
            return {}
        return dict(zip(keys, values, strict=True))

    def _write_file(self, vectors: Mapping[str, Floats]) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        keys = sorted(vectors)
        values = pa.array(np.concatenate([vectors[key] for key in keys]), type=pa.float64())
        table = pa.table({"key": keys, "values": pa.FixedSizeListArray.from_arrays(values, self.length)})
        table = table.replace_schema_metadata({"hts_flows": self.content})
        path = self.folder / f"{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:32]}.parquet"
        self.folder.mkdir(parents=True, exist_ok=True)
        # A name that no other process has, then the final one in one step: nobody ever sees half a file.
        unfinished = self.folder / f".{path.stem}.{os.getpid()}.{uuid.uuid4().hex}"
        try:
            pq.write_table(table, unfinished, compression="zstd", write_page_checksum=True)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path
