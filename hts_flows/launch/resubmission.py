"""Resubmission: failed results run again, alone; what they were before stays readable."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hts_flows.candidates import stable_hash
from hts_flows.engines import engine_from_dict, engine_names
from hts_flows.errors import HtsError, InputError, nearest
from hts_flows.launch.continuation import continuation
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resource_edits import ResourceEdits, edited_resources, read_resource_edits, shrinking
from hts_flows.launch.selection import check_state, error_pattern, identified, is_key, says
from hts_flows.launch.setting_edits import RESOURCES, edited_settings
from hts_flows.launch.submission import add_claimed, giving_up, new_claim
from hts_flows.stores.campaigns import now, set_campaign_state
from hts_flows.stores.results import Result

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hts_flows.slurm.cluster import Cluster
    from hts_flows.stores.database import Database

#: Fields of a result, beside those of its provenance, that an attempt keeps and undoing gives back.
KEPT = ("state", "failure", "settings", "resources", "start", "calculation", "properties", "submission")
#: Fields of its provenance that an attempt keeps.
KEPT_PROVENANCE = ("job_uuids", "fw_ids", "folder", "finished_at", "versions", "structure")
#: Most of a result's document, of which a plan needs nothing.
_LARGE = ("start", "calculation", "properties")
_WITHOUT_STRUCTURES = dict.fromkeys((*_LARGE, *(f"attempts.{name}" for name in _LARGE)), 0)


@dataclass(frozen=True)
class ChangeRow:
    """One change, and how many results it is made to."""

    setting: str
    old: Any
    new: Any
    count: int


@dataclass(frozen=True)
class Edited:
    """What one result runs with next: settings and resources as stored, and what changes in them, old and new."""

    settings: dict[str, Any]
    resources: dict[str, Any]
    changes: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Resubmission:
    """A plan: which results run again, with what.

    Attributes
    ----------
    campaigns
        Names of the campaigns that were looked at; empty: all.
    selection
        How the results were chosen, as it is written into the audit.
    results
        The chosen, by label.
    edited
        What each runs with next, by its key.
    revisions
        Which run of each result the plan is about: its submission's token and how many attempts came before.
    notes
        What a person should know before saying yes.
    """

    campaigns: list[str]
    selection: dict[str, Any]
    results: list[Result]
    edited: dict[str, Edited]
    revisions: dict[str, tuple[str | None, int]]
    notes: list[str] = field(default_factory=list)

    @property
    def token(self) -> str:
        """Hash of what the plan was made from and what it changes; another when a result has changed since."""
        rows = [
            [result.key, result.state, self.revisions[result.key], self.edited[result.key].changes]
            for result in self.results
        ]
        return stable_hash({"rows": sorted(rows, key=str)})

    def diff(self) -> list[ChangeRow]:
        """Gather equal changes, the most frequent first."""
        count: Counter[str] = Counter()
        first: dict[str, tuple[str, Any, Any]] = {}
        for edited in self.edited.values():
            for name, (old, new) in edited.changes.items():
                key = repr((name, old, new))
                count[key] += 1
                first.setdefault(key, (name, old, new))
        return [ChangeRow(*first[key], number) for key, number in count.most_common()]

    def as_object(self) -> dict[str, Any]:
        """Give what a person has to agree to, as plain values."""
        return {
            "campaigns": self.campaigns,
            "token": self.token,
            "results": [
                {
                    "candidate_id": result.candidate_id,
                    "label": result.label,
                    "engine": result.engine,
                    "cause": result.failure.cause if result.failure else None,
                    "changes": [
                        {"setting": name, "old": old, "new": new}
                        for name, (old, new) in self.edited[result.key].changes.items()
                    ],
                }
                for result in self.results
            ],
            "diff": [vars(row) for row in self.diff()],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Resubmitted:
    """What came of a plan.

    Attributes
    ----------
    audit
        ``_id`` of the document in the audit; None when nothing was resubmitted.
    keys
        Results that run again.
    refused
        Labels of results that have changed since the plan was made, and were left alone.
    added
        How many workflows were added.
    """

    audit: str | None
    keys: list[str]
    refused: list[str]
    added: int


def plan_resubmission(
    database: Database,
    campaigns: str | Sequence[str] = (),
    *,
    ids: Iterable[str] = (),
    cause: str | None = None,
    engine: str | None = None,
    error: str | None = None,
    state: str = "failed",
    settings: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    clusters: Mapping[str, Cluster] | None = None,
) -> Resubmission:
    """Choose failed results, and change what they run with. Changes nothing in the database.

    Parameters
    ----------
    database
        Where the results are.
    campaigns
        Name or names of campaigns; all when empty.
    ids
        Only these: candidate ids, unique beginnings of them, labels, or keys of results. Of keys, those that have not
        failed are left out.
    cause, engine
        Only those that failed for this cause, or with this engine.
    error
        Only those whose message or evidence this regular expression finds something in.
    state
        "failed"; the other states are refused, saying why.
    settings
        New values of engine settings; see :func:`hts_flows.launch.setting_edits.read_edits`.
    resources
        New values of resources; see :func:`hts_flows.launch.resource_edits.read_resource_edits`.
    clusters
        Those of the settings, by name: what their jobs ask for is what a factor multiplies, and their limits hold.

    Raises
    ------
    InputError
        An unknown cause, engine, candidate, setting or resource, or a value that cannot be.
    """
    names = [campaigns] if isinstance(campaigns, str) else list(campaigns)
    check_state(state)
    if cause is not None and cause not in set(FailureCause):
        raise InputError(
            f"--cause {cause!r} is no cause of failure; {nearest(cause, [item.value for item in FailureCause])}"
        )
    if engine is not None and engine not in engine_names():
        raise InputError(f"--engine {engine!r}: no such engine; {nearest(engine, engine_names())}")
    edits = read_resource_edits(resources or {})
    ids = list(ids)
    keys = {text for text in ids if is_key(text)}
    others = [text for text in ids if text not in keys]
    query: dict[str, Any] = {"state": "failed"}
    query |= {"campaigns": {"$in": names}} if names else {}
    if not ids:
        # Of those that are named, messages say what they failed for; so they are looked for among all.
        query |= {"failure.cause": cause} if cause else {}
        query |= {"engine": engine} if engine else {}
    elif not others:
        query["_id"] = {"$in": sorted(keys)}
    documents = list(database.results.find(query, _WITHOUT_STRUCTURES).sort([("label", 1), ("_id", 1)]))
    failed, notes = _readable(documents)
    wanted = identified(database, failed, others, names)
    pattern = error_pattern(error)
    chosen = [
        result
        for result in failed
        if (not ids or result.key in keys or (wanted is not None and result.candidate_id in wanted))
        and (engine is None or result.engine == engine)
        and (cause is None or (result.failure and result.failure.cause == cause))
        and (pattern is None or says(result, pattern))
    ]
    waiting = [result for result in chosen if waits_for_reference(result)]
    chosen = [result for result in chosen if not waits_for_reference(result)]
    edited = {result.key: edit_result(result, settings or {}, edits, clusters or {}) for result in chosen}
    if left := len(keys - {document["_id"] for document in documents}):
        notes.append(f"{left} of those chosen have not failed, or run again already: they are left alone")
    if waiting:
        notes.append(f"{len(waiting)} wait for a reference that failed: they are completed without running again")
    less = Counter(name for item in edited.values() for name in shrinking(_resources_in(item.changes)))
    notes += [f"{number} ask for less {name} than before" for name, number in less.items()]
    selection = {"ids": ids, "cause": cause, "engine": engine, "error": error}
    return Resubmission(
        names,
        {name: value for name, value in selection.items() if value},
        chosen,
        edited,
        {document["_id"]: revision(document) for document in documents},
        notes,
    )


def _readable(documents: list[dict[str, Any]]) -> tuple[list[Result], list[str]]:
    """Read stored results; those that this version cannot run are left out, and named."""
    results, unreadable = [], []
    known: dict[str, bool] = {}
    for document in documents:
        try:
            result = Result.model_validate(document)
            engine = {"engine": result.engine} | result.settings
            if known.setdefault(repr(engine), False) is False:
                engine_from_dict(engine)
                known[repr(engine)] = True
        except (ValidationError, HtsError):
            unreadable.append(str(document.get("label") or document["_id"]))
        else:
            results.append(result)
    if not unreadable:
        return results, []
    few = ", ".join(unreadable[:3]) + (f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else "")  # noqa: PLR2004
    return results, [f"{len(unreadable)} cannot be run by this version of hts_flows and are left out: {few}"]


def revision(document: dict[str, Any]) -> tuple[str | None, int]:
    """Tell which run of a stored result this is: its submission's token and how many attempts came before."""
    return (document.get("submission") or {}).get("token"), len(document.get("attempts") or [])


