"""Predictions of one model for all candidates, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.screening.prediction import Predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.screening.model import Model
    from hts_flows.screening.pool import Pool

    Floats = NDArray[np.float64]


class PoolPredictions:
    """Means and standard deviations of all candidates; for a pool in memory they are computed once and kept.

    Parameters
    ----------
    pool, model
        Candidates, Gaussian process.
    known
        Observed and failed candidates, in ascending order. They are predicted exactly: their standard deviations are so
        small that faster ways miss them most.
    tolerance
        See :class:`hts_flows.screening.prediction.Predictor`.

    Attributes
    ----------
    method
        How the others are predicted, see there; None before the first iteration.
    """

    def __init__(self, pool: Pool, model: Model, known: NDArray[np.int_], tolerance: float) -> None:
        self.pool = pool
        self.model = model
        self.known = known
        self.tolerance = tolerance
        self.method: str | None = None
        self._predictor: Predictor | None = None
        self._kept: list[tuple[Floats, Floats]] = []

    def __iter__(self) -> Iterator[tuple[int, Floats, Floats, Floats]]:
        """First candidate, points in length scales, means and standard deviations of successive pieces."""
        keep = self.pool.source.in_memory
        for number, (start, unscaled, trend) in enumerate(self.pool.chunks(self.model.scale.transform)):
            points = unscaled * self.model.inverse_lengths
            if number < len(self._kept):
                mean, deviation = self._kept[number]
            else:
                mean, deviation = self._predict(start, points, trend)
                if keep:
                    self._kept.append((mean, deviation))
            yield start, points, mean, deviation

    def _predict(self, start: int, points: Floats, trend: Floats) -> tuple[Floats, Floats]:
        known = self.known[(self.known >= start) & (self.known < start + len(points))] - start
        if self._predictor is None:
            others = np.ones(len(points), dtype=bool)
            others[known] = False
            sample = (points[others], trend[others]) if others.any() else (points, trend)
            self._predictor = Predictor(self.model.process, self.pool.n_candidates, sample, self.tolerance)
            self.method = self._predictor.method
        mean, deviation = self._predictor.predict(points, trend)
        if self.method != "exact" and len(known):
            mean[known], deviation[known] = self.model.process.predict(points[known], trend[known])
        return mean, deviation
