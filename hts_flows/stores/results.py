"""Results: one document for each (candidate, engine settings), and the queries on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection

from hts_flows.candidates import Candidate
from hts_flows.conditions import read_condition
from hts_flows.errors import InputError, nearest
from hts_flows.stores.times import UtcTime

if TYPE_CHECKING:
    import pandas as pd
    from pymongo.results import UpdateResult

    from hts_flows.stores.database import Database

#: Name of the index by which failures are grouped, for hints.
FAILURE_GROUP_INDEX = "failure_groups"
#: On a candidate whose calculation, or that of a reference, is not yet in its properties: a token of that change.
UNDERIVED = "underived"
RESULT_INDEXES = [
    # What has changed since it was read last.
    IndexModel([("campaigns", ASCENDING), ("settings_hash", ASCENDING), ("changed_at", ASCENDING), ("_id", ASCENDING)]),
    # Counting a campaign's states and causes of failure, and listing its results of one engine.
    IndexModel(
        [
            ("campaigns", ASCENDING),
            ("settings_hash", ASCENDING),
            ("state", ASCENDING),
            ("failure.cause", ASCENDING),
            ("role", ASCENDING),
            ("engine", ASCENDING),
        ]
    ),
    # How many results of a campaign ended lately, and when the last did.
    IndexModel([("campaigns", ASCENDING), ("provenance.finished_at", DESCENDING)]),
    # Failures of one cause in the order of their labels; of a campaign, as keys alone tell.
    IndexModel(
        [
            ("state", ASCENDING),
            ("failure.cause", ASCENDING),
            ("label", ASCENDING),
            ("_id", ASCENDING),
            ("campaigns", ASCENDING),
        ],
        partialFilterExpression={"state": "failed"},
    ),
    # Grouping failures without reading the results.
    IndexModel(
        [
            ("state", ASCENDING),
            ("failure.cause", ASCENDING),
            ("engine", ASCENDING),
            ("failure.job.cluster", ASCENDING),
            ("failure.message", ASCENDING),
            ("provenance.finished_at", ASCENDING),
            ("campaigns", ASCENDING),
        ],
        partialFilterExpression={"state": "failed"},
        name=FAILURE_GROUP_INDEX,
    ),
    # What became of the results that a resubmission queued.
    IndexModel(
        [("attempts.resubmission", ASCENDING), ("state", ASCENDING)],
        partialFilterExpression={"attempts.resubmission": {"$exists": True}},
    ),
    IndexModel([("candidate_id", ASCENDING)]),
    # Results with the settings of a row, of whatever campaign.
    IndexModel([("settings_hash", ASCENDING), ("state", ASCENDING)]),
    # Results whose submission was not completed, of which there are few.
    IndexModel([("campaigns", ASCENDING), ("submission.done", ASCENDING)]),
    # Results that wait for a reference which was just recorded.
    IndexModel([("reference_results", ASCENDING)]),
    # Computed results that have no final outcome yet, of which there are few.
    IndexModel(
        [("campaigns", ASCENDING), ("settings_hash", ASCENDING), (UNDERIVED, ASCENDING)],
        partialFilterExpression={UNDERIVED: {"$exists": True}},
    ),
]
SCHEMA_VERSION = 2

State = Literal["queued", "done", "failed"]


class JobUsage(BaseModel):
    """The SLURM job that a failure happened in, and what it used of what it asked for."""

    model_config = ConfigDict(extra="forbid")

    cluster: str | None = Field(default=None, description="Name of the cluster in the settings")
    job_id: str | None = Field(default=None, description="SLURM's job id")
    state: str | None = Field(default=None, description="How SLURM says that it ended")
    exit_code: int | None = Field(default=None, description="Exit code of the batch script")
    signal: int | None = Field(default=None, description="Signal that ended it")
    node: str | None = Field(default=None, description="Node or nodes it ran on")
    walltime_asked: float | None = Field(default=None, description="Time it asked for, s")
    time_used: float | None = Field(default=None, description="Time it used, s")
    memory_asked: float | None = Field(default=None, description="Memory it asked for on a node, MB")
    memory_used: float | None = Field(default=None, description="Most memory it used, MB")
    folder: str | None = Field(default=None, description="Folder it ran in, on the cluster")


class Failure(BaseModel):
    """Why a result is missing, and what can be done about it."""

    model_config = ConfigDict(extra="forbid")

    cause: str = Field(description="One of the FailureCause names")
    message: str = Field(description="The error in one line")
    evidence: str = Field(default="", description="Last lines of the traceback or the engine's output")
    remedy: str = Field(default="", description="What a person can do")
    retryable: bool = Field(default=False, description="Whether running it again unchanged can help")
    job: JobUsage | None = Field(default=None, description="The SLURM job it happened in; None outside SLURM")


class Attempt(BaseModel):
    """An earlier run that was replaced by a resubmission."""

    model_config = ConfigDict(extra="forbid")

    state: State = Field(description="How it ended")
    failure: Failure | None = Field(default=None, description="Why it failed")
    job_uuids: list[str] = Field(default_factory=list, description="jobflow jobs, their outputs are in the JobStore")
    fw_ids: list[int] = Field(default_factory=list, description="FireWorks ids; their launches stay readable")
    folder: str | None = Field(default=None, description="Folder it ran in, host:path")
    finished_at: UtcTime | None = Field(default=None, description="When it ended (UTC)")
    settings: dict[str, Any] = Field(default_factory=dict, description="Engine settings it ran with")
    resources: dict[str, Any] | None = Field(
        default=None, description="What its SLURM jobs asked for beyond the cluster's settings"
    )
    start: dict[str, Any] | None = Field(default=None, description="Structure it started from, as pymatgen's dict")
    calculation: dict[str, Any] | None = Field(default=None, description="The Calculation it gave, unconverged")
    properties: dict[str, Any] | None = Field(default=None, description="The property document it gave")
    versions: dict[str, str] = Field(default_factory=dict, description="Engine and package versions that ran")
    structure: dict[str, Any] = Field(default_factory=dict, description="How its starting structure was built")
    submission: dict[str, Any] | None = Field(default=None, description="Who queued it, and when")
    resubmission: str | None = Field(default=None, description="The resubmission that replaced it: _id in the audit")
    continued_from: str | None = Field(
        default=None,
        description="Folder whose last geometry the next run started from; None: it started where this one did",
    )


class Provenance(BaseModel):
    """Where a result is from."""

    model_config = ConfigDict(extra="forbid")

    job_uuids: list[str] = Field(default_factory=list, description="jobflow jobs whose outputs are in the JobStore")
    fw_ids: list[int] = Field(default_factory=list, description="FireWorks ids")
    folder: str | None = Field(default=None, description="Folder the engine ran in, host:path")
    versions: dict[str, str] = Field(default_factory=dict, description="Engine and package versions that ran")
    structure: dict[str, Any] = Field(default_factory=dict, description="How the starting structure was built")
    created_at: UtcTime | None = Field(default=None, description="When it was first asked for (UTC)")
    finished_at: UtcTime | None = Field(default=None, description="When it was recorded (UTC)")


class Result(BaseModel):
    """What is known of one candidate at one step of the ladder."""

    model_config = ConfigDict(extra="ignore")

    schema_version: int = Field(default=SCHEMA_VERSION, description="Version of this document's layout")
    candidate_id: str = Field(description="Hash of everything that determines the starting structure")
    candidate: Candidate = Field(description="The inputs it is built from")
    label: str = Field(description="Name for people")
    formula: str = Field(description="Reduced formula")
    role: Literal["candidate", "reference"] = Field(
        default="candidate", description="Asked for by a campaign, or needed for its energies"
    )
    engine: str = Field(description="Name of the engine")
    settings: dict[str, Any] = Field(description="Every setting of the engine")
    settings_hash: str = Field(description="Hash of the settings and of the steps below on the ladder")
    previous_hash: str | None = Field(default=None, description="settings_hash of the step below")
    state: State = Field(default="queued", description="queued, done or failed")
    campaigns: list[str] = Field(default_factory=list, description="Campaigns that share it")
    facets: dict[str, Any] = Field(default_factory=dict, description="What the candidate is: host, intercalant, …")
    references: dict[str, str] = Field(default_factory=dict, description="candidate_id of each reference by role")
    resources: dict[str, Any] = Field(
        default_factory=dict, description="What its SLURM jobs ask for beyond the cluster's settings"
    )
    start: dict[str, Any] | None = Field(default=None, description="Starting structure, as pymatgen's dict")
    calculation: dict[str, Any] | None = Field(default=None, description="The parsed Calculation")
    properties: dict[str, Any] | None = Field(default=None, description="The domain's property document")
    failure: Failure | None = Field(default=None, description="Why it failed")
    attempts: list[Attempt] = Field(default_factory=list, description="Earlier runs, oldest first")
    provenance: Provenance = Field(default_factory=Provenance)

    @property
    def key(self) -> str:
        """Key of the result in the database."""
        return result_key(self.candidate_id, self.settings_hash)


#: When a document was last written, by the database's clock (UTC): what was read before can be brought up to date.
CHANGED_AT = "changed_at"


def stamped(update: Any) -> Any:
    """Let a change of a result also write when it was made.

    Parameters
    ----------
    update
        An update of MongoDB: a dict of operators, or a pipeline.
    """
    if isinstance(update, Mapping):
        return {**update, "$currentDate": {**update.get("$currentDate", {}), CHANGED_AT: True}}
    return [*update, {"$set": {CHANGED_AT: "$$NOW"}}]


class ResultCollection(Collection[dict[str, Any]]):
    """The results; each change through it says when it was made. In ``bulk_write``, use :func:`stamped`."""

    def update_one(self, filter: Any, update: Any, *args: Any, **options: Any) -> UpdateResult:  # noqa: A002 (as named)
        """Change a result; as :meth:`pymongo.collection.Collection.update_one`."""
        return super().update_one(filter, stamped(update), *args, **options)

    def update_many(self, filter: Any, update: Any, *args: Any, **options: Any) -> UpdateResult:  # noqa: A002 (as named)
        """Change results; as :meth:`pymongo.collection.Collection.update_many`."""
        return super().update_many(filter, stamped(update), *args, **options)


def result_key(candidate_id: str, settings_hash: str) -> str:
    """Key of a result: candidate and settings, nothing else."""
    return f"{candidate_id}:{settings_hash}"


#: Fields of a result that can be filtered and sorted by their own name.
TOP_FIELDS = ("candidate_id", "label", "formula", "engine", "state", "role", "settings_hash")
#: Fields of the Calculation that tables show.
CALCULATION_FIELDS = ("energy", "max_force", "n_steps", "wall_time", "pressure")


def field_paths(database: Database, campaign: str) -> dict[str, str]:
    """Names that a campaign's results can be filtered and sorted by, with their places in the document."""
    sample = database.results.find_one({"campaigns": campaign, "role": "candidate", "properties": {"$ne": None}})
    sample = sample or database.results.find_one({"campaigns": campaign, "role": "candidate"}) or {}
    paths = {name: name for name in TOP_FIELDS}
    paths |= {"cause": "failure.cause"}
    paths |= {name: f"calculation.{name}" for name in CALCULATION_FIELDS}
    paths |= {name: f"facets.{name}" for name in sample.get("facets") or {}}
    paths |= {name: f"properties.{name}" for name in sample.get("properties") or {}}
    return paths


