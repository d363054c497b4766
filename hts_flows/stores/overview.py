"""The overview: where every campaign stands, in a few calls of the database however many results there are."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from hts_flows.campaign import Campaign
from hts_flows.errors import HtsError
from hts_flows.flows import domain_names, get_domain
from hts_flows.stores.attention import Attention, find_attention, running_jobs
from hts_flows.stores.campaign_cards import (
    SECONDS_IN_A_MINUTE,
    Best,
    CampaignCard,
    CauseCount,
    Rate,
    RowCard,
    SearchState,
    StateCounts,
)
from hts_flows.stores.campaigns import load_campaign, now
from hts_flows.stores.results import result_key
from hts_flows.stores.times import as_utc
from hts_flows.stores.unions import union

if TYPE_CHECKING:
    from hts_flows.flows import Column, Domain
    from hts_flows.ladder import Level
    from hts_flows.stores.attention import RunningJob
    from hts_flows.stores.database import Database

#: Results of this time tell the rate.
RATE_WINDOW = timedelta(hours=1)
#: Stands for a time that a damaged document does not say.
_UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def headline_indexes() -> list[IndexModel]:
    """Index of results that finds the best of a row by each domain's headline without reading the others."""
    columns = [get_domain(name).headline for name in domain_names()]
    paths = sorted({f"properties.{column.name}" for column in columns if column})
    return [
        IndexModel(
            [("campaigns", ASCENDING), ("settings_hash", ASCENDING), (path, ASCENDING)],
            partialFilterExpression={path: {"$type": "number"}},
        )
        for path in paths
    ]


class Overview(BaseModel):
    """Where everything stands."""

    model_config = ConfigDict(extra="forbid")

    campaigns: list[CampaignCard] = Field(description="The newest first")
    failures: list[CauseCount] = Field(description="Failures by cause; a result that campaigns share counts once")
    attention: list[Attention] = Field(description="What a person should look at, the most urgent first")


@dataclass
class _Stored:
    """A campaign as it is stored, and what is found about it."""

    document: dict[str, Any]
    domain: Domain | None = None
    levels: tuple[Level, ...] = ()
    problem: str | None = None
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    engines: dict[str, str] = field(default_factory=dict)
    failed_references: int = 0
    recent: int = 0
    earliest: datetime | None = None
    latest: datetime | None = None
    best: dict[str, Best] = field(default_factory=dict)
    searches: dict[str, SearchState] = field(default_factory=dict)

    @property
    def name(self) -> str:
        name: str = self.document["_id"]
        return name

    def text(self, field: str, unknown: str = "") -> str:
        """Give a text of the document, which may be damaged."""
        value = self.document.get(field)
        return value if isinstance(value, str) else unknown

    def time(self, field: str) -> datetime | None:
        """Give a time of the document, which may be damaged."""
        value = self.document.get(field)
        return as_utc(value) if isinstance(value, datetime) else None


def overview(database: Database) -> Overview:
    """Tell where every campaign stands, and what a person should look at.

    Parameters
    ----------
    database
        Where the campaigns are.
    """
    jobs = running_jobs(database)
    stored = [_read(document) for document in database.campaigns.find({}).sort("created_at", DESCENDING)]
    cards = _cards(database, stored, jobs)
    failures = count_causes(database, {one.cause for card in cards for one in card.failures})
    engines = {one.name: {level.settings_hash: level.engine.runs_as for level in one.levels} for one in stored}
    attention = find_attention(database, cards, failures, jobs, engines)
    return Overview(campaigns=cards, failures=failures, attention=attention)


def campaign_card(database: Database, name: str) -> CampaignCard:
    """Tell where one campaign stands.

    Raises
    ------
    InputError
        There is none of that name; the message lists the nearest.
    """
    document = database.campaigns.find_one({"_id": name})
    if document is None:
        load_campaign(database, name)  # says which names there are
        document = database.campaigns.find_one({"_id": name}) or {}
    jobs = running_jobs(database, name)
    return _cards(database, [_read(document)], jobs)[0]


