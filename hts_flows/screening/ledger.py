"""Which candidates were asked for, observed, or failed; everything that is told is checked here."""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from hts_flows.errors import InputError
from hts_flows.screening.values import LARGEST, real

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: In the order of the codes that :meth:`Ledger.codes` gives.
STATUSES = ("not asked", "pending", "observed", "failed")


@dataclass
class Ledger:
    """What is known of each candidate.

    Attributes
    ----------
    n_candidates
        Candidates are numbered from 0 to n_candidates − 1.
    results
        Observed values.
    failed, pending
        Candidates that failed, or were asked for and not heard of.
    """

    n_candidates: int
    results: dict[int, float] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)

    def check_ids(self, ids: Iterable[SupportsIndex], what: str) -> list[int]:
        """Candidates as integers.

        Parameters
        ----------
        ids
            Candidates.
        what
            Name of the argument, for messages.

        Raises
        ------
        InputError
            Where one is no integer, out of range, or there twice.
        """
        try:
            given = list(ids)
        except TypeError:
            hint = "give a list, of a single candidate too: [0]"
            raise InputError(f"{what}: {ids!r} is no list of candidates", hint) from None
        checked: list[int] = []
        for one in given:
            try:
                number = operator.index(one)
            except TypeError:
                raise InputError(
                    f"{what}: {one!r} is no candidate", "candidates are integers, as ask() gives them"
                ) from None
            if isinstance(one, bool | np.bool_) or not 0 <= number < self.n_candidates:
                message = f"{what}: there is no candidate {one!r}"
                raise InputError(message, f"allowed: 0 to {self.n_candidates - 1}")
            checked.append(number)
        twice = [one for one, number in Counter(checked).items() if number > 1]
        if twice:
            raise InputError(f"{what}: candidate {min(twice)} is there twice", "name each candidate once in a call")
        return checked

    def tell(
        self, ids: Sequence[SupportsIndex], values: ArrayLike, failed: Iterable[SupportsIndex], *, positive: bool
    ) -> bool:
        """Take results in; all of them, or none if one is wrong.

        Parameters
        ----------
        ids, values
            Observed candidates and their values, shape (len(ids),).
        failed
            Candidates whose evaluation failed.
        positive
            Whether values need a logarithm.

        Returns
        -------
        Whether anything is new.
        """
        observed, lost = self.check_ids(ids, "ids"), self.check_ids(failed, "failed")
        both = sorted(set(observed) & set(lost))
        if both:
            raise InputError(f"candidate {both[0]} has a value and failed", "tell one of the two")
        numbers = real("values", values, "name what has no value in failed=")
        if numbers.shape != (len(observed),):
            message = f"values have the shape {numbers.shape}; {len(observed)} ids need ({len(observed)},)"
            raise InputError(message, "give one value for each id")
        bad = np.flatnonzero(~(np.abs(numbers) <= LARGEST))
        if bad.size:
            message = f"the value of candidate {observed[bad[0]]} is {numbers[bad[0]]}"
            hint = f"allowed: finite numbers up to {LARGEST:g}; name candidates without a value in failed="
            raise InputError(message, hint)
        if positive and (numbers <= 0).any():
            message = f"the value {numbers[numbers <= 0][0]} has no logarithm; transform='log' needs positive values"
            raise InputError(message, "name what failed in failed=, or use transform='auto'")
        before = (dict(self.results), set(self.failed))
        for one, value in zip(observed, numbers, strict=True):
            self.results[one] = float(value)
        # A value counts more than a failure that was told before it, and less than one after it.
        self.failed.difference_update(observed)
        self.failed.update(lost)
        for one in lost:
            self.results.pop(one, None)
        self.pending.difference_update(observed, lost)
        return before != (self.results, self.failed)

    def taken(self) -> NDArray[np.int_]:
        """Candidates that are not to be asked for, in ascending order."""
        return np.array(sorted({*self.results, *self.failed, *self.pending}), dtype=int)

    def codes(self, start: int, stop: int) -> NDArray[np.int8]:
        """Positions in :data:`STATUSES` of a range of candidates, shape (stop − start,).

        Parameters
        ----------
        start, stop
            Range.
        """
        result = np.zeros(stop - start, dtype=np.int8)
        for code, ids in ((1, self.pending), (2, self.results), (3, self.failed)):
            numbers = np.fromiter(ids, dtype=int, count=len(ids))
            result[numbers[(numbers >= start) & (numbers < stop)] - start] = code
        return result

    def digest(self) -> str:
        """SHA-256 of the observed candidates, their values, and the failed ones."""
        lines = [f"{one} {self.results[one]!r}" for one in sorted(self.results)]
        lines += [f"{one} failed" for one in sorted(self.failed)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible copy."""
        return {
            "values": [[one, self.results[one]] for one in sorted(self.results)],
            "failed": sorted(self.failed),
            "pending": sorted(self.pending),
        }
