"""The page of a campaign: results, their filters and files, the search, figures, and the campaign file."""

from __future__ import annotations

import io
import math
from urllib.parse import urlencode

import pandas as pd
import pytest
import yaml
from many_jobs import CallCounter
from pymongo import MongoClient
from ranking_documents import intercalation_search

from hts_flows.stores import Database
from hts_flows.stores.campaigns import load_campaign, save_campaign

#: What Chromium says of its own drawing and of statuses that a test asks for.
UNPROCESSABLE = "status of 422"


@pytest.fixture
def stored(database, make_campaign):
    """A campaign with twelve results, of which two failed; gives their documents."""
    documents = make_campaign(database, "alkali", count=12, failed=(2, 5))
    database.results.insert_many(documents)
    return documents


@pytest.fixture
def search(database):
    """A campaign that searches, with a training set and three rankings."""
    level, made = intercalation_search(database)
    made.run(3)
    made.store(database)
    return level, made


def address(path, **parameters):
    return path + "?" + urlencode([(key, one) for key, value in parameters.items()
                                   for one in (value if isinstance(value, list) else [value])])  # fmt: skip


def labels(page):
    return page.locator("[data-part=table] tbody th").all_inner_texts()


def wait_for_plots(page, count):
    page.locator(".js-plotly-plot:has(.main-svg)").nth(count - 1).wait_for()


def energy(document):
    return document["properties"]["intercalation_energy"] if document["properties"] else math.inf


def test_the_best_come_first_and_the_address_sorts_filters_and_pages(stored, site, visit):
    one = visit(site)
    page = one.open("campaigns/alkali")
    ranked = sorted(stored, key=lambda document: (energy(document), document["label"]))
    assert labels(page) == [document["label"] for document in ranked]
    page.get_by_role("link", name="E_int").click()
    page.wait_for_url("**sort=-intercalation_energy*")
    assert labels(page)[0] == max(stored, key=lambda one: energy(one) if one["properties"] else -9)["label"]
    page = one.open(address("campaigns/alkali", sort="label", where="intercalation_energy < 0", limit=1, offset=1))
    below = sorted(document["label"] for document in stored if energy(document) < 0)
    assert labels(page) == below[1:2]
    assert f"2–2 of {len(below)} selected of 12" in page.inner_text("nav.pager")
    page.click("a[rel=next]")
    page.wait_for_url("**offset=2*")
    assert labels(page) == below[2:3]
    page.select_option("select:has(option[value='state:failed'])", "state:failed")
    page.wait_for_url("**choice=state*")
    assert "offset" not in page.url
    assert labels(page) == []
    page.get_by_role("link", name="Clear all").click()
    page.wait_for_selector("text=1–1 of 12")
    page = one.open(address("campaigns/alkali", choice="state:failed"))
    assert sorted(labels(page)) == sorted(stored[number]["label"] for number in (2, 5))
    page.click(f"text={stored[2]['label']}")
    page.wait_for_url(f"**/candidates/{stored[2]['candidate_id']}")


def test_a_wrong_condition_says_so_where_it_was_typed_and_the_others_hold(stored, site, visit):
    one = visit(site)
    one.expected = (UNPROCESSABLE,)
    page = one.open("campaigns/alkali")
    page.fill("input[name=where]", "intercalation_energi < 0")
    page.click("text=Filter")
    field = page.locator("input[aria-invalid=true]")
    assert field.input_value() == "intercalation_energi < 0"
    said = page.locator(f"#{field.get_attribute('aria-describedby')}").inner_text()
    assert "did you mean 'intercalation_energy'" in said
    assert len(labels(page)) == 12
    page.locator("input[name=where]").nth(1).fill("stage == 1")
    page.click("text=Filter")
    page.wait_for_url("**stage*")
    assert len(labels(page)) == sum(document["facets"]["stage"] == 1 for document in stored)
    assert one.barriers() == []


def test_the_columns_are_chosen_in_the_address(stored, site, visit):
    page = visit(site).open("campaigns/alkali")
    page.click("#columns summary")
    for name in ("cause", "layered", "stays_layered"):
        box = page.locator(f"#columns input[value={name}]")
        if box.count():
            box.uncheck()
    page.check("#columns input[value=volume_change]")
    page.click("text=Show these")
    page.wait_for_url("**columns=volume_change*")
    headers = page.locator("[data-part=table] thead th").all_inner_texts()
    assert any("Volume change (%)" in one for one in headers)
    assert not any("Cause" in one for one in headers)
    assert "10" in page.locator("[data-part=table] tbody tr").first.inner_text()


