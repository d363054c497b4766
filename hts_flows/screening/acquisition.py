"""What makes a candidate worth evaluating, and how a batch keeps apart.

All functions take means and standard deviations of a value that shall become small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: What can be asked for.
ACQUISITIONS = ("z_score", "expected_improvement", "ucb")
#: Sharpness of the penaliser's edge and multiples of the standard deviation in its radius (Alvi et al., section 4).
_POWER = -5.0
_DEVIATIONS = 1.0
#: Below this Z-score the asymptotic form of the expected improvement is exact to double precision.
_FAR = -1e4
#: Below this ln(ln(1 + exp(x))) is x itself to double precision.
_SOFTPLUS_IS_EXP = -37.0


def z_score(mean: Floats, deviation: Floats, best: float) -> Floats:
    """(best − mean) / standard deviation (Seko et al., Phys. Rev. Lett. 115, 205901 (2015)).

    Parameters
    ----------
    mean, deviation
        Shapes (n,).
    best
        Lowest observed value.
    """
    return (best - mean) / deviation


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Natural logarithm of the expected improvement, also where the improvement itself underflows.

    Parameters
    ----------
    mean, deviation, best
        As in :func:`z_score`.

    Notes
    -----
    Ament et al., Adv. Neural Inf. Process. Syst. 36 (2023): h(z) = φ(z) + zΦ(z) loses all digits for z ≪ 0; there
    φ(z)·(1 − √(π/2)|z| erfcx(|z|/√2)) is used, and φ(z)/z² in the far tail.
    """
    z = z_score(mean, deviation, best)
    result = np.empty_like(z)
    log_density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    near, far = z > -1.0, z < _FAR
    middle = ~near & ~far
    result[near] = np.log(np.exp(log_density[near]) + z[near] * ndtr(z[near]))
    tail = np.abs(z[middle])
    result[middle] = log_density[middle] + np.log1p(-np.sqrt(np.pi / 2) * tail * erfcx(tail / np.sqrt(2)))
    result[far] = log_density[far] - 2 * np.log(np.abs(z[far]))
    return result + np.log(deviation)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Expected improvement E[max(best − value, 0)] (Jones, Schonlau, Welch: J. Global Optim. 13, 455 (1998)).

    Parameters
    ----------
    mean, deviation, best
        As in :func:`z_score`.
    """
    return np.exp(log_expected_improvement(mean, deviation, best))


def log_normal_improvement(mean: Floats, deviation: Floats, best: float, *, minimize: bool) -> Floats:
    """Expected improvement in the original unit of a value whose logarithm is normal.

    Parameters
    ----------
    mean, deviation
        Of the natural logarithm, shapes (n,).
    best
        Best observed value, in the original unit.
    minimize
        Whether lower values improve.
    """
    sign = 1.0 if minimize else -1.0
    z = sign * (np.log(best) - mean) / deviation
    shifted = np.exp(mean + 0.5 * deviation**2 + log_ndtr(z - sign * deviation))
    return np.maximum(sign * (best * ndtr(z) - shifted), 0.0)


def log_acquisition(name: str, mean: Floats, deviation: Floats, best: float, kappa: float) -> Floats:
    """Logarithm of the acquisition, made positive by softplus where it can be negative; larger is better, shape (n,).

    Parameters
    ----------
    name
        One of :data:`ACQUISITIONS`.
    mean, deviation, best
        As in :func:`z_score`, of standardised values.
    kappa
        Standard deviations in the confidence bound.
    """
    if name == "expected_improvement":
        return log_expected_improvement(mean, deviation, best)
    raw = z_score(mean, deviation, best) if name == "z_score" else kappa * deviation - mean
    return np.where(raw < _SOFTPLUS_IS_EXP, raw, np.log(np.logaddexp(0.0, np.maximum(raw, _SOFTPLUS_IS_EXP))))


def log_penalty(distances: Floats, radii: Floats) -> Floats:
    """Logarithm of the factor that keeps a batch apart, shape (n,).

    Parameters
    ----------
    distances
        From each candidate to each pending one, in length scales, shape (n, n_pending).
    radii
        Of the pending ones, see :func:`exclusion_radii`, shape (n_pending,).

    Notes
    -----
    The hard local penaliser of Alvi, Ru, Calliess, Roberts, Osborne: Proc. ICML (2019), arXiv:1901.10452. It is zero at
    a pending candidate and one beyond its radius. Believing the model's mean or a constant at pending candidates
    is no remedy for Z-scores: it lowers the standard deviation, which *raises* the Z-score of near-duplicates.
    """
    with np.errstate(divide="ignore"):
        ratios = np.log(distances) - np.log(radii)
    return (np.logaddexp(_POWER * ratios, 0.0) / _POWER).sum(axis=1)


def exclusion_radii(mean: Floats, deviation: Floats, best: float, slope: float) -> Floats:
    """How far about pending candidates no better value is expected: (|mean − best| + standard deviation) / slope.

    Parameters
    ----------
    mean, deviation
        Of the pending candidates, shapes (n_pending,).
    best
        Lowest observed value.
    slope
        Largest gradient of the mean, per length scale.
    """
    return (np.abs(mean - best) + _DEVIATIONS * deviation) / max(slope, 1e-9)
