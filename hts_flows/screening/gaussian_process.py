"""Exact Gaussian-process regression with a radial basis function, on a Cholesky factor that can be extended.

Inputs are coordinates already divided by their length scales, so that the correlation of two points is exp(−d²/2).
A trend (a lower-fidelity value of each point) adds a straight line with an unknown slope: its slope has a normal prior
and is integrated out, which is a linear term in the covariance (Rasmussen, Williams: Gaussian Processes for Machine
Learning, MIT Press (2006), section 2.7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Smallest variance, as a fraction of the signal variance: below it there are only rounding errors.
VARIANCE_FLOOR = 1e-12


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Squared distances of all pairs, shape (len(a), len(b)), through one matrix product.

    Parameters
    ----------
    a, b
        Points, shapes (n, d) and (m, d).
    """
    squares: Floats = (-2.0 * a) @ b.T
    squares += np.einsum("ij,ij->i", a, a)[:, None]
    squares += np.einsum("ij,ij->i", b, b)
    return np.maximum(squares, 0.0, out=squares)


def correlations(a: Floats, b: Floats) -> Floats:
    """exp(−d²/2) of all pairs, shape (len(a), len(b)).

    Parameters
    ----------
    a, b
        Points in units of the length scales, shapes (n, d) and (m, d).
    """
    values = squared_distances(a, b)
    values *= -0.5
    return np.exp(values, out=values)


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A posterior distribution.

    Attributes
    ----------
    points
        Where it was observed, in units of the length scales, shape (n, d).
    values
        Observations, with the prior mean zero, shape (n,).
    trend
        Trend at the points, shape (n,); zeros where there is none.
    noise
        Variance of the noise as a fraction of the signal variance.
    signal_variance
        Prior variance of the function, in the values' unit squared.
    factor
        Lower Cholesky factor of correlations + trend + noise, shape (n, n).
    weights
        Covariance matrix, without the signal variance, inverted and applied to the values, shape (n,).
    """

    points: Floats
    values: Floats
    trend: Floats
    noise: float
    signal_variance: float
    factor: Floats
    weights: Floats

    @classmethod
    def fit(
        cls, points: Floats, values: Floats, trend: Floats, *, noise: float, signal_variance: float
    ) -> GaussianProcess:
        """Condition on observations.

        Parameters
        ----------
        points, values, trend
            Observations, shapes (n, d), (n,), (n,).
        noise, signal_variance
            See the attributes.
        """
        matrix = correlations(points, points) + np.outer(trend, trend)
        matrix[np.diag_indices_from(matrix)] = 1.0 + trend**2 + noise
        factor = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        weights = cho_solve((factor, True), values, check_finite=False)
        return cls(points, values, trend, noise, signal_variance, factor, weights)

    def extended(self, points: Floats, values: Floats, trend: Floats) -> GaussianProcess:
        """Condition on further observations; only the new rows of the factor are computed.

        Parameters
        ----------
        points, values, trend
            Further observations, shapes (m, d), (m,), (m,).
        """
        old, new = len(self.values), len(values)
        cross = self.covariances(points, trend)
        side = solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        corner = correlations(points, points) + np.outer(trend, trend) - side.T @ side
        corner[np.diag_indices_from(corner)] += self.noise
        factor = np.zeros((old + new, old + new))
        factor[:old, :old] = self.factor
        factor[old:, :old] = side.T
        factor[old:, old:] = cholesky(corner, lower=True, check_finite=False)
        together = np.concatenate([self.values, values])
        weights = cho_solve((factor, True), together, check_finite=False)
        return GaussianProcess(
            np.vstack([self.points, points]),
            together,
            np.concatenate([self.trend, trend]),
            self.noise,
            self.signal_variance,
            factor,
            weights,
        )

    def covariances(self, points: Floats, trend: Floats) -> Floats:
        """Prior covariances with the observed points, without the signal variance, shape (m, n).

        Parameters
        ----------
        points, trend
            Shapes (m, d), (m,).
        """
        values = correlations(points, self.points)
        if self.has_trend:
            values += np.outer(trend, self.trend)
        return values

    @property
    def has_trend(self) -> bool:
        """Whether the trend is more than zeros."""
        return bool(self.trend.any())

    def predict(self, points: Floats, trend: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the function (without noise), exact, shapes (m,).

        Parameters
        ----------
        points, trend
            Shapes (m, d), (m,).
        """
        cross = self.covariances(points, trend)
        mean = cross @ self.weights
        side = solve_triangular(self.factor, cross.T, lower=True, overwrite_b=True, check_finite=False)
        return mean, self.deviation(trend, np.einsum("ij,ij->j", side, side))

    def deviation(self, trend: Floats, explained: Floats) -> Floats:
        """Standard deviation from the part of the prior variance that the observations explain, shape (m,).

        Parameters
        ----------
        trend, explained
            Shapes (m,); the latter without the signal variance.
        """
        left = 1.0 + trend**2 if self.has_trend else 1.0
        return np.sqrt(self.signal_variance * np.maximum(left - explained, VARIANCE_FLOOR))

    def leave_one_out(self) -> tuple[Floats, Floats]:
        """Predict each observation from all others, in closed form (op. cit., equations 5.10 to 5.12).

        Returns
        -------
        Mean and standard deviation (with noise), shapes (n,); hyper-parameters stay as they are.
        """
        inverse = cho_solve((self.factor, True), np.eye(len(self.values)), check_finite=False)
        diagonal = np.diag(inverse)
        return self.values - self.weights / diagonal, np.sqrt(self.signal_variance / diagonal)

    def steepest_slope(self, points: Floats) -> float:
        """Largest gradient of the mean among some points, per length scale; the trend is left out.

        Parameters
        ----------
        points
            Shape (m, d).
        """
        weighted = correlations(points, self.points) * self.weights
        gradients = weighted @ self.points - weighted.sum(axis=1)[:, None] * points
        return float(np.sqrt(np.einsum("ij,ij->i", gradients, gradients).max(initial=0.0)))