def parse_condition(text: str, paths: dict[str, str]) -> dict[str, Any]:
    """Turn ``intercalation_energy < 0`` into a MongoDB filter.

    Raises
    ------
    InputError
        It is no condition, or names an unknown field.
    """
    condition = read_condition(text, paths)
    return condition.query(paths[condition.name])


def find_results(
    database: Database,
    campaign: str,
    *,
    engine: str | None = None,
    settings_hash: str | None = None,
    where: Iterable[str] = (),
    sort: str | None = None,
    limit: int = 0,
    references: bool = False,
) -> Iterator[Result]:
    """Read results of a campaign.

    Parameters
    ----------
    database
        Where from.
    campaign
        Name of the campaign.
    engine, settings_hash
        Only those of this engine, or of this step of the ladder.
    where
        Conditions such as ``"stage == 1"``, all of which hold.
    sort
        Name of a field; with a leading ``-`` from high to low. Results without that field come last.
    limit
        At most so many; 0 is all.
    references
        Give the references (hosts, elements) instead of the candidates.

    Yields
    ------
    Result
        In the order asked for, else by label.
    """
    paths = field_paths(database, campaign)
    query: dict[str, Any] = {"campaigns": campaign, "role": "reference" if references else "candidate"}
    if engine:
        query["engine"] = engine
    if settings_hash:
        query["settings_hash"] = settings_hash
    conditions = [parse_condition(text, paths) for text in where]
    if conditions:
        query["$and"] = conditions
    name = (sort or "label").lstrip("-")
    if name not in paths:
        raise InputError(f"--sort {sort!r}: unknown field {name!r}; {nearest(name, paths)}")
    direction = DESCENDING if sort and sort.startswith("-") else ASCENDING
    pipeline: list[dict[str, Any]] = [
        {"$match": query},
        {"$addFields": {"_missing": {"$cond": [{"$gt": [f"${paths[name]}", None]}, 0, 1]}}},
        {"$sort": {"_missing": 1, paths[name]: direction, "label": 1, "_id": 1}},
    ]
    if limit:
        pipeline.append({"$limit": limit})
    for document in database.results.aggregate(pipeline):
        yield Result.model_validate(document)


