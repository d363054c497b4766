"""The list of jobs and the page of one: what they show, to whom, and with how many calls."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import chain, pairwise
from urllib.parse import parse_qs, urlsplit

import pytest
from failed_results import CLUSTER, calculation_of, fail, start, submitted
from fireworks import Firework, ScriptTask
from many_jobs import CallCounter, insert_running_jobs, new_allocation
from pymongo import monitoring

from hts_flows.dashboard.pages.jobs import BOX, PITCH, compare, draw, flat
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.stores.campaigns import now
from hts_flows.stores.job_detail import AttemptColumn
from hts_flows.stores.job_graph import MOST_NODES, lay_out

SCRIPT = "<script>alert(1)</script>"
WALLTIME = FailureCause.WALLTIME


@pytest.fixture
def counter():
    """Counts the calls of every client that is made from now on."""
    counter = CallCounter()
    monitoring.register(counter)
    yield counter
    monitoring._LISTENERS.command_listeners.remove(counter)


@pytest.fixture
def many(database):
    """A pilot with 250 jobs: 125 that run, and 125 that wait for them."""
    allocation = new_allocation("/scratch/pilot", job_id="4711", state="queued", slurm={"state": "RUNNING"})
    database.allocations.insert_one(allocation.document())
    insert_running_jobs(database, allocation, range(125), ago=100)
    return allocation


def ids_in(html):
    """Ids of the jobs that a page lists, in its order."""
    return [int(text) for text in re.findall(r'<th scope="row" class="name"><a href="/jobs/(\d+)">', html)]


def links_in(html):
    """Addresses that a page leads to."""
    return [text.replace("&amp;", "&") for text in re.findall(r'href="([^"]*)"', html)]


def get(site, client, path):
    answer = site.get(client, path)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_filters_in_the_address_change_the_rows(site, many):
    client = site.client()
    assert ids_in(get(site, client, "jobs")) == list(range(250, 150, -1))
    running = ids_in(get(site, client, "jobs?state=RUNNING&campaign=many&engine=sevennet"))
    assert running == list(range(250, 50, -2))
    assert ids_in(get(site, client, "jobs?job=record&text=RECORD:%2012&sort=fw_id")) == [25, 241, 243, 245, 247, 249]
    for nothing in ("campaign=other", "state=READY", "engine=gpaw", "text=.*"):
        page = get(site, client, f"jobs?{nothing}")
        assert ids_in(page) == []
        assert "No job is like this" in page
    assert ids_in(get(site, client, "jobs?state=&campaign=&text=&engine=&job=")) == list(range(250, 150, -1))


def test_the_api_gives_the_same_rows_with_counts_of_all_states(site, many):
    client = site.client()
    answer = site.get(client, "api/jobs?state=RUNNING&limit=3&sort=-fw_id").json()
    assert [row["fw_id"] for row in answer["rows"]] == [250, 248, 246]
    assert answer["counts"] == {"RUNNING": 125, "WAITING": 125}
    assert (answer["previous"], answer["limit"]) == (None, 3)
    assert answer["rows"][0]["slurm_job"] == "4711"
    following = site.get(client, f"api/jobs?state=RUNNING&limit=3&sort=-fw_id&cursor={answer['next']}").json()
    assert [row["fw_id"] for row in following["rows"]] == [244, 242, 240]


@pytest.mark.parametrize(
    "query",
    ["sort=name", "cursor=x", "state=LOST", "job=relax", "limit=0", "text=%07", "colour=red", "engine=" + 101 * "x"],
)
def test_a_parameter_that_cannot_be_is_refused_in_words(site, query):
    client = site.client()
    for path in ("api/jobs", "jobs"):
        answer = site.get(client, f"{path}?{query}")
        assert answer.status_code == 422
        assert query.partition("=")[0] in answer.text


def test_paging_forward_and_back_gives_every_job_once(site, many):
    client = site.client()
    for sort in ("", "&sort=updated", "&sort=-priority"):
        pages, path = [], f"/jobs?campaign=many{sort}"
        for step in ("next", "prev"):
            walked = []
            while path:
                html = get(site, client, path.lstrip("/"))
                walked.append(ids_in(html))
                found = re.search(rf'rel="{step}" href="([^"]*)"', html)
                last, path = path, found.group(1).replace("&amp;", "&") if found else None
            pages.append(walked)
            path = last
        forward, back = pages
        assert sorted(chain.from_iterable(forward)) == list(range(1, 251))
        assert [len(rows) for rows in forward] == [100, 100, 50]
        assert back == forward[::-1]


def test_the_number_of_database_calls_is_constant(counter, site, many, database):
    client = site.client()
    calls = {}
    for first in (200, 400):
        for path in ("jobs", "jobs?sort=updated", "jobs?state=RUNNING&engine=sevennet", "jobs/2", "api/jobs/2"):
            site.forget()
            counter.names.clear()
            get(site, client, path)
            calls.setdefault(path, []).append(len(counter.names))
        insert_running_jobs(database, many, range(first, first + 200))
    # Nine states are counted; rows with their launches, allocations and results are four calls; campaigns are one.
    # With an engine, one finds out how many there are, and one ends the reading of those that were sorted. One
    # more tells whether anything was written since they were read last.
    assert calls["jobs"] == [15, 15]
    assert calls["jobs?sort=updated"] == [16, 16]
    assert calls["jobs?state=RUNNING&engine=sevennet"] == [17, 17]
    assert calls["jobs/2"] == calls["api/jobs/2"] == [6, 6]


def test_a_name_with_markup_is_text_and_runs_nothing(site, visit, many, database):
    for collection, change in (
        ("fireworks", {"name": SCRIPT, "spec.hts.campaigns": [SCRIPT], "spec.hts.pool": SCRIPT}),
        ("results", {"label": SCRIPT}),
        ("launches", {"host": SCRIPT, "fworker.name": SCRIPT, "launch_dir": SCRIPT}),
        ("workflows", {"name": SCRIPT}),
    ):
        database.mongo[collection].update_many({}, {"$set": change})
    visitor = visit(site)
    visitor.page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page = visitor.open("/jobs")
    assert page.locator("tbody th a").first.inner_text() == SCRIPT
    page = visitor.open("/jobs/2")
    assert page.locator("h1").inner_text() == SCRIPT
    assert SCRIPT in page.locator(".flow .here title").text_content()
    page.click("#output summary")
    page.wait_for_selector("#ends")
    assert SCRIPT in page.locator("#ends").inner_text()
    assert page.locator("main script").count() == 0


@pytest.mark.parametrize("path", ["7", "7/output", "-3", str(2**63 - 1)])
def test_an_unknown_job_is_not_found(site, path):
    client = site.client()
    answer = site.get(client, f"api/jobs/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"] == f"job {path.partition('/')[0]}: there is none with this id"
    page = site.get(client, f"jobs/{path}")
    assert page.status_code == 404
    assert "there is none with this id" in page.text
    assert page.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["x", str(2**70), "1.5"])
def test_what_is_no_id_is_refused(site, path):
    client = site.client()
    assert site.get(client, f"api/jobs/{path}").status_code == 422
    assert site.get(client, f"jobs/{path}").status_code == 422


def test_the_graph_has_the_arrows_of_the_workflow(site, visit, many, database):
    database.mongo["workflows"].update_one(
        {"nodes": 2}, {"$set": {"nodes": [1, 2, 4, 6], "links": {"2": [4, 6], "4": [1], "6": [1], "1": []}}}
    )
    page = visit(site).open("/jobs/4")
    arrows = page.locator(".flow path.edge").evaluate_all(
        "all => all.map(one => [+one.dataset.parent, +one.dataset.child]).sort()"
    )
    assert arrows == [[2, 4], [2, 6], [4, 1], [6, 1]]
    # Each arrow ends at the left of its child's box, and begins at the right of its parent's.
    ends = page.evaluate(
        """() => [...document.querySelectorAll('.flow path.edge')].map(path => {
            const box = id => document.querySelector(`.flow a[href="/jobs/${id}"] rect`).getBBox();
            const [from, to] = [box(path.dataset.parent), box(path.dataset.child)];
            const [begin, end] = [path.getPointAtLength(0), path.getPointAtLength(path.getTotalLength())];
            return [begin.x - from.x - from.width, begin.y - from.y - from.height / 2,
                    to.x - end.x, end.y - to.y - to.height / 2];
        })"""
    )
    assert ends == [pytest.approx([0, 0, 2, 0], abs=0.1)] * 4
    here = page.locator(".flow a.here")
    assert here.get_attribute("aria-label") == "Job 4: calculate: 1, running, this page, after 2"
    page.locator('.flow a[href="/jobs/6"]').click()
    page.wait_for_url("**/jobs/6")
    assert page.locator("h1").inner_text() == "calculate: 2"


def test_boxes_of_a_large_workflow_do_not_overlap():
    links = {0: list(range(1, MOST_NODES - 1)), **{node: [99] for node in range(1, MOST_NODES - 1)}}
    jobs = {node: {"name": "x" * 80, "state": "READY"} for node in [*range(MOST_NODES - 1), 99]}
    drawing = draw(lay_out(links, jobs, 0))
    assert len(drawing.nodes) == MOST_NODES
    places = sorted((drawn.x, drawn.y) for drawn in drawing.nodes)
    assert all(
        second[0] - first[0] >= PITCH[0] or second[1] - first[1] >= PITCH[1] for first, second in pairwise(places)
    )
    assert max(x for x, _ in places) + BOX[0] <= drawing.width
    assert max(y for _, y in places) + BOX[1] <= drawing.height
    # The only parent is beside the middle of its children.
    assert drawing.nodes[0].y == pytest.approx((drawing.height - BOX[1]) / 2)
    assert all(len(drawn.name) <= 35 for drawn in drawing.nodes)


@pytest.fixture
def resubmitted(database, tmp_path):
    """A result that reached its time limit of 4 hours, and was resubmitted with twice that."""
    keys = submitted(database)
    key = keys["graphite LiC6 stage 1"]
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "sevennet.log").write_text("first line\nStep 12 of the relaxation\n")
    first = calculation_of(database, key)["fw_id"]
    fail(database, key, WALLTIME, folder)
    plan = plan_resubmission(
        database, "small", settings={"steps": 900}, resources={"walltime": "x2"}, clusters={"big": CLUSTER}
    )
    resubmit(database, plan, user="ada", reason="slow", token=plan.token)
    nodes = database.results.find_one({"_id": key})["provenance"]["fw_ids"]
    return first, calculation_of_run(database, nodes)


def calculation_of_run(database, nodes):
    return database.mongo["fireworks"].find_one({"fw_id": {"$in": nodes}, "spec.hts.job": "calculate"})["fw_id"]


def test_the_runs_of_a_resubmitted_result_are_beside_each_other_and_the_page_says_what_differs(
    site, visit, resubmitted
):
    first, second = resubmitted
    page = visit(site).open(f"/jobs/{second}")
    part = page.locator('[data-part="attempts"]')
    assert "They differ in resources.walltime, steps." in part.inner_text()
    row = part.locator("tr", has=page.get_by_role("rowheader", name="resources.walltime"))
    before, after = row.locator("td").all()
    assert before.inner_text() == "not set"
    assert after.inner_text().replace("\n", " ") == "08:00:00 changed"
    assert [cell.get_attribute("class") for cell in (before, after)] == [None, "differs"]
    assert part.locator("thead th").all_inner_texts() == ["Run 1", "Run 2, latest (this job's)"]
    page = visit(site).open(f"/jobs/{first}")
    assert "A resubmission has replaced the run that this job belongs to" in page.locator("main").inner_text()
    assert page.locator(f'.hint a[href="/jobs/{second}"]').count() == 1


def test_the_page_of_a_failed_job_shows_its_evidence_and_reads_its_output_when_it_is_opened(site, visit, resubmitted):
    first, _ = resubmitted
    client = site.client()
    assert "Step 12 of the relaxation" not in get(site, client, f"jobs/{first}")
    page = visit(site).open(f"/jobs/{first}")
    assert "walltime: SLURM job 4711 on n3: walltime" in page.locator('[data-part="evidence"] .problem').inner_text()
    assert page.get_by_role("img", name="Time: 3 h 59 min of 4 h").count() == 1
    assert page.get_by_role("img", name="Memory: 7.5 GB of 8.0 GB").count() == 1
    page.click("#output summary")
    page.wait_for_selector("#ends pre")
    assert "Step 12 of the relaxation" in page.locator("#ends").inner_text()
    # Without a script, on a page of its own; when that asks for itself again, nothing is read.
    assert "Step 12 of the relaxation" in get(site, client, f"jobs/{first}/output")
    client.headers["X-Live"] = "1"
    assert "Step 12 of the relaxation" not in get(site, client, f"jobs/{first}/output")
    ends = site.get(client, f"api/jobs/{first}/output").json()
    assert [(end["name"], end["text"]) for end in ends] == [("sevennet.log", "first line\nStep 12 of the relaxation")]


def test_operators_are_led_from_a_job_to_what_can_be_done_about_its_result(site, database, tmp_path):
    keys = submitted(database)
    failed, queued = (keys[f"graphite {name} stage 1"] for name in ("LiC6", "KC8"))
    jobs = [calculation_of(database, key)["fw_id"] for key in (failed, queued)]
    fail(database, failed, WALLTIME, tmp_path)
    site.add_user("vera", "viewer")
    led = {}
    for user in (None, "vera"):
        client = site.client(user)
        for fw_id in jobs:
            found = [urlsplit(link) for link in links_in(get(site, client, f"jobs/{fw_id}"))]
            led[user, fw_id] = {
                link.path: parse_qs(link.query) for link in found if link.path.startswith(("/resubmit", "/queue"))
            }
    selections = [{"id": [key]} for key in (failed, queued)]
    assert led[None, jobs[0]] == {"/resubmit": selections[0]}
    assert led[None, jobs[1]] == dict.fromkeys(("/queue/pause", "/queue/priority", "/queue/cancel"), selections[1])
    assert led["vera", jobs[0]] == led["vera", jobs[1]] == {}
    database.mongo["fireworks"].update_one({"fw_id": jobs[1]}, {"$set": {"state": "PAUSED"}})
    assert "/queue/resume?" in get(site, site.client(), f"jobs/{jobs[1]}")


def test_a_viewer_sees_no_boxes_and_no_buttons_that_change_things(site, many):
    site.add_user("vera", "viewer")
    html = {user: get(site, site.client(user), "jobs") for user in (None, "vera")}
    assert html[None].count('name="id"') == 100
    assert "/queue/pause" in html[None]
    assert not re.search("checkbox|formaction|/queue/|Resubmit", html["vera"])
    assert ids_in(html["vera"]) == ids_in(html[None])


def test_selected_jobs_lead_to_their_results(site, visit, many):
    visitor = visit(site)
    # The campaign of these jobs is not stored.
    visitor.expected = ("Failed to load resource",)
    page = visitor.open("/jobs?campaign=many&engine=sevennet")
    pause = page.get_by_role("button", name="Pause")
    assert pause.is_disabled()
    boxes = page.locator('input[name="id"]')
    for number in (0, 5):
        boxes.nth(number).check()
    assert page.locator("[data-count]").inner_text() == "2"
    with page.expect_request("**/queue/pause*") as asked:
        pause.click()
    query = parse_qs(urlsplit(asked.value.url).query)
    assert query == {"campaign": ["many"], "engine": ["sevennet"], "id": ["many-124:0", "many-122:0"]}
    page = visitor.open("/jobs")
    page.get_by_label("Select all jobs of this page").check()
    assert page.locator("[data-count]").inner_text() == "100"


def test_a_filter_is_applied_when_it_is_chosen_and_the_address_keeps_it(site, visit, many):
    page = visit(site).open("/jobs?sort=fw_id")
    page.get_by_label("Kind").select_option("record")
    page.wait_for_url("**/jobs?*job=record*")
    assert parse_qs(urlsplit(page.url).query) == {"job": ["record"], "sort": ["fw_id"]}
    assert page.locator("tbody th a").first.inner_text() == "record: 0"
    page.get_by_role("link", name="Priority").click()
    assert parse_qs(urlsplit(page.url).query) == {"job": ["record"], "sort": ["priority"]}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_pages_have_no_barriers(site, visit, resubmitted, database, dark):
    visitor = visit(site, dark=dark)
    key = database.results.find_one({"_id": {"$regex": "^inter"}, "state": "queued"})["_id"]
    start(database, key, "/nowhere")
    insert_running_jobs(database, new_allocation("/scratch/pilot"), range(500, 505))
    for path in (
        "/jobs",
        "/jobs?state=ARCHIVED",
        f"/jobs/{resubmitted[0]}",
        f"/jobs/{resubmitted[1]}",
        f"/jobs/{resubmitted[0]}/output",
    ):
        visitor.open(path)
        assert visitor.barriers() == [], path


def test_an_open_page_follows_the_job_and_what_was_opened_stays_open(site, visit, many, database):
    page = visit(site).open("/jobs/2")
    page.click("#output summary")
    page.wait_for_selector("#ends")
    page.wait_for_timeout(1500)
    change = {"state": "COMPLETED", "updated_on": (now() + timedelta(seconds=1)).isoformat()}
    database.mongo["fireworks"].update_one({"fw_id": 2}, {"$set": change})
    page.wait_for_selector('[data-part="head"] .s-done')
    page.wait_for_selector(".flow a.here.s-done")
    assert page.locator("#output[open] #ends").count() == 1


def test_runs_differ_in_cause_only_where_both_have_failed():
    runs = [("walltime", "4h"), ("walltime", "8h"), ("lost", "8h"), (None, "8h")]
    attempts = [
        AttemptColumn(number=number, state="failed" if cause else "done", cause=cause, resources={"walltime": walltime})
        for number, (cause, walltime) in enumerate(runs, 1)
    ]
    cause, walltime = compare(attempts)
    assert (cause.name, [changed for _, changed in cause.cells]) == ("Cause", [False, False, True, False])
    assert (walltime.name, [changed for _, changed in walltime.cells]) == (
        "resources.walltime",
        [False, True, False, False],
    )
    assert not any(row.differs for row in compare(attempts[:1]))


def test_nested_settings_are_one_row_each():
    values = {"a": 1, "b": {"c": {"d": [1, 2]}, "e": {}}, "f": None}
    assert dict(flat(values)) == {"a": 1, "b.c.d": [1, 2], "b.e": None, "f": None}


def test_a_job_that_is_none_of_ours_has_a_page_too(site, database):
    added = database.launchpad.add_wf(Firework(ScriptTask.from_str("echo hello"), name="stranger"))
    (number,) = added.values()
    client = site.client()
    answer = site.get(client, f"jobs/{number}")
    assert answer.status_code == 200
    assert "stranger" in answer.text
    assert site.get(client, f"api/jobs/{number}").status_code == 200
