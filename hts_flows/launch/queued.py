"""Queued work: which queued results a person means, and what can be done about each, before anything is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hts_flows.candidates import stable_hash
from hts_flows.engines import engine_names
from hts_flows.errors import InputError, nearest
from hts_flows.launch.selection import is_key
from hts_flows.stores.campaigns import campaign_names

if TYPE_CHECKING:
    from datetime import datetime

    from hts_flows.stores.database import Database

Action = Literal["pause", "resume", "cancel", "priority"]
#: Results that one request to the database names; 16 MB is the most that it takes.
CHUNK = 20_000
#: State of a job that a worker has reserved for itself and is about to start; FireWorks says RESERVED.
TAKEN = "TAKEN"
#: States of jobs that a worker has.
STARTED = frozenset({"RUNNING", TAKEN})
#: States of jobs that no worker and no SLURM job has.
UNTAKEN = ("READY", "WAITING", "PAUSED")
_LIVE = [*UNTAKEN, "RESERVED", "RUNNING"]
ARRIVING = "it is being queued at this moment; type the same command again"
RECORDING = "its calculation has ended, and is only to be recorded"


@dataclass(frozen=True)
class QueuedSelection:
    """Which queued results are meant.

    Attributes
    ----------
    campaigns
        Names of campaigns; all when empty.
    ids
        Only these: candidate ids, unique beginnings of them, labels, or keys of results.
    engine
        Only those of this engine.
    """

    campaigns: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    engine: str | None = None

    @property
    def whole(self) -> bool:
        """Whether whole campaigns are meant, with what they will queue later."""
        return not self.ids and self.engine is None

    def stored(self) -> dict[str, Any]:
        """Give it as it is written into the audit."""
        return ({"ids": list(self.ids)} if self.ids else {}) | ({"engine": self.engine} if self.engine else {})


@dataclass(frozen=True, slots=True)
class QueuedResult:
    """A result that is queued, and how far its calculation is.

    Attributes
    ----------
    key, candidate_id, label, engine, role
        As in the result.
    campaigns
        Who wants it.
    references
        Keys of the results that its energies need.
    submitted
        When it was queued, as a Unix time, ms; 0 where that is not known.
    arriving
        Whether its jobs are being added at this moment.
    jobs
        States of those of its calculation jobs that have not ended; :data:`TAKEN` beside FireWorks' own. A job that an
        interrupted cancellation has stopped is DEFUSED.
    priorities
        Priorities of those that are in none of the hands.
    """

    key: str
    candidate_id: str
    label: str
    engine: str
    role: str
    campaigns: tuple[str, ...]
    references: tuple[str, ...]
    submitted: int
    arriving: bool
    jobs: frozenset[str] = frozenset()
    priorities: tuple[int, ...] = ()


class Left(NamedTuple):
    """A result that is left as it is, and why."""

    key: str
    label: str
    reason: str


@dataclass(frozen=True)
class QueuedPlan:
    """What would be done to queued results, and to which.

    Attributes
    ----------
    action
        "pause", "resume", "cancel" or "priority".
    selection
        What was asked for.
    results
        Those that are touched, by label.
    left
        Those that were meant and are not, each with the reason.
    campaigns
        Campaigns that are paused or resumed as a whole.
    value
        The new priority.
    notes
        What a person should know before saying yes.
    """

    action: Action
    selection: QueuedSelection
    results: list[QueuedResult]
    left: list[Left]
    campaigns: list[str] = field(default_factory=list)
    value: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        """How many are left for each reason, the most frequent first."""
        return dict(Counter(item.reason for item in self.left).most_common())

    @property
    def token(self) -> str:
        """What a person agrees to: this, done to at most these results.

        It still holds when some of them have started or ended since, as happens all the time in a queue at work, but
        not when others have come.
        """
        asked = [self.action, self.selection.campaigns, self.selection.ids, self.selection.engine, self.value]
        latest = max((result.submitted for result in self.results), default=0)
        return f"{stable_hash({'asked': [*asked, self.campaigns]}, 16)}-{latest}-{len(self.results)}"

    def check(self, action: Action, token: str | None) -> None:
        """See that this is a plan for an action, and that it was agreed to.

        Raises
        ------
        InputError
            It touches more than what was agreed to.
        ValueError
            It is a plan for another action.
        """
        if self.action != action:
            message = f"a plan to {self.action}, not to {action}"
            raise ValueError(message)
        if token is None or token == self.token:
            return
        asked, *numbers = self.token.split("-")
        agreed, *most = token.split("-")
        known = agreed == asked and len(most) == len(numbers) and all(number.isdecimal() for number in most)
        if not known or any(int(mine) > int(other) for mine, other in zip(numbers, most, strict=True)):
            raise InputError("the queue has changed since the plan was made", "look at the new plan and agree to it")


@dataclass
class QueuedOutcome:
    """What was done to queued results.

    Attributes
    ----------
    action
        "pause", "resume", "cancel" or "priority".
    audit
        ``_id`` of the document in the audit; None when nothing was done.
    keys
        Results that it was done to.
    left
        Results that were meant and are as they were, each with the reason.
    campaigns
        Campaigns that were paused or resumed as a whole.
    ending
        Results that fail as soon as their SLURM job, among those below, has ended.
    slurm_jobs
        SLURM jobs that have nothing to do any more, as (cluster, job id): the caller cancels them, with
        :func:`hts_flows.launch.cancelling.cancel_slurm_jobs`.
    """

    action: Action
    audit: str | None
    keys: list[str] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    campaigns: list[str] = field(default_factory=list)
    ending: list[str] = field(default_factory=list)
    slurm_jobs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def reasons(self) -> dict[str, int]:
        """How many are left for each reason, the most frequent first."""
        return dict(Counter(item.reason for item in self.left).most_common())


def read_queued(database: Database, selection: QueuedSelection) -> list[QueuedResult]:
    """Read the queued results that are meant, by label.

    The number of requests to the database grows by one for each :data:`CHUNK` results.

    Raises
    ------
    InputError
        An unknown campaign, engine or candidate.
    """
    _check(database, selection)
    query: dict[str, Any] = {"state": "queued"}
    query |= {"campaigns": {"$in": list(selection.campaigns)}} if selection.campaigns else {}
    query |= {"engine": selection.engine} if selection.engine else {}
    fields = ("candidate_id", "label", "engine", "role", "campaigns", "reference_results", "provenance.fw_ids")
    wanted = dict.fromkeys((*fields, "submission.at", "submission.done"), 1)
    documents = list(database.results.find(query, wanted))
    if selection.ids:
        # Of keys, those that are no longer queued are left alone.
        keys = {text for text in selection.ids if is_key(text)}
        chosen = _identified(database, documents, selection, [text for text in selection.ids if text not in keys])
        documents = [item for item in documents if item["candidate_id"] in chosen or item["_id"] in keys]
    documents.sort(key=lambda document: (document.get("label", ""), document["_id"]))
    jobs = _jobs(database, {document["_id"]: document["provenance"]["fw_ids"] for document in documents})
    return [_queued_result(document, jobs.get(document["_id"], [])) for document in documents]


def _check(database: Database, selection: QueuedSelection) -> None:
    engine = selection.engine
    if engine is not None and engine not in engine_names():
        raise InputError(f"engine {engine!r}: no such engine; {nearest(engine, engine_names())}")
    known = campaign_names(database) if selection.campaigns else []
    for name in selection.campaigns:
        if name not in known:
            near = nearest(name, known) if known else "none is stored yet"
            raise InputError(f"no campaign named {name!r} in the database; {near}", "'hts status' lists the campaigns")


def _identified(
    database: Database, documents: list[dict[str, Any]], selection: QueuedSelection, texts: Sequence[str]
) -> set[str]:
    """Find the candidate ids that are meant by ids, unique beginnings of ids, and labels."""
    known = {document["candidate_id"] for document in documents}
    labels: dict[str, set[str]] = {}
    for document in documents:
        labels.setdefault(document["label"], set()).add(document["candidate_id"])
    found: set[str] = set()
    for text in texts:
        near = known & {text} or labels.get(text) or {one for one in known if text and one.startswith(text)}
        if len(near) > 1:
            several = ", ".join(sorted(near)[:5])
            raise InputError(f"id {text!r} may be any of {len(near)}: {several}", "give more of the id")
        if not near:
            raise _no_such(database, text, selection, {*known, *labels})
        found |= near
    return found


def _no_such(database: Database, text: str, selection: QueuedSelection, known: set[str]) -> InputError:
    where: dict[str, Any] = {"campaigns": {"$in": list(selection.campaigns)}} if selection.campaigns else {}
    of = f" of {', '.join(map(repr, selection.campaigns))}" if selection.campaigns else ""
    other = database.results.find_one({**where, "$or": [{"candidate_id": text}, {"label": text}]}, {"state": 1})
    if other:
        return InputError(f"id {text!r} is no queued candidate{of}: it is {other['state']}")
    near = nearest(text, known) if known else "nothing is queued"
    return InputError(f"id {text!r} is no queued candidate{of}; {near}", "'hts status' shows what is queued")


def _jobs(database: Database, results: Mapping[str, Sequence[int]]) -> dict[str, list[dict[str, Any]]]:
    """Read the calculation jobs of results that have not ended, by result; see :class:`QueuedResult`."""
    fireworks = database.mongo["fireworks"]
    wanted = {"_id": 0, "state": 1, "spec.hts.result": 1, "spec._priority": 1, "launches": {"$slice": 1}}
    found: dict[str, list[dict[str, Any]]] = {}
    for keys in chunks(results):
        for job in fireworks.find({**calculations(keys), "state": {"$in": _LIVE}}, wanted):
            found.setdefault(job["spec"]["hts"]["result"], []).append(job)
    for rest in chunks([key for key in results if key not in found]):
        nodes = [fw_id for key in rest for fw_id in results[key]]
        stopped = {"fw_id": {"$in": nodes}, "state": "DEFUSED", "spec.hts.cancelled": {"$exists": True}}
        for job in fireworks.find(stopped, wanted):
            found.setdefault(job["spec"]["hts"]["result"], []).append(job)
    return found


def _queued_result(document: dict[str, Any], jobs: list[dict[str, Any]]) -> QueuedResult:
    submission = document.get("submission") or {}
    at: datetime | None = submission.get("at")
    return QueuedResult(
        key=document["_id"],
        candidate_id=document["candidate_id"],
        label=document.get("label", document["_id"]),
        engine=document.get("engine", ""),
        role=document["role"],
        campaigns=tuple(document["campaigns"]),
        references=tuple(document.get("reference_results") or ()),
        submitted=int(at.timestamp() * 1000) if at else 0,
        arriving=not submission.get("done", True),
        jobs=frozenset(
            TAKEN if job["state"] == "RESERVED" and not job.get("launches") else job["state"] for job in jobs
        ),
        priorities=tuple(job["spec"].get("_priority", 0) for job in jobs if job["state"] in UNTAKEN),
    )


def chunks(keys: Sequence[str] | Mapping[str, Any]) -> Iterator[list[str]]:
    """Split keys so that one request can name them."""
    listed = list(keys)
    return (listed[start : start + CHUNK] for start in range(0, len(listed), CHUNK))


def calculations(keys: Sequence[str]) -> dict[str, Any]:
    """Give the filter of the calculation jobs of results; those of earlier attempts have ended, or are DEFUSED."""
    return {"spec.hts.result": {"$in": list(keys)}, "spec.hts.job": "calculate"}


def reserved_jobs(database: Database, keys: Sequence[str]) -> dict[int, Any]:
    """Find the calculation jobs that are reserved for a SLURM job, each with the time of its last change."""
    found: dict[int, Any] = {}
    for chunk in chunks(keys):
        reserved = {**calculations(chunk), "state": "RESERVED", "launches.0": {"$exists": True}}
        jobs = database.mongo["fireworks"].find(reserved, {"fw_id": 1, "updated_on": 1})
        found |= {job["fw_id"]: job.get("updated_on") for job in jobs}
    return found


def slurm_jobs_of(database: Database, query: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Find SLURM jobs that have not ended, as (cluster, job id, key of the result)."""
    found = database.allocations.find(
        {**query, "state": {"$ne": "ended"}, "job_id": {"$ne": None}}, {"cluster": 1, "job_id": 1, "result": 1}
    )
    return [(document["cluster"], document["job_id"], document.get("result") or "") for document in found]
