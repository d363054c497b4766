"""Predictions for millions of candidates: the variance is what costs, and there are three ways to it.

For n observations and N candidates the exact way, a triangular solve in double precision, takes N·n² operations.

- **Low rank.** A candidate's covariances k are projected on the r eigenvectors of the covariance matrix with the
  largest eigenvalues λ. Their part of the explained variance, Σ p²/(λ + noise), is exact. For the others only Σ p² is
  needed, which is what k·k leaves: as their eigenvalues are alike, one weight for all does, fitted to a sample.
- **Single precision.** The inverted factor times the covariances.
- **Exact** for everything else.

The first two are used only where, on a sample of candidates, means and standard deviations differ from the exact ones
by no more than a tolerance times the standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import eigh, solve_triangular
from scipy.linalg.blas import strmm

from hts_flows.screening.gaussian_process import GaussianProcess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    #: From points and trend to the mean and the explained part of the variance, without the signal variance.
    Explained = Callable[[Floats, Floats], tuple[Floats, Floats]]

#: Largest memory of a block of covariances, bytes.
BLOCK_BYTES = 32 << 20
#: Below so many observations, or candidates for each of them, nothing is gained by preparing.
_FEW = 32
_WORTHWHILE = 100
#: Candidates that errors are measured on.
_SAMPLE = 512
#: Ranks that are tried, as fractions of the number of observations; with more, single precision is as fast.
_RANKS = (1 / 32, 1 / 16, 1 / 10, 1 / 8, 1 / 6, 1 / 5, 1 / 4, 1 / 3)
#: What the truncation may use of the tolerance.
_MARGIN = 0.8
#: Eigenvalues that are larger than the dropped ones by this factor are taken off in single precision.
_LARGE = 300.0


@dataclass(frozen=True, eq=False)
class _Sample:
    """Candidates with exact predictions."""

    points: Floats
    trend: Floats
    mean: Floats
    deviation: Floats

    def error(self, mean: Floats, deviation: Floats) -> float:
        """Largest error, in standard deviations: what it changes in a Z-score, or of its size."""
        errors = np.abs(mean - self.mean), np.abs(deviation - self.deviation)
        return max(float((error / self.deviation).max()) for error in errors)


def block_rows(n_observed: int) -> int:
    """Candidates in a block of covariances.

    Parameters
    ----------
    n_observed
        Number of observations.
    """
    return max(256, BLOCK_BYTES // (8 * max(n_observed, 1)))


def _exact(process: GaussianProcess) -> Explained:
    def explained(points: Floats, trend: Floats) -> tuple[Floats, Floats]:
        cross = process.covariances(points, trend)
        mean = cross @ process.weights
        side = solve_triangular(process.factor, cross.T, lower=True, overwrite_b=True, check_finite=False)
        return mean, np.einsum("ij,ij->j", side, side)

    return explained


def _low_rank(process: GaussianProcess, sample: _Sample, tolerance: float) -> Explained | None:
    n = len(process.values)
    matrix = process.factor @ process.factor.T
    matrix[np.diag_indices_from(matrix)] -= process.noise
    eigenvalues, vectors = eigh(matrix, overwrite_a=True, check_finite=False)
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    squares = (process.covariances(sample.points, sample.trend) @ vectors) ** 2
    shares = squares / (eigenvalues + process.noise)
    for fraction in _RANKS:
        rank = int(np.ceil(fraction * n))
        tail = squares[:, rank:].sum(axis=1)
        weight = float(tail @ shares[:, rank:].sum(axis=1) / (tail @ tail)) if tail.any() else 0.0
        deviation = process.deviation(sample.trend, shares[:, :rank].sum(axis=1) + weight * tail)
        if sample.error(sample.mean, deviation) <= _MARGIN * tolerance:
            return _truncated(process, eigenvalues, vectors, rank, weight)
    return None


def _truncated(process: GaussianProcess, eigenvalues: Floats, vectors: Floats, rank: int, weight: float) -> Explained:
    covariances = _SingleCovariances(process)
    basis = np.ascontiguousarray(vectors[:, :rank], dtype=np.float32)
    shares = (1.0 / (eigenvalues[:rank] + process.noise)).astype(np.float32)
    # In single precision what is left of the covariances would drown in the largest projections: these are taken off.
    n_large = int((eigenvalues[:rank] > _LARGE * eigenvalues[min(rank, len(eigenvalues) - 1)]).sum())
    large = np.ascontiguousarray(basis[:, :n_large].T)

    def explained(points: Floats, trend: Floats) -> tuple[Floats, Floats]:
        cross, mean = covariances(points, trend)
        projections = cross @ basis
        cross -= projections[:, :n_large] @ large
        left = np.einsum("ij,ij->i", cross, cross).astype(float)
        projections *= projections
        tail = np.maximum(left - projections[:, n_large:].sum(axis=1, dtype=float), 0.0)
        return mean, (projections @ shares).astype(float) + weight * tail

    return explained


class _SingleCovariances:
    """Covariances with the observed points, and the mean, in single precision."""

    def __init__(self, process: GaussianProcess) -> None:
        points = process.points
        # −d²/2 = a·b − a²/2 − b²/2 comes from one matrix product with two more columns.
        halves = -0.5 * np.einsum("ij,ij->i", points, points)
        self.observed = np.column_stack([points, np.ones(len(points)), halves]).astype(np.float32)
        self.weights = process.weights.astype(np.float32)
        self.trend = process.trend.astype(np.float32) if process.has_trend else None

    def __call__(self, points: Floats, trend: Floats) -> tuple[NDArray[np.float32], Floats]:
        halves = -0.5 * np.einsum("ij,ij->i", points, points)
        cross = np.column_stack([points, halves, np.ones(len(points))]).astype(np.float32) @ self.observed.T
        np.exp(np.minimum(cross, 0.0, out=cross), out=cross)
        if self.trend is not None:
            cross += np.outer(trend.astype(np.float32), self.trend)
        return cross, (cross @ self.weights).astype(float)


def _single_precision(process: GaussianProcess) -> Explained:
    n = len(process.values)
    inverse = solve_triangular(process.factor, np.eye(n), lower=True, check_finite=False)
    small = np.asfortranarray(inverse, dtype=np.float32)
    covariances = _SingleCovariances(process)

    def explained(points: Floats, trend: Floats) -> tuple[Floats, Floats]:
        cross, mean = covariances(points, trend)
        side = strmm(1.0, small, cross.T, lower=1, overwrite_b=1)
        return mean, np.einsum("ij,ij->j", side, side).astype(float)

    return explained


class Predictor:
    """Predicts many candidates of one Gaussian process, block by block.

    Parameters
    ----------
    process
        Gaussian process.
    n_candidates
        How many candidates will be predicted.
    sample
        Points and trend of some of them, shapes (m, d) and (m,), on which the faster ways are tried.
    tolerance
        Largest error there, in standard deviations; 0 for exact predictions.

    Attributes
    ----------
    method
        "exact", "low rank" or "single precision".
    """

    def __init__(
        self, process: GaussianProcess, n_candidates: int, sample: tuple[Floats, Floats], tolerance: float
    ) -> None:
        self.process = process
        self.method = "exact"
        self._explained = _exact(process)
        n = len(process.values)
        if tolerance <= 0 or n < _FEW or n_candidates < _WORTHWHILE * n:
            return
        points, trend = (part[:: max(1, len(part) // _SAMPLE)] for part in sample)
        checked = _Sample(points, trend, *process.predict(points, trend))
        ways: dict[str, Callable[[], Explained | None]] = {
            "low rank": lambda: _low_rank(process, checked, tolerance),
            "single precision": lambda: _single_precision(process),
        }
        for method, prepare in ways.items():
            faster = prepare()
            if faster is None:
                continue
            mean, explained = faster(points, trend)
            if checked.error(mean, process.deviation(trend, explained)) <= tolerance:
                self.method, self._explained = method, faster
                return

    def predict(self, points: Floats, trend: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the function (without noise), shapes (m,).

        Parameters
        ----------
        points, trend
            In units of the length scales, shapes (m, d) and (m,).
        """
        mean, deviation = np.empty(len(points)), np.empty(len(points))
        rows = block_rows(len(self.process.values))
        for start in range(0, len(points), rows):
            block = slice(start, start + rows)
            mean[block], explained = self._explained(points[block], trend[block])
            deviation[block] = self.process.deviation(trend[block], explained)
        return mean, deviation
