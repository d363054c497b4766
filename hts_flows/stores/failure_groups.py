"""Failures grouped by cause, with what to do, and the results of one group page by page."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING

from hts_flows.engines import engine_names
from hts_flows.errors import InputError
from hts_flows.launch.failures import REMEDIES, FailureCause, proposed_change
from hts_flows.stores.campaigns import campaign_names
from hts_flows.stores.paging import Keyset, Page, checked_limit
from hts_flows.stores.results import FAILURE_GROUP_INDEX, Failure, JobUsage
from hts_flows.stores.times import UtcTime, as_utc
from hts_flows.stores.unions import union

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: Messages of a group that are told, and examples.
MOST_MESSAGES, MOST_EXAMPLES = 5, 3
#: Results of a group whose messages are read.
MESSAGES_READ = 400
_LONGEST_MESSAGE = 300
#: What differs from one message to the next of the same kind: times, ids in hexadecimal, numbers.
_PARTICULARS = re.compile(
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?|"
    r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8}[0-9a-f-]{4,}\b|0x[0-9a-f]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
)
_BY_LABEL = Keyset("failed results by label", "label", types=(str,), always=True)
_BY_LABEL_INDEX = [(name, ASCENDING) for name in ("state", "failure.cause", "label", "_id", "campaigns")]
_ROW_FIELDS = {
    "candidate_id": 1,
    "label": 1,
    "engine": 1,
    "campaigns": 1,
    "failure.message": 1,
    "failure.job": 1,
    "provenance.finished_at": 1,
    "attempts": {"$size": {"$ifNull": ["$attempts", []]}},
}


class ProposedChange(BaseModel):
    """Changes that are proposed for a resubmission, as the fields of a form take them."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="Options of 'hts resubmit'")
    resources: dict[str, str] = Field(default_factory=dict, description="New values of resources, e.g. walltime: x2")
    settings: dict[str, str] = Field(
        default_factory=dict, description="New values of engine settings, e.g. steps: 1000"
    )
    to_fill_in: list[str] = Field(default_factory=list, description="Resources whose value a person has to choose")


class NamedCount(BaseModel):
    """How many results of a group are of something."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Engine, campaign, or message with # for every number and id")
    count: int = Field(description="Results")


class Example(BaseModel):
    """A result of a group."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="Key of the result")
    candidate_id: str = Field(description="Deterministic id of the candidate")
    label: str = Field(description="Name for people")
    engine: str = Field(description="Name of the engine")
    message: str = Field(description="The error in one line")


class FailureGroup(BaseModel):
    """Results that failed for the same cause."""

    model_config = ConfigDict(extra="forbid")

    cause: str = Field(description="One of the FailureCause names")
    count: int = Field(description="Results; one that campaigns share counts once")
    remedy: str = Field(description="What a person can do")
    retryable: bool = Field(description="Whether running them again unchanged can help")
    resubmittable: bool = Field(
        description="Whether a resubmission makes sense; false where they wait for a reference, which is resubmitted"
    )
    change: ProposedChange | None = Field(
        default=None, description="What is proposed to change; None: nothing, or not the same for all"
    )
    engines: list[NamedCount] = Field(description="Results by engine, the most frequent first")
    campaigns: list[NamedCount] = Field(
        description="Results by campaign, the most frequent first; one that campaigns share counts in each"
    )
    messages: list[NamedCount] = Field(
        description=f"The {MOST_MESSAGES} most frequent messages of at most {MESSAGES_READ} results"
    )
    messages_read: int = Field(description="Results whose messages were counted")
    examples: list[Example] = Field(description=f"The first {MOST_EXAMPLES} by label")
    first: UtcTime | None = Field(description="When the first of them ended (UTC)")
    last: UtcTime | None = Field(description="When the last of them ended (UTC)")


