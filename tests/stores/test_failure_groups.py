"""Failures by cause, and the rows of one cause, from documents as the package writes them."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, timedelta

import pytest
from many_jobs import CallCounter
from pymongo import MongoClient

from hts_flows.errors import InputError
from hts_flows.launch.failures import REMEDIES, FailureCause, failure
from hts_flows.stores import Database
from hts_flows.stores.campaigns import now
from hts_flows.stores.failure_groups import (
    MOST_EXAMPLES,
    MOST_MESSAGES,
    failed_results,
    failure_groups,
    general_message,
    split_change,
)
from hts_flows.stores.results import JobUsage

USAGE = {"cluster": "big", "job_id": "4711", "node": "n3", "walltime_asked": 3600, "time_used": 3598}
USAGE |= {"memory_asked": 8192, "memory_used": 7700}


@pytest.fixture
def failed(database, make_campaign):
    """Thirty results: ten at their walltime, six out of memory, two whose reference failed, two unknown; ten done."""
    documents = make_campaign(database, "many", count=30)
    causes = [FailureCause.WALLTIME] * 10 + [FailureCause.OUT_OF_MEMORY] * 6
    causes += [FailureCause.REFERENCE_FAILED] * 2 + [FailureCause.UNKNOWN] * 2
    stamp = now().replace(tzinfo=None)
    for number, (document, cause) in enumerate(zip(documents, causes, strict=False)):
        job = JobUsage.model_validate(USAGE) if number < 16 else None
        message = f"SLURM job {4000 + number} on n{number}: {cause.value}" if number % 5 else "of a kind of its own"
        document["failure"] = failure(cause, message, f"line of {number}", job).model_dump(mode="json")
        document |= {"state": "failed", "properties": None}
        document["provenance"]["finished_at"] = stamp - timedelta(minutes=number)
        if number % 2:
            document["campaigns"].append("other")
        if number == 1:
            document |= {"engine": "chgnet", "attempts": [{"state": "failed"}, {"state": "failed"}]}
    database.results.insert_many(documents)
    other = database.campaigns.find_one({"_id": "many"}) | {"_id": "other"}
    database.campaigns.insert_one(other)
    return database, documents[: len(causes)], stamp


def by_cause(groups):
    return {group.cause: group for group in groups}


def counts(named):
    return {one.name: one.count for one in named}


def test_groups_have_every_failed_result_once_the_most_frequent_first(failed):
    database, documents, stamp = failed
    groups = failure_groups(database)
    assert [(group.cause, group.count) for group in groups[:2]] == [("walltime", 10), ("out_of_memory", 6)]
    assert {group.cause: group.count for group in groups} == Counter(one["failure"]["cause"] for one in documents)
    group = groups[0]
    assert (group.remedy, group.retryable) == (REMEDIES[FailureCause.WALLTIME].text, False)
    assert counts(group.engines) == {"sevennet": 9, "chgnet": 1}
    # A shared result counts in each of its campaigns.
    assert counts(group.campaigns) == {"many": 10, "other": 5}
    assert (group.first, group.last) == tuple(
        (stamp - timedelta(minutes=minutes)).replace(tzinfo=UTC) for minutes in (9, 0)
    )
    assert counts(group.messages) == {"SLURM job # on n#: walltime": 8, "of a kind of its own": 2}
    assert group.messages_read == 10
    mine = sorted((one["label"], one["_id"]) for one in documents if one["failure"]["cause"] == "walltime")
    assert [(example.label, example.key) for example in group.examples] == mine[:MOST_EXAMPLES]


def test_only_of_a_campaign_or_an_engine(failed):
    database, documents, _ = failed
    here = by_cause(failure_groups(database, "other"))
    wanted = [one for one in documents if "other" in one["campaigns"]]
    assert {cause: group.count for cause, group in here.items()} == Counter(one["failure"]["cause"] for one in wanted)
    assert counts(here["walltime"].campaigns) == {"other": 5}
    assert {example.key for group in here.values() for example in group.examples} <= {one["_id"] for one in wanted}
    (group,) = failure_groups(database, engine="chgnet")
    assert (group.cause, group.count, counts(group.engines)) == ("walltime", 1, {"chgnet": 1})
    assert counts(group.campaigns) == {"many": 1, "other": 1}
    assert failure_groups(database, "nosuch") == []


def test_changes_are_proposed_where_they_fit_all_and_resubmission_where_it_makes_sense(failed):
    database, _, _ = failed
    groups = by_cause(failure_groups(database))
    assert groups["walltime"].change.resources == {"walltime": "x2"}
    assert groups["out_of_memory"].change.text == "--memory x2"
    assert (groups["reference_failed"].resubmittable, groups["unknown"].resubmittable) == (False, True)
    assert groups["unknown"].change is None
    # Outside SLURM there is nobody to ask for more memory: then not all of the group can.
    one = database.results.find_one({"failure.cause": "out_of_memory"})
    database.results.update_one({"_id": one["_id"]}, {"$set": {"failure.job": None}})
    assert by_cause(failure_groups(database))["out_of_memory"].change is None


def test_a_cause_of_another_version_keeps_its_own_words(failed):
    database, _, _ = failed
    told = {"failure.cause": "cosmic_ray", "failure.remedy": "wait", "failure.retryable": True, "engine": "gone"}
    database.results.update_many({"failure.cause": "unknown"}, {"$set": told})
    group = by_cause(failure_groups(database))["cosmic_ray"]
    assert (group.count, group.remedy, group.retryable, group.change) == (2, "wait", True, None)


def test_documents_without_engine_and_message_are_shown_too(failed):
    database, _, _ = failed
    told = {"$set": {"failure": {"cause": "unknown"}}, "$unset": {"engine": ""}}
    database.results.update_many({"failure.cause": "unknown"}, told)
    group = by_cause(failure_groups(database))["unknown"]
    assert (counts(group.engines), group.change) == ({"": 2}, None)
    assert [row.message for row in failed_results(database, "unknown").rows] == ["", ""]


def test_every_proposed_change_becomes_fields_of_a_form():
    for remedy in REMEDIES.values():
        change = split_change(remedy.change)
        assert (change is None) == (not remedy.change)
    assert split_change("--walltime x2").resources == {"walltime": "x2"}
    assert split_change("--set steps=1000").settings == {"steps": "1000"}
    partition = split_change("--partition NAME")
    assert (partition.resources, partition.to_fill_in) == ({}, ["partition"])


@pytest.mark.parametrize(
    ("one", "other", "general"),
    [
        ("job 12 after 3.5 s", "job 7 after 1e-3 s", "job # after # s"),
        ("at 2026-01-01 10:00:00 on n1", "at 2025-12-31T09:08:07Z on n12", "at # on n#"),
        ("lost intercalation-0a1b2c3d4e5f", "lost intercalation-5f4e3d2c1b0a", "lost intercalation-#"),
        ("id 6f1d3c1e-11f0-4a5b-9c3d-0123456789ab", "id 00000000-11f0-4a5b-9c3d-0123456789ab", "id #"),
        ("at 0x7f0011", "at 0xdead", "at #"),
    ],
)
def test_messages_that_differ_in_particulars_are_one(one, other, general):
    assert general_message(one) == general_message(other) == general


def test_words_stay_in_general_messages():
    assert (
        general_message("ValueError: deadbeef facade\n is no structure")
        == "ValueError: deadbeef facade is no structure"
    )
    assert len(general_message("x" * 5000)) < 400


def test_no_more_messages_than_can_be_read(failed):
    database, _, _ = failed
    for number, document in enumerate(database.results.find({"failure.cause": "walltime"})):
        words = "".join(chr(ord("a") + number) for _ in range(3))
        database.results.update_one({"_id": document["_id"]}, {"$set": {"failure.message": words}})
    assert len(failure_groups(database)[0].messages) == MOST_MESSAGES


def test_rows_come_page_by_page_and_each_once(failed):
    database, documents, stamp = failed
    expected = sorted((one["label"], one["_id"]) for one in documents if one["failure"]["cause"] == "walltime")
    seen, cursor, pages = [], None, []
    while True:
        page = failed_results(database, "walltime", cursor=cursor, limit=3)
        pages.append(page)
        seen += [(row.label, row.key) for row in page.rows]
        cursor = page.next
        if cursor is None:
            break
    assert seen == expected
    assert [len(page.rows) for page in pages] == [3, 3, 3, 1]
    back = failed_results(database, "walltime", cursor=pages[2].previous, limit=3)
    assert back.rows == pages[1].rows
    row = next(row for page in pages for row in page.rows if row.key == documents[1]["_id"])
    assert (row.attempts, row.engine, row.campaigns) == (3, "chgnet", ["many", "other"])
    assert row.job.model_dump(exclude_none=True) == USAGE
    assert row.finished_at == (stamp - timedelta(minutes=1)).replace(tzinfo=UTC)
    assert row.message == documents[1]["failure"]["message"]


def test_rows_of_a_campaign_an_engine_or_a_text(failed):
    database, documents, _ = failed
    mine = {one["_id"] for one in documents if one["failure"]["cause"] == "walltime" and "other" in one["campaigns"]}
    assert {row.key for row in failed_results(database, "walltime", campaign="other").rows} == mine
    assert [row.key for row in failed_results(database, "walltime", engine="chgnet").rows] == [documents[1]["_id"]]
    for text in ("slurm JOB 4003", "LINE of 3", documents[3]["label"].upper(), documents[3]["candidate_id"]):
        assert [row.key for row in failed_results(database, "walltime", text=text).rows] == [documents[3]["_id"]]
    # What is looked for is text, not a pattern.
    assert failed_results(database, "walltime", text=".*").rows == []


@pytest.mark.parametrize(
    ("options", "message"),
    [({"limit": 0}, "limit 0"), ({"cursor": "nonsense"}, "cursor"), ({"text": "a\0b"}, "NUL character")],
)
def test_what_cannot_be_asked_is_explained(failed, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        failed_results(failed[0], "walltime", **options)


def test_few_calls_and_groups_read_no_more_results_than_they_show(failed):
    database, _, _ = failed
    counter = CallCounter()
    with MongoClient(database.uri, event_listeners=[counter]) as client:
        mine = Database(database.uri, client[database.mongo.name])
        failure_groups(mine)  # logs in
        counter.names.clear()
        groups = failure_groups(mine)
        assert Counter(counter.names) == {"aggregate": 4, "find": 1}
        shown = sum(len(group.examples) for group in groups)
        database.mongo.command("profile", 2)
        failure_groups(mine)
        database.mongo.command("profile", 0)
        profile = database.mongo["system.profile"].find({"command.aggregate": "results"}).sort("ts", 1)
        read = [operation["docsExamined"] for operation in profile]
        assert read[:3] == [0, 0, 0]
        assert read[3] <= shown
        counter.names.clear()
        page = failed_results(mine, "walltime", limit=4)
        failed_results(mine, "walltime", limit=4, cursor=page.next)
        assert counter.names == ["find"] * 3
