"""Search over the rigid-body translations of a grain boundary for the lowest energy, by a Gaussian process.

The method is that of Kiyohara et al.: Jpn. J. Appl. Phys. 55, 045502 (2016): a few starts, then always the translation
with the largest Z-score, (lowest energy − mean) / standard deviation. What differs: the covariance knows the periods
and the symmetry (:mod:`hts_flows.screening.translation_model`), only one translation of each orbit is a
candidate, and every other start may be chosen among those with the lowest unrelaxed energies. No candidate is ever
excluded by its unrelaxed energy.

Counts of trials mean something only together with what ``evaluate`` relaxes (:data:`PROTOCOLS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import HtsError, InputError
from hts_flows.screening.acquisition import z_score
from hts_flows.screening.stopping import evaluations_without_gain
from hts_flows.screening.translation_model import SymmetricDistances, TranslationModel
from hts_flows.screening.translation_space import TranslationSpace
from hts_flows.screening.values import LARGEST, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["PROTOCOLS", "EvaluationError", "TranslationSearch", "TranslationSpace", "search_translations"]

#: (x, y, z), Å.
Translation = tuple[float, float, float]
#: What ``evaluate`` may relax beside the atoms, by the name under which counts of trials are reported.
PROTOCOLS = {
    "fixed translation": "the grains move along the normal; in the plane they keep their translation, also on average "
    "over their free atoms",
    "free normal expansion": "the grains move along the normal; rigid blocks keep their translation in the plane",
    "free sliding": "the grains move along the normal and in the plane",
}
#: Starts: how many, and among which share of the lowest unrelaxed energies.
N_STARTS = 5
START_SHARE = 0.05
#: Largest whole number with which searches of the tables of Cu (310), (320), (410) and Al (310), [001] axis, ended
#: after at most 22 trials on average, all starts from unrelaxed energies; all 74 of each table were within 5 mJ/m².
PATIENCE = 12
#: Of so many drawn at random from the lowest unrelaxed energies, the one farthest from what was asked for is the next
#: start. Without unrelaxed energies starts are random: spread ones took more trials on a table of Cu Σ5(310).
_DRAWN = 20


class EvaluationError(HtsError):
    """Raised by ``evaluate`` or ``unrelaxed`` where a translation has no energy: the relaxation did not converge."""


@dataclass(frozen=True)
class TranslationSearch:
    """What a search found, and how.

    Attributes
    ----------
    best_translation
        (x, y, z) with the lowest energy, Å.
    best_energy
        Its energy, J/m².
    trials
        Translations (Å) and their energies (J/m²; NaN where the evaluation failed), in the order asked.
    stop_reason
        "patience", "budget" or "exhausted", as in :data:`hts_flows.screening.stopping.RULES`.
    n_starts
        How many of the trials, the first ones, were starts.
    n_candidates
        Translations that could be asked for: one of each orbit.
    """

    best_translation: Translation
    best_energy: float
    trials: list[tuple[Translation, float]]
    stop_reason: str
    n_starts: int
    n_candidates: int


def search_translations(
    space: TranslationSpace,
    evaluate: Callable[[Translation], float],
    *,
    unrelaxed: Callable[[Translation], float] | None = None,
    seed: int = 0,
    tol: float = 2e-3,
    patience: int = PATIENCE,
    max_trials: int = 200,
) -> TranslationSearch:
    """Look for the translation of lowest energy.

    Parameters
    ----------
    space
        Translations and their symmetry. Only its representatives are asked for.
    evaluate
        From a translation (x, y, z) in Å to the energy, J/m². NaN, an infinite number, or an :class:`EvaluationError`
        mean that it failed: it is a trial, is not asked for again, and counts against its neighbourhood.
    unrelaxed
        A cheap estimate of the same, asked of every representative at the beginning; the first, third and fifth
        start are then spread over the lowest 5 % of it. Failures are allowed. The other starts are random, and all
        without it.
    seed
        Decides the starts.
    tol, patience
        The search ends when ``patience`` trials in a row brought no gain of more than ``tol`` J/m².
    max_trials
        Most trials, starts and failures included.

    Returns
    -------
    TranslationSearch
        The same for the same arguments.

    Raises
    ------
    InputError
        For an option out of range, energies that are no numbers, or when every evaluation failed.

    Examples
    --------
    >>> import math
    >>> from hts_flows.screening.grain_boundaries import TranslationSpace, search_translations
    >>> space = TranslationSpace.grid(lx=4.0, ly=2.0, step=0.2, symmetry=[([[-1, 0], [0, 1]], [0, 0])])
    >>> found = search_translations(space, lambda t: 1 + 0.1 * math.cos(math.pi * t[0] / 2) + 0.05 * t[1] * (2 - t[1]))
    >>> found.best_translation
    (2.0, 0.0, 0.0)
    """
    _check_options(seed=seed, tol=tol, patience=patience, max_trials=max_trials)
    candidates = [(float(x), float(y), float(z)) for x, y, z in space.translations(space.representatives)]
    distances = SymmetricDistances(space)
    cheap = None if unrelaxed is None else np.array([_energy(unrelaxed, "unrelaxed", one) for one in candidates])
    starts = _Starts(distances, _start_pool(cheap, len(candidates)), np.random.default_rng(seed))
    asked: list[int] = []
    energies: list[float] = []
    n_starts = 0
    while True:
        reason = _stop_reason(energies, len(candidates), tol, patience, max_trials)
        if reason is not None:
            break
        if np.isfinite(energies).sum() < N_STARTS:
            chosen = starts.following(asked)
            n_starts += 1
        else:
            chosen = _largest_z_score(distances, asked, energies)
        asked.append(chosen)
        energies.append(_energy(evaluate, "evaluate", candidates[chosen]))
    if not np.isfinite(energies).any():
        message = f"none of {len(energies)} evaluations gave an energy, so there is no lowest one"
        raise InputError(message, "evaluate one translation by hand to see why; overlapping atoms need a larger z")
    best = int(np.nanargmin(energies))
    trials = [(candidates[one], energy) for one, energy in zip(asked, energies, strict=True)]
    return TranslationSearch(*trials[best], trials, reason, n_starts, len(candidates))


def _check_options(*, seed: int, tol: float, patience: int, max_trials: int) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}", "give a whole number, at least 0")
    for name, value in (("patience", patience), ("max_trials", max_trials)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{name} is {value!r}", "give a whole number, at least 1")
    gain = real("tol", tol, "give an energy in J/m², such as 0.002")
    if gain.shape != () or not 0 <= gain < math.inf:
        raise InputError(f"tol is {tol!r}", "give an energy in J/m² that is not negative, such as 0.002")


def _energy(function: Callable[[Translation], Any], name: str, translation: Translation) -> float:
    """Ask for one energy; NaN where it failed."""
    try:
        given = function(translation)
    except EvaluationError:
        return math.nan
    hint = "give an energy in J/m²; NaN, or raise EvaluationError, where there is none"
    energy = real(f"what {name} gave for {translation}", given, hint)
    if energy.shape != ():
        raise InputError(f"{name} gave an array of shape {energy.shape} for {translation}", hint)
    return float(energy) if abs(energy) <= LARGEST else math.nan


def _stop_reason(
    energies: Sequence[float], n_candidates: int, tol: float, patience: int, max_trials: int
) -> str | None:
    values = [None if math.isnan(one) else one for one in energies]
    if len(energies) == n_candidates:
        return "exhausted"
    if len(energies) >= max_trials:
        return "budget"
    without = evaluations_without_gain(None, values, minimize=True, minimal_gain=tol)
    return "patience" if without >= patience else None


def _start_pool(cheap: Floats | None, n_candidates: int) -> NDArray[np.int_]:
    """Candidates among which starts are chosen."""
    if cheap is None or np.isnan(cheap).all():
        return np.arange(n_candidates)
    share = max(N_STARTS, math.ceil(START_SHARE * n_candidates))
    lowest = np.argsort(cheap, kind="stable")[:share]
    return np.sort(lowest[np.isfinite(cheap[lowest])])


class _Starts:
    """Starts: random, or, where the pool is a part of the candidates, by turns of the pool and random.

    Those of the pool are far from those asked for. Estimates may point to the wrong candidates all at once, hence the
    random ones.

    Parameters
    ----------
    distances
        Of the candidates.
    pool
        Candidates among which they are chosen, as long as any is left.
    generator
        Decides.
    """

    def __init__(self, distances: SymmetricDistances, pool: NDArray[np.int_], generator: np.random.Generator) -> None:
        self._distances, self._pool, self._generator = distances, pool, generator
        self._gaps = np.full(len(distances), np.inf)

    def following(self, asked: Sequence[int]) -> int:
        """The next start.

        Parameters
        ----------
        asked
            Candidates asked for until now.
        """
        estimated = len(self._pool) < len(self._distances) and len(asked) % 2 == 0
        free = self._pool[~np.isin(self._pool, asked)] if estimated else np.array([], dtype=int)
        if not len(free):
            free = np.setdiff1d(np.arange(len(self._distances)), asked)
        if asked:
            np.minimum(self._gaps, self._distances.nearest(asked[-1]), out=self._gaps)
        n_drawn = min(len(free), _DRAWN) if estimated else 1
        drawn = self._generator.choice(free, n_drawn, replace=False)
        # Rounding makes equal distances differ in the last digits; the first drawn of them is taken.
        return int(drawn[np.round(self._gaps[drawn], 6).argmax()])


def _largest_z_score(distances: SymmetricDistances, asked: Sequence[int], energies: Sequence[float]) -> int:
    """The candidate not asked for with the largest Z-score; of equal ones the first."""
    done = [(one, energy) for one, energy in zip(asked, energies, strict=True) if not math.isnan(energy)]
    failed = [one for one, energy in zip(asked, energies, strict=True) if math.isnan(energy)]
    # In ascending order, so that the last digits do not depend on the way here.
    done.sort()
    model = TranslationModel.fit(
        distances, [one for one, _ in done], np.array([energy for _, energy in done]), sorted(failed)
    )
    scores = z_score(model.mean, model.deviation, model.best)
    scores[np.asarray(asked, dtype=int)] = -np.inf
    return int(scores.argmax())
