"""Overhead per job of `hts launch` against FireWorks' own `qlaunch` and `rlaunch`: the same short jobs, side by side.

python benchmarks/launching.py [--jobs 200] [--seconds 1] [--queue 6 0] [--json]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from fireworks import Firework, LaunchPad, PyTask, Workflow
from surroundings import CLUSTER, Surroundings, surroundings

from hts_flows.campaign import Campaign
from hts_flows.cli.output import console, print_json, print_table, stderr, table
from hts_flows.flows import Column
from hts_flows.stores import Database
from hts_flows.stores.campaigns import claim_step, save_campaign

from daemons import end_processes  # isort: skip  (tests/, which surroundings has put on the path)
from slurm_config import NODES  # isort: skip

CAMPAIGN = "benchmark"
CPUS_PER_NODE = 2
WORKERS = CPUS_PER_NODE * len(NODES)
#: Given by its full name: FireWorks imports all its modules to find a short one.
TASK = "{{fireworks.user_objects.firetasks.script_task.PyTask}}"
#: A run that takes longer per job and worker than this has gone wrong, s.
LONGEST = 60.0
BIN = Path(sys.executable).parent
COLUMNS = [
    Column("peer", "peer"),
    Column("slurm_jobs", "SLURM jobs"),
    Column("wall", "wall time", "s", ".1f"),
    Column("ideal", "ideal", "s", ".1f"),
    Column("overhead", "overhead per job", "s", ".2f"),
    Column("ratio", "ratio to hts", "", ".1f"),
]


@dataclass(frozen=True)
class Work:
    """What is to be done: so many jobs, each sleeping for so long (s)."""

    jobs: int
    seconds: float


@dataclass
class Row:
    """What one peer took.

    Attributes
    ----------
    peer
        Command.
    slurm_jobs
        SLURM jobs it used.
    wall
        From the start of the command until the last job was completed, s.
    ideal
        The same, if nothing but the jobs took time, s.
    overhead
        Time of a worker for each job beyond that of the job, s.
    ratio
        Overhead in units of that of hts.
    """

    peer: str
    slurm_jobs: int
    wall: float
    ideal: float
    overhead: float
    ratio: float = 1.0


def insert(launchpad: LaunchPad, work: Work) -> None:
    """Store the jobs, one workflow each, the same for every peer."""
    hts = {"campaigns": [CAMPAIGN], "pool": "sevennet", "engine": "sevennet", "resources": {}, "job": "calculate"}
    for number in range(work.jobs):
        task = PyTask(func="time.sleep", args=[work.seconds])
        spec = {"hts": hts | {"seconds": work.seconds}}
        launchpad.add_wf(Workflow([Firework(task, spec=spec, name=f"sleep {number}")]))
    launchpad.fireworks.update_many({}, {"$set": {"spec._tasks.0._fw_name": TASK}})


def run_hts(here: Surroundings, work: Work) -> Row:
    """`hts launch --watch` with the default time between passes; three pilots of two workers."""
    content = {
        "limits": {"max_pilots": len(NODES), "pilot_work": "1s"},
        "resources": {"sevennet": {"tasks": CPUS_PER_NODE, "memory": "2000M", "walltime": "50min"}},
    }
    file = here.folder / "home" / "settings.yaml"
    file.write_text(yaml.safe_dump({"clusters": {CLUSTER: {"scratch": str(here.folder / "hts"), **content}}}))
    database = here.connect("bench_hts")
    _claim_campaign(database)
    insert(database.launchpad, work)
    command = [str(BIN / "hts"), "launch", CAMPAIGN, "--watch", "--json"]
    wall = _time(here, command, database, work, stops_itself=False)
    return _row("hts launch", database.allocations.count_documents({"job_id": {"$ne": None}}), wall, work)


def _claim_campaign(database: Database) -> None:
    """Store a campaign whose candidates this process has yet to submit, as far as launchers can tell.

    So the launcher adds none of its own while it runs the jobs that are there.
    """
    candidates = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": ["Li"], "concentrations": ["1/6"]}
    campaign = Campaign.from_dict(
        {"name": CAMPAIGN, "candidates": candidates, "calculate": [{"engine": "sevennet"}]}, "benchmark"
    )
    save_campaign(database, campaign)
    claim_step(database, CAMPAIGN, campaign.ladder()[0].step)


def run_qlaunch(here: Surroundings, work: Work, queue: int) -> Row:
    """FireWorks' queue launcher in reservation mode: a SLURM job for each firework."""
    database, _ = _prepare_fireworks(here, f"bench_qlaunch_{queue}", work)
    command = [str(BIN / "qlaunch"), "--reserve", "--silencer", "rapidfire", "--sleep=1", f"--maxjobs_queue={queue}"]
    wall = _time(here, command, database, work)
    reservations = database.mongo["launches"].distinct("state_history.reservation_id")
    limit = f"at most {queue} in the queue" if queue else "all queued at once"
    return _row(f"qlaunch -r rapidfire, {limit}", sum(bool(one) for one in reservations), wall, work)


def run_rlaunch(here: Surroundings, work: Work) -> Row:
    """FireWorks' workers on this machine, without SLURM."""
    database, _ = _prepare_fireworks(here, "bench_rlaunch", work)
    # Without a timeout FireWorks 2.1.4 subtracts from None when one of the workers runs out of jobs.
    command = [str(BIN / "rlaunch"), "--silencer", "multi", str(WORKERS), "--sleep=1", "--timeout=36000"]
    return _row(f"rlaunch multi {WORKERS}", 0, _time(here, command, database, work), work)


