"""What a person should look at: failures, work that nobody does, campaigns that are paused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hts_flows.launch.owner import is_gone
from hts_flows.stores.allocations import token_of
from hts_flows.stores.campaigns import now
from hts_flows.stores.unions import union

if TYPE_CHECKING:
    from hts_flows.stores.campaign_cards import CampaignCard, CauseCount
    from hts_flows.stores.database import Database

#: Workers take their next job within this time.
GRACE = timedelta(minutes=2)
#: Documents that come with the first answer, so that there is no second.
_BATCH = 100_000

#: What became of results that failed for a cause; of others the cause's name is told.
CAUSE_WORDS: Mapping[str, str] = {
    "walltime": "ended at their walltime",
    "out_of_memory": "ran out of memory",
    "node_failure": "ended with their node",
    "cancelled": "ended because their job was cancelled",
    "preempted": "gave way to other jobs",
    "rejected": "asked SLURM for what it refuses",
    "environment": "had no working environment",
    "failed_to_start": "failed to start",
    "lost": "lost their worker several times",
    "scf_not_converged": "ended before the SCF cycle had converged",
    "ionic_not_converged": "ended before the structure was relaxed",
    "unphysical_result": "gave an unphysical structure",
    "bad_input": "had input that cannot be used",
    "missing_executable": "found their engine not installed",
    "store_unavailable": "could not reach MongoDB",
    "reference_failed": "lack a reference that failed",
    "unknown": "failed for an unknown reason",
}


class Attention(BaseModel):
    """Something that a person should look at."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["unattended", "unreadable", "references", "failures", "paused"] = Field(
        description="Work that nobody does, a stored file that cannot be read, failed references, failures of one "
        "cause, a paused campaign"
    )
    text: str = Field(description="What it is, in a line")
    count: int = Field(description="Results concerned")
    campaigns: list[str] = Field(description="Campaigns concerned")
    cause: str | None = Field(default=None, description="Cause of failure, of the kind failures")


@dataclass(frozen=True)
class RunningJob:
    """A job that FireWorks believes to run.

    Attributes
    ----------
    fw_id
        FireWorks id.
    result
        Key of its result.
    campaigns
        Campaigns that want it.
    """

    fw_id: int
    result: str
    campaigns: tuple[str, ...]


def running_jobs(database: Database, campaign: str | None = None) -> list[RunningJob]:
    """Read the jobs that FireWorks believes to run.

    Parameters
    ----------
    database
        Where they are.
    campaign
        Only jobs of this campaign.
    """
    query = {"state": "RUNNING"} | ({"spec.hts.campaigns": campaign} if campaign else {})
    fields = {"_id": 0, "fw_id": 1, "spec.hts.result": 1, "spec.hts.campaigns": 1}
    found = database.mongo["fireworks"].find(query, fields, batch_size=_BATCH)
    marks = ((job["fw_id"], job["spec"].get("hts") or {}) for job in found)
    return [
        RunningJob(fw_id, mark["result"], tuple(mark.get("campaigns") or ()))
        for fw_id, mark in marks
        if "result" in mark
    ]


def find_attention(
    database: Database,
    cards: Sequence[CampaignCard],
    failures: Iterable[CauseCount],
    jobs: Sequence[RunningJob],
    engines: Mapping[str, Mapping[str, str]],
) -> list[Attention]:
    """Say what a person should look at, the most urgent first.

    Parameters
    ----------
    database
        Tells which workers and allocations are alive.
    cards
        Where the campaigns stand.
    failures
        Failures of all campaigns by cause.
    jobs
        Those that run, from :func:`running_jobs`.
    engines
        For each campaign the name of the engine that runs each of its settings hashes.
    """
    found = [*_unattended(database, cards, jobs, engines)]
    for card in cards:
        if card.problem:
            text = f"the stored file of {card.name} cannot be read by this version: {card.problem.splitlines()[0]}"
            found.append(Attention(kind="unreadable", text=text, count=card.counts.total, campaigns=[card.name]))
    for card in cards:
        if card.failed_references:
            text = f"{_counted(card.failed_references, 'reference')} of {card.name} failed: resubmit references first"
            found.append(Attention(kind="references", text=text, count=card.failed_references, campaigns=[card.name]))
    for failure in failures:
        words = CAUSE_WORDS.get(failure.cause, f"failed: {failure.cause}")
        if failure.count == 1:
            words = words.replace("their ", "its ", 1).replace("lack ", "lacks ", 1)
        concerned = [card.name for card in cards if any(one.cause == failure.cause for one in card.failures)]
        text = f"{_counted(failure.count, 'result')} {words}"
        found.append(
            Attention(kind="failures", text=text, count=failure.count, campaigns=concerned, cause=failure.cause)
        )
    for card in cards:
        if card.state == "paused":
            left = card.counts.queued
            who = f" by {card.paused_by}" if card.paused_by else ""
            why = f" ({card.pause_reason})" if card.pause_reason else ""
            text = f"{card.name} is paused{who}{why}, with {_counted(left, 'result')} to do"
            found.append(Attention(kind="paused", text=text, count=left, campaigns=[card.name]))
    return found


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count != 1 else ''}"


