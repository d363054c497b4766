"""Recording that is cut short, or that another worker sees half-done: a row goes up only when all of it is decided."""

from __future__ import annotations

from dataclasses import replace

import pytest
from failed_results import fail
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore

from hts_flows.campaign import Campaign
from hts_flows.flows import get_domain
from hts_flows.launch import advance as advancing
from hts_flows.launch import recording
from hts_flows.launch.advance import advance, check_here
from hts_flows.launch.failures import FailureCause
from hts_flows.launch.recording import record_result
from hts_flows.launch.resubmission import plan_resubmission, resubmit
from hts_flows.launch.submission import wanted_at_first_level
from hts_flows.stores.campaigns import load_campaign, save_campaign

pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")

SPACE = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": ["Li", "Mg"], "concentrations": ["1/6"]}
FIRST = {"engine": "sevennet", "task": "static"}
SECOND = FIRST | {"model": "7net-l3i5", "promote": {"by": "intercalation_energy", "lowest": 1}}
CONTENT = {"name": "small", "candidates": SPACE, "calculate": [FIRST, SECOND]}
#: Magnesium lies higher than lithium in graphite: it goes up only where lithium is left out.
LITHIUM, MAGNESIUM, HOST, LITHIUM_METAL = (
    "graphite LiC6 stage 1",
    "graphite MgC6 stage 1",
    "Graphite, 2H (AB)",
    "Lithium, bcc",
)


class KilledError(BaseException):
    """Where a process ends."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What the engine gives for each result of the first row, by label."""
    campaign, store = Campaign.from_dict(CONTENT), JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    found = {}
    for wanted in wanted_at_first_level(campaign, campaign.all_candidates()):
        candidate = wanted.candidate
        job = campaign.ladder()[0].engine.maker().make(get_domain(candidate.domain).build(candidate))
        run_locally(job, store=store, log=False, root_dir=tmp_path_factory.mktemp("job"), ensure_success=True)
        found[candidate.label] = store.get_output(job.uuid, load=True)
    return found


@pytest.fixture
def keys(database):
    """The campaign in the queue: keys of the results of its first row, by label."""
    return queue(database)


def queue(database, **more):
    save_campaign(database, Campaign.from_dict(CONTENT | more))
    advance(database, "small", check=check_here)
    return {document["label"]: document["_id"] for document in database.results.find({})}


def killed(*_arguments):
    raise KilledError


def record_until(monkeypatch, function, record, *arguments):
    """Record, and end where a function of recording is called."""
    with monkeypatch.context() as patch:
        patch.setattr(recording, function, killed)
        with pytest.raises(KilledError):
            record(*arguments)


def gone_up(database):
    """Candidates of the second row."""
    second = load_campaign(database, "small").ladder()[1].settings_hash
    return {one["label"] for one in database.results.find({"settings_hash": second, "role": "candidate"})}


def go_on(database):
    advance(database, "small", check=check_here)
    return gone_up(database)


def let_derive(patch, derive):
    """Let the domain of the candidates derive in another way."""
    domain = replace(get_domain("intercalation"), derive=derive)
    patch.setattr(recording, "get_domain", lambda _name: domain)


def stored(database, key):
    return database.results.find_one({"_id": key})


def test_a_candidate_that_is_stored_and_not_derived_holds_its_row_back(database, keys, outputs, monkeypatch):
    for label in outputs.keys() - {LITHIUM}:
        record_result(database, keys[label], outputs[label])
    assert go_on(database) == set()
    record_until(monkeypatch, "derive_waiting", record_result, database, keys[LITHIUM], outputs[LITHIUM])
    assert stored(database, keys[LITHIUM])["properties"] is None
    # Whoever recorded it has ended: another worker derives it, and the row goes up as a whole.
    assert go_on(database) == {LITHIUM}
    derived = stored(database, keys[LITHIUM])
    assert derived["properties"]["intercalation_energy"] < 0.1
    # The job of the one that was killed is run again: nothing changes.
    record_result(database, keys[LITHIUM], outputs[LITHIUM])
    again = stored(database, keys[LITHIUM])
    assert (again["state"], again["properties"]) == (derived["state"], derived["properties"])
    assert go_on(database) == {LITHIUM}


def test_candidates_that_wait_for_the_last_reference_hold_their_row_back(database, keys, outputs, monkeypatch):
    for label in outputs.keys() - {HOST}:
        record_result(database, keys[label], outputs[label])
    assert go_on(database) == set()
    derive = recording.derive_properties

    def magnesium_first(database, one):
        if keys[MAGNESIUM] in (one, getattr(one, "key", None)):
            derive(database, one)

    with monkeypatch.context() as patch:
        patch.setattr(recording, "derive_properties", magnesium_first)
        record_result(database, keys[HOST], outputs[HOST])
    assert stored(database, keys[MAGNESIUM])["properties"]["intercalation_energy"] > 0.1
    assert stored(database, keys[LITHIUM])["properties"] is None
    assert go_on(database) == {LITHIUM}


