import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hts_flows.launch.outcomes import Outcome, outcomes_digest
from hts_flows.launch.screening import plan
from hts_flows.screen import Screen
from hts_flows.screening.stopping import evaluations_without_gain

QUEUED, FAILED = Outcome("queued"), Outcome("failed", cause="lost")


def screen(**options):
    options.setdefault("stop", {"budget": 100})
    return Screen(by="volume_per_atom", descriptors=["elements"], **options)


def verified(value):
    return Outcome("verified", value)


def outcomes(*values):
    """Outcomes of candidates "0", "1", …: a number, "failed" or "queued"."""
    kinds = {"failed": FAILED, "queued": QUEUED}
    return {str(number): kinds.get(value) or verified(value) for number, value in enumerate(values)}


def plan_for(section, *values, best=None):
    found = outcomes(*values)
    return plan(section, best, list(found), found)


def test_a_place_is_taken_as_soon_as_it_is_free():
    section = screen(batch=3)
    assert plan_for(section).places == 3
    assert plan_for(section, "queued", "queued", "queued").waits
    step = plan_for(section, "queued", 1.0, "queued")
    assert (step.places, step.visible, step.waits) == (1, ("1",), False)
    assert plan_for(section, "queued", 1.0, "failed").visible == ("1", "2")


def test_results_taken_as_asked_wait_for_the_oldest():
    section = screen(batch=2, order="as_asked")
    assert not plan_for(section).waits
    assert plan_for(section, "queued").visible == ()
    assert plan_for(section, "queued", 1.0).waits
    step = plan_for(section, 2.0, "queued")
    assert (step.places, step.visible, step.waits) == (1, ("0",), False)
    # The second is known already, but what is asked third must not depend on that.
    assert plan_for(section, 2.0, 1.0).visible == ("0",)


def test_the_budget_ends_the_search_when_all_is_known():
    section = screen(batch=2, stop={"budget": 3})
    assert plan_for(section, 1.0, 2.0).places == 1
    assert plan_for(section, 1.0, "queued", 3.0).waits
    step = plan_for(section, 1.0, 2.0, "failed")
    assert (step.rule, step.waits, step.visible) == ("budget", False, ("0", "1", "2"))


def test_patience_counts_from_the_last_gain():
    section = screen(stop={"patience": 2, "minimal_gain": 0.5})
    assert plan_for(section, 5.0, 4.9, best=6.0).rule is None
    assert plan_for(section, 5.0, 4.9, 4.8, best=6.0).rule == "patience"
    assert plan_for(section, 5.0, 4.9, 4.4, best=6.0).rule is None
    assert plan_for(section, "failed", "failed", best=6.0).rule == "patience"
    assert plan_for(section, 7.0, "failed", best=6.0).rule == "patience"


def test_small_gains_add_up():
    assert evaluations_without_gain(1.0, [0.95, 0.91, 0.85], minimize=True, minimal_gain=0.1) == 0
    assert evaluations_without_gain(1.0, [0.95, 0.91], minimize=True, minimal_gain=0.1) == 2


@given(st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), max_size=30), st.floats(0, 10))
def test_maximising_mirrors_minimising(values, gain):
    mirrored = [None if value is None else -value for value in values]
    down = evaluations_without_gain(None, values, minimize=True, minimal_gain=gain)
    assert down == evaluations_without_gain(None, mirrored, minimize=False, minimal_gain=gain)
    assert 0 <= down <= len(values)
    assert down < len(values) or all(value is None for value in values)


@pytest.mark.parametrize("order", ["as_they_come", "as_asked"])
@given(batch=st.integers(1, 5), budget=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_whatever_ends_first_the_search_asks_for_the_budget_and_no_more_than_the_batch_at_once(
    order, batch, budget, seed
):
    section = screen(order=order, batch=batch, stop={"budget": budget})
    ends = random.Random(seed)
    sequence, known = [], {}
    for _ in range(10 * budget + 10):
        step = plan(section, None, sequence, known)
        if step.rule and not step.waits:
            break
        if step.waits:
            queued = [one for one in sequence if known[one].state == "queued"]
            assert queued, "waits for nothing"
            known[ends.choice(queued)] = ends.choice([FAILED, verified(ends.random())])
            continue
        assert step.places >= 1
        for _ in range(step.places):
            sequence.append(str(len(sequence)))
            known[sequence[-1]] = QUEUED
        assert sum(outcome.state == "queued" for outcome in known.values()) <= batch
    assert len(sequence) == budget
    assert step.rule == "budget"
    assert set(step.visible) == set(sequence)


@given(batch=st.integers(1, 4), first=st.integers(0, 1000), second=st.integers(0, 1000))
def test_as_asked_the_history_does_not_depend_on_what_ends_first(batch, first, second):
    section = screen(order="as_asked", batch=batch, stop={"budget": 12, "patience": 4})
    values = {str(number): verified(random.Random(number).random()) for number in range(12)}
    values["3"] = FAILED

    def history(seed):
        ends = random.Random(seed)
        sequence, known, steps = [], {}, []
        while True:
            step = plan(section, None, sequence, known)
            if step.waits:
                queued = [one for one in sequence if known[one].state == "queued"]
                chosen = ends.choice(queued)
                known[chosen] = values[chosen]
                continue
            steps.append((step.places, step.visible, step.rule))
            if step.rule:
                return steps
            sequence.append(str(len(sequence)))
            known[sequence[-1]] = QUEUED

    assert history(first) == history(second)


def test_the_digest_says_whether_there_is_something_new():
    section = screen()
    known = outcomes(1.0, "failed")
    digest = outcomes_digest(section, known)
    assert outcomes_digest(section, dict(reversed(known.items()))) == digest
    assert outcomes_digest(section, known | {"2": QUEUED}) == digest
    assert outcomes_digest(section, known | {"1": verified(2.0)}) != digest
    assert outcomes_digest(screen(stop={"budget": 101}), known) != digest
