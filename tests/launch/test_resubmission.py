from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from failed_results import CLUSTER, calculation_of, fail, start, submitted, write_geometry
from pymatgen.core import Structure

from hts_flows.errors import InputError
from hts_flows.launch import submission
from hts_flows.launch.advance import advance
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.owner import LIVING_CLAIM_SECONDS, owner_name
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.stores.campaigns import claim_is_free, now
from hts_flows.stores.results import Result

WALLTIME, MEMORY = FailureCause.WALLTIME, FailureCause.OUT_OF_MEMORY


@pytest.fixture
def failed(database, tmp_path):
    """Three failed calculations of seven, two at the time limit and one for memory."""
    keys = submitted(database)
    labels = sorted(label for label in keys if "C6" in label or "C8" in label)[:3]
    for label, cause in zip(labels, (WALLTIME, WALLTIME, MEMORY), strict=True):
        fail(database, keys[label], cause, tmp_path / label.replace(" ", "_"))
    return {label: keys[label] for label in labels}


def chosen(database, *names, **selection):
    return {result.key for result in plan_resubmission(database, names, **selection).results}


def test_results_are_chosen_by_cause_id_prefix_label_engine_and_message(failed, database):
    keys = list(failed.values())
    assert chosen(database, "small") == chosen(database) == set(keys)
    assert chosen(database, "small", cause="out_of_memory") == {keys[2]}
    first = Result.model_validate(database.results.find_one({"_id": keys[0]}))
    for text in (first.candidate_id, first.candidate_id[:-4], first.label):
        assert chosen(database, ids=[text]) == {keys[0]}
    assert chosen(database, engine="gpaw") == set()
    assert chosen(database, engine="sevennet", error=r"^SLURM job \d+ on n3: wall") == set(keys[:2])
    assert chosen(database, error=r"\[4711\]") == set(keys)
    assert chosen(database, error="nothing of the kind") == set()
    assert chosen(database, "small", "other") == set(keys)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"cause": "waltime"}, "did you mean 'walltime'"),
        ({"engine": "sevenet"}, "did you mean 'sevennet'"),
        ({"error": "(["}, "no regular expression"),
        ({"state": "done"}, "not recomputed"),
        ({"state": "queued"}, "runs anyway"),
        ({"state": "fialed"}, "did you mean 'failed'"),
        ({"ids": ["intercalation-"]}, "may be any of 3"),
        ({"ids": [""]}, "no failed candidate"),
        ({"settings": {"model": "7net-l3i5"}}, "changes what sevennet computes"),
        ({"settings": {"steps": -1}}, "--set steps=-1"),
        ({"resources": {"walltime": "x7"}}, "1-04:00:00"),
        ({"resources": {"nodes": "two"}}, "--nodes two"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_changes(selection, expected, failed, database):
    before = list(database.results.find({}))
    with pytest.raises(InputError) as told:
        plan_resubmission(database, "small", clusters={"big": CLUSTER}, **selection)
    assert expected in told.value.message
    assert list(database.results.find({})) == before


def test_one_that_is_queued_or_done_is_named_as_such(failed, database):
    other = database.results.find_one({"state": "queued", "role": "reference"})
    with pytest.raises(InputError, match="it is queued, and runs anyway"):
        plan_resubmission(database, "small", ids=[other["label"]])
    database.results.update_one({"_id": other["_id"]}, {"$set": {"state": "done"}})
    with pytest.raises(InputError, match="it is finished, and is not recomputed"):
        plan_resubmission(database, "small", ids=[other["candidate_id"]])


def test_each_result_has_its_own_base_and_equal_changes_are_gathered(failed, database):
    keys = list(failed.values())
    database.results.update_one({"_id": keys[0]}, {"$set": {"failure.job.walltime_asked": 3600.0}})
    plan = plan_resubmission(database, "small", settings={"steps": 900}, resources={"walltime": "x2"})
    assert [plan.edited[key].resources for key in keys] == [
        {"walltime": "02:00:00"},
        {"walltime": "08:00:00"},
        {"walltime": "08:00:00"},
    ]
    old = database.results.find_one({"_id": keys[0]})["settings"]["steps"]
    rows = [(row.setting, row.old, row.new, row.count) for row in plan.diff()]
    assert rows == [
        ("steps", old, 900, 3),
        ("resources.walltime", "04:00:00", "08:00:00", 2),
        ("resources.walltime", "01:00:00", "02:00:00", 1),
    ]
    assert plan_resubmission(database, resources={"walltime": "x0.5"}).notes == ["3 ask for less walltime than before"]


def test_what_runs_next_asks_for_the_new_resources_and_the_audit_says_who_what_and_why(failed, database):
    keys = list(failed.values())
    plan = plan_resubmission(
        database, "small", cause="walltime", settings={"steps": 900}, resources={"walltime": "x2", "qos": "long"}
    )
    done = resubmit(database, plan, user="ada", reason="slow cells", token=plan.token)
    assert (done.keys, done.refused, done.added) == (keys[:2], [], 2)
    for key in done.keys:
        firework = calculation_of(database, key)
        assert firework["state"] == "READY"
        assert firework["spec"]["hts"]["resources"] == {"walltime": "08:00:00", "qos": "long"}
        document = database.results.find_one({"_id": key})
        assert document["settings"]["steps"] == 900
        attempt = Result.model_validate(document).attempts[-1]
        assert attempt.failure.job.job_id == "4711"
        assert attempt.resubmission == done.audit
        assert attempt.start == document["start"]
    audit = database.audit.find_one({"_id": done.audit})
    assert (audit["user"], audit["reason"], audit["campaigns"]) == ("ada", "slow cells", ["small"])
    assert audit["selection"] == {"cause": "walltime"}
    assert audit["results"] == done.keys
    assert {(row["result"], row["setting"], row["old"], row["new"]) for row in audit["changes"]} >= {
        (keys[0], "resources.walltime", "04:00:00", "08:00:00"),
        (keys[1], "resources.qos", None, "long"),
    }
    assert database.results.find_one({"_id": keys[2]})["attempts"] == []


def test_a_plan_that_was_agreed_to_is_not_carried_out_on_other_results(failed, database):
    plan = plan_resubmission(database, "small", cause="walltime")
    same = plan_resubmission(database, "small", cause="walltime")
    assert same.token == plan.token
    assert plan_resubmission(database, "small").token != plan.token
    assert plan_resubmission(database, "small", cause="walltime", settings={"steps": 9}).token != plan.token
    first = next(iter(failed))
    assert resubmit(database, plan_resubmission(database, ids=[first]), user="ada").added == 1
    later = plan_resubmission(database, "small", cause="walltime")
    with pytest.raises(InputError, match="changed since the plan was made"):
        resubmit(database, later, user="bob", token=plan.token)
    done = resubmit(database, plan, user="bob")
    assert (done.refused, done.added) == ([first], 1)
    assert database.audit.find_one({"_id": done.audit})["results"] == done.keys
    again = resubmit(database, plan, user="bob")
    assert (again.audit, again.added, len(again.refused)) == (None, 0, 2)


def test_of_many_who_resubmit_at_once_one_wins_each_result(failed, database):
    keys = list(failed.values())
    plans = [plan_resubmission(database, "small", resources={"nodes": 1 + number}) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda plan: resubmit(database, plan, user="many"), plans))
    assert sorted(key for item in done for key in item.keys) == sorted(keys)
    assert sum(item.added for item in done) == len(keys)
    assert all(len(item.keys) + len(item.refused) == len(keys) for item in done)
    assert database.audit.count_documents({}) == sum(bool(item.keys) for item in done)
    for key in keys:
        assert database.mongo["workflows"].count_documents({"metadata.result": key}) == 1
        document = database.results.find_one({"_id": key})
        assert [attempt["resubmission"] for attempt in document["attempts"]] == [
            item.audit for item in done if key in item.keys
        ]
        assert calculation_of(database, key)["spec"]["hts"]["resources"] == document["resources"]


