"""Priorities: which queued calculations are taken first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hts_flows.errors import InputError, nearest
from hts_flows.launch.actions import close_audit, open_audit
from hts_flows.launch.queued import (
    ARRIVING,
    RECORDING,
    STARTED,
    UNTAKEN,
    Left,
    QueuedOutcome,
    QueuedPlan,
    QueuedResult,
    QueuedSelection,
    calculations,
    chunks,
    read_queued,
)
from hts_flows.launch.submission import PRIORITY

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: Between the lowest and the highest that can be asked for.
LOWEST, HIGHEST = -100, 100
#: References go before the candidates that need them by this much.
REFERENCE_FIRST = PRIORITY["reference"] - PRIORITY["candidate"]
#: Priorities with a name; with the high one, references still go before no recording.
LEVELS = {
    "high": PRIORITY["record"] - REFERENCE_FIRST - 1,
    "normal": PRIORITY["candidate"],
    "low": PRIORITY["candidate"] - 2 * REFERENCE_FIRST,
}


def read_priority(value: str | int) -> int:
    """Read a priority: high, normal, low, or a whole number.

    Parameters
    ----------
    value
        As a person wrote it.

    Raises
    ------
    InputError
        It is none, or too low or too high.
    """
    text = str(value).strip()
    if text in LEVELS:
        return LEVELS[text]
    try:
        number = int(text)
    except ValueError:
        raise InputError(
            f"priority {text!r}: neither a whole number nor a name; {nearest(text, LEVELS)}",
            f"{', '.join(f'{name} is {level}' for name, level in LEVELS.items())}; {LOWEST} to {HIGHEST} may be given",
        ) from None
    if not LOWEST <= number <= HIGHEST:
        raise InputError(
            f"priority {number}: from {LOWEST} to {HIGHEST} is allowed", "high, normal or low may be given"
        )
    return number


def plan_priority(database: Database, selection: QueuedSelection, priority: str | int) -> QueuedPlan:
    """Find whose priority would change. Changes nothing in the database.

    Parameters
    ----------
    database
        Where the results are.
    selection
        Which queued results.
    priority
        Of candidates: high, normal, low, or a whole number from -100 to 100. References have 5 more.

    Raises
    ------
    InputError
        An unknown campaign, engine or candidate, or no priority.
    """
    value = read_priority(priority)
    chosen, left = [], []
    shared = 0
    for result in read_queued(database, selection):
        if reason := _why_not(result):
            left.append(Left(result.key, result.label, reason))
        else:
            chosen.append(result)
            shared += _is_shared(result, selection)
    notes = [f"{shared} are wanted by other campaigns too: they are raised, but not lowered"] if shared else []
    if value + REFERENCE_FIRST > PRIORITY["record"]:
        notes.append("they go before recordings: what is computed meanwhile is recorded later")
    return QueuedPlan("priority", selection, chosen, left, value=value, notes=notes)


def _why_not(result: QueuedResult) -> str | None:
    if result.arriving:
        return ARRIVING
    if not result.jobs.isdisjoint(UNTAKEN):
        return None
    if "RESERVED" in result.jobs:
        return "it waits in the queue of a cluster"
    return "it runs" if not result.jobs.isdisjoint(STARTED) else RECORDING


def _is_shared(result: QueuedResult, selection: QueuedSelection) -> bool:
    return bool(selection.campaigns) and not set(selection.campaigns).issuperset(result.campaigns)


def prioritize(
    database: Database, plan: QueuedPlan, *, user: str, reason: str = "", token: str | None = None
) -> QueuedOutcome:
    """Give queued calculations another priority, where no worker has taken them.

    References that they need are raised with them. Recordings keep theirs. A calculation that is resubmitted later, and
    the next row of the ladder, are queued with the normal priority.

    Parameters
    ----------
    database
        Where the results are.
    plan
        Made by :func:`plan_priority`.
    user, reason
        Who wants it and why, for the audit.
    token
        Token of the plan that a person has agreed to, where the plan was made again since.

    Raises
    ------
    InputError
        The plan is not the one that was agreed to.
    """
    plan.check("priority", token)
    if not plan.results or plan.value is None:
        return QueuedOutcome("priority", None, left=plan.left)
    outcome = QueuedOutcome("priority", None)
    audit = open_audit(database, plan, user, reason)
    candidate, reference = plan.value, plan.value + REFERENCE_FIRST
    keys: dict[tuple[str, int], list[str]] = {}
    before: Counter[tuple[int, int]] = Counter()
    chosen = {result.key for result in plan.results}
    for result in plan.results:
        value = reference if result.role == "reference" else candidate
        # Others wait for it too: it may come sooner for them, but not later.
        operator = "$max" if _is_shared(result, plan.selection) else "$set"
        keys.setdefault((operator, value), []).append(result.key)
        before.update((old, max(old, value) if operator == "$max" else value) for old in result.priorities)
    needed = {key for result in plan.results for key in result.references}
    keys.setdefault(("$max", reference), []).extend(sorted(needed - chosen))
    for (operator, value), meant in keys.items():
        for chunk in chunks(meant):
            database.mongo["fireworks"].update_many(
                {**calculations(chunk), "state": {"$in": list(UNTAKEN)}}, {operator: {"spec._priority": value}}
            )
    outcome.keys = [result.key for result in plan.results]
    changes: list[dict[str, Any]] = [
        {"setting": "priority", "old": old, "new": new, "count": count} for (old, new), count in sorted(before.items())
    ]
    return close_audit(database, audit, plan, outcome, changes)
