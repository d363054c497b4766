"""Healing: jobs whose worker has died are made ready again, at once on this machine, without waiting for time-outs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hts_flows.launch.owner import is_gone

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: A job that was taken but never started: its worker died between two writes, this long ago.
RESERVED_WITHOUT_LAUNCH = timedelta(seconds=20)
#: A lock is held for milliseconds; one that lasts this long was left by a worker that died, s.
STALE_LOCK_SECONDS = 5.0
#: A job that took this many workers with it is not tried again.
MAX_LOST = 3


class Healer:
    """Makes the jobs of dead workers ready again, and takes off the locks they left.

    FireWorks locks a workflow for the milliseconds of an update, without saying who or when. A lock that one healer
    has seen for :data:`STALE_LOCK_SECONDS` is a dead worker's.

    Parameters
    ----------
    database
        Where FireWorks keeps its jobs.
    campaign
        Only jobs of this campaign are looked at.
    """

    def __init__(self, database: Database, campaign: str) -> None:
        self.database = database
        self.campaign = campaign
        self._locked_since: dict[Any, float] = {}

    def heal(self) -> int:
        """Look once; call it again and again while the campaign runs.

        Returns
        -------
        int
            How many jobs and locks were healed.
        """
        return _heal_jobs(self.database, self.campaign) + self._break_stale_locks()

    def _break_stale_locks(self) -> int:
        workflows = self.database.mongo["workflows"]
        locked = {
            workflow["_id"]: workflow["nodes"]
            for workflow in workflows.find(
                {"metadata.campaigns": self.campaign, "locked": {"$exists": True}}, {"nodes": 1}
            )
        }
        now = time.monotonic()
        self._locked_since = {key: self._locked_since.get(key, now) for key in locked}
        stale = [key for key, since in self._locked_since.items() if now - since > STALE_LOCK_SECONDS]
        for key in stale:
            workflows.update_one({"_id": key}, {"$unset": {"locked": True}})
            for fw_id in locked[key]:
                # Jobs and workflow may disagree, as the update was cut short: a job's launches tell its state.
                self.database.launchpad._refresh_wf(fw_id)  # noqa: SLF001 (FireWorks offers no public name for it)
            del self._locked_since[key]
        return len(stale)


def _heal_jobs(database: Database, campaign: str) -> int:
    healed = 0
    taken = database.mongo["fireworks"].find(
        {"state": {"$in": ["RUNNING", "RESERVED"]}, "spec.hts.campaigns": campaign},
        {"fw_id": 1, "state": 1, "launches": 1, "updated_on": 1, "spec.hts": 1},
    )
    for firework in list(taken):
        launches = list(
            database.mongo["launches"].find(
                {"launch_id": {"$in": firework["launches"]}}, {"state": 1, "fworker.name": 1, "launch_id": 1}
            )
        )
        if not launches:
            if firework["state"] == "RESERVED" and _age(firework["updated_on"]) > RESERVED_WITHOUT_LAUNCH:
                healed += _make_ready(database, firework)
            continue
        last = launches[-1]
        if is_gone(last["fworker"]["name"]):
            healed += _heal_one(database, firework, last)
    return healed


def _heal_one(database: Database, firework: dict[str, Any], launch: dict[str, Any]) -> bool:
    if launch["state"] in ("COMPLETED", "FIZZLED"):
        # The worker finished and died before the workflow knew.
        _unlock(database, firework["fw_id"])
        database.launchpad._refresh_wf(firework["fw_id"])  # noqa: SLF001 (FireWorks offers no public name for it)
        return True
    if firework["spec"]["hts"].get("lost", 0) + 1 >= MAX_LOST:
        if _claim(database, firework):
            _unlock(database, firework["fw_id"])
            database.launchpad.mark_fizzled(launch["launch_id"])
            return True
        return False
    return _make_ready(database, firework)


def _make_ready(database: Database, firework: dict[str, Any]) -> bool:
    if not _claim(database, firework):
        return False
    _unlock(database, firework["fw_id"])
    database.launchpad.rerun_fw(firework["fw_id"])
    return True


def _claim(database: Database, firework: dict[str, Any]) -> bool:
    """Count the job as lost once more; of several healers that saw the same loss, one succeeds."""
    seen = firework["spec"]["hts"].get("lost")
    claimed = database.mongo["fireworks"].update_one(
        {
            "fw_id": firework["fw_id"],
            "state": firework["state"],
            "launches": firework["launches"],
            "spec.hts.lost": seen,
        },
        {"$set": {"spec.hts.lost": (seen or 0) + 1}},
    )
    return claimed.modified_count == 1


def _unlock(database: Database, fw_id: int) -> None:
    """Take off the lock that a dead worker left on its workflow; each workflow has one worker at a time."""
    database.mongo["workflows"].update_one({"nodes": fw_id, "locked": {"$exists": True}}, {"$unset": {"locked": True}})


def _age(stamp: Any) -> timedelta:
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp)
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    return datetime.now(UTC) - stamp
