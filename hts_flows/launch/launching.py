"""Launching: one pass settles what SLURM has ended, takes the campaigns further, and submits what is ready.

A pass may be killed at any moment, and two may run at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from hts_flows.errors import EngineNotAvailableError, HtsError
from hts_flows.launch.advance import advance
from hts_flows.launch.healing import Healer
from hts_flows.launch.holding import pause_of
from hts_flows.launch.lease import lease
from hts_flows.launch.owner import owner_name
from hts_flows.launch.placing import Placed, Placer
from hts_flows.launch.reconcile import Reconciled, reconcile
from hts_flows.launch.worker import launch_in_own_folder, quiet_fireworks
from hts_flows.slurm.commands import Slurm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hts_flows.engines import Engine
    from hts_flows.settings import Settings
    from hts_flows.slurm.cluster import Cluster
    from hts_flows.stores.database import Database

_NUMBER = re.compile(r"\d+")
#: Results that are recorded by one pass itself, where their allocation has ended before it could.
MOST_RECORDED = 50


@dataclass
class Pass:
    """What one pass did.

    Attributes
    ----------
    answering
        Whether SLURM answers.
    busy
        Who launches on this cluster at the moment, where that is not this process.
    reconciled
        What became of the SLURM jobs of earlier passes.
    placed
        What was submitted.
    recorded
        Results recorded by the pass itself.
    ready
        Jobs that are ready and not yet given to SLURM.
    paused
        Campaigns that a person has paused, each with by whom, for people.
    finished
        Whether all campaigns are finished or paused and no SLURM job of theirs is left.
    problems
        What is wrong, for people, each with the next step.
    """

    answering: bool = True
    busy: str | None = None
    reconciled: Reconciled = field(default_factory=Reconciled)
    placed: Placed = field(default_factory=Placed)
    recorded: int = 0
    ready: int = 0
    paused: list[str] = field(default_factory=list)
    finished: bool = False
    problems: list[HtsError] = field(default_factory=list)


class Launcher:
    """Submits to one cluster.

    Parameters
    ----------
    database
        Where campaigns and jobs are.
    settings
        Those in force.
    cluster
        The cluster.
    campaigns
        Only these; all that are stored when empty.
    force
        Do not hold back work whose last allocations did nothing.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        cluster: Cluster,
        campaigns: Iterable[str] = (),
        *,
        force: bool = False,
    ) -> None:
        self.database = database
        self.settings = settings
        self.cluster = cluster
        self.slurm = Slurm(cluster)
        self.only = list(campaigns)
        self._healers: dict[str, Healer] = {}
        self._placer = Placer(database, settings, self.slurm, force=force)

    def one_pass(self) -> Pass:
        """Reconcile, take every campaign one step further, and submit what is ready.

        A cluster that does not answer, or refuses, is a problem of the pass; nothing is lost by it.
        """
        outcome = Pass()
        with lease(self.database, f"launch on {self.cluster.name}") as mine:
            if not mine.held:
                outcome.busy = mine.owner
                return outcome
            try:
                outcome.reconciled = reconcile(self.database, self.slurm)
            except HtsError as error:
                outcome.problems.append(error)
                outcome.answering = False
            names = self._advance(outcome)
            outcome.recorded = self._record(names)
            if outcome.answering:
                # Asked again, as a campaign may have been paused while others were taken further.
                outcome.placed = self._placer.place(self._campaigns("running"), mine.renew)
                outcome.problems += self._told_once(outcome)
        outcome.ready = self._count_ready(names)
        found = [pause_of(self.database, name) for name in self._campaigns("paused")]
        outcome.paused = [str(paused) for paused in found if paused]
        left = self.database.allocations.find_one({"cluster": self.cluster.name, "state": {"$ne": "ended"}}, {"_id": 1})
        outcome.finished = not self._campaigns("running") and left is None
        return outcome

    def _told_once(self, outcome: Pass) -> list[HtsError]:
        """What ended allocations and placing found wrong; why work is held back says the former already."""
        held_back = " ".join(problem.message for problem in outcome.placed.problems)
        hint = f"find what is wrong with: hts cluster check {self.cluster.name}"
        # Those that differ in numbers, such as the job's id, are one problem.
        ended = {_NUMBER.sub("", text): text for text in outcome.reconciled.problems if text not in held_back}
        return [HtsError(text, hint) for text in ended.values()] + outcome.placed.problems

    def _campaigns(self, state: Literal["running", "paused"]) -> list[str]:
        query: dict[str, Any] = {"state": state, "paused": None} if state == "running" else {"paused": {"$ne": None}}
        if self.only:
            query["_id"] = {"$in": self.only}
        return [document["_id"] for document in self.database.campaigns.find(query, {"_id": 1})]

    def _advance(self, outcome: Pass) -> list[str]:
        """Take the campaigns further; of paused ones, what has ended is settled."""
        names = self._campaigns("running") + self._campaigns("paused")
        for name in names:
            self._healers.setdefault(name, Healer(self.database, name)).heal()
            try:
                advance(self.database, name, check=self._check)
            except HtsError as error:
                outcome.problems.append(HtsError(f"campaign {name}: {error.message}", error.hint))
        return names

    def _check(self, engine: Engine) -> None:
        """Find out whether an engine can run: an engine that the cluster's settings name is taken to be there."""
        if engine.runs_as not in self.cluster.resources:
            try:
                engine.check()
            except EngineNotAvailableError as error:
                raise EngineNotAvailableError(
                    f"{error.message}; and clusters.{self.cluster.name}.resources has no {engine.runs_as!r}",
                    f"where it is installed on the cluster, give it an entry in the settings: "
                    f"clusters.{self.cluster.name}.resources.{engine.runs_as}; {error.hint or ''}",
                ) from error

    def _count_ready(self, names: list[str]) -> int:
        return self.database.mongo["fireworks"].count_documents(
            {"state": "READY", "spec.hts.campaigns": {"$in": names}}
        )

    # Recording what allocations left unrecorded

    def _record(self, names: list[str]) -> int:
        """Record results whose calculation is there, but whose allocation ended before it recorded them."""
        import jobflow
        from fireworks import FWorker

        fireworks = self.database.mongo["fireworks"]
        ready = fireworks.find(
            {"state": "READY", "spec.hts.campaigns": {"$in": names}, "spec.hts.job": "record"},
            {"fw_id": 1, "spec.hts": 1},
        ).limit(MOST_RECORDED)
        jobs = list(ready)
        if not jobs:
            return 0
        at_work = list(
            self.database.allocations.find(
                {"cluster": self.cluster.name, "state": {"$ne": "ended"}}, {"kind": 1, "pool": 1, "result": 1}
            )
        )
        pools = {item["pool"] for item in at_work if item["kind"] == "pilot"}
        results = {item["result"] for item in at_work}
        jobflow.SETTINGS.JOB_STORE = self.database.job_store
        quiet_fireworks()
        recorded = 0
        for job in jobs:
            hts = job["spec"]["hts"]
            if hts["pool"] not in pools and hts["result"] not in results:
                only = FWorker(name=owner_name(), query={"fw_id": job["fw_id"]})
                recorded += launch_in_own_folder(self.settings.launches / "recording", self.database, only)
        return recorded
