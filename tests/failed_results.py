"""Campaigns whose calculations failed as they do under SLURM, without running an engine."""

from __future__ import annotations

from pathlib import Path

from fireworks import FWorker

from hts_flows.campaign import Campaign
from hts_flows.launch.advance import advance
from hts_flows.launch.failures import failure
from hts_flows.launch.owner import owner_name
from hts_flows.launch.settling import CutOff, settle_failures
from hts_flows.slurm.cluster import Cluster
from hts_flows.stores.campaigns import save_campaign
from hts_flows.stores.results import JobUsage

HOUR = 3600
CLUSTER = Cluster.model_validate({"name": "big", "limits": {"max_walltime": "24h"}})
JOB = {"cluster": "big", "job_id": "4711", "state": "TIMEOUT", "node": "n3", "walltime_asked": 4 * HOUR}
JOB |= {"time_used": 4 * HOUR - 2, "memory_asked": 8192, "memory_used": 7700}


def submitted(database, name="small", retry=None, intercalants=("Li", "K"), **row):
    """Submit a campaign; gives the key of each result by its label."""
    space = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": list(intercalants)}
    data = {"name": name, "candidates": space | {"concentrations": ["1/6", "1/8"]}}
    data["calculate"] = [{"engine": "sevennet"} | row]
    campaign = Campaign.from_dict(data | ({"retry": retry} if retry else {}))
    save_campaign(database, campaign)
    advance(database, name)
    return {document["label"]: document["_id"] for document in database.results.find({"campaigns": name})}


def calculation_of(database, key):
    """The engine's job of a result's workflow."""
    nodes = database.mongo["workflows"].find_one({"metadata.result": key})["nodes"]
    return database.mongo["fireworks"].find_one({"fw_id": {"$in": nodes}, "spec.hts.job": "calculate"})


def start(database, key, folder):
    """Let a worker take the engine's job."""
    fw_id = calculation_of(database, key)["fw_id"]
    _, launch_id = database.launchpad.checkout_fw(FWorker(name=owner_name()), str(folder), fw_id=fw_id)
    return launch_id


def fail(database, key, cause, folder="/nowhere", **job):
    """Let the engine's job of a result start, and SLURM end it."""
    launch_id = start(database, key, folder)
    launch = database.mongo["launches"].find_one({"launch_id": launch_id})
    workflow = database.mongo["workflows"].find_one({"metadata.result": key})
    firework = calculation_of(database, key)
    usage = JobUsage.model_validate(JOB | job)
    told = failure(cause, f"SLURM job 4711 on n3: {cause.value}", "slurmstepd: [4711] cancelled", usage)
    assert settle_failures(database, [(CutOff(firework, launch, workflow), told)]) == 1


def everything(database):
    """All that is stored of results and jobs, but the audit, and when a result was written last."""
    names = ("results", "fireworks", "workflows", "launches", "campaigns")
    return {
        name: sorted(database.mongo[name].find({}, {"changed_at": 0}), key=lambda item: str(item["_id"]))
        for name in names
    }


def write_geometry(folder, structure):
    """Leave what a cut-off relaxation leaves in its folder."""
    import json

    Path(folder).mkdir(parents=True, exist_ok=True)
    line = json.dumps({"energy": -1.0, "structure": structure.as_dict()})
    (Path(folder) / "relaxation.jsonl").write_text(line + '\n{"energy": -1.1, "struc')
