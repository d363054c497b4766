"""What a screener believes: a function of the observations alone, whatever order they came in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.screening.gaussian_process import GaussianProcess
from hts_flows.screening.hyperparameters import Given, Hyperparameters, fit_hyperparameters
from hts_flows.screening.values import ValueScale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Hyper-parameters are fitted on at most this many observations, drawn with the seed: the cost grows with the cube.
MAX_FITTED = 400


@dataclass(frozen=True, eq=False)
class Observations:
    """What was observed, candidates in ascending order.

    Attributes
    ----------
    points
        Standardised descriptors of the observed candidates, shape (n, d).
    values
        In the user's unit, shape (n,).
    trend
        Standardised lower-fidelity values, shape (n,).
    failed_points, failed_trend
        Of the failed candidates, shapes (m, d), (m,).
    """

    points: Floats
    values: Floats
    trend: Floats
    failed_points: Floats
    failed_trend: Floats


@dataclass(frozen=True, eq=False)
class Model:
    """A Gaussian process with the scales of its input and output.

    Attributes
    ----------
    scale
        Of the values.
    hyperparameters
        Fitted or given.
    inverse_lengths
        One over the length scale of each descriptor, shape (d,).
    observed
        Conditioned on the observed candidates.
    process
        Conditioned on the failed ones too.
    best
        Lowest internal value observed.
    """

    scale: ValueScale
    hyperparameters: Hyperparameters
    inverse_lengths: Floats
    observed: GaussianProcess
    process: GaussianProcess
    best: float

    @classmethod
    def fit(
        cls,
        data: Observations,
        *,
        transform: str,
        minimize: bool,
        groups: Sequence[NDArray[np.int_]],
        given: Given,
        seed: int,
    ) -> Model:
        """Fit to observations.

        Parameters
        ----------
        data
            At least one observation.
        transform
            "log" or "none".
        minimize
            Whether lower values are better.
        groups
            Descriptors (those that are not constant) that share a length scale.
        given
            Hyper-parameters that are not fitted.
        seed
            Of the draw from very many observations.

        Notes
        -----
        A failed candidate is given the value mean + standard deviation that the successful ones predict for it
        (Forrester, Sóbester, Keane: Proc. R. Soc. A 462, 935 (2006)), but no better one than the best observed. So its
        neighbourhood loses in mean and in uncertainty, a region that fails throughout is left, and a chance failure
        does not bend the model as the worst value would ("floor padding", Wakabayashi et al.: npj Comput. Mater. 8, 180
        (2022)). Neither hyper-parameters nor the best value depend on failed candidates.
        """
        scale = ValueScale.of(data.values, transform=transform, minimize=minimize)
        values = scale.internal(data.values)
        chosen = np.arange(len(values))
        if len(values) > MAX_FITTED:
            chosen = np.sort(np.random.default_rng(seed).choice(len(values), MAX_FITTED, replace=False))
        found = fit_hyperparameters(data.points[chosen], values[chosen], data.trend[chosen], groups, given)
        inverse = np.zeros(data.points.shape[1])
        for group, length in zip(groups, found.length_scales, strict=True):
            inverse[group] = 1.0 / length
        observed = GaussianProcess.fit(
            data.points * inverse,
            values,
            data.trend,
            noise=found.noise,
            signal_variance=found.signal_variance,
        )
        best = float(values.min())
        process = observed
        if len(data.failed_trend):
            points = data.failed_points * inverse
            mean, deviation = observed.predict(points, data.failed_trend)
            process = observed.extended(points, np.maximum(mean + deviation, best), data.failed_trend)
        return cls(scale, found, inverse, observed, process, best)
