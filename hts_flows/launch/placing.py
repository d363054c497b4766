"""Placing: SLURM jobs are submitted for what is ready, within the cluster's limits.

Potentials share *pilots*, allocations whose workers take one job after the other; other engines get one allocation for
each evaluation. A job is reserved before ``sbatch`` is called, and the SLURM job's name tells whose it is: whatever is
left half done, when a launcher is killed, the next reconciling adopts or gives back.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pymongo import DESCENDING

from hts_flows.engines import engine_class
from hts_flows.errors import HtsError, InputError
from hts_flows.launch.failures import FailureCause, failure
from hts_flows.launch.owner import owner_name
from hts_flows.launch.pilot import margin
from hts_flows.launch.settling import CutOff, settle_failures
from hts_flows.slurm.commands import RejectedError, Slurm
from hts_flows.slurm.environment import put_environment_file
from hts_flows.slurm.resources import MINUTE, Resources, format_walltime
from hts_flows.slurm.script import job_script
from hts_flows.stores.allocations import Allocation, worker_name
from hts_flows.stores.campaigns import now
from hts_flows.stores.results import JobUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hts_flows.settings import Settings
    from hts_flows.stores.database import Database

#: After an allocation that did no work, the next waits this long, twice as long after each further one, s.
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 30.0 * MINUTE
#: Which resources a refusal of SLURM is about, by its ``concerns``.
_CONCERNS = {
    "partition": ("partition", "walltime", "nodes"),
    "account": ("account",),
    "qos": ("qos",),
    "walltime": ("walltime", "partition", "qos"),
    "memory": ("memory", "partition"),
    "nodes": ("nodes", "tasks", "cpus", "gpus", "memory", "partition"),
    "options": ("sbatch",),
}


@dataclass
class Placed:
    """What was submitted.

    Attributes
    ----------
    submitted
        SLURM jobs.
    rejected
        Jobs that failed because SLURM refuses what they ask for.
    problems
        What is wrong, for people, each with the next step.
    """

    submitted: int = 0
    rejected: int = 0
    problems: list[HtsError] = field(default_factory=list)


@dataclass(frozen=True)
class _Pool:
    """Ready jobs that one kind of allocation can do."""

    name: str
    engine: str
    own: dict[str, Any]
    count: int


class Placer:
    """Submits SLURM jobs to one cluster.

    Parameters
    ----------
    database
        Where jobs and allocations are.
    settings
        Those in force.
    slurm
        The cluster's commands.
    force
        Do not hold back work whose last allocations did nothing.
    """

    def __init__(self, database: Database, settings: Settings, slurm: Slurm, *, force: bool = False) -> None:
        self.force = force
        self.database = database
        self.settings = settings
        self.slurm = slurm
        self.cluster = slurm.cluster
        self._environment_file: str | None = None

    def place(self, names: list[str], renew: Callable[[], None]) -> Placed:
        """Submit SLURM jobs for what is ready.

        Parameters
        ----------
        names
            Campaigns whose jobs are submitted.
        renew
            Called after each submission.
        """
        outcome = Placed()
        pools = self._ready_pools(names)
        if not pools:
            return outcome
        queued = list(
            self.database.allocations.find(
                {"cluster": self.cluster.name, "state": {"$ne": "ended"}}, {"pool": 1, "kind": 1}
            )
        )
        room = self.cluster.limits.max_queued - len(queued)
        for pool in pools:
            resources = self.cluster.resolve(pool.engine, pool.own)
            if not self.force and (paused := self._pause(pool)):
                outcome.problems.append(paused)
                continue
            try:
                self._refuse_long(pool, resources)
                for added in self._submit(pool, resources, names, queued, room):
                    outcome.submitted += added
                    room -= added
                    renew()
            except RejectedError as error:
                if not _asks_itself(pool, error):
                    outcome.problems.append(self._cluster_refuses(error, pool))
                    continue
                outcome.rejected += self._reject(pool, resources, error)
            except HtsError as error:
                # The queue is full, or SLURM does not answer: what is left waits for the next pass.
                outcome.problems.append(error)
                break
        return outcome

    def _ready_pools(self, names: list[str]) -> list[_Pool]:
        rows = self.database.mongo["fireworks"].aggregate(
            [
                {
                    "$match": {
                        "state": "READY",
                        "spec.hts.campaigns": {"$in": names},
                        "spec.hts.job": {"$ne": "record"},
                        "spec.hts.pool": {"$exists": True},
                    }
                },
                {
                    "$group": {
                        "_id": "$spec.hts.pool",
                        "engine": {"$first": "$spec.hts.engine"},
                        "own": {"$first": "$spec.hts.resources"},
                        "count": {"$sum": 1},
                        "priority": {"$max": "$spec._priority"},
                    }
                },
                {"$sort": {"priority": -1, "_id": 1}},
            ]
        )
        return [_Pool(row["_id"], row["engine"], row["own"] or {}, row["count"]) for row in rows]

    def _submit(
        self, pool: _Pool, resources: Resources, names: list[str], queued: list[dict[str, Any]], room: int
    ) -> Iterator[int]:
        """Submit for one pool, as far as there is room; yields how many SLURM jobs were added."""
        pilot = engine_class(pool.engine).packed if resources.pilot is None else resources.pilot
        ready = {"state": "READY", "spec.hts.pool": pool.name, "spec.hts.campaigns": {"$in": names}}
        ready |= {"spec.hts.job": {"$ne": "record"}}
        if pilot:
            usable = (resources.walltime or 0) - margin(resources.walltime or 0)
            fitting = self._sum(ready | {"spec.hts.seconds": {"$lte": usable}})
            open_pilots = sum(item["pool"] == pool.name and item["kind"] == "pilot" for item in queued)
            wanted = self._pilots_wanted(*fitting, resources, usable) - open_pilots
            for _ in range(min(wanted, room)):
                allocation = self._new_allocation("pilot", pool, resources)
                self.database.allocations.insert_one(allocation.document())
                self._call_sbatch(allocation, resources)
                room -= 1
                yield 1
            # No pilot would take these: each gets an allocation of its own, and all of its time.
            ready |= {"spec.hts.seconds": {"$gt": usable}}
            resources = resources.model_copy(update={"tasks": resources.nodes or 1})
        jobs = self.database.mongo["fireworks"].find(
            ready, {"fw_id": 1, "spec.hts.result": 1}, sort=[("spec._priority", DESCENDING), ("fw_id", 1)]
        )
        for job in list(jobs.limit(room)) if room > 0 else ():
            yield int(self._submit_single(job, pool, resources))

    def _sum(self, query: dict[str, Any]) -> tuple[int, float]:
        """Count jobs, and add up their estimated times, s."""
        rows = self.database.mongo["fireworks"].aggregate(
            [{"$match": query}, {"$group": {"_id": None, "n": {"$sum": 1}, "seconds": {"$sum": "$spec.hts.seconds"}}}]
        )
        return next(((row["n"], row["seconds"]) for row in rows), (0, 0.0))

    def _pilots_wanted(self, count: int, seconds: float, resources: Resources, usable: float) -> int:
        """Find how many pilots the work is worth, those in the queue included.

        Parameters
        ----------
        count, seconds
            Jobs, and their estimated times, s.
        resources
            What a pilot asks for.
        usable
            Time that a pilot has for jobs, s.
        """
        workers = resources.tasks or 1
        by_work = math.ceil(seconds / (workers * min(self.cluster.limits.pilot_work, usable)))
        return min(max(1, by_work), math.ceil(count / workers), self.cluster.limits.max_pilots)

    def _pause(self, pool: _Pool) -> HtsError | None:
        """Hold back where allocations for this work have just ended without doing any, so as not to burn them."""
        recent = self.database.allocations.find(
            {"cluster": self.cluster.name, "pool": pool.name, "state": "ended", "job_id": {"$ne": None}},
            {"problem": 1, "done": 1, "seen_at": 1, "created_at": 1},
        )
        idle = 0
        last: dict[str, Any] = {}
        for item in recent.sort("created_at", DESCENDING).limit(10):
            if item.get("done") or not item.get("problem"):
                break
            last = last or item
            idle += 1
        if not idle:
            return None
        pause = min(FIRST_PAUSE * 2 ** (idle - 1), LONGEST_PAUSE)
        ended = (last.get("seen_at") or last["created_at"]).replace(tzinfo=UTC)
        left = (ended + timedelta(seconds=pause) - now()).total_seconds()
        if left <= 0:
            return None
        return HtsError(
            f"{pool.count} {pool.engine} jobs held back for {left:.0f} s: {last['problem']}",
            f"find what is wrong with: hts cluster check {self.cluster.name}; once it is mended: hts launch --force",
        )

    def _refuse_long(self, pool: _Pool, resources: Resources) -> None:
        longest = self.cluster.limits.max_walltime
        if longest and resources.walltime and resources.walltime > longest:
            raise RejectedError(
                f"walltime {format_walltime(resources.walltime)} of {pool.engine} is longer than the "
                f"{format_walltime(longest)} that limits.max_walltime of cluster {self.cluster.name!r} allows",
                "ask for less time",
                concerns="walltime",
            )

    def _submit_single(self, job: dict[str, Any], pool: _Pool, resources: Resources) -> bool:
        """Reserve one job and submit it; False when somebody else was faster."""
        from fireworks import FWorker

        fireworks = self.database.mongo["fireworks"]
        allocation = self._new_allocation("single", pool, resources)
        allocation.result, allocation.fw_id = job["spec"]["hts"].get("result"), job["fw_id"]
        self.database.allocations.insert_one(allocation.document())
        mine = fireworks.update_one(
            {"fw_id": job["fw_id"], "state": "READY"},
            {
                "$set": {
                    "state": "RESERVED",
                    "spec.hts.allocation": allocation.token,
                    "spec.hts.taken": owner_name(),
                    "updated_on": datetime.now(UTC),
                }
            },
        )
        if not mine.modified_count:
            self.database.allocations.delete_one({"_id": allocation.token})
            return False
        fworker = FWorker(name=worker_name(allocation.token, 0, owner_name()))
        self.database.launchpad.reserve_fw(fworker, allocation.folder, fw_id=job["fw_id"])
        self._call_sbatch(allocation, resources)
        return True

    def _new_allocation(self, kind: Literal["single", "pilot"], pool: _Pool, resources: Resources) -> Allocation:
        base = self.cluster.scratch or str(self.settings.launches)
        allocation = Allocation.model_validate(
            {
                "cluster": self.cluster.name,
                "kind": kind,
                "pool": pool.name,
                "engine": pool.engine,
                "resources": resources.stored(),
                "folder": "",
                "owner": owner_name(),
                "created_at": now(),
            }
        )
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        allocation.folder = f"{base}/slurm/{today}/{pool.engine}-{allocation.token}"
        return allocation

    def _call_sbatch(self, allocation: Allocation, resources: Resources) -> None:
        """Submit; where SLURM refuses, or does not answer, the reservation is taken back."""
        try:
            if self._environment_file is None:
                self._environment_file = put_environment_file(self.slurm.connection, self.settings, self.cluster)
            script = job_script(
                job_name=allocation.job_name,
                resources=resources,
                command=f"{shlex.quote(self.cluster.interpreter)} -m hts_flows.launch.pilot {allocation.token}",
                environment_file=self._environment_file,
            )
            job_id = self.slurm.submit(script, allocation.folder, allocation.job_name)
        except (RejectedError, InputError) as error:
            self._take_back(allocation)
            if isinstance(error, RejectedError):
                raise
            raise RejectedError(error.message, error.hint) from error
        except HtsError:
            # SLURM may have taken it all the same: the next reconciling looks for its name, and else takes it back.
            self.database.allocations.update_one({"_id": allocation.token}, {"$set": {"owner": ""}})
            raise
        self.database.allocations.update_one(
            {"_id": allocation.token, "job_id": None}, {"$set": {"job_id": job_id, "state": "queued", "seen_at": now()}}
        )

    def _take_back(self, allocation: Allocation) -> None:
        """Give a reserved job back; sbatch has said that there is no SLURM job."""
        if allocation.fw_id is not None:
            taken = self.database.mongo["fireworks"].update_one(
                {"fw_id": allocation.fw_id, "spec.hts.allocation": allocation.token},
                {"$unset": {"spec.hts.allocation": ""}},
            )
            if taken.modified_count:
                self.database.launchpad.rerun_fw(allocation.fw_id)
        self.database.allocations.delete_one({"_id": allocation.token, "job_id": None})

    def _cluster_refuses(self, error: RejectedError, pool: _Pool) -> HtsError:
        return HtsError(
            f"cluster {self.cluster.name!r} refuses jobs of {pool.engine}: {error.message}",
            f"{error.hint or ''}; correct clusters.{self.cluster.name} in the settings file, "
            f"then try: hts cluster check {self.cluster.name}",
        )

    def _reject(self, pool: _Pool, resources: Resources, error: RejectedError) -> int:
        """Let all ready jobs fail that ask for what SLURM refuses; they ask for it themselves."""
        jobs = self.database.mongo["fireworks"].aggregate(
            [
                {"$match": {"state": "READY", "spec.hts.pool": pool.name, "spec.hts.job": {"$ne": "record"}}},
                {"$project": {"fw_id": 1, "state": 1, "spec.hts": 1}},
                {"$lookup": {"from": "workflows", "localField": "fw_id", "foreignField": "nodes", "as": "workflow"}},
                {"$project": {"fw_id": 1, "state": 1, "spec.hts": 1, "workflow._id": 1, "workflow.nodes": 1}},
            ]
        )
        asked = JobUsage(cluster=self.cluster.name, walltime_asked=resources.walltime, memory_asked=resources.memory)
        cause = failure(FailureCause.REJECTED, error.message, str(error)).model_copy(update={"job": asked})
        return settle_failures(
            self.database, [(CutOff(job, {}, (job["workflow"] or [None])[0]), cause) for job in jobs]
        )


def _asks_itself(pool: _Pool, error: RejectedError) -> bool:
    """Tell whether what SLURM refuses was asked for by the jobs themselves, and not by the settings."""
    concerned = _CONCERNS.get(error.concerns or "")
    return bool(pool.own) and (concerned is None or any(name in pool.own for name in concerned))
