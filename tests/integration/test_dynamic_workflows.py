"""Resubmission where jobs had added jobs: only the failed result runs again, and nothing of the old workflow."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path

import pytest
from small_campaign import launches_by_result, states

from hts_flows.campaign import Campaign
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.undo import find_resubmission, undo
from hts_flows.launch.worker import work
from hts_flows.stores.campaigns import save_campaign


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Put the engine beside those of the package."""
    import hts_flows.engines as package

    folder = tmp_path / "engines"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "dynamic_engine.py", folder / "dynamic.py")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    package.engine_class.cache_clear()
    yield
    sys.modules.pop("hts_flows.engines.dynamic", None)
    vars(package).pop("dynamic", None)
    package.engine_class.cache_clear()


def save(database, way):
    space = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": ["Li", "K"], "concentrations": ["1/8"]}
    data = {"name": "small", "candidates": space, "calculate": [{"engine": "dynamic", "way": way, "steps": 1}]}
    save_campaign(database, Campaign.from_dict(data))


def launches_by_job(database):
    """Launches ever made, by job."""
    return {
        firework["fw_id"]: len(firework["launches"] + firework["archived_launches"])
        for firework in database.mongo["fireworks"].find({})
    }


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("way", "before_failing", "in_all"), [("replace", 3, 3), ("detour", 2, 4)])
def test_a_job_that_was_added_fails_and_its_result_alone_runs_again(way, before_failing, in_all, database, settings):
    save(database, way)
    work(database, "small", settings)
    failed = {document["_id"]: document for document in database.results.find({"state": "failed"})}
    reference = next(key for key, document in failed.items() if document["role"] == "reference")
    candidate = next(key for key, document in failed.items() if document["formula"] == "KC8")
    assert {document["failure"]["cause"] for document in failed.values()} == {"bad_input"}
    assert all("broken on purpose" in document["failure"]["message"] for document in failed.values())
    assert states(database) == {"done": 3, "failed": 2}
    by_job, by_result = launches_by_job(database), launches_by_result(database)
    # The added job is one of the workflow: engine, added, recording. After a detour nothing that waits for it runs.
    assert by_result[candidate] == before_failing

    plan = plan_resubmission(database, "small", ids=[failed[candidate]["label"]], settings={"steps": 2})
    assert resubmit(database, plan, user="ada").keys == [candidate]
    work(database, "small", settings)
    after = launches_by_result(database)
    assert {key for key in after if after[key] != by_result[key]} == {candidate}
    assert after[candidate] == before_failing + in_all
    assert {number: launches_by_job(database)[number] for number in by_job} == by_job
    # What it is compared with is still missing; resubmitted, that completes it without running it.
    waiting = database.results.find_one({"_id": candidate})
    assert (waiting["state"], waiting["failure"]["cause"]) == ("failed", "reference_failed")
    plan = plan_resubmission(database, "small", settings={"steps": 2})
    assert [result.key for result in plan.results] == [reference]
    assert plan.notes == ["1 wait for a reference that failed: they are completed without running again"]
    resubmit(database, plan, user="ada")
    by_result = launches_by_result(database)
    work(database, "small", settings)
    after = launches_by_result(database)
    assert {key: after[key] - by_result[key] for key in after if after[key] != by_result[key]} == {reference: in_all}
    assert states(database) == {"done": 5}
    assert database.results.find_one({"_id": candidate})["properties"]["intercalation_energy"] is not None


@pytest.mark.usefixtures("engine")
def test_a_paused_job_of_the_old_workflow_never_runs_also_after_undoing(database, settings):
    from fireworks import FWorker
    from fireworks.core.rocket_launcher import launch_rocket

    from hts_flows.launch.advance import advance

    save(database, "addition")
    advance(database, "small")
    key = database.results.find_one({"formula": "KC8"})["_id"]
    import jobflow

    jobflow.SETTINGS.JOB_STORE = database.job_store
    mine = FWorker(name="here", query={"spec.hts.result": key})
    launch_rocket(database.launchpad, mine, strm_lvl="WARNING")
    added = database.mongo["fireworks"].find_one({"spec.hts.result": key, "name": {"$regex": "added"}})
    assert added["state"] == "READY"
    database.launchpad.pause_fw(added["fw_id"])
    launch_rocket(database.launchpad, mine, strm_lvl="WARNING")
    failed = database.results.find_one({"_id": key}, {"changed_at": 0})
    assert (failed["state"], failed["failure"]["cause"]) == ("failed", "ionic_not_converged")
    assert database.mongo["fireworks"].find_one({"_id": added["_id"]})["state"] == "PAUSED"

    before, by_job = launches_by_result(database), launches_by_job(database)
    done = resubmit(database, plan_resubmission(database, "small", settings={"steps": 2}), user="ada")
    assert undo(database, find_resubmission(database, audit=done.audit), user="ada").keys == [key]
    assert database.results.find_one({"_id": key}, {"changed_at": 0}) == failed
    assert database.mongo["fireworks"].find_one({"_id": added["_id"]})["state"] == "DEFUSED"
    assert launches_by_job(database).items() >= by_job.items()

    plan = plan_resubmission(database, "small", settings={"steps": 2})
    assert resubmit(database, plan, user="ada").keys == [key]
    work(database, "small", settings)
    after = launches_by_result(database)
    assert after[key] - before[key] == 3
    assert launches_by_job(database)[added["fw_id"]] == 0
    assert database.results.find_one({"_id": key})["failure"]["cause"] == "reference_failed"
