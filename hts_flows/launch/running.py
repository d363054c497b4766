"""Running on this machine: workers are started, watched, and stopped; nothing is lost when any of it dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hts_flows.errors import HtsError, InputError
from hts_flows.launch.advance import Advance, advance, check_here
from hts_flows.launch.healing import Healer
from hts_flows.launch.worker import ONE_THREAD
from hts_flows.stores.results import count_states

if TYPE_CHECKING:
    from hts_flows.settings import Settings
    from hts_flows.stores import Database

POLL_SECONDS = 0.5
#: A worker that ends with an error is replaced this often in all before the run gives up.
MAX_REPLACED = 5
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Progress:
    """State of a run, as shown while it goes on.

    Attributes
    ----------
    done, failed, queued
        Results of the campaign in each state, references included.
    running
        Jobs that workers hold now.
    rate
        Results settled in a minute, over this run; None before the first.
    time_left
        At that rate, s.
    """

    done: int
    failed: int
    queued: int
    running: int
    rate: float | None
    time_left: float | None


class WorkersFailedError(HtsError):
    """Workers end with errors of their own, not of the jobs."""


def check_writable(settings: Settings) -> None:
    """Make sure that launch folders can be made, before anything is submitted.

    Raises
    ------
    InputError
        They cannot; the message names the folder.
    """
    try:
        settings.launches.mkdir(parents=True, exist_ok=True)
        probe = settings.launches / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write in the folder for calculations: {settings.launches}: {error.strerror}",
            "set HTS_HOME (or 'home:' in the settings file) to a folder you can write in",
        ) from error


def run_campaign(database: Database, campaign: str, settings: Settings, watch: Callable[[Progress], None]) -> Advance:
    """Work on a stored campaign until it is finished or paused.

    Parameters
    ----------
    database
        Where the campaign is.
    campaign
        Its name.
    settings
        Number of workers, folders.
    watch
        Called several times a second with the progress.

    Raises
    ------
    WorkersFailedError
        Workers cannot start or keep dying; the message holds the end of their log.
    """
    healer = Healer(database, campaign)
    healer.heal()
    outcome = advance(database, campaign, check=check_here)
    if outcome.finished or (outcome.paused and not _to_record(database, campaign)):
        return outcome
    log = settings.launches / campaign / "workers.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    start, settled_before = time.monotonic(), _settled(database, campaign)
    workers = [_start_worker(campaign, log) for _ in range(settings.workers)]
    replaced = 0
    try:
        while workers:
            watch(_progress(database, campaign, start, settled_before))
            time.sleep(POLL_SECONDS)
            healer.heal()
            for worker in list(workers):
                code = worker.poll()
                if code is None:
                    continue
                workers.remove(worker)
                if code != 0:
                    replaced += 1
                    if replaced > MAX_REPLACED:
                        raise WorkersFailedError(
                            f"workers keep ending with errors (exit code {code}):\n{_end_of(log)}", f"see {log}"
                        )
                    workers.append(_start_worker(campaign, log))
    finally:
        _stop(workers)
        healer.heal()
    watch(_progress(database, campaign, start, settled_before))
    return advance(database, campaign, check=check_here)


def _start_worker(campaign: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 (our own module)
            [sys.executable, "-m", "hts_flows.launch.worker", campaign, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | ONE_THREAD,
            # A Ctrl-C in the terminal reaches the run alone, which then stops its workers.
            start_new_session=True,
        )


def _stop(workers: list[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _to_record(database: Database, campaign: str) -> bool:
    """Tell whether something is computed that only waits for being recorded."""
    ready = {"state": "READY", "spec.hts.campaigns": campaign, "spec.hts.job": "record"}
    return database.mongo["fireworks"].find_one(ready, {"_id": 1}) is not None


def _settled(database: Database, campaign: str) -> int:
    counts = count_states(database, campaign)
    return counts["done"] + counts["failed"]


def _progress(database: Database, campaign: str, start: float, settled_before: int) -> Progress:
    counts = count_states(database, campaign)
    running = database.mongo["fireworks"].count_documents({"state": "RUNNING", "spec.hts.campaigns": campaign})
    settled = counts["done"] + counts["failed"] - settled_before
    minutes = (time.monotonic() - start) / 60
    rate = settled / minutes if settled > 0 and minutes > 0 else None
    return Progress(
        done=counts["done"],
        failed=counts["failed"],
        queued=counts["queued"],
        running=running,
        rate=rate,
        time_left=counts["queued"] / rate * 60 if rate else None,
    )


def _end_of(log: Path, lines: int = 8) -> str:
    return "\n".join("  " + line for line in log.read_text(errors="replace").splitlines()[-lines:])
