"""Searches of a table of grain-boundary energies: this package's, random order, and the published recipe."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from boundary_tables import Table

from hts_flows.screening.grain_boundaries import Translation, search_translations

#: Trials are counted until an energy is so near the lowest, J/m²; by its name in mJ/m².
GOALS = {"5": 5e-3, "1": 1e-3, "0.5": 0.5e-3}
#: Trials are counted until here.
MOST_TRIALS = 200
#: Random ones, at the beginning of the published recipe.
PAPER_STARTS = 20


def trials_to(orders: Sequence[Sequence[float]], lowest: float) -> dict[str, float]:
    """Mean and 90th percentile of the trials to each goal; NaN where a search did not come to it."""
    row: dict[str, float] = {}
    for name, goal in GOALS.items():
        counts = []
        for energies in orders:
            reached = np.flatnonzero(np.array(energies) <= lowest + goal)
            counts.append(reached[0] + 1 if len(reached) else np.nan)
        row |= {f"mean_{name}": float(np.mean(counts)), f"p90_{name}": float(np.percentile(counts, 90))}
    return row


def searched(given: Table, seeds: Sequence[int], *, cheap: bool, goal: float) -> dict[str, Any]:
    """Search with this package: trials to each goal, and where it stops by itself."""
    unrelaxed = given.cheap() if cheap else None
    orders, stops, found = [], [], []
    start = time.process_time()
    for seed in seeds:
        own = search_translations(given.space, given.energy, unrelaxed=unrelaxed, seed=seed)
        stops.append(len(own.trials))
        found.append(own.best_energy <= given.lowest + GOALS["5"])
        energies = [energy for _, energy in own.trials]
        if own.best_energy > given.lowest + goal:
            energies = until(given, given.lowest + goal, unrelaxed=unrelaxed, seed=seed)
        orders.append(energies)
    seconds = (time.process_time() - start) / sum(len(one) for one in orders)
    own_stop = {"stop": float(np.mean(stops)), "success": 100 * float(np.mean(found))}
    return trials_to(orders, given.lowest) | own_stop | {"seconds": seconds, "seeds": len(seeds)}


class _Reached(Exception):  # noqa: N818 (no error)
    pass


def until(given: Table, goal: float, **options: Any) -> list[float]:
    """Energies of a search that goes on until the goal, J/m²."""
    energies: list[float] = []

    def energy(translation: Translation) -> float:
        energies.append(given.energy(translation))
        if energies[-1] <= goal:
            raise _Reached
        return energies[-1]

    with suppress(_Reached):
        search_translations(given.space, energy, patience=MOST_TRIALS, max_trials=MOST_TRIALS, **options)
    return energies


def at_random(energies: np.ndarray, seeds: Sequence[int]) -> list[list[float]]:
    """Energies in random order."""
    return [energies[np.random.default_rng(seed).permutation(len(energies))].tolist() for seed in seeds]


def recipe(points: np.ndarray, energies: np.ndarray, seed: int, goal: float) -> list[float]:
    """20 random starts, then the largest Z-score of scikit-learn's Gaussian process, until the goal."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel

    known = list(np.random.default_rng(seed).choice(len(points), PAPER_STARTS, replace=False))
    while energies[known].min() > goal and len(known) < MOST_TRIALS:
        model = GaussianProcessRegressor(RBF() + WhiteKernel(1e-3), normalize_y=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(points[known], energies[known])
        mean, deviation = model.predict(points, return_std=True)
        score = (energies[known].min() - mean) / np.maximum(deviation, 1e-9)
        score[known] = -np.inf
        known.append(int(score.argmax()))
    return list(energies[known])
