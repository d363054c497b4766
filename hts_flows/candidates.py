"""What can be computed: a candidate, whose id is a hash of everything that determines its structure."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pandas as pd

    from hts_flows.engines import Engine
    from hts_flows.inventories import Inventories

#: Decimals kept of every float that enters a hash: finer than any structure is known.
HASH_DECIMALS = 6


def canonical(value: Any) -> Any:
    """Bring JSON-like data into the one form that is hashed (floats rounded, keys as text)."""
    if isinstance(value, float):
        rounded = round(value, HASH_DECIMALS)
        return int(rounded) if rounded == int(rounded) else rounded
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return value


def stable_hash(value: Any, length: int = 12) -> str:
    """Hash JSON-like data to hexadecimal text that is the same on every machine and run.

    Parameters
    ----------
    value
        Data of dict, list, str, int, float, bool and None.
    length
        How many hexadecimal digits to keep.
    """
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


class Candidate(BaseModel):
    """One thing to compute, described by the inputs from which its structure is built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str = Field(description="Which family of structures it belongs to, e.g. intercalation")
    inputs: dict[str, Any] = Field(
        description="Everything that determines the structure, as JSON data; the id is its hash"
    )
    label: str = Field(description="Name for people, e.g. 'graphite LiC6 stage 1'")
    formula: str = Field(description="Reduced formula of the starting structure")
    data: dict[str, Any] = Field(
        default_factory=dict, description="What is known of it beforehand, e.g. a band gap; not part of the id"
    )

    @cached_property
    def candidate_id(self) -> str:
        """Deterministic id: the same inputs give the same id on every machine."""
        return f"{self.domain}-{stable_hash(self.inputs)}"


class CandidateSpace(BaseModel, ABC):
    """The ``candidates:`` section of a campaign: which candidates a domain is to generate."""

    model_config = ConfigDict(extra="forbid")

    @abstractmethod
    def candidates(self, inventories: Inventories) -> Iterator[Candidate]:
        """Yield every candidate once, always in the same order, without computing anything heavy."""

    def skipped(self, inventories: Inventories) -> list[tuple[str, str]]:  # noqa: ARG002 (for the subclasses)
        """List the combinations that make no candidate: name and reason."""
        return []

    def refuses(self, engine: Engine) -> str | None:
        """Say why an engine cannot compute the candidates and what to do, in a sentence; None where it can.

        Parameters
        ----------
        engine
            The engine of a row of the campaign that computes the candidates as they are built.
        """
        del engine
        return None

    def placed(self, folder: Path) -> Self:
        """Give the same with relative paths taken from a folder, that of the campaign file."""
        del folder
        return self

    def frozen(self, store: Callable[[pd.DataFrame], str], before: CandidateSpace | None) -> Self:
        """Give the same with what is read from elsewhere put into the store, so that it stays what it is now.

        Parameters
        ----------
        store
            Stores a table and gives its SHA-256.
        before
            The section as the campaign was stored with before, frozen; None the first time.
        """
        del store, before
        return self

    def tables(self) -> list[str]:
        """SHA-256 of each table in the store that :meth:`candidates` reads."""
        return []
