"""``hts ranking``, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import re

import pandas as pd
import pytest
from ranking_documents import CAMPAIGN, intercalation_search

from hts_flows.campaign import Campaign
from hts_flows.stores.campaigns import save_campaign

KEYS = [
    "rank",
    "candidate_id",
    "label",
    "formula",
    "mean",
    "std",
    "z_score",
    "expected_improvement",
    "status",
    "value",
    "cause",
    "asked_in",
    "why",
]


@pytest.fixture
def search(database):
    """Training on 8, then two rounds of 2, and 2 that are still in the queue; 3 candidates fail."""
    _, search = intercalation_search(database)
    search.run(2, batch=2)
    search.rank(2)
    search.store(database)
    return search


def read(hts, *arguments):
    done = hts("ranking", "search", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_says_what_is_known_predicted_and_next(search, hts):
    text = read(hts)
    values = [outcome.value for outcome in search.outcomes().values() if outcome.value is not None]
    n = len(search.identities)
    assert "ranking 3 (the last of 4)" in text
    assert f"10 verified, 2 failed, 2 queued, {n - 14} not asked" in text
    (best,) = re.search(r"best so far: .+ with (\S+) eV/M", text).groups()
    assert float(best.replace("−", "-")) == pytest.approx(min(values), rel=1e-3)
    fitted = search.rankings[-1].provenance["screener"]["fitted"]
    assert f"length scale {fitted['length_scales'][0]:.3g} " in text
    assert "the values themselves" in text
    lines = [line for line in text.splitlines() if re.match(r" *\d+ ", line) and "±" in line]
    assert len(lines) == 20
    stored = search.tables[-1][0]
    assert [line.split()[0] for line in lines] == [str(number) for number in range(1, 21)]
    assert all(stored["label"][number] in line for number, line in enumerate(lines))
    assert f"… and {n - 20} more" in text
    assert "hts ranking search --history" in text
    assert "hts failures search" in text
    assert "hts results search --sort intercalation_energy" in text


def test_json_has_the_promised_keys_in_the_order_of_the_ranking(search, hts):
    document = json.loads(read(hts, "--json"))
    assert list(document) == ["campaign", "ranking", "candidates"]
    assert document["ranking"]["number"] == 3
    assert document["ranking"]["provenance"] == json.loads(json.dumps(search.rankings[-1].provenance))
    rows = document["candidates"]
    assert all(list(row) == KEYS for row in rows)
    stored = search.tables[-1][0]
    assert [row["candidate_id"] for row in rows] == list(stored["candidate_id"])
    assert [row["rank"] for row in rows] == list(range(1, len(stored) + 1))
    assert [row["mean"] for row in rows] == pytest.approx(list(stored["mean"]))
    assert [row["std"] for row in rows] == pytest.approx(list(stored["standard_deviation"]))
    assert [row["z_score"] for row in rows] == pytest.approx(list(stored["z_score"]))
    known = search.outcomes()
    for row in rows:
        outcome = known.get(row["candidate_id"])
        assert row["status"] == (outcome.state if outcome else "not asked")
        assert row["value"] == (outcome.value if outcome else None)
        assert row["cause"] == (outcome.cause if outcome else None)
        assert (row["asked_in"] is None) == (outcome is None)


def test_formats_hold_the_same_candidates_and_descriptors(search, hts, tmp_path):
    ids = [row["candidate_id"] for row in json.loads(read(hts, "--json"))["candidates"]]
    rows = list(csv.DictReader(io.StringIO(read(hts, "--format", "csv"))))
    text = read(hts, "--format", "parquet", "--output", "search.parquet")
    frame = pd.read_parquet(tmp_path / "search.parquet")
    assert ids == [row["candidate_id"] for row in rows] == list(frame["candidate_id"])
    assert list(frame.columns) == list(rows[0]) == [*KEYS, "x_density", "x_radius"]
    assert f"{len(ids)} candidates written: search.parquet" in text


def test_status_conditions_and_limit_select(search, hts):
    rows = json.loads(read(hts, "--json", "--status", "failed", "--status", "queued"))["candidates"]
    assert sorted(row["status"] for row in rows) == ["failed", "failed", "queued", "queued"]
    open_ones = search.tables[-1][0]
    limit = f"z_score < {open_ones['z_score'].median()}"
    rows = json.loads(read(hts, "--json", "--status", "not asked", "--where", limit, "--limit", "4"))
    known = search.outcomes()
    expected = [
        row.candidate_id
        for row in open_ones.itertuples()
        if row.z_score < open_ones["z_score"].median() and row.candidate_id not in known
    ]
    assert [row["candidate_id"] for row in rows["candidates"]] == expected[:4]
    assert len(expected) > 4
    assert "no candidates match" in read(hts, "--where", "z_score > 1000")


def test_history_lists_every_trial_with_its_reason_and_the_best_so_far(search, hts):
    rows = json.loads(read(hts, "--history", "--json"))["history"]
    assert [row["trial"] for row in rows] == list(range(1, 15))
    assert [row["asked_in"] for row in rows] == [0] * 8 + [1, 1, 2, 2, 3, 3]
    assert rows[0]["mean"] is None
    assert rows[0]["training"] is True
    values = [row["value"] for row in rows if row["value"] is not None]
    assert rows[-1]["best"] == min(values)
    text = read(hts, "--history")
    lines = [line for line in text.splitlines() if re.match(r" *\d+ +\d ", line)]
    assert len(lines) == 14
    assert sum("training set" in line for line in lines) == 8
    assert sum("largest Z-score of" in line for line in lines) == 6
    assert sum("failed (walltime)" in line for line in lines) == 2


def test_an_earlier_ranking_is_shown_with_what_came_out_since(search, hts):
    document = json.loads(read(hts, "--number", "1", "--json"))
    assert document["ranking"]["number"] == 1
    later = {choice.candidate_id for choice in search.rankings[2].asked}
    found = {row["candidate_id"]: row for row in document["candidates"]}
    assert {found[one]["status"] for one in later} <= {"verified", "failed"}
    assert {found[one]["asked_in"] for one in later} == {2}
    assert "ranking 1 (the last is 3)" in read(hts, "--number", "1")


def test_the_figure_is_saved(search, hts, tmp_path):
    assert "figure saved: search.png" in read(hts, "--plot", "search.png", "--element-score", "mean")
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")


def test_while_the_training_set_is_computed_its_progress_is_shown(database, hts):
    _, search = intercalation_search(database)
    search.train()
    search.store(database)
    database.results.update_many({}, {"$set": {"state": "queued", "properties": None, "failure": None}})
    first, second = (choice.candidate_id for choice in search.rankings[0].asked[:2])
    database.results.update_one(
        {"candidate_id": first}, {"$set": {"state": "done", "properties": {"intercalation_energy": -1.25}}}
    )
    database.results.update_one({"candidate_id": second}, {"$set": {"state": "failed"}})
    text = read(hts)
    assert "nothing is predicted yet; training: 2 of 8 computed, 1 failed" in text
    assert "−1.25" in text
    document = json.loads(read(hts, "--json"))
    assert [row["mean"] for row in document["candidates"]] == [None] * 8
    refused = hts("ranking", "search", "--plot", "search.png")
    assert refused.returncode == 2
    assert "ranking 0 predicts nothing; training: 2 of 8 computed" in refused.stderr


def test_a_search_that_has_ended_says_why(database, hts):
    _, search = intercalation_search(database)
    search.run(1)
    search.rank(0, stopped="budget", note="as many candidates were asked for as the budget allows", left_out={"Hg": 3})
    search.store(database)
    text = read(hts)
    assert "the search has ended (budget): as many candidates were asked for as the budget allows" in text
    assert "left out by filters: 3 Hg" in text


def test_a_table_that_was_cut_says_so(database, hts, monkeypatch):
    _, search = intercalation_search(database)
    search.run(1)
    monkeypatch.setattr("hts_flows.stores.rankings.MOST_ROWS", 15)
    search.store(database)
    assert f"the best 15 of {len(search.identities)} candidates are kept" in read(hts)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--number", "9"], "there is 0 to 3"),
        (["--status", "verifyed"], "did you mean 'verified'"),
        (["--where", "zscore > 0"], "did you mean 'z_score'"),
        (["--engine", "gpaw"], "rows with a ranking: sevennet"),
        (["--output", "search.csv"], "--output needs --format"),
        (["--element-score", "median"], "--element-score 'median' is unknown; did you mean 'mean'"),
    ],
)
def test_bad_arguments_are_explained(arguments, expected, search, hts):
    done = hts("ranking", "search", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_campaigns_without_a_ranking_say_how_to_get_one(database, hts):
    plain = CAMPAIGN | {"name": "plain", "calculate": [{"engine": "sevennet"}]}
    save_campaign(database, Campaign.from_dict(plain))
    done = hts("ranking", "plain")
    assert done.returncode == 2
    assert "no row of its ladder has a 'screen:' section" in done.stderr
    assert "screen: {by: PROPERTY" in done.stderr
    intercalation_search(database)
    done = hts("ranking", "search")
    assert done.returncode == 2
    assert "campaign 'search' has no ranking yet" in done.stderr
    assert "hts launch search" in done.stderr
