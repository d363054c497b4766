"""The audit: who changed what and why, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field
from pymongo import ASCENDING, DESCENDING, IndexModel

from hts_flows.errors import InputError
from hts_flows.stores.paging import Keyset, Page, checked_limit
from hts_flows.stores.times import UtcTime, as_utc
from hts_flows.stores.unions import union

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

AUDIT_INDEXES = [
    # The audit of a campaign, and of all, from the latest on.
    IndexModel([("campaigns", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)]),
    IndexModel([("at", DESCENDING), ("_id", DESCENDING)]),
]
_LATEST = Keyset("audit by time", "at", descending=True, types=(datetime,))
#: What is read of a document for a row; lists of results and changes may be long.
_ROW_FIELDS = dict.fromkeys(("at", "user", "action", "reason", "campaigns", "undone", "resubmission"), 1) | {
    "results": {"$cond": [{"$isArray": "$results"}, {"$size": "$results"}, 0]}
}
#: What a result is doing now.
Now = Literal["queued", "running", "done", "failed", "gone"]


class AuditChange(BaseModel):
    """One change, and how many results it was made to."""

    model_config = ConfigDict(extra="forbid")

    setting: str = Field(description="Engine setting, or resources.NAME")
    old: str = Field(description="Value before; – where there was none")
    new: str = Field(description="Value after; – where there is none")
    count: int = Field(description="Results")

    @computed_field(description="The change in words")  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        """The change in words."""
        return f"{self.setting}: {self.old} → {self.new} (× {self.count})"


class Progress(BaseModel):
    """What became of the results of a change: how many are in which state now."""

    model_config = ConfigDict(extra="forbid")

    queued: int = Field(default=0, description="They wait, or their job runs")
    running: int = Field(default=0, description="Of those queued: their job is with a worker now")
    done: int = Field(default=0, description="They have an outcome")
    failed: int = Field(default=0, description="They failed")
    gone: int = Field(default=0, description="They are no longer stored")


class AuditRow(BaseModel):
    """A change that somebody made, as a row of a table."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="Key in the audit")
    at: UtcTime | None = Field(description="When it was made (UTC); None: the entry is damaged and does not say")
    user: str = Field(description="Who made it")
    action: str = Field(description="resubmit, undo, pause, resume, cancel, priority, …")
    reason: str = Field(description="Why, in that person's words; empty where none was given")
    campaigns: list[str] = Field(description="Campaigns concerned")
    results: int = Field(description="Results concerned")
    changes: list[AuditChange] = Field(description="What changed, the most frequent first")
    undone_by: str | None = Field(description="Key of the entry by which it was undone; None: it was not")
    undoes: str | None = Field(description="Key of the entry that this one undid; None: it undid none")
    undoable: bool = Field(description="Whether 'hts resubmit --undo-id' takes it, and something of it is queued still")
    progress: Progress | None = Field(
        description="Of a resubmission that stands: states of its results now, running ones not told from queued ones"
    )


