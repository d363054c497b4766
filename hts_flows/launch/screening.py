"""The search on a ``screen:`` row: train, rank, ask, learn, until a rule ends it. Idempotent, like all of ``advance``.

A proposal is a document, a :class:`~hts_flows.stores.rankings.Ranking`: written first, once for each number; then what
it asks for is submitted. Whoever is killed in between is finished by the next caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hts_flows.candidates import stable_hash
from hts_flows.launch.outcomes import Outcome, OutcomeReader, outcomes_digest
from hts_flows.launch.proposing import Proposal, propose
from hts_flows.launch.screening_pool import (
    Member,
    members_above,
    members_of_first_row,
    screening_pool,
    training_set,
)
from hts_flows.launch.submission import Wanted, relaxed_structure, submit_level
from hts_flows.screening.stopping import RULES, evaluations_without_gain
from hts_flows.stores.campaigns import claim_step, now, step_submitted, steps_of
from hts_flows.stores.rankings import Choice, Ranking, add_ranking, keep_training, rankings_of
from hts_flows.stores.results import Result, result_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from hts_flows.campaign import Campaign
    from hts_flows.ladder import Level
    from hts_flows.screen import Screen
    from hts_flows.stores.database import Database

TRAINING = "training set"
IN_STORE = "its result was in the store already"
#: Of a candidate that was asked for and has no result: the campaign was changed before it could be submitted.
GONE = Outcome("failed", cause="no longer asked for")


@dataclass(frozen=True)
class Plan:
    """What is to be done next.

    Attributes
    ----------
    places
        How many candidates may be asked for.
    visible
        Candidates whose outcomes are learnt from, of those asked for, in order.
    rule
        Rule by which nothing more is asked for; None: the search goes on.
    waits
        Whether nothing can be done before another evaluation has ended.
    """

    places: int = 0
    visible: tuple[str, ...] = ()
    rule: str | None = None
    waits: bool = False


def plan(screen: Screen, best_before: float | None, sequence: Sequence[str], outcomes: dict[str, Outcome]) -> Plan:
    """Decide what to do next, from what was asked for and what came out.

    Parameters
    ----------
    screen
        The section of the campaign.
    best_before
        Best value of the training set.
    sequence
        Candidates that were asked for beside the training set, in order.
    outcomes
        Their outcomes.
    """
    settled = tuple(one for one in sequence if outcomes[one].state != "queued")
    if screen.order == "as_asked":
        # The next one is asked for when the one `batch` places before it is known, whatever else is known by then.
        visible = tuple(sequence[: max(0, len(sequence) - screen.batch + 1)])
        places = 1
    else:
        visible = settled
        places = screen.batch - (len(sequence) - len(settled))
    blocked = any(outcomes[one].state == "queued" for one in visible)
    rule = None
    if screen.stop.budget is not None:
        places = min(places, screen.stop.budget - len(sequence))
        rule = "budget" if len(sequence) >= screen.stop.budget else None
    if screen.stop.patience is not None and not blocked:
        values = [outcomes[one].value for one in visible]
        without = evaluations_without_gain(
            best_before, values, minimize=screen.minimize, minimal_gain=screen.stop.minimal_gain
        )
        rule = "patience" if without >= screen.stop.patience else rule
    if rule is not None:
        return Plan(visible=settled, rule=rule, waits=len(settled) < len(sequence))
    return Plan(places, visible, waits=blocked or places < 1)


@dataclass(frozen=True)
class Standing:
    """What a search knows before its next step.

    Attributes
    ----------
    rankings
        Those made so far.
    training
        Candidates of the training set, and those whose results were in the store.
    sequence
        Candidates that were asked for, in order.
    outcomes
        Of all these.
    """

    rankings: list[Ranking]
    training: list[str]
    sequence: list[str]
    outcomes: dict[str, Outcome]

    def best_trained(self, *, minimize: bool) -> float | None:
        """Best value of the training set; None where there is none."""
        values = [self.outcomes[one].value for one in self.training]
        known = [value for value in values if value is not None]
        return (min(known) if minimize else max(known)) if known else None


class Search:
    """The search of one row of a campaign, as it is stored.

    Parameters
    ----------
    database
        Where the campaign is.
    campaign
        The campaign.
    level
        The row; it must screen.
    below
        Gives the results of the row below that take part, done; None on the first row.
    """

    def __init__(
        self, database: Database, campaign: Campaign, level: Level, below: Callable[[], Iterable[Result]] | None
    ) -> None:
        self.database = database
        self.campaign = campaign
        self.level = level
        self.reader = OutcomeReader(level)
        self.screen = self.reader.screen
        self._below = below
        self._members: list[Member] | None = None
        self.submitted = 0

    @property
    def members(self) -> list[Member]:
        """All candidates, read when first needed."""
        if self._members is None:
            self._members = members_of_first_row(self.campaign) if self._below is None else members_above(self._below())
        return self._members

    def candidate_ids(self) -> list[str]:
        """Ids of all candidates and of their references."""
        domain, inventory = self.campaign.domain, self.campaign.inventory
        candidates = [member.candidate for member in self.members]
        references = [one for candidate in candidates for one in domain.references(candidate, inventory).values()]
        return sorted({one.candidate_id for one in (*candidates, *references)})

    def advance(self) -> bool:
        """Do everything that can be done now.

        Returns
        -------
        bool
            Whether the search has ended. False also where evaluations must end first, or another caller is at it.
        """
        while True:
            rankings = rankings_of(self.database, self.campaign.name, self.level.settings_hash, provenance=False)
            if not self._all_submitted(rankings):
                return False
            if self._untrained(rankings):
                if not self._start_training(rankings):
                    return False
                continue
            standing = self._standing(rankings)
            if any(standing.outcomes[one].state == "queued" for one in standing.training):
                return False
            ended = self._next(standing)
            if ended is not None:
                return ended

    def _standing(self, rankings: list[Ranking]) -> Standing:
        training = [choice.candidate_id for ranking in rankings if ranking.trains for choice in ranking.asked]
        training += [choice.candidate_id for ranking in rankings for choice in ranking.shared]
        sequence = [choice.candidate_id for ranking in rankings if not ranking.trains for choice in ranking.asked]
        outcomes = dict.fromkeys([*training, *sequence], GONE) | self.reader.of(self.database, [*training, *sequence])
        return Standing(rankings, training, sequence, outcomes)

    def _next(self, standing: Standing) -> bool | None:
        """Take the next step; None where another may follow at once."""
        best = standing.best_trained(minimize=self.screen.minimize)
        step = plan(self.screen, best, standing.sequence, standing.outcomes)
        learnt = {one: standing.outcomes[one] for one in (*standing.training, *step.visible)}
        digest = outcomes_digest(self.screen, learnt)
        last = standing.rankings[-1] if standing.rankings else None
        nothing_new = last is not None and last.outcomes == digest and not last.asked
        if nothing_new and last is not None and last.stopped:
            return True
        if step.waits or nothing_new:
            return False
        return None if self._propose(standing, step, learnt) else False

    def _all_submitted(self, rankings: list[Ranking]) -> bool:
        """Submit what rankings asked for and nobody submitted; False while another caller is at it."""
        steps = steps_of(self.database, self.campaign.name)
        for ranking in rankings:
            step = self._step(ranking.number)
            if steps.get(step, {}).get("state") == "submitted":
                continue
            if not claim_step(self.database, self.campaign.name, step):
                return False
            self._submit(ranking)
        return True

    def _step(self, number: int) -> str:
        return f"propose-{self.level.number}-{self.level.settings_hash}-{number}"

    def _submit(self, ranking: Ranking) -> None:
        ids = {choice.candidate_id for choice in (*ranking.asked, *ranking.shared)}
        members = [member for member in self.members if member.candidate.candidate_id in ids]
        wanted = list(self._wanted(members if ranking.trains else self._taught(members)))
        self.submitted += submit_level(self.database, self.campaign.name, self.level, wanted)
        step_submitted(
            self.database, self.campaign.name, self._step(ranking.number), settings_hash=self.level.settings_hash
        )

    def _taught(self, members: list[Member]) -> list[Member]:
        """Give starting structures what their engine is to learn from the training set, where it does."""
        taught = self.campaign.domain.taught
        if taught is None or not self.level.engine.learns:
            return members
        from hts_flows.engines import Calculation

        training = training_set(self.members, self.screen.train_on)
        keys = {result_key(one.candidate.candidate_id, self.level.settings_hash): one.candidate for one in training}
        wanted = {"_id": {"$in": list(keys)}, "state": "done"}
        known = [
            (keys[document["_id"]], Calculation.model_validate(document["calculation"]))
            for document in self.database.results.find(wanted, {"calculation": 1}).sort("_id", 1)
        ]
        return [replace(member, start=taught(member.candidate, known).as_dict()) for member in members]

    def _wanted(self, members: list[Member]) -> Iterable[Wanted]:
        domain, inventory = self.campaign.domain, self.campaign.inventory
        needed = [(member, domain.references(member.candidate, inventory)) for member in members]
        references = {one.candidate_id: one for _, some in needed for one in some.values()}
        for reference in references.values():
            start = relaxed_structure(self.database, reference.candidate_id, self.level.previous_hash)
            yield Wanted(reference, "reference", {}, start)
        for member, some in needed:
            yield Wanted(member.candidate, "candidate", some, member.start)

    @property
    def _training_rule(self) -> str:
        """What says which candidates are computed first."""
        return stable_hash(self.screen.train_on)

    def _untrained(self, rankings: list[Ranking]) -> bool:
        """Tell whether the training set was not asked for as the campaign chooses it now."""
        rules = [ranking.outcomes for ranking in rankings if ranking.trains]
        return bool(self.screen.train_on) and (not rules or rules[-1] != self._training_rule)

    def _start_training(self, rankings: list[Ranking]) -> bool:
        """Ask for the training set, or newcomers to it; False while another caller is at it."""
        number = rankings[-1].number + 1 if rankings else 0
        if not claim_step(self.database, self.campaign.name, self._step(number)):
            return False
        known = {choice.candidate_id for ranking in rankings for choice in (*ranking.asked, *ranking.shared)}
        chosen = [
            member
            for member in training_set(self.members, self.screen.train_on)
            if member.candidate.candidate_id not in known
        ]
        before = [one for one in rankings if one.trains]
        if before and not chosen:
            keep_training(self.database, before[-1], self._training_rule)
            return True
        asked = [
            Choice(candidate_id=member.candidate.candidate_id, label=member.candidate.label, why=TRAINING)
            for member in chosen
        ]
        ranking = self._document(number, self._training_rule)
        self._add(ranking.model_copy(update={"trains": True, "asked": asked, "n_pending": len(asked)}), None)
        return True

    def _add(self, ranking: Ranking, proposal: Proposal | None) -> None:
        """Store a ranking and submit what it asks for; where one of its number is stored, that one stays."""
        import pandas as pd

        from hts_flows.stores.rankings import LEFT_OUT_COLUMNS, TABLE_COLUMNS

        if proposal is None:
            table, left_out = pd.DataFrame(columns=TABLE_COLUMNS), pd.DataFrame(columns=LEFT_OUT_COLUMNS)
        else:
            table, left_out = proposal.table, proposal.left_out
        if add_ranking(self.database, ranking, table, left_out):
            self._submit(ranking)

    def _document(self, number: int, digest: str) -> Ranking:
        columns = {column.name: column.unit for column in self.campaign.domain.columns}
        return Ranking(
            campaign=self.campaign.name,
            settings_hash=self.level.settings_hash,
            number=number,
            created_at=now(),
            by=self.screen.by,
            unit=columns.get(self.screen.by, ""),
            minimize=self.screen.minimize,
            outcomes=digest,
        )

    def _propose(self, standing: Standing, step: Plan, learnt: dict[str, Outcome]) -> bool:
        """Rank, ask for more or say why not, and store that; False while another caller is at it."""
        number = standing.rankings[-1].number + 1 if standing.rankings else 1
        if not claim_step(self.database, self.campaign.name, self._step(number)):
            return False
        stored = self._in_store({*learnt, *standing.sequence})
        trained = set(standing.training)
        pool = screening_pool(
            self.members,
            self.screen,
            [member for member in self.members if member.candidate.candidate_id in trained],
            {*learnt, *standing.sequence, *stored},
            _cache(),
        )
        pending = [one for one in standing.sequence if one not in learnt]
        proposal = propose(pool, self.screen, learnt | stored, pending, places=step.places, priors=self._priors())
        rule, asked = self._rule(step, proposal), proposal.asked
        note = ""
        if rule:
            note, asked = RULES[rule], []
        if rule and pending:
            note += f"; {len(pending)} evaluations are still to come"
        # What was in the store is known from now on.
        digest = outcomes_digest(self.screen, learnt | stored)
        ranking = self._document(number, digest).model_copy(
            update={
                "n_candidates": len(pool.members),
                "n_observed": proposal.n_observed,
                "n_failed": proposal.n_failed,
                "n_pending": len(pending),
                "left_out": pool.left_out,
                "best_candidate": proposal.best_candidate,
                "best_value": proposal.best_value,
                "largest_z": proposal.largest_z,
                "asked": asked,
                "shared": [
                    Choice(candidate_id=one, label=pool.members[pool.numbers[one]].candidate.label, why=IN_STORE)
                    for one in sorted(stored)
                ],
                "note": note,
                # The search has ended only when everything asked for is known.
                "stopped": None if pending else rule,
                "provenance": proposal.provenance,
            }
        )
        self._add(ranking, proposal)
        return True

    def _in_store(self, besides: set[str]) -> dict[str, Outcome]:
        """Read outcomes that other campaigns have put into the store."""
        ids = {member.candidate.candidate_id for member in self.members} - besides
        return {one: outcome for one, outcome in self.reader.in_store(self.database).items() if one in ids}

    def _rule(self, step: Plan, proposal: Proposal) -> str | None:
        """Name the rule by which nothing is asked for, if any."""
        limit = self.screen.stop.z_below
        if step.rule is not None:
            return step.rule
        if limit is not None and proposal.largest_z is not None and proposal.largest_z < limit:
            return "z_below"
        return None if proposal.asked else "exhausted"

    def _priors(self) -> dict[str, float] | None:
        """Values of the row below that predictions start from, by candidate_id."""
        name = self.screen.prior
        if name is None:
            return None
        return {
            member.candidate.candidate_id: float(member.data[name])
            for member in self.members
            if member.data.get(name) is not None
        }


def _cache() -> Path:
    from hts_flows.settings import load_settings

    return load_settings().home / "descriptors"
