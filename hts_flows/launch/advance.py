"""The loop: look at what is stored, and add the next step when the one before is settled. Idempotent."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING

from hts_flows.errors import EngineNotAvailableError
from hts_flows.launch.failures import FailureCause, diagnose_workflow
from hts_flows.launch.holding import Pause, keep_held, pause_of, release_wanted, what_is_held
from hts_flows.launch.recording import derive_recorded, raw_output, record_failure, record_result
from hts_flows.launch.retrying import apply_retries
from hts_flows.launch.screening import Search
from hts_flows.launch.submission import (
    Wanted,
    complete_orphans,
    relaxed_structure,
    release_unwanted,
    submit_level,
    wanted_at_first_level,
)
from hts_flows.stores.campaigns import (
    claim_step,
    load_campaign,
    set_campaign_state,
    step_submitted,
    steps_of,
    was_changed,
)
from hts_flows.stores.results import Result, count_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hts_flows.campaign import Campaign
    from hts_flows.engines import Engine
    from hts_flows.ladder import Level
    from hts_flows.stores.database import Database


#: States of jobs that run or will run.
ACTIVE = ("READY", "RESERVED", "RUNNING")
#: A claim names its process, so the threads of one process take turns.
_ONE_AT_A_TIME = Lock()


@dataclass
class Advance:
    """What one call of :func:`advance` found.

    Attributes
    ----------
    finished
        Whether nothing is left to do.
    submitted
        How many workflows this call added.
    skipped
        Why optional engines were left out, by engine.
    paused
        Why nothing goes on, for people: a person has paused the campaign, or all that is left of it.
    """

    finished: bool = False
    submitted: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    paused: str | None = None


def advance(database: Database, name: str, *, check: Callable[[Engine], None] | None = None) -> Advance:
    """Take a campaign one step further, if it can go.

    Any number of callers may call this at any time: a step is claimed once, and evaluations that exist are not added
    again. A caller that is killed is finished by the next. Of a paused campaign nothing is submitted, and what ended is
    settled.

    Parameters
    ----------
    database
        Where the campaign is stored.
    name
        Name of the campaign.
    check
        Raises :class:`~hts_flows.errors.EngineNotAvailableError` where an engine cannot run; rows of such engines are
        left out where they are optional. Without it the caller cannot tell: a worker inside a job sees one machine
        only, so a row whose engine is missing there is left to others.
    """
    with _ONE_AT_A_TIME:
        campaign = load_campaign(database, name)
        if paused := pause_of(database, name):
            return _advance_paused(database, campaign, paused)
        release_wanted(database, name)
        outcome = _advance(database, campaign, check)
        if not outcome.finished and not outcome.submitted:
            outcome.paused = _all_held(database, name)
        return outcome


def check_here(engine: Engine) -> None:
    """Find out whether an engine can run on this machine; see :func:`advance`."""
    engine.check()


def _advance(database: Database, campaign: Campaign, check: Callable[[Engine], None] | None) -> Advance:
    outcome = Advance()
    levels = campaign.ladder()
    below: Level | None = None
    for level in levels:
        if level.optional:
            try:
                (check or check_here)(level.engine)
            except EngineNotAvailableError as error:
                if check is None:
                    return outcome
                outcome.skipped[level.engine.engine] = str(error)
                break
        row = _Row(database, campaign, level, below)
        ended = row.advance([item.settings_hash for item in levels])
        outcome.submitted += row.submitted
        if not ended:
            return outcome
        below = level
    outcome.finished = True
    set_campaign_state(database, campaign.name, "finished")
    return outcome


def _advance_paused(database: Database, campaign: Campaign, paused: Pause) -> Advance:
    keep_held(database, paused)
    for level in campaign.ladder():
        settle(database, campaign.name, level)
    return Advance(paused=str(paused))


def _all_held(database: Database, name: str) -> str | None:
    """Say that all that is left of a campaign is paused; None where something can go on."""
    fireworks = database.mongo["fireworks"]
    mine = {"spec.hts.campaigns": name}
    if fireworks.find_one({**mine, "state": {"$in": list(ACTIVE)}}, {"_id": 1}):
        return None
    if database.results.find_one({"campaigns": name, "submission.done": False}, {"_id": 1}):
        return None
    return what_is_held(database, name)


class _Row:
    """One row of the ladder of a stored campaign.

    Attributes
    ----------
    submitted
        How many workflows were added.
    """

    def __init__(self, database: Database, campaign: Campaign, level: Level, below: Level | None) -> None:
        self.database = database
        self.campaign = campaign
        self.level = level
        self.below = below
        self.submitted = 0
        self.search: Search | None = None
        if level.screen:
            found = None if below is None else partial(_taking_part, database, campaign.name, level, below)
            self.search = Search(database, campaign, level, found)

    def advance(self, settings_hashes: list[str]) -> bool:
        """Do what can be done; False while something is to be waited for.

        Parameters
        ----------
        settings_hashes
            Of all rows of the ladder.
        """
        if not self._submit(settings_hashes):
            return False
        name, level = self.campaign.name, self.level
        self.submitted += complete_orphans(self.database, name, level.settings_hash)
        settle(self.database, name, level)
        self.submitted += apply_retries(self.database, self.campaign)
        if self.search:
            # What it learns from.
            derive_recorded(self.database, name, level.settings_hash)
            ended = self.search.advance()
            self.submitted += self.search.submitted
            if not ended:
                return False
        return self._decided()

    def _decided(self) -> bool:
        """Tell whether every result of the row has its final outcome; gives those that only wait for it theirs.

        The order matters: another worker records a calculation first, then its properties or its failure, and then it
        is run again where the campaign says so.
        """
        name, settings_hash = self.campaign.name, self.level.settings_hash
        if count_states(self.database, name, settings_hash)["queued"]:
            return False
        if not derive_recorded(self.database, name, settings_hash):
            return False
        if not self.campaign.retry:
            return True
        self.submitted += apply_retries(self.database, self.campaign)
        return not count_states(self.database, name, settings_hash)["queued"]

    def _submit(self, settings_hashes: list[str]) -> bool:
        """Submit the row, or what is new in it; False while another caller is at it.

        Of a row that is submitted, only newcomers are added: those whose result came in late. A row that screens
        submits what its search asks for.
        """
        name, step = self.campaign.name, self.level.step
        submitted = steps_of(self.database, name).get(step, {}).get("state") == "submitted"
        if submitted and (self.search or self.below is None):
            return True
        if not submitted and not claim_step(self.database, name, step):
            return False
        wanted = [] if self.search else list(_wanted(self.database, self.campaign, self.level, self.below))
        self.submitted += submit_level(self.database, name, self.level, wanted)
        if self.below is None and was_changed(self.database, name):
            ids = self.search.candidate_ids() if self.search else [item.candidate.candidate_id for item in wanted]
            release_unwanted(self.database, name, ids, settings_hashes)
        if not submitted:
            step_submitted(self.database, name, step, settings_hash=self.level.settings_hash)
        return True


def _wanted(database: Database, campaign: Campaign, level: Level, below: Level | None) -> Iterator[Wanted]:
    if below is None:
        yield from wanted_at_first_level(campaign, campaign.all_candidates())
        return
    promoted = select_promoted(database, campaign.name, level, below)
    present = {
        document["candidate_id"]
        for document in database.results.find(
            {"campaigns": campaign.name, "settings_hash": level.settings_hash}, {"candidate_id": 1}
        )
    }
    seen: set[str] = set(present)
    for result in promoted:
        if result.candidate_id in present:
            continue
        references = campaign.domain.references(result.candidate, campaign.inventory)
        for reference in references.values():
            if reference.candidate_id not in seen:
                seen.add(reference.candidate_id)
                relaxed = relaxed_structure(database, reference.candidate_id, below.settings_hash)
                yield Wanted(reference, "reference", {}, relaxed)
        start = (result.calculation or {}).get("structure")
        yield Wanted(result.candidate, "candidate", references, start)


def _taking_part(database: Database, name: str, level: Level, below: Level) -> list[Result]:
    """Results of the row below among whose candidates a row searches: all that are done, or those promoted."""
    if level.promote:
        return select_promoted(database, name, level, below)
    query = {"campaigns": name, "settings_hash": below.settings_hash, "role": "candidate", "state": "done"}
    return [Result.model_validate(document) for document in database.results.find(query)]


def select_promoted(database: Database, name: str, level: Level, below: Level) -> list[Result]:
    """Choose who goes up: the lowest few, or all within a window of the lowest.

    Those chosen by an earlier call stay chosen, so a late result adds to them and removes none.
    """
    promote = level.promote
    if promote is None:
        return []
    path = f"properties.{promote.by}"
    query = {
        "campaigns": name,
        "settings_hash": below.settings_hash,
        "role": "candidate",
        "state": "done",
        path: {"$type": "number"},
    }
    cursor = database.results.find(query).sort([(path, 1), ("_id", 1)])
    if promote.lowest is not None:
        cursor = cursor.limit(promote.lowest)
    chosen: list[Result] = []
    for document in cursor:
        result = Result.model_validate(document)
        value = (result.properties or {})[promote.by]
        if promote.window is not None and chosen:
            lowest = (chosen[0].properties or {})[promote.by]
            if value - lowest > promote.window:
                break
        chosen.append(result)
    return chosen


def settle(database: Database, name: str, level: Level) -> int:
    """Record evaluations whose workflow has ended but which nobody recorded.

    That is the case where a job failed whose children then wait for ever, or where the recording itself failed. It
    looks at workflows that failed, of which there are few; at those that completed, of which there are many, only when
    no job is left to run.

    Returns
    -------
    int
        How many results were settled.
    """
    fireworks = database.mongo["fireworks"]
    ended = ["FIZZLED", "DEFUSED", "ARCHIVED"]
    if not fireworks.find_one({"spec.hts.campaigns": name, "state": {"$in": list(ACTIVE)}}, {"_id": 1}):
        ended.append("COMPLETED")
    workflows = {
        workflow["metadata"]["result"]: workflow
        for workflow in database.mongo["workflows"].find(
            {"metadata.campaigns": name, "state": {"$in": ended}, "metadata.result": {"$exists": True}},
            {"metadata.result": 1, "nodes": 1, "state": 1},
        )
    }
    unrecorded = database.results.find(
        {
            "_id": {"$in": list(workflows)},
            "settings_hash": level.settings_hash,
            "state": "queued",
            "submission.done": True,
        }
    )
    settled = 0
    for document in list(unrecorded):
        workflow = workflows[document["_id"]]
        # Resubmitted since its workflow was read, it has another.
        if not set(document["provenance"]["fw_ids"]) <= set(workflow["nodes"]):
            continue
        if not fireworks.count_documents({"fw_id": {"$in": workflow["nodes"]}, "state": {"$in": list(ACTIVE)}}):
            run = document["submission"]["token"]
            _settle_one(database, Result.model_validate(document), run, completed=workflow["state"] == "COMPLETED")
            settled += 1
    return settled


def _settle_one(database: Database, result: Result, run: str, *, completed: bool) -> None:
    """Record from the raw output where only the recording was lost, else as a failure."""
    if completed or diagnose_workflow(database, result.key).cause == FailureCause.STORE_UNAVAILABLE:
        output = raw_output(database, result)
        if output is not None:
            record_result(database, result.key, output)
            return
    record_failure(database, result.key, run)
