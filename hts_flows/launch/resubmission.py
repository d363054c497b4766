"""Resubmission: failed results run again, alone; what they were before stays readable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hts_flows.campaign_file import parse_yaml
from hts_flows.engines import Engine, engine_class
from hts_flows.errors import InputError, nearest
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.submission import add_claimed, new_claim
from hts_flows.stores.campaigns import now, set_campaign_state
from hts_flows.stores.results import Attempt, Result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hts_flows.stores.database import Database


@dataclass(frozen=True)
class Resubmission:
    """A plan: which results run again, with which settings."""

    campaign: str
    results: list[Result]
    settings: dict[str, dict[str, Any]]
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)


def plan_resubmission(
    database: Database,
    campaign: str,
    *,
    candidate_ids: Iterable[str] = (),
    cause: str | None = None,
    edits: dict[str, str] | None = None,
) -> Resubmission:
    """Choose failed results of a campaign, and change their engine settings.

    Parameters
    ----------
    database
        Where the results are.
    campaign
        Name of the campaign.
    candidate_ids
        Only these; all failed ones when empty.
    cause
        Only those that failed for this cause.
    edits
        New values of engine settings, as text.

    Raises
    ------
    InputError
        An unknown cause, candidate or setting, or a value the setting cannot have.
    """
    if cause is not None and cause not in set(FailureCause):
        raise InputError(
            f"--cause {cause!r} is no cause of failure; {nearest(cause, [item.value for item in FailureCause])}"
        )
    query: dict[str, Any] = {"campaigns": campaign, "state": "failed"}
    wanted = set(candidate_ids)
    if cause:
        query["failure.cause"] = cause
    failed = [Result.model_validate(document) for document in database.results.find(query).sort("label", 1)]
    known = {result.candidate_id for result in failed}
    for missing in sorted(wanted - known):
        raise InputError(
            f"{missing!r} is no failed candidate of {campaign!r}; {nearest(missing, known)}",
            f"'hts failures {campaign}' lists them",
        )
    chosen = [
        result for result in failed if (not wanted or result.candidate_id in wanted) and not waits_for_reference(result)
    ]
    settings: dict[str, dict[str, Any]] = {}
    changes: dict[str, tuple[Any, Any]] = {}
    for result in chosen:
        engine = _edited(result, edits or {})
        settings[result.key] = engine.model_dump(mode="json")
        for name in edits or {}:
            changes[name] = (result.settings.get(name), settings[result.key].get(name))
    return Resubmission(campaign, chosen, settings, changes)


def waits_for_reference(result: Result) -> bool:
    """Tell whether only a reference is missing: the candidate itself was computed and needs no second run."""
    return result.failure is not None and result.failure.cause == FailureCause.REFERENCE_FAILED


def _edited(result: Result, edits: dict[str, str]) -> Engine:
    kind = engine_class(result.settings["engine"])
    adjustable = (kind.adjustable | kind.not_hashed) & set(kind.model_fields)
    for name in edits:
        if name in set(kind.model_fields) - adjustable:
            raise InputError(
                f"--set {name}: changes what {result.engine} computes, so the result could not be compared with its "
                f"references; may be changed: {', '.join(sorted(adjustable))}",
                "to compute with other settings change the campaign file, and run it with another name or --update",
            )
        if name not in kind.model_fields:
            raise InputError(f"--set {name}: {result.engine} has no such setting; {nearest(name, adjustable)}")
    values = {name: parse_yaml(text, f"--set {name}: {text!r}")[1] for name, text in edits.items()}
    try:
        return kind.model_validate(result.settings | values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else next(iter(edits), "")
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise InputError(
            f"--set {name}={edits.get(name, first['input'])}: {message}",
            "give a value that the setting can have, e.g. --set steps=1000",
        ) from error


def resubmit(database: Database, plan: Resubmission, *, user: str) -> int:
    """Carry out a plan: each chosen result gets a new workflow, and nothing else runs again.

    An unconverged relaxation goes on from its last structure. What was there before is kept as an attempt.

    Returns
    -------
    int
        How many workflows were added.
    """
    claim = new_claim()
    keys = []
    for result in plan.results:
        attempt = Attempt(
            state=result.state,
            failure=result.failure,
            job_uuids=result.provenance.job_uuids,
            fw_ids=result.provenance.fw_ids,
            folder=result.provenance.folder,
            finished_at=result.provenance.finished_at,
            settings=result.settings,
        )
        start = (result.calculation or {}).get("structure") or result.start
        changed = database.results.update_one(
            {"_id": result.key, "state": "failed"},
            {
                "$set": {
                    "state": "queued",
                    "failure": None,
                    "calculation": None,
                    "properties": None,
                    "settings": plan.settings[result.key],
                    "start": start,
                    "submission": claim,
                },
                "$push": {"attempts": attempt.model_dump(mode="json")},
            },
        )
        if changed.modified_count:
            _retire_workflows(database, result.key)
            keys.append(result.key)
    added = add_claimed(database, keys, claim)
    if keys:
        set_campaign_state(database, plan.campaign, "running")
        database.audit.insert_one(
            {
                "campaign": plan.campaign,
                "action": "resubmit",
                "user": user,
                "at": now(),
                "results": keys,
                "changes": {name: list(pair) for name, pair in plan.changes.items()},
            }
        )
    return added


def _retire_workflows(database: Database, key: str) -> None:
    """Detach the earlier workflows of a result; their jobs and launches stay readable, and never run again."""
    workflows = database.mongo["workflows"]
    for workflow in workflows.find({"metadata.result": key}, {"nodes": 1}):
        database.mongo["fireworks"].update_many(
            {"fw_id": {"$in": workflow["nodes"]}, "state": {"$nin": ["COMPLETED", "FIZZLED"]}},
            {"$set": {"state": "DEFUSED"}},
        )
    workflows.update_many({"metadata.result": key}, {"$rename": {"metadata.result": "metadata.earlier_result"}})
