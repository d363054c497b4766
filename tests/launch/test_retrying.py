from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from failed_results import CLUSTER, fail, submitted

from hts_flows.campaign import Campaign, CampaignError
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.retrying import apply_retries
from hts_flows.launch.undo import find_resubmission, undo
from hts_flows.stores.campaigns import load_campaign, save_campaign

RETRY = {
    "walltime": {"walltime": "x2", "at_most": 2},
    "out_of_memory": {"memory": "x2", "at_most": 2},
    "node_failure": {"at_most": 1},
    "ionic_not_converged": {"set": {"steps": 900}, "at_most": 1},
}


@pytest.fixture
def keys(database):
    return list(submitted(database, retry=RETRY).values())


def retried(database, settings, clusters=None):
    chosen = settings.model_copy(update={"clusters": clusters or {}})
    return apply_retries(database, load_campaign(database, "small"), chosen)


def test_each_cause_is_retried_with_its_change_as_often_as_its_rule_says(keys, database, settings):
    key = keys[0]
    ended = [("walltime", 4), ("node_failure", None), ("walltime", 8), ("node_failure", None)]
    for number, (cause, hours) in enumerate(ended):
        more = {"walltime_asked": hours * 3600.0} if hours else {"walltime_asked": 16 * 3600.0}
        fail(database, key, FailureCause(cause), **more)
        assert retried(database, settings) == (1 if number < 3 else 0)
        assert retried(database, settings) == 0
    document = database.results.find_one({"_id": key})
    assert (document["state"], document["failure"]["cause"]) == ("failed", "node_failure")
    assert [item["failure"]["cause"] for item in document["attempts"]] == ["walltime", "node_failure", "walltime"]
    assert [item["resources"] for item in document["attempts"]] == [
        {},
        {"walltime": "08:00:00"},
        {"walltime": "08:00:00"},
    ]
    assert document["resources"] == {"walltime": "16:00:00"}
    audits = list(database.audit.find({}).sort("at", 1))
    assert {item["user"] for item in audits} == {"retry policy"}
    assert [item["reason"] for item in audits] == [
        "campaign small: walltime is retried at most 2 times",
        "campaign small: node_failure is retried once",
        "campaign small: walltime is retried at most 2 times",
    ]


def test_other_causes_and_other_campaigns_are_left_to_people(keys, database, settings):
    fail(database, keys[0], FailureCause.CANCELLED)
    submitted(database, name="other", intercalants=["Na"])
    other = database.results.find_one({"campaigns": ["other"], "role": "candidate"})["_id"]
    fail(database, other, FailureCause.WALLTIME)
    assert retried(database, settings) == 0
    assert apply_retries(database, load_campaign(database, "other"), settings) == 0
    assert database.results.count_documents({"state": "failed"}) == 2


def test_many_callers_at_once_retry_each_result_once(keys, database, settings):
    for key in keys[:5]:
        fail(database, key, FailureCause.OUT_OF_MEMORY)
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: retried(database, settings), range(8)))
    assert sum(counts) == 5
    for document in database.results.find({"_id": {"$in": keys[:5]}}):
        assert (document["state"], len(document["attempts"])) == ("queued", 1)
        assert document["resources"] == {"memory": "16G"}
        assert database.mongo["workflows"].count_documents({"metadata.result": document["_id"]}) == 1
    audited = [key for item in database.audit.find({}) for key in item["results"]]
    assert sorted(audited) == sorted(keys[:5])


def test_a_rule_that_cannot_be_applied_leaves_the_result_failed_and_says_why_once(keys, database, settings):
    fail(database, keys[0], FailureCause.WALLTIME, walltime_asked=20 * 3600.0)
    fail(database, keys[1], FailureCause.OUT_OF_MEMORY, memory_asked=None)
    fail(database, keys[2], FailureCause.WALLTIME, walltime_asked=2 * 3600.0)
    for _ in range(3):
        retried(database, settings, {"big": CLUSTER})
    messages = [database.results.find_one({"_id": key})["failure"]["message"] for key in keys[:2]]
    assert messages[0].count("not retried: ") == 1
    assert "max_walltime, 1-00:00:00" in messages[0]
    assert messages[1].count("not retried: ") == 1
    assert "not known how much memory" in messages[1]
    assert database.results.find_one({"_id": keys[2]})["state"] == "queued"
    # Once it can be applied it is.
    assert retried(database, settings) == 1
    assert database.results.find_one({"_id": keys[0]})["resources"] == {"walltime": "1-16:00:00"}


