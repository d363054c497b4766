"""Choosing the next candidates: random starts, then the largest acquisition, kept apart from what is pending."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.screening.acquisition import exclusion_radii, log_acquisition, log_penalty
from hts_flows.screening.gaussian_process import squared_distances

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.screening.model import Model

    Floats = NDArray[np.float64]
    #: First candidate, points in length scales, mean, standard deviation, and which may be asked for.
    Chunk = tuple[int, Floats, Floats, Floats, NDArray[np.bool_]]

#: Candidates of one pass over the pool from which a batch is chosen, beside the batch's size.
SHORTLIST = 1024


def random_starts(n: int, n_candidates: int, taken: NDArray[np.int_], seed: int, starts: Sequence[int]) -> list[int]:
    """Candidates in a random order that the seed alone decides, without those taken.

    Parameters
    ----------
    n
        How many.
    n_candidates
        Size of the pool.
    taken
        Candidates that are not given.
    seed
        Seed.
    starts
        Candidates that come first, themselves in random order.
    """
    generator = np.random.default_rng(seed)
    preferred = generator.permutation(np.asarray(starts, dtype=int))
    chosen = preferred[~np.isin(preferred, taken)][:n]
    if len(chosen) < n:
        # Only as much of the order as can be needed.
        others = _shuffled(n_candidates, min(n_candidates, n + len(taken) + len(preferred)), generator)
        others = others[~np.isin(others, np.concatenate([taken, preferred]))]
        chosen = np.concatenate([chosen, others[: n - len(chosen)]])
    return [int(one) for one in chosen]


def _shuffled(size: int, length: int, generator: np.random.Generator) -> NDArray[np.int_]:
    """The beginning of a random order of the numbers below ``size``, with memory for that beginning alone.

    The shuffle of Fisher and Yates, of which only the places that were changed are held. A longer beginning goes on
    where a shorter one ends.
    """
    moved: dict[int, int] = {}
    order = []
    for place, other in enumerate(generator.integers(np.arange(length), size).tolist()):
        order.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return np.array(order, dtype=int)


class Batch:
    """Chooses candidates one after the other, each kept apart from the pending ones and those chosen before.

    Parameters
    ----------
    model
        Gaussian process.
    acquisition, kappa
        As in :func:`hts_flows.screening.acquisition.log_acquisition`.
    slope
        Largest gradient of the mean, per length scale.
    pending
        Points (in length scales), means and standard deviations of pending candidates.
    """

    def __init__(
        self, model: Model, acquisition: str, kappa: float, slope: float, pending: tuple[Floats, Floats, Floats]
    ) -> None:
        self.model = model
        self.acquisition = acquisition
        self.kappa = kappa
        self.slope = slope
        points, mean, deviation = pending
        self.points = points
        self.radii = exclusion_radii(mean, deviation, model.best, slope)

    def _penalty(self, points: Floats, since: int = 0) -> Floats:
        distances = np.sqrt(squared_distances(points, self.points[since:]))
        return log_penalty(distances, self.radii[since:])

    def shortlist(
        self, chunks: Iterator[Chunk], size: int
    ) -> tuple[NDArray[np.int_], Floats, Floats, Floats, Floats, bool]:
        """The best candidates of one pass over the pool, in ascending order.

        Parameters
        ----------
        chunks
            The pool.
        size
            How many at most.

        Returns
        -------
        Candidates, their acquisition, points, means, standard deviations, and whether others were left out.
        """
        kept: list[tuple[NDArray[Any], ...]] = []
        seen = 0
        for start, points, mean, deviation, allowed in chunks:
            ids = np.flatnonzero(allowed)
            seen += len(ids)
            score = log_acquisition(self.acquisition, mean[ids], deviation[ids], self.model.best, self.kappa)
            if len(self.points):
                score += self._penalty(points[ids])
            # A stable sort keeps equal ones in ascending order.
            top = np.argsort(-score, kind="stable")[:size]
            kept.append((ids[top] + start, score[top], points[ids[top]], mean[ids[top]], deviation[ids[top]]))
            if len(kept) > 1:
                joined = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
                best = np.lexsort((joined[0], -joined[1]))[:size]
                kept = [tuple(part[best] for part in joined)]
        order = np.argsort(kept[0][0])
        candidates, score, points, mean, deviation = (part[order] for part in kept[0])
        return candidates, score, points, mean, deviation, seen > len(candidates)

    def choose(self, n: int, chunks: Callable[[frozenset[int]], Iterator[Chunk]]) -> list[int]:
        """The next candidates, exactly as if the whole pool were scored again after each.

        Parameters
        ----------
        n
            How many; the pool must hold as many.
        chunks
            Gives the pool without some candidates.
        """
        chosen: list[int] = []
        while len(chosen) < n:
            ids, score, points, mean, deviation, more = self.shortlist(chunks(frozenset(chosen)), SHORTLIST + n)
            # Penalties only lower the score: what is not on the list cannot be better than the last one on it.
            limit = float(score.min()) if more else -np.inf
            left = np.ones(len(ids), dtype=bool)
            first = True
            while len(chosen) < n and left.any():
                best = int(np.argmax(np.where(left, score, -np.inf)))
                best = best if left[best] else int(np.argmax(left))
                if more and not first and score[best] <= limit:
                    break
                first = False
                chosen.append(int(ids[best]))
                left[best] = False
                radius = exclusion_radii(mean[[best]], deviation[[best]], self.model.best, self.slope)
                self.points = np.vstack([self.points, points[[best]]])
                self.radii = np.concatenate([self.radii, radius])
                score += self._penalty(points, since=len(self.points) - 1)
        return chosen
