from __future__ import annotations

import traceback

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from hts_flows.engines.base import SCFNotConvergedError, UnphysicalResultError
from hts_flows.launch.failures import CUT_OFF, REMEDIES, FailureCause, diagnose_traceback, failure, proposed_change
from hts_flows.stores.results import Failure, JobUsage, Result


def traceback_of(error):
    try:
        raise error
    except Exception:  # noqa: BLE001 (any error is given)
        return traceback.format_exc()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (SCFNotConvergedError("333 iterations"), FailureCause.SCF_NOT_CONVERGED),
        (UnphysicalResultError("cell blew up"), FailureCause.UNPHYSICAL_RESULT),
        (MemoryError("no room"), FailureCause.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FailureCause.OUT_OF_MEMORY),
        (ModuleNotFoundError("No module named 'gpaw'"), FailureCause.MISSING_EXECUTABLE),
        (ModuleNotFoundError("No module named 'hts_flows'"), FailureCause.ENVIRONMENT),
        (ModuleNotFoundError("No module named 'hts_flows_extras'"), FailureCause.MISSING_EXECUTABLE),
        (RuntimeError("ERROR: Unable to locate a modulefile for 'vasp/6'"), FailureCause.ENVIRONMENT),
        (ServerSelectionTimeoutError("no servers"), FailureCause.STORE_UNAVAILABLE),
        (ValueError("unknown model\nallowed: this, that"), FailureCause.BAD_INPUT),
        (RuntimeError("something else"), FailureCause.UNKNOWN),
    ],
)
def test_cause_and_message_are_read_from_real_tracebacks(error, cause):
    found = diagnose_traceback(traceback_of(error))
    assert found.cause == cause.value
    assert str(error).splitlines()[0] in found.message
    assert type(error).__name__ in found.message
    assert found.remedy == REMEDIES[cause].text
    assert "Traceback" in found.evidence


def test_of_chained_errors_the_last_one_tells():
    try:
        try:
            raise ValueError("inner")
        except ValueError as inner:
            raise MemoryError("outer: 12 GB") from inner
    except MemoryError:
        found = diagnose_traceback(traceback.format_exc())
    assert (found.cause, found.message) == ("out_of_memory", "MemoryError: outer: 12 GB")


def test_an_empty_traceback_is_unknown_and_says_so():
    assert diagnose_traceback("").message == "no traceback was kept"


def test_every_cause_has_a_remedy():
    assert set(REMEDIES) == set(FailureCause)


def test_what_is_proposed_fits_the_engine_and_where_it_ran():
    def change(cause, engine, job=None):
        return proposed_change(failure(cause, "", job=job), engine)

    slurm = JobUsage(job_id="17")
    assert change(FailureCause.WALLTIME, "gpaw", slurm) == "--walltime x2"
    assert change(FailureCause.OUT_OF_MEMORY, "gpaw", slurm) == "--memory x2"
    assert change(FailureCause.OUT_OF_MEMORY, "gpaw") == ""
    assert change(FailureCause.SCF_NOT_CONVERGED, "gpaw") == "--set scf_steps=400"
    assert change(FailureCause.SCF_NOT_CONVERGED, "vasp") == ""
    assert change(FailureCause.IONIC_NOT_CONVERGED, "sevennet") == "--set steps=1000"
    assert {change(cause, "gpaw", slurm) for cause in FailureCause if REMEDIES[cause].retryable} == {""}


def test_options_that_are_proposed_are_options_of_the_command():
    import shlex

    from typer.main import get_command

    from hts_flows.cli.main import app

    options = {name for item in get_command(app).commands["resubmit"].params for name in item.opts}
    proposed = [shlex.split(remedy.change) for remedy in REMEDIES.values() if remedy.change]
    assert len(proposed) == 5
    assert {words[0] for words in proposed} <= options


def test_what_never_ran_is_not_continued():
    assert CUT_OFF.isdisjoint({FailureCause.REJECTED, FailureCause.FAILED_TO_START, FailureCause.ENVIRONMENT})


def test_documents_of_earlier_versions_are_read():
    old = {"cause": "walltime", "message": "m", "evidence": "", "remedy": "r", "retryable": False}
    assert Failure.model_validate(old).job is None
    attempt = {"state": "failed", "failure": old, "job_uuids": [], "fw_ids": [1], "folder": None, "finished_at": None}
    data = {"candidate_id": "c", "candidate": {"domain": "bulk", "inputs": {}, "label": "l", "formula": "X"}}
    data |= {"label": "l", "formula": "X", "engine": "gpaw", "settings": {}, "settings_hash": "h"}
    result = Result.model_validate(data | {"attempts": [attempt | {"settings": {}}]})
    assert result.resources == {}
    assert result.attempts[0].resources is None
    assert result.attempts[0].continued_from is None
