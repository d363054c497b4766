"""What became of a ranking's candidates, and the history of a search, from documents of a real search."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ranking_documents import intercalation_search

from hts_flows.stores.ranking_queries import current_table, history
from hts_flows.stores.rankings import TABLE_COLUMNS, Choice, rankings_of


@pytest.fixture
def searched(database):
    """Training on 8, then three rounds of 2, and 2 that are still in the queue."""
    level, search = intercalation_search(database)
    search.run(3, batch=2)
    search.rank(2)
    search.store(database)
    return database, level, search, rankings_of(database, "search", level.settings_hash)


def test_an_old_ranking_shows_what_came_out_since(searched):
    database, level, search, rankings = searched
    table = current_table(database, level, rankings[1], rankings).set_index("candidate_id")
    stored = search.tables[1][0].set_index("candidate_id")
    assert list(table.index) == list(stored.index)
    assert list(table["rank"]) == list(range(1, len(stored) + 1))
    for number, state in ((1, "verified"), (2, "verified"), (4, "queued")):
        for choice in rankings[number].asked:
            row = table.loc[choice.candidate_id]
            assert stored.loc[choice.candidate_id, "status"] == "not asked"
            assert (row["status"], row["asked_in"], row["why"]) == (state, number, choice.why)
            expected = search.truth[search.number(choice.candidate_id)] if state == "verified" else float("nan")
            assert row["value"] == pytest.approx(expected, nan_ok=True)
    untouched = table[table["asked_in"].isna()]
    assert set(untouched["status"]) == {"not asked"}
    assert len(untouched) == len(table) - 16
    np.testing.assert_allclose(table["z_score"], stored["z_score"])
    assert list(table.columns[-2:]) == ["x_density", "x_radius"]


def test_failures_have_their_cause_and_no_value(searched):
    database, level, _, rankings = searched
    table = current_table(database, level, rankings[-1], rankings)
    failed = table[table["status"] == "failed"]
    assert len(failed) == 2  # of the three broken ones, the training set has two
    assert set(failed["cause"]) == {"walltime"}
    assert failed["value"].isna().all()
    assert set(table.loc[table["status"] != "failed", "cause"]) == {None}


def test_a_resubmitted_failure_is_queued_again(searched):
    database, level, _, rankings = searched
    database.results.update_one({"state": "failed"}, {"$set": {"state": "queued", "failure": None}})
    table = current_table(database, level, rankings[-1], rankings)
    assert list(table["status"]).count("failed") == 1
    assert list(table["status"]).count("queued") == 3


def test_a_value_without_what_the_campaign_requires_is_a_failure(database):
    level, search = intercalation_search(database, require=["stays_layered == true"])
    search.run(1)
    search.store(database)
    (choice,) = search.rankings[1].asked
    database.results.update_many({"state": "done"}, {"$set": {"properties.stays_layered": True}})
    database.results.update_one({"candidate_id": choice.candidate_id}, {"$set": {"properties.stays_layered": False}})
    rankings = rankings_of(database, "search", level.settings_hash)
    table = current_table(database, level, rankings[-1], rankings).set_index("candidate_id")
    assert table.loc[choice.candidate_id, "status"] == "failed"
    assert "stays_layered" in table.loc[choice.candidate_id, "cause"]
    assert np.isnan(table.loc[choice.candidate_id, "value"])


def test_the_training_ranking_lists_its_candidates_unranked(searched):
    database, level, search, rankings = searched
    table = current_table(database, level, rankings[0], rankings)
    assert len(table) == 8 + 3 * 2 + 2
    assert table["rank"].isna().all()
    assert table["mean"].isna().all()
    assert set(TABLE_COLUMNS) <= set(table.columns)
    assert list(table["formula"][:8]) == list(search.identities["formula"][1:9])


def test_what_was_asked_for_stays_visible_when_the_kept_table_lacks_it(database, monkeypatch):
    level, search = intercalation_search(database)
    search.run(1)
    monkeypatch.setattr("hts_flows.stores.rankings.MOST_ROWS", 5)
    search.store(database)
    rankings = rankings_of(database, "search", level.settings_hash)
    table = current_table(database, level, rankings[-1], rankings)
    assert list(table["rank"].dropna()) == [1, 2, 3, 4, 5]
    everything = {choice.candidate_id for ranking in rankings for choice in ranking.asked}
    assert everything <= set(table["candidate_id"])
    assert table["candidate_id"].is_unique


def test_history_is_in_the_order_of_asking_with_the_best_so_far(searched):
    database, level, search, rankings = searched
    table = history(database, level, rankings)
    assert list(table["candidate_id"]) == [one.candidate_id for ranking in search.rankings for one in ranking.asked]
    assert list(table["trial"]) == list(range(1, 17))
    assert list(table["asked_in"]) == [0] * 8 + [1, 1, 2, 2, 3, 3, 4, 4]
    assert list(table["training"]) == [True] * 8 + [False] * 8
    values = np.array([search.truth[search.number(one)] for one in table["candidate_id"]])
    values[14:] = np.nan  # in the queue
    np.testing.assert_allclose(table["value"], values)
    np.testing.assert_allclose(table["best"], np.fmin.accumulate(values))
    best = int(np.nanargmin(values))
    assert table["best_label"].iloc[-1] == table["label"].iloc[best]
    assert table["mean"].isna().sum() == 8
    assert table["z_score"].iloc[8] == pytest.approx(rankings[1].asked[0].z_score)


def test_values_found_in_the_store_count_for_the_best_but_are_no_trials(searched):
    database, level, search, rankings = searched
    other = search.identities.loc[30]
    shared = Choice(candidate_id=other["candidate_id"], label=other["label"], why="in the store")
    database.results.insert_one(
        {
            "_id": f"{shared.candidate_id}:{level.settings_hash}",
            "candidate_id": shared.candidate_id,
            "state": "done",
            "properties": {"intercalation_energy": -99.0},
        }
    )
    changed = [*rankings[:2], rankings[2].model_copy(update={"shared": [shared]}), *rankings[3:]]
    table = history(database, level, changed)
    assert len(table) == 16
    assert (table["best"] == -99).tolist() == [False] * 10 + [True] * 6
    assert table["best_label"].iloc[-1] == other["label"]
    row = current_table(database, level, changed[2], changed).set_index("candidate_id").loc[shared.candidate_id]
    assert (row["status"], row["value"], row["why"]) == ("verified", -99.0, "in the store")
    assert row["asked_in"] is pd.NA


def test_maximised_searches_take_the_highest_as_best(searched):
    database, level, _, rankings = searched
    table = history(database, level, [one.model_copy(update={"minimize": False}) for one in rankings])
    np.testing.assert_allclose(table["best"], np.fmax.accumulate(table["value"].to_numpy()))


def test_few_requests_are_made_however_many_candidates_there_are(searched):
    database, level, _, rankings = searched
    before = database.mongo.client.admin.command("serverStatus")["opcounters"]["query"]
    current_table(database, level, rankings[-1], rankings)
    after = database.mongo.client.admin.command("serverStatus")["opcounters"]["query"]
    assert after - before <= 3


def test_nothing_asked_for_is_an_empty_history(searched):
    database, level, _, _ = searched
    assert history(database, level, []).empty
