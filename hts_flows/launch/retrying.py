"""Retrying: failed results that their campaign's ``retry:`` section speaks of are resubmitted without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hts_flows.engines import engine_class
from hts_flows.errors import InputError
from hts_flows.launch.failures import CANCELLED_BY_A_PERSON
from hts_flows.launch.resource_edits import read_resource_edits
from hts_flows.launch.resubmission import Edited, Resubmission, edit_result, resubmit, revision
from hts_flows.launch.setting_edits import adjustable_settings
from hts_flows.stores.results import Result

if TYPE_CHECKING:
    from hts_flows.campaign import Campaign
    from hts_flows.retry import RetryRule
    from hts_flows.settings import Settings
    from hts_flows.stores.database import Database

#: Who the audit names.
USER = "retry policy"
_NOT_RETRIED = "; not retried: "


def apply_retries(database: Database, campaign: Campaign, settings: Settings | None = None) -> int:
    """Resubmit the failed results of a campaign that its rules allow to run again. Idempotent.

    Any number of callers may call this at any time: a result is resubmitted once. Where a rule cannot be applied, the
    result stays failed and its message says why.

    Parameters
    ----------
    database
        Where the results are.
    campaign
        Whose rules, and results.
    settings
        Give the clusters; those in force when left out.

    Returns
    -------
    int
        How many workflows were added.
    """
    if not campaign.retry:
        return 0
    keys = _allowed(database, campaign)
    if not keys:
        return 0
    if settings is None:
        from hts_flows.settings import load_settings

        settings = load_settings()
    return sum(_retry(database, campaign, cause, found, settings) for cause, found in keys.items())


def _allowed(database: Database, campaign: Campaign) -> dict[str, list[str]]:
    """Find the results that may be retried, by cause; reads little of each, as most have had their retries."""
    failed = database.results.find(
        {
            "campaigns": campaign.name,
            "settings_hash": {"$in": [level.settings_hash for level in campaign.ladder()]},
            "state": "failed",
            "failure.cause": {"$in": list(campaign.retry)},
            # A rule for jobs that SLURM cancelled is not meant for what somebody has cancelled here.
            "failure.evidence": {"$not": {"$regex": f"^{CANCELLED_BY_A_PERSON}"}},
        },
        {"failure.cause": 1, "attempts.failure.cause": 1},
    )
    keys: dict[str, list[str]] = {}
    for document in failed:
        cause = document["failure"]["cause"]
        causes = [(attempt.get("failure") or {}).get("cause") for attempt in document.get("attempts") or []]
        if causes.count(cause) < campaign.retry[cause].at_most:
            keys.setdefault(cause, []).append(document["_id"])
    return keys


def _retry(database: Database, campaign: Campaign, cause: str, keys: list[str], settings: Settings) -> int:
    rule = campaign.retry[cause]
    documents = list(
        database.results.find({"_id": {"$in": keys}, "state": "failed", "failure.cause": cause}).sort("label", 1)
    )
    results: list[Result] = []
    edited: dict[str, Edited] = {}
    for document in documents:
        result = Result.model_validate(document)
        try:
            edited[result.key] = _edit(result, rule, settings)
        except InputError as error:
            _say_why(database, document, error)
        else:
            results.append(result)
    revisions = {document["_id"]: revision(document) for document in documents}
    plan = Resubmission([campaign.name], {"cause": cause}, results, edited, revisions)
    number = f"at most {rule.at_most} times" if rule.at_most > 1 else "once"
    return resubmit(database, plan, user=USER, reason=f"campaign {campaign.name}: {cause} is retried {number}").added


def _edit(result: Result, rule: RetryRule, settings: Settings) -> Edited:
    """Apply a rule; of its settings those that the engine has."""
    has = adjustable_settings(engine_class(result.engine))
    values: dict[str, Any] = {name: value for name, value in rule.set.items() if name in has}
    if rule.set and not values:
        raise InputError(f"{result.engine} has no setting {' or '.join(map(repr, rule.set))}")
    return edit_result(result, values, read_resource_edits(rule.resources), settings.clusters)


def _say_why(database: Database, document: dict[str, Any], error: InputError) -> None:
    message = document["failure"]["message"]
    if _NOT_RETRIED not in message:
        database.results.update_one(
            {"_id": document["_id"], "state": "failed", "failure.message": message},
            {"$set": {"failure.message": message + _NOT_RETRIED + error.message}},
        )
