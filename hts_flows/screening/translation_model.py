"""Gaussian process over rigid-body translations, whose kernel has the periods and the symmetry of the bicrystal.

The covariance of two translations is the sum of a Matérn correlation (ν = 5/2; Rasmussen, Williams: Gaussian Processes
for Machine Learning, MIT Press (2006), equation 4.17) over all symmetry images of one of them: what is learnt at a
point is known at its images too, and no function without the symmetry can be drawn. Periods enter by the chord of a
circle, (L/π) sin(πΔ/L) in the place of Δ, as in the periodic kernel (op. cit., equation 4.31). The function is rough
where the structure at the boundary changes from one translation to the next, hence no Gaussian correlation.

Hyper-parameters maximise the posterior density. The priors are log-normal:

- length scale in the plane: median 0.6 Å, standard deviation 0.5 (natural logarithm), a fraction of a bond;
- length scale along the normal: median 0.9 Å, standard deviation 0.5;
- noise: median 10⁻³ of the signal variance, standard deviation 1;
- signal variance: as in :mod:`hts_flows.screening.hyperparameters`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from hts_flows.screening.gaussian_process import VARIANCE_FLOOR, squared_distances
from hts_flows.screening.hyperparameters import SIGNAL_SHAPE
from hts_flows.screening.values import ValueScale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hts_flows.screening.translation_space import TranslationSpace

    Floats = NDArray[np.float64]

#: Medians and standard deviations of the logarithms of: length in the plane (Å), length along the normal (Å), noise.
PRIOR_CENTRES = np.log([0.6, 0.9, 1e-3])
PRIOR_SPREADS = np.array([0.5, 0.5, 1.0])
#: Bounds about the medians, in standard deviations.
_BOUND = 3.0
#: Starting points of the fit, in standard deviations of the length scale in the plane.
_STARTS = (0.0, -1.0)
_MAX_STEPS = 30
#: Values above the median by more than this multiple of (median − lowest) are taken for that: overlapping atoms.
CLIP = 1.0


class SymmetricDistances:
    """Squared distances from observed candidates, with all their images, to all candidates.

    Parameters
    ----------
    space
        Candidates are its representatives, numbered from 0 in their order.
    """

    def __init__(self, space: TranslationSpace) -> None:
        translations = space.translations(space.representatives)
        self._radii = np.array(space.periods) / (2 * math.pi)
        self._points = self._embedded(translations[:, :2])
        self._images = self._embedded(space.images(translations[:, :2]))
        self._normal = translations[:, 2]
        self._known: dict[int, tuple[Floats, Floats]] = {}
        #: From each candidate to its own images, Å², shape (n, n_operations).
        self.own: Floats = ((self._images - self._points[:, None]) ** 2).sum(axis=-1)

    def __len__(self) -> int:
        return len(self._normal)

    def _embedded(self, plane: Floats) -> Floats:
        """Points on two circles whose circumferences are the periods, Å, shape (..., 4)."""
        angles = plane / self._radii
        return np.concatenate([np.cos(angles) * self._radii, np.sin(angles) * self._radii], axis=-1)

    def of(self, candidate: int) -> tuple[Floats, Floats]:
        """Squared distances to all candidates, Å²: in the plane for each image, (n, n_operations), and normal, (n,).

        Parameters
        ----------
        candidate
            Number of a candidate.
        """
        if candidate not in self._known:
            plane = squared_distances(self._points, self._images[candidate])
            self._known[candidate] = (plane, (self._normal - self._normal[candidate]) ** 2)
        return self._known[candidate]

    def nearest(self, candidate: int) -> Floats:
        """Squared distance from each candidate to the nearest image of one, Å², shape (n,).

        Parameters
        ----------
        candidate
            Number of a candidate.
        """
        plane, normal = self.of(candidate)
        return plane.min(axis=-1) + normal


def _correlation(squares: Floats) -> Floats:
    """Matérn correlation of squared distances in length scales."""
    distance = np.sqrt(5.0 * squares)
    return (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)


def _slope(squares: Floats) -> Floats:
    """Derivative of the correlation by the logarithm of the length scale, over the squared distance."""
    distance = np.sqrt(5.0 * squares)
    return (5.0 / 3.0) * (1.0 + distance) * np.exp(-distance)


class _Density:
    """Negative logarithm of the posterior density, by the logarithms of both lengths and of the noise."""

    def __init__(self, plane: Floats, normal: Floats, values: Floats) -> None:
        self.plane, self.normal, self.values = plane, normal[..., None], values

    def signal_variance(self, quadratic: float) -> float:
        """Value with the highest density, given valuesᵀ A⁻¹ values."""
        return (0.5 * quadratic + SIGNAL_SHAPE + 1.0) / (0.5 * len(self.values) + SIGNAL_SHAPE + 1.0)

    def scaled(self, logs: Floats) -> tuple[Floats, Floats]:
        """Squared distances in length scales, in the plane and along the normal."""
        return self.plane * math.exp(-2 * logs[0]), self.normal * math.exp(-2 * logs[1])

    def factor(self, logs: Floats) -> tuple[Floats, Floats]:
        """Lower Cholesky factor of the covariance, without the signal variance, and weights."""
        plane, normal = self.scaled(logs)
        matrix = _correlation(plane + normal).sum(axis=-1)
        matrix[np.diag_indices_from(matrix)] += math.exp(logs[2])
        factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        return factor, cho_solve((factor, True), self.values, check_finite=False)

    def __call__(self, logs: Floats) -> tuple[float, Floats]:
        factor, weights = self.factor(logs)
        quadratic = float(self.values @ weights)
        signal = self.signal_variance(quadratic)
        shape = 0.5 * len(self.values) + SIGNAL_SHAPE + 1.0
        offsets = (logs - PRIOR_CENTRES) / PRIOR_SPREADS
        density = (
            float(np.log(np.diag(factor)).sum()) + shape * (math.log(signal) + 1.0) + 0.5 * float(offsets @ offsets)
        )
        # The signal variance is at its optimum, so that it contributes nothing to the gradient.
        inverse = cho_solve((factor, True), np.eye(len(self.values)), check_finite=False)
        sensitivity = 0.5 * (inverse - np.outer(weights, weights) / signal)
        plane, normal = self.scaled(logs)
        slope = _slope(plane + normal)
        by_plane = np.sum(sensitivity * (slope * plane).sum(axis=-1))
        by_normal = np.sum(sensitivity * (slope * normal).sum(axis=-1))
        by_noise = math.exp(logs[2]) * np.trace(sensitivity)
        return density, np.array([by_plane, by_normal, by_noise]) + offsets / PRIOR_SPREADS


@dataclass(frozen=True, eq=False)
class TranslationModel:
    """What is believed about the energies of all candidates.

    Attributes
    ----------
    length_scales
        In the plane and along the normal, Å.
    noise
        Variance of the noise as a fraction of the signal variance.
    best
        Lowest internal value observed.
    mean, deviation
        Of every candidate, internal (standardised) values, shape (n,).
    """

    length_scales: tuple[float, float]
    noise: float
    best: float
    mean: Floats
    deviation: Floats

    @classmethod
    def fit(
        cls, distances: SymmetricDistances, observed: Sequence[int], energies: Floats, failed: Sequence[int] = ()
    ) -> TranslationModel:
        """Fit to energies.

        Parameters
        ----------
        distances
            Of the candidates.
        observed, energies
            Candidates and their energies, J/m², shape (n,).
        failed
            Candidates without an energy. They are given one standard deviation above the mean that the others predict,
            as in :meth:`hts_flows.screening.model.Model.fit`.
        """
        middle = float(np.median(energies))
        ceiling = middle + CLIP * (middle - float(energies.min()))
        clipped = np.minimum(energies, ceiling) if ceiling > middle else energies
        scale = ValueScale.of(clipped, transform="none", minimize=True)
        values = scale.internal(clipped)
        density = _Density(*_between(distances, observed, observed), values)
        logs = _fitted(density)
        factor, weights = density.factor(logs)
        signal = density.signal_variance(float(values @ weights))
        lengths = (math.exp(logs[0]), math.exp(logs[1]))
        cross = _covariances(distances, observed, lengths)
        prior = _correlation(distances.own / lengths[0] ** 2).sum(axis=-1)
        mean, deviation = _predicted(factor, weights, cross, prior, signal)
        best = float(values.min())
        if len(failed):
            lost = np.asarray(failed, dtype=int)
            together = np.concatenate([np.asarray(observed, dtype=int), lost])
            filled = np.concatenate([values, np.maximum(mean[lost] + deviation[lost], best)])
            cross = np.vstack([cross, _covariances(distances, failed, lengths)])
            matrix = cross[:, together] + math.exp(logs[2]) * np.eye(len(together))
            factor = cholesky(matrix, lower=True, check_finite=False)
            weights = cho_solve((factor, True), filled, check_finite=False)
            mean, deviation = _predicted(factor, weights, cross, prior, signal)
        return cls(lengths, math.exp(logs[2]), best, mean, deviation)


def _between(distances: SymmetricDistances, rows: Sequence[int], columns: Sequence[int]) -> tuple[Floats, Floats]:
    """Squared distances of candidates, shapes (n, m, n_operations) and (n, m)."""
    to = np.asarray(columns, dtype=int)
    pairs = [distances.of(one) for one in rows]
    return np.stack([plane[to] for plane, _ in pairs]), np.stack([normal[to] for _, normal in pairs])


def _covariances(distances: SymmetricDistances, rows: Sequence[int], lengths: tuple[float, float]) -> Floats:
    """Covariances of some candidates with all, without the signal variance, shape (n, n_candidates)."""
    result = np.empty((len(rows), len(distances)))
    for place, one in enumerate(rows):
        plane, normal = distances.of(one)
        scaled = plane / lengths[0] ** 2 + (normal / lengths[1] ** 2)[:, None]
        result[place] = _correlation(scaled).sum(axis=-1)
    return result


def _fitted(density: _Density) -> Floats:
    """Hyper-parameters of highest posterior density; the search is deterministic."""
    bounds = list(zip(PRIOR_CENTRES - _BOUND * PRIOR_SPREADS, PRIOR_CENTRES + _BOUND * PRIOR_SPREADS, strict=True))
    found = []
    for offset in _STARTS:
        start = PRIOR_CENTRES + np.array([offset * PRIOR_SPREADS[0], 0.0, 0.0])
        options = {"maxiter": _MAX_STEPS}
        found.append(minimize(density, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options))
    return np.asarray(min(found, key=lambda result: result.fun).x, dtype=float)


def _predicted(factor: Floats, weights: Floats, cross: Floats, prior: Floats, signal: float) -> tuple[Floats, Floats]:
    """Mean and standard deviation of all candidates, without noise."""
    side = solve_triangular(factor, cross, lower=True, check_finite=False)
    explained = np.einsum("ij,ij->j", side, side)
    return weights @ cross, np.sqrt(signal * np.maximum(prior - explained, VARIANCE_FLOOR))
