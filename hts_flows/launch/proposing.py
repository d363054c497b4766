"""One proposal: what the Gaussian process makes of the candidates, and which of them it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hts_flows.stores.rankings import LEFT_OUT_COLUMNS, TABLE_COLUMNS, Choice

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.launch.outcomes import Outcome
    from hts_flows.launch.screening_pool import ScreeningPool
    from hts_flows.screen import Screen
    from hts_flows.screening.screener import Screener

#: Of the screener's statuses, what they are called in rankings.
STATUSES = {"not asked": "not asked", "pending": "queued", "observed": "verified", "failed": "failed"}


@dataclass(frozen=True)
class Proposal:
    """What a proposal says.

    Attributes
    ----------
    asked
        Candidates to compute next, in order.
    table
        All candidates, the most wanted first; columns as in :data:`hts_flows.stores.rankings.TABLE_COLUMNS`.
    left_out
        Leave-one-out predictions.
    largest_z
        Of the candidates that may be asked for; None where nothing can be predicted yet.
    best_candidate, best_value
        Best value known.
    n_observed, n_failed
        Values and failures that were learnt from.
    provenance
        Of the model and its data; compatible with JSON.
    """

    asked: list[Choice]
    table: pd.DataFrame
    left_out: pd.DataFrame
    largest_z: float | None
    best_candidate: str | None
    best_value: float | None
    n_observed: int
    n_failed: int
    provenance: dict[str, Any]


def propose(
    pool: ScreeningPool,
    screen: Screen,
    learnt: Mapping[str, Outcome],
    pending: Sequence[str],
    *,
    places: int,
    priors: Mapping[str, float] | None = None,
) -> Proposal:
    """Rank the candidates and choose the next; the same input gives the same answer.

    Parameters
    ----------
    pool
        Candidates with their descriptors.
    screen
        The section of the campaign.
    learnt
        Outcomes by candidate_id.
    pending
        candidate_id of those in the queue.
    places
        How many to choose.
    priors
        Lower-fidelity values by candidate_id.
    """
    # Candidates that a changed campaign no longer has teach nothing.
    numbers = {one: pool.numbers[one] for one in (*learnt, *pending) if one in pool.numbers}
    values = {
        number: outcome.value
        for one, number in numbers.items()
        if (outcome := learnt.get(one)) is not None and outcome.value is not None
    }
    failed = [number for one, number in numbers.items() if one in learnt and learnt[one].value is None]
    screener = _screener(pool, screen, sorted([*values, *failed]), priors)
    screener.tell(list(values), list(values.values()), failed=failed)
    screener.expect([number for one, number in numbers.items() if one not in learnt])
    predicted = len(values) >= _n_initial(screen)
    table = _table(screener, pool) if values else _unpredicted(pool, failed, numbers)
    chosen = screener.ask(places) if places > 0 else []
    best_number, best_value = screener.best if values else (None, None)
    return Proposal(
        asked=_choices(chosen, pool, table, predicted=predicted, unit_best=best_value),
        table=table.drop(columns="number"),
        left_out=_left_out(screener, pool) if values else _no_left_out(),
        largest_z=_largest_z(table, set(pool.closed)) if predicted else None,
        best_candidate=None if best_number is None else pool.members[best_number].candidate.candidate_id,
        best_value=best_value,
        n_observed=len(values),
        n_failed=len(failed),
        provenance={
            "screener": _named(screener.describe(), pool.table.names),
            "descriptors": pool.table.provenance,
            "screen": screen.stored(),
        },
    )


def _named(description: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Give descriptors their names, where the screener numbers them."""
    constant = [names[int(column)] for column in description["constant_descriptors"]]
    return description | {"descriptors": list(names), "constant_descriptors": constant}


def _n_initial(screen: Screen) -> int:
    """Values needed before anything is predicted: a training set of whatever size is one."""
    return 1 if screen.train_on else screen.n_initial


