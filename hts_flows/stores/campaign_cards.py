"""What the overview tells of a campaign: counts, rate, failures, the best so far."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hts_flows.stores.times import UtcTime

SECONDS_IN_A_MINUTE = 60.0


class StateCounts(BaseModel):
    """Results by state, references included."""

    model_config = ConfigDict(extra="forbid")

    queued: int = Field(default=0, description="Results that have not ended: they wait, or their job runs")
    running: int = Field(default=0, description="Of those queued: their job is with a worker now")
    done: int = Field(default=0, description="Results with an outcome")
    failed: int = Field(default=0, description="Results that failed")

    @property
    def total(self) -> int:
        """All results."""
        return self.queued + self.done + self.failed


class CauseCount(BaseModel):
    """How many results failed for a cause."""

    model_config = ConfigDict(extra="forbid")

    cause: str = Field(description="One of the FailureCause names")
    count: int = Field(description="Results")


class Best(BaseModel):
    """The best candidate known."""

    model_config = ConfigDict(extra="forbid")

    candidate_id: str = Field(description="Deterministic id of the candidate")
    key: str = Field(description="Key of its result")
    label: str = Field(description="Name for people")
    name: str = Field(description="Property that is compared, e.g. intercalation_energy")
    header: str = Field(description="Its symbol or short name")
    value: float = Field(description="Its value, in `unit`")
    unit: str = Field(description="Unit of the value")
    format: str = Field(description="How the value is written, as for Python's format")
    minimize: bool = Field(description="Whether low values are good")


class SearchState(BaseModel):
    """Where the search of a row stands."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(description="Property that is searched for")
    minimize: bool = Field(description="Whether low values are wanted")
    training: int = Field(default=0, description="Candidates that were computed first, to learn from")
    asked: int = Field(default=0, description="Candidates asked for since then, each a trial")
    rankings: int = Field(default=0, description="How often the candidates were ranked")
    stopped: str | None = Field(default=None, description="Rule that ended the search; None: it goes on")
    note: str = Field(default="", description="Why no more are asked for, for people")


class RowCard(BaseModel):
    """One row of a campaign's ladder."""

    model_config = ConfigDict(extra="forbid")

    number: int = Field(description="Place on the ladder, from 0")
    name: str = Field(description="The engine's name, with a number where the ladder has it more than once")
    engine: str = Field(description="Name of the engine")
    settings_hash: str = Field(description="Hash of its settings and of the rows below")
    counts: StateCounts = Field(default_factory=StateCounts, description="Its results by state")
    search: SearchState | None = Field(default=None, description="Where its search stands; None: it does not search")
    best: Best | None = Field(default=None, description="Best candidate on this row; None: no value yet")


class Rate(BaseModel):
    """How fast results come in."""

    model_config = ConfigDict(extra="forbid")

    settled: int = Field(description="Results that ended within the window, done or failed, without the first")
    window: float = Field(description="Since the first result of the last hour ended, s")
    per_minute: float = Field(description="Results a minute")
    time_left: float | None = Field(description="Until what is queued now has ended at this rate, s")

    @property
    def basis(self) -> str:
        """What the rate is taken from, in words."""
        results = f"{self.settled} result{'s' if self.settled != 1 else ''}"
        return f"{results} in the last {max(1, round(self.window / SECONDS_IN_A_MINUTE))} min"


class CampaignCard(BaseModel):
    """Where one campaign stands."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of the campaign")
    state: str = Field(description="running, finished, paused, …, as stored")
    domain: str = Field(description="Family of its candidates")
    created_at: UtcTime = Field(description="When it was stored first (UTC)")
    last_activity: UtcTime = Field(description="When a result ended last, or the campaign was changed (UTC)")
    rows: list[RowCard] = Field(description="Rows of its ladder, cheapest first")
    counts: StateCounts = Field(description="Results of all rows by state")
    failures: list[CauseCount] = Field(description="Failures by cause, the most frequent first")
    failed_references: int = Field(default=0, description="References that failed, for which candidates wait")
    rate: Rate | None = Field(
        default=None,
        description="How fast results come in; None: nothing is to be done, or fewer than two ended in the last hour",
    )
    best: Best | None = Field(default=None, description="Best candidate of the highest row that has a value")
    paused_by: str | None = Field(default=None, description="Who paused it; None: it is not paused")
    pause_reason: str = Field(default="", description="Why it is paused, in that person's words")
    problem: str | None = Field(default=None, description="Why its stored file cannot be read by this version")
