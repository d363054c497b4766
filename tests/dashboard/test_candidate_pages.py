"""The page of a candidate: structure, results side by side, failures, and files."""

from __future__ import annotations

import re

import pytest
from failed_results import fail, submitted
from many_jobs import CallCounter
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymongo import MongoClient
from ranking_documents import intercalation_search

from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.stores import Database
from hts_flows.stores.candidates import structure_of
from hts_flows.stores.rankings import add_ranking

#: What Chromium says when it draws in three dimensions without a graphics card.
SOFTWARE_DRAWING = ("GL Driver Message", "willReadFrequently", "WebGL")


@pytest.fixture
def keys(database):
    """A campaign that is submitted, so that its starting structures are stored; keys by label."""
    return submitted(database)


@pytest.fixture
def key(keys):
    return next(one for label, one in keys.items() if "LiC6" in label)


def candidate_of(key):
    return key.partition(":")[0]


def add_second_engine(database, key):
    """A result of another engine for the same candidate, done and with a structure."""
    document = database.results.find_one({"_id": key})
    first = document["start"]
    document |= {"engine": "gpaw", "settings_hash": "f" * 12, "_id": f"{document['candidate_id']}:{'f' * 12}",
                 "state": "done", "properties": {"intercalation_energy": -0.4567},
                 "calculation": {"energy": -123.456789, "max_force": 0.012, "n_steps": 7, "wall_time": 3700.0,
                                 "structure": first}}  # fmt: skip
    database.results.insert_one(document)
    return document["_id"]


@pytest.mark.parametrize("kind", ["cif", "poscar", "json"])
def test_a_file_of_a_structure_is_read_back_as_the_same_structure(database, key, site, kind):
    path = f"api/candidates/{candidate_of(key)}/structure?result={key}&which=start&format={kind}"
    answer = site.get(site.client(), path)
    stored = structure_of(database, key, "start")
    found = Structure.from_str(answer.text, fmt=kind)
    assert found.lattice.parameters == pytest.approx(stored.lattice.parameters, abs=1e-5)
    assert StructureMatcher(primitive_cell=False, scale=False, stol=1e-4).fit(found, stored)
    assert "attachment" in answer.headers["content-disposition"]


def test_the_structure_is_drawn_in_three_dimensions(database, key, site, visit):
    one = visit(site)
    one.expected = SOFTWARE_DRAWING
    page = one.open(f"candidates/{candidate_of(key)}")
    page.wait_for_selector(".js-plotly-plot canvas")
    kinds = page.locator("[data-figure]").evaluate("plot => plot.data.map(trace => trace.type)")
    assert "mesh3d" in kinds
    stored = structure_of(database, key, "start")
    facts = page.inner_text("section:has(#structure-title) dl")
    assert f"{len(stored)} atoms" in facts
    assert f"{stored.lattice.a:.4f}" in facts
    assert one.barriers() == []


def test_engines_are_side_by_side_with_units_and_each_structure_can_be_chosen(database, key, site, visit):
    other = add_second_engine(database, key)
    one = visit(site, dark=True)
    one.expected = SOFTWARE_DRAWING
    page = one.open(f"candidates/{candidate_of(key)}")
    table = page.locator("[data-part=results] table")
    assert table.locator("thead th").all_inner_texts() == ["Quantity", "sevennet", "gpaw"]
    row = table.locator("tr", has_text="Total energy")
    assert "(eV)" in row.inner_text()
    assert row.locator("td").all_inner_texts() == ["–", "−123.456789"]
    assert "−0.457" in table.locator("tr", has_text="intercalation energy").inner_text()
    assert "1 h 1 min" in table.inner_text()
    assert page.locator(".chip[aria-current]").inner_text() == "gpaw: relaxed"
    page.click("text=sevennet: start")
    page.wait_for_url("**which=start*")
    assert page.locator(".chip[aria-current]").inner_text() == "sevennet: start"
    page.wait_for_selector(".js-plotly-plot canvas")
    references = page.inner_text("[data-part=references]")
    assert "host" in references
    assert "(eV)" in references
    assert one.barriers() == []
    found = site.get(site.client(), f"api/candidates/{candidate_of(key)}").json()
    assert {result["key"] for result in found["results"]} == {key, other}


def test_a_failure_says_what_helps_and_operators_can_resubmit(database, key, site, tmp_path):
    fail(database, key, FailureCause.WALLTIME, tmp_path)
    site.add_user("anna", "viewer")
    path = f"candidates/{candidate_of(key)}"
    mine, hers = site.get(site.client(), path).text, site.get(site.client("anna"), path).text
    stored = database.results.find_one({"_id": key})
    assert "/failures?cause=walltime" in hers
    assert "SLURM job 4711" in hers
    assert "3 h 59 min used of 4 h" in hers
    for number in stored["provenance"]["fw_ids"]:
        assert f'href="/jobs/{number}"' in hers
    assert f"/resubmit?id={candidate_of(key)}" in mine
    assert "/resubmit" not in hers


