"""What happens when a candidate fails, a reference fails, a run is killed, or two run at once."""

from __future__ import annotations

import signal
from collections import Counter

import psutil
import pytest
from small_campaign import (
    break_one,
    engine_launches,
    launches_by_result,
    start_run,
    states,
    wait_for,
)

pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")


def test_a_failed_candidate_is_a_result_and_its_resubmission_runs_it_alone(campaign, hts, database):
    campaign()
    assert hts("submit", "small.yaml").returncode == 0
    key = break_one(database, formula="KC8")
    failed = hts("run", "small.yaml")
    assert failed.returncode == 1
    assert "bad_input" in failed.stdout
    assert "hts resubmit small --cause bad_input" in failed.stdout
    assert states(database) == {"done": 6, "failed": 1}
    stored = database.results.find_one({"_id": key})
    assert "7net-broken" in stored["failure"]["message"]
    assert "load_checkpoint" in stored["failure"]["evidence"]
    before = launches_by_result(database)
    again = hts("resubmit", "small", "--id", stored["candidate_id"], "--yes")
    assert again.returncode == 0, again.stderr
    assert hts("run", "small.yaml").returncode == 0
    after = launches_by_result(database)
    assert {name for name in after if after[name] != before[name]} == {key}
    assert states(database) == {"done": 7}
    mended = database.results.find_one({"_id": key})
    assert [attempt["failure"]["cause"] for attempt in mended["attempts"]] == ["bad_input"]
    assert mended["properties"]["intercalation_energy"] < 0
    assert database.audit.find_one({})["results"] == [key]


def test_a_failed_reference_is_told_and_its_resubmission_completes_what_waited_without_running_it(
    campaign, hts, database
):
    campaign("Li")
    assert hts("submit", "small.yaml").returncode == 0
    reference = break_one(database, label="Lithium, bcc")
    failed = hts("run", "small.yaml")
    assert failed.returncode == 1
    causes = Counter(document["failure"]["cause"] for document in database.results.find({"state": "failed"}))
    assert causes == {"bad_input": 1, "reference_failed": 2}
    waiting = database.results.find_one({"formula": "LiC6"})
    assert waiting["calculation"]["energy"] < 0
    assert "Lithium, bcc" in waiting["failure"]["message"]
    before = launches_by_result(database)
    plan = hts("resubmit", "small", "--yes")
    assert "Lithium, bcc" in plan.stdout
    assert "LiC6" not in plan.stdout
    assert hts("run", "small.yaml").returncode == 0
    after = launches_by_result(database)
    assert {name for name in after if after[name] != before[name]} == {reference}
    assert states(database) == {"done": 4}
    assert database.results.find_one({"formula": "LiC6"})["properties"]["intercalation_energy"] < 0.5


def test_after_kill_9_the_same_command_goes_on_and_recomputes_nothing_that_was_finished(
    campaign, hts, database, tmp_path
):
    campaign("Li, Na, K, Rb")
    run = start_run(tmp_path, "--workers", "2")
    wait_for(lambda: database.results.count_documents({"state": "done"}) >= 4)
    workers = psutil.Process(run.pid).children()
    run.send_signal(signal.SIGKILL)
    run.wait()
    psutil.wait_procs(workers, timeout=10)
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    finished = {document["_id"] for document in database.results.find({"state": "done"})}
    assert 0 < len(finished) < 13
    before = engine_launches(database)
    again = hts("run", "small.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    after = engine_launches(database)
    assert {key: after[key] for key in finished} == {key: before[key] for key in finished}
    assert states(database) == {"done": 8 + 5}
    assert len({document["candidate_id"] for document in database.results.find({})}) == 8 + 5


def test_two_runs_at_once_compute_each_candidate_once(campaign, database, tmp_path):
    campaign("Li, K")
    runs = [start_run(tmp_path, "--workers", "1") for _ in range(2)]
    outputs = [run.communicate(timeout=200)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert states(database) == {"done": 7}
    assert set(launches_by_result(database).values()) == {2}


def test_a_lock_left_by_a_worker_that_died_in_the_middle_of_an_update_is_taken_off(campaign, hts, database):
    campaign("Li")
    assert hts("run", "small.yaml").returncode == 0
    key, launches = database.results.find_one({"formula": "LiC6"})["_id"], engine_launches(database)
    engine, recording = (
        database.mongo["fireworks"].find_one({"spec.hts.result": key, "name": {"$regex": name}})
        for name in ("^sevennet", "^record")
    )
    # The engine's job is written as completed; the workflow and the job that waits for it are not yet.
    database.mongo["fireworks"].update_one({"_id": recording["_id"]}, {"$set": {"state": "WAITING", "launches": []}})
    before = {f"fw_states.{engine['fw_id']}": "RUNNING", f"fw_states.{recording['fw_id']}": "WAITING"}
    database.mongo["workflows"].update_one(
        {"metadata.result": key}, {"$set": {"locked": True, "state": "RUNNING", **before}}
    )
    unrecord(database, key, None)
    again = hts("run", "small.yaml", timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert states(database) == {"done": 4}
    assert engine_launches(database) == launches


LOST = {"a completed workflow": None, "MongoDB went away": "ServerSelectionTimeoutError", "a mistake": "AssertionError"}


def unrecord(database, key, error):
    """Put a finished evaluation into the state that a recording leaves which ended without storing anything."""
    unknown = {"state": "queued", "calculation": None, "properties": None, "failure": None}
    database.results.update_one({"_id": key}, {"$set": unknown})
    if error:
        recording = database.mongo["fireworks"].find_one({"spec.hts.result": key, "name": {"$regex": "^record"}})
        trace = f'Traceback (most recent call last):\n  File "x.py", line 1, in y\n    z()\n{error}: gone'
        database.mongo["launches"].update_one(
            {"launch_id": recording["launches"][-1]},
            {"$set": {"state": "FIZZLED", "action": {"stored_data": {"_exception": {"_stacktrace": trace}}}}},
        )
        database.mongo["fireworks"].update_one({"_id": recording["_id"]}, {"$set": {"state": "FIZZLED"}})
        database.mongo["workflows"].update_one({"metadata.result": key}, {"$set": {"state": "FIZZLED"}})


def test_an_evaluation_that_ended_unrecorded_is_settled_from_its_raw_output_where_that_is_sound(
    campaign, hts, database
):
    from hts_flows.launch.advance import advance

    campaign("Li")
    assert hts("run", "small.yaml").returncode == 0
    before = database.results.find_one({"formula": "LiC6"})
    launches = launches_by_result(database)
    for error in LOST.values():
        unrecord(database, before["_id"], error)
        assert advance(database, "small").finished
        after = database.results.find_one({"_id": before["_id"]})
        if error == "AssertionError":
            assert (after["state"], after["failure"]["message"]) == ("failed", "AssertionError: gone")
        else:
            assert (after["state"], after["properties"]) == ("done", before["properties"])
    assert launches_by_result(database) == launches
