"""Tables of candidates, the most wanted first."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.errors import InputError, nearest
from hts_flows.screening.acquisition import expected_improvement, log_acquisition, log_normal_improvement, z_score
from hts_flows.screening.ledger import STATUSES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from hts_flows.screening.model import Model

    Floats = NDArray[np.float64]
    Piece = tuple[int, Floats, Floats, NDArray[np.int8]]
    Kept = tuple[NDArray[np.int_], Floats, Floats, NDArray[np.int8]]


def status_codes(statuses: Collection[str] | None) -> NDArray[np.int8]:
    """Positions of statuses in :data:`hts_flows.screening.ledger.STATUSES`; all where they are left out.

    Parameters
    ----------
    statuses
        Statuses by name.
    """
    for status in statuses or ():
        if status not in STATUSES:
            raise InputError(f"statuses: {status!r} is unknown", nearest(str(status), STATUSES))
    wanted = [code for code, status in enumerate(STATUSES) if statuses is None or status in statuses]
    return np.array(wanted, dtype=np.int8)


def best_of(
    pieces: Iterable[Piece], model: Model, wanted: NDArray[np.int8], top: int | None, *, acquisition: str, kappa: float
) -> Kept:
    """Candidates in the order of their acquisition, equal ones in that of their numbers.

    Parameters
    ----------
    pieces
        First candidate, means, standard deviations (internal) and codes of statuses.
    model
        Gaussian process.
    wanted
        Codes of the statuses wanted.
    top
        How many are kept; no more than these, and a piece, are held at once.
    acquisition, kappa
        As in :func:`hts_flows.screening.acquisition.log_acquisition`.
    """
    kept: list[tuple[NDArray[np.int_], Floats, Floats, NDArray[np.int8], Floats]] = []
    for start, mean, deviation, codes in pieces:
        ids = np.flatnonzero(np.isin(codes, wanted))
        score = log_acquisition(acquisition, mean[ids], deviation[ids], model.best, kappa)
        if top is not None:
            order = np.argsort(-score, kind="stable")[:top]
            ids, score = ids[order], score[order]
        kept.append((ids + start, mean[ids], deviation[ids], codes[ids], score))
        if top is not None and len(kept) > 1:
            kept = [_sorted(kept, top)]
    ids, mean, deviation, codes, _ = _sorted(kept, top)
    return ids, mean, deviation, codes


def _sorted(
    kept: list[tuple[NDArray[np.int_], Floats, Floats, NDArray[np.int8], Floats]], top: int | None
) -> tuple[NDArray[np.int_], Floats, Floats, NDArray[np.int8], Floats]:
    ids, mean, deviation, codes, score = (np.concatenate(part) for part in zip(*kept, strict=True))
    order = np.lexsort((ids, -score))[:top]
    return ids[order], mean[order], deviation[order], codes[order], score[order]


def table(
    ids: NDArray[np.int_],
    mean: Floats,
    deviation: Floats,
    codes: NDArray[np.int8],
    model: Model,
    *,
    best: float,
    kappa: float,
) -> pd.DataFrame:
    """Table in the unit of the values; its columns are those of :meth:`hts_flows.screening.screener.Screener.rank`.

    Parameters
    ----------
    ids, mean, deviation, codes
        Candidates, internal means and standard deviations, codes of statuses.
    model
        Gaussian process.
    best
        Best value, in the user's unit.
    kappa
        Standard deviations in the confidence bound.
    """
    import pandas as pd

    scale = model.scale
    if scale.transform == "log":
        spread = scale.deviation * deviation
        improvement = log_normal_improvement(scale.transformed(mean), spread, best, minimize=scale.minimize)
    else:
        improvement = scale.deviation * expected_improvement(mean, deviation, model.best)
    columns = {
        "mean": scale.original(mean),
        "standard_deviation": scale.original_deviation(mean, deviation),
        "z_score": z_score(mean, deviation, model.best),
        "expected_improvement": improvement,
        "ucb": scale.original(mean - kappa * deviation),
        "status": pd.Categorical(np.array(STATUSES)[codes], categories=list(STATUSES)),
    }
    return pd.DataFrame(columns, index=pd.Index(ids, name="candidate"))
