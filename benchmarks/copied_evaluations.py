"""Real evaluations with all their documents, and copies with other ids, candidates, values and times."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from hts_flows.stores import Database
from hts_flows.stores.results import CHANGED_AT


@dataclass(frozen=True)
class Evaluation:
    """A real one with all its documents: of its result, and of the workflows, jobs and launches of every run."""

    result: dict[str, Any]
    workflows: list[dict[str, Any]]
    fireworks: list[dict[str, Any]]
    launches: list[dict[str, Any]]

    @classmethod
    def read(cls, database: Database, key: str) -> Evaluation:
        """Read a stored one."""
        of = {"$or": [{"metadata.result": key}, {"metadata.earlier_result": key}]}
        workflows = list(database.mongo["workflows"].find(of))
        mine = {"fw_id": {"$in": [node for workflow in workflows for node in workflow["nodes"]]}}
        fireworks, launches = list(database.mongo["fireworks"].find(mine)), list(database.mongo["launches"].find(mine))
        (result,) = database.results.find({"_id": key})
        return cls(result, workflows, fireworks, launches)

    def after(self, other: Evaluation) -> Evaluation:
        """Give it as if the earlier run of another one had come before."""
        earlier = [workflow for workflow in other.workflows if "earlier_result" in workflow["metadata"]]
        nodes = {node for workflow in earlier for node in workflow["nodes"]}
        return Evaluation(
            self.result | {"attempts": other.result["attempts"]},
            self.workflows + earlier,
            self.fireworks + [job for job in other.fireworks if job["fw_id"] in nodes],
            self.launches + [launch for launch in other.launches if launch["fw_id"] in nodes],
        )


class Numbers(Protocol):
    """What copies take from whoever writes them."""

    random: random.Random
    jobs: int
    launched: int

    def worker(self, fate: str) -> str:
        """Name a worker."""
        ...

    def resubmission(self, key: str, at: datetime, campaigns: list[str]) -> str:
        """Write into the audit that a result was resubmitted; gives the entry's key."""
        ...


