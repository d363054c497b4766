from __future__ import annotations

import threading
from collections import Counter

import pytest
from failed_results import calculation_of, everything, start, submitted
from fireworks import FWorker
from many_jobs import insert_running_jobs, new_allocation

from hts_flows.engines import Calculation
from hts_flows.launch.advance import advance
from hts_flows.launch.cancelling import cancel, cancel_slurm_jobs, plan_cancel
from hts_flows.launch.holding import pause, plan_pause
from hts_flows.launch.owner import owner_name
from hts_flows.launch.queued import QueuedSelection
from hts_flows.launch.reconcile import reconcile
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.undo import find_resubmission, undo
from hts_flows.settings import Settings
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.commands import Slurm
from hts_flows.stores.allocations import Allocation
from hts_flows.stores.campaigns import now

ONE = "graphite LiC6 stage 1"


def stop(database, *campaigns, reason="", **selection):
    plan = plan_cancel(database, QueuedSelection(campaigns, **selection))
    return cancel(database, plan, user="ada", reason=reason, token=plan.token)


def allocate(database, key, kind="single", job_id="17"):
    content = {"cluster": "big", "kind": kind, "pool": "sevennet", "engine": "sevennet", "resources": {}}
    content |= {"folder": "/nowhere", "state": "queued", "job_id": job_id, "owner": owner_name(), "created_at": now()}
    single = {"fw_id": calculation_of(database, key)["fw_id"], "result": key} if kind == "single" else {}
    database.allocations.insert_one(Allocation.model_validate(content | single).document())


def failures_of(database):
    return Counter((item.get("failure") or {}).get("cause") for item in database.results.find({}))


def test_what_has_not_started_fails_as_cancelled_and_can_be_resubmitted_and_undone(database, tmp_path):
    keys = submitted(database)
    done = stop(database, "small", reason="wrong settings")
    assert sorted(done.keys) == sorted(keys.values())
    failure = database.results.find_one({"_id": keys[ONE]})["failure"]
    assert (failure["cause"], failure["message"]) == ("cancelled", "cancelled by ada: wrong settings")
    assert done.audit in failure["evidence"]
    assert {job["state"] for job in database.mongo["fireworks"].find({})} == {"DEFUSED"}
    assert {flow["state"] for flow in database.mongo["workflows"].find({})} == {"DEFUSED"}
    told = database.audit.find_one({"_id": done.audit})
    assert (told["action"], told["reason"], sorted(told["results"])) == ("cancel", "wrong settings", sorted(done.keys))
    assert advance(database, "small").finished
    before = everything(database)["results"]
    again = resubmit(database, plan_resubmission(database, "small", cause="cancelled"), user="ada")
    assert again.added == 7
    # Cancelled again, the jobs of the attempt before do not count as its own.
    start(database, keys[ONE], tmp_path)
    second = stop(database, "small")
    assert sorted(second.keys) == sorted(set(keys.values()) - {keys[ONE]})
    assert second.reasons == {"it runs, and not in a SLURM job of its own: it goes on": 1}
    assert stop(database, "small").audit is None
    kept = undo(database, find_resubmission(database, audit=again.audit), user="bob").kept
    assert Counter(kept.values()) == {"it has ended: failed": 6, "it has started": 1}
    assert len(before) == 7


def test_a_candidate_that_waits_for_a_cancelled_reference_learns_of_it(database):
    keys = submitted(database)
    result = database.results.find_one({"_id": keys[ONE]})
    computed = Calculation.model_validate(
        {"energy": -1.0, "n_steps": 1, "converged": True, "structure": result["start"], "folder": "/nowhere"}
    )
    stored = {"state": "done", "calculation": computed.model_dump(mode="json")}
    database.results.update_one({"_id": keys[ONE]}, {"$set": stored})
    # Cancelled with the host, as it would else wait for that to learn of both.
    needed = tuple(database.results.find_one({"_id": keys[ONE]})["references"].values())
    plan = plan_cancel(database, QueuedSelection(ids=needed))
    assert any("references" in note for note in plan.notes)
    cancel(database, plan, user="ada")
    told = database.results.find_one({"_id": keys[ONE]})
    assert (told["state"], told["failure"]["cause"]) == ("failed", "reference_failed")
    assert failures_of(database) == {None: 4, "cancelled": 2, "reference_failed": 1}


