"""A database as years of screening leave it: real evaluations, copied with other candidates, values and times."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from copied_evaluations import Copy, Evaluation

from hts_flows.campaign import Campaign
from hts_flows.flows import get_domain
from hts_flows.ladder import Level
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.submission import Wanted, pool_of, wanted_at_first_level
from hts_flows.stores import Database
from hts_flows.stores.allocations import Allocation, worker_name
from hts_flows.stores.campaigns import claim_step, save_campaign, step_submitted
from hts_flows.stores.rankings import add_ranking
from hts_flows.stores.results import result_key

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
    space: dict[str, Any] = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": ["Li"]}
    space |= {"concentrations": ["1/6"], "stages": [2]}
    file = folder / "real.yaml"
    file.write_text(yaml.safe_dump({"name": "real", "candidates": space, "calculate": [{"engine": "sevennet"}]}))
    command = [sys.executable, "-m", "hts_flows.cli.main", "run", str(file)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (done,) = database.results.find({"campaigns": "real", "role": "candidate", "state": "done"})
    keys = list(submitted(database, "others", intercalants=("Na", "K", "Rb", "Cs")).values())
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
    resubmit(database, plan, user="anna", reason="more time")
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
        "failed after": [one.after(resubmitted) for one in failed if one.result["_id"] != again],
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
        copy = Copy(self, evaluation, self.now - past - timedelta(minutes=1), fate, key, result, marks)
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
