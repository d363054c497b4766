from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from failed_results import CLUSTER, calculation_of, everything, fail, start, submitted
from fireworks import Firework, FWAction, FWorker, PyTask, Workflow
from fireworks.utilities.fw_serializers import SAVED_FW_MODULES
from many_jobs import CallCounter, insert_running_jobs, new_allocation
from pymongo import MongoClient

from hts_flows.errors import InputError
from hts_flows.launch.advance import advance
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.healing import heal_job
from hts_flows.launch.holding import pause, pause_of, plan_pause, plan_resume, resume
from hts_flows.launch.launching import Launcher
from hts_flows.launch.owner import owner_name
from hts_flows.launch.queued import QueuedSelection
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.stores.allocations import Allocation
from hts_flows.stores.campaigns import now
from hts_flows.stores.database import Database

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

SMALL = QueuedSelection(("small",))


def hold(database, *campaigns, **selection):
    plan = plan_pause(database, QueuedSelection(campaigns, **selection))
    return pause(database, plan, user="ada", reason="maintenance", token=plan.token)


def let_go(database, *campaigns, **selection):
    plan = plan_resume(database, QueuedSelection(campaigns, **selection))
    return resume(database, plan, user="bob", token=plan.token)


def states(database, **which):
    return Counter(job["state"] for job in database.mongo["fireworks"].find(which))


def taken(database, folder, fw_id=None):
    """Let a worker take the most urgent job, or this one; gives its id."""
    job, _ = database.launchpad.checkout_fw(FWorker(name=owner_name()), str(folder), fw_id=fw_id)
    return job.fw_id if job else None


def without_times(stored):
    for jobs in stored.values():
        for document in jobs:
            for name in ("updated_on", "updated_at"):
                document.pop(name, None)
            document.get("spec", {}).get("hts", {}).pop("resumed", None)
    return stored


def reserve(database, key, job_id):
    fw_id = calculation_of(database, key)["fw_id"]
    database.launchpad.reserve_fw(FWorker(name="slurm:abc:0:x"), "/nowhere", fw_id=fw_id)
    content = {"cluster": "big", "kind": "single", "pool": "sevennet", "engine": "sevennet", "resources": {}}
    content |= {"fw_id": fw_id, "result": key, "folder": "/nowhere", "state": "queued", "job_id": job_id}
    content |= {"owner": owner_name(), "created_at": now()}
    database.allocations.insert_one(Allocation.model_validate(content).document())
    return fw_id


def test_a_paused_campaign_gives_workers_nothing_and_resumed_it_is_as_it_was(database, tmp_path):
    keys = submitted(database)
    before = without_times(everything(database))
    plan = plan_pause(database, SMALL)
    assert (len(plan.results), plan.left, plan.campaigns) == (7, [], ["small"])
    assert without_times(everything(database)) == before
    done = hold(database, "small")
    assert sorted(done.keys) == sorted(keys.values())
    assert states(database) == {"PAUSED": 7, "WAITING": 7}
    assert {flow["state"] for flow in database.mongo["workflows"].find({})} == {"PAUSED"}
    assert database.campaigns.find_one({"_id": "small"})["state"] == "paused"
    assert taken(database, tmp_path) is None
    outcome = advance(database, "small")
    assert not outcome.finished
    assert outcome.paused == "small is paused by ada (maintenance); hts resume small goes on"
    assert plan_pause(database, SMALL).reasons == {"it is paused already": 7}
    told = database.audit.find_one({"_id": done.audit})
    assert (told["action"], told["user"], told["reason"], told["campaigns"]) == (
        "pause",
        "ada",
        "maintenance",
        ["small"],
    )
    assert told["changes"] == [
        {"campaign": "small", "setting": "state", "old": "running", "new": "paused"},
        {"setting": "jobs", "old": "READY", "new": "PAUSED", "count": 7},
    ]
    again = let_go(database, "small")
    assert sorted(again.keys) == sorted(keys.values())
    assert without_times(everything(database)) == before
    assert advance(database, "small").paused is None
    assert let_go(database, "small").audit is None
    assert [item["action"] for item in database.audit.find({}).sort("at", 1)] == ["pause", "resume"]