class FailedResult(BaseModel):
    """A result that failed, as a row of a table."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="Key of the result")
    candidate_id: str = Field(description="Deterministic id of the candidate")
    label: str = Field(description="Name for people")
    engine: str = Field(description="Name of the engine")
    campaigns: list[str] = Field(description="Campaigns that share it")
    message: str = Field(description="The error in one line")
    job: JobUsage | None = Field(description="SLURM job it was in: node, id, time and memory asked and used")
    attempts: int = Field(description="Runs so far, the failed one included")
    finished_at: UtcTime | None = Field(description="When it ended (UTC)")


def split_change(text: str) -> ProposedChange | None:
    """Take the options that are proposed for a resubmission apart.

    Parameters
    ----------
    text
        As :func:`hts_flows.launch.failures.proposed_change` gives them: ``--walltime x2``, ``--set steps=1000``.

    Returns
    -------
    ProposedChange or None
        None where nothing is proposed. A value in capitals, as in ``--partition NAME``, is for a person to fill in.
    """
    words = text.split()
    if not words:
        return None
    change = ProposedChange(text=text)
    for option, value in zip(words[::2], words[1::2], strict=True):
        name = option.removeprefix("--")
        if name == "set":
            setting, _, new = value.partition("=")
            change.settings[setting] = new
        elif value.isupper():
            change.to_fill_in.append(name)
        else:
            change.resources[name] = value
    return change


def general_message(message: str) -> str:
    """Give a message with ``#`` for times, ids and numbers, the same for all that differ in these only."""
    text = _PARTICULARS.sub("#", " ".join(message.split()))
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


def failure_groups(database: Database, campaign: str | None = None, engine: str | None = None) -> list[FailureGroup]:
    """Group failed results by cause, the most frequent first.

    Parameters
    ----------
    database
        Where the results are.
    campaign, engine
        Only those of this campaign, or engine.
    """
    query: dict[str, Any] = {"state": "failed"}
    query |= {"campaigns": campaign} if campaign else {}
    query |= {"engine": engine} if engine else {}
    kinds = _kinds(database, query)
    causes = Counter[str]()
    for kind in kinds:
        causes[kind["cause"]] += kind["n"]
    ordered = [cause for cause, _ in causes.most_common()]
    campaigns = _by_campaign(database, [campaign] if campaign else campaign_names(database), engine)
    messages = _messages(database, query, ordered)
    examples = _examples(database, query, ordered)
    groups = []
    for cause in ordered:
        mine = [kind for kind in kinds if kind["cause"] == cause]
        engines = Counter[str]()
        for kind in mine:
            engines[kind["engine"]] += kind["n"]
        known = FailureCause(cause) if cause in set(FailureCause) else None
        # They may have been resubmitted since they were counted.
        shown = examples.get(cause, [])
        stored = shown[0]["failure"] if shown else {}
        remedy = REMEDIES[known] if known else None
        times = [as_utc(kind[end]) for kind in mine for end in ("first", "last") if kind[end]]
        groups.append(
            FailureGroup(
                cause=cause,
                count=causes[cause],
                # Of a cause that only another version knows, the words that were stored.
                remedy=remedy.text if remedy else stored.get("remedy", ""),
                retryable=remedy.retryable if remedy else stored.get("retryable", False),
                resubmittable=known != FailureCause.REFERENCE_FAILED,
                change=_change(cause, mine),
                engines=_named(engines),
                campaigns=_named(campaigns.get(cause, Counter())),
                messages=_named(messages[cause])[:MOST_MESSAGES],
                messages_read=messages[cause].total(),
                examples=[_example(document) for document in shown],
                first=min(times, default=None),
                last=max(times, default=None),
            )
        )
    return groups


def _kinds(database: Database, query: dict[str, Any]) -> list[dict[str, Any]]:
    """Count failures by cause, engine and cluster, from the keys of an index."""
    ended, by = "$provenance.finished_at", {"cause": "$failure.cause", "engine": "$engine"}
    found = database.results.aggregate(
        [
            {"$match": query},
            {
                "$group": {
                    "_id": by | {"cluster": "$failure.job.cluster"},
                    "n": {"$sum": 1},
                    "first": {"$min": ended},
                    "last": {"$max": ended},
                }
            },
            {"$sort": {"_id": ASCENDING}},
        ],
        hint=FAILURE_GROUP_INDEX,
    )
    kinds = [document | document["_id"] for document in found]
    # What a document lacks is null in an index.
    return [
        kind | {"engine": kind.get("engine") or "", "cluster": kind.get("cluster")}
        for kind in kinds
        if kind.get("cause")
    ]


def _change(cause: str, kinds: list[dict[str, Any]]) -> ProposedChange | None:
    """Give what is proposed for all results of a group; None where it is not the same for all."""
    changes = set()
    for kind in kinds:
        if kind["engine"] not in engine_names():
            return None
        job = JobUsage(cluster=kind["cluster"]) if kind["cluster"] else None
        changes.add(proposed_change(Failure(cause=cause, message="", job=job), kind["engine"]))
    return split_change(changes.pop()) if len(changes) == 1 else None