def test_remedy_and_message_are_two_lines_and_a_long_message_does_not_widen_the_page(database, key, site, visit):
    failure = {"cause": "unknown", "message": "x" * 2000, "remedy": "try less", "retryable": False}
    database.results.update_one({"_id": key}, {"$set": {"state": "failed", "failure": failure}})
    one = visit(site)
    one.expected = SOFTWARE_DRAWING
    page = one.open(f"candidates/{candidate_of(key)}")
    assert page.inner_text("[data-part=failures] p").endswith("x\ntry less")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_what_is_done_is_shown_first_and_results_of_an_engine_are_told_apart_by_their_settings(database, key, site):
    first = database.results.find_one({"_id": key})
    done = add_second_engine(database, key)
    database.results.update_one(
        {"_id": done}, {"$set": {"engine": first["engine"], "settings": first["settings"] | {"steps": 77}}}
    )
    failure = {"cause": "unknown", "message": "no", "remedy": "", "retryable": False}
    change = {"state": "failed", "failure": failure, "calculation": {"energy": -1.0, "structure": first["start"]}}
    # The failed one is on the row of the ladder; the other's row is gone, which sorts it last or first alike.
    database.results.update_one({"_id": key}, {"$set": change})
    text = site.get(site.client(), f"candidates/{candidate_of(key)}").text
    engine = first["engine"]
    shown = re.search(r'<a class="chip"[^>]*aria-current="true">([^<]*)<', text)[1]
    assert shown == f"{engine} (steps 77): relaxed"
    assert f"{engine} (steps {first['settings']['steps']})" in text
    assert f"/resubmit?id={key.replace(':', '%3A')}" in text
    # As a row further up than the one that is done.
    database.results.update_one({"_id": done}, {"$set": {"settings_hash": first["settings_hash"]}})
    database.results.update_one({"_id": key}, {"$set": {"settings_hash": "e" * 12}})
    text = site.get(site.client(), f"candidates/{candidate_of(key)}").text
    assert re.search(r'<a class="chip"[^>]*aria-current="true">([^<]*)<', text)[1] == shown


def test_a_damaged_campaign_does_not_hide_its_candidates(database, key, site):
    database.campaigns.update_one({"_id": "small"}, {"$set": {"content": {}}})
    assert site.get(site.client(), f"candidates/{candidate_of(key)}").status_code == 200


def test_earlier_attempts_stay_readable_with_what_has_changed_since(database, key, site, tmp_path):
    fail(database, key, FailureCause.WALLTIME, tmp_path)
    plan = plan_resubmission(database, ids=[candidate_of(key)], settings={"steps": 77})
    done = resubmit(database, plan, user="anna")
    text = site.get(site.client(), f"candidates/{candidate_of(key)}").text
    assert "attempt 1" in text
    assert "/failures?cause=walltime" in text
    assert f"/audit/{done.audit}" in text
    assert "300, now 77" in text
    attempt = database.results.find_one({"_id": key})["attempts"][0]
    for number in attempt["fw_ids"]:
        assert f'href="/jobs/{number}"' in text


def test_its_place_in_a_search_leads_to_that_ranking(database, keys, key, site):
    _, made = intercalation_search(database)
    made.run(1)
    for ranking, tables in zip(made.rankings, made.tables, strict=True):
        assert add_ranking(database, ranking, *tables)
    choice = made.rankings[1].asked[0]
    # Only its id ties a candidate to the rankings.
    database.rankings.update_one({"_id": made.rankings[1].key}, {"$set": {"asked.0.candidate_id": candidate_of(key)}})
    text = site.get(site.client(), f"candidates/{candidate_of(key)}").text
    assert "/campaigns/search?tab=ranking&amp;number=1" in text
    assert choice.why in text
    assert f"{choice.z_score:.2f}".replace("-", "−") in text


def test_what_is_stored_is_shown_as_text(database, key, site, visit):
    label = "<script>alert(1)</script>"
    database.results.update_one({"_id": key}, {"$set": {"label": label, "facets.host": "<img src=x>"}})
    one = visit(site)
    one.expected = SOFTWARE_DRAWING
    page = one.open(f"candidates/{candidate_of(key)}")
    assert page.inner_text("h1") == label
    assert page.locator("main img").count() == 0


def test_what_is_not_there_is_named(database, keys, key, site):
    client = site.client()
    mine, others = candidate_of(key), [one for one in keys.values() if one != key]
    near = mine[:-3] + ("000" if not mine.endswith("000") else "111")
    for path, said in (
        (f"api/candidates/{near}", mine),
        (f"candidates/{near}", mine),
        (f"api/candidates/{near}/structure", mine),
        (f"api/candidates/{mine}/structure?result={key}", "has no relaxed structure"),
        (f"api/candidates/{mine}/structure?result={key}&which=1", "has no attempt 1"),
        (f"api/candidates/{mine}/structure", "no relaxed structure"),
        (f"api/candidates/{mine}/structure?result={others[0]}&which=start", "no result of"),
        (f"api/candidates/{mine}/figure?result={mine}:0&which=start", "no result"),
        (f"candidates/{mine}?result={others[0]}", "has no result"),
    ):
        answer = site.get(client, path)
        assert answer.status_code == 404, path
        assert said in answer.text.replace("&#39;", "'"), path
    assert site.get(client, f"api/candidates/{mine}/structure?which=middle").status_code == 422
    assert site.get(client, f"api/candidates/{mine}/structure?which=start&format=xyz").status_code == 422


def test_the_calls_of_the_database_do_not_grow_with_the_results(database, key, site):
    client, counter = site.client(), CallCounter()
    counted = MongoClient(database.uri, event_listeners=[counter])
    site.dashboard.connection._database = Database(database.uri, counted[database.mongo.name])
    path = f"candidates/{candidate_of(key)}"
    site.get(client, path)  # opens the connection
    found = []
    for change in (list, lambda: add_second_engine(database, key)):
        change()
        counter.names.clear()
        assert site.get(client, path).status_code == 200
        found.append(list(counter.names))
    assert found[0] == found[1]
    assert len(found[0]) <= 5
    counted.close()
