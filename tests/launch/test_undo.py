from __future__ import annotations

import threading
from collections import Counter

import pytest
from failed_results import calculation_of, everything, fail, start, submitted
from fireworks import FWorker

from hts_flows.errors import InputError
from hts_flows.launch.advance import advance
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.owner import owner_name
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.undo import find_resubmission, undo
from hts_flows.stores.allocations import Allocation
from hts_flows.stores.campaigns import now


@pytest.fixture
def keys(database, tmp_path):
    """All seven calculations of a campaign, failed at the time limit."""
    found = list(submitted(database).values())
    for number, key in enumerate(found):
        fail(database, key, FailureCause.WALLTIME, tmp_path / str(number))
    return found


def again(database, **selection):
    plan = plan_resubmission(
        database, "small", settings={"steps": 900}, resources={"walltime": "x2", "modules": ["gcc"]}, **selection
    )
    return resubmit(database, plan, user="ada").audit


def take_back(database, audit):
    return undo(database, find_resubmission(database, audit=audit), user="bob")


def results_of(database):
    return list(database.results.find({}, {"changed_at": 0}).sort("_id", 1))


def test_undone_at_once_everything_is_as_it_was_to_the_last_digit(keys, database):
    # Unusual content, too: an old document without the newer fields, and a calculation that was kept.
    database.results.update_one({"_id": keys[0]}, {"$unset": {"resources": "", "provenance.versions": ""}})
    odd = {"energy": -1.2345678901234567, "structure": {"$x": 1, "a.b": [None, float("inf")]}}
    database.results.update_one({"_id": keys[1]}, {"$set": {"calculation": odd, "properties": {"n": 1}}})
    before = everything(database)
    known = {name: {item["_id"] for item in before[name]} for name in before}
    audit = again(database)
    assert [item for item in results_of(database) if item in before["results"]] == []
    done = take_back(database, audit)
    assert (sorted(done.keys), done.kept, done.slurm_jobs) == (sorted(keys), {}, [])
    after = everything(database)
    assert after["results"] == before["results"]
    for name in ("fireworks", "workflows", "launches"):
        assert [item for item in after[name] if item["_id"] in known[name]] == before[name]
        added = [item for item in after[name] if item["_id"] not in known[name]]
        assert {item["state"] for item in added} <= {"DEFUSED"}
    assert {item["metadata"]["undone_result"] for item in after["workflows"] if item not in before["workflows"]} == set(
        keys
    )
    told = database.audit.find_one({"_id": done.audit})
    assert (told["action"], told["user"], told["resubmission"], sorted(told["results"])) == (
        "undo",
        "bob",
        audit,
        sorted(keys),
    )
    # Nothing is left to run, and nothing is settled anew.
    assert advance(database, "small").finished
    assert results_of(database) == before["results"]
    with pytest.raises(InputError, match="undone already"):
        take_back(database, audit)
    with pytest.raises(InputError, match="no resubmission of 'small' is left to undo"):
        find_resubmission(database, campaign="small")


def test_resubmitted_and_undone_again_and_again_the_latest_is_taken_back(keys, database):
    first = results_of(database)
    for key in keys[1:]:
        database.results.update_one({"_id": key}, {"$set": {"failure.cause": "cancelled"}})
    first = results_of(database)
    one = again(database, cause="walltime")
    fail(database, keys[0], FailureCause.WALLTIME)
    second = results_of(database)
    two = again(database, cause="walltime")
    assert find_resubmission(database, campaign="small")["_id"] == two
    with pytest.raises(InputError, match="no resubmission of that id"):
        find_resubmission(database, audit="nosuch")
    # The older one cannot be undone below the newer.
    assert take_back(database, one).kept == {keys[0]: "it was resubmitted again since"}
    assert take_back(database, two).keys == [keys[0]]
    assert results_of(database) == second
    assert second != first
    assert find_resubmission(database, campaign="small")["_id"] == one
    assert take_back(database, one).kept == {keys[0]: "it has ended: failed"}
    assert results_of(database) == second