class AuditResult(BaseModel):
    """A result that a change was made to, as it is now."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="Key of the result")
    candidate_id: str = Field(description="Deterministic id of the candidate")
    label: str = Field(description="Name for people; the key where the result is no longer stored")
    engine: str = Field(description="Name of the engine")
    now: Now = Field(description="queued, running, done, failed, or gone: no longer stored")
    cause: str | None = Field(default=None, description="Why it failed")
    fw_ids: list[int] = Field(default_factory=list, description="FireWorks ids of its jobs now")
    resubmitted_since: bool = Field(default=False, description="Whether a later resubmission replaced this one's run")
    changes: list[AuditChange] = Field(default_factory=list, description="What changed for it")


class AuditEntry(BaseModel):
    """A change that somebody made, with everything it was made to."""

    model_config = ConfigDict(extra="forbid")

    row: AuditRow = Field(description="Who, when, why, what")
    selection: dict[str, Any] = Field(description="How the results were chosen")
    results: list[AuditResult] = Field(description="By label")
    progress: Progress = Field(description="States of the results now")
    refused: list[str] = Field(description="Labels that had changed at that moment and were left alone")
    kept: dict[str, str] = Field(description="Of an undo: keys of results that it could not take back, with the reason")
    left: dict[str, int] = Field(description="Results that were left as they are, by reason")
    why_not_undoable: str | None = Field(description="Why it cannot be undone; None where it can, or never could")


def audit_trail(
    database: Database,
    campaign: str | None = None,
    *,
    user: str | None = None,
    action: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[AuditRow]:
    """Read who changed what, the latest first, a page at a time.

    Parameters
    ----------
    database
        Where the audit is.
    campaign, user, action
        Only what concerns this campaign, was done by this user, or is this action.
    cursor
        From the page before or after; None for the first page.
    limit
        Rows of a page.

    Raises
    ------
    InputError
        The cursor is not one of these rows, or the limit is too large.
    """
    place = _LATEST.decode(cursor) if cursor else None
    wanted = {"campaigns": campaign, "user": user, "action": action}
    query = {name: value for name, value in wanted.items() if value}
    documents = _LATEST.find(database.audit, query, _ROW_FIELDS, place, checked_limit(limit) + 1)
    return _LATEST.page(_rows(database, documents), place, limit, lambda row: (row.at, row.id))


def audit_entry(database: Database, entry: str) -> AuditEntry:
    """Read one change and follow what became of it.

    Parameters
    ----------
    database
        Where the audit is.
    entry
        Its key in the audit.

    Raises
    ------
    InputError
        There is none.
    """
    document = database.audit.find_one({"_id": entry})
    if document is None:
        raise InputError(f"no entry {entry!r} in the audit", "its list of changes gives the keys")
    keys: list[str] = document.get("results") or []
    row = _rows(database, [document | {"results": len(keys)}])[0]
    results = _results(database, document, keys)
    states = Counter(result.now for result in results)
    progress = Progress(**states | {"queued": states["queued"] + states["running"]})
    why_not = _why_not_undoable(database, row)
    # Here each result is known, where the row counts keys of an index.
    left = any(result.now == "queued" and not result.resubmitted_since for result in results)
    undoable = row.action == "resubmit" and why_not is None and left
    if row.action == "resubmit" and why_not is None and not left:
        why_not = "all its results have started or were resubmitted again since"
    return AuditEntry(
        row=row.model_copy(update={"undoable": undoable}),
        selection=document.get("selection") or {},
        results=results,
        progress=progress,
        refused=document.get("refused") or [],
        kept={kept["result"]: kept["reason"] for kept in document.get("kept") or []},
        left=document.get("left") or {},
        why_not_undoable=why_not,
    )


def _why_not_undoable(database: Database, row: AuditRow) -> str | None:
    """Ask what undoing asks, and give its words."""
    from hts_flows.launch.undo import find_resubmission

    if row.action != "resubmit":
        return None
    try:
        find_resubmission(database, audit=row.id)
    except InputError as error:
        return f"it was undone already, by {row.undone_by}" if row.undone_by else error.message
    return None


def _rows(database: Database, documents: list[dict[str, Any]]) -> list[AuditRow]:
    ids = [document["_id"] for document in documents]
    changes = _changes(database, ids)
    standing = [one["_id"] for one in documents if one.get("action") == "resubmit" and not one.get("undone")]
    progress = _progress(database, standing)
    rows = []
    for document in documents:
        key = document["_id"]
        rows.append(
            AuditRow(
                id=key,
                at=as_utc(document["at"]) if isinstance(document.get("at"), datetime) else None,
                user=document.get("user") or "",
                action=document.get("action") or "unknown",
                reason=document.get("reason") or "",
                campaigns=document.get("campaigns") or [],
                results=document["results"],
                changes=changes.get(key, []),
                undone_by=document.get("undone"),
                undoes=document.get("resubmission"),
                undoable=key in progress and progress[key].queued > 0,
                progress=progress.get(key),
            )
        )
    return rows


def _changes(database: Database, ids: list[str]) -> dict[str, list[AuditChange]]:
    """Gather equal changes of each entry, the most frequent first."""
    what = {"id": "$_id", "setting": "$changes.setting", "old": "$changes.old", "new": "$changes.new"}
    found = database.audit.aggregate(
        [
            {"$match": {"_id": {"$in": ids}, "changes.0": {"$exists": True}}},
            {"$project": {"changes": 1}},
            {"$unwind": "$changes"},
            # One change a result, or one for as many as it says.
            {"$group": {"_id": what, "n": {"$sum": {"$ifNull": ["$changes.count", 1]}}}},
            {"$sort": {"n": DESCENDING, "_id": ASCENDING}},
        ]
    )
    changes: dict[str, list[AuditChange]] = {}
    for document in found:
        changes.setdefault(document["_id"]["id"], []).append(_change(document["_id"], document["n"]))
    return changes


def _change(change: dict[str, Any], count: int) -> AuditChange:
    old, new = change.get("old"), change.get("new")
    return AuditChange(setting=change.get("setting") or "", old=_shown(old), new=_shown(new), count=count)


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


def _progress(database: Database, ids: Iterable[str]) -> dict[str, Progress]:
    """Count the states of results that resubmissions queued, on keys of an index."""
    progress = {one: Progress() for one in ids}
    branches: list[list[dict[str, Any]]] = [
        [
            {"$match": {"attempts.resubmission": one, "state": state}},
            {"$count": "n"},
            {"$set": {"id": {"$literal": one}, "state": state}},
        ]
        for one in progress
        for state in ("queued", "done", "failed")
    ]
    for found in union(database.results, branches):
        setattr(progress[found["id"]], found["state"], found["n"])
    return progress


def _results(database: Database, document: dict[str, Any], keys: list[str]) -> list[AuditResult]:
    fields = ("candidate_id", "label", "engine", "state", "failure.cause", "provenance.fw_ids", "attempts.resubmission")
    stored = {one["_id"]: one for one in database.results.find({"_id": {"$in": keys}}, dict.fromkeys(fields, 1))}
    marks = database.mongo["fireworks"].find(
        {"spec.hts.result": {"$in": keys}, "state": "RUNNING"}, {"spec.hts.result": 1}
    )
    running = {mark["spec"]["hts"]["result"] for mark in marks}
    changes: dict[str, list[AuditChange]] = {}
    for change in document.get("changes") or []:
        if "result" in change:
            changes.setdefault(change["result"], []).append(_change(change, 1))
    found = []
    for key in keys:
        result = stored.get(key)
        if result is None:
            found.append(AuditResult(key=key, candidate_id=key.rpartition(":")[0], label=key, engine="", now="gone"))
            continue
        attempts = [attempt.get("resubmission") for attempt in result.get("attempts") or []]
        replaced = document["_id"] in attempts and attempts[-1] != document["_id"]
        state = result["state"]
        found.append(
            AuditResult(
                key=key,
                candidate_id=result["candidate_id"],
                label=result["label"],
                engine=result["engine"],
                now="running" if state == "queued" and key in running else state,
                cause=(result.get("failure") or {}).get("cause"),
                fw_ids=(result.get("provenance") or {}).get("fw_ids") or [],
                resubmitted_since=replaced,
                changes=changes.get(key, []),
            )
        )
    return sorted(found, key=lambda one: (one.label, one.key))