def test_a_relaxation_that_was_cut_off_goes_on_from_its_last_whole_geometry(failed, database, tmp_path):
    label, key = next(iter(failed.items()))
    before = database.results.find_one({"_id": key})
    moved = Structure.from_dict(before["start"])
    moved.translate_sites([0], [0.01, 0, 0], frac_coords=False)
    moved.properties = {}
    folder = tmp_path / label.replace(" ", "_")
    write_geometry(folder, moved)
    assert resubmit(database, plan_resubmission(database, ids=[label]), user="ada").added == 1
    after = Result.model_validate(database.results.find_one({"_id": key}))
    assert after.attempts[-1].continued_from == str(folder)
    new = Structure.from_dict(after.start)
    assert new.cart_coords == pytest.approx(moved.cart_coords)
    assert after.attempts[-1].start == before["start"]
    # How it was built stays known.
    assert after.provenance.structure == before["provenance"]["structure"]
    assert after.provenance.structure["host"] == "graphite"


def test_a_geometry_of_other_atoms_is_not_taken_and_the_start_stays(failed, database, tmp_path):
    label, key = next(iter(failed.items()))
    before = database.results.find_one({"_id": key})
    other = Structure.from_dict(before["start"])
    other.replace(0, "Cs")
    write_geometry(tmp_path / label.replace(" ", "_"), other)
    resubmit(database, plan_resubmission(database, ids=[label]), user="ada")
    after = database.results.find_one({"_id": key})
    assert after["attempts"][-1]["continued_from"] is None
    assert after["start"] == before["start"]


