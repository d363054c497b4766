"""Where descriptors come from: an array in memory, or parquet files that are read in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hts_flows.errors import InputError, nearest
from hts_flows.screening.values import LARGEST, real

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Candidates read at once.
CHUNK_ROWS = 65_536
#: A column varies if its standard deviation is more than this fraction of its largest absolute value.
CONSTANT = 1e-10
#: Bytes of a column read at once.
_BUFFER = 1 << 18
_MATRIX = 2


class DescriptorSource(Protocol):
    """Descriptors of numbered candidates.

    Attributes
    ----------
    n_candidates
        Number of candidates; they are numbered from 0.
    names
        Names of the descriptors.
    in_memory
        Whether reading costs nothing.
    """

    n_candidates: int
    names: tuple[str, ...]
    in_memory: bool

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """First candidate and descriptors of successive pieces, shape (at most CHUNK_ROWS, n_descriptors)."""

    def take(self, ids: Sequence[int]) -> Floats:
        """Descriptors of some candidates, shape (len(ids), n_descriptors)."""


class ArraySource:
    """Descriptors in memory; they are not copied, so the caller must leave them as they are.

    Parameters
    ----------
    values
        Shape (n_candidates, n_descriptors).
    """

    in_memory = True

    def __init__(self, values: ArrayLike) -> None:
        self.values: Floats = real("descriptors", values, "give a float array of shape (n_candidates, n_descriptors)")
        if self.values.ndim != _MATRIX or not self.values.size:
            message = f"descriptors have the shape {self.values.shape}; (n_candidates, n_descriptors) is needed"
            raise InputError(message, "a single descriptor is values[:, None]")
        self.n_candidates = len(self.values)
        self.names = tuple(str(column) for column in range(self.values.shape[1]))

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """First candidate and descriptors of successive pieces."""
        for start in range(0, self.n_candidates, CHUNK_ROWS):
            yield start, self.values[start : start + CHUNK_ROWS]

    def take(self, ids: Sequence[int]) -> Floats:
        """Descriptors of some candidates."""
        return self.values[np.asarray(ids, dtype=int)]


class ParquetSource:
    """Descriptors in parquet files, which never lie in memory as a whole. Candidates are numbered in the files' order.

    Parameters
    ----------
    data
        A file, a folder of files, or a pyarrow dataset of parquet files.
    columns
        Descriptors by name; all columns of numbers where it is left out.
    """

    in_memory = False

    def __init__(self, data: Any, columns: Sequence[str] | None = None) -> None:
        import pyarrow.dataset as ds
        import pyarrow.types as kinds

        if isinstance(data, str | Path):
            if not Path(data).exists():
                raise InputError(f"there is no parquet file or folder {data}", "check the path")
            data = ds.dataset(data, format="parquet")
        if not isinstance(data, ds.FileSystemDataset):
            raise InputError(
                f"descriptors cannot be read from {type(data).__name__}", "give a parquet path or an array"
            )
        schema = data.schema
        numeric = [field.name for field in schema if kinds.is_integer(field.type) or kinds.is_floating(field.type)]
        for name in columns or ():
            if name not in numeric:
                raise InputError(f"{name!r} is not a column of numbers in the parquet data", nearest(name, numeric))
        self.names = tuple(columns) if columns is not None else tuple(numeric)
        if not self.names:
            raise InputError("the parquet data has no column of numbers", "name descriptor columns")
        # The order of the paths is the order of the candidates, whatever the file system lists first.
        self.fragments = sorted(data.get_fragments(), key=lambda fragment: fragment.path)
        self.counts = [fragment.count_rows() for fragment in self.fragments]
        self.n_candidates = sum(self.counts)
        if not self.n_candidates:
            raise InputError("the parquet data has no rows", "give a pool with candidates")

    def _pieces(self, fragment: Any) -> Iterator[Floats]:
        import pyarrow.parquet as pq

        # A buffer filled ahead would hold the whole file in the end, and without a buffer whole row groups are read.
        with (
            fragment.filesystem.open_input_file(fragment.path) as file,
            pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER) as table,
        ):
            for batch in table.iter_batches(CHUNK_ROWS, columns=list(self.names)):
                # Missing numbers become NaN, which is then reported with its place.
                columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in self.names]
                yield np.column_stack(columns).astype(float, copy=False)

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """First candidate and descriptors of successive pieces."""
        start = 0
        for fragment in self.fragments:
            for piece in self._pieces(fragment):
                yield start, piece
                start += len(piece)

    def take(self, ids: Sequence[int]) -> Floats:
        """Descriptors of some candidates; files without any of them are not read."""
        wanted = np.asarray(ids, dtype=int)
        result = np.empty((len(wanted), len(self.names)))
        start = 0
        for fragment, count in zip(self.fragments, self.counts, strict=True):
            left = int(((wanted >= start) & (wanted < start + count)).sum())
            position = start
            pieces = self._pieces(fragment) if left else iter(())
            for piece in pieces:
                here = (wanted >= position) & (wanted < position + len(piece))
                result[here] = piece[wanted[here] - position]
                position += len(piece)
                left -= int(here.sum())
                if not left:
                    break
            start += count
        return result


def open_source(descriptors: Any, columns: Sequence[str] | None = None) -> DescriptorSource:
    """Find out what kind of descriptors these are.

    Parameters
    ----------
    descriptors
        Array, path of parquet data, or pyarrow dataset.
    columns
        Names of columns, for parquet only.
    """
    if isinstance(descriptors, str | Path) or type(descriptors).__module__.startswith("pyarrow"):
        return ParquetSource(descriptors, columns)
    if columns is not None:
        raise InputError(
            "columns were named, but the descriptors are an array", "leave columns out, or give a parquet path"
        )
    return ArraySource(descriptors)


@dataclass(frozen=True, eq=False)
class Scaling:
    """Standardisation of the descriptors over all candidates.

    Attributes
    ----------
    mean
        Shape (n_descriptors,).
    factor
        One over the standard deviation, shape (n_descriptors,); 0 for constant columns, which so contribute nothing.
    digest
        SHA-256 of the descriptors.
    """

    mean: Floats
    factor: Floats
    digest: str

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which columns are constant, shape (n_descriptors,)."""
        return self.factor == 0

    def apply(self, values: Floats) -> Floats:
        """Standardise, shape as given.

        Parameters
        ----------
        values
            Descriptors, shape (n, n_descriptors).
        """
        return (values - self.mean) * self.factor

    @classmethod
    def of(cls, source: DescriptorSource, reference: Sequence[int] | None = None) -> Scaling:
        """Read all descriptors once.

        Parameters
        ----------
        source
            Descriptors.
        reference
            Candidates whose mean and standard deviation are used; all by default.

        Raises
        ------
        InputError
            Where a descriptor is not a finite number, or too large, or all are constant.
        """
        digest = hashlib.sha256()
        count, width = 0, len(source.names)
        mean, squares, largest = np.zeros(width), np.zeros(width), np.zeros(width)
        for start, piece in source.chunks():
            allowed = np.abs(piece) <= LARGEST
            if not allowed.all():
                row, column = np.argwhere(~allowed)[0]
                message = f"descriptor {source.names[column]!r} of candidate {start + row} is {piece[row, column]}"
                hint = f"allowed: finite numbers up to {LARGEST:g}; leave the candidate out, or fill the value in"
                raise InputError(message, hint)
            digest.update(np.ascontiguousarray(piece).data)
            # Means and sums of squares of pieces are put together after Chan, Golub, LeVeque: Am. Stat. 37, 242 (1983).
            here = piece.mean(axis=0)
            shift = here - mean
            squares += ((piece - here) ** 2).sum(axis=0) + shift**2 * (count * len(piece) / (count + len(piece)))
            count += len(piece)
            mean += shift * (len(piece) / count)
            largest = np.maximum(largest, np.abs(piece).max(axis=0))
        deviation = np.sqrt(squares / count)
        if reference is not None:
            count = len(reference)
            some = source.take(reference)
            mean, deviation, largest = some.mean(axis=0), some.std(axis=0), np.abs(some).max(axis=0)
        varies = deviation > CONSTANT * largest
        if source.n_candidates > 1 and not varies.any():
            raise InputError(
                f"all {width} descriptors are constant over the {count} candidates", "give one that tells them apart"
            )
        factor = np.zeros(width)
        factor[varies] = 1.0 / deviation[varies]
        return cls(mean, factor, digest.hexdigest())