def count_causes(database: Database, causes: Iterable[str]) -> list[CauseCount]:
    """Count failed results of whatever campaign by cause, the most frequent first.

    Parameters
    ----------
    database
        Where the results are.
    causes
        Those to count.
    """
    branches: list[list[dict[str, Any]]] = [
        [{"$match": {"state": "failed", "failure.cause": cause}}, {"$count": "count"}, {"$set": {"cause": cause}}]
        for cause in sorted(causes)
    ]
    found = [CauseCount.model_validate(document) for document in union(database.results, branches)]
    return sorted(found, key=lambda one: -one.count)


@lru_cache(maxsize=512)
def _parsed(content: str) -> tuple[Domain, tuple[Level, ...]]:
    campaign = Campaign.from_dict(json.loads(content), "stored campaign")
    return campaign.domain, tuple(campaign.ladder())


def _read(document: dict[str, Any]) -> _Stored:
    # One that another version stored, or that was damaged, must not hide the others.
    try:
        domain, levels = _parsed(json.dumps(document.get("content"), sort_keys=True, default=str))
    except HtsError as error:
        return _Stored(document, problem=str(error))
    stored = _Stored(document, domain, levels)
    lacking = [name for name in ("created_at", "updated_at") if stored.time(name) is None]
    lacking += [] if stored.text("state") else ["state"]
    if lacking:
        return _Stored(document, problem=f"it is damaged: it does not say {', '.join(sorted(lacking))}")
    return stored


def _cards(database: Database, stored: list[_Stored], jobs: Sequence[RunningJob]) -> list[CampaignCard]:
    by_name = {one.name: one for one in stored}
    running = {(name, job.result) for job in jobs for name in job.campaigns if name in by_name}
    for name, key in running:
        by_name[name].running[key.rpartition(":")[2]] += 1
    stamp = now()
    halves = (
        [branch for one in stored for branch in _grouping(one)],
        [branch for one in stored for branch in _counting(one, stamp - RATE_WINDOW)],
    )
    # The database works on both at the same time; each takes about as long as the other.
    with ThreadPoolExecutor(len(halves)) as threads:
        answers = threads.map(lambda half: list(union(database.results, half)), halves)
        for found in chain.from_iterable(answers):
            _take(by_name[found["campaign"]], found)
    _read_searches(database, stored)
    return [_card(one, stamp) for one in stored]


def _grouping(stored: _Stored) -> list[list[dict[str, Any]]]:
    """Aggregations of one campaign that group keys of an index: what failed, of which there is less than of others."""
    failed = {"settings_hash": "$settings_hash", "cause": "$failure.cause", "role": "$role"}
    groups: list[list[dict[str, Any]]] = [
        [{"$match": {"campaigns": stored.name, "state": "failed"}}, {"$group": {"_id": failed, "n": {"$sum": 1}}}]
    ]
    if stored.problem:
        row = {"settings_hash": "$settings_hash", "state": "$state", "engine": "$engine"}
        groups.append([{"$match": {"campaigns": stored.name}}, {"$group": {"_id": row, "n": {"$sum": 1}}}])
    return [[*group, {"$set": {"campaign": stored.name}}] for group in groups]


def _counting(stored: _Stored, since: datetime) -> list[list[dict[str, Any]]]:
    """Aggregations of one campaign that count keys of an index, several times as fast as grouping, or read the first.

    Parameters
    ----------
    stored
        The campaign.
    since
        Results that ended after this tell the rate.
    """
    name, ended = stored.name, "provenance.finished_at"
    branches: list[list[dict[str, Any]]] = [
        [{"$match": {"campaigns": name, ended: {"$gte": since}}}, {"$count": "recent"}],
        [
            {"$match": {"campaigns": name, ended: {"$gte": since}}},
            {"$sort": {ended: ASCENDING}},
            {"$limit": 1},
            {"$project": {"_id": 0, "earliest": f"${ended}"}},
        ],
        [
            {"$match": {"campaigns": name, ended: {"$type": "date"}}},
            {"$sort": {ended: DESCENDING}},
            {"$limit": 1},
            {"$project": {"_id": 0, "latest": f"${ended}"}},
        ],
    ]
    headline = stored.domain.headline if stored.domain else None
    for level in stored.levels:
        mine = {"campaigns": name, "settings_hash": level.settings_hash}
        branches += [
            [
                {"$match": {**mine, "state": state}},
                {"$count": "n"},
                {"$set": {"state": state, "settings_hash": level.settings_hash}},
            ]
            for state in ("queued", "done")
        ]
        if headline and not level.screen:
            branches.append(_best_branch(mine, headline))
    return [[*branch, {"$set": {"campaign": name}}] for branch in branches]