def waits_for_reference(result: Result) -> bool:
    """Tell whether only a reference is missing: the candidate itself was computed and needs no second run."""
    return result.failure is not None and result.failure.cause == FailureCause.REFERENCE_FAILED


def edit_result(
    result: Result, settings: Mapping[str, Any], edits: ResourceEdits, clusters: Mapping[str, Cluster]
) -> Edited:
    """Apply edits to one result, in memory.

    Raises
    ------
    InputError
        They do not fit it.
    """
    new_settings = edited_settings(result.settings, settings)
    new_resources, changed = edited_resources(result, edits, clusters)
    changes = {name: (result.settings.get(name), new_settings.get(name)) for name in settings}
    changes |= {RESOURCES + name: pair for name, pair in changed.items()}
    return Edited(new_settings, new_resources, changes)


def _resources_in(changes: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    return {name.removeprefix(RESOURCES): pair for name, pair in changes.items() if name.startswith(RESOURCES)}


def resubmit(
    database: Database, plan: Resubmission, *, user: str, reason: str = "", token: str | None = None
) -> Resubmitted:
    """Carry out a plan: each chosen result gets a new workflow, and nothing else runs again.

    A relaxation that was cut off or not converged goes on from its last geometry. What was there before is kept as an
    attempt. Of several callers who resubmit the same result at once, one does; the others are refused.

    Parameters
    ----------
    database
        Where the results are.
    plan
        Made by :func:`plan_resubmission`.
    user, reason
        Who wants it and why, for the audit.
    token
        Token of the plan that a person has agreed to, where the plan was made again since.

    Raises
    ------
    InputError
        The plan is not the one that was agreed to.
    """
    if token is not None and token != plan.token:
        raise InputError("the results have changed since the plan was made", "look at the new plan and agree to it")
    if not plan.results:
        return Resubmitted(None, [], [], 0)
    audit, claim = uuid.uuid4().hex[:12], new_claim()
    campaigns = sorted({name for result in plan.results for name in result.campaigns})
    states = database.campaigns.find({"_id": {"$in": campaigns}}, {"state": 1})
    database.audit.insert_one(
        {
            "_id": audit,
            "action": "resubmit",
            "user": user,
            "reason": reason,
            "at": now(),
            "campaigns": campaigns,
            "campaign_states": {document["_id"]: document["state"] for document in states},
            "selection": plan.selection,
            "results": [result.key for result in plan.results],
            "changes": [
                {"result": key, "setting": name, "old": old, "new": new}
                for key, edited in plan.edited.items()
                for name, (old, new) in edited.changes.items()
            ],
        }
    )
    keys, refused = [], []
    with giving_up(database, claim):
        for result in plan.results:
            if _replace(database, result, plan, audit, claim):
                _retire_workflows(database, result.key, audit)
                keys.append(result.key)
            else:
                refused.append(result.label)
    if not keys:
        database.audit.delete_one({"_id": audit})
        return Resubmitted(None, [], refused, 0)
    if refused:
        database.audit.update_one({"_id": audit}, {"$set": {"results": keys, "refused": refused}})
    # First, so that whoever works on running campaigns also finds what is left where this ends half-way.
    for name in campaigns:
        set_campaign_state(database, name, "running")
    added = add_claimed(database, keys, claim)
    return Resubmitted(audit, keys, refused, added)


def _replace(database: Database, result: Result, plan: Resubmission, audit: str, claim: dict[str, Any]) -> bool:
    """Turn a result into a queued one, keeping what it was; in one write, for exactly one caller."""
    token, attempts = plan.revisions[result.key]
    document = database.results.find_one({"_id": result.key})
    if document is None:
        return False
    start, continued_from = continuation(database, Result.model_validate(document))
    edited = plan.edited[result.key]
    kept: dict[str, Any] = {name: f"${name}" for name in KEPT}
    kept |= {name: f"$provenance.{name}" for name in KEPT_PROVENANCE}
    kept |= {"resubmission": audit, "continued_from": {"$literal": continued_from}}
    next_run: dict[str, Any] = {
        "state": "queued",
        "failure": None,
        "calculation": None,
        "properties": None,
        "settings": edited.settings,
        "resources": edited.resources,
        "start": start,
        "submission": claim,
        "provenance.folder": None,
        "provenance.finished_at": None,
        "provenance.versions": {},
    }
    changed = database.results.update_one(
        {
            "_id": result.key,
            "state": "failed",
            "failure.cause": result.failure.cause if result.failure else None,
            "submission.token": token,
            f"attempts.{attempts}": {"$exists": False},
        },
        # A pipeline, so that the attempt is what the document holds at this very moment, to the last digit.
        [
            {"$set": {"attempts": {"$concatArrays": [{"$ifNull": ["$attempts", []]}, [kept]]}}},
            {"$set": {name: {"$literal": value} for name, value in next_run.items()}},
        ],
    )
    return changed.modified_count == 1


def _retire_workflows(database: Database, key: str, audit: str) -> None:
    """Detach the earlier workflows of a result; their jobs and launches stay readable, and never run again."""
    workflows = database.mongo["workflows"]
    for workflow in workflows.find({"metadata.result": key}, {"nodes": 1}):
        database.mongo["fireworks"].update_many(
            {"fw_id": {"$in": workflow["nodes"]}, "state": {"$nin": ["COMPLETED", "FIZZLED"]}},
            {"$set": {"state": "DEFUSED"}},
        )
    workflows.update_many(
        {"metadata.result": key},
        {"$rename": {"metadata.result": "metadata.earlier_result"}, "$set": {"metadata.retired_by": audit}},
    )
