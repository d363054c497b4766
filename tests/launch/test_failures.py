from __future__ import annotations

import traceback

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from hts_flows.engines.base import SCFNotConvergedError, UnphysicalResultError
from hts_flows.launch.failures import REMEDIES, FailureCause, diagnose_traceback


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
