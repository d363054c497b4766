"""Pages on jobs ask the database for no more, however many jobs there are."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from many_jobs import CallCounter, insert_running_jobs, new_allocation
from pymongo import monitoring


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
    insert_running_jobs(database, allocation, range(125))
    return allocation


def test_looking_for_a_name_reads_no_more_the_more_jobs_there_are(counter, site, many, database):
    client, calls = site.client(), []
    site.get(client, "jobs?text=calculate")
    for first in (200, 400):
        site.forget()
        counter.names.clear()
        page = site.get(client, "jobs?text=calculate:%20124").text
        assert re.findall(r'<th scope="row" class="name"><a href="/jobs/(\d+)">', page) == ["250"]
        # A second connection logs in when it is first needed.
        calls.append(Counter(name for name in counter.names if not name.startswith("sasl")))
        insert_running_jobs(database, many, range(first, first + 200))
    # Whether anything was written, how many jobs there are, names since the last time, the states of those that have
    # it; rows with their launches, allocations and results are four calls; campaigns are one.
    assert calls[0] == calls[1]
    assert calls[0].total() == 9


def test_the_overview_lists_some_workers_and_counts_the_others(site, many):
    client = site.client()
    page = site.get(client, "").text
    listed = page[page.index("Workers and what they run") :]
    assert re.findall(r'href="/jobs/(\d+)"', listed) == [str(number) for number in range(250, 226, -2)]
    assert "and 113 more" in listed
    queue = site.get(client, "api/queue").json()
    assert (len(queue["workers"]), queue["workers_left_out"]) == (125, 0)
