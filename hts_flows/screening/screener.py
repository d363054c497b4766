"""The screener: ask for candidates, tell their values, rank the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from hts_flows.errors import InputError
from hts_flows.screening import ranking
from hts_flows.screening.ledger import Ledger
from hts_flows.screening.model import Model, Observations
from hts_flows.screening.options import Options, count, partition, whole
from hts_flows.screening.pool import Pool
from hts_flows.screening.pool_predictions import PoolPredictions
from hts_flows.screening.proposing import Batch, random_starts
from hts_flows.screening.provenance import describe
from hts_flows.screening.sources import open_source
from hts_flows.screening.values import choose_transform

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Candidates among which the steepest slope of the mean is looked for.
_SLOPE_SAMPLE = 2000
#: Layout of :meth:`Screener.state_dict`.
STATE_VERSION = 1


class Screener:
    """Ranks candidates that were not evaluated, by a Gaussian process on descriptors.

    Parameters
    ----------
    descriptors
        Float array of shape (n_candidates, n_descriptors), which is not copied; or a parquet file, a folder of them, or
        a pyarrow dataset, which are read in pieces. Candidates are numbered from 0. Each descriptor is standardised;
        constant ones contribute nothing.
    minimize
        Whether low values are wanted; else high ones.
    acquisition
        What :meth:`ask` maximises: "z_score", "expected_improvement" or "ucb" (the confidence bound).
    seed
        Decides the random starts (and the draw for the fit when there are more than 400 observations).
    n_initial
        Candidates are asked for at random until so many values are known.
    transform
        "log": logarithms of the values are modelled; "none"; or "auto": the one of the two under which the values known
        so far are more likely a normal sample (Box–Cox likelihood), "none" where a value is not positive.
    length_scale
        In standard deviations of the descriptors: one number, or one for each group. Fitted where it is left out.
    groups
        Groups of columns with a length scale each; every column is in one. One group by default.
    noise
        Variance of the noise as a fraction of the signal variance, at least 1e-8. Fitted where it is left out.
    signal_variance
        In variances of the transformed values. Fitted where it is left out; it changes standard deviations, but hardly
        the order of candidates.
    prior_mean
        Lower-fidelity value of each candidate (NaN: none), in the values' unit or any other. The prior mean is a
        straight line in it, whose slope is learnt.
    kappa
        Standard deviations in the confidence bound.
    starts
        Candidates that are asked for first, in random order, before those drawn from the whole pool.
    standardise_on
        Candidates over which descriptors are standardised, all by default. Name the training set where the pool
        reaches far beyond it: the model then keeps its resolution, and what varies only outside it (an element that
        no training compound has) contributes nothing.
    tolerance
        How far predictions for pools of more than 100 candidates for each observation may be off for the sake of
        speed, in standard deviations, on a sample of them (see :mod:`hts_flows.screening.prediction`); 0: not at all.
    closed
        Candidates that are ranked, but never asked for.
    columns
        Names of the descriptor columns of parquet data; all columns of numbers by default.

    Raises
    ------
    InputError
        Where an argument cannot be used; the message says which values are allowed.

    Notes
    -----
    What is asked next depends on the descriptors, the options, the values, failures and pending candidates, and on
    nothing else: neither on the order in which results came, nor on when the program was restarted. Equal scores are
    decided by the lower number. The method is that of Seko et al., Phys. Rev. Lett. 115, 205901 (2015).
    """

    def __init__(
        self,
        descriptors: Any,
        *,
        minimize: bool = True,
        acquisition: str = "z_score",
        seed: int = 0,
        n_initial: int = 5,
        transform: str = "auto",
        length_scale: float | Sequence[float] | None = None,
        groups: Sequence[Sequence[int]] | None = None,
        noise: float | None = None,
        signal_variance: float | None = None,
        prior_mean: ArrayLike | None = None,
        kappa: float = 2.0,
        starts: Sequence[SupportsIndex] = (),
        standardise_on: Sequence[SupportsIndex] | None = None,
        tolerance: float = 0.02,
        closed: Iterable[SupportsIndex] = (),
        columns: Sequence[str] | None = None,
    ) -> None:
        source = open_source(descriptors, columns)
        self._ledger = Ledger(source.n_candidates)
        self._closed = np.array(sorted(self._ledger.check_ids(closed, "closed")), dtype=int)
        reference = None
        if standardise_on is not None:
            reference = tuple(self._ledger.check_ids(standardise_on, "standardise_on"))
        self._options = Options(
            minimize,
            acquisition,
            seed,
            n_initial,
            transform,
            whole(length_scale),
            partition(groups),
            noise,
            signal_variance,
            kappa,
            tuple(self._ledger.check_ids(starts, "starts")),
            reference,
            tolerance,
        )
        self._pool = Pool(source, prior_mean, reference)
        self._groups = self._options.active_groups(self._pool.scaling.constant)
        if transform == "log" and not self._pool.positive_prior():
            raise InputError("prior_mean is not positive everywhere, so it has no logarithm", "use transform='none'")
        self._model: Model | None = None
        self._predictions: PoolPredictions | None = None

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return self._pool.n_candidates

    @property
    def pending(self) -> list[int]:
        """Candidates that were asked for and not heard of, in ascending order."""
        return sorted(self._ledger.pending)

    @property
    def failed(self) -> list[int]:
        """Candidates whose evaluation failed, in ascending order."""
        return sorted(self._ledger.failed)

    @property
    def observed(self) -> dict[int, float]:
        """Values known, by candidate in ascending order."""
        return {one: self._ledger.results[one] for one in sorted(self._ledger.results)}

    @property
    def best(self) -> tuple[int, float]:
        """Best candidate observed, and its value; of equal ones the first."""
        if not self._ledger.results:
            raise InputError("nothing was observed yet", "tell() at least one value")
        sign = 1.0 if self._options.minimize else -1.0
        return min(self._ledger.results.items(), key=lambda item: (sign * item[1], item[0]))

    @property
    def prediction_method(self) -> str | None:
        """How the last predictions were made, see :class:`hts_flows.screening.prediction.Predictor`."""
        return None if self._predictions is None else self._predictions.method

    def ask(self, n: int = 1) -> list[int]:
        """Candidates to evaluate next; they are pending from then on.

        Parameters
        ----------
        n
            How many. Where fewer are left, these are given; none is no error.

        Returns
        -------
        Candidates that are not observed, failed or pending, the most wanted first. Until ``n_initial`` values are known
        they are random; then each is kept apart from all pending ones (local penalisation, see
        :func:`hts_flows.screening.acquisition.log_penalty`).
        """
        taken = np.union1d(self._ledger.taken(), self._closed)
        n = min(count("ask", n), self.n_candidates - len(taken))
        if n == 0:
            return []
        if len(self._ledger.results) < self._options.n_initial:
            chosen = random_starts(n, self.n_candidates, taken, self._options.seed, self._options.starts)
        else:
            model = self._fitted()
            pending = self.pending
            points = self._pool.points(pending) * model.inverse_lengths
            batch = Batch(
                model,
                self._options.acquisition,
                self._options.kappa,
                model.process.steepest_slope(self._pool.sample(_SLOPE_SAMPLE) * model.inverse_lengths),
                (points, *model.process.predict(points, self._pool.trend_of(model.scale.transform, pending))),
            )
            chosen = batch.choose(n, partial(self._open, taken))
        self._ledger.pending.update(chosen)
        return chosen

    def tell(self, ids: Sequence[SupportsIndex], values: ArrayLike, failed: Iterable[SupportsIndex] = ()) -> None:
        """Report results, in any order; also of candidates that were never asked for.

        Parameters
        ----------
        ids, values
            Candidates and their values, shape (len(ids),). A candidate told before gets the new value.
        failed
            Candidates whose evaluation gave no value. They are not asked for again, and count against their
            neighbourhood (see :meth:`hts_flows.screening.model.Model.fit`). A value told later replaces the failure.

        Raises
        ------
        InputError
            For a candidate out of range or told twice, a value that is not finite, or (with transform="log") not
            positive. Nothing is taken in then.
        """
        if self._ledger.tell(ids, values, failed, positive=self._options.transform == "log"):
            self._model = self._predictions = None

    def expect(self, ids: Iterable[SupportsIndex]) -> None:
        """Take candidates for pending that were asked for elsewhere; those observed or failed stay as they are.

        Parameters
        ----------
        ids
            Candidates.
        """
        known = self._ledger.failed | self._ledger.results.keys()
        self._ledger.pending.update(set(self._ledger.check_ids(ids, "expect")) - known)

    def forget(self, ids: Iterable[SupportsIndex]) -> None:
        """Give places back: pending or failed candidates may be asked for again. Observed ones stay as they are.

        Parameters
        ----------
        ids
            Candidates.
        """
        checked = self._ledger.check_ids(ids, "forget")
        self._ledger.pending.difference_update(checked)
        if self._ledger.failed & set(checked):
            self._ledger.failed.difference_update(checked)
            self._model = self._predictions = None

    def rank(self, top: int | None = None, *, statuses: Collection[str] | None = None) -> pd.DataFrame:
        """Table of candidates, the most wanted first, whatever is pending.

        Parameters
        ----------
        top
            How many; all by default.
        statuses
            Those of the candidates wanted: "not asked", "pending", "observed", "failed"; all by default.

        Returns
        -------
        Indexed by candidate, with ``mean``, ``standard_deviation``, ``expected_improvement`` and ``ucb`` (the
        optimistic bound, mean ∓ kappa standard deviations) in the unit of the values, ``z_score`` without unit, and
        ``status``. Where logarithms are modelled, ``z_score`` is that of the logarithms, ``mean`` is the median,
        ``standard_deviation`` half the width of the interval of one standard deviation to both sides, and
        ``expected_improvement`` that of the log-normal distribution.

        Raises
        ------
        InputError
            Where nothing was observed yet.
        """
        top = None if top is None else count("top", top)
        wanted = ranking.status_codes(statuses)
        model = self._fitted()
        pieces = (
            (start, mean, deviation, self._ledger.codes(start, start + len(mean)))
            for start, _, mean, deviation in self._predicted()
        )
        options = self._options
        kept = ranking.best_of(pieces, model, wanted, top, acquisition=options.acquisition, kappa=options.kappa)
        return ranking.table(*kept, model, best=self.best[1], kappa=options.kappa)

    def leave_one_out(self) -> pd.DataFrame:
        """Predictions of each observed candidate from all others, in closed form, for parity plots.

        Returns
        -------
        Indexed by candidate, with ``value``, ``mean`` and ``standard_deviation`` (with noise) as in :meth:`rank`.
        Hyper-parameters and the standardisation of the values are those of all observations.
        """
        import pandas as pd

        model = self._fitted()
        mean, deviation = model.observed.leave_one_out()
        ids = pd.Index(list(self.observed), name="candidate")
        columns = {
            "value": list(self.observed.values()),
            "mean": model.scale.original(mean),
            "standard_deviation": model.scale.original_deviation(mean, deviation),
        }
        return pd.DataFrame(columns, index=ids)

    def describe(self) -> dict[str, Any]:
        """Provenance of the next ranking: model, hyper-parameters, transform, seed, training data, package versions."""
        model = self._fitted() if self._ledger.results else None
        return describe(self._options, self._pool, self._ledger, model)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`from_state` needs beside the descriptors; compatible with JSON."""
        return {
            "state_version": STATE_VERSION,
            "options": self._options.to_dict(),
            "descriptors_sha256": self._pool.digest(),
            "closed": self._closed.tolist(),
            **self._ledger.to_dict(),
        }

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Any],
        descriptors: Any,
        *,
        prior_mean: ArrayLike | None = None,
        columns: Sequence[str] | None = None,
    ) -> Screener:
        """A screener that goes on exactly where another one was.

        Parameters
        ----------
        state
            From :meth:`state_dict`.
        descriptors, prior_mean, columns
            The same as before.

        Raises
        ------
        InputError
            Where the state is from another layout, or from other descriptors.
        """
        if state.get("state_version") != STATE_VERSION:
            message = f"the screener's state has the version {state.get('state_version')!r}"
            raise InputError(message, f"this version of hts_flows reads version {STATE_VERSION}")
        screener = cls(descriptors, prior_mean=prior_mean, columns=columns, closed=state["closed"], **state["options"])
        if screener._pool.digest() != state["descriptors_sha256"]:
            message = "the screener's state is from other descriptors or another prior_mean"
            raise InputError(message, "give those it was made with")
        ids = [one for one, _ in state["values"]]
        screener.tell(ids, [value for _, value in state["values"]], failed=state["failed"])
        screener._ledger.pending.update(screener._ledger.check_ids(state["pending"], "pending"))
        return screener

    def _fitted(self) -> Model:
        if self._model is None:
            observed = self.observed
            if not observed:
                raise InputError("nothing was observed yet, so nothing can be predicted", "tell() at least one value")
            values = np.array(list(observed.values()))
            transform = self._options.transform
            if transform == "auto":
                transform = choose_transform(values) if self._pool.positive_prior() else "none"
            ids, failed = list(observed), self.failed
            data = Observations(
                self._pool.points(ids),
                values,
                self._pool.trend_of(transform, ids),
                self._pool.points(failed),
                self._pool.trend_of(transform, failed),
            )
            self._model = Model.fit(
                data,
                transform=transform,
                minimize=self._options.minimize,
                groups=self._groups,
                given=self._options.given(),
                seed=self._options.seed,
            )
        return self._model

    def _predicted(self) -> PoolPredictions:
        if self._predictions is None:
            known = np.array(sorted({*self._ledger.results, *self._ledger.failed}), dtype=int)
            self._predictions = PoolPredictions(self._pool, self._fitted(), known, self._options.tolerance)
        return self._predictions

    def _open(
        self, taken: NDArray[np.int_], also: frozenset[int]
    ) -> Iterator[tuple[int, Floats, Floats, Floats, NDArray[np.bool_]]]:
        """The pool as :class:`Batch` wants it, without some candidates."""
        closed = np.concatenate([taken, np.fromiter(also, dtype=int, count=len(also))])
        for start, points, mean, deviation in self._predicted():
            allowed = np.ones(len(mean), dtype=bool)
            allowed[closed[(closed >= start) & (closed < start + len(mean))] - start] = False
            yield start, points, mean, deviation, allowed
