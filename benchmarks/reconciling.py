"""One `reconcile` against FireWorks' own `detect_lostruns`, on the same running jobs, some of which were cancelled.

python benchmarks/reconciling.py [--allocations 10] [--each 1000] [--cancelled 2] [--json]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from surroundings import CLUSTER, Surroundings, surroundings

from hts_flows.cli.output import console, print_json, print_table, stderr, table
from hts_flows.flows import Column
from hts_flows.launch.reconcile import reconcile
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.commands import Slurm
from hts_flows.stores import Database
from hts_flows.stores.allocations import Allocation

from many_jobs import CallCounter, insert_running_jobs, new_allocation  # isort: skip  (tests/, see surroundings)

#: FireWorks gives a launch up that was not heard of for four hours.
SILENT_FOR = timedelta(hours=5)
COLUMNS = [
    Column("peer", "peer"),
    Column("seconds", "first pass", "s", ".2f"),
    Column("database_calls", "MongoDB commands"),
    Column("slurm_calls", "SLURM and shell commands"),
    Column("again", "second pass", "s", ".2f"),
    Column("settled", "jobs settled"),
    Column("causes", "causes stored"),
    Column("ratio", "ratio to hts", "", ".1f"),
]


def detect_lostruns(database: Database, slurm: Slurm) -> None:
    """What FireWorks has: it asks no queue, but how long ago a worker was last heard of."""
    del slurm
    database.launchpad.detect_lostruns(fizzle=True)


PEERS: dict[str, Callable[[Database, Slurm], object]] = {
    "reconcile": reconcile,
    "detect_lostruns(fizzle=True)": detect_lostruns,
}


@dataclass
class Row:
    """What one peer took and did.

    Attributes
    ----------
    peer
        Function.
    seconds
        Time of the pass that finds the cancelled jobs, s.
    database_calls, slurm_calls
        Commands that it sent to MongoDB; commands that it ran: squeue, sacct, and one that reads output files.
    again
        Time of the next pass, which finds nothing new, s.
    settled
        Jobs that ran before and do not any more.
    causes
        Results that say why they failed.
    ratio
        Time of the first pass in units of that of hts.
    """

    peer: str
    seconds: float
    database_calls: int
    slurm_calls: int
    again: float
    settled: int
    causes: int
    ratio: float = 1.0


def submit(here: Surroundings, count: int, cancelled: int) -> list[Allocation]:
    """Submit SLURM jobs that sleep, and cancel the last ones; gives the allocations, those that go on first."""
    allocations = []
    for number in range(count):
        allocation = new_allocation(str(here.folder / f"allocation-{number}"), cluster=CLUSTER, state="queued")
        job = here.slurm.submit("sleep 3600", f"--job-name={allocation.job_name}", "--mem=50", "--time=60")
        allocation.job_id = str(job)
        allocations.append(allocation)
    ended = [item.job_id for item in allocations[count - cancelled :]]
    here.slurm.output("scancel", *(job_id for job_id in ended if job_id))
    for job_id in ended:
        here.slurm.wait_finished(int(job_id or 0))
    return allocations


def fill(database: Database, allocations: list[Allocation], each: int, cancelled: int) -> None:
    """Store the running jobs of the allocations: those of the cancelled ones were last heard of long ago."""
    launches = database.mongo["launches"]
    heard = "state_history.0.updated_on"
    for number, allocation in enumerate(allocations):
        database.allocations.insert_one(allocation.document())
        insert_running_jobs(database, allocation, range(number * each, (number + 1) * each))
    stamp = datetime.now(UTC)
    launches.update_many({}, {"$set": {heard: stamp.isoformat()}})
    silent = [f"^slurm:{item.token}:" for item in allocations[len(allocations) - cancelled :]]
    launches.update_many(
        {"fworker.name": {"$regex": "|".join(silent)}}, {"$set": {heard: (stamp - SILENT_FOR).isoformat()}}
    )


def measure(peer: str, database: Database, counter: CallCounter, slurm: Slurm) -> Row:
    """Let one peer make two passes."""
    one_pass = partial(PEERS[peer], database, slurm)
    stderr.print(f"{peer} …")
    fireworks = database.mongo["fireworks"]
    before = fireworks.count_documents({"state": "RUNNING"})
    counter.names.clear()
    slurm.connection.calls = 0
    began = time.perf_counter()
    one_pass()
    seconds = time.perf_counter() - began
    calls, commands = len(counter.names), slurm.connection.calls
    began = time.perf_counter()
    one_pass()
    return Row(
        peer,
        seconds,
        calls,
        commands,
        time.perf_counter() - began,
        before - fireworks.count_documents({"state": "RUNNING"}),
        database.results.count_documents({"failure.cause": "cancelled"}),
    )


def main() -> None:
    """Give both peers the same documents, and print what they took."""
    parser = argparse.ArgumentParser(description="one reconcile against LaunchPad.detect_lostruns")
    parser.add_argument("--allocations", type=int, default=10, help="SLURM jobs in the queue (10)")
    parser.add_argument("--each", type=int, default=1000, help="running FireWorks jobs in each (1000)")
    parser.add_argument("--cancelled", type=int, default=2, help="how many of the SLURM jobs were cancelled (2)")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    arguments = parser.parse_args()
    if not 0 < arguments.cancelled <= arguments.allocations or arguments.each < 1:
        parser.error("--cancelled must be from 1 to --allocations, --each at least 1")
    running, lost = arguments.allocations * arguments.each, arguments.cancelled * arguments.each
    with surroundings() as here:
        allocations = submit(here, arguments.allocations, arguments.cancelled)
        slurm = Slurm(Cluster(name=CLUSTER, scratch=str(here.folder)))
        rows: list[Row] = []
        for peer in PEERS:
            database, counter = here.connect_counted(f"bench_{len(rows)}")
            fill(database, allocations, arguments.each, arguments.cancelled)
            database.launchpad.tuneup()  # FireWorks' own indexes too, for both
            rows.append(measure(peer, database, counter, slurm))
        machine = here.machine
    for row in rows:
        row.ratio = row.seconds / rows[0].seconds
        if row.settled != lost:
            raise RuntimeError(f"{row.peer} settled {row.settled} jobs; {lost} were cancelled")
    shown = [asdict(row) for row in rows]
    if arguments.json:
        print_json({"machine": machine, "running": running, "cancelled": lost, "peers": shown})
        return
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print_table(table(COLUMNS, shown, f"{running} running jobs, {lost} of them cancelled"))


if __name__ == "__main__":
    main()
