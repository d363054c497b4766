"""Everything about one job, on jobs that were really submitted, run, ended by SLURM and resubmitted."""

from __future__ import annotations

import jobflow
import pytest
from failed_results import CLUSTER, calculation_of, fail, start, submitted
from fireworks import FWorker
from many_jobs import CallCounter, new_allocation
from pymongo import monitoring

from hts_flows.errors import InputError
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.worker import launch_in_own_folder
from hts_flows.stores import connect
from hts_flows.stores.allocations import worker_name
from hts_flows.stores.job_detail import job_detail
from hts_flows.stores.job_graph import MOST_NODES, lay_out, nearest_nodes
from hts_flows.stores.job_inputs import LONGEST_LIST, job_inputs, plain

LITHIUM = "graphite LiC6 stage 1"


@pytest.fixture
def key(database):
    """Key of a result whose jobs are in the queue."""
    return submitted(database, intercalants=("Li",))[LITHIUM]


def jobs_of(database, key):
    workflow = database.mongo["workflows"].find_one({"metadata.result": key})
    own = calculation_of(database, key)["fw_id"]
    return own, next(node for node in workflow["nodes"] if node != own)


def test_a_queued_job_says_what_it_is_and_what_it_is_given(database, key):
    calculate, record = jobs_of(database, key)
    told = job_detail(database, calculate)
    assert (told.state, told.job, told.engine, told.campaigns) == ("READY", "calculate", "sevennet", ["small"])
    assert (told.label, told.formula, told.result, told.result_state) == (LITHIUM, "LiC6", key, "queued")
    assert told.settings["model"] == "7net-0"
    assert told.inputs.maker == "SevenNetMaker"
    assert told.inputs.function.endswith("CheckedRelaxMaker.make")
    assert told.inputs.settings["relax_kwargs"]["fmax"] == told.settings["fmax"]
    assert told.inputs.arguments == {"1": "LiC6 (7 sites)"}
    assert (told.launches, told.traceback, told.failure, told.allocation, told.used) == ([], None, None, None, None)
    assert [(node.fw_id, node.x, node.y, node.here) for node in told.graph.nodes] == [
        (calculate, 0, 0, True),
        (record, 1, 0, False),
    ]
    assert [(link.parent, link.child) for link in told.graph.links] == [(calculate, record)]
    after = job_detail(database, record)
    assert after.inputs.arguments == {"1": key, "2": f"output of job {told.inputs.uuid}"}
    assert [column.here for column in after.attempts] == [True]


def test_a_job_that_ended_with_an_error_shows_its_traceback(database, key, tmp_path, monkeypatch):
    monkeypatch.setattr(jobflow.SETTINGS, "JOB_STORE", database.job_store)
    calculate, record = jobs_of(database, key)
    arguments = "spec._tasks.0.job.function_kwargs"
    database.mongo["fireworks"].update_one({"fw_id": calculate}, {"$set": {arguments: {"colour": "red"}}})
    mine = FWorker(name="here", query={"spec.hts.result": key})
    while launch_in_own_folder(tmp_path, database, mine):
        pass
    told = job_detail(database, calculate)
    assert told.state == "FIZZLED"
    assert told.inputs.arguments["colour"] == "red"
    assert "unexpected keyword argument 'colour'" in told.traceback.splitlines()[-1]
    assert told.failure.cause == "bad_input"
    assert "colour" in told.failure.message
    assert told.attempts[-1].cause == "bad_input"
    assert (told.launches[0].state, told.launches[0].worker) == ("FIZZLED", "here")
    assert told.launches[0].folder.startswith(str(tmp_path))
    assert told.launches[0].ended_at >= told.launches[0].started_at
    assert told.launches[0].run_time > 0
    assert job_detail(database, record).state == "COMPLETED"
    assert job_detail(database, record).traceback is None


def test_runs_of_a_resubmitted_result_are_beside_each_other(database, key):
    fail(database, key, FailureCause.WALLTIME, time_used=14398)
    old, _ = jobs_of(database, key)
    plan = plan_resubmission(
        database, "small", settings={"steps": 500}, resources={"walltime": "x2"}, clusters={"big": CLUSTER}
    )
    audit = resubmit(database, plan, user="ada").audit
    new, _ = jobs_of(database, key)
    told = job_detail(database, old)
    assert (told.earlier, told.result_state, told.failure.cause) == (True, "queued", "walltime")
    assert (told.used.time_used, told.used.memory_used) == (14398, 7700)
    first, second = told.attempts
    assert (first.number, first.here, first.current, first.state) == (1, True, False, "failed")
    assert (first.cause, first.usage.job_id, first.resubmission) == ("walltime", "4711", None)
    assert (second.number, second.here, second.current, second.state) == (2, False, True, "queued")
    assert (second.cause, second.resubmission, second.finished_at) == (None, audit, None)
    assert first.settings == {"steps": 300, "resources.walltime": None}
    assert second.settings == {"steps": 500, "resources.walltime": "08:00:00"}
    assert told.settings["steps"] == 300
    now = job_detail(database, new)
    assert (now.earlier, now.failure, now.settings["steps"]) == (False, None, 500)
    assert [column.here for column in now.attempts] == [False, True]
    assert now.resources == {"walltime": "08:00:00"}