def test_what_runs_goes_on_and_its_end_is_settled_in_a_paused_campaign(database):
    keys = submitted(database)
    launch = start(database, keys["graphite LiC6 stage 1"], "/nowhere")
    done = hold(database, "small")
    assert [(item.label, item.reason) for item in done.left] == [
        ("graphite LiC6 stage 1", "it runs: it goes on, and is recorded")
    ]
    assert states(database)["RUNNING"] == 1
    database.launchpad.complete_launch(launch, FWAction(stored_data={"_exception": {"_stacktrace": "x"}}), "FIZZLED")
    record = database.mongo["fireworks"].find_one({"state": "READY"})
    assert record["spec"]["hts"]["job"] == "record"
    database.launchpad.defuse_fw(record["fw_id"])
    assert advance(database, "small").paused
    assert database.results.find_one({"_id": keys["graphite LiC6 stage 1"]})["state"] == "failed"
    assert states(database, **{"spec.hts.job": "calculate"})["PAUSED"] == 6


def test_a_job_that_waits_in_a_cluster_s_queue_is_taken_out_and_ready_again_later(database, tmp_path):
    keys = submitted(database)
    fw_id = reserve(database, keys["Lithium, bcc"], "17")
    done = hold(database, "small", ids=("Lithium, bcc",))
    assert (done.keys, done.slurm_jobs, done.campaigns) == ([keys["Lithium, bcc"]], [("big", "17")], [])
    assert taken(database, tmp_path, fw_id) is None
    assert advance(database, "small").paused is None  # the others can go on
    let_go(database, "small", ids=("Lithium, bcc",))
    database.launchpad._refresh_wf(fw_id)
    job = calculation_of(database, keys["Lithium, bcc"])
    assert (job["state"], job["launches"], len(job["archived_launches"])) == ("READY", [], 1)
    assert taken(database, tmp_path, fw_id) == fw_id


def test_a_job_that_a_worker_is_just_taking_is_left_to_it(database):
    keys = submitted(database)
    fw_id = calculation_of(database, keys["Lithium, bcc"])["fw_id"]
    database.mongo["fireworks"].update_one({"fw_id": fw_id}, {"$set": {"state": "RESERVED"}})
    done = hold(database, "small")
    assert [item.label for item in done.left] == ["Lithium, bcc"]
    assert calculation_of(database, keys["Lithium, bcc"])["state"] == "RESERVED"


def test_what_another_campaign_wants_is_held_only_when_that_is_paused_too(database):
    keys = submitted(database)
    other = submitted(database, "other", intercalants=["Li"])
    done = hold(database, "small")
    assert sorted(done.keys) == sorted(set(keys.values()) - set(other.values()))
    assert done.reasons == {"other wants it too, and is not paused": len(other)}
    # Also what becomes ready meanwhile is not held from the other.
    assert advance(database, "small").paused
    assert states(database)["READY"] == len(other)
    assert len(hold(database, "other").keys) == len(other)
    assert states(database)["READY"] == 0
    assert sorted(let_go(database, "other").keys) == sorted(other.values())
    assert pause_of(database, "small") is not None
    assert pause_of(database, "other") is None


def test_a_campaign_that_comes_later_gets_what_it_shares_with_a_paused_one(database):
    keys = submitted(database)
    hold(database, "small")
    other = submitted(database, "other", intercalants=["Li"])
    advance(database, "other")
    ready = database.mongo["fireworks"].find({"state": "READY"})
    assert {job["spec"]["hts"]["result"] for job in ready} == set(other.values())
    assert set(other.values()) < set(keys.values())


def test_nothing_that_comes_later_is_started_in_a_paused_campaign(database, tmp_path):
    keys = submitted(database)
    fail(database, keys["graphite LiC6 stage 1"], FailureCause.WALLTIME)
    launch = start(database, keys["graphite KC6 stage 1"], tmp_path)
    hold(database, "small")
    # Resubmitted, and cut off with its worker, meanwhile.
    resubmit(database, plan_resubmission(database, "small"), user="ada")
    job = calculation_of(database, keys["graphite KC6 stage 1"])
    heal_job(database, job, database.mongo["launches"].find_one({"launch_id": launch}))
    assert states(database)["READY"] == 2
    assert "paused by ada" in advance(database, "small").paused
    assert states(database, **{"spec.hts.job": "calculate"}) == {"PAUSED": 7, "FIZZLED": 1}
    assert database.campaigns.find_one({"_id": "small"})["state"] == "paused"
    assert len(let_go(database, "small").keys) == 7


