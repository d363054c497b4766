"""A campaign that searches, small enough for tests: energies of binary crystals from a potential."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import psutil

from hts_flows.inventories import Inventories
from hts_flows.structures.compounds import CompoundSpace, build

#: 30 compounds: the energy per atom follows from the elements.
NAMES = [
    f"{metal}{other}-rocksalt"
    for metal in ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Pb")
    for other in ("F", "Cl", "Br", "I", "O", "S", "Se", "Te", "H")
]
CAMPAIGN = """\
name: search
candidates:
  domain: compounds
  pools:
    - file: pool.json
calculate:
  - engine: sevennet
    steps: 2
    fmax: 1.0
    screen:
      by: energy_per_atom
      descriptors: [volume_per_atom, elements]
      seed: 3
{more}
"""
#: Cells scaled so that two steps do not relax them.
SQUEEZED = 0.72


def write_campaign(folder, *, failing=(), more=()):
    """Write pool.json and search.yaml; cells of the compounds named in `failing` do not converge."""
    available = Inventories().compounds
    names = [name for name in NAMES if name in available][:30]
    space = CompoundSpace(domain="compounds", compounds=names)
    records = []
    for name, candidate in zip(names, space.candidates(Inventories()), strict=True):
        structure = build(candidate)
        if name in failing:
            structure.scale_lattice(structure.volume * SQUEEZED**3)
        records.append({"name": name, "formula": candidate.formula, "structure": structure.as_dict()})
    (folder / "pool.json").write_text(json.dumps(records, default=str))
    lines = "\n".join(f"      {line}" for line in more)
    (folder / "search.yaml").write_text(CAMPAIGN.format(more=lines))
    return names


def start(folder, **environment):
    """Run the campaign in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hts_flows.cli.main", "run", "search.yaml", "--workers", "2"],
        cwd=folder,
        env=os.environ | environment | {"COLUMNS": "200"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )


def kill_all(process):
    """Kill a run and its workers, without warning."""
    try:
        everyone = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        everyone = []
    for one in everyone:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(everyone, timeout=10)


def history(database):
    """What each ranking knew and asked for."""
    from hts_flows.stores.rankings import Ranking

    found = database.rankings.find({}, {"_id": 0, "table": 0, "leave_one_out": 0}).sort("number", 1)
    return [
        (
            ranking.number,
            [choice.candidate_id for choice in ranking.asked],
            [choice.z_score for choice in ranking.asked],
            ranking.n_observed,
            ranking.n_failed,
            ranking.best_candidate,
            ranking.stopped,
            ranking.provenance.get("screener", {}).get("training_sha256"),
        )
        for ranking in map(Ranking.model_validate, found)
    ]
