from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest


@pytest.fixture
def stored(database, make_campaign):
    rows = make_campaign(database, "many", count=12, failed=(5,))
    database.results.insert_many(rows)
    return database


def test_formats_hold_the_same_rows(stored, hts, tmp_path):
    objects = json.loads(hts("results", "many", "--format", "json").stdout)
    rows = list(csv.DictReader(io.StringIO(hts("results", "many", "--format", "csv").stdout)))
    assert hts("results", "many", "--format", "parquet", "--output", "many.parquet").returncode == 0
    frame = pd.read_parquet(tmp_path / "many.parquet")
    ids = [item["candidate_id"] for item in objects]
    assert len(ids) == 12
    assert ids == [row["candidate_id"] for row in rows] == list(frame["candidate_id"])
    energies = [item.get("intercalation_energy") for item in objects]
    assert [float(row["intercalation_energy"] or "nan") for row in rows] == pytest.approx(
        [float("nan") if value is None else value for value in energies], nan_ok=True
    )
    assert {"structure", "provenance", "engine", "failure", "promoted"} <= set(objects[0])


def test_the_table_shows_units_failures_and_filtered_rows(stored, hts):
    text = hts("results", "many", "--where", "stage == 2", "--sort", "intercalation_energy").stdout
    assert "eV/M" in text
    assert "Å" in text
    lines = [line for line in text.splitlines() if line.startswith("graphite")]
    assert len(lines) == 6
    assert all("stage 2" in line for line in lines)


def test_a_figure_is_saved_and_other_suffixes_are_refused(stored, hts, tmp_path):
    done = hts("results", "many", "--plot", "many.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "many.png").read_bytes().startswith(b"\x89PNG")
    refused = hts("results", "many", "--plot", "many.xyz")
    assert refused.returncode == 2
    assert ".pdf" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["results", "mnay"], "did you mean 'many'"),
        (["results", "many", "--engine", "vasp"], "campaign 'many' has sevennet"),
        (["results", "many", "--format", "parquet"], "--output many.parquet"),
        (["resubmit", "many", "--cause", "waltime", "--yes"], "did you mean 'walltime'"),
        (["resubmit", "many", "--id", "intercalation-0", "--yes"], "no failed candidate"),
        (["resubmit", "many", "--set", "stepps=4", "--yes"], "did you mean 'steps'"),
        (["resubmit", "many", "--set", "model=7net-l3i5", "--yes"], "changes what sevennet computes"),
        (["resubmit", "many", "--set", "steps=-4", "--yes"], "--set steps=-4"),
        (["resubmit", "many", "--set", "steps", "--yes"], "expected NAME=VALUE"),
    ],
)
def test_bad_arguments_are_refused_and_change_nothing(arguments, expected, stored, hts):
    before = list(stored.results.find({}))
    done = hts(*arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert list(stored.results.find({})) == before


def test_failures_and_status_say_how_many_and_what_next(stored, hts):
    text = hts("failures", "many").stdout
    assert "1 × bad_input" in text
    assert "hts resubmit many --cause bad_input" in text
    assert json.loads(hts("failures", "many", "--json").stdout)[0]["failure"]["message"] == "broken on purpose"
    status = json.loads(hts("status", "--json").stdout)
    assert status == [
        {"campaign": "many", "state": "running", "engine": "sevennet", "queued": 0, "done": 11, "failed": 1}
    ]


def test_a_campaign_that_cannot_be_read_hides_no_other(stored, hts, database):
    other = database.campaigns.find_one({})
    other["_id"] = "older"
    other["content"] = other["content"] | {"name": "older", "calculate": [{"engine": "sevennet", "unknown": 1}]}
    database.campaigns.insert_one(other)
    shown = hts("status")
    assert shown.returncode == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    assert "older: stored campaign 'older': calculate.0.unknown" in text
    assert "give the campaign in the file another name" in text
    assert [row["campaign"] for row in json.loads(hts("status", "--json").stdout)] != ["older"]
    alone = hts("status", "older")
    assert alone.returncode == 2
    assert "Traceback" not in alone.stderr