def test_chosen_ones_are_held_by_label_and_the_rest_says_when_only_they_are_left(database, tmp_path):
    keys = submitted(database)
    with pytest.raises(InputError, match="no queued candidate"):
        plan_pause(database, QueuedSelection(("small",), ("nosuch",)))
    with pytest.raises(InputError, match="did you mean 'small'"):
        plan_pause(database, QueuedSelection(("smal",)))
    with pytest.raises(InputError, match="no such engine"):
        plan_pause(database, QueuedSelection(engine="sevenet"))
    one = "graphite LiC8 stage 1"
    candidate = keys[one].split(":")[0]
    assert plan_pause(database, QueuedSelection(ids=(candidate[:-1],))).results[0].label == one
    assert hold(database, ids=(one,)).keys == [keys[one]]
    for key in set(keys.values()) - {keys[one]}:
        fail(database, key, FailureCause.WALLTIME, tmp_path)
    assert advance(database, "small").paused == "1 calculations of small are paused; hts resume small goes on"
    # One of a paused campaign goes on with the campaign.
    hold(database, "small")
    plan = plan_resume(database, QueuedSelection(ids=(one,)))
    assert list(plan.reasons) == ["small is paused as a whole: resume that"]
    assert let_go(database, "small").keys == [keys[one]]


def test_what_follows_a_running_job_is_held_and_finds_that_it_has_ended(database, tmp_path, monkeypatch):
    # Else FireWorks looks for the task in all of its modules, its tests included.
    monkeypatch.setitem(SAVED_FW_MODULES, "PyTask", "fireworks.user_objects.firetasks.script_task")

    def chain(key):
        mark = {"result": key, "campaigns": ["small"], "role": "candidate", "pool": "x", "seconds": 1.0}
        task = PyTask(func="time.sleep", args=[0])
        first, second, last = (
            Firework([task], spec={"hts": mark | {"job": job}}, fw_id=-number)
            for number, job in enumerate(("calculate", "calculate", "record"), 1)
        )
        flow = Workflow([first, second, last], {first: [second], second: [last]}, metadata={"result": key})
        ids = database.launchpad.add_wf(flow)
        nodes = [ids[-1], ids[-2], ids[-3]]
        document = {"candidate_id": key, "label": key, "campaigns": ["small"], "role": "candidate", "state": "queued"}
        database.results.insert_one(document | {"_id": key, "provenance": {"fw_ids": nodes}})
        return nodes

    database.campaigns.insert_one({"_id": "small", "state": "running", "created_at": now()})
    done_meanwhile, done_later = chain("a"), chain("b")
    launches = [
        database.launchpad.checkout_fw(FWorker(name=owner_name()), str(tmp_path), fw_id=nodes[0])[1]
        for nodes in (done_meanwhile, done_later)
    ]
    plan = plan_pause(database, QueuedSelection(("small",)))
    assert plan.notes == ["2 of them run: the job that runs goes on, and what follows it is held"]
    assert sorted(pause(database, plan, user="ada").keys) == ["a", "b"]
    database.launchpad.complete_launch(launches[0], FWAction())
    assert states(database, fw_id=done_meanwhile[1]) == {"PAUSED": 1}
    let_go(database, "small")
    assert states(database, fw_id=done_meanwhile[1]) == {"READY": 1}
    assert states(database, fw_id=done_later[1]) == {"WAITING": 1}
    database.launchpad.complete_launch(launches[1], FWAction())
    assert states(database, fw_id=done_later[1]) == {"READY": 1}


