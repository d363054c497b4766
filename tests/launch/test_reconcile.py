"""Reconciling against a real SLURM: what is asked, what is settled, and what is left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from many_jobs import CallCounter, insert_running_jobs, new_allocation
from pymongo import monitoring

from hts_flows.launch.reconcile import reconcile
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.commands import Slurm, SlurmNotAnsweringError
from hts_flows.stores import connect
from hts_flows.stores.campaigns import now

N_JOBS = 10_000
IN_EACH = 1000


@pytest.fixture
def tiny(slurm, tmp_path):
    return Slurm(Cluster(name="tiny", scratch=str(tmp_path)))


def sleeping_allocation(database, slurm, folder, *options, **fields):
    """An allocation whose SLURM job only sleeps."""
    allocation = new_allocation(str(folder), **fields)
    job = slurm.submit("sleep 600", f"--job-name={allocation.job_name}", "--mem=50", *options)
    allocation.job_id, allocation.state = str(job), "queued"
    database.allocations.insert_one(allocation.document())
    return allocation


def states_of(database):
    rows = database.mongo["fireworks"].aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
    return {row["_id"]: row["n"] for row in rows}


def test_ten_thousand_jobs_take_few_calls(settings, slurm, tiny, tmp_path):
    counter = CallCounter()
    monitoring.register(counter)
    try:
        database = connect(settings)
    finally:
        monitoring._LISTENERS.command_listeners.remove(counter)
    allocations = [sleeping_allocation(database, slurm, tmp_path / str(n)) for n in range(N_JOBS // IN_EACH)]
    for number, allocation in enumerate(allocations):
        insert_running_jobs(database, allocation, range(number * IN_EACH, (number + 1) * IN_EACH))
    slurm.wait_state(int(allocations[0].job_id), "RUNNING")
    slurm.output("scancel", allocations[0].job_id, allocations[-1].job_id)
    for allocation in (allocations[0], allocations[-1]):
        slurm.wait_finished(int(allocation.job_id))
    counter.names.clear()
    tiny.connection.calls = 0
    outcome = reconcile(database, tiny)
    assert counter.names
    slurm_calls = tiny.connection.calls - 1  # one command reads the ends of all queue.err
    assert len(counter.names) + slurm_calls < 10, (counter.names, slurm_calls)
    assert (outcome.failed, outcome.ended, outcome.waiting + outcome.running) == (2 * IN_EACH, 2, 8)
    assert states_of(database) == {"RUNNING": 8 * IN_EACH, "FIZZLED": 2 * IN_EACH, "DEFUSED": 2 * IN_EACH,
                                   "WAITING": 8 * IN_EACH}  # fmt: skip
    causes = database.results.aggregate([{"$group": {"_id": "$failure.cause", "n": {"$sum": 1}}}])
    assert {row["_id"]: row["n"] for row in causes} == {None: 8 * IN_EACH, "cancelled": 2 * IN_EACH}
    counter.names.clear()
    assert reconcile(database, tiny).failed == 0
    assert len(counter.names) <= 3


def test_an_incomplete_answer_changes_nothing(database, slurm, tiny, tmp_path):
    allocation = sleeping_allocation(database, slurm, tmp_path)
    insert_running_jobs(database, allocation, range(3))
    slurm.output("scancel", allocation.job_id)
    slurm.wait_finished(int(allocation.job_id))
    before = list(database.mongo["fireworks"].find({})), list(database.allocations.find({}))
    slurm.stop_controller()
    with pytest.raises(SlurmNotAnsweringError):
        reconcile(database, tiny)
    slurm.start_controller()
    slurm.stop_accounting()
    with pytest.raises(SlurmNotAnsweringError):
        reconcile(database, tiny)
    slurm.start_accounting()
    assert before == (list(database.mongo["fireworks"].find({})), list(database.allocations.find({})))
    assert reconcile(database, tiny).failed == 3


def test_a_job_that_slurm_has_forgotten_is_lost_after_a_while(database, slurm, tiny, tmp_path, monkeypatch):
    from hts_flows.launch import reconcile as module

    allocation = new_allocation(str(tmp_path), kind="single", job_id="999999999", state="queued")
    database.allocations.insert_one(allocation.document())
    insert_running_jobs(database, allocation, range(1))
    assert reconcile(database, tiny).failed == 0
    monkeypatch.setattr(module, "VANISHED_AFTER", timedelta(seconds=0))
    assert reconcile(database, tiny).failed == 1
    failure = database.results.find_one({})["failure"]
    assert failure["cause"] == "lost"
    assert "999999999" in failure["message"]


def test_a_submission_that_was_cut_short_is_adopted_or_given_back(database, slurm, tiny, tmp_path):
    reached = new_allocation(str(tmp_path / "a"), owner="")
    job = slurm.submit("sleep 600", f"--job-name={reached.job_name}", "--mem=50")
    unreached = new_allocation(str(tmp_path / "b"), owner="", created_at=now() - timedelta(minutes=2))
    fresh = new_allocation(str(tmp_path / "c"), owner="")
    for number, allocation in enumerate((reached, unreached, fresh)):
        database.allocations.insert_one(allocation.document())
        insert_running_jobs(database, allocation, range(number, number + 1), state="RESERVED")
    outcome = reconcile(database, tiny)
    assert outcome.again == 1
    documents = {item["_id"]: item for item in database.allocations.find({})}
    assert (documents[reached.token]["job_id"], documents[reached.token]["state"]) == (str(job), "queued")
    assert documents[unreached.token]["state"] == "ended"
    # Its job took no worker with it: that would count against it.
    assert database.mongo["fireworks"].find_one({"spec.hts.lost": {"$exists": True}}) is None
    assert documents[fresh.token]["state"] == "submitting"
    assert states_of(database) == {"RESERVED": 2, "READY": 1, "WAITING": 3}
    slurm.output("scancel", str(job))


def test_what_a_worker_finished_before_it_was_killed_is_not_run_again(database, slurm, tiny, tmp_path):
    allocation = sleeping_allocation(database, slurm, tmp_path)
    (key,) = insert_running_jobs(database, allocation, range(1))
    firework = database.mongo["fireworks"].find_one({"spec.hts.result": key, "state": "RUNNING"})
    launch = {"launch_id": firework["launches"][0]}
    done = {"state": "COMPLETED", "action": {"stored_data": {}, "update_spec": {}, "mod_spec": [], "additions": [],
                                             "detours": [], "exit": False, "defuse_children": False,
                                             "defuse_workflow": False}}  # fmt: skip
    database.mongo["launches"].update_one(launch, {"$set": done})
    slurm.output("scancel", allocation.job_id)
    slurm.wait_finished(int(allocation.job_id))
    assert reconcile(database, tiny).failed == 0
    states = {job["spec"]["hts"]["job"]: job["state"] for job in database.mongo["fireworks"].find({})}
    assert states == {"calculate": "COMPLETED", "record": "READY"}
    assert database.results.find_one({})["state"] == "queued"


def test_jobs_that_a_pilot_took_along_run_again_with_more_time(database, slurm, tiny, tmp_path):
    fair = sleeping_allocation(database, slurm, tmp_path / "a", resources={"walltime": "10h"})
    insert_running_jobs(database, fair, range(1), ago=3)
    down = sleeping_allocation(database, slurm, tmp_path / "b", "--nodelist=n2", "--no-requeue")
    insert_running_jobs(database, down, range(1, 2))
    slurm.wait_state(int(down.job_id), "RUNNING")
    slurm.wait_state(int(fair.job_id), "RUNNING")
    slurm.output("scontrol", "update", f"jobid={fair.job_id}", "EndTime=now+3seconds")
    slurm.set_down("n2")
    slurm.wait_finished(int(down.job_id))
    outcome = reconcile(database, tiny)
    assert (outcome.again, outcome.failed) == (1, 0)
    assert database.mongo["fireworks"].find_one({"spec.hts.lost": 1})["state"] == "READY"
    assert slurm.wait_finished(int(fair.job_id), 150)["State"] == "TIMEOUT"
    outcome = reconcile(database, tiny)
    assert (outcome.again, outcome.failed) == (1, 0)
    needs = {item["spec"]["hts"]["seconds"] for item in database.mongo["fireworks"].find({"state": "READY"})}
    assert max(needs) > 5


def test_two_at_once_settle_once(database, slurm, tiny, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    allocation = sleeping_allocation(database, slurm, tmp_path)
    insert_running_jobs(database, allocation, range(50))
    slurm.output("scancel", allocation.job_id)
    slurm.wait_finished(int(allocation.job_id))
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: reconcile(database, tiny), range(2)))
    assert sum(outcome.failed for outcome in outcomes) == 50
    assert states_of(database) == {"FIZZLED": 50, "DEFUSED": 50}
    assert reconcile(database, tiny).ended == 0