def test_only_what_failed_runs_again(failed, database, tmp_path):
    others = database.results.find({"state": "queued"})
    running = next(others)["_id"]
    start(database, running, tmp_path)
    before = {item["fw_id"]: item for item in database.mongo["fireworks"].find({})}
    resubmit(database, plan_resubmission(database, "small"), user="ada")
    after = {item["fw_id"]: item for item in database.mongo["fireworks"].find({})}
    assert {number: after[number] for number in before} == before
    added = {after[number]["spec"]["hts"]["result"] for number in after.keys() - before.keys()}
    assert added == set(failed.values())


def test_who_settles_at_the_same_moment_does_not_fail_what_was_resubmitted(database):
    from hts_flows.launch.advance import advance

    keys = list(submitted(database, intercalants=["Li", "K", "Na", "Rb", "Cs"]).values())
    stop = threading.Event()

    def settle():
        while not stop.is_set():
            advance(database, "small")

    thread = threading.Thread(target=settle)
    thread.start()
    try:
        for _ in range(4):
            for key in keys:
                fail(database, key, WALLTIME)
            assert resubmit(database, plan_resubmission(database, "small"), user="ada").added == len(keys)
            assert database.results.count_documents({"state": "queued"}) == len(keys)
    finally:
        stop.set()
        thread.join()
    assert database.results.count_documents({"state": "queued"}) == len(keys)


def test_one_that_this_version_cannot_run_does_not_keep_the_others_from_running(database):
    keys = list(submitted(database).values())[:3]
    for key in keys:
        fail(database, key, FailureCause.NODE_FAILURE)
    database.results.update_one({"_id": keys[0]}, {"$set": {"settings.of_a_later_version": 1}})
    database.results.update_one({"_id": keys[1]}, {"$set": {"failure.retryable": "perhaps"}})
    plan = plan_resubmission(database)
    assert [result.key for result in plan.results] == [keys[2]]
    assert any("2 cannot be run by this version" in note for note in plan.notes)
    assert resubmit(database, plan, user="ada").keys == [keys[2]]


def test_results_are_chosen_by_key_and_those_that_have_not_failed_are_left_out(database):
    keys = list(submitted(database).values())[:3]
    for key in keys[:2]:
        fail(database, key, FailureCause.NODE_FAILURE)
    plan = plan_resubmission(database, ids=[keys[0], keys[2]])
    assert [result.key for result in plan.results] == [keys[0]]
    assert any(note.startswith("1 of those chosen have not failed") for note in plan.notes)
    both = plan_resubmission(database, ids=[keys[0], keys[1].partition(":")[0]])
    assert {result.key for result in both.results} == set(keys[:2])


def test_a_resubmission_that_breaks_off_is_finished_by_the_next_caller(database, monkeypatch):
    keys = list(submitted(database).values())[:2]
    for key in keys:
        fail(database, key, FailureCause.NODE_FAILURE)

    def break_off(*_):
        raise RuntimeError("the database has gone")

    monkeypatch.setattr(submission, "_add_workflows", break_off)
    with pytest.raises(RuntimeError):
        resubmit(database, plan_resubmission(database), user="ada")
    monkeypatch.undo()
    assert {one["state"] for one in database.results.find({"_id": {"$in": keys}})} == {"queued"}
    assert database.campaigns.find_one({"_id": "small"})["state"] == "running"
    # This process still lives, and yet it claims nothing any more.
    advance(database, "small")
    for key in keys:
        assert database.mongo["workflows"].count_documents({"metadata.result": key}) == 1
        assert database.results.find_one({"_id": key})["submission"]["done"] is True


def test_an_old_claim_of_a_living_process_is_free():
    assert not claim_is_free(owner_name(), now() - timedelta(seconds=LIVING_CLAIM_SECONDS - 60))
    assert claim_is_free(owner_name(), now() - timedelta(seconds=LIVING_CLAIM_SECONDS + 60))
    assert claim_is_free("", now())
