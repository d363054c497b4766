"""Campaigns run as users run them: submitted twice, by many, killed while submitted, changed, rebuilt."""

from __future__ import annotations

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_campaign import (
    PROMOTE,
    launches_by_result,
)

pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")


def test_a_run_gives_one_object_a_candidate_and_a_second_run_computes_nothing(campaign, hts, database):
    campaign()
    first = hts("run", "small.yaml")
    assert first.returncode == 0, first.stdout + first.stderr
    found = json.loads(hts("results", "small", "--format", "json").stdout)
    assert Counter(item["formula"] for item in found) == {"LiC6": 1, "LiC8": 1, "KC6": 1, "KC8": 1}
    for item in found:
        assert item["engine"] == "sevennet"
        assert item["stays_layered"] is True
        assert isinstance(item["intercalation_energy"], float)
        assert item["interlayer_distance"] > 3
        assert item["structure"]["lattice"]["matrix"]
        assert item["provenance"]["versions"]["sevenn"]
        assert item["provenance"]["job_uuids"]
        assert item["provenance"]["structure"]["host"] == "graphite"
    before = launches_by_result(database)
    assert set(before.values()) == {2}  # the engine and the recording, once each
    second = hts("run", "small.yaml")
    assert second.returncode == 0
    assert launches_by_result(database) == before


def test_the_best_go_up_the_ladder_with_their_references_and_start_from_the_step_below(campaign, hts, database):
    campaign(more=PROMOTE)
    done = hts("run", "small.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (
        sorted({doc["settings_hash"] for doc in database.results.find({"previous_hash": None})}),
        list(database.results.find({"previous_hash": {"$ne": None}})),
    )
    lowest = database.results.find_one({"role": "candidate"}, sort=[("properties.intercalation_energy", 1)])
    promoted = [document for document in second if document["role"] == "candidate"]
    assert [document["candidate_id"] for document in promoted] == [lowest["candidate_id"]]
    assert {document["previous_hash"] for document in second} == set(first)
    assert {document["label"] for document in second if document["role"] == "reference"} == {
        document["label"]
        for document in database.results.find({"settings_hash": first[0], "role": "reference"})
        if document["candidate_id"] in promoted[0]["references"].values()
    }
    assert promoted[0]["start"]["lattice"] == lowest["calculation"]["structure"]["lattice"]
    assert promoted[0]["properties"]["intercalation_energy"] != lowest["properties"]["intercalation_energy"]
    found = json.loads(hts("results", "small", "--json").stdout)
    assert [item["formula"] for item in found if item["promoted"]] == [lowest["formula"]]
    # The ladder has the engine twice: its rows are told apart.
    assert "E_int sevennet:2" in hts("results", "small").stdout
    upper = json.loads(hts("results", "small", "--engine", "sevennet:2", "--json").stdout)
    assert [item["settings"]["model"] for item in upper] == ["7net-l3i5"]
    assert [row["engine"] for row in json.loads(hts("status", "small", "--json").stdout)] == ["sevennet", "sevennet:2"]
    # Without the upper row, what it gave is no longer of the campaign, and all commands go on working.
    campaign()
    assert hts("run", "small.yaml", "--update").returncode == 0
    found = json.loads(hts("results", "small", "--json").stdout)
    assert [item["promoted"] for item in found] == [[]] * len(found)
    assert "sevennet:2" not in hts("results", "small").stdout


@pytest.mark.parametrize("callers", ["threads", "processes"])
def test_a_campaign_submitted_by_many_at_once_is_queued_once(callers, campaign, hts, database, tmp_path):
    from hts_flows.campaign import load_campaign_file
    from hts_flows.launch.advance import advance
    from hts_flows.stores.campaigns import save_campaign

    campaign("Li, Na, K, Rb, Cs")
    save_campaign(database, load_campaign_file(tmp_path / "small.yaml"))
    one = (lambda _: advance(database, "small")) if callers == "threads" else (lambda _: hts("submit", "small.yaml"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(4)))
    workflows = Counter(wf["metadata"]["result"] for wf in database.mongo["workflows"].find({}))
    assert set(workflows.values()) == {1}
    assert len(workflows) == database.results.count_documents({}) == 10 + 6


def test_an_updated_campaign_drops_what_it_no_longer_asks_for_and_takes_it_back_when_asked_again(
    campaign, hts, database
):
    campaign("Li, K")
    assert hts("submit", "small.yaml").returncode == 0

    def formulas():
        return sorted(item["formula"] for item in json.loads(hts("results", "small", "--json").stdout))

    campaign("Li, Rb")
    assert "3 calculations queued" in hts("submit", "small.yaml", "--update").stdout
    assert formulas() == ["LiC6", "LiC8", "RbC6", "RbC8"]
    assert database.mongo["fireworks"].count_documents({"spec.hts.campaigns": "small"}) == 2 * 7
    assert database.results.count_documents({}) == 7 + 3
    campaign("Li, K")
    assert "0 calculations queued" in hts("submit", "small.yaml", "--update").stdout
    assert formulas() == ["KC6", "KC8", "LiC6", "LiC8"]
    assert database.mongo["fireworks"].count_documents({"spec.hts.campaigns": "small"}) == 2 * 7


@pytest.mark.parametrize("left", ["nothing", "a workflow without jobs", "the whole workflow"])
def test_a_submission_that_was_killed_is_completed_once(left, campaign, database, tmp_path):
    from hts_flows.campaign import load_campaign_file
    from hts_flows.launch.advance import advance
    from hts_flows.stores.campaigns import save_campaign

    campaign("Li")
    save_campaign(database, load_campaign_file(tmp_path / "small.yaml"))
    advance(database, "small")
    gone = {"owner": f"{os.uname().nodename}:999999999:1.00", "token": "gone", "at": None, "done": False}
    result = database.results.find_one({"formula": "LiC6"})
    gone["at"] = result["submission"]["at"]
    database.results.update_one({"_id": result["_id"]}, {"$set": {"submission": gone, "provenance.job_uuids": []}})
    workflow = database.mongo["workflows"].find_one({"metadata.result": result["_id"]})
    if left != "the whole workflow":
        database.mongo["fireworks"].delete_many({"fw_id": {"$in": workflow["nodes"]}})
    if left == "nothing":
        database.mongo["workflows"].delete_one({"_id": workflow["_id"]})
    advance(database, "small")
    advance(database, "small")
    assert database.mongo["workflows"].count_documents({"metadata.result": result["_id"]}) == 1
    mended = database.results.find_one({"_id": result["_id"]})
    assert database.mongo["fireworks"].count_documents({"fw_id": {"$in": mended["provenance"]["fw_ids"]}}) == 2
    assert mended["submission"]["done"] is True
    assert len(mended["provenance"]["job_uuids"]) == 1


def test_rebuild_parses_the_raw_outputs_again(campaign, hts, database):
    campaign("Li")
    assert hts("run", "small.yaml").returncode == 0
    before = {doc["_id"]: doc for doc in database.results.find({})}
    database.results.update_many({}, {"$set": {"properties": None, "calculation.energy": 0.0}})
    done = hts("rebuild", "small")
    assert done.returncode == 0, done.stderr
    for document in database.results.find({}):
        assert document["calculation"]["energy"] == before[document["_id"]]["calculation"]["energy"]
        assert document["properties"] == before[document["_id"]]["properties"]