def test_what_has_started_or_ended_stays_and_is_named(keys, database, tmp_path):
    audit = again(database)
    start(database, keys[0], tmp_path)
    fail(database, keys[1], FailureCause.NODE_FAILURE)
    before = {item["_id"]: item for item in results_of(database)}
    done = take_back(database, audit)
    assert done.kept == {keys[0]: "it has started", keys[1]: "it has ended: failed"}
    assert sorted(done.keys) == sorted(keys[2:])
    after = {item["_id"]: item for item in results_of(database)}
    assert {key: after[key] for key in keys[:2]} == {key: before[key] for key in keys[:2]}
    workflow = database.mongo["workflows"].find_one({"metadata.result": keys[0]})
    states = database.mongo["fireworks"].find({"fw_id": {"$in": workflow["nodes"]}}, {"state": 1})
    assert Counter(item["state"] for item in states) == {"RUNNING": 1, "WAITING": 1}


def reserve(database, key, job_id):
    fw_id = calculation_of(database, key)["fw_id"]
    database.launchpad.reserve_fw(FWorker(name="slurm:abc:0:x"), "/nowhere", fw_id=fw_id)
    allocation = Allocation(
        cluster="big",
        kind="single",
        pool="sevennet",
        engine="sevennet",
        resources={},
        fw_id=fw_id,
        folder="/nowhere",
        state="queued",
        job_id=job_id,
        owner=owner_name(),
        created_at=now(),
    )
    database.allocations.insert_one(allocation.document())
    return fw_id


def test_what_waits_in_a_cluster_s_queue_is_taken_back_and_its_slurm_job_named(keys, database):
    before = results_of(database)
    audit = again(database)
    fw_id = reserve(database, keys[0], "17")
    done = take_back(database, audit)
    assert done.slurm_jobs == [("big", "17")]
    assert results_of(database) == before
    # The SLURM job, if it starts all the same, finds nothing to do.
    assert database.launchpad.checkout_fw(FWorker(name=owner_name()), "/nowhere", fw_id=fw_id) == (None, None)


def test_a_job_that_is_being_handed_over_is_left_alone(keys, database):
    audit = again(database)
    fw_id = calculation_of(database, keys[0])["fw_id"]
    database.mongo["fireworks"].update_one({"fw_id": fw_id}, {"$set": {"state": "RESERVED"}})
    done = take_back(database, audit)
    assert done.kept == {keys[0]: "it has started"}
    assert calculation_of(database, keys[0])["state"] == "RESERVED"


def test_workers_that_take_jobs_meanwhile_and_two_who_undo_at_once_agree_on_each(keys, database, tmp_path):
    before = {item["_id"]: item for item in results_of(database)}
    audit = again(database)
    for number, key in enumerate(keys[:4]):
        reserve(database, key, str(number))
    reserved = [calculation_of(database, key)["fw_id"] for key in keys[:4]]
    begin = threading.Barrier(4)
    outcomes = []

    def worker(fw_ids, delay):
        begin.wait()
        for fw_id in fw_ids:
            delay.wait(0.3)
            database.launchpad.checkout_fw(FWorker(name=owner_name()), str(tmp_path), fw_id=fw_id)

    def person():
        document = find_resubmission(database, audit=audit)
        begin.wait()
        outcomes.append(undo(database, document, user="bob"))

    threads = [threading.Thread(target=person) for _ in range(2)]
    threads += [threading.Thread(target=worker, args=(ids, threading.Event())) for ids in (reserved, [None] * 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    undone = [key for outcome in outcomes for key in outcome.keys]
    assert len(undone) == len(set(undone))
    running = {
        item["spec"]["hts"]["result"] for item in database.mongo["fireworks"].find({"state": {"$in": ["RUNNING"]}})
    }
    assert running.isdisjoint(undone)
    assert running | set(undone) == set(keys)
    after = {item["_id"]: item for item in results_of(database)}
    for key in keys:
        if key in undone:
            assert after[key] == before[key]
        else:
            assert (after[key]["state"], after[key]["submission"]["done"]) == ("queued", True)
