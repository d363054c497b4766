"""Searches: what each ranking predicted of whom, what was asked for, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from hts_flows.dashboard.api.results import LONGEST, CampaignName, level_named, read_levels
from hts_flows.dashboard.dependencies import Db
from hts_flows.dashboard.problems import NAMED, NotFoundError
from hts_flows.ladder import Level
from hts_flows.launch.outcomes import Outcome
from hts_flows.stores.database import Database
from hts_flows.stores.ranking_queries import current_table, history, read_outcomes
from hts_flows.stores.rankings import TABLE_COLUMNS, Ranking, Status, rankings_of
from hts_flows.stores.times import UtcTime

if TYPE_CHECKING:
    import pandas as pd

router = APIRouter(tags=["rankings"])

#: Rows on a page, and most rows of an answer.
PAGE, MOST_ROWS = 50, 5000
_PLAIN = (*TABLE_COLUMNS, "rank", "cause", "asked_in", "why")


class RankedCandidate(BaseModel):
    """A candidate of a ranking, with what is known of it by now."""

    model_config = ConfigDict(extra="forbid")

    rank: int | None = Field(description="Its place in the ranking, 1 is the most wanted; null: it is not in its table")
    candidate_id: str = Field(description="Deterministic id of the candidate")
    label: str = Field(description="Name for people")
    formula: str | None = Field(description="Reduced formula")
    mean: float | None = Field(description="Predicted value, in the property's unit")
    standard_deviation: float | None = Field(description="Of the prediction, in the property's unit")
    z_score: float | None = Field(description="(best − mean) / standard deviation, signed so: high = good")
    expected_improvement: float | None = Field(description="Expected gain over the best value, in the property's unit")
    ucb: float | None = Field(description="Confidence bound on the side that is wanted, in the property's unit")
    status: Status = Field(description="What is known of it now")
    value: float | None = Field(description="Computed value, in the property's unit")
    cause: str | None = Field(description="Why it has no usable value")
    asked_in: int | None = Field(description="Number of the first ranking that asked for it")
    why: str | None = Field(description="Why it was chosen, in a line")
    descriptors: dict[str, float | None] = Field(description="Its plain descriptors, by name")


class Trial(BaseModel):
    """A candidate that was asked for, and what came out."""

    model_config = ConfigDict(extra="forbid")

    trial: int = Field(description="Counts up from 1, the training set included")
    asked_in: int = Field(description="Number of the ranking that asked for it")
    asked_at: UtcTime = Field(description="When (UTC)")
    candidate_id: str = Field(description="Deterministic id of the candidate")
    label: str = Field(description="Name for people")
    mean: float | None = Field(description="Value predicted then, in the property's unit; null without a model")
    standard_deviation: float | None = Field(description="Of the prediction, in the property's unit")
    z_score: float | None = Field(description="(best − mean) / standard deviation then, signed so: high = good")
    status: Status = Field(description="What is known of it now")
    value: float | None = Field(description="Computed value, in the property's unit")
    cause: str | None = Field(description="Why it has no usable value")
    best: float | None = Field(description="Best value known by then, in the property's unit")
    best_label: str | None = Field(description="Whose it is")
    training: bool = Field(description="Whether it was chosen without a prediction")
    why: str = Field(description="Why it was chosen, in a line")


class SearchHistory(BaseModel):
    """A search from its beginning."""

    model_config = ConfigDict(extra="forbid")

    row: str = Field(description="Name of the row of the ladder")
    rankings: list[Ranking] = Field(description="In the order they were made, without `provenance`")
    trials: list[Trial] = Field(description="What was asked for, the newest last; at most `limit` of the newest")
    n_trials: int = Field(description="How many there are")


class RankingPage(BaseModel):
    """One ranking, and some of its candidates."""

    model_config = ConfigDict(extra="forbid")

    row: str = Field(description="Name of the row of the ladder")
    ranking: Ranking = Field(description="The ranking, with what its model was")
    rows: list[RankedCandidate] = Field(description="Candidates, the most wanted first")
    total: int = Field(description="Candidates of the ranking")
    filtered: int = Field(description="Candidates that are selected")
    offset: int = Field(description="Rows left out at the beginning")
    limit: int = Field(description="Most rows given")
    statuses: dict[Status, int] = Field(description="Candidates by what is known of them now")


class RankingQuery(BaseModel):
    """Which candidates of a ranking."""

    row: str | None = Field(
        default=None, max_length=LONGEST, description="Name of the row of the ladder; the first that searches else"
    )
    status: Status | None = Field(default=None, description="Only those of this status")
    text: str = Field(default="", max_length=200, description="Part of the label or formula")
    offset: int = Field(default=0, ge=0, le=10_000_000, description="Rows to leave out at the beginning")
    limit: int = Field(default=PAGE, ge=1, le=MOST_ROWS, description="Most rows to give")


@dataclass(frozen=True)
class Search:
    """A search as it is stored, and what came out of what it asked for.

    Attributes
    ----------
    level
        The row of the ladder.
    rankings
        In the order they were made, without their provenance.
    outcomes
        By candidate_id.
    """

    level: Level
    rankings: Sequence[Ranking]
    outcomes: Mapping[str, Outcome]

    def ranking(self, number: int | None) -> Ranking:
        """Find a ranking by its number; without one, the last that predicted something.

        Raises
        ------
        NotFoundError
            There is none of that number.
        """
        if number is None:
            predicting = [one for one in self.rankings if not one.trains]
            return (predicting or list(self.rankings))[-1]
        for one in self.rankings:
            if one.number == number:
                return one
        there = f"there are {self.rankings[0].number} to {self.rankings[-1].number}" if self.rankings else ""
        raise NotFoundError(
            f"row {self.level.name!r} has no ranking {number}" + (f"; {there}" if there else ""),
            None if there else "nothing was ranked yet",
        )

    def history(self, database: Database) -> pd.DataFrame:
        """List what was asked for; see :func:`hts_flows.stores.ranking_queries.history`."""
        return history(database, self.level, self.rankings, self.outcomes)

    def table(self, database: Database, ranking: Ranking) -> pd.DataFrame:
        """Give a ranking's candidates; see :func:`hts_flows.stores.ranking_queries.current_table`."""
        return current_table(database, self.level, ranking, self.rankings, self.outcomes)