def _prepare_fireworks(here: Surroundings, name: str, work: Work) -> tuple[Database, Path]:
    """Fill a database and write FireWorks' configuration files for it, in a folder that the peer then works in."""
    database = here.connect(name)
    launchpad = database.launchpad
    launchpad.reset("", require_password=False)
    insert(launchpad, work)
    folder = here.folder / name
    folder.mkdir(mode=0o700)
    launchpad.to_file(str(folder / "my_launchpad.yaml"))
    files = {
        "my_fworker": {"name": "benchmark", "category": "", "query": "{}", "env": {}},
        "my_qadapter": {
            "_fw_name": "CommonAdapter",
            "_fw_q_type": "SLURM",
            "rocket_launch": f"{BIN}/rlaunch --silencer singleshot",
            "nodes": 1,
            "ntasks": 1,
            "cpus_per_task": 1,
            "mem": 1000,
            "walltime": "00:10:00",
        },
        # It would wait 5 s after every sbatch.
        "FW_config": {"CONFIG_FILE_DIR": str(folder), "QUEUE_UPDATE_INTERVAL": 0},
    }
    for file, content in files.items():
        (folder / f"{file}.yaml").write_text(yaml.safe_dump(content))
    return database, folder


def _time(
    here: Surroundings, command: list[str], database: Database, work: Work, *, stops_itself: bool = True
) -> float:
    """Run a peer until every job is completed; gives the time that took, s.

    Raises
    ------
    RuntimeError
        A job failed, ran twice, or the peer ended before all were completed.
    TimeoutError
        It takes far too long.
    """
    name = database.mongo.name
    folder = here.folder / name
    folder.mkdir(mode=0o700, exist_ok=True)
    environment = os.environ | {"FW_CONFIG_FILE": str(folder / "FW_config.yaml"), "HTS_DATABASE": name}
    stderr.print(f"{Path(command[0]).name} …")
    fireworks = database.mongo["fireworks"]
    with (folder / "output").open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while fireworks.count_documents({"state": "COMPLETED"}) < work.jobs:
                _check_progress(process, database, time.monotonic() - began, work)
                time.sleep(0.1)
            wall = time.monotonic() - began
            here.slurm.wait_idle(120)
            if not stops_itself:
                process.send_signal(signal.SIGTERM)
            process.wait(120)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{(folder / 'output').read_text()[-3000:]}") from error
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid)
                end_processes([*family.children(recursive=True), family], signal.SIGTERM)
                process.wait()
    _check_once(database, work)
    return wall


def _check_progress(process: subprocess.Popen[bytes], database: Database, seconds: float, work: Work) -> None:
    failed = database.mongo["fireworks"].count_documents({"state": {"$in": ["FIZZLED", "DEFUSED"]}})
    if failed:
        raise RuntimeError(f"{database.mongo.name}: {failed} jobs failed")
    # qlaunch ends by itself when all is submitted, and while jobs still run.
    left = database.mongo["fireworks"].count_documents({"state": "READY"})
    if process.poll() is not None and (process.returncode or left):
        raise RuntimeError(f"{database.mongo.name}: ended with {process.returncode} and {left} jobs left")
    if seconds > LONGEST * (1 + (work.jobs / WORKERS) * (1 + work.seconds)):
        raise TimeoutError(f"{database.mongo.name}: {seconds:.0f} s")


def _check_once(database: Database, work: Work) -> None:
    """Every job is completed and was launched once."""
    fireworks, launches = database.mongo["fireworks"], database.mongo["launches"]
    once = {"state": "COMPLETED", "launches": {"$size": 1}, "archived_launches": []}
    counts = [
        fireworks.count_documents({}),
        fireworks.count_documents(once),
        launches.count_documents({}),
        launches.count_documents({"state": "COMPLETED"}),
    ]
    if counts != [work.jobs] * 4:
        raise RuntimeError(f"{database.mongo.name}: not each of {work.jobs} jobs ran exactly once: {counts}")


def _row(peer: str, slurm_jobs: int, wall: float, work: Work) -> Row:
    total = work.jobs * work.seconds
    return Row(peer, slurm_jobs, wall, total / WORKERS, (wall * WORKERS - total) / work.jobs)


def main() -> None:
    """Run all peers, one after the other, and print what they took."""
    parser = argparse.ArgumentParser(description="overhead per job of hts launch, qlaunch and rlaunch")
    parser.add_argument("--jobs", type=int, default=200, help="jobs that each peer runs (200)")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each job sleeps, s (1)")
    parser.add_argument(
        "--queue",
        type=int,
        nargs="+",
        default=[WORKERS, 0],
        help=f"SLURM jobs that qlaunch queues; 0: all ({WORKERS} 0)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    arguments = parser.parse_args()
    if arguments.jobs < 1 or arguments.seconds <= 0 or min(arguments.queue) < 0:
        parser.error("--jobs and --seconds must be more than 0, --queue at least 0")
    work = Work(arguments.jobs, arguments.seconds)
    with surroundings() as here:
        rows = [run_hts(here, work)]
        rows += [run_qlaunch(here, work, queue) for queue in arguments.queue]
        rows.append(run_rlaunch(here, work))
        machine = here.machine
    for row in rows:
        row.ratio = row.overhead / rows[0].overhead
    shown: list[dict[str, Any]] = [asdict(row) for row in rows]
    if arguments.json:
        print_json({"machine": machine, **asdict(work), "workers": WORKERS, "peers": shown})
        return
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print_table(table(COLUMNS, shown, f"{work.jobs} jobs of {work.seconds:g} s, {WORKERS} workers"))


if __name__ == "__main__":
    main()
