"""Lists of jobs: what is found, in which order, from which index, and with how many calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from failed_results import calculation_of, fail, start, submitted
from fireworks import FWorker
from many_jobs import CallCounter, insert_running_jobs, new_allocation
from pydantic import ValidationError
from pymongo import monitoring

from hts_flows.errors import InputError
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.owner import owner_name
from hts_flows.stores import connect, jobs
from hts_flows.stores.jobs import SORT_FIELDS, JobFilter, JobSort, count_jobs, list_jobs
from hts_flows.stores.queue_summary import queue_summary

SORTS = [sign + name for name in SORT_FIELDS for sign in ("", "-")]
FILTERS = [
    {},
    {"state": "READY"},
    {"campaign": "many"},
    {"campaign": "many", "state": "RUNNING"},
    {"engine": "sevennet"},
    {"job": "record"},
    {"pool": "sevennet"},
    {"text": "ECORD: 1"},
    {"text": "5", "campaign": "many", "job": "calculate"},
    {"result": "many-3:0"},
    {"engine": "nothing"},
]


class Recorder(CallCounter):
    """Remembers the queries too."""

    def __init__(self):
        super().__init__()
        self.queries = []

    def started(self, event):
        super().started(event)
        if event.command_name in ("find", "aggregate", "count"):
            kept = {"filter", "sort", "limit", "hint", "projection", "pipeline", "cursor", "query"}
            about = {name: value for name, value in event.command.items() if name in kept}
            self.queries.append({event.command_name: event.command[event.command_name], **about})


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def many(settings, recorder):
    """A database with 80 jobs in an allocation, 40 of which run, that remembers what it is asked."""
    monitoring.register(recorder)
    try:
        database = connect(settings)
    finally:
        monitoring._LISTENERS.command_listeners.remove(recorder)
    allocation = new_allocation("/scratch/pilot", job_id="4711", state="queued", slurm={"state": "RUNNING"})
    database.allocations.insert_one(allocation.document())
    insert_running_jobs(database, allocation, range(30), ago=100)
    insert_running_jobs(database, allocation, range(30, 40), state="READY")
    recorder.names.clear()
    recorder.queries.clear()
    return database


def walk(database, wanted, sort, limit):
    rows, cursor = [], None
    while True:
        page = list_jobs(database, wanted, sort, cursor, limit)
        rows += page.rows
        if not (cursor := page.next):
            return rows, page


def stages(plan):
    """Names of all stages of a plan of a query."""
    if isinstance(plan, dict):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for name, inner in plan.items():
            if name != "rejectedPlans":
                yield from stages(inner)
    elif isinstance(plan, list):
        for inner in plan:
            yield from stages(inner)


def plans(database, recorder):
    queries = list(recorder.queries)
    for query in queries:
        told = database.mongo.command("explain", query, verbosity="queryPlanner")
        yield query, set(stages(told))


@pytest.mark.parametrize("few", [0, jobs.FEW], ids=["many", "few"])
def test_every_filter_and_sorting_uses_an_index(many, recorder, monkeypatch, few):
    monkeypatch.setattr(jobs, "FEW", few)
    for (given, sort), back in product(product(FILTERS, SORTS), (False, True)):
        wanted = JobFilter(**given)
        page = list_jobs(many, wanted, JobSort.read(sort), None, 3)
        cursor = (page.previous if back else page.next) or page.next
        recorder.queries.clear()
        list_jobs(many, wanted, JobSort.read(sort), cursor, 3)
        count_jobs(many, wanted)
        queue = [query for query in recorder.queries if "fireworks" in query.values()]
        assert queue
        recorder.queries[:] = queue
        for query, used in plans(many, recorder):
            assert used & {"IXSCAN", "COUNT_SCAN"}, (given, sort, query, used)
            assert "COLLSCAN" not in used, (given, sort, query)
            # Where many jobs fit, they come out of the index in order, and a page ends the reading.
            if few == 0 and "result" not in given and given.get("engine") != "nothing":
                assert "SORT" not in used, (given, sort, query)


def test_counting_reads_index_keys_alone(many, recorder):
    for given in FILTERS:
        if "result" in given or {"text", "campaign"} <= given.keys():
            continue
        recorder.queries.clear()
        count_jobs(many, JobFilter(**given))
        for query, used in plans(many, recorder):
            assert "FETCH" not in used, (given, query, used)


@pytest.mark.parametrize("sort", SORTS)
def test_the_number_of_calls_does_not_grow_with_the_rows(many, recorder, sort):
    calls = {}
    for limit in (1, 5, 60):
        for given in FILTERS:
            first = list_jobs(many, JobFilter(**given), JobSort.read(sort), None, limit)
            for name, cursor in (("first", None), ("next", first.next)):
                recorder.names.clear()
                list_jobs(many, JobFilter(**given), JobSort.read(sort), cursor, limit)
                calls.setdefault((name, str(given)), []).append(len(recorder.names))
    # One for how many there are, up to four ranges, one each for launches, allocations and results.
    assert max(max(numbers) for numbers in calls.values()) <= 8
    assert all(max(numbers) <= 5 + ("updated" in sort) for (name, _), numbers in calls.items() if name == "first")


def test_the_number_of_calls_for_counting_and_the_summary_is_constant(many, recorder):
    recorder.names.clear()
    count_jobs(many)
    assert len(recorder.names) == len(jobs.STATES)
    recorder.names.clear()
    count_jobs(many, JobFilter(state="READY", campaign="many"))
    assert len(recorder.names) == 1
    numbers = []
    for more in (range(100, 150), range(150, 400)):
        recorder.names.clear()
        queue_summary(many)
        numbers.append(len(recorder.names))
        insert_running_jobs(many, new_allocation("/scratch/other", job_id="4712"), more)
    assert numbers == [len(jobs.STATES) + 5] * 2


@pytest.mark.parametrize("few", [0, jobs.FEW], ids=["many", "few"])
def test_each_filter_finds_what_it_says_and_counts_the_same(many, monkeypatch, few):
    monkeypatch.setattr(jobs, "FEW", few)
    everything = walk(many, JobFilter(), JobSort(), 100)[0]
    assert len(everything) == 80
    tests = {
        "campaign": lambda row, value: value in row.campaigns,
        "text": lambda row, value: value.lower() in row.name.lower(),
    }
    for given in FILTERS:
        rows, last = walk(many, JobFilter(**given), JobSort(), 7)
        wanted = [
            row.fw_id
            for row in everything
            if all(tests.get(name, lambda row, v, n=name: getattr(row, n) == v)(row, v) for name, v in given.items())
        ]
        assert [row.fw_id for row in rows] == wanted == sorted(wanted, reverse=True), given
        assert (given == {"engine": "nothing"}) == (not wanted)
        assert sum(count_jobs(many, JobFilter(**given)).values()) == len(wanted), given
        if last.previous:
            before = list_jobs(many, JobFilter(**given), JobSort(), last.previous, 7)
            assert [row.fw_id for row in before.rows] == wanted[-len(last.rows) - 7 : -len(last.rows)], given


@pytest.mark.parametrize("sort", SORTS)
def test_jobs_are_in_order_though_fireworks_writes_times_in_two_ways(database, sort):
    keys = list(submitted(database).values())
    fail(database, keys[0], FailureCause.WALLTIME)
    fail(database, keys[1], FailureCause.LOST)
    base = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
    for number, job in enumerate(database.mongo["fireworks"].find({}, {"fw_id": 1})):
        # Some at the same moment, some within one millisecond, half of them texts.
        time = base + timedelta(microseconds=(number % 5) * 400)
        change = {"updated_on": time if number % 2 else time.isoformat(), "spec._priority": number % 3}
        database.mongo["fireworks"].update_one({"_id": job["_id"]}, {"$set": change})
    database.mongo["fireworks"].update_one({"fw_id": 3}, {"$unset": {"spec._priority": 1}})
    rows, last = walk(database, JobFilter(), JobSort.read(sort), 3)
    name = sort.strip("-")

    def order(row):
        value = {"fw_id": row.fw_id, "updated": row.updated_at, "priority": row.priority}[name]
        return (value is not None, value if value is not None else 0, row.fw_id)

    assert len({row.fw_id for row in rows}) == database.mongo["fireworks"].count_documents({}) == 14
    assert rows == sorted(rows, key=order, reverse=sort.startswith("-"))
    back, cursor = list(last.rows), last.previous
    while cursor:
        page = list_jobs(database, None, JobSort.read(sort), cursor, 3)
        back = [*page.rows, *back]
        cursor = page.previous
    assert [row.fw_id for row in back] == [row.fw_id for row in rows]


def test_a_row_says_where_the_job_runs_and_in_which_slurm_job(many):
    row = list_jobs(many, JobFilter(text="calculate: 3", state="RUNNING")).rows[0]
    assert (row.name, row.label, row.engine, row.job) == ("calculate: 3", None, "sevennet", "calculate")
    assert (row.cluster, row.slurm_job, row.host, row.folder) == ("tiny", "4711", "node", "/scratch/pilot")
    assert 100 <= row.run_time < 200
    assert row.attempt == 1


def test_a_job_as_it_is_submitted_taken_and_ended(database, tmp_path):
    keys = submitted(database, intercalants=("Li",))
    key = keys["graphite LiC6 stage 1"]
    waiting = list_jobs(database, JobFilter(result=key, job="calculate")).rows[0]
    assert (waiting.state, waiting.worker, waiting.run_time, waiting.priority) == ("READY", None, None, 5)
    assert waiting.label == "graphite LiC6 stage 1"
    assert waiting.campaigns == ["small"]
    start(database, key, tmp_path)
    running = list_jobs(database, JobFilter(state="RUNNING")).rows[0]
    assert (running.fw_id, running.worker, running.folder) == (waiting.fw_id, owner_name(), str(tmp_path))
    assert 0 <= running.run_time < 60
    summary = queue_summary(database)
    assert [(worker.worker, worker.fw_id, worker.name) for worker in summary.workers] == [
        (owner_name(), running.fw_id, running.name)
    ]
    assert summary.states == {"RUNNING": 1, "READY": 3, "WAITING": 4}
    assert summary.oldest_ready.fw_id == min(row.fw_id for row in list_jobs(database, JobFilter(state="READY")).rows)


def test_the_summary_tells_waiting_allocations_from_running_ones(database):
    for cluster, state, slurm in (
        ("big", "queued", {"state": "PENDING", "started": "2030-01-01T00:00:00Z"}),
        ("big", "queued", {"state": "RUNNING"}),
        ("big", "queued", None),
        ("big", "ended", {"state": "COMPLETED"}),
        ("tiny", "submitting", None),
    ):
        allocation = new_allocation("/scratch", cluster=cluster, state=state, slurm=slurm)
        database.allocations.insert_one(allocation.document())
    counts = [row.model_dump() for row in queue_summary(database).allocations]
    assert counts == [
        {"cluster": "big", "submitting": 0, "queued": 2, "running": 1},
        {"cluster": "tiny", "submitting": 1, "queued": 0, "running": 0},
    ]


def test_a_job_that_is_reserved_for_a_worker_names_it(database):
    key = next(iter(submitted(database, intercalants=("Li",)).values()))
    job = calculation_of(database, key)
    database.launchpad.reserve_fw(FWorker(name="slurm:abc:0:node:1:1.0"), "/scratch", fw_id=job["fw_id"])
    row = list_jobs(database, JobFilter(state="RESERVED")).rows[0]
    assert (row.fw_id, row.worker, row.run_time) == (job["fw_id"], "slurm:abc:0:node:1:1.0", None)


def test_text_is_no_pattern_and_empty_fields_of_a_form_are_no_filter(database):
    submitted(database, intercalants=("Li",))
    assert {row.label for row in list_jobs(database, JobFilter(text="2h (ab)")).rows} == {"Graphite, 2H (AB)"}
    assert not list_jobs(database, JobFilter(text=".*")).rows
    assert JobFilter(text="  ", state="", campaign="") == JobFilter()


@pytest.mark.parametrize("given", [{"state": "LOST"}, {"job": "relax"}, {"text": "a\0b"}, {"cluster": "big"}])
def test_a_filter_that_means_nothing_is_refused(given):
    with pytest.raises(ValidationError):
        JobFilter(**given)


def test_a_sorting_without_an_index_and_a_cursor_of_another_sorting_are_refused(many):
    with pytest.raises(InputError, match="'update'") as refused:
        JobSort.read("-update")
    assert "did you mean 'updated'?" in str(refused.value)
    page = list_jobs(many, limit=2)
    with pytest.raises(InputError, match="belongs to the sorting"):
        list_jobs(many, None, JobSort.read("updated"), page.next)
    with pytest.raises(InputError, match="limit 0"):
        list_jobs(many, limit=0)
