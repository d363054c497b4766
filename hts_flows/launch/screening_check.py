"""What a ``screen:`` section means for the candidates there are, found out before anything is stored or computed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hts_flows.errors import InputError
from hts_flows.launch.outcomes import OutcomeReader
from hts_flows.launch.screening_pool import (
    NO_STRUCTURE,
    FilterReader,
    Member,
    members_of_first_row,
    nothing_left,
    training_set,
)

if TYPE_CHECKING:
    from hts_flows.campaign import Campaign
    from hts_flows.ladder import Level
    from hts_flows.screen import Screen

#: Candidates whose descriptors are computed to see whether they can be.
_SAMPLE = 20


@dataclass(frozen=True)
class ScreenCheck:
    """What a section asks for.

    Attributes
    ----------
    screen
        The section.
    training
        How many candidates are computed first.
    candidates
        How many the search may choose among, beside these; on higher rows at most.
    left_out
        How many filters leave out, by reason; on higher rows empty, as it depends on what the row below gives.
    """

    screen: Screen
    training: int
    candidates: int
    left_out: dict[str, int]

    @property
    def jobs(self) -> int | None:
        """Most evaluations; None where no budget is set."""
        budget = self.screen.stop.budget
        return None if budget is None else self.training + min(budget, self.candidates)

    def summary(self) -> dict[str, Any]:
        """The same for people and programs."""
        stop = self.screen.stop
        rules = {
            f"{stop.budget} were asked for": stop.budget,
            f"{stop.patience} bring no gain": stop.patience,
            f"the largest Z is below {stop.z_below}": stop.z_below,
        }
        return {
            "by": self.screen.by,
            "training": self.training,
            "candidates": self.candidates,
            "left_out": self.left_out,
            "batch": self.screen.batch,
            "until": " or ".join(text for text, value in rules.items() if value is not None),
        }


def check_screens(campaign: Campaign) -> dict[int, ScreenCheck]:
    """Check every ``screen:`` section of a campaign against its candidates.

    Returns
    -------
    dict
        By number of the row.

    Raises
    ------
    InputError
        A name that candidates do not have, a descriptor that cannot be computed, or filters that leave nothing.
    """
    rows = [level for level in campaign.ladder() if level.screen]
    if not rows:
        return {}
    members = members_of_first_row(campaign)
    checks = {}
    for level in rows:
        try:
            checks[level.number] = _check(campaign, level, members)
        except InputError as error:
            raise InputError(f"calculate[{level.number + 1}]: {error.message}", error.hint) from error
    return checks


def _check(campaign: Campaign, level: Level, members: list[Member]) -> ScreenCheck:
    from hts_flows.descriptors import describe_entries

    screen = OutcomeReader(level).screen
    trained = training_set(members, screen.train_on)
    if level.number:
        # What the row below will give is not known yet; names of its properties are.
        document = campaign.domain.properties
        FilterReader(screen.filters, members, trained, also=set(document.model_fields) if document else set())
        return ScreenCheck(screen, len(trained), len(members) - len(trained), {})
    first = {member.candidate.candidate_id for member in trained}
    others = [member for member in members if member.candidate.candidate_id not in first]
    reader = FilterReader(screen.filters, members, trained)
    reasons = [
        reader.reason(member) or (None if campaign.domain.computable(member.candidate) else NO_STRUCTURE)
        for member in others
    ]
    left_out = Counter(reason for reason in reasons if reason)
    open_ones = [member for member, reason in zip(others, reasons, strict=True) if not reason]
    ranked = [member for member, reason in zip(others, reasons, strict=True) if not reason or reason == NO_STRUCTURE]
    if not trained and not open_ones:
        raise nothing_left(len(members), left_out)
    describe_entries([member.entry() for member in [*trained[:_SAMPLE], *ranked[:_SAMPLE]]], screen.descriptors)
    return ScreenCheck(screen, len(trained), len(open_ones), dict(left_out.most_common()))
