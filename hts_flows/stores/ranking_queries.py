"""What became of the candidates of a ranking, and the history of a search: tables from rankings and results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hts_flows.launch.outcomes import Outcome, OutcomeReader
from hts_flows.stores.rankings import TABLE_COLUMNS, Choice, Ranking, ranking_tables
from hts_flows.stores.results import result_key

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.ladder import Level
    from hts_flows.stores.database import Database

#: Columns of :func:`history`.
HISTORY_COLUMNS = (
    "trial",
    "asked_in",
    "asked_at",
    "candidate_id",
    "label",
    "mean",
    "standard_deviation",
    "z_score",
    "status",
    "value",
    "cause",
    "best",
    "best_label",
    "training",
    "why",
)
_PREDICTIONS = ("mean", "standard_deviation", "z_score")


def read_outcomes(database: Database, level: Level, rankings: Sequence[Ranking]) -> dict[str, Outcome]:
    """Read what came out of everything that a search asked for, or found in the store, by candidate_id.

    Parameters
    ----------
    database
        Where from.
    level
        The row of the ladder; it must screen.
    rankings
        Those of the row, as :func:`hts_flows.stores.rankings.rankings_of` gives them.
    """
    ids = [choice.candidate_id for ranking in rankings for choice in (*ranking.asked, *ranking.shared)]
    # What has no result yet is about to be submitted.
    return dict.fromkeys(ids, Outcome("queued")) | OutcomeReader(level).of(database, dict.fromkeys(ids))


def current_table(
    database: Database,
    level: Level,
    ranking: Ranking,
    rankings: Sequence[Ranking],
    outcomes: Mapping[str, Outcome] | None = None,
) -> pd.DataFrame:
    """Give a ranking's candidates with what is known of them by now.

    Parameters
    ----------
    database
        Where from.
    level
        The row of the ladder; it must screen.
    ranking
        Which one; predictions and order are those it was stored with.
    rankings
        All rankings of the row, in the order they were made.
    outcomes
        As :func:`read_outcomes` gives them; read when left out.

    Returns
    -------
    pandas.DataFrame
        One row a candidate, the most wanted first: ``rank`` (1 is the first of the stored table, computed ones
        counted), the columns :data:`hts_flows.stores.rankings.TABLE_COLUMNS` with ``status`` and ``value`` as they are
        now, ``cause`` of a failure, ``asked_in`` (number of the first ranking that asked for it), ``why``, then the
        plain descriptors. Candidates that were asked for and that the stored table does not have (it keeps no more than
        :data:`hts_flows.stores.rankings.MOST_ROWS`; that of the training set is empty) come last, unranked.
    """
    import pandas as pd

    if outcomes is None:
        outcomes = read_outcomes(database, level, rankings)
    asked = _first_asked(rankings)
    shared = {choice.candidate_id: choice for one in rankings for choice in one.shared}
    choices = shared | {one: choice for one, (_, choice) in asked.items()}
    table, _ = ranking_tables(database, ranking)
    ranks: list[int | None] = [*range(1, len(table) + 1)]
    stored = set(table["candidate_id"])
    missing = [choice for one, choice in choices.items() if one not in stored]
    if missing:
        more = _unranked(database, level, missing, table)
        table = pd.concat([table.astype(more.dtypes), more], ignore_index=True) if len(table) else more
    ids = list(table["candidate_id"])
    found = [outcomes.get(one) for one in ids]
    pairs = list(zip(found, table["status"], table["value"], strict=True))
    return pd.DataFrame(
        {
            "rank": pd.array([*ranks, *[None] * len(missing)], dtype="Int64"),
            **{name: table[name] for name in TABLE_COLUMNS},
            "status": pd.Series([now.state if now else then for now, then, _ in pairs], dtype=object),
            "value": pd.Series([_number(now.value) if now else then for now, _, then in pairs], dtype=float),
            "cause": pd.Series([now.cause if now else None for now in found], dtype=object),
            "asked_in": pd.array([asked[one][0] if one in asked else None for one in ids], dtype="Int64"),
            "why": pd.Series([choices[one].why if one in choices else None for one in ids], dtype=object),
            **{name: table[name] for name in table.columns if name not in TABLE_COLUMNS},
        }
    )


def history(
    database: Database, level: Level, rankings: Sequence[Ranking], outcomes: Mapping[str, Outcome] | None = None
) -> pd.DataFrame:
    """List what was asked for, in order, and what came out.

    Parameters
    ----------
    database, level, rankings, outcomes
        As for :func:`current_table`.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`HISTORY_COLUMNS`: the number of the trial from 1; the number of the ranking that asked for it,
        and when (UTC); the candidate; what was predicted then (NaN without a model); what came out; the ``best``
        value of this trial, those before it, and those that the search found in the store by then, and whose it is;
        whether it was chosen without a prediction (``training``); and why.
    """
    import pandas as pd

    if outcomes is None:
        outcomes = read_outcomes(database, level, rankings)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    best, best_label = math.nan, None
    for ranking in rankings:
        for choice in (*ranking.shared, *ranking.asked):
            if choice.candidate_id in seen:
                continue
            seen.add(choice.candidate_id)
            outcome = outcomes.get(choice.candidate_id, Outcome("queued"))
            value = _number(outcome.value)
            gain = best - value if ranking.minimize else value - best
            if math.isfinite(value) and (math.isnan(best) or gain > 0):
                best, best_label = value, choice.label
            if choice in ranking.shared:
                continue
            rows.append(
                {
                    "trial": len(rows) + 1,
                    "asked_in": ranking.number,
                    "asked_at": ranking.created_at,
                    **choice.model_dump(include={"candidate_id", "label", "why", *_PREDICTIONS}),
                    "status": outcome.state,
                    "value": value,
                    "cause": outcome.cause,
                    "best": best,
                    "best_label": best_label,
                    "training": choice.mean is None,
                }
            )
    table = pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))
    floats = dict.fromkeys([*_PREDICTIONS, "value", "best"], float)
    return table.astype({**floats, "training": bool, "cause": object, "best_label": object})


def _first_asked(rankings: Sequence[Ranking]) -> dict[str, tuple[int, Choice]]:
    """For each candidate that was asked for, the number of the ranking that did so first, and its words."""
    asked: dict[str, tuple[int, Choice]] = {}
    for ranking in rankings:
        for choice in ranking.asked:
            asked.setdefault(choice.candidate_id, (ranking.number, choice))
    return asked


def _unranked(database: Database, level: Level, choices: Sequence[Choice], table: pd.DataFrame) -> pd.DataFrame:
    """Rows like those of the table, for candidates that it does not have."""
    import pandas as pd

    keys = [result_key(choice.candidate_id, level.settings_hash) for choice in choices]
    formulas = {
        document["candidate_id"]: document.get("formula")
        for document in database.results.find({"_id": {"$in": keys}}, {"candidate_id": 1, "formula": 1})
    }
    texts = {
        "candidate_id": [choice.candidate_id for choice in choices],
        "label": [choice.label for choice in choices],
        "formula": [formulas.get(choice.candidate_id) for choice in choices],
        "status": ["queued"] * len(choices),
    }
    columns = {name: pd.Series(texts.get(name, math.nan), index=range(len(choices))) for name in table.columns}
    kinds = {name: object if name in texts else float for name in columns}
    return pd.DataFrame(columns).astype(kinds)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
