"""Campaigns that search: train, rank, ask, learn, stop; killed, failing, continued, shared."""

from __future__ import annotations

import json
import time

import pytest
from screening_campaign import history, kill_all, start, write_campaign
from small_campaign import engine_launches, launches_by_result

from hts_flows.stores import connect

pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")


def ranking(hts, *arguments):
    done = hts("ranking", "search", "--format", "json", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_search_asks_learns_and_stops_and_a_second_run_computes_nothing(tmp_path, hts, database):
    write_campaign(tmp_path, more=["n_initial: 4", "batch: 2", "stop: {budget: 9}"])
    checked = hts("check", "search.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "the best of 30 by energy_per_atom, 2 at a time, until 9 were asked for" in checked.stdout
    done = hts("run", "search.yaml", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = ranking(hts)
    assert found["ranking"]["stopped"] == "budget"
    assert found["ranking"]["provenance"]["screener"]["versions"]["hts_flows"]
    rows = found["candidates"]
    assert len(rows) == 30
    assert {"rank", "candidate_id", "mean", "std", "z_score", "status"} <= set(rows[0])
    assert sorted(row["rank"] for row in rows) == list(range(1, 31))
    states = [row["status"] for row in rows]
    assert states.count("verified") == 9
    assert states.count("not asked") == 21
    assert database.results.count_documents({}) == 9
    asked = [one for entry in history(database) for one in entry[1]]
    assert len(asked) == len(set(asked)) == 9
    assert set(engine_launches(database).values()) == {1}
    before, rankings = launches_by_result(database), history(database)
    assert hts("run", "search.yaml").returncode == 0
    assert launches_by_result(database) == before
    assert history(database) == rankings


def test_a_larger_budget_goes_on_where_the_search_ended(tmp_path, hts, database):
    write_campaign(tmp_path, more=["n_initial: 4", "stop: {budget: 5}"])
    assert hts("run", "search.yaml").returncode == 0
    first = history(database)
    write_campaign(tmp_path, more=["n_initial: 4", "stop: {budget: 7}"])
    assert hts("run", "search.yaml", "--update").returncode == 0
    assert history(database)[: len(first)] == first
    asked = [one for entry in history(database) for one in entry[1]]
    assert len(asked) == len(set(asked)) == 7
    assert history(database)[-1][6] == "budget"
    assert set(engine_launches(database).values()) == {1}


def test_a_larger_training_set_is_computed_and_learnt_from(tmp_path, hts, database):
    first = ["train_on: {name: [LiF-rocksalt, NaCl-rocksalt]}", "stop: {budget: 1}"]
    write_campaign(tmp_path, more=first)
    assert hts("run", "search.yaml").returncode == 0
    more = ["train_on: {name: [LiF-rocksalt, NaCl-rocksalt, MgO-rocksalt]}", "stop: {budget: 2}"]
    write_campaign(tmp_path, more=more)
    assert hts("run", "search.yaml", "--update").returncode == 0
    rankings = list(database.rankings.find({}).sort("number", 1))
    assert [len(one["asked"]) for one in rankings if one["trains"]] == [2, 1]
    assert sum(len(one["asked"]) for one in rankings if not one["trains"]) == 2
    assert rankings[-1]["n_observed"] == 5
    assert rankings[-1]["stopped"] == "budget"
    assert set(engine_launches(database).values()) == {1}
    # Fewer are nothing new: what is computed stays known.
    write_campaign(tmp_path, more=[first[0], "stop: {budget: 2}"])
    assert hts("run", "search.yaml", "--update").returncode == 0
    assert set(engine_launches(database).values()) == {1}
    assert database.results.count_documents({}) == 5


def test_what_is_known_already_may_be_named_as_the_training_set(tmp_path, hts, database):
    write_campaign(tmp_path, more=["n_initial: 2", "stop: {budget: 2}"])
    assert hts("run", "search.yaml").returncode == 0
    name = database.results.find_one({})["facets"]["name"]
    write_campaign(tmp_path, more=[f"train_on: {{name: [{name}]}}", "stop: {budget: 3}"])
    done = hts("run", "search.yaml", "--update")
    assert done.returncode == 0, done.stdout + done.stderr
    assert database.results.count_documents({"state": "done"}) == 3
    assert set(engine_launches(database).values()) == {1}
    assert history(database)[-1][6] == "budget"


def test_killed_again_and_again_it_ends_as_an_unbroken_search(tmp_path, hts, database, monkeypatch):
    options = ["n_initial: 4", "batch: 2", "order: as_asked", "stop: {budget: 10}"]
    failing = ("NaCl-rocksalt", "KF-rocksalt", "CaO-rocksalt", "RbI-rocksalt")
    write_campaign(tmp_path, failing=failing, more=options)
    # The unbroken search, in a database of its own.
    name = database.mongo.name
    monkeypatch.setenv("HTS_DATABASE", f"{name}_unbroken")
    unbroken = connect()
    try:
        hts("run", "search.yaml", "--workers", "2")
        expected = history(unbroken)
    finally:
        unbroken.mongo.client.drop_database(unbroken.mongo.name)
    monkeypatch.setenv("HTS_DATABASE", name)

    killed = {"proposing": 0, "computing": 0}
    kinds = ["proposing", "computing"] * 2

    def reached(kind):
        if kind == "proposing":
            return database.steps.find_one({"step": {"$regex": "^propose"}, "state": "claimed"})
        return database.mongo["fireworks"].find_one({"state": "RUNNING"})

    for kind in kinds:
        process = start(tmp_path)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if reached(kind):
                killed[kind] += 1
                break
            time.sleep(0.002)
        kill_all(process)
    assert killed["proposing"]
    assert killed["computing"]
    hts("run", "search.yaml", "--workers", "2")
    assert history(database) == expected
    results = list(database.results.find({}))
    assert {result["state"] for result in results} == {"done", "failed"}
    asked = [one for entry in history(database) for one in entry[1]]
    assert sorted(asked) == sorted(result["candidate_id"] for result in results)
    # Each was recorded once; what a killed worker held was begun again, nothing else.
    recordings = database.mongo["fireworks"].find({"name": {"$regex": "^record"}})
    assert all(len(one["launches"]) == 1 and one["state"] == "COMPLETED" for one in recordings)
    begun = engine_launches(database)
    assert sum(begun.values()) <= len(results) + 2 * len(kinds)


def test_a_fifth_fails_and_the_target_is_found(tmp_path, hts, database):
    failing = ["LiCl", "NaF", "NaBr", "KCl", "RbF", "MgO"]
    names = write_campaign(
        tmp_path,
        failing=[f"{name}-rocksalt" for name in failing],
        more=["n_initial: 5", "batch: 2", "stop: {budget: 20, patience: 8}"],
    )
    assert len(names) == 30
    done = hts("run", "search.yaml", "--workers", "2")
    assert done.returncode == 1  # some failed, and it says so
    found = ranking(hts)
    failed = [row for row in found["candidates"] if row["status"] == "failed"]
    assert failed
    assert {row["formula"] for row in failed} <= set(failing)
    assert {row["cause"] for row in failed} <= {"ionic_not_converged", "unphysical_result"}
    assert found["ranking"]["stopped"] in {"patience", "budget"}
    assert failed[0]["cause"] in hts("failures", "search").stdout
    # What an enumeration finds: all 30 computed.
    verified = {row["formula"]: row["value"] for row in found["candidates"] if row["status"] == "verified"}
    assert found["ranking"]["best_value"] == min(verified.values())
    write_campaign(tmp_path, failing=[f"{name}-rocksalt" for name in failing])
    everything = (tmp_path / "search.yaml").read_text().split("    screen:")[0].replace("name: search", "name: all")
    (tmp_path / "all.yaml").write_text(everything)
    hts("run", "all.yaml", "--workers", "2")
    energies = [
        (row["energy_per_atom"], row["formula"])
        for row in json.loads(hts("results", "all", "--json").stdout)
        if row["state"] == "done"
    ]
    assert len(energies) == 24
    assert min(energies)[1] in verified


def test_a_resubmitted_result_enters_the_next_ranking_and_nothing_runs_again(tmp_path, hts, database):
    names = write_campaign(tmp_path, more=["stop: {budget: 1}"])
    write_campaign(tmp_path, failing=names, more=["n_initial: 3", "stop: {budget: 4}"])
    hts("run", "search.yaml")
    first = history(database)
    observed, failed = first[-1][3:5]
    assert observed + failed == 4
    assert failed >= 1
    begun = engine_launches(database)
    result = database.results.find_one({"state": "failed", "formula": "MgSe"})
    done = hts("resubmit", "search", "--id", result["candidate_id"], "--set", "steps=200", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    hts("run", "search.yaml")
    last = history(database)
    assert last[: len(first)] == first
    assert last[-1][3:5] == (observed + 1, failed - 1)
    assert last[-1][7] != first[-1][7]  # it was learnt from
    # One more calculation, of that candidate, and no other.
    calculations = database.mongo["fireworks"].count_documents({"name": {"$regex": "^sevennet"}})
    assert calculations == len(begun) + 1
    assert set(engine_launches(database).values()) == {1}


def test_what_another_campaign_has_computed_is_used_and_not_computed_again(tmp_path, hts, database):
    write_campaign(tmp_path, more=["n_initial: 3", "stop: {budget: 6}"])
    assert hts("run", "search.yaml").returncode == 0
    text = (tmp_path / "search.yaml").read_text().replace("name: search", "name: second")
    (tmp_path / "second.yaml").write_text(text.replace("budget: 6", "budget: 2"))
    assert hts("run", "second.yaml").returncode == 0
    found = json.loads(hts("ranking", "second", "--format", "json").stdout)
    assert sum(row["status"] == "verified" for row in found["candidates"]) == 8
    assert set(engine_launches(database).values()) == {1}
    assert database.results.count_documents({}) == 8
    # It began with all six: no random candidates were needed.
    stored = database.rankings.find_one({"campaign": "second", "number": 1})
    assert len(stored["shared"]) == stored["n_observed"] == 6
    assert stored["asked"][0]["z_score"] is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("descriptors: [volume_per_atm]", "volume_per_atom"),
        ("train_on: {pool: [pol]}", "pool"),
        ("filters: {where: [densty < 3]}", "density"),
        ("filters: {only_elements: [Xe]}", "leave none"),
        ("require: [spacegrup == 3]", "spacegroup"),
        ("by: energy", "energy_per_atom"),
        ("by: thermal_conductivity", "sevennet does not compute 'thermal_conductivity'"),
        ("require: [volume_per_atom << 3]", "is not a number"),
        ("seed: 1000000000000000000000", "seed"),
        ("stop: {minimal_gain: 0.1}", "at least one of budget, patience, z_below"),
        ("batch: 0", "batch"),
        ("prior: energy_per_atom", "no row below"),
    ],
)
def test_what_cannot_be_searched_for_is_told_before_anything_is_stored(tmp_path, hts, database, line, message):
    write_campaign(tmp_path, more=["stop: {budget: 3}"])
    lines = (tmp_path / "search.yaml").read_text().splitlines()
    key = line.split(":")[0]
    lines = [one for one in lines if one.split(":")[0].strip() != key]
    (tmp_path / "search.yaml").write_text("\n".join([*lines, f"      {line}"]))
    done = hts("run", "search.yaml")
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert database.campaigns.count_documents({}) == 0
