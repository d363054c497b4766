"""The candidates that a ``screen:`` row chooses among: what is known of them, which may be computed, descriptors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

from hts_flows.conditions import Condition, read_condition
from hts_flows.errors import InputError, nearest
from hts_flows.flows import get_domain

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from hts_flows.campaign import Campaign
    from hts_flows.candidates import Candidate
    from hts_flows.descriptors import DescriptorTable, Entry
    from hts_flows.screen import Filters, Screen
    from hts_flows.stores.results import Result

#: Why a candidate is ranked, but never computed.
NO_STRUCTURE = "no structure: ranked, not computed"


@dataclass(frozen=True)
class Member:
    """A candidate with what is known of it before it is computed on the row.

    Attributes
    ----------
    candidate
        The candidate.
    data
        What it is told apart by, and its properties of the row below.
    start
        Structure that the row below relaxed, as pymatgen's dict; None on the first row.
    """

    candidate: Candidate
    data: Mapping[str, Any]
    start: dict[str, Any] | None = None

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols of its elements."""
        return elements_of(self.candidate.formula)

    def entry(self) -> Entry:
        """What descriptors are computed from."""
        from hts_flows.descriptors import Entry

        numbers = {
            name: float(value)
            for name, value in self.data.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        candidate = self.candidate
        domain = get_domain(candidate.domain)
        if self.start is not None:
            return Entry(candidate.formula, self.start, numbers, candidate.label)
        build = partial(domain.build, candidate) if domain.computable(candidate) else None
        return Entry(candidate.formula, build, numbers, candidate.label, candidate.candidate_id)


@lru_cache(maxsize=100_000)
def elements_of(formula: str) -> frozenset[str]:
    """Symbols of the elements of a formula."""
    from pymatgen.core import Composition

    return frozenset(element.symbol for element in Composition(formula).elements)


@lru_cache(maxsize=100_000)
def is_charge_balanced(formula: str) -> bool:
    """Tell whether oxidation states that its elements commonly have add up to zero; a single element is neutral."""
    from pymatgen.core import Composition

    composition = Composition(formula)
    return len(composition) == 1 or bool(composition.oxi_state_guesses())


def members_of_first_row(campaign: Campaign) -> list[Member]:
    """List every candidate of a campaign whose first row screens, in the order of the file."""
    domain = campaign.domain
    return [Member(candidate, domain.facets(candidate)) for candidate in _candidates(_source(campaign))]


def members_above(results: Iterable[Result]) -> list[Member]:
    """List the candidates that the row below has computed, in the order of their ids.

    Parameters
    ----------
    results
        Their results on the row below, done.
    """
    members = [
        Member(
            result.candidate,
            result.facets | (result.properties or {}),
            (result.calculation or {}).get("structure"),
        )
        for result in results
    ]
    return sorted(members, key=lambda member: member.candidate.candidate_id)


@dataclass(frozen=True)
class _Source:
    """What determines the candidates of a campaign; equal ones have equal candidates."""

    text: str
    campaign: Campaign

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Source) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


def _source(campaign: Campaign) -> _Source:
    content = campaign.content()
    return _Source(json.dumps([content["candidates"], str(campaign.inventory.folder)], sort_keys=True), campaign)


@lru_cache(maxsize=2)
def _candidates(source: _Source) -> list[Candidate]:
    """Kept for the next proposal of the same process: reading a large pool takes seconds."""
    return source.campaign.all_candidates()


def training_set(members: Collection[Member], train_on: Mapping[str, Collection[Any]]) -> list[Member]:
    """Choose the candidates that are computed first.

    Parameters
    ----------
    members
        All candidates.
    train_on
        Allowed values by what candidates are told apart by; all conditions hold.

    Raises
    ------
    InputError
        An unknown name, or no candidate fits.
    """
    if not train_on:
        return []
    chosen = list(members)
    for name, allowed in train_on.items():
        # Numbers in quotes are numbers.
        known = {str(member.data[name]) for member in members if member.data.get(name) is not None}
        if not known:
            names = sorted({one for member in members for one in member.data})
            raise InputError(f"screen: train_on: candidates are not told apart by {name!r}; {nearest(name, names)}")
        for value in allowed:
            if str(value) not in known:
                raise InputError(
                    f"screen: train_on: no candidate has the {name} {value!r}; {nearest(str(value), sorted(known))}"
                )
        wanted = set(map(str, allowed))
        chosen = [member for member in chosen if str(member.data.get(name)) in wanted]
    if not chosen:
        raise InputError(f"screen: train_on: no candidate fits {dict(train_on)} in every point", "ask for less")
    return chosen


