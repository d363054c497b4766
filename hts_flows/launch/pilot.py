"""Inside a SLURM allocation: workers are started, watched and replaced, and told how much time is left.

The batch script runs ``python -m hts_flows.launch.pilot TOKEN``, which starts workers as ``… TOKEN --worker PID``.
Nothing is settled here: what a killed worker leaves behind is written down for the next ``hts launch``, which knows
SLURM's side of it.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from hts_flows.errors import EngineNotAvailableError, HtsError, StoreUnavailableError
from hts_flows.launch.owner import owner_name
from hts_flows.launch.worker import ONE_THREAD, die_with_parent
from hts_flows.slurm.cgroup import oom_kills
from hts_flows.slurm.resources import Resources
from hts_flows.stores.allocations import Allocation, Death, restart_of, worker_name
from hts_flows.stores.campaigns import now

if TYPE_CHECKING:
    from typing import Any

    from hts_flows.stores.database import Database

#: Exit codes of an allocation that could not do its work; reconciling knows them.
EXIT_NO_ENGINE, EXIT_NO_DATABASE = 95, 96
POLL_SECONDS = 0.5
#: A worker that finds nothing to do waits this long for more before it ends, s.
IDLE_SECONDS = 20.0
#: Workers that end with errors are replaced, but not after so many in a row that did no job.
MAX_IN_A_ROW = 3
#: The first job of a worker also loads its engine, which takes about this long, s.
LOADING_SECONDS = 30.0
#: What FireWorks and the database need makes the shortest job take this long, s.
SHORTEST_SECONDS = 2.0
_MEGABYTE = 1024**2
_SETTLED = "hts: allocation {} was settled before it began: nothing is done"


def time_limit(resources: Resources) -> float:
    """Find when SLURM will end this allocation, as a Unix time, s.

    SLURM's own word where it gives one, else the batch script's start and the walltime that was asked for.
    """
    if told := os.environ.get("HTS_ALLOCATION_ENDS") or os.environ.get("SLURM_JOB_END_TIME"):
        return float(told)
    started = min(psutil.Process().create_time(), psutil.Process(os.getppid()).create_time())
    return started + (resources.walltime or 0)


def margin(walltime: float) -> float:
    """Time that is kept free at the end of an allocation, for leaving in order, s."""
    return min(60.0, 0.1 * walltime)


@dataclass
class _Member:
    """A worker process and what was seen of it."""

    process: subprocess.Popen[bytes]
    name: str
    memory_used: float = 0.0

    def watch_memory(self) -> None:
        """Remember the most memory that it and the programs it started held, MB."""
        try:
            root = psutil.Process(self.process.pid)
            used = sum(part.memory_info().rss for part in (root, *root.children(recursive=True)))
        except psutil.Error:
            return
        self.memory_used = max(self.memory_used, used / _MEGABYTE)


class Supervisor:
    """Keeps the workers of one allocation going on one node.

    Parameters
    ----------
    database
        Where the jobs are.
    allocation
        What this SLURM job was submitted for.
    """

    def __init__(self, database: Database, allocation: Allocation) -> None:
        self.database = database
        self.allocation = allocation
        self.restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        self.resources = Resources.model_validate(allocation.resources)
        self.ends_at = time_limit(self.resources)

    def begin(self) -> bool:
        """Tell the database which SLURM job this is, and take over from a run that SLURM has started again.

        Returns
        -------
        bool
            False where the allocation was given up meanwhile: its jobs are others' now.
        """
        begun = self.database.allocations.update_one(
            {"_id": self.allocation.token, "state": {"$ne": "ended"}},
            {"$set": {"job_id": os.environ.get("SLURM_JOB_ID"), "state": "queued", "restarts": self.restart}},
        )
        if begun.matched_count and self.restart:
            release_earlier_runs(self.database, self.allocation.token, self.restart)
        return begun.matched_count == 1

    def check_engine(self) -> None:
        """Find out whether the engine can run here, before jobs are taken that would all fail.

        Raises
        ------
        EngineNotAvailableError
            It cannot.
        """
        from hts_flows.engines import engine_from_dict

        key = self.allocation.result
        if key is None:
            job = self.database.mongo["fireworks"].find_one(
                {"state": "READY", "spec.hts.pool": self.allocation.pool}, {"spec.hts.result": 1}
            )
            key = job["spec"]["hts"].get("result") if job else None
        result = self.database.results.find_one({"_id": key}, {"settings": 1}) if key else None
        if result:
            engine_from_dict(result["settings"]).check()

    def run(self) -> int:
        """Run workers until nothing is left to do or no time is left.

        Returns
        -------
        int
            Exit code of the allocation: that of the last worker that ended with an error and was not replaced.
        """
        wanted = self._workers_here()
        members = [self._start() for _ in range(wanted)]
        kills, done, in_a_row, code = oom_kills(), 0, 0, 0
        while members:
            time.sleep(POLL_SECONDS)
            for member in list(members):
                member.watch_memory()
                exit_code = member.process.poll()
                if exit_code is None:
                    continue
                members.remove(member)
                if exit_code == 0:
                    continue
                kills_before, kills = kills, oom_kills()
                done_before, done = done, self._note_death(member, exit_code, out_of_memory=kills > kills_before)
                in_a_row = in_a_row + 1 if done == done_before else 1
                left = self.ends_at - time.time()
                if self.allocation.kind == "pilot" and in_a_row < MAX_IN_A_ROW and left > margin(self._walltime()):
                    members.append(self._start())
                else:
                    code = exit_code if exit_code > 0 else 128 - exit_code
        return code

    def _workers_here(self) -> int:
        if self.allocation.kind == "single":
            return 1
        return max(1, (self.resources.tasks or 1) // (self.resources.nodes or 1))

    def _walltime(self) -> float:
        return float(self.resources.walltime or 0)

    def _start(self) -> _Member:
        process = subprocess.Popen(  # noqa: S603 (our own module)
            [sys.executable, "-m", "hts_flows.launch.pilot", self.allocation.token, "--worker", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD | {"HTS_ALLOCATION_ENDS": str(self.ends_at)},
        )
        started = psutil.Process(process.pid).create_time()
        owner = f"{socket.gethostname()}:{process.pid}:{started:.2f}"
        return _Member(process, worker_name(self.allocation.token, self.restart, owner))

    def _note_death(self, member: _Member, exit_code: int, *, out_of_memory: bool) -> int:
        """Write down how a worker ended; gives how many jobs the allocation has done by now."""
        death = Death(
            worker=member.name,
            exit_code=exit_code,
            out_of_memory=out_of_memory,
            memory_used=member.memory_used or None,
            node=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
            at=now(),
        )
        before = self.database.allocations.find_one_and_update(
            {"_id": self.allocation.token}, {"$push": {"deaths": death.model_dump(mode="python")}}
        )
        return int((before or {}).get("done", 0))


def release_earlier_runs(database: Database, token: str, restart: int) -> int:
    """Make the jobs ready again that an allocation was running before SLURM started it anew.

    Returns
    -------
    int
        How many.
    """
    from hts_flows.launch.healing import heal_job

    launches = database.mongo["launches"].find(
        {"state": "RUNNING", "fworker.name": {"$regex": f"^slurm:{token}:"}},
        {"launch_id": 1, "fw_id": 1, "state": 1, "fworker.name": 1},
    )
    released = 0
    for launch in list(launches):
        if restart_of(launch["fworker"]["name"]) >= restart:
            continue
        firework = database.mongo["fireworks"].find_one(
            {"fw_id": launch["fw_id"], "state": "RUNNING"}, {"fw_id": 1, "spec.hts": 1}
        )
        if firework:
            heal_job(database, firework, launch)
            released += 1
    return released


def work(database: Database, allocation: Allocation, restart: int, ends_at: float) -> None:
    """Run jobs of the allocation one after the other, while there are any that can end in time.

    Parameters
    ----------
    database
        Where the jobs are.
    allocation
        What the SLURM job was submitted for.
    restart
        How often SLURM has started it again.
    ends_at
        When SLURM will end it, as a Unix time, s.
    """
    import jobflow
    from fireworks import FWorker

    from hts_flows.launch.worker import launch_in_own_folder

    jobflow.SETTINGS.JOB_STORE = database.job_store
    name = worker_name(allocation.token, restart, owner_name())
    walltime = float(Resources.model_validate(allocation.resources).walltime or 0)
    if allocation.kind == "single":
        _run_reserved(database, allocation, FWorker(name=name))
    slower, loading, idle_since = 1.0, LOADING_SECONDS, time.monotonic()
    while not _is_over(database, allocation.token):
        left = ends_at - margin(walltime) - time.time()
        query = _jobs_for(allocation, left, slower)
        job = database.mongo["fireworks"].find_one({"state": "READY", **query}, {"spec.hts": 1})
        if job is None:
            if left <= 0 or not _more_may_come(database, allocation, time.monotonic() - idle_since):
                return
            time.sleep(POLL_SECONDS)
            continue
        started = time.monotonic()
        launch_in_own_folder(allocation.folder, database, FWorker(name=name, query=query))
        database.allocations.update_one({"_id": allocation.token}, {"$inc": {"done": 1}})
        if job["spec"]["hts"].get("job") == "calculate":
            # Estimates are for one core of a usual machine, with everything loaded: this one may be slower.
            estimated = max(SHORTEST_SECONDS, float(job["spec"]["hts"].get("seconds") or 0.0))
            slower = max(1.0, (time.monotonic() - started - loading) / estimated, 0.5 * slower)
            loading = 0.0
        idle_since = time.monotonic()


def _is_over(database: Database, token: str) -> bool:
    """Tell whether the allocation was settled while it still ran, as when its node was given up: it takes no more."""
    return database.allocations.find_one({"_id": token, "state": "ended"}, {"_id": 1}) is not None


def _jobs_for(allocation: Allocation, left: float, slower: float) -> dict[str, Any]:
    """Filter of the jobs that it may take: of a pilot, those that end within the time left, s, on a slower machine."""
    if allocation.kind == "single":
        return {"spec.hts.result": allocation.result}
    fitting = [
        {"spec.hts.job": "record", "spec.hts.seconds": {"$lte": left}},
        {"spec.hts.seconds": {"$lte": left / slower}},
    ]
    return {"spec.hts.pool": allocation.pool, "$or": fitting}


def _run_reserved(database: Database, allocation: Allocation, fworker: Any) -> None:
    """Run the job that the launcher reserved, unless the reservation was taken back."""
    from hts_flows.launch.worker import launch_in_own_folder

    mine = database.mongo["fireworks"].find_one_and_update(
        {"fw_id": allocation.fw_id, "state": "RESERVED", "spec.hts.allocation": allocation.token},
        {"$unset": {"spec.hts.allocation": ""}},
    )
    if mine:
        launch_in_own_folder(allocation.folder, database, fworker, allocation.fw_id)
        database.allocations.update_one({"_id": allocation.token}, {"$inc": {"done": 1}})


def _more_may_come(database: Database, allocation: Allocation, idle: float) -> bool:
    """Tell whether to wait for jobs: those of the pool that still wait or run may bring new ones."""
    if allocation.kind == "single":
        return False
    unfinished = {"spec.hts.pool": allocation.pool, "state": {"$in": ["WAITING", "READY", "RESERVED", "RUNNING"]}}
    return idle < IDLE_SECONDS and database.mongo["fireworks"].find_one(unfinished, {"_id": 1}) is not None


def _run_nodes(token: str, nodes: int, ends_at: float) -> int:
    """Start a supervisor on each node of a pilot that has several."""
    return subprocess.run(  # noqa: S603 (our own module)
        [  # noqa: S607 (srun is where SLURM put it)
            "srun",
            f"--nodes={nodes}",
            f"--ntasks={nodes}",
            "--ntasks-per-node=1",
            "--kill-on-bad-exit=0",
            "--no-kill",
            *(sys.executable, "-m", "hts_flows.launch.pilot", token, "--node"),
        ],
        env=os.environ | {"HTS_ALLOCATION_ENDS": str(ends_at)},
        check=False,
    ).returncode


def _load(token: str) -> tuple[Database, Allocation] | None:
    """Connect, and read what this SLURM job is for; None when that was settled without it."""
    from hts_flows.settings import load_settings
    from hts_flows.stores import connect

    database = connect(load_settings())
    document = database.allocations.find_one({"_id": token})
    if document is None or document["state"] == "ended":
        print(_SETTLED.format(token), file=sys.stderr)  # noqa: T201 (goes to queue.err)
        return None
    return database, Allocation.from_document(document)


def main() -> int:
    """Work as the supervisor of an allocation, or as one of its workers."""
    parser = argparse.ArgumentParser(prog="python -m hts_flows.launch.pilot")
    parser.add_argument("token")
    parser.add_argument("--worker", type=int, metavar="PARENT_PID")
    parser.add_argument("--node", action="store_true")
    arguments = parser.parse_args()
    os.environ |= ONE_THREAD
    if arguments.worker:
        die_with_parent(arguments.worker)
    try:
        loaded = _load(arguments.token)
    except StoreUnavailableError as error:
        _say(error)
        return EXIT_NO_DATABASE
    if loaded is None:
        return 0
    if arguments.worker:
        from hts_flows.launch.worker import quiet_fireworks

        quiet_fireworks()
        restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        work(*loaded, restart, float(os.environ["HTS_ALLOCATION_ENDS"]))
        return 0
    supervisor = Supervisor(*loaded)
    return supervisor.run() if arguments.node else _supervise(supervisor)


def _supervise(supervisor: Supervisor) -> int:
    """Begin the allocation, and keep its workers going, on each of its nodes."""
    token, nodes = supervisor.allocation.token, supervisor.resources.nodes or 1
    if not supervisor.begin():
        print(_SETTLED.format(token), file=sys.stderr)  # noqa: T201 (goes to queue.err)
        return 0
    try:
        supervisor.check_engine()
    except EngineNotAvailableError as error:
        _say(error)
        return EXIT_NO_ENGINE
    if supervisor.allocation.kind == "pilot" and nodes > 1:
        return _run_nodes(token, nodes, supervisor.ends_at)
    return supervisor.run()


def _say(error: HtsError) -> None:
    print(f"hts: {error.message}\n  {error.hint or ''}", file=sys.stderr)  # noqa: T201 (goes to queue.err)


if __name__ == "__main__":
    sys.exit(main())
