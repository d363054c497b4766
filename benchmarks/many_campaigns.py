"""A database as years of screening leave it: real evaluations, copied with other candidates, values and times."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from hts_flows.campaign import Campaign
from hts_flows.flows import get_domain
from hts_flows.ladder import Level
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.submission import Wanted, pool_of, wanted_at_first_level
from hts_flows.settings import load_settings
from hts_flows.stores import Database
from hts_flows.stores.allocations import Allocation, worker_name
from hts_flows.stores.campaigns import claim_step, save_campaign, step_submitted
from hts_flows.stores.rankings import add_ranking
from hts_flows.stores.results import CHANGED_AT, result_key

from failed_results import fail, start, submitted  # isort: skip  (tests/, see surroundings)
from many_jobs import new_allocation  # isort: skip
from ranking_documents import Search  # isort: skip

BATCH = 1000
#: The oldest evaluation was submitted so long ago; later ones are the more frequent.
AGE = timedelta(days=20)
CAUSES = (
    FailureCause.WALLTIME,
    FailureCause.OUT_OF_MEMORY,
    FailureCause.NODE_FAILURE,
    FailureCause.IONIC_NOT_CONVERGED,
    FailureCause.UNKNOWN,
)
#: What became of evaluations, and of how many in a hundred; "after" ones were resubmitted, once.
FATES = {"done": 80.0, "queued": 10.0, "running": 1.0, "failed": 4.5, "done after": 3.0, "queued after": 1.0}
FATES |= {"failed after": 0.5}
#: A candidate of the largest campaign that this one asks for too.
ALKALI_METALS = ("Li", "Na", "K", "Rb", "Cs")
#: Results that one resubmission was made for.
RESUBMITTED_AT_ONCE = (1, 1, 2, 5, 20, 100)
_LAYERED = {"concentrations": ["1/6", "1/8", "1/12"], "stages": [1, 2, 3]}
_ENDED, _ALIVE = 60, 10
#: Trials of the search, and candidates that it learns from first.
TRIALS, TRAINING = 20, 100


@dataclass(frozen=True)
class Share:
    """A campaign, and which part of the evaluations is its own.

    Attributes
    ----------
    name
        Of the campaign.
    part
        Of all evaluations of the database.
    space
        Its candidates: what differs from all intercalants in all hosts.
    rows
        Rows of its ladder.
    """

    name: str
    part: float
    space: dict[str, Any]
    rows: list[dict[str, Any]]

    def campaign(self) -> Campaign:
        """Make the campaign, as its file would."""
        space = {"domain": "intercalation", "hosts": "all", "intercalants": "all"} | self.space
        return Campaign.from_dict({"name": self.name, "candidates": space, "calculate": self.rows})


_UP = {"engine": "sevennet", "model": "7net-l3i5", "promote": {"by": "intercalation_energy", "lowest": 500}}
SHARES = (
    Share("layered", 0.6, _LAYERED, [{"engine": "sevennet"}]),
    Share(
        "two_steps",
        0.25,
        {"concentrations": ["1/2", "1/3"], "stages": [1, 2]},
        [{"engine": "sevennet", "fmax": 0.05}, _UP],
    ),
    Share("quick", 0.13, {"concentrations": ["1/4"], "stages": [1, 2]}, [{"engine": "sevennet", "task": "static"}]),
    Share("small", 0.02, {"concentrations": ["1"]}, [{"engine": "sevennet", "steps": 500}]),
)
#: It asks for nothing that the largest one has not: all its results are shared.
SHARED = Share("alkali_metals", 0, {**_LAYERED, "intercalants": list(ALKALI_METALS)}, SHARES[0].rows)
_SCREEN = {
    "by": "intercalation_energy",
    "descriptors": ["density", "elements"],
    "train_on": {"stage": [1]},
    "stop": {"budget": 1000},
}
SEARCH = Share("search", 0, {"concentrations": ["1/9"]}, [{"engine": "sevennet", "steps": 400, "screen": _SCREEN}])


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
        result = database.results.find_one({"_id": key})
        assert result is not None, key
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


def real_evaluations(database: Database, folder: Path) -> dict[str, list[Evaluation]]:
    """Run, start, fail and resubmit a few evaluations with the package's own functions.

    Parameters
    ----------
    database
        An empty one, that the settings in force name.
    folder
        Where ``hts run`` works.

    Returns
    -------
    dict of list of Evaluation
        One or several for each of the fates.
    """
    space = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": ["Li"]}
    space |= {"concentrations": ["1/6"], "stages": [2]}
    file = folder / "real.yaml"
    file.write_text(yaml.safe_dump({"name": "real", "candidates": space, "calculate": [{"engine": "sevennet"}]}))
    command = [sys.executable, "-m", "hts_flows.cli.main", "run", str(file)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    done = database.results.find_one({"campaigns": "real", "role": "candidate"}) or {}
    assert done["state"] == "done", done.get("failure")
    keys = [key for key in submitted(database, "others", intercalants=("Na", "K", "Rb", "Cs")).values()]
    keys = [key for key in keys if key.startswith("intercalation-")]
    evidence = "\n".join(f"  step {number}: energy -58.2{number:03d} eV, largest force 0.1{number:02d} eV/Å"
                         for number in range(30))  # fmt: skip
    for key, cause in zip(keys, CAUSES, strict=False):
        fail(database, key, cause, str(folder / cause), state={"walltime": "TIMEOUT"}.get(cause, "FAILED"))
        database.results.update_one({"_id": key}, {"$set": {"failure.evidence": evidence}})
    failed = [Evaluation.read(database, key) for key in keys[: len(CAUSES)]]
    again, running, waiting = keys[0], keys[len(CAUSES)], keys[len(CAUSES) + 1]
    candidate = again.rpartition(":")[0]
    plan = plan_resubmission(database, "others", ids=[candidate], resources={"walltime": "8h"})
    assert resubmit(database, plan, user="anna", reason="more time").keys == [again]
    start(database, running, folder / "running")
    resubmitted = Evaluation.read(database, again)
    finished = Evaluation.read(database, done["_id"])
    return {
        "done": [finished],
        "queued": [Evaluation.read(database, waiting)],
        "running": [Evaluation.read(database, running)],
        "failed": failed,
        "done after": [finished.after(resubmitted)],
        "queued after": [resubmitted],
        "failed after": [one.after(resubmitted) for one in failed],
    }


@dataclass
class Filler:
    """Writes copies of real evaluations, in batches.

    Attributes
    ----------
    database
        Where to.
    real
        From :func:`real_evaluations`.
    total
        Evaluations to write in all.
    audit
        A real document of a resubmission.
    """

    database: Database
    real: dict[str, list[Evaluation]]
    total: int
    audit: dict[str, Any]
    random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 (made-up values)
    written: int = 0
    jobs: int = 0
    launched: int = 0
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None, microsecond=0))
    allocations: list[Allocation] = field(default_factory=list)
    _rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _audits: list[dict[str, Any]] = field(default_factory=list)
    _room: int = 0

    def fill(self) -> None:
        """Write all campaigns, allocations, rankings and the audit."""
        for number in range(_ENDED + _ALIVE):
            state, seen = ("ended", self.now - AGE * self.random.random()) if number < _ENDED else ("queued", self.now)
            fields = {"state": state, "job_id": str(4000 + number), "seen_at": seen, "created_at": seen}
            self.allocations.append(new_allocation(f"/scratch/pilots/{number}", cluster="big", **fields))
        self.database.allocations.insert_many([one.document() for one in self.allocations])
        self._store(SHARED)
        for share in SHARES:
            campaign = self._store(share)
            count, levels = round(share.part * self.total), campaign.ladder()
            up = count // 20 if len(levels) > 1 else 0
            candidates = campaign.candidates.candidates(campaign.inventory)
            # References are among those wanted; without a few candidates there would be too few.
            wanted = list(islice(wanted_at_first_level(campaign, islice(candidates, count)), count - up))
            for item in wanted:
                self._add(share.name, levels[0], item)
            for item in [item for item in wanted if item.role == "candidate"][:up]:
                self._add(share.name, levels[1], item)
        self._search()
        self._flush()
        self.database.audit.insert_many(self._audits)
        counters = {"next_fw_id": self.jobs + 1, "next_launch_id": self.launched + 1}
        self.database.mongo["fw_id_assigner"].update_one({}, {"$set": counters}, upsert=True)

    def _store(self, share: Share) -> Campaign:
        campaign = share.campaign()
        save_campaign(self.database, campaign)
        created = {"created_at": self.now - AGE}
        self.database.campaigns.update_one({"_id": share.name}, {"$set": created})
        for number, level in enumerate(campaign.ladder()):
            claim_step(self.database, share.name, f"calculate-{number}")
            step_submitted(self.database, share.name, f"calculate-{number}", settings_hash=level.settings_hash)
        return campaign

    def _search(self) -> None:
        """Let a real screener rank real candidates by made-up values, and write what it asked for."""
        import numpy as np
        import pandas as pd

        campaign = self._store(SEARCH)
        level, size = campaign.ladder()[0], min(3000, max(TRAINING + TRIALS + 1, self.total // 10))
        found = islice(campaign.candidates.candidates(campaign.inventory), size)
        wanted = [item for item in wanted_at_first_level(campaign, found) if item.role == "candidate"]
        names = ("candidate_id", "label", "formula")
        identities = pd.DataFrame({name: [getattr(item.candidate, name) for item in wanted] for name in names})
        numbers = np.random.default_rng(1)
        x = {"density": numbers.normal(3, 1, len(wanted)), "radius": numbers.normal(2, 0.5, len(wanted))}
        values = (x["density"] - 2) ** 2 - x["radius"]
        named = {"by": "intercalation_energy", "unit": "eV/M", "transform": "none", "campaign": SEARCH.name}
        training = range(min(TRAINING, len(wanted) // 2))
        search = Search(identities, x, values, training=training, settings_hash=level.settings_hash, **named)
        search.run(TRIALS)
        for ranking, tables in zip(search.rankings, search.tables, strict=True):
            add_ranking(self.database, ranking, *tables)
        for one in {choice.candidate_id for ranking in search.rankings for choice in ranking.asked}:
            number = search.number(one)
            self._add(SEARCH.name, level, wanted[number], fate="done", energy=float(values[number]))

    def _add(self, campaign: str, level: Level, item: Wanted, *, fate: str = "", energy: float | None = None) -> None:
        """Write one evaluation."""
        if not fate:
            weights = list(FATES.values())
            fate = "done" if item.role == "reference" else self.random.choices(list(FATES), weights)[0]
        evaluation = self.random.choice(self.real[fate])
        candidate = item.candidate
        key = result_key(candidate.candidate_id, level.settings_hash)
        facets = get_domain(candidate.domain).facets(candidate)
        shared = campaign == SHARES[0].name and facets.get("intercalant") in ALKALI_METALS
        references = {role: one.candidate_id for role, one in item.references.items()}
        pool = pool_of(level.engine.runs_as, level.resources)
        result = {
            "candidate_id": candidate.candidate_id,
            "candidate": candidate.model_dump(mode="json"),
            "label": candidate.label,
            "formula": candidate.formula,
            "role": item.role,
            "engine": level.engine.engine,
            "settings": level.engine.model_dump(mode="json"),
            "settings_hash": level.settings_hash,
            "previous_hash": level.previous_hash,
            "campaigns": [campaign, SHARED.name] if shared else [campaign],
            "facets": facets,
            "references": references,
            "reference_results": [result_key(one, level.settings_hash) for one in references.values()],
        }
        marks = {"result": key, "campaigns": result["campaigns"], "role": item.role, "pool": pool}
        # The later, the more: with the square of the place, as a project grows.
        past = AGE * (1 - self.written / max(1, self.total)) ** 2
        if fate == "running":
            past = timedelta(minutes=30) * self.random.random()
        copy = _Copy(self, evaluation, self.now - past - timedelta(minutes=1), fate, key, result, marks)
        for name, documents in copy.documents(energy).items():
            self._rows.setdefault(name, []).extend(documents)
        self.written += 1
        if len(self._rows["results"]) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        for name, documents in self._rows.items():
            self.database.mongo[name].insert_many(documents, ordered=False)
        self._rows = {}

    def resubmission(self, key: str, at: datetime, campaigns: list[str]) -> str:
        """Write into the audit that a result was resubmitted, with others at once; gives the entry's key."""
        if self._room == 0:
            self._room = self.random.choice(RESUBMITTED_AT_ONCE)
            user = self.random.choice(("anna", "bob", "hts"))
            entry = {"_id": uuid.uuid4().hex[:12], "at": at, "user": user, "results": [], "changes": []}
            self._audits.append(self.audit | entry | {"campaigns": [], "selection": {"cause": "walltime"}})
        self._room -= 1
        last = self._audits[-1]
        last["results"].append(key)
        last["campaigns"] = sorted({*last["campaigns"], *campaigns})
        last["changes"] += [change | {"result": key} for change in self.audit["changes"][:1]]
        return str(last["_id"])

    def worker(self, fate: str) -> str:
        """Name a worker of an allocation, one that is alive for jobs that run."""
        among = self.allocations[_ENDED:] if fate == "running" else self.allocations[:_ENDED]
        chosen = self.random.choice(among)
        return worker_name(chosen.token, 0, f"n{self.random.randint(1, 40)}:{self.random.randint(1000, 9999)}:1.00")


@dataclass
class _Copy:
    """One evaluation to write, from a real one."""

    filler: Filler
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
            job = str(self.filler.random.randint(4000, 4000 + _ENDED))
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