def test_the_api_gives_the_rows_of_the_page(stored, site):
    client = site.client()
    found = site.get(
        client, address("api/campaigns/alkali/results", where="intercalation_energy < 0", sort="label", limit=3)
    ).json()
    below = sorted(document["label"] for document in stored if energy(document) < 0)
    assert [row["label"] for row in found["rows"]] == below[:3]
    assert (found["total"], found["filtered"]) == (12, len(below))
    assert next(one for one in found["columns"] if one["name"] == "intercalation_energy")["unit"] == "eV/M"
    references = site.get(client, "api/campaigns/alkali/results?references=true").json()
    assert references["total"] == 0


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_download_holds_what_is_filtered(stored, site, kind):
    path = "api/campaigns/alkali/results/download"
    answer = site.get(site.client(), address(path, where="intercalation_energy < 0", sort="-label", format=kind))
    reader = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[kind]
    frame = reader(io.BytesIO(answer.content))
    below = [document for document in stored if energy(document) < 0]
    assert list(frame["label"]) == sorted((one["label"] for one in below), reverse=True)
    energies = dict(zip(frame["candidate_id"], frame["intercalation_energy"], strict=True))
    assert energies == {one["candidate_id"]: pytest.approx(energy(one)) for one in below}
    assert f'filename="alkali_sevennet.{kind}"' in answer.headers["content-disposition"]
    if kind == "parquet":
        assert frame.attrs["units"]["intercalation_energy"] == "eV/M"
    chosen = site.get(site.client(), address(path, columns=["label", "stage"], format=kind))
    assert list(reader(io.BytesIO(chosen.content)).columns) == ["label", "stage"]


def test_the_figures_draw_and_their_points_open_candidates(stored, site, visit):
    for dark in (False, True):
        one = visit(site, dark=dark)
        page = one.open("campaigns/alkali?tab=figures")
        wait_for_plots(page, 3)
        assert page.locator(".scatterlayer .point").count() == 10
        assert page.locator(".barlayer .point").count() > 0
        assert "Li" in page.locator("[data-figure*=periodic]").inner_text()
        assert one.barriers() == []
    page.select_option("select[name=x]", "volume_change")
    page.wait_for_url("**x=volume_change*")
    wait_for_plots(page, 3)
    plot = page.locator("[data-figure*=scatter]")
    plot.evaluate("plot => plot.emit('plotly_click', {points: [{customdata: plot.data[0].customdata[0]}]})")
    page.wait_for_url("**/candidates/*")
    assert page.url.rpartition("/")[2] in {document["candidate_id"] for document in stored}


def test_figures_follow_the_filters_and_refuse_unknown_columns(stored, site):
    client = site.client()
    base = "api/campaigns/alkali/figures/"
    figure = site.get(client, address(f"{base}scatter", where="stage == 1", theme="dark")).json()
    drawn = sum(len(trace["x"]) for trace in figure["data"])
    assert drawn == sum(document["facets"]["stage"] == 1 and document["state"] == "done" for document in stored)
    wrong = site.get(client, f"{base}scatter?x=intercalation_energi")
    assert (wrong.status_code, "did you mean" in wrong.json()["error"]) == (422, True)
    wrong = site.get(client, f"{base}scater")
    assert (wrong.status_code, "did you mean 'scatter'" in wrong.json()["error"]) == (404, True)


def test_the_ranking_shows_predictions_reasons_and_the_model(search, site, visit):
    _, made = search
    last = made.rankings[-1]
    one = visit(site)
    page = one.open("campaigns/search?tab=ranking")
    wait_for_plots(page, 2)
    rows = page.locator("[data-part=ranking] tbody tr")
    assert rows.count() == 50
    table = made.tables[-1][0]
    first = rows.first.inner_text()
    assert table["label"][0] in first
    assert f"{table['z_score'][0]:.2f}".replace("-", "−") in first
    history = page.locator("[data-part=history] tbody tr")
    assert last.asked[0].label in history.first.inner_text()
    assert last.asked[0].why in history.first.inner_text()
    page.click("#model summary")
    assert "Gaussian process" in page.inner_text("#model")
    assert "noise" in page.inner_text("#model")
    page.click("#parity summary")
    wait_for_plots(page, 3)
    assert one.barriers() == []
    page.select_option("select[name=number]", "1")
    page.wait_for_url("**number=1*")
    assert "Ranking 1:" in page.inner_text("#ranking-title")
    page.select_option("select[name=status]", "failed")
    page.wait_for_url("**status=failed*")
    states = page.locator("[data-part=ranking] tbody .state").all_inner_texts()
    assert states
    assert set(states) == {"failed"}


def test_the_api_gives_rankings_and_what_was_asked_for(search, site):
    _, made = search
    client = site.client()
    found = site.get(client, "api/campaigns/search/rankings").json()
    assert [one["number"] for one in found["rankings"]] == [0, 1, 2, 3]
    assert found["n_trials"] == len(made.training) + 3
    assert [one["label"] for one in found["trials"][-3:]] == [one.asked[0].label for one in made.rankings[1:]]
    one = site.get(client, "api/campaigns/search/rankings/2?limit=5&offset=5").json()
    table = made.tables[2][0]
    assert [row["candidate_id"] for row in one["rows"]] == list(table["candidate_id"][5:10])
    assert one["rows"][0]["mean"] == pytest.approx(table["mean"][5])
    assert one["ranking"]["provenance"]["screener"]["model"].startswith("Gaussian process")
    assert one["filtered"] == one["total"] == len(table)


