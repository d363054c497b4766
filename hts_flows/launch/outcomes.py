"""What came out of the candidates that a search asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hts_flows.conditions import Condition, read_condition
from hts_flows.stores.results import UNDERIVED, result_key

if TYPE_CHECKING:
    from hts_flows.ladder import Level
    from hts_flows.screen import Screen
    from hts_flows.stores.database import Database

_CHUNK = 1000


@dataclass(frozen=True)
class Outcome:
    """State of one candidate on the row.

    Attributes
    ----------
    state
        "queued", "verified" (there is a value) or "failed" (there is none, for whatever reason).
    value
        The property; None unless verified.
    cause
        Why there is none.
    """

    state: Literal["queued", "verified", "failed"]
    value: float | None = None
    cause: str | None = None


class OutcomeReader:
    """Reads outcomes from results.

    Parameters
    ----------
    level
        The row; it must screen.
    """

    #: What is read of a result.
    FIELDS: Mapping[str, int] = {
        "candidate_id": 1,
        "state": 1,
        "properties": 1,
        "failure.cause": 1,
        UNDERIVED: 1,
    }

    def __init__(self, level: Level) -> None:
        if level.screen is None:
            raise ValueError(f"row {level.number} has no screen section")
        self.level = level
        self.screen: Screen = level.screen

    def outcome(self, document: Mapping[str, Any]) -> Outcome:
        """Read one result, as the stored document."""
        if document["state"] == "queued" or UNDERIVED in document:
            return Outcome("queued")
        if document["state"] == "failed":
            return Outcome("failed", cause=(document.get("failure") or {}).get("cause"))
        properties = document.get("properties")
        if properties is None:  # it waits for its references
            return Outcome("queued")
        for condition in self._required(properties):
            if not condition.holds(properties):
                return Outcome("failed", cause=f"{condition.name} is {_shown(properties.get(condition.name))}")
        value = properties.get(self.screen.by)
        if value is None:
            return Outcome("failed", cause=f"no {self.screen.by}")
        return Outcome("verified", float(value))

    def of(self, database: Database, candidate_ids: Iterable[str]) -> dict[str, Outcome]:
        """Read the outcomes of some candidates; those without a result are left out."""
        ids = list(candidate_ids)
        found: dict[str, Outcome] = {}
        for start in range(0, len(ids), _CHUNK):
            keys = [result_key(one, self.level.settings_hash) for one in ids[start : start + _CHUNK]]
            for document in database.results.find({"_id": {"$in": keys}}, dict(self.FIELDS)):
                found[document["candidate_id"]] = self.outcome(document)
        return found

    def in_store(self, database: Database) -> dict[str, Outcome]:
        """Read every settled outcome with the settings of the row, of whatever campaign."""
        query = {"settings_hash": self.level.settings_hash, "state": {"$in": ["done", "failed"]}, "role": "candidate"}
        found = {
            document["candidate_id"]: self.outcome(document)
            for document in database.results.find(query, dict(self.FIELDS))
        }
        return {one: outcome for one, outcome in found.items() if outcome.state != "queued"}

    def _required(self, properties: Mapping[str, Any]) -> Iterator[Condition]:
        return (read_condition(text, properties) for text in self.screen.require)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value) if isinstance(value, bool | None) else str(value)


def outcomes_digest(screen: Screen, outcomes: Mapping[str, Outcome]) -> str:
    """SHA-256 of the settled outcomes, and of the rules by which they are used."""
    lines = [json.dumps(screen.stored(), sort_keys=True)]
    lines += [
        f"{one} {outcomes[one].state} {outcomes[one].value!r}"
        for one in sorted(outcomes)
        if outcomes[one].state != "queued"
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
