"""Formulas as arrays, and the descriptors that say which elements are in a compound and how much of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.descriptors.entries import Entry

    Floats = NDArray[np.float64]


@lru_cache(maxsize=1)
def atomic_numbers() -> dict[str, int]:
    """Atomic number of each element by its symbol; deuterium and tritium are hydrogen."""
    from pymatgen.core import Element

    return {symbol: Element(symbol).Z for symbol in Element.__members__}


@lru_cache(maxsize=1)
def symbols() -> list[str]:
    """Symbol of each element by its atomic number; the first, for 0, is empty."""
    from pymatgen.core import Element

    return ["", *(Element.from_Z(number).symbol for number in range(1, 119))]


@dataclass(frozen=True)
class Compositions:
    """Compositions of some entries.

    Attributes
    ----------
    entries
        The entries.
    numbers
        Atomic numbers of the elements of each, ascending, then zeros, shape (n_entries, most elements).
    fractions
        Their atomic fractions, then zeros, same shape.
    """

    entries: Sequence[Entry]
    numbers: NDArray[np.int64]
    fractions: Floats

    @cached_property
    def present(self) -> list[int]:
        """Atomic numbers of all elements that occur, ascending."""
        return [int(number) for number in np.unique(self.numbers) if number]

    def columns(self, elements: Sequence[str] | None) -> list[int]:
        """Atomic numbers of the elements that get a column each, ascending.

        Parameters
        ----------
        elements
            Their symbols; None for those that occur.

        Raises
        ------
        InputError
            An unknown symbol, or an element that occurs but is not among them.
        """
        if elements is None:
            return self.present
        known = atomic_numbers()
        for symbol in elements:
            if symbol not in known:
                raise InputError(f"elements: unknown element {symbol!r}", nearest(symbol, known))
        chosen = sorted({known[symbol] for symbol in elements})
        outside = sorted(set(self.present) - set(chosen))
        if outside:
            affected = np.flatnonzero(np.isin(self.numbers, outside).any(axis=1))
            raise InputError(
                f"{len(affected)} of {len(self.entries)} entries have elements that are not among 'elements', e.g. "
                f"{self.entries[affected[0]].label}: {', '.join(symbols()[number] for number in outside)}",
                "add these elements, or leave out 'elements': then every element that occurs has its column",
            )
        return chosen

    def amounts(self, columns: Sequence[int]) -> Floats:
        """Atomic fractions, a column for each element.

        Parameters
        ----------
        columns
            Atomic numbers, as :meth:`columns` gives them.

        Returns
        -------
        Floats
            Shape (n_entries, len(columns)).
        """
        result = np.zeros((len(self.numbers), 119))
        rows = np.arange(len(self.numbers))
        for slot in range(self.numbers.shape[1]):
            # Padding falls into column 0, which belongs to no element.
            result[rows, self.numbers[:, slot]] = self.fractions[:, slot]
        return result[:, columns]


def read_compositions(entries: Sequence[Entry]) -> Compositions:
    """Read the formulas of entries.

    Parameters
    ----------
    entries
        At least one.

    Raises
    ------
    InputError
        A formula that cannot be read, or an unknown element in it: it says which, and how many there are.
    """
    from pymatgen.core import Composition

    known = atomic_numbers()
    rows: list[dict[int, float]] = []
    problems: list[str] = []
    for entry in entries:
        row: dict[int, float] = {}
        try:
            for symbol, amount in Composition(entry.formula).get_el_amt_dict().items():
                if symbol not in known:
                    raise ValueError(f"unknown element {symbol!r}; {nearest(symbol, known)}")  # noqa: TRY301
                row[known[symbol]] = row.get(known[symbol], 0.0) + amount
            if not np.isfinite(sum(row.values())) or sum(row.values()) <= 0:
                raise ValueError("no atoms")  # noqa: TRY301
        except ValueError as error:
            problems.append(f"{entry.label!r}, formula {entry.formula!r}: {error}")
        rows.append(row)
    if problems:
        raise InputError(
            f"{len(problems)} of {len(entries)} formulas cannot be read, e.g. {problems[0]}",
            "write formulas with element symbols and numbers, e.g. CaF2 or Ca(OH)2, or leave out these entries",
        )
    width = max(len(row) for row in rows)
    numbers = np.zeros((len(rows), width), dtype=np.int64)
    fractions = np.zeros((len(rows), width))
    for index, row in enumerate(rows):
        # In one order, whatever the formula's is: sums of floats depend on it.
        present = sorted(row)
        numbers[index, : len(present)] = present
        fractions[index, : len(present)] = [row[number] for number in present]
    return Compositions(entries, numbers, fractions / _totals(fractions)[:, None])


def _totals(amounts: Floats) -> Floats:
    """Sum of each row, slot by slot: the same to the last bit, however wide the array is."""
    total = np.zeros(len(amounts))
    for slot in range(amounts.shape[1]):
        total += amounts[:, slot]
    return total