def test_the_campaign_file_is_the_stored_one_and_older_versions_stay_readable(stored, database, site, visit):
    before = load_campaign(database, "alkali").content()
    save_campaign(database, load_campaign(database, "alkali").model_copy(update={"calculate": []}), update=True)
    one = visit(site)
    page = one.open("campaigns/alkali?tab=file")
    assert yaml.safe_load(page.inner_text("pre"))["calculate"] == []
    assert "changed 1 time" in page.inner_text("main")
    page.click("#version-1 summary")
    assert yaml.safe_load(page.inner_text("#version-1 pre")) == before
    assert one.barriers() == []


def test_only_operators_have_buttons_and_failures_lead_to_their_page(stored, database, site):
    database.results.update_one({"_id": stored[0]["_id"]}, {"$set": {"state": "queued"}})
    site.add_user("anna", "viewer")
    mine = site.get(site.client(), "campaigns/alkali").text
    hers = site.get(site.client("anna"), "campaigns/alkali").text
    for link in ("/queue/pause?campaign=alkali", "/queue/cancel?campaign=alkali", "/resubmit?campaign=alkali"):
        assert link in mine
        assert link not in hers
    assert "/failures?campaign=alkali&amp;cause=bad_input" in hers


def test_what_is_stored_is_shown_as_text(stored, database, site, visit):
    label = "<script>alert(1)</script> & <b>"
    database.results.update_one(
        {"_id": stored[0]["_id"]}, {"$set": {"label": label, "facets.host": "<img src=x onerror=alert(1)>"}}
    )
    page = visit(site).open(address("campaigns/alkali", columns=["host"], text="<script>"))
    assert labels(page) == [label]
    page = visit(site).open("campaigns/alkali?tab=figures&colour=host")
    wait_for_plots(page, 3)
    assert page.locator("img").count() == 0


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("campaigns/alkaly", 404, "did you mean 'alkali'"),
        ("campaigns/alkali?row=sevenet", 404, "did you mean 'sevennet'"),
        ("campaigns/alkali?tab=nothing", 422, "tab"),
        ("campaigns/alkali?sort=labell", 422, "did you mean 'label'"),
        ("campaigns/alkali?columns=labell", 422, "did you mean 'label'"),
        ("campaigns/alkali?offset=-1", 422, "offset"),
        ("campaigns/alkali?row=sevennet&tab=ranking", 200, "does not search"),
        ("api/campaigns/alkaly/results", 404, "did you mean 'alkali'"),
        ("api/campaigns/alkali/results?row=sevenet", 404, "did you mean 'sevennet'"),
        ("api/campaigns/alkali/results?where=label", 422, "cannot read the condition"),
        ("api/campaigns/alkali/results?choice=state", 422, "NAME:VALUE"),
        ("api/campaigns/alkali/results?limit=5001", 422, "limit"),
        ("api/campaigns/alkali/results/download?columns=labell", 422, "did you mean 'label'"),
        ("api/campaigns/alkali/rankings", 404, "does not search"),
        ("api/campaigns/alkaly/rankings/1", 404, "did you mean 'alkali'"),
        ("api/campaigns/alkali/figures/progress", 404, "does not search"),
    ],
)
def test_what_is_not_there_and_what_cannot_be_is_named(stored, site, path, status, said):
    answer = site.get(site.client(), path)
    assert answer.status_code == status
    assert said in answer.text.replace("&#39;", "'")


def test_a_ranking_that_is_not_there_is_named(search, site):
    answer = site.get(site.client(), "api/campaigns/search/rankings/9")
    assert answer.status_code == 404
    assert "there are 0 to 3" in answer.json()["error"]


def test_a_campaign_without_results_says_what_comes(database, make_campaign, site):
    make_campaign(database, "empty", count=0)
    client = site.client()
    assert "results appear here by themselves" in site.get(client, "campaigns/empty").text
    assert "no numbers to draw yet" in site.get(client, "campaigns/empty?tab=figures").text
    assert site.get(client, "api/campaigns/empty/figures/histogram").status_code == 422


def test_the_calls_of_the_database_do_not_grow_with_the_results(database, make_campaign, site):
    for name, count in (("few", 3), ("many", 30)):
        for document in make_campaign(database, name, count=count):
            document["candidate_id"] += name
            document["_id"] += name
            database.results.insert_one(document)
    client, counter = site.client(), CallCounter()
    counted = MongoClient(database.uri, event_listeners=[counter])
    site.dashboard.connection._database = Database(database.uri, counted[database.mongo.name])
    site.dashboard.tables.fresh_for = 0.0
    for name in ("few", "many"):
        site.get(client, f"campaigns/{name}")  # opens the connection, and reads the whole tables
    found = {}
    for path in ("campaigns/{}", "campaigns/{}?tab=figures", "api/campaigns/{}/results"):
        for name in ("few", "many"):
            site.forget()
            counter.names.clear()
            assert site.get(client, path.format(name)).status_code == 200
            found[path, name] = list(counter.names)
        assert found[path, "few"] == found[path, "many"]
    assert len(found["campaigns/{}", "many"]) <= 12
    assert len(found["api/campaigns/{}/results", "many"]) <= 4
    counted.close()