def _screener(
    pool: ScreeningPool, screen: Screen, known: Sequence[int], priors: Mapping[str, float] | None
) -> Screener:
    import numpy as np

    from hts_flows.screening import Screener

    prior_mean = None
    if priors is not None:
        prior_mean = np.array([priors.get(member.candidate.candidate_id, np.nan) for member in pool.members])
    values = pool.table.values  # noqa: PD011 (an array)
    # A pool reaches beyond the compounds that are trained on: descriptors keep the scale of what is known.
    reference = known if screen.train_on and len(known) > 1 and np.ptp(values[list(known)], axis=0).any() else None
    return Screener(
        values,
        minimize=screen.minimize,
        acquisition=screen.acquisition,
        kappa=screen.kappa,
        seed=screen.seed,
        n_initial=_n_initial(screen),
        transform=screen.transform,
        length_scale=screen.length_scale,
        noise=screen.noise,
        prior_mean=prior_mean,
        standardise_on=reference,
        closed=pool.closed,
    )


def _table(screener: Screener, pool: ScreeningPool) -> pd.DataFrame:
    ranked = screener.rank()
    observed = screener.observed
    numbers = [int(number) for number in ranked.index]
    members = [pool.members[number] for number in numbers]
    table = ranked.reset_index(drop=True).assign(
        number=numbers,
        candidate_id=[member.candidate.candidate_id for member in members],
        label=[member.candidate.label for member in members],
        formula=[member.candidate.formula for member in members],
        status=[STATUSES[status] for status in ranked["status"]],
        value=[observed.get(number, float("nan")) for number in numbers],
    )
    return _with_descriptors(table, pool)


def _unpredicted(pool: ScreeningPool, failed: Sequence[int], numbers: Mapping[str, int]) -> pd.DataFrame:
    """Table of candidates before anything was observed."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "number": range(len(pool.members)),
            "candidate_id": [member.candidate.candidate_id for member in pool.members],
            "label": [member.candidate.label for member in pool.members],
            "formula": [member.candidate.formula for member in pool.members],
        }
    )
    lost, asked = set(failed), set(numbers.values())
    for name in ("mean", "standard_deviation", "z_score", "expected_improvement", "ucb", "value"):
        table[name] = float("nan")
    table["status"] = [
        "failed" if number in lost else "queued" if number in asked else "not asked" for number in table["number"]
    ]
    return _with_descriptors(table, pool)


def _with_descriptors(table: pd.DataFrame, pool: ScreeningPool) -> pd.DataFrame:
    plain = {f"x_{name}": column[table["number"]] for name, column in pool.plain_descriptors().items()}
    return table[["number", *TABLE_COLUMNS]].assign(**plain).astype({"value": float})


def _left_out(screener: Screener, pool: ScreeningPool) -> pd.DataFrame:
    found = screener.leave_one_out()
    members = [pool.members[int(number)] for number in found.index]
    named = found.reset_index(drop=True).assign(
        candidate_id=[member.candidate.candidate_id for member in members],
        label=[member.candidate.label for member in members],
    )
    return named[list(LEFT_OUT_COLUMNS)]


def _no_left_out() -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(columns=LEFT_OUT_COLUMNS)


def _largest_z(table: pd.DataFrame, closed: set[int]) -> float | None:
    scores = table.loc[(table["status"] == "not asked") & ~table["number"].isin(closed), "z_score"]
    return float(scores.max()) if len(scores) else None


def _choices(
    chosen: Sequence[int], pool: ScreeningPool, table: pd.DataFrame, *, predicted: bool, unit_best: float | None
) -> list[Choice]:
    """Say of each chosen candidate why."""
    rows = table.set_index("number").to_dict("index")
    open_ones = (table["status"] == "not asked") & ~table["number"].isin(pool.closed)
    waiting = table.loc[open_ones, "number"].tolist()
    place = {number: rank for rank, number in enumerate(waiting, start=1)}
    choices = []
    for number in chosen:
        candidate = pool.members[number].candidate
        named = {"candidate_id": candidate.candidate_id, "label": candidate.label}
        if not predicted:
            choices.append(Choice(**named, why="at random: too few values are known to predict others"))
            continue
        row, rank = rows[number], place[number]
        why = f"number {rank} of {len(waiting)} not computed; predicted {row['mean']:.3g} ± "
        why += f"{row['standard_deviation']:.2g}, best known {unit_best:.3g}"
        if rank > len(choices) + 1:
            why += "; those before it are too like others that are in the queue"
        scores = {name: float(row[name]) for name in ("mean", "standard_deviation", "z_score")}
        choices.append(Choice(**named, why=why, rank=rank, **scores))
    return choices