def _unattended(
    database: Database,
    cards: Sequence[CampaignCard],
    jobs: Sequence[RunningJob],
    engines: Mapping[str, Mapping[str, str]],
) -> Iterable[Attention]:
    """Campaigns that run and have work, which no living worker does and no SLURM job is there for."""
    allocations = {
        document["_id"]: document["engine"]
        for document in database.allocations.find(
            # Every cluster's name is a text: said so that the index, which begins with it, is used.
            {"cluster": {"$gte": ""}, "state": {"$in": ["submitting", "queued"]}},
            {"engine": 1},
            batch_size=_BATCH,
        )
    }
    served = set(allocations.values())
    alive = _alive(database, jobs, allocations)
    attended = {name for job in jobs if job.fw_id in alive for name in job.campaigns}
    alone = {}
    for card in cards:
        waiting = {row.settings_hash: row.counts.queued for row in card.rows if row.counts.queued}
        if card.state != "running" or not waiting or card.name in attended or now() - card.last_activity < GRACE:
            continue
        if not served & {engines[card.name].get(row, "") for row in waiting}:
            alone[card.name] = sum(waiting.values())
    paused = _paused_jobs(database, list(alone))
    for name, count in alone.items():
        if held := paused.get(name):
            text = f"{_counted(held, 'job')} of {name} paused, and nothing else of it is ready"
            yield Attention(kind="paused", text=text, count=held, campaigns=[name])
        else:
            text = f"nobody works on {name}, which has {_counted(count, 'result')} to do: no worker and no SLURM job"
            yield Attention(kind="unattended", text=text, count=count, campaigns=[name])


def _paused_jobs(database: Database, names: Sequence[str]) -> dict[str, int]:
    """Count the paused jobs of campaigns that have no job which is ready."""
    fireworks = database.mongo["fireworks"]
    branches: list[list[dict[str, Any]]] = []
    for name in names:
        mine = {"spec.hts.campaigns": name}
        tag = {"$set": {"campaign": {"$literal": name}}}
        branches += [
            [{"$match": {**mine, "state": "PAUSED"}}, {"$count": "paused"}, tag],
            [{"$match": {**mine, "state": "READY"}}, {"$limit": 1}, {"$project": {"_id": 1}}, tag],
        ]
    found = list(union(fireworks, branches))
    ready = {one["campaign"] for one in found if "paused" not in one}
    return {one["campaign"]: one["paused"] for one in found if "paused" in one and one["campaign"] not in ready}


def _alive(database: Database, jobs: Sequence[RunningJob], allocations: Mapping[str, str]) -> set[int]:
    """Jobs whose worker lives, as far as can be told from here."""
    launches = database.mongo["launches"].find(
        {"fw_id": {"$in": [job.fw_id for job in jobs]}, "state": "RUNNING"},
        {"_id": 0, "fw_id": 1, "fworker.name": 1},
        batch_size=_BATCH,
    )
    alive = set()
    for launch in launches:
        worker = launch["fworker"]["name"]
        token = token_of(worker)
        # A worker of another machine is believed; one of an allocation lives no longer than that.
        if (token in allocations) if token else not is_gone(worker):
            alive.add(launch["fw_id"])
    return alive