class FilterReader:
    """Says of each candidate why it may not be computed.

    Parameters
    ----------
    filters
        As in the campaign.
    members
        All candidates.
    trained
        Those that are computed first.
    also
        Further names that conditions may speak of.

    Raises
    ------
    InputError
        A filter needs a number that no candidate has.
    """

    def __init__(
        self,
        filters: Filters,
        members: Collection[Member],
        trained: Collection[Member],
        also: Collection[str] = (),
    ) -> None:
        self.filters = filters
        names = {name for member in members for name in member.data} | set(also)
        self.conditions = [(text, _read_filter(text, names)) for text in filters.where]
        if filters.band_gap and "band_gap" not in names:
            raise InputError(
                "screen: filters: band_gap: no candidate comes with a band gap",
                "give the pool a column band_gap (docs/pools.md), or leave the filter out",
            )
        self.only: frozenset[str] | None = None
        if filters.only_elements == "trained":
            if not trained:
                raise InputError(
                    "screen: filters: only_elements: trained needs train_on", "list the elements, or give train_on"
                )
            self.only = frozenset().union(*(member.elements for member in trained))
        elif filters.only_elements is not None:
            self.only = frozenset(filters.only_elements)

    def reason(self, member: Member) -> str | None:
        """Why a candidate is left out; None where it may be computed."""
        return next(self._reasons(member), None)

    def _reasons(self, member: Member) -> Iterator[str]:
        """Give all reasons, those that cost most to find last."""
        filters = self.filters
        yield from (f"has {element}" for element in filters.exclude_elements if element in member.elements)
        if self.only is not None and not member.elements <= self.only:
            yield "has other elements than those allowed"
        yield from (f"not: {text}" for text, condition in self.conditions if not condition.holds(member.data))
        if filters.band_gap:
            lowest, highest = filters.band_gap
            gap = member.data.get("band_gap")
            if gap is None:
                yield "band gap not known"
            elif not lowest <= gap <= highest:
                yield f"band gap outside {lowest:g} to {highest:g} eV"
        if filters.charge_balanced and not is_charge_balanced(member.candidate.formula):
            yield "not charge balanced"


def nothing_left(number: int, left_out: Counter[str]) -> InputError:
    """Say that filters leave none of so many candidates, and why."""
    reasons = "; ".join(f"{count} {reason}" for reason, count in left_out.most_common())
    return InputError(f"screen: filters leave none of the {number} candidates: {reasons}", "ask for less in 'filters:'")


def _read_filter(text: str, names: Collection[str]) -> Condition:
    try:
        return read_condition(text, names)
    except InputError as error:
        raise InputError(f"screen: filters: where: {error.message}", error.hint) from error


@dataclass(frozen=True)
class ScreeningPool:
    """Candidates that are ranked, with their descriptors.

    Attributes
    ----------
    members
        Those that pass the filters, and those that are known already.
    closed
        Numbers of those that may not be asked for.
    left_out
        How many were left out or may not be asked for, by reason.
    table
        Descriptors; see :func:`hts_flows.descriptors.describe_entries`.
    descriptors
        As the campaign names them.
    """

    members: list[Member]
    closed: list[int]
    left_out: dict[str, int]
    table: DescriptorTable
    descriptors: list[str]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each candidate, by its id."""
        return {member.candidate.candidate_id: number for number, member in enumerate(self.members)}

    def plain_descriptors(self) -> dict[str, NDArray[np.float64]]:
        """Descriptors that are one number of the compound each, by name: a figure can be drawn against them."""
        names = self.table.names
        return {name: self.table.values[:, names.index(name)] for name in self.descriptors if name in names}


def screening_pool(
    members: list[Member], screen: Screen, trained: Collection[Member], known: Collection[str], cache: Path | None
) -> ScreeningPool:
    """Apply the filters and compute the descriptors.

    Parameters
    ----------
    members
        All candidates.
    screen
        The section of the campaign.
    trained
        Candidates that are computed first.
    known
        candidate_id of those asked for already: they stay, whatever the filters say.
    cache
        Folder in which descriptors are kept.
    """
    from hts_flows.descriptors import describe_entries

    reader = FilterReader(screen.filters, members, trained)
    first = {member.candidate.candidate_id for member in trained}
    left_out: Counter[str] = Counter()
    kept: list[Member] = []
    closed: list[int] = []
    for member in members:
        candidate = member.candidate
        reason = None if candidate.candidate_id in first else reader.reason(member)
        if reason is not None:
            left_out[reason] += 1
            if candidate.candidate_id not in known:
                continue
            closed.append(len(kept))
        elif member.start is None and not get_domain(candidate.domain).computable(candidate):
            left_out[NO_STRUCTURE] += 1
            closed.append(len(kept))
        kept.append(member)
    if not kept:
        raise nothing_left(len(members), left_out)
    table = describe_entries([member.entry() for member in kept], screen.descriptors, cache=cache)
    return ScreeningPool(kept, closed, dict(left_out.most_common()), table, screen.descriptors)