def test_slurm_jobs_of_one_evaluation_are_named_and_pilots_go_on(database, tmp_path):
    keys = submitted(database)
    waiting, alone, packed = "Lithium, bcc", "graphite LiC6 stage 1", "graphite KC6 stage 1"
    allocate(database, keys[waiting], job_id="16")
    allocate(database, keys[alone])
    allocate(database, keys[packed], "pilot", "18")
    database.launchpad.reserve_fw(
        FWorker(name="slurm:abc:0:x"), "/nowhere", fw_id=calculation_of(database, keys[waiting])["fw_id"]
    )
    start(database, keys[alone], tmp_path)
    start(database, keys[packed], tmp_path)
    plan = plan_cancel(database, QueuedSelection(("small",)))
    assert "1 of them run in SLURM jobs of their own, which are cancelled" in plan.notes
    done = cancel(database, plan, user="ada")
    assert sorted(done.slurm_jobs) == [("big", "16"), ("big", "17")]
    assert done.ending == [keys[alone]]
    assert [item.label for item in done.left] == [packed]
    assert sorted(done.keys) == sorted(set(keys.values()) - {keys[alone], keys[packed]})
    assert calculation_of(database, keys[alone])["state"] == "RUNNING"
    problems = cancel_slurm_jobs(Settings(), done.slurm_jobs)
    assert problems == ["SLURM jobs 16, 17 stay in the queue: no cluster 'big' in the settings"]


def test_one_that_runs_in_a_slurm_job_of_its_own_fails_when_that_has_ended(database, slurm, tmp_path):
    allocation = new_allocation(str(tmp_path), kind="single", result="many-0:0", state="queued")
    allocation.job_id = str(slurm.submit("sleep 600", f"--job-name={allocation.job_name}", "--mem=50"))
    database.allocations.insert_one(allocation.document())
    database.campaigns.insert_one({"_id": "many", "state": "running", "created_at": now()})
    insert_running_jobs(database, allocation, range(1))
    slurm.wait_state(int(allocation.job_id), "RUNNING")
    done = stop(database, "many")
    assert (done.keys, done.ending, done.slurm_jobs) == ([], ["many-0:0"], [("tiny", allocation.job_id)])
    assert database.audit.find_one({"_id": done.audit})["results"] == ["many-0:0"]
    tiny = Cluster(name="tiny", scratch=str(tmp_path))
    assert cancel_slurm_jobs(Settings(clusters={"tiny": tiny}), done.slurm_jobs) == []
    slurm.wait_finished(int(allocation.job_id))
    assert reconcile(database, Slurm(tiny)).failed == 1
    assert failures_of(database) == {"cancelled": 1}


def test_paused_ones_are_cancelled_and_what_another_campaign_wants_is_not(database):
    keys = submitted(database)
    other = submitted(database, "other", intercalants=["Li"])
    pause(database, plan_pause(database, QueuedSelection()), user="ada")
    done = stop(database, "small")
    assert sorted(done.keys) == sorted(set(keys.values()) - set(other.values()))
    assert done.reasons == {"other wants it too": len(other)}
    assert sorted(stop(database, "small", "other").keys) == sorted(other.values())


def test_a_cancellation_that_was_interrupted_is_finished_by_the_next(database):
    keys = submitted(database)
    fw_id = calculation_of(database, keys[ONE])["fw_id"]
    stopped = {"state": "DEFUSED", "spec.hts.cancelled": {"audit": "0123456789ab", "state": "READY"}}
    database.mongo["fireworks"].update_one({"fw_id": fw_id}, {"$set": stopped})
    assert stop(database, ids=(ONE,)).keys == [keys[ONE]]
    assert failures_of(database)["cancelled"] == 1
    assert database.mongo["workflows"].find_one({"metadata.result": keys[ONE]})["state"] == "DEFUSED"


@pytest.mark.parametrize("attempt", range(2))
def test_workers_that_take_jobs_meanwhile_and_two_who_cancel_at_once_agree_on_each(attempt, database, tmp_path):
    keys = submitted(database)
    begin = threading.Barrier(4)
    outcomes = []

    def person():
        plan = plan_cancel(database, QueuedSelection(("small",)))
        begin.wait()
        outcomes.append(cancel(database, plan, user="ada"))

    def worker():
        begin.wait()
        for _ in range(2 + attempt):
            database.launchpad.checkout_fw(FWorker(name=owner_name()), str(tmp_path))

    threads = [threading.Thread(target=each) for each in (person, person, worker, worker)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cancelled = [key for outcome in outcomes for key in outcome.keys]
    assert len(cancelled) == len(set(cancelled))
    running = {job["spec"]["hts"]["result"] for job in database.mongo["fireworks"].find({"state": "RUNNING"})}
    assert running.isdisjoint(cancelled)
    assert running.union(cancelled) == set(keys.values())
    for key in keys.values():
        expected = "failed" if key in cancelled else "queued"
        assert database.results.find_one({"_id": key})["state"] == expected