def test_a_plan_holds_while_the_queue_shrinks_and_not_when_it_grows(database, tmp_path):
    keys = submitted(database)
    one = QueuedSelection(("small",), engine="sevennet")
    agreed = plan_pause(database, one).token
    start(database, keys["graphite LiC6 stage 1"], tmp_path)
    fail(database, keys["graphite LiC8 stage 1"], FailureCause.WALLTIME)
    smaller = plan_pause(database, one)
    smaller.check("pause", agreed)
    for other in (plan_pause(database, SMALL), plan_resume(database, one)):
        with pytest.raises(InputError, match="has changed"):
            other.check(other.action, agreed)
    resubmit(database, plan_resubmission(database, "small"), user="ada")
    with pytest.raises(InputError, match="has changed"):
        pause(database, plan_pause(database, one), user="ada", token=agreed)
    with pytest.raises(InputError, match="has changed"):
        smaller.check("pause", "nonsense")
    assert database.audit.count_documents({"action": "pause"}) == 0


def test_workers_that_take_jobs_meanwhile_and_two_who_pause_at_once_agree_on_each(database, tmp_path):
    keys = submitted(database)
    begin = threading.Barrier(4)
    outcomes = []

    def person():
        plan = plan_pause(database, SMALL)
        begin.wait()
        outcomes.append(pause(database, plan, user="ada"))

    def worker():
        begin.wait()
        for _ in range(3):
            taken(database, tmp_path)

    threads = [threading.Thread(target=each) for each in (person, person, worker, worker)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [key for outcome in outcomes for key in outcome.keys]
    assert len(held) == len(set(held))
    running = {job["spec"]["hts"]["result"] for job in database.mongo["fireworks"].find({"state": "RUNNING"})}
    assert running.isdisjoint(held)
    assert running.union(held) == set(keys.values())
    assert sum(outcome.campaigns == ["small"] for outcome in outcomes) == 1


def test_the_number_of_requests_does_not_grow_with_the_queue(database):
    counter = CallCounter()
    client = MongoClient(database.uri, event_listeners=[counter])
    watched = Database(database.uri, client[database.mongo.name])
    database.campaigns.insert_one({"_id": "many", "state": "running", "created_at": now()})
    seen, stored = [], 0
    for count in (10, 1000):
        insert_running_jobs(database, new_allocation("/nowhere"), range(stored, count), state="READY")
        stored = count
        counter.names.clear()
        assert len(hold(watched, "many").keys) == count
        assert len(let_go(watched, "many").keys) == count
        # A long answer comes in several parts, and the first request logs in.
        seen.append([name for name in counter.names if name != "getMore" and not name.startswith("sasl")])
    assert seen[0] == seen[1]
    client.close()


def test_nothing_of_a_paused_campaign_is_given_to_slurm(database, settings):
    submitted(database)
    hold(database, "small")
    one_pass = Launcher(database, settings, CLUSTER).one_pass()
    # With anything to submit, it would find no SLURM here.
    assert (one_pass.placed.submitted, one_pass.ready, one_pass.problems) == (0, 0, [])
    assert one_pass.finished
    assert one_pass.paused == ["small is paused by ada (maintenance); hts resume small goes on"]


def test_a_worker_takes_no_paused_job_stops_and_takes_it_after_resume(database, tmp_path, hts):
    pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")
    from small_campaign import CAMPAIGN, engine_launches

    (tmp_path / "small.yaml").write_text(CAMPAIGN.format(intercalants="Li"))
    assert hts("submit", "small.yaml").returncode == 0
    keys = {item["label"]: item["_id"] for item in database.results.find({})}
    hold(database, "small")
    whole = hts("run", "small.yaml")
    assert (whole.returncode, sum(engine_launches(database).values())) == (1, 0)
    assert "small is paused by ada (maintenance); hts resume small goes on" in whole.stdout
    assert "paused" in hts("status", "small").stdout
    let_go(database, "small")
    for label in ("graphite LiC6 stage 1", "graphite LiC8 stage 1"):
        hold(database, "small", ids=(label,))
    some = hts("run", "small.yaml", "--workers", "1")
    assert "2 calculations of small are paused; hts resume small goes on" in some.stdout
    ran = engine_launches(database)
    assert {label: ran[key] for label, key in keys.items()} == {
        label: 0 if label.endswith("stage 1") else 1 for label in keys
    }
    assert hts("resume", "small", "--yes").returncode == 0
    assert hts("run", "small.yaml", "--workers", "1").returncode == 0
    assert set(engine_launches(database).values()) == {1}
    assert {item["state"] for item in database.results.find({})} == {"done"}
