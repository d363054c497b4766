"""Selection: which failed results a person means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

from hts_flows.errors import InputError, nearest
from hts_flows.stores.results import Result, State

#: Candidate id and settings hash, see :func:`hts_flows.stores.results.result_key`.
_KEY = re.compile(r"^[^\s:]+:[0-9a-f]{6,64}$")

if TYPE_CHECKING:
    from hts_flows.stores.database import Database


def check_state(state: str) -> None:
    """Refuse every state but "failed", saying why.

    Raises
    ------
    InputError
        For every other state.
    """
    reasons = {
        "done": "a finished result is not recomputed; to compute it otherwise change the campaign file",
        "queued": "what is queued runs anyway; wait until it has ended",
    }
    if state in reasons:
        raise InputError(f"--state {state}: {reasons[state]}", "leave --state out: failed results are resubmitted")
    if state != "failed":
        raise InputError(f"--state {state!r}: no such state; {nearest(state, get_args(State))}")


def error_pattern(error: str | None) -> re.Pattern[str] | None:
    """Compile what is looked for in messages.

    Raises
    ------
    InputError
        It is no regular expression.
    """
    try:
        return None if error is None else re.compile(error)
    except re.error as problem:
        raise InputError(
            f"--error {error!r}: no regular expression: {problem}",
            "put a \\ before each of ( ) [ ] * + ? . meant as text",
        ) from problem


def says(result: Result, pattern: re.Pattern[str]) -> bool:
    """Tell whether a failure's message or evidence holds a match."""
    found = result.failure
    return found is not None and bool(pattern.search(found.message) or pattern.search(found.evidence))


def is_key(text: str) -> bool:
    """Tell whether a text is the key of a result, which no candidate id and no label looks like."""
    return bool(_KEY.match(text))


def identified(database: Database, failed: list[Result], ids: list[str], names: list[str]) -> set[str] | None:
    """Find the candidate ids that are meant by ids, unique beginnings of ids, and labels; None when there are none.

    Parameters
    ----------
    database
        Tells what became of those that have not failed.
    failed
        Results to choose from.
    ids
        What a person wrote.
    names
        Campaigns that were looked at, for messages.

    Raises
    ------
    InputError
        None or several are meant, or one that has not failed.
    """
    if not ids:
        return None
    known = {result.candidate_id for result in failed}
    labels = {result.label: result.candidate_id for result in failed}
    found = set()
    for text in ids:
        near = sorted(known & {text}) or sorted({item.candidate_id for item in failed if item.label == text})
        near = near or sorted(candidate_id for candidate_id in known if text and candidate_id.startswith(text))
        if len(near) > 1:
            raise InputError(f"--id {text!r} may be any of {len(near)}: {', '.join(near[:5])}", "give more of the id")
        if not near:
            raise _no_such(database, text, names, {*known, *labels})
        found.add(near[0])
    return found


def _no_such(database: Database, text: str, names: list[str], known: set[str]) -> InputError:
    where = {"campaigns": {"$in": names}} if names else {}
    other = database.results.find_one({**where, "$or": [{"candidate_id": text}, {"label": text}]}, {"state": 1})
    of = f" of {', '.join(map(repr, names))}" if names else ""
    if other:
        reason = "finished, and is not recomputed" if other["state"] == "done" else "queued, and runs anyway"
        return InputError(f"--id {text!r} is no failed candidate{of}: it is {reason}")
    return InputError(
        f"--id {text!r} is no failed candidate{of}; {nearest(text, known)}",
        f"'{' '.join(['hts failures', *names])}' lists them",
    )