def test_a_candidate_whose_reference_comes_in_late_holds_its_row_back(database, keys, outputs, monkeypatch):
    fail(database, keys[LITHIUM_METAL], FailureCause.NODE_FAILURE)
    for label in outputs.keys() - {LITHIUM_METAL}:
        record_result(database, keys[label], outputs[label])
    assert stored(database, keys[LITHIUM])["failure"]["cause"] == "reference_failed"
    resubmit(database, plan_resubmission(database, "small"), user="ada")
    assert go_on(database) == set()
    record_until(monkeypatch, "derive_waiting", record_result, database, keys[LITHIUM_METAL], outputs[LITHIUM_METAL])
    assert stored(database, keys[LITHIUM])["failure"]["cause"] == "reference_failed"
    assert go_on(database) == {LITHIUM}
    completed = stored(database, keys[LITHIUM])
    assert (completed["state"], completed["failure"]) == ("done", None)


def test_what_waits_for_a_reference_that_fails_is_decided_also_when_nobody_told_it(
    database, keys, outputs, monkeypatch
):
    for label in outputs.keys() - {LITHIUM_METAL}:
        record_result(database, keys[label], outputs[label])
    assert go_on(database) == set()
    record_until(monkeypatch, "derive_waiting", fail, database, keys[LITHIUM_METAL], FailureCause.NODE_FAILURE)
    assert (stored(database, keys[LITHIUM_METAL])["state"], stored(database, keys[LITHIUM])["state"]) == (
        "failed",
        "done",
    )
    assert go_on(database) == {MAGNESIUM}
    assert stored(database, keys[LITHIUM])["failure"]["cause"] == "reference_failed"


def test_a_reference_that_is_no_longer_stored_keeps_no_row_from_ending(database, keys, outputs):
    database.results.delete_one({"_id": keys[HOST]})
    for label in outputs.keys() - {HOST}:
        record_result(database, keys[label], outputs[label])
    assert advance(database, "small", check=check_here).finished
    assert gone_up(database) == set()


def test_a_result_that_fails_at_this_moment_and_is_to_be_run_again_holds_its_row_back(database, outputs, monkeypatch):
    keys = queue(database, retry={"node_failure": {"at_most": 1}})
    for label in outputs.keys() - {LITHIUM}:
        record_result(database, keys[label], outputs[label])
    retries = advancing.apply_retries

    def fails_after(database, campaign):
        added = retries(database, campaign)
        if not stored(database, keys[LITHIUM])["attempts"] and stored(database, keys[LITHIUM])["state"] == "queued":
            fail(database, keys[LITHIUM], FailureCause.NODE_FAILURE)
        return added

    with monkeypatch.context() as patch:
        patch.setattr(advancing, "apply_retries", fails_after)
        assert go_on(database) == set()
    again = stored(database, keys[LITHIUM])
    assert (again["state"], len(again["attempts"])) == ("queued", 1)
    record_result(database, keys[LITHIUM], outputs[LITHIUM])
    assert go_on(database) == {LITHIUM}


def test_properties_of_what_has_changed_meanwhile_are_not_stored(database, keys, outputs, monkeypatch):
    derive = get_domain("intercalation").derive

    def reference_comes_in_again(candidate, calculation, references):
        with monkeypatch.context() as inner:
            let_derive(inner, derive)
            record_result(database, keys[HOST], outputs[HOST])
        return derive(candidate, calculation, references).model_copy(update={"intercalation_energy": -100.0})

    for label in outputs.keys() - {LITHIUM}:
        record_result(database, keys[label], outputs[label])
    with monkeypatch.context() as patch:
        let_derive(patch, reference_comes_in_again)
        record_result(database, keys[LITHIUM], outputs[LITHIUM])
    assert stored(database, keys[LITHIUM])["properties"]["intercalation_energy"] > -1
    assert go_on(database) == {LITHIUM}


def test_an_error_of_the_domain_is_a_failure_of_its_candidate_and_stops_no_row(database, keys, outputs, monkeypatch):
    derive = get_domain("intercalation").derive

    def divides_by_nothing(candidate, calculation, references):
        if "Li" in candidate.formula:
            raise ZeroDivisionError("float division by zero")
        return derive(candidate, calculation, references)

    let_derive(monkeypatch, divides_by_nothing)
    for label, output in outputs.items():
        record_result(database, keys[label], output)
    assert go_on(database) == {MAGNESIUM}
    told = stored(database, keys[LITHIUM])["failure"]
    assert (told["cause"], told["message"]) == ("unknown", "properties: ZeroDivisionError: float division by zero")
    assert "divides_by_nothing" in told["evidence"]