def result_row(result: Result) -> dict[str, Any]:
    """Flatten a result to one row: identity, facets, state, properties (units as in the property document)."""
    failure = {"cause": result.failure.cause} if result.failure else None
    return document_row(vars(result) | {"failure": failure})


#: What :func:`document_row` reads of a result.
ROW_FIELDS = (
    "candidate_id",
    "label",
    "formula",
    "facets",
    "engine",
    "state",
    "failure.cause",
    "properties",
    *(f"calculation.{name}" for name in CALCULATION_FIELDS),
    "settings_hash",
)


def document_row(document: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a stored result, of which :data:`ROW_FIELDS` are there, to the row of :func:`result_row`."""
    calculation = document.get("calculation") or {}
    return {
        "candidate_id": document["candidate_id"],
        "label": document["label"],
        "formula": document["formula"],
        **(document.get("facets") or {}),
        "engine": document["engine"],
        "state": document["state"],
        "cause": (document.get("failure") or {}).get("cause"),
        **{name: value for name, value in (document.get("properties") or {}).items() if name != "schema_version"},
        **{name: calculation.get(name) for name in CALCULATION_FIELDS},
        "settings_hash": document["settings_hash"],
    }


def results_frame(results: Iterable[Result], also: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Gather results in a table, one row each; columns as in :func:`result_row`.

    Parameters
    ----------
    results
        The results.
    also
        Further columns: name, and the field of the Calculation that it holds; None where that is missing.
    """
    import pandas as pd

    rows = []
    for result in results:
        calculation = result.calculation or {}
        rows.append(result_row(result) | {name: calculation.get(field) for name, field in (also or {}).items()})
    return pd.DataFrame(rows)


def count_states(database: Database, campaign: str, settings_hash: str | None = None) -> dict[str, int]:
    """Count results of a campaign by state: queued, done, failed."""
    query: dict[str, Any] = {"campaigns": campaign}
    if settings_hash:
        query["settings_hash"] = settings_hash
    counts = dict.fromkeys(("queued", "done", "failed"), 0)
    for row in database.results.aggregate([{"$match": query}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]):
        counts[row["_id"]] = row["n"]
    return counts