def _best_branch(mine: Mapping[str, str], column: Column) -> list[dict[str, Any]]:
    path = f"properties.{column.name}"
    number = {"$type": "number", "$gt": -math.inf, "$lt": math.inf}
    return [
        {"$match": {**mine, path: number, "state": "done", "role": "candidate"}},
        {"$sort": {path: ASCENDING if column.good == "low" else DESCENDING}},
        {"$limit": 1},
        {"$project": {"candidate_id": 1, "label": 1, "settings_hash": 1, "value": f"${path}"}},
    ]


def _take(stored: _Stored, found: dict[str, Any]) -> None:
    """Take in what one of the aggregations gave."""
    if "recent" in found:
        stored.recent = found["recent"]
    elif "earliest" in found:
        stored.earliest = as_utc(found["earliest"])
    elif "latest" in found:
        stored.latest = as_utc(found["latest"])
    elif "value" in found:
        headline = stored.domain.headline if stored.domain else None
        if headline:
            best = {name: found[name] for name in ("candidate_id", "label", "value")} | {"key": found["_id"]}
            stored.best[found["settings_hash"]] = _best(headline, minimize=headline.good == "low", **best)
    elif "state" in found:
        stored.states[found["settings_hash"], found["state"]] = found["n"]
    elif "cause" in found["_id"] or "role" in found["_id"]:
        group = found["_id"]
        stored.states[group["settings_hash"], "failed"] += found["n"]
        stored.causes[group.get("cause") or "unknown"] += found["n"]
        stored.failed_references += found["n"] if group.get("role") == "reference" else 0
    else:
        group = found["_id"]
        stored.states[group["settings_hash"], group["state"]] = found["n"]
        stored.engines[group["settings_hash"]] = group["engine"]


def _best(column: Column, *, minimize: bool, **found: Any) -> Best:
    texts = {"name": column.name, "header": column.header, "unit": column.unit, "format": column.format}
    return Best(**texts, minimize=minimize, **found)


def _read_searches(database: Database, stored: list[_Stored]) -> None:
    """Read where the searches stand, and their best, from their rankings."""
    searching = {
        (one.name, level.settings_hash): (one, level) for one in stored for level in one.levels if level.screen
    }
    for (_, settings_hash), (one, level) in searching.items():
        if level.screen:
            one.searches[settings_hash] = SearchState(by=level.screen.by, minimize=level.screen.minimize)
    if not searching:
        return
    last_fields = ("by", "unit", "minimize", "best_candidate", "best_value", "stopped", "note")
    trained = {"$cond": ["$trains", {"$size": {"$ifNull": ["$asked", []]}}, 0]}
    trials = {"$cond": ["$trains", 0, {"$size": {"$ifNull": ["$asked", []]}}]}
    rankings = list(
        database.rankings.aggregate(
            [
                {"$match": {"$or": [{"campaign": name, "settings_hash": row} for name, row in searching]}},
                {"$project": dict.fromkeys((*last_fields, "campaign", "settings_hash", "number"), 1)
                 | {"training": trained, "asked": trials}},
                {"$sort": {"number": ASCENDING}},
                {"$group": {"_id": {"campaign": "$campaign", "settings_hash": "$settings_hash"},
                            "training": {"$sum": "$training"}, "asked": {"$sum": "$asked"}, "rankings": {"$sum": 1}}
                 | {name: {"$last": f"${name}"} for name in last_fields}},
            ]
        )
    )  # fmt: skip
    keys = [
        result_key(ranking["best_candidate"], ranking["_id"]["settings_hash"])
        for ranking in rankings
        if ranking["best_candidate"]
    ]
    labels = {one["_id"]: one["label"] for one in database.results.find({"_id": {"$in": keys}}, {"label": 1})}
    for ranking in rankings:
        settings_hash = ranking["_id"]["settings_hash"]
        campaign, level = searching[ranking["_id"]["campaign"], settings_hash]
        state = {name: ranking[name] for name in SearchState.model_fields}
        campaign.searches[settings_hash] = SearchState.model_validate(state)
        if ranking["best_value"] is None:
            continue
        columns = campaign.domain.columns if campaign.domain else ()
        column = next((column for column in columns if column.name == ranking["by"]), None)
        key = result_key(ranking["best_candidate"], settings_hash)
        campaign.best[settings_hash] = Best(
            candidate_id=ranking["best_candidate"],
            key=key,
            label=labels.get(key, ranking["best_candidate"]),
            name=ranking["by"],
            header=column.header if column else ranking["by"],
            value=ranking["best_value"],
            unit=ranking["unit"] or (column.unit if column else ""),
            format=column.format if column else ".4g",
            minimize=ranking["minimize"],
        )