def read_search(database: Database, campaign: str, row: str | None) -> Search:
    """Read a search, in three calls of the database.

    Parameters
    ----------
    database
        Where from.
    campaign
        Name of the campaign.
    row
        Name of the row; the first that searches when left out.

    Raises
    ------
    NotFoundError
        There is no such campaign or row, or the row does not search.
    """
    levels = read_levels(database, campaign)
    searching = [level for level in levels if level.screen]
    level = searching[0] if row is None and searching else level_named(levels, row)
    if level.screen is None:
        raise NotFoundError(
            f"row {level.name!r} of campaign {campaign!r} does not search, so it has no rankings",
            "a row searches where the campaign file says 'screen:'",
        )
    rankings = rankings_of(database, campaign, level.settings_hash, provenance=False)
    return Search(level, rankings, read_outcomes(database, level, rankings))


def with_provenance(database: Database, ranking: Ranking) -> Ranking:
    """Read what the model of a ranking was, too."""
    document = database.rankings.find_one({"_id": ranking.key}, {"provenance": 1}) or {}
    return ranking.model_copy(update={"provenance": _plain(document.get("provenance") or {})})


def ranking_page(database: Database, search: Search, number: int | None, query: RankingQuery) -> RankingPage:
    """Read one ranking, and some of its candidates.

    Raises
    ------
    NotFoundError
        There is none of that number.
    """
    ranking = search.ranking(number)
    table = search.table(database, ranking)
    counts = table["status"].value_counts()
    chosen = table if query.status is None else table[table["status"] == query.status]
    if text := query.text.strip():
        found = [chosen[name].astype(object).fillna("").astype(str).str.contains(text, case=False, regex=False)
                 for name in ("label", "formula")]  # fmt: skip
        chosen = chosen[(found[0] | found[1]).to_numpy(dtype=bool)]
    part = chosen.iloc[query.offset : query.offset + query.limit]
    return RankingPage(
        row=search.level.name,
        ranking=with_provenance(database, ranking),
        rows=[_candidate(row) for row in part.to_dict("records")],
        total=len(table),
        filtered=len(chosen),
        offset=query.offset,
        limit=query.limit,
        statuses={name: int(count) for name, count in counts.items()},
    )


def trials_of(table: pd.DataFrame, limit: int) -> list[Trial]:
    """Give the last rows of a history, as :func:`hts_flows.stores.ranking_queries.history` lists them."""
    return [
        Trial.model_validate({str(name): _plain(value) for name, value in row.items()})
        for row in table.tail(limit).to_dict("records")
    ]


def _candidate(row: Mapping[Any, Any]) -> RankedCandidate:
    descriptors = {str(name): _plain(value) for name, value in row.items() if name not in _PLAIN}
    return RankedCandidate(**{name: _plain(row[name]) for name in _PLAIN}, descriptors=descriptors)


def _plain(value: Any) -> Any:
    """Values as JSON has them: what is missing, or no finite number, is None."""
    import pandas as pd

    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


@router.get("/campaigns/{campaign}/rankings", responses=NAMED)
def rankings(
    campaign: CampaignName,
    database: Db,
    row: Annotated[str | None, Query(max_length=LONGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="Most trials to give, the newest")] = 1000,
) -> SearchHistory:
    """List the rankings of a search, and what was asked for with the reason of each choice."""
    search = read_search(database, campaign, row)
    table = search.history(database)
    return SearchHistory(
        row=search.level.name,
        rankings=list(search.rankings),
        trials=trials_of(table, limit),
        n_trials=len(table),
    )


@router.get("/campaigns/{campaign}/rankings/{number}", responses=NAMED)
def ranking(
    campaign: CampaignName,
    number: Annotated[int, Path(ge=0, le=10_000_000, description="Number of the ranking, from 0")],
    query: Annotated[RankingQuery, Query()],
    database: Db,
) -> RankingPage:
    """Give a ranking: its candidates with what was predicted then and what is known now, and its model."""
    return ranking_page(database, read_search(database, campaign, query.row), number, query)
