"""Rankings: one document for each time that a campaign's candidates were scored, and what was asked for then."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

from bson.binary import Binary
from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from hts_flows.stores.times import UtcTime

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.stores.database import Database

#: Rankings of one row of a campaign, in the order they were made.
RANKING_INDEXES = [IndexModel([("campaign", ASCENDING), ("settings_hash", ASCENDING), ("number", ASCENDING)])]
#: Candidates kept in the table of the latest ranking, and of those before it; the best come first.
MOST_ROWS, OLD_ROWS = 100_000, 1000

#: What is known of a candidate: nothing yet; it is in the queue; its value; that it has none.
Status = Literal["not asked", "queued", "verified", "failed"]


class Choice(BaseModel):
    """A candidate that a ranking sent to be computed."""

    model_config = ConfigDict(extra="forbid")

    candidate_id: str = Field(description="Deterministic id of the candidate")
    label: str = Field(description="Name for people")
    why: str = Field(description="Why it was chosen, in a line")
    rank: int | None = Field(default=None, description="Its place among those not computed; None without a model")
    mean: float | None = Field(default=None, description="Predicted value, in the property's unit")
    standard_deviation: float | None = Field(default=None, description="Of the prediction, in the property's unit")
    z_score: float | None = Field(
        default=None, description="(best − mean) / standard deviation, signed so: high = good"
    )


class Ranking(BaseModel):
    """One scoring of the candidates of a row of a campaign, on what was known then."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = Field(default=1, description="Version of this document's layout")
    campaign: str = Field(description="Name of the campaign")
    settings_hash: str = Field(description="The row of the ladder whose values are predicted")
    number: int = Field(ge=0, description="Counts up from 0, the training set, or 1 where there is none")
    trains: bool = Field(
        default=False, description="Whether it asked for the training set, or newcomers to it; nothing was predicted"
    )
    created_at: UtcTime = Field(description="When it was made (UTC)")
    by: str = Field(description="Property that is predicted, e.g. thermal_conductivity")
    unit: str = Field(default="", description="Its unit")
    minimize: bool = Field(description="Whether low values are wanted")
    outcomes: str = Field(description="SHA-256 of the values and failures that were known, and of the rules")
    n_candidates: int = Field(default=0, description="Candidates that were scored")
    n_observed: int = Field(default=0, description="Values known")
    n_failed: int = Field(default=0, description="Candidates computed without a usable value")
    n_pending: int = Field(default=0, description="Candidates in the queue when it was made")
    left_out: dict[str, int] = Field(default_factory=dict, description="Candidates that filters left out, by reason")
    best_candidate: str | None = Field(default=None, description="candidate_id of the best value known")
    best_value: float | None = Field(default=None, description="That value, in the property's unit")
    largest_z: float | None = Field(default=None, description="Largest Z-score of a candidate that could be asked for")
    asked: list[Choice] = Field(default_factory=list, description="Candidates sent to be computed, in order")
    shared: list[Choice] = Field(
        default_factory=list, description="Candidates whose results were in the store already; nothing is computed"
    )
    note: str = Field(default="", description="Why no more were asked for, for people")
    stopped: str | None = Field(
        default=None,
        description="Rule that ended the search: budget, patience, z_below or exhausted; None: it goes on",
    )
    provenance: dict[str, Any] = Field(
        default_factory=dict, description="Model, hyper-parameters, seed, descriptors, training data, package versions"
    )

    @property
    def key(self) -> str:
        """Key in the database: a number exists once."""
        return f"{self.campaign}:{self.settings_hash}:{self.number}"


#: Columns of the table of a ranking, beside one for each descriptor that is a plain number (its name begins "x_").
TABLE_COLUMNS = (
    "candidate_id",
    "label",
    "formula",
    "mean",
    "standard_deviation",
    "z_score",
    "expected_improvement",
    "ucb",
    "status",
    "value",
)
#: Columns of the table of leave-one-out predictions.
LEFT_OUT_COLUMNS = ("candidate_id", "label", "value", "mean", "standard_deviation")


def add_ranking(database: Database, ranking: Ranking, table: pd.DataFrame, left_out: pd.DataFrame) -> bool:
    """Store a ranking, once.

    Parameters
    ----------
    database
        Where to.
    ranking
        The document.
    table
        One row a candidate, the most wanted first, columns :data:`TABLE_COLUMNS`; the first :data:`MOST_ROWS` are kept.
    left_out
        Predictions of each value from all others, columns :data:`LEFT_OUT_COLUMNS`.

    Returns
    -------
    bool
        False where a ranking of that number is stored already; it stays.
    """
    document = ranking.model_dump(mode="python") | {
        "_id": ranking.key,
        "table": _packed(table.head(MOST_ROWS)),
        "leave_one_out": _packed(left_out),
    }
    try:
        database.rankings.insert_one(document)
    except DuplicateKeyError:
        return False
    if len(table) > OLD_ROWS and ranking.number:
        _shorten(database, ranking.model_copy(update={"number": ranking.number - 1}))
    return True


def _shorten(database: Database, ranking: Ranking) -> None:
    """Keep of a ranking that another one has followed the best candidates alone."""
    document = database.rankings.find_one({"_id": ranking.key}, {"table": 1})
    if document is not None:
        short = _packed(_unpacked(document["table"]).head(OLD_ROWS))
        database.rankings.update_one({"_id": ranking.key}, {"$set": {"table": short}})


def rankings_of(database: Database, campaign: str, settings_hash: str, *, provenance: bool = True) -> list[Ranking]:
    """Read the rankings of a row of a campaign, in the order they were made, without their tables.

    Parameters
    ----------
    database
        Where from.
    campaign, settings_hash
        Which row of which campaign.
    provenance
        Read what the models were, too, which is most of each document.
    """
    without = {"_id": 0, "table": 0, "leave_one_out": 0} | ({} if provenance else {"provenance": 0})
    found = database.rankings.find({"campaign": campaign, "settings_hash": settings_hash}, without)
    return [Ranking.model_validate(document) for document in found.sort("number", ASCENDING)]


def ranking_tables(database: Database, ranking: Ranking) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the two tables of a stored ranking: all candidates, and the leave-one-out predictions.

    Returns
    -------
    pandas.DataFrame
        Columns :data:`TABLE_COLUMNS` and one for each plain descriptor, as they were when the ranking was made.
    pandas.DataFrame
        Columns :data:`LEFT_OUT_COLUMNS`.
    """
    document = database.rankings.find_one({"_id": ranking.key}, {"table": 1, "leave_one_out": 1}) or {}
    return _unpacked(document["table"]), _unpacked(document["leave_one_out"])


def keep_training(database: Database, ranking: Ranking, rule: str) -> None:
    """Store that a changed choice of the training set, by its hash, asks for nobody new."""
    database.rankings.update_one({"_id": ranking.key, "trains": True}, {"$set": {"outcomes": rule}})


def _packed(frame: pd.DataFrame) -> Binary:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return Binary(buffer.getvalue())


def _unpacked(data: bytes) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(io.BytesIO(data))