def _card(stored: _Stored, stamp: datetime) -> CampaignCard:
    document, rows = stored.document, _rows(stored)
    names = ("queued", "running", "done", "failed")
    counts = StateCounts(**{name: sum(getattr(row.counts, name) for row in rows) for name in names})
    causes = [CauseCount(cause=cause, count=count) for cause, count in stored.causes.most_common()]
    state = stored.text("state", "unknown")
    times = [time for time in (stored.time("created_at"), stored.time("updated_at"), stored.latest) if time]
    paused = document.get("paused")
    paused = paused if isinstance(paused, dict) else {}
    return CampaignCard(
        name=stored.name,
        state=state,
        domain=_domain_name(document),
        created_at=stored.time("created_at") or min(times, default=_UNKNOWN_TIME),
        last_activity=max(times, default=_UNKNOWN_TIME),
        rows=rows,
        counts=counts,
        failures=causes,
        failed_references=stored.failed_references,
        rate=_rate(stored, counts.queued, stamp) if state == "running" else None,
        best=next((row.best for row in reversed(rows) if row.best), None),
        paused_by=paused.get("user"),
        pause_reason=paused.get("reason") or "",
        problem=stored.problem,
    )


def _rate(stored: _Stored, queued: int, stamp: datetime) -> Rate | None:
    """Tell how fast results come in, from when the first of the last hour ended; None where nothing is to be done.

    What was before that first one does not count: a campaign may have waited for hours, or been finished.
    """
    settled = stored.recent - 1
    if not queued or settled < 1 or stored.earliest is None:
        return None
    window = max((stamp - stored.earliest).total_seconds(), SECONDS_IN_A_MINUTE)
    per_minute = settled / window * SECONDS_IN_A_MINUTE
    left = queued / per_minute * SECONDS_IN_A_MINUTE
    return Rate(settled=settled, window=window, per_minute=per_minute, time_left=left)


def _domain_name(document: Mapping[str, Any]) -> str:
    content = document.get("content")
    candidates = content.get("candidates") if isinstance(content, dict) else None
    name = candidates.get("domain") if isinstance(candidates, dict) else None
    return name if isinstance(name, str) else ""


def _rows(stored: _Stored) -> list[RowCard]:
    named = [(level.name, level.engine.engine, level.settings_hash) for level in stored.levels]
    if stored.problem:
        named = [(engine, engine, settings_hash) for settings_hash, engine in stored.engines.items()]
    return [
        RowCard(
            number=number,
            name=name,
            engine=engine,
            settings_hash=row,
            counts=StateCounts(
                running=stored.running[row],
                **{state: stored.states[row, state] for state in ("queued", "done", "failed")},
            ),
            search=stored.searches.get(row),
            best=stored.best.get(row),
        )
        for number, (name, engine, row) in enumerate(named)
    ]
