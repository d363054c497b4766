"""Documents of campaigns and their steps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from hts_flows.campaign import Campaign, CampaignError
from hts_flows.errors import InputError, nearest
from hts_flows.launch.owner import FOREIGN_CLAIM_SECONDS, LIVING_CLAIM_SECONDS, is_gone, owner_name
from hts_flows.stores.times import as_utc

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

CAMPAIGN_INDEXES = [IndexModel([("created_at", ASCENDING)])]
#: A step of a campaign exists once, however many callers try to make it.
STEP_INDEXES = [IndexModel([("campaign", ASCENDING), ("step", ASCENDING)], unique=True)]


def now() -> datetime:
    """Time with the milliseconds that MongoDB keeps."""
    stamp = datetime.now(UTC)
    return stamp.replace(microsecond=stamp.microsecond // 1000 * 1000)


def freeze(database: Database, campaign: Campaign, *, update: bool = False) -> Campaign:
    """Put what a campaign's candidates are read from into the store, so that a later reading changes nothing.

    Parameters
    ----------
    database
        Where to.
    campaign
        As read from its file.
    update
        Ask databases again that were asked when the campaign was stored.
    """
    from hts_flows.stores.pools import store_pool

    before = database.campaigns.find_one({"_id": campaign.name}, {"content": 1})
    stored = None
    if before and not update:
        stored = Campaign.from_dict(before["content"], f"stored campaign {campaign.name!r}").candidates
    candidates = campaign.candidates.frozen(partial(store_pool, database), stored)
    return campaign.model_copy(update={"candidates": candidates})


def save_campaign(database: Database, campaign: Campaign, *, update: bool = False) -> bool:
    """Store a campaign, once, with the pools that its candidates are read from.

    Parameters
    ----------
    database
        Where to.
    campaign
        What to store.
    update
        Accept other content under a stored name; the content before is kept in the document's history.

    Returns
    -------
    bool
        Whether something was stored that was not there before.

    Raises
    ------
    InputError
        The name is taken by other content, and ``update`` is not set.
    """
    content = freeze(database, campaign, update=update).content()
    document = {
        "_id": campaign.name,
        "content": content,
        "state": "running",
        "created_at": now(),
        "updated_at": now(),
        "history": [],
    }
    try:
        database.campaigns.insert_one(document)
    except DuplicateKeyError:
        stored = database.campaigns.find_one({"_id": campaign.name}) or {}
        differing = sorted(key for key in content | stored["content"] if content.get(key) != stored["content"].get(key))
        if not differing:
            return False
        if not update:
            raise InputError(
                f"a campaign named {campaign.name!r} is stored with other content; what differs: "
                + ", ".join(differing),
                "give this one another 'name:', or add --update to change the stored one (its results are kept)",
            ) from None
        database.campaigns.update_one(
            {"_id": campaign.name},
            {
                "$set": {"content": content, "updated_at": now()}
                | ({} if stored.get("paused") else {"state": "running"}),
                "$push": {"history": {"content": stored["content"], "until": now()}},
            },
        )
        database.steps.update_many({"campaign": campaign.name}, {"$set": {"state": "claimed", "owner": ""}})
    return True


def load_campaign(database: Database, name: str) -> Campaign:
    """Read a stored campaign.

    Raises
    ------
    InputError
        There is none of that name; the message lists the nearest.
    """
    document = database.campaigns.find_one({"_id": name})
    if document is None:
        names = campaign_names(database)
        near = nearest(name, names) if names else "none is stored yet"
        hint = "'hts status' lists the campaigns" if names else "store one with 'hts submit FILE' or 'hts run FILE'"
        raise InputError(f"no campaign named {name!r} in the database; {near}", hint)
    try:
        campaign = Campaign.from_dict(stored_content(document), f"stored campaign {name!r}")
    except CampaignError as error:
        raise InputError(
            error.message,
            "another version of hts_flows has stored it, and can read it; its results stay; to go on with this one, "
            "give the campaign in the file another name",
        ) from error
    for table in campaign.candidates.tables():
        from hts_flows.stores.pools import fetch_pool

        fetch_pool(database, table)
    return campaign


def stored_content(document: dict[str, Any]) -> dict[str, Any]:
    """Give the file that a campaign's document holds.

    Raises
    ------
    InputError
        It holds none.
    """
    content = document.get("content")
    if not isinstance(content, dict) or not content:
        raise InputError(
            f"the stored campaign {document['_id']!r} is damaged: its file is missing",
            "store it again: hts submit FILE --update",
        )
    return content


def check_names(database: Database, names: Iterable[str]) -> None:
    """See that campaigns are stored.

    Raises
    ------
    InputError
        One is not; the message lists the nearest.
    """
    wanted = set(names)
    found = {document["_id"] for document in database.campaigns.find({"_id": {"$in": sorted(wanted)}}, {"_id": 1})}
    for name in sorted(wanted - found):
        load_campaign(database, name)


def was_changed(database: Database, name: str) -> bool:
    """Tell whether a campaign was ever updated to other content."""
    return database.campaigns.find_one({"_id": name, "history.0": {"$exists": True}}, {"_id": 1}) is not None


def campaign_names(database: Database) -> list[str]:
    """Names of all stored campaigns, oldest first."""
    return [document["_id"] for document in database.campaigns.find({}, {"_id": 1}).sort("created_at", ASCENDING)]


def set_campaign_state(database: Database, name: str, state: str) -> None:
    """Store whether a campaign runs or is finished; one that a person has paused stays so."""
    database.campaigns.update_one(
        {"_id": name, "state": {"$ne": state}, "paused": None}, {"$set": {"state": state, "updated_at": now()}}
    )


def claim_step(database: Database, campaign: str, step: str) -> bool:
    """Claim the right to submit a step; True for exactly one living caller, and only until it is submitted.

    A claim whose owner has ended is taken over, so a killed submission is finished by the next caller.
    """
    mine = owner_name()
    document: dict[str, Any] = {
        "campaign": campaign,
        "step": step,
        "state": "claimed",
        "owner": mine,
        "claimed_at": now(),
    }
    try:
        database.steps.insert_one(document)
    except DuplicateKeyError:
        stored = database.steps.find_one({"campaign": campaign, "step": step}) or {}
        if stored.get("state") != "claimed":
            return False
        if stored["owner"] == mine:
            return True
        if not claim_is_free(stored["owner"], stored["claimed_at"]):
            return False
        taken = database.steps.update_one(
            {"campaign": campaign, "step": step, "state": "claimed", "owner": stored["owner"]},
            {"$set": {"owner": mine, "claimed_at": now()}},
        )
        return taken.modified_count == 1
    return True


def claim_is_free(owner: str, claimed_at: datetime) -> bool:
    """Tell whether a claim may be taken over: it was given up, its process ended, or it is old."""
    gone = is_gone(owner) if owner else True
    if gone:
        return True
    age = (now() - as_utc(claimed_at)).total_seconds()
    return age > (FOREIGN_CLAIM_SECONDS if gone is None else LIVING_CLAIM_SECONDS)


def step_submitted(database: Database, campaign: str, step: str, **details: Any) -> None:
    """Store that everything of a step is in the queue."""
    database.steps.update_one(
        {"campaign": campaign, "step": step}, {"$set": {"state": "submitted", "submitted_at": now(), **details}}
    )


def steps_of(database: Database, campaign: str) -> dict[str, dict[str, Any]]:
    """Steps of a campaign by name."""
    return {document["step"]: document for document in database.steps.find({"campaign": campaign}, {"_id": 0})}
