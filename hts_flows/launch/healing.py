"""Healing: jobs whose worker has died are made ready again, at once on this machine, without waiting for time-outs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pymongo import DESCENDING

from hts_flows.launch.lease import lease
from hts_flows.launch.owner import is_gone

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: A job that was taken by a worker of another machine and has not started after this time: that worker has died.
RESERVED_WITHOUT_LAUNCH = timedelta(minutes=10)
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
        lost, stale = _lost_jobs(self.database, self.campaign), self._stale_locks()
        if not lost and not stale:
            return 0
        # One at a time, as campaigns share jobs: two that saw the same loss would both rerun the job.
        with lease(self.database, "heal") as mine:
            if not mine.held:
                return 0
            # Looked up again now that no other healer can have changed them.
            lost = _lost_jobs(self.database, self.campaign)
            return sum(heal_job(self.database, *job) for job in lost) + self._break_locks(stale)

    def _stale_locks(self) -> list[Any]:
        """Workflows that were locked at every look for too long."""
        locked = self.database.mongo["workflows"].find(
            {"metadata.campaigns": self.campaign, "locked": {"$exists": True}}, {"_id": 1}
        )
        clock = time.monotonic()
        self._locked_since = {item["_id"]: self._locked_since.get(item["_id"], clock) for item in locked}
        return [key for key, since in self._locked_since.items() if clock - since > STALE_LOCK_SECONDS]

    def _break_locks(self, stale: list[Any]) -> int:
        workflows = self.database.mongo["workflows"]
        for key in stale:
            workflow = workflows.find_one_and_update({"_id": key}, {"$unset": {"locked": True}}) or {"nodes": []}
            for fw_id in workflow["nodes"]:
                # Jobs and workflow may disagree, as the update was cut short: a job's launches tell its state.
                self.database.launchpad._refresh_wf(fw_id)  # noqa: SLF001 (FireWorks offers no public name for it)
            del self._locked_since[key]
        return len(stale)


def _lost_jobs(database: Database, campaign: str) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Jobs whose worker has died, each with its last launch; None where it died before there was one."""
    taken = database.mongo["fireworks"].find(
        {"state": {"$in": ["RUNNING", "RESERVED"]}, "spec.hts.campaigns": campaign},
        {"fw_id": 1, "state": 1, "launches": 1, "updated_on": 1, "spec.hts": 1},
    )
    lost: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    for firework in list(taken):
        launch = database.mongo["launches"].find_one(
            {"launch_id": {"$in": firework["launches"]}},
            {"state": 1, "fworker.name": 1, "launch_id": 1},
            sort=[("launch_id", DESCENDING)],
        )
        if launch is None:
            gone = is_gone(firework["spec"]["hts"].get("taken", ""))
            if gone is None:
                gone = _age(firework["updated_on"]) > RESERVED_WITHOUT_LAUNCH
            if firework["state"] == "RESERVED" and gone:
                lost.append((firework, None))
        elif is_gone(launch["fworker"]["name"]):
            lost.append((firework, launch))
    return lost


def heal_job(database: Database, firework: dict[str, Any], launch: dict[str, Any] | None) -> bool:
    """Make the job of a dead worker ready again, or let it fail when it took too many workers with it.

    Parameters
    ----------
    database
        Where it is.
    firework
        Its document, with at least ``fw_id`` and ``spec.hts``.
    launch
        Its last launch; None where the worker died before there was one.
    """
    fw_id = firework["fw_id"]
    _unlock(database, fw_id)
    if launch and launch["state"] in ("COMPLETED", "FIZZLED"):
        # The worker finished and died before the workflow knew.
        database.launchpad._refresh_wf(fw_id)  # noqa: SLF001 (FireWorks offers no public name for it)
        return True
    held = {"fw_id": fw_id, "state": {"$in": ["RUNNING", "RESERVED"]}}
    if database.mongo["fireworks"].find_one(held, {"_id": 1}) is None:
        return False  # it has gone on by itself meanwhile
    if launch and launch["state"] == "RUNNING":
        # A job that was only reserved has taken no worker with it.
        times = firework["spec"]["hts"].get("lost", 0) + 1
        database.mongo["fireworks"].update_one({"fw_id": fw_id}, {"$set": {"spec.hts.lost": times}})
        if times >= MAX_LOST:
            database.launchpad.mark_fizzled(launch["launch_id"])
            return True
    database.launchpad.rerun_fw(fw_id)
    return True


def _unlock(database: Database, fw_id: int) -> None:
    """Take off the lock that a dead worker left on its workflow; each workflow has one worker at a time."""
    database.mongo["workflows"].update_one({"nodes": fw_id, "locked": {"$exists": True}}, {"$unset": {"locked": True}})


def _age(stamp: Any) -> timedelta:
    if isinstance(stamp, str):
        stamp = datetime.fromisoformat(stamp)
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    return datetime.now(UTC) - stamp