def test_a_job_in_a_slurm_job_shows_what_was_asked_and_how_it_stands(database, key):
    slurm = {"state": "RUNNING", "nodes": "n7", "walltime": 3600.0, "memory_asked": 4096.0, "memory_used": None}
    allocation = new_allocation("/scratch/pilot", job_id="815", state="queued", slurm=slurm, problem="none so far")
    database.allocations.insert_one(allocation.document())
    calculate, _ = jobs_of(database, key)
    worker = FWorker(name=worker_name(allocation.token, 0, "n7:1:1.00"))
    database.launchpad.checkout_fw(worker, "/scratch/pilot/1", fw_id=calculate)
    told = job_detail(database, calculate)
    assert told.asked == {"walltime": "01:00:00", "memory": "50M"}
    assert (told.allocation.job_id, told.allocation.problem, told.allocation.slurm["state"]) == (
        "815",
        "none so far",
        "RUNNING",
    )
    assert (told.used.node, told.used.walltime_asked, told.used.state) == ("n7", 3600, "RUNNING")
    assert told.launches[0].allocation == allocation.token


def test_a_job_that_was_made_ready_again_keeps_its_earlier_launches(database, key, tmp_path):
    start(database, key, tmp_path / "a")
    calculate, _ = jobs_of(database, key)
    database.launchpad.rerun_fw(calculate)
    start(database, key, tmp_path / "b")
    told = job_detail(database, calculate)
    assert [(launch.folder, launch.archived) for launch in told.launches] == [
        (str(tmp_path / "b"), False),
        (str(tmp_path / "a"), True),
    ]


def test_the_number_of_calls_is_constant(settings):
    counter = CallCounter()
    monitoring.register(counter)
    try:
        database = connect(settings)
    finally:
        monitoring._LISTENERS.command_listeners.remove(counter)
    key = submitted(database, intercalants=("Li",))[LITHIUM]
    calculate, _ = jobs_of(database, key)
    numbers = []
    for _ in range(2):
        counter.names.clear()
        job_detail(database, calculate)
        numbers.append(len(counter.names))
        fail(database, key, FailureCause.LOST)
        resubmit(database, plan_resubmission(database, "small"), user="ada")
    assert numbers == [6, 6]


@pytest.mark.parametrize("fw_id", [0, -1, 10**6, 2**70])
def test_a_job_that_is_not_there_is_told(database, fw_id):
    with pytest.raises(InputError, match=f"job {fw_id}: there is none"):
        job_detail(database, fw_id)


def test_a_job_of_another_program_is_shown_as_far_as_it_goes(database):
    from fireworks import Firework, ScriptTask

    database.launchpad.add_wf(Firework(ScriptTask.from_str("true"), name="by hand"))
    told = job_detail(database, database.mongo["fireworks"].find_one({})["fw_id"])
    assert (told.name, told.result, told.attempts, told.inputs.function) == ("by hand", None, [], None)
    assert len(told.graph.nodes) == 1


def chain(number):
    return {node: [node + 1] for node in range(1, number)} | {number: []}


def graph(links, fw_id):
    jobs = {node: {"name": str(node), "state": "READY"} for node in nearest_nodes(links, fw_id)}
    return lay_out(links, jobs, fw_id)


def test_a_large_workflow_is_drawn_around_the_job():
    drawn = graph(chain(200), 100)
    assert sorted(node.fw_id for node in drawn.nodes) == list(range(70, 130))
    assert len(drawn.nodes) == MOST_NODES
    assert drawn.left_out == 200 - MOST_NODES
    assert len(drawn.links) == MOST_NODES - 1
    # With more neighbours than are drawn, it is still among them.
    fan = {1: list(range(2, 500))} | {node: [] for node in range(2, 500)}
    assert 450 in {node.fw_id for node in graph(fan, 450).nodes}
    assert graph(fan, 450).left_out == 499 - MOST_NODES


def test_every_job_is_behind_its_parents_and_no_two_are_at_one_place():
    # A diamond with a short cut, and a job with two roots.
    links = {1: [2, 3, 5], 2: [4], 3: [4], 4: [5], 5: [], 6: [4]}
    drawn = graph(links, 4)
    places = {node.fw_id: (node.x, node.y) for node in drawn.nodes}
    assert {node: place[0] for node, place in places.items()} == {1: 0, 6: 0, 2: 1, 3: 1, 4: 2, 5: 3}
    assert len(set(places.values())) == 6
    assert all(places[link.parent][0] < places[link.child][0] for link in drawn.links)
    assert (drawn.columns, drawn.rows, drawn.left_out) == (4, 2, 0)


def test_large_values_are_described_and_not_shown():
    molecule = {"@class": "Molecule", "sites": [{"species": [{"element": "O", "occu": 1}]}] * 2}
    assert plain({"a": [1, None, True], "m": molecule}) == {"a": [1, None, True], "m": "O2 (2 sites)"}
    dummy = {"sites": [{"species": [{"element": "vacancy!", "occu": 1}]}]}
    assert plain(dummy) == "vacancy! (1 site)"
    assert plain(list(range(LONGEST_LIST + 1))) == "list of 13"
    assert plain("x" * 1000).endswith("… (1000 characters)")
    deep = {}
    for _ in range(50):
        deep = {"in": deep}
    assert "mapping of 1" in str(plain(deep))
    for spec in ({}, {"_tasks": []}, {"_tasks": [{"job": "text"}]}, {"_tasks": {"a": 1}}, {"_tasks": [None]}):
        assert job_inputs(spec).function is None
