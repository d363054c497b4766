"""The candidates: descriptors, their standardisation, and lower-fidelity values, read in chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.errors import InputError
from hts_flows.screening.sources import DescriptorSource, Scaling
from hts_flows.screening.values import LARGEST, real

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


class Pool:
    """Candidates as a Gaussian process sees them.

    Parameters
    ----------
    source
        Descriptors.
    prior_mean
        Lower-fidelity value of each candidate, NaN where there is none, shape (n_candidates,); or None.
    reference
        Candidates over which descriptors are standardised; all by default.

    Attributes
    ----------
    scaling
        Standardisation of the descriptors.
    """

    def __init__(self, source: DescriptorSource, prior_mean: ArrayLike | None, reference: Sequence[int] | None) -> None:
        self.source = source
        self.scaling = Scaling.of(source, reference)
        self.prior_mean: Floats | None = None
        self._rows: dict[int, Floats] = {}
        self._trends: dict[str, Floats] = {}
        if prior_mean is None:
            return
        values = real("prior_mean", prior_mean, "give one number for each candidate, NaN where there is none").copy()
        if values.shape != (self.n_candidates,):
            message = (
                f"prior_mean has the shape {values.shape}; ({self.n_candidates},) is needed, one for each candidate"
            )
            raise InputError(message, "write NaN for candidates without a lower-fidelity value")
        if (np.abs(values) > LARGEST).any() or np.isnan(values).all():
            message = "prior_mean holds infinite numbers, or no number at all"
            raise InputError(message, f"allowed: finite numbers up to {LARGEST:g}, and NaN")
        self.prior_mean = values

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return self.source.n_candidates

    def digest(self) -> str:
        """SHA-256 of the descriptors and the lower-fidelity values."""
        if self.prior_mean is None:
            return self.scaling.digest
        return hashlib.sha256(self.scaling.digest.encode() + self.prior_mean.tobytes()).hexdigest()

    def positive_prior(self) -> bool:
        """Whether lower-fidelity values, if any, have logarithms."""
        return self.prior_mean is None or not bool((self.prior_mean <= 0).any())

    def trend(self, transform: str) -> Floats | None:
        """Lower-fidelity values, transformed and standardised; 0, their mean, where there is none.

        Parameters
        ----------
        transform
            "log" or "none", as for the values.
        """
        if self.prior_mean is None:
            return None
        if transform not in self._trends:
            values = np.log(self.prior_mean) if transform == "log" else self.prior_mean
            deviation = float(np.nanstd(values)) or 1.0
            self._trends = {transform: np.nan_to_num((values - np.nanmean(values)) / deviation)}
        return self._trends[transform]

    def trend_of(self, transform: str, ids: Sequence[int]) -> Floats:
        """Trend of some candidates, zeros where there is none at all.

        Parameters
        ----------
        transform, ids
            As in :meth:`trend`; candidates.
        """
        trend = self.trend(transform)
        return np.zeros(len(ids)) if trend is None else trend[np.asarray(ids, dtype=int)]

    def points(self, ids: Sequence[int]) -> Floats:
        """Standardised descriptors of some candidates, shape (len(ids), n_descriptors).

        Parameters
        ----------
        ids
            Candidates.
        """
        if self.source.in_memory:
            return self.scaling.apply(self.source.take(ids))
        new = [one for one in ids if one not in self._rows]
        if new:
            self._rows.update(zip(new, self.scaling.apply(self.source.take(new)), strict=True))
        return np.array([self._rows[one] for one in ids]).reshape(len(ids), len(self.source.names))

    def sample(self, size: int) -> Floats:
        """Standardised descriptors of evenly spaced candidates, shape (at most size, n_descriptors).

        Parameters
        ----------
        size
            How many at most. Of files only the first piece is read.
        """
        piece = next(iter(self.source.chunks()))[1]
        if self.source.in_memory:
            piece = self.source.take(range(0, self.n_candidates, -(-self.n_candidates // size)))
        return self.scaling.apply(piece[:: -(-len(piece) // size)])

    def chunks(self, transform: str) -> Iterator[tuple[int, Floats, Floats]]:
        """First candidate, standardised descriptors and trend of successive pieces of the pool.

        Parameters
        ----------
        transform
            As in :meth:`trend`.
        """
        trend = self.trend(transform)
        for start, piece in self.source.chunks():
            here = np.zeros(len(piece)) if trend is None else trend[start : start + len(piece)]
            yield start, self.scaling.apply(piece), here