@dataclass
class Copy:
    """One evaluation to write, from a real one.

    Attributes
    ----------
    filler
        Gives ids, workers, and entries of the audit.
    real
        What is copied.
    at
        When it was submitted (UTC).
    fate
        What became of it.
    key, result
        Key of the result, and what is other in it.
    marks
        What is other in the marks of its jobs.
    """

    filler: Numbers
    real: Evaluation
    at: datetime
    fate: str
    key: str
    result: dict[str, Any]
    marks: dict[str, Any]

    def __post_init__(self) -> None:
        filler = self.filler
        self._delta = self.at - self.real.result["provenance"]["created_at"]
        old_jobs = sorted(job["fw_id"] for job in self.real.fireworks)
        self._jobs = {old: filler.jobs + number for number, old in enumerate(old_jobs, 1)}
        old_launches = sorted(launch["launch_id"] for launch in self.real.launches)
        self._launches = {old: filler.launched + number for number, old in enumerate(old_launches, 1)}
        filler.jobs += len(old_jobs)
        filler.launched += len(old_launches)
        again = bool(self.real.result["attempts"])
        self._audit = filler.resubmission(self.key, self.at, self.result["campaigns"]) if again else None

    def documents(self, energy: float | None) -> dict[str, list[dict[str, Any]]]:
        """Give the documents by collection."""
        return {
            "results": [self._result(energy)],
            "workflows": [self._workflow(one) for one in self.real.workflows],
            "fireworks": [self._firework(one) for one in self.real.fireworks],
            "launches": [self._launch(one) for one in self.real.launches],
        }

    def _moved(self, document: dict[str, Any], *names: str) -> dict[str, Any]:
        """Give times of a document, which FireWorks keeps as times and as texts, moved to this evaluation's."""
        return {name: _moved(document[name], self._delta) for name in names if document.get(name) is not None}

    def _named(self, document: dict[str, Any]) -> str:
        return f"{document['name'].partition(': ')[0]}: {self.result['label']}"

    def _run(self, run: dict[str, Any]) -> dict[str, Any]:
        """Give ids and times of a run: a provenance, or an attempt."""
        ids = {"fw_ids": [self._jobs[one] for one in run["fw_ids"]]}
        uuids = {"job_uuids": [str(uuid.uuid4()) for _ in run["job_uuids"]]}
        return run | ids | uuids | self._moved(run, "created_at", "finished_at")

    def _result(self, energy: float | None) -> dict[str, Any]:
        real, vary = self.real.result, self.filler.random.gauss
        changes: dict[str, Any] = {"_id": self.key, CHANGED_AT: self.at, "provenance": self._run(real["provenance"])}
        changes["submission"] = real["submission"] | {"at": self.at}
        if real["properties"]:
            varied = {name: value * vary(1, 0.3) + vary(0, 0.05) if isinstance(value, float) else value
                      for name, value in real["properties"].items()}  # fmt: skip
            changes["properties"] = varied | ({"intercalation_energy": energy} if energy is not None else {})
            calculation = real["calculation"]
            changes["calculation"] = calculation | {"energy": calculation["energy"] * vary(1, 0.2)}
        if real["failure"]:
            job = str(self.filler.random.randint(4000, 4059))
            usage = real["failure"]["job"] | {"job_id": job, "node": f"n{self.filler.random.randint(1, 40)}"}
            message = real["failure"]["message"].replace("4711", job)
            changes["failure"] = real["failure"] | {"message": message, "job": usage}
        changes["attempts"] = [self._run(one) | {"resubmission": self._audit} for one in real["attempts"]]
        return real | self.result | changes

    def _workflow(self, real: dict[str, Any]) -> dict[str, Any]:
        def renumbered(links: dict[str, list[int]]) -> dict[str, list[int]]:
            return {str(self._jobs[int(one)]): [self._jobs[other] for other in links[one]] for one in links}

        earlier = "earlier_result" in real["metadata"]
        mark = {"earlier_result": self.key, "retired_by": self._audit} if earlier else {"result": self.key}
        return _without_id(real) | {
            "nodes": [self._jobs[one] for one in real["nodes"]],
            "links": renumbered(real["links"]),
            "parent_links": renumbered(real["parent_links"]),
            "fw_states": {str(self._jobs[int(one)]): state for one, state in real["fw_states"].items()},
            "metadata": {"campaigns": self.result["campaigns"], **mark},
            "name": self._named(real),
            **self._moved(real, "created_on", "updated_on"),
        }

    def _firework(self, real: dict[str, Any]) -> dict[str, Any]:
        task = real["spec"]["_tasks"][0]
        task = task | {"job": task["job"] | {"uuid": str(uuid.uuid4())}}
        return _without_id(real) | {
            "fw_id": self._jobs[real["fw_id"]],
            "name": self._named(real),
            "spec": real["spec"] | {"_tasks": [task], "hts": real["spec"]["hts"] | self.marks},
            "launches": [self._launches[one] for one in real["launches"]],
            "archived_launches": [self._launches[one] for one in real["archived_launches"]],
            **self._moved(real, "created_on", "updated_on"),
        }

    def _launch(self, real: dict[str, Any]) -> dict[str, Any]:
        history = [one | self._moved(one, "created_on", "updated_on") for one in real["state_history"]]
        return _without_id(real) | {
            "launch_id": self._launches[real["launch_id"]],
            "fw_id": self._jobs[real["fw_id"]],
            "fworker": real["fworker"] | {"name": self.filler.worker(self.fate)},
            "state_history": history,
            **self._moved(real, "time_start", "time_end"),
        }


def _moved(value: datetime | str, delta: timedelta) -> datetime | str:
    return (datetime.fromisoformat(value) + delta).isoformat() if isinstance(value, str) else value + delta


def _without_id(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "_id"}