def test_a_setting_that_the_engine_lacks_is_not_set(keys, database, settings):
    content = load_campaign(database, "small").content()
    content["calculate"].append({"engine": "gpaw", "promote": {"by": "intercalation_energy", "lowest": 1}})
    content["retry"] = {"scf_not_converged": {"set": {"scf_steps": 400}, "at_most": 1}}
    save_campaign(database, Campaign.from_dict(content), update=True)
    fail(database, keys[0], FailureCause.SCF_NOT_CONVERGED)
    assert retried(database, settings) == 0
    message = database.results.find_one({"_id": keys[0]})["failure"]["message"]
    assert message.endswith("not retried: sevennet has no setting 'scf_steps'")


def test_a_retry_can_be_undone_like_any_resubmission(keys, database, settings):
    fail(database, keys[0], FailureCause.NODE_FAILURE)
    before = database.results.find_one({"_id": keys[0]}, {"changed_at": 0})
    assert retried(database, settings) == 1
    assert undo(database, find_resubmission(database, campaign="small"), user="ada").keys == [keys[0]]
    assert database.results.find_one({"_id": keys[0]}, {"changed_at": 0}) == before


def test_a_campaign_without_the_section_is_stored_as_before(database):
    submitted(database)
    assert "retry" not in database.campaigns.find_one({"_id": "small"})["content"]
    stored = load_campaign(database, "small")
    content = stored.content() | {"retry": RETRY}
    with_rules = Campaign.from_dict(content)
    assert with_rules.content()["retry"] == RETRY
    assert Campaign.from_dict(with_rules.content()).content() == with_rules.content()
    assert [level.settings_hash for level in with_rules.ladder()] == [level.settings_hash for level in stored.ladder()]


@pytest.mark.parametrize(
    ("retry", "place", "expected"),
    [
        (3, ("retry",), "lines, found 3"),
        ({"waltime": {"at_most": 1}}, ("retry", "waltime"), "did you mean 'walltime'"),
        ({"walltime": {}}, ("retry", "walltime", "at_most"), "required"),
        ({"walltime": None}, ("retry", "walltime"), "write 'key: value' lines"),
        ({"walltime": {"at_most": 0}}, ("retry", "walltime", "at_most"), "greater than or equal to 1"),
        ({"walltime": {"at_most": True}}, ("retry", "walltime", "at_most"), "not a whole number"),
        ({"walltime": {"at_most": 1, "wall": "x2"}}, ("retry", "walltime", "wall"), "did you mean 'walltime'"),
        ({"walltime": {"at_most": 1, "walltime": 2}}, ("retry", "walltime", "walltime"), "write e.g. x2"),
        ({"walltime": {"at_most": 1, "memory": "x0"}}, ("retry", "walltime", "memory"), "above 0"),
        ({"lost": {"at_most": 1, "set": {"stps": 3}}}, ("retry", "lost", "set", "stps"), "did you mean 'steps'"),
        ({"lost": {"at_most": 1, "set": {"steps": 0}}}, ("retry", "lost", "set", "steps"), "found 0"),
        ({"lost": {"at_most": 1, "set": {"model": "7net-0"}}}, ("retry", "lost", "set", "model"), "no setting that"),
        ({"reference_failed": {"at_most": 1}}, ("retry", "reference_failed"), "waits for its reference"),
    ],
)
def test_a_mistake_is_told_with_its_place(retry, place, expected):
    space = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": ["Li"], "concentrations": ["1/6"]}
    data = {"name": "x", "candidates": space, "calculate": [{"engine": "sevennet"}], "retry": retry}
    with pytest.raises(CampaignError) as told:
        Campaign.from_dict(data)
    assert [problem.path for problem in told.value.problems] == [place]
    assert expected in told.value.message


def test_the_command_names_file_line_and_key(hts, tmp_path):
    text = "name: x\ncandidates:\n  domain: intercalation\n  hosts: [graphite]\n  intercalants: [Li]\n"
    text += "  concentrations: [1/6]\ncalculate:\n  - engine: sevennet\nretry:\n  lost:\n    at_most: many\n"
    (tmp_path / "x.yaml").write_text(text)
    done = hts("check", "x.yaml")
    assert done.returncode == 2
    assert "x.yaml, line 11: retry.lost.at_most: not a whole number (found 'many')" in done.stderr