def _by_campaign(database: Database, names: list[str], engine: str | None) -> dict[str, Counter[str]]:
    """Count failures by cause and campaign."""
    of = {"engine": engine} if engine else {}
    branches: list[list[dict[str, Any]]] = [
        [
            {"$match": {"campaigns": name, "state": "failed", **of}},
            {"$group": {"_id": "$failure.cause", "n": {"$sum": 1}}},
            {"$set": {"campaign": {"$literal": name}}},
        ]
        for name in names
    ]
    counts: dict[str, Counter[str]] = {}
    for found in union(database.results, branches):
        counts.setdefault(found["_id"], Counter())[found["campaign"]] = found["n"]
    return counts


def _messages(database: Database, query: dict[str, Any], causes: list[str]) -> dict[str, Counter[str]]:
    """Count messages of each cause, of a limited number of results."""
    branches: list[list[dict[str, Any]]] = [
        [
            {"$match": {**query, "failure.cause": cause}},
            {"$limit": MESSAGES_READ},
            {"$group": {"_id": {"cause": "$failure.cause", "message": "$failure.message"}, "n": {"$sum": 1}}},
        ]
        for cause in causes
    ]
    counts: dict[str, Counter[str]] = {cause: Counter() for cause in causes}
    for found in union(database.results, branches):
        counts[found["_id"]["cause"]][general_message(found["_id"].get("message") or "")] += found["n"]
    return counts


def _examples(database: Database, query: dict[str, Any], causes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Read the first results of each cause."""
    fields = ("candidate_id", "label", "engine", "failure.cause", "failure.message", "failure.remedy")
    branches: list[list[dict[str, Any]]] = [
        [
            {"$match": {**query, "failure.cause": cause}},
            {"$sort": {"label": ASCENDING, "_id": ASCENDING}},
            {"$limit": MOST_EXAMPLES},
            {"$project": dict.fromkeys((*fields, "failure.retryable"), 1)},
        ]
        for cause in causes
    ]
    examples: dict[str, list[dict[str, Any]]] = {}
    for document in union(database.results, branches):
        examples.setdefault(document["failure"]["cause"], []).append(document)
    return examples


def _example(document: dict[str, Any]) -> Example:
    texts = {name: document.get(name, "") for name in ("candidate_id", "label", "engine")}
    return Example(key=document["_id"], message=document["failure"].get("message", ""), **texts)


def _named(counts: Counter[str]) -> list[NamedCount]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [NamedCount(name=name, count=count) for name, count in ordered]


def failed_results(
    database: Database,
    cause: str,
    *,
    campaign: str | None = None,
    engine: str | None = None,
    text: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[FailedResult]:
    """Read results that failed for a cause, by label, a page at a time.

    Parameters
    ----------
    database
        Where the results are.
    cause
        Why they failed.
    campaign, engine
        Only those of this campaign, or engine.
    text
        Only those that have this in their label, candidate_id, message or evidence, in capitals or not.
    cursor
        From the page before or after; None for the first page.
    limit
        Rows of a page.

    Raises
    ------
    InputError
        The cursor is not one of these rows, the limit is too large, or the text cannot be looked for.
    """
    place = _BY_LABEL.decode(cursor) if cursor else None
    query: dict[str, Any] = {"state": "failed", "failure.cause": cause}
    query |= {"campaigns": campaign} if campaign else {}
    query |= {"engine": engine} if engine else {}
    if text:
        if "\0" in text:
            raise InputError("text: it holds a NUL character, which no message has", "leave that character out")
        pattern = {"$regex": re.escape(text), "$options": "i"}
        names = ("label", "candidate_id", "failure.message", "failure.evidence")
        query["$or"] = [{name: pattern} for name in names]
    wanted = checked_limit(limit) + 1
    documents = _BY_LABEL.find(database.results, query, _ROW_FIELDS, place, wanted, hint=_BY_LABEL_INDEX)
    rows = [_failed(document) for document in documents]
    return _BY_LABEL.page(rows, place, limit, lambda row: (row.label, row.key))


def _failed(document: dict[str, Any]) -> FailedResult:
    ended = (document.get("provenance") or {}).get("finished_at")
    return FailedResult(
        key=document["_id"],
        message=document["failure"].get("message", ""),
        job=document["failure"].get("job"),
        attempts=document["attempts"] + 1,
        finished_at=as_utc(ended) if isinstance(ended, datetime) else None,
        engine=document.get("engine", ""),
        **{name: document[name] for name in ("candidate_id", "label", "campaigns")},
    )
