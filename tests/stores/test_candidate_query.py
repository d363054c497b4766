from __future__ import annotations

import json

import pytest
from many_jobs import CallCounter
from pymatgen.core import Lattice, Structure
from pymongo import MongoClient
from ranking_documents import intercalation_search

from hts_flows.errors import InputError
from hts_flows.stores import Database
from hts_flows.stores.candidates import CANDIDATE_RANKING_INDEXES, candidate_detail, structure_of
from hts_flows.stores.results import Attempt


def crystal(length):
    return Structure(Lattice.cubic(length), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def stored(database, make_campaign):
    """Three results; the first has structures, an attempt, and a reference."""
    documents = make_campaign(database, "many", count=3)
    reference = documents[2]
    reference |= {"role": "reference", "label": "graphite", "calculation": calculation(4.0, -7.0)}
    attempt = Attempt(
        state="failed", start=crystal(5.0).as_dict(), calculation=calculation(5.5, -1.0), settings={"steps": 3}
    )
    documents[0] |= {
        "start": crystal(6.0).as_dict(),
        "calculation": calculation(6.5, -2.0),
        "attempts": [attempt.model_dump(mode="json"), Attempt(state="failed").model_dump(mode="json")],
        "references": {"host": reference["candidate_id"], "element:Li": "bulk-missing"},
    }
    database.results.insert_many(documents)
    return database, documents


def calculation(length, energy):
    return {"structure": crystal(length).as_dict(), "energy": energy, "converged": True, "n_steps": 4}


def test_a_candidate_has_its_results_attempts_and_references(stored):
    database, documents = stored
    found = candidate_detail(database, documents[0]["candidate_id"])
    (result,) = found.results
    assert (found.label, found.campaigns, found.facets["stage"]) == (documents[0]["label"], ["many"], 1)
    assert [(place.campaign, place.row, place.name) for place in result.places] == [("many", 0, "sevennet")]
    values = {one.column.name: (one.value, one.column.unit) for one in result.properties}
    expected = documents[0]["properties"]["intercalation_energy"]
    assert values["intercalation_energy"] == (expected, "eV/M")
    assert (result.energy, result.n_atoms, result.has_start, result.has_structure) == (-2.0, 2, True, True)
    attempts = [(one.number, one.has_start, one.has_structure, one.start) for one in result.attempts]
    assert attempts == [(1, True, True, None), (2, False, False, None)]
    assert result.attempts[0].calculation == {"energy": -1.0, "converged": True, "n_steps": 4}
    references = {one.role: (one.label, one.energy, one.n_atoms) for one in result.references}
    assert references == {"host": ("graphite", -7.0, 2), "element:Li": ("element:Li", None, None)}
    assert "lattice" not in found.model_dump_json()


def test_each_structure_is_read_alone(stored):
    database, documents = stored
    key = documents[0]["_id"]
    lengths = [structure_of(database, key, which).lattice.a for which in ("relaxed", "start", 1)]
    assert lengths == [6.5, 6.0, 5.5]
    for which, message in ((2, "no attempt 2"), (0, "no structure is called 0"), ("final", "'final'")):
        with pytest.raises(InputError, match=message):
            structure_of(database, key, which)
    with pytest.raises(InputError, match="no result 'none'"):
        structure_of(database, "none")


def test_an_unknown_candidate_is_explained_by_ids_that_begin_alike(stored):
    database, documents = stored
    known = documents[0]["candidate_id"]
    with pytest.raises(InputError, match=known):
        candidate_detail(database, known[:-2])


def test_the_rankings_that_chose_it_say_why_in_a_constant_number_of_calls(database):
    level, search = intercalation_search(database)
    search.run(3, batch=2)
    search.store(database)
    # What the search's own documents leave out.
    identity = {"label": "x", "formula": "LiC8"}
    candidate = {"domain": "intercalation", "inputs": {}, **identity}
    more = {
        **identity,
        "candidate": candidate,
        "engine": "sevennet",
        "settings": {},
        "campaigns": ["search"],
        "failure": None,
    }
    database.results.update_many({}, {"$set": more})
    database.mongo["rankings"].create_indexes(CANDIDATE_RANKING_INDEXES)
    counter = CallCounter()
    client = MongoClient(database.uri, event_listeners=[counter])
    watched = Database(database.uri, client[database.mongo.name])
    watched.results.find_one()
    for number in (0, 3):
        choice = search.rankings[number].asked[0]
        counter.names.clear()
        found = candidate_detail(watched, choice.candidate_id)
        assert counter.names == ["aggregate", "find", "aggregate", "aggregate"]
        (standing,) = found.standings
        assert (standing.number, standing.asked, standing.settings_hash) == (number, True, level.settings_hash)
        assert (standing.mean, standing.z_score, standing.rank, standing.why) == (
            choice.mean,
            choice.z_score,
            choice.rank,
            choice.why,
        )
    client.close()
    query = {"$or": [{"asked.candidate_id": "x"}, {"shared.candidate_id": "x"}]}
    plan = database.mongo.command("explain", {"find": "rankings", "filter": query}, verbosity="queryPlanner")
    assert "COLLSCAN" not in json.dumps(plan["queryPlanner"]["winningPlan"])
