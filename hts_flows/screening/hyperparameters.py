"""Hyper-parameters of the Gaussian process: those that are not given maximise the posterior density.

The marginal likelihood alone overfits a handful of observations, so each hyper-parameter has a prior, none of them
chosen on the data that this project's benchmarks report:

- length scale: log-normal, median √12·exp(√2)·√d for d descriptors of unit variance, standard deviation √3 (natural
  logarithm). It is the prior of Hvarfner, Hellsten, Nardi: Proc. ICML (2024), arXiv:2402.02229, for descriptors in
  [0, 1], whose standard deviation is 1/√12 when uniform;
- noise: log-normal, median exp(−4) of the signal variance, standard deviation 1 (the default of BoTorch since 0.12);
- signal variance: inverse gamma with the mode 1, the variance of the standardised values; maximised in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import minimize

from hts_flows.screening.gaussian_process import squared_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LENGTH_SCALE_SHIFT = math.sqrt(2) + 0.5 * math.log(12)
LENGTH_SCALE_SPREAD = math.sqrt(3)
NOISE_LOG_MEDIAN = -4.0
NOISE_SPREAD = 1.0
#: Shape of the prior of the signal variance; the scale follows from its mode, 1.
SIGNAL_SHAPE = 2.0
#: Bounds of ln(length scale) about the prior's median, and of ln(noise).
LENGTH_SCALE_BOUND = 5.0
NOISE_BOUNDS = (math.log(1e-6), math.log(10.0))
#: Starting points of the search, in standard deviations of the length scale's prior.
STARTS = (0.0, -1.0)


@dataclass(frozen=True)
class Hyperparameters:
    """What the Gaussian process is conditioned with.

    Attributes
    ----------
    length_scales
        One for each group of descriptors, in standard deviations of the descriptors.
    noise
        Variance of the noise as a fraction of the signal variance.
    signal_variance
        In variances of the (transformed) values.
    """

    length_scales: tuple[float, ...]
    noise: float
    signal_variance: float


@dataclass(frozen=True)
class Given:
    """Hyper-parameters that the user fixed; None for those to be fitted.

    Attributes
    ----------
    length_scales, noise, signal_variance
        As in :class:`Hyperparameters`.
    """

    length_scales: tuple[float, ...] | None
    noise: float | None
    signal_variance: float | None


class _Density:
    """Negative logarithm of the posterior density, as a function of ln(length scales) and ln(noise)."""

    def __init__(
        self, points: Floats, values: Floats, trend: Floats, groups: Sequence[NDArray[np.int_]], n_active: int
    ) -> None:
        self.squares = [squared_distances(points[:, group], points[:, group]) for group in groups]
        self.values = values
        self.linear = np.outer(trend, trend)
        self.centre = LENGTH_SCALE_SHIFT + 0.5 * math.log(max(n_active, 1))

    def signal_variance(self, quadratic: float) -> float:
        """Value with the highest density, given valuesᵀ A⁻¹ values."""
        return (0.5 * quadratic + SIGNAL_SHAPE + 1.0) / (0.5 * len(self.values) + SIGNAL_SHAPE + 1.0)

    def factor(self, logs: Floats) -> tuple[Floats, Floats, Floats, list[Floats]]:
        """Cholesky factor, weights, correlations, and squared distances in length scales."""
        scaled = [square * math.exp(-2.0 * log) for square, log in zip(self.squares, logs[:-1], strict=True)]
        correlations: Floats = np.exp(-0.5 * np.sum(scaled, axis=0))
        matrix = correlations + self.linear
        matrix[np.diag_indices_from(matrix)] += math.exp(logs[-1])
        factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        return factor, cho_solve((factor, True), self.values, check_finite=False), correlations, scaled

    def __call__(self, logs: Floats, fixed_signal: float | None) -> tuple[float, Floats]:
        factor, weights, correlations, scaled = self.factor(logs)
        quadratic = float(self.values @ weights)
        signal = fixed_signal or self.signal_variance(quadratic)
        shape = 0.5 * len(self.values) + SIGNAL_SHAPE + 1.0
        density = float(np.log(np.diag(factor)).sum()) + shape * math.log(signal)
        density += (0.5 * quadratic + SIGNAL_SHAPE + 1.0) / signal
        offsets = (logs[:-1] - self.centre) / LENGTH_SCALE_SPREAD
        noise_offset = (logs[-1] - NOISE_LOG_MEDIAN) / NOISE_SPREAD
        density += 0.5 * float(offsets @ offsets) + 0.5 * noise_offset**2
        # The signal variance is at its optimum, so that it contributes nothing to the gradient.
        inverse = cho_solve((factor, True), np.eye(len(self.values)), check_finite=False)
        sensitivity = 0.5 * (inverse - np.outer(weights, weights) / signal)
        weighted = sensitivity * correlations
        gradient = np.array([*(np.sum(weighted * one) for one in scaled), math.exp(logs[-1]) * np.trace(sensitivity)])
        gradient[:-1] += offsets / LENGTH_SCALE_SPREAD
        gradient[-1] += noise_offset / NOISE_SPREAD
        return density, gradient


def fit_hyperparameters(
    points: Floats, values: Floats, trend: Floats, groups: Sequence[NDArray[np.int_]], given: Given
) -> Hyperparameters:
    """Find the hyper-parameters of highest posterior density; the search is deterministic.

    Parameters
    ----------
    points
        Standardised descriptors of the observed candidates, shape (n, d).
    values
        Standardised values, shape (n,).
    trend
        Standardised lower-fidelity values, shape (n,); zeros where there are none.
    groups
        For each length scale, the columns it holds for (constant ones left out).
    given
        What is not fitted.
    """
    density = _Density(points, values, trend, groups, sum(map(len, groups)))
    n_groups = len(groups)
    fixed = np.full(n_groups + 1, np.nan)
    if given.length_scales is not None:
        fixed[:-1] = np.log(given.length_scales)
    if given.noise is not None:
        fixed[-1] = math.log(max(given.noise, math.exp(NOISE_BOUNDS[0])))
    free = np.isnan(fixed)
    low = np.r_[np.full(n_groups, density.centre - LENGTH_SCALE_BOUND), NOISE_BOUNDS[0]]
    high = np.r_[np.full(n_groups, density.centre + LENGTH_SCALE_BOUND), NOISE_BOUNDS[1]]

    def objective(some: Floats) -> tuple[float, Floats]:
        logs = fixed.copy()
        logs[free] = some
        value, gradient = density(logs, given.signal_variance)
        return value, gradient[free]

    logs = fixed
    if free.any():
        found = []
        for offset in STARTS:
            start = np.r_[np.full(n_groups, density.centre + offset * LENGTH_SCALE_SPREAD), NOISE_LOG_MEDIAN]
            bounds = list(zip(low[free], high[free], strict=True))
            found.append(minimize(objective, start[free], jac=True, method="L-BFGS-B", bounds=bounds))
        logs = fixed.copy()
        logs[free] = min(found, key=lambda result: result.fun).x
    scales = given.length_scales or tuple(float(value) for value in np.exp(logs[:-1]))
    noise = given.noise if given.noise is not None else math.exp(logs[-1])
    signal = given.signal_variance
    if signal is None:
        _, weights, *_ = density.factor(logs)
        signal = density.signal_variance(float(values @ weights))
    return Hyperparameters(scales, noise, signal)
