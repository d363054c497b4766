"""A worker: takes ready jobs of one campaign, one after the other, until the campaign is finished or paused.

Run as ``python -m hts_flows.launch.worker CAMPAIGN PARENT_PID``; ``hts run`` starts several.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import DESCENDING

if TYPE_CHECKING:
    from fireworks import FWorker

    from hts_flows.settings import Settings
    from hts_flows.stores import Database

#: Every numeric library that would otherwise use all cores in each worker.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "RAYON_NUM_THREADS",
    ),
    "1",
)
IDLE_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process when the one that started it ends, however that happens.

    Parameters
    ----------
    parent
        Process id of the one that started it: it may have ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the run that started this worker has ended")


def work(database: Database, campaign: str, settings: Settings) -> None:
    """Run jobs until the campaign is finished or paused; of a paused one, what was computed is still recorded.

    Parameters
    ----------
    database
        Where the jobs are.
    campaign
        Name of the campaign whose jobs are taken.
    settings
        Gives the folder in which each job gets its own.
    """
    import jobflow
    from fireworks import FWorker

    from hts_flows.launch.advance import advance, check_here
    from hts_flows.launch.healing import Healer
    from hts_flows.launch.holding import pause_of
    from hts_flows.launch.owner import owner_name

    # Jobs carry no store, so that no password is ever in a job: they use the one of this process.
    jobflow.SETTINGS.JOB_STORE = database.job_store
    today = settings.launches / campaign / datetime.now(UTC).strftime("%Y-%m-%d")
    healer = Healer(database, campaign)
    while True:
        mine: dict[str, Any] = {"spec.hts.campaigns": campaign}
        if pause_of(database, campaign):
            mine["spec.hts.job"] = "record"
        if database.mongo["fireworks"].find_one({"state": "READY", **mine}, {"_id": 1}):
            launch_in_own_folder(today, database, FWorker(name=owner_name(), query=mine))
            continue
        healer.heal()
        outcome = advance(database, campaign, check=check_here)
        if outcome.finished:
            return
        if outcome.paused:
            logging.getLogger(__name__).warning("worker stops: %s", outcome.paused)
            return
        if not outcome.submitted:
            time.sleep(IDLE_SECONDS)


def quiet_fireworks() -> None:
    """Keep FireWorks' account of every database write out of the log; jobs still say when they start and end."""
    for name in ("launchpad", "rocket.launcher"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.propagate = False


def launch_in_own_folder(parent: Path | str, database: Database, fworker: FWorker, fw_id: int | None = None) -> bool:
    """Run one job in a folder of its own, which is removed again when it stays empty.

    Parameters
    ----------
    parent
        Folder in which that folder is made.
    database
        Where the jobs are.
    fworker
        Who runs it, and which jobs it may take.
    fw_id
        This job and no other.

    Returns
    -------
    bool
        Whether there was a job.
    """
    from fireworks.core.rocket_launcher import launch_rocket

    if fw_id is None:
        fw_id = _take(database, fworker)
        if fw_id is None:
            return False
    folder = Path(parent) / f"{datetime.now(UTC).strftime('%H%M%S')}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        return bool(launch_rocket(database.launchpad, fworker, fw_id=fw_id, strm_lvl="WARNING"))
    finally:
        os.chdir(before)
        if {path.name for path in folder.iterdir()} <= {"FW.json"}:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()


def _take(database: Database, fworker: FWorker) -> int | None:
    """Reserve the most urgent ready job, saying for whom; None when there is none.

    FireWorks reserves a job and writes who has it only after loading everything that the job imports. A worker that
    dies meanwhile, or is only slow, could not be told from others.
    """
    taken = database.mongo["fireworks"].find_one_and_update(
        {**fworker.query, "state": "READY"},
        {"$set": {"state": "RESERVED", "spec.hts.taken": fworker.name, "updated_on": datetime.now(UTC)}},
        projection={"fw_id": 1},
        sort=[("spec._priority", DESCENDING)],
    )
    return int(taken["fw_id"]) if taken else None


def main() -> None:
    """Start a worker; the environment holds the settings."""
    campaign, parent = sys.argv[1:]
    die_with_parent(int(parent))
    os.environ |= ONE_THREAD
    from hts_flows.settings import load_settings
    from hts_flows.stores import connect

    quiet_fireworks()
    settings = load_settings()
    work(connect(settings), campaign, settings)


if __name__ == "__main__":
    main()
