"""The audit, from resubmissions and undoing that really happened."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from failed_results import fail, start, submitted
from many_jobs import CallCounter
from pymongo import MongoClient

from hts_flows.errors import InputError
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.undo import find_resubmission, undo
from hts_flows.stores import Database
from hts_flows.stores.audit import AUDIT_INDEXES, audit_entry, audit_trail
from hts_flows.stores.campaigns import now


@pytest.fixture
def keys(database, tmp_path):
    """All seven calculations of a campaign, failed at the time limit."""
    database.audit.create_indexes(AUDIT_INDEXES)
    found = sorted(submitted(database).values())
    for number, key in enumerate(found):
        fail(database, key, FailureCause.WALLTIME, tmp_path / str(number))
    return found


def again(database, *, user="ada", reason="", **selection):
    changes = {"settings": {"steps": 900}, "resources": {"walltime": "x2"}}
    plan = plan_resubmission(database, "small", **changes, **selection)
    return resubmit(database, plan, user=user, reason=reason).audit


def rows(database, **options):
    return audit_trail(database, **options).rows


def test_a_resubmission_says_who_why_and_what_changed_how_often(keys, database):
    audit = again(database, reason="two hours were too short")
    (row,) = rows(database)
    assert (row.id, row.user, row.action, row.reason) == (audit, "ada", "resubmit", "two hours were too short")
    assert (row.campaigns, row.results) == (["small"], 7)
    assert {change.text for change in row.changes} == {
        "steps: 300 → 900 (× 7)",
        "resources.walltime: 04:00:00 → 08:00:00 (× 7)",
    }
    assert now() - row.at < timedelta(minutes=1)
    assert row.progress.model_dump() == {"queued": 7, "running": 0, "done": 0, "failed": 0, "gone": 0}
    assert (row.undoable, row.undone_by, row.undoes) == (True, None, None)


def test_undone_both_entries_name_each_other(keys, database):
    audit = again(database)
    told = undo(database, find_resubmission(database, audit=audit), user="bob").audit
    undone, first = rows(database)
    assert (undone.action, undone.user, undone.undoes, undone.results, undone.changes) == ("undo", "bob", audit, 7, [])
    assert (first.id, first.undone_by, first.undoable, first.progress) == (audit, told, False, None)
    entry = audit_entry(database, audit)
    assert (entry.row.undoable, entry.why_not_undoable) == (False, f"it was undone already, by {told}")
    assert audit_entry(database, told).why_not_undoable is None


def test_an_entry_follows_each_result(keys, database, tmp_path):
    audit = again(database)
    start(database, keys[0], tmp_path)
    fail(database, keys[1], FailureCause.NODE_FAILURE)
    database.results.update_one({"_id": keys[2]}, {"$set": {"state": "done"}})
    database.results.delete_one({"_id": keys[3]})
    entry = audit_entry(database, audit)
    now_of = {result.key: result.now for result in entry.results}
    expected = dict(zip(keys, ("running", "failed", "done", "gone", "queued", "queued", "queued"), strict=True))
    assert now_of == expected
    assert entry.progress.model_dump() == {"queued": 4, "running": 1, "done": 1, "failed": 1, "gone": 1}
    results = {result.key: result for result in entry.results}
    assert results[keys[1]].cause == "node_failure"
    stored = database.results.find_one({"_id": keys[0]})
    assert (results[keys[0]].fw_ids, results[keys[0]].label) == (stored["provenance"]["fw_ids"], stored["label"])
    assert [change.text for change in results[keys[4]].changes] == [
        "steps: 300 → 900 (× 1)",
        "resources.walltime: 04:00:00 → 08:00:00 (× 1)",
    ]
    assert [result.label for result in entry.results] == sorted(result.label for result in entry.results)
    assert entry.row.undoable
    (row,) = rows(database)
    assert row.progress.model_dump() == {"queued": 4, "running": 0, "done": 1, "failed": 1, "gone": 0}


def test_what_has_ended_or_was_resubmitted_again_cannot_be_undone(keys, database):
    first = again(database, ids=[keys[0].partition(":")[0]])
    fail(database, keys[0], FailureCause.WALLTIME)
    assert not rows(database)[0].undoable
    entry = audit_entry(database, first)
    assert (entry.row.undoable, entry.why_not_undoable) == (
        False,
        "all its results have started or were resubmitted again since",
    )
    second = again(database, ids=[keys[0].partition(":")[0]])
    entry = audit_entry(database, first)
    assert (entry.results[0].resubmitted_since, entry.results[0].now, entry.row.undoable) == (True, "queued", False)
    entry = audit_entry(database, second)
    assert (entry.results[0].resubmitted_since, entry.row.undoable, entry.selection["ids"]) == (
        False,
        True,
        [keys[0].partition(":")[0]],
    )


def test_the_list_and_undoing_agree_on_what_can_be_undone(keys, database):
    one = again(database, ids=[keys[0].partition(":")[0]])
    two = again(database, ids=[keys[1].partition(":")[0]])
    undo(database, find_resubmission(database, audit=one), user="bob")
    undoable = {row.id for row in rows(database) if row.undoable}
    assert undoable == {two}
    for row in rows(database):
        try:
            taken = find_resubmission(database, audit=row.id)["_id"] == row.id
        except InputError:
            taken = False
        assert taken == (row.id in undoable)


def test_entries_of_other_actions_need_no_results_and_may_count_changes(database):
    changes = [{"setting": "jobs", "old": "READY", "new": "PAUSED", "count": 12}]
    changes += [{"campaign": "small", "setting": "state", "old": "running", "new": "paused"}]
    told = {"_id": "a", "action": "pause", "user": "ada", "at": now(), "campaigns": ["small"], "changes": changes}
    database.audit.insert_one(told | {"left": {"it runs": 2}})
    database.audit.insert_one({"_id": "b", "action": "priority", "at": now()})
    last, first = rows(database)
    assert [change.text for change in first.changes] == [
        "jobs: READY → PAUSED (× 12)",
        "state: running → paused (× 1)",
    ]
    assert (first.undoable, first.progress, first.results) == (False, None, 0)
    assert (last.user, last.reason, last.campaigns, last.changes) == ("", "", [], [])
    entry = audit_entry(database, "a")
    assert (entry.results, entry.left, entry.why_not_undoable) == ([], {"it runs": 2}, None)


def many(database, number):
    stamp = now().replace(tzinfo=None)
    documents = [
        {
            "_id": f"{one:04d}",
            "action": "pause" if one % 3 else "resume",
            "user": "ada" if one % 2 else "bob",
            # Some at the same moment.
            "at": stamp - timedelta(seconds=one // 3),
            "campaigns": ["small"] if one % 5 else ["large"],
            "results": ["a:b"],
            "changes": [{"result": "a:b", "setting": "steps", "old": None, "new": one}],
        }
        for one in range(number)
    ]
    database.audit.insert_many(documents)
    return sorted(documents, key=lambda one: (one["at"], one["_id"]), reverse=True)


def test_pages_go_back_in_time_each_entry_once(database):
    documents = many(database, 25)
    seen, cursor = [], None
    while True:
        page = audit_trail(database, limit=4, cursor=cursor)
        seen += [row.id for row in page.rows]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [document["_id"] for document in documents]
    ours = [row.id for row in rows(database, campaign="small", user="ada", action="pause", limit=100)]
    assert ours == [
        one["_id"] for one in documents if (one["campaigns"], one["user"], one["action"]) == (["small"], "ada", "pause")
    ]
    assert rows(database)[0].changes[0].old == "–"


def test_an_unknown_entry_is_explained(database):
    with pytest.raises(InputError, match="no entry 'nosuch' in the audit"):
        audit_entry(database, "nosuch")


def test_calls_do_not_grow_with_the_audit(keys, database):
    counter = CallCounter()
    with MongoClient(database.uri, event_listeners=[counter]) as client:
        mine = Database(database.uri, client[database.mongo.name])
        again(database, ids=[keys[0].partition(":")[0]])
        audit_trail(mine)  # logs in
        counter.names.clear()
        audit_trail(mine, limit=200)
        few = Counter(counter.names)
        for key in keys[1:]:
            again(database, ids=[key.partition(":")[0]])
        many(database, 50)
        counter.names.clear()
        audit_trail(mine, limit=200)
        assert Counter(counter.names) == few == {"find": 1, "aggregate": 2}


def test_a_damaged_entry_hides_nothing(keys, database):
    audit = again(database)
    database.audit.insert_many([{"_id": "empty"}, {"_id": "odd", "at": None, "action": None, "results": 3}])
    found = {row.id: row for row in rows(database)}
    assert set(found) == {audit, "empty", "odd"}
    assert (found["empty"].at, found["empty"].action, found["odd"].results) == (None, "unknown", 0)
    assert audit_entry(database, "empty").row.at is None
    # Page by page, the same.
    paged, cursor = [], None
    for _ in range(3):
        page = audit_trail(database, limit=1, cursor=cursor)
        paged, cursor = [*paged, page.rows[0].id], page.next
    assert sorted(paged) == sorted(found)
