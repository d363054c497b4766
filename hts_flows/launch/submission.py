"""Submission: results that are wanted get one workflow each, however often and by however many it is asked."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from hts_flows.candidates import stable_hash
from hts_flows.errors import HtsError
from hts_flows.flows import get_domain
from hts_flows.launch.failures import FailureCause, failure
from hts_flows.launch.owner import owner_name
from hts_flows.stores.campaigns import claim_is_free, now
from hts_flows.stores.results import Result, result_key, stamped

if TYPE_CHECKING:
    from fireworks import Workflow
    from pymatgen.core import Structure

    from hts_flows.campaign import Campaign
    from hts_flows.candidates import Candidate
    from hts_flows.ladder import Level
    from hts_flows.stores.database import Database

CHUNK = 200
#: References go first: the candidates' properties wait for them.
PRIORITY = {"reference": 10, "candidate": 5, "record": 20}
#: Recording takes this long at most, s.
RECORD_SECONDS = 10.0


@dataclass(frozen=True)
class Wanted:
    """One evaluation to submit."""

    candidate: Candidate
    role: str
    references: dict[str, Candidate]
    start: dict[str, Any] | None = None


def wanted_at_first_level(campaign: Campaign, candidates: Iterable[Candidate]) -> Iterator[Wanted]:
    """List the references, then the candidates, of the first row of the ladder."""
    domain, inventory = campaign.domain, campaign.inventory
    rows = [(candidate, domain.references(candidate, inventory)) for candidate in candidates]
    references: dict[str, Candidate] = {}
    for _, needed in rows:
        for reference in needed.values():
            references.setdefault(reference.candidate_id, reference)
    for reference in references.values():
        yield Wanted(reference, "reference", {})
    for candidate, needed in rows:
        yield Wanted(candidate, "candidate", needed)


def relaxed_structure(database: Database, candidate_id: str, settings_hash: str | None) -> dict[str, Any] | None:
    """Read the structure that a row relaxed a candidate to, as pymatgen's dict; None where there is none."""
    if settings_hash is None:
        return None
    key = result_key(candidate_id, settings_hash)
    document = database.results.find_one({"_id": key}, {"calculation.structure": 1}) or {}
    structure: dict[str, Any] | None = (document.get("calculation") or {}).get("structure")
    return structure


def submit_level(database: Database, campaign: str, level: Level, wanted: Iterable[Wanted]) -> int:
    """Add the evaluations that are not there yet.

    A result that exists, of whatever campaign, is shared and not computed again.

    Returns
    -------
    int
        How many workflows were added.
    """
    added = 0
    iterator = iter(wanted)
    while chunk := list(islice(iterator, CHUNK)):
        added += _submit_chunk(database, campaign, level, chunk)
    return added


def release_unwanted(database: Database, campaign: str, candidate_ids: list[str], settings_hashes: list[str]) -> None:
    """Take out of a campaign what its changed file no longer asks for; the results themselves stay stored.

    Parameters
    ----------
    database
        Where the campaign is.
    campaign
        Its name.
    candidate_ids, settings_hashes
        Candidates with their references, and rows of the ladder, that it asks for now.
    """
    unwanted = {
        "campaigns": campaign,
        "$or": [{"candidate_id": {"$nin": candidate_ids}}, {"settings_hash": {"$nin": settings_hashes}}],
    }
    keys = [document["_id"] for document in database.results.find(unwanted, {"_id": 1})]
    _tag_jobs(database, keys, "$pull", campaign)
    database.results.update_many({"_id": {"$in": keys}}, {"$pull": {"campaigns": campaign}})


def _tag_jobs(database: Database, keys: list[str], operator: Literal["$addToSet", "$pull"], campaign: str) -> None:
    """Write on the workflows and jobs of some results that a campaign wants them, or no longer does."""
    for collection, result, campaigns in (
        ("workflows", "metadata.result", "metadata.campaigns"),
        ("fireworks", "spec.hts.result", "spec.hts.campaigns"),
    ):
        database.mongo[collection].update_many({result: {"$in": keys}}, {operator: {campaigns: campaign}})


def _submit_chunk(database: Database, campaign: str, level: Level, chunk: list[Wanted]) -> int:
    claim = new_claim()
    keys = [result_key(item.candidate.candidate_id, level.settings_hash) for item in chunk]
    operations = [
        UpdateOne(
            {"_id": key},
            stamped({"$setOnInsert": _new_document(item, level, claim), "$addToSet": {"campaigns": campaign}}),
            upsert=True,
        )
        for key, item in zip(keys, chunk, strict=True)
    ]
    database.results.bulk_write(operations, ordered=False)
    # Jobs that another campaign has queued are worked on for this one too.
    _tag_jobs(database, keys, "$addToSet", campaign)
    _change_resources(database, keys, level)
    return add_claimed(database, keys, claim)


def _change_resources(database: Database, keys: list[str], level: Level) -> None:
    """Let queued evaluations ask SLURM for what a changed campaign file says, where they have not been taken yet."""
    other = [
        document["_id"]
        for document in database.results.find(
            {"_id": {"$in": keys}, "state": "queued", "attempts": [], "resources": {"$ne": level.resources}}, {"_id": 1}
        )
    ]
    if other:
        database.results.update_many({"_id": {"$in": other}}, {"$set": {"resources": level.resources}})
        pool = pool_of(level.engine.runs_as, level.resources)
        database.mongo["fireworks"].update_many(
            {"spec.hts.result": {"$in": other}, "state": {"$in": ["WAITING", "READY"]}},
            {"$set": {"spec.hts.resources": level.resources, "spec.hts.pool": pool}},
        )


def new_claim() -> dict[str, Any]:
    """Make the mark by which this process claims the right to add the workflows of some results."""
    return {"owner": owner_name(), "token": uuid.uuid4().hex, "at": now(), "done": False}


@contextmanager
def giving_up(database: Database, claim: dict[str, Any]) -> Iterator[None]:
    """Let others complete what carries a claim, at once, where this caller cannot: its process may live for long."""
    try:
        yield
    except BaseException:
        with suppress(PyMongoError):  # an unreachable database: the claim becomes free with time
            mine = {"submission.token": claim["token"], "submission.done": False}
            database.results.update_many(mine, {"$set": {"submission.owner": ""}})
        raise


def complete_orphans(database: Database, campaign: str, settings_hash: str) -> int:
    """Add the workflows of results whose submitter ended before they were complete in the queue.

    Returns
    -------
    int
        How many workflows were added.
    """
    orphans = database.results.find(
        {"campaigns": campaign, "settings_hash": settings_hash, "state": "queued", "submission.done": False},
        {"submission": 1},
    )
    claim = new_claim()
    keys = []
    for orphan in orphans:
        old = orphan["submission"]
        if claim_is_free(old["owner"], old["at"]) and _take_over(database, orphan["_id"], old, claim):
            keys.append(orphan["_id"])
    return add_claimed(database, keys, claim) if keys else 0


def _take_over(database: Database, key: str, old: dict[str, Any], claim: dict[str, Any]) -> bool:
    """Claim an orphan; False when its workflow turns out to be complete, or another caller was faster."""
    mine = {"_id": key, "submission.token": old["token"]}
    workflow = database.mongo["workflows"].find_one({"metadata.result": key}, {"nodes": 1})
    if workflow:
        nodes = workflow["nodes"]
        if database.mongo["fireworks"].count_documents({"fw_id": {"$in": nodes}}) == len(nodes):
            jobs = database.mongo["fireworks"].find({"fw_id": {"$in": nodes}}).sort("fw_id", -1)
            uuids = [job["spec"]["_tasks"][0]["job"]["uuid"] for job in jobs if not job["name"].startswith("record: ")]
            changes = {"submission.done": True, "provenance.fw_ids": sorted(nodes), "provenance.job_uuids": uuids}
            database.results.update_one(mine, {"$set": changes})
            return False
    if not database.results.update_one(mine, {"$set": {"submission": claim}}).modified_count:
        return False
    if workflow:
        database.mongo["fireworks"].delete_many({"fw_id": {"$in": workflow["nodes"]}})
        database.mongo["workflows"].delete_one({"_id": workflow["_id"]})
    return True


def add_claimed(database: Database, keys: list[str], claim: dict[str, Any]) -> int:
    """Build and add the workflows of the results that carry this claim.

    Returns
    -------
    int
        How many workflows were added.
    """
    with giving_up(database, claim):
        # A claim may be taken over while others of it are being added: each chunk is asked for anew.
        return sum(_add_chunk(database, keys[start : start + CHUNK], claim) for start in range(0, len(keys), CHUNK))


def _add_chunk(database: Database, keys: list[str], claim: dict[str, Any]) -> int:
    workflows: list[Workflow] = []
    changes: dict[str, dict[str, Any]] = {}
    for document in database.results.find({"_id": {"$in": keys}, "submission.token": claim["token"]}):
        result = Result.model_validate(document)
        workflow, changes[result.key] = _prepare(result)
        if workflow is not None:
            workflows.append(workflow)
    if workflows:
        _add_workflows(database, workflows)
    for workflow in workflows:
        changes[workflow.metadata["result"]]["provenance.fw_ids"] = sorted(workflow.id_fw)
    if changes:
        database.results.bulk_write(
            [
                UpdateOne({"_id": key, "submission.token": claim["token"]}, stamped({"$set": change}))
                for key, change in changes.items()
            ],
            ordered=False,
        )
    return len(workflows)


def _new_document(item: Wanted, level: Level, claim: dict[str, Any]) -> dict[str, Any]:
    candidate = item.candidate
    domain = get_domain(candidate.domain)
    references = {role: reference.candidate_id for role, reference in item.references.items()}
    document = Result(
        candidate_id=candidate.candidate_id,
        candidate=candidate,
        label=candidate.label,
        formula=candidate.formula,
        role=item.role,
        engine=level.engine.engine,
        settings=level.engine.model_dump(mode="json"),
        settings_hash=level.settings_hash,
        previous_hash=level.previous_hash,
        facets=domain.facets(candidate),
        references=references,
        resources=level.resources,
        start=item.start,
    ).model_dump(mode="json", exclude={"campaigns"})
    document["provenance"]["created_at"] = now()
    document["reference_results"] = [result_key(cid, level.settings_hash) for cid in references.values()]
    document["submission"] = claim
    return document


def _prepare(result: Result) -> tuple[Workflow | None, dict[str, Any]]:
    """Build a result's workflow; a structure that cannot be built is a failed result at once."""
    from pymatgen.core import Structure

    change: dict[str, Any] = {"submission.done": True}
    try:
        structure = Structure.from_dict(result.start) if result.start else _build(result)
    except (ValueError, HtsError) as error:
        cause = failure(FailureCause.BAD_INPUT, f"structure: {error}")
        change |= {"state": "failed", "failure": cause.model_dump(mode="json"), "provenance.finished_at": now()}
        return None, change
    workflow, uuids = make_workflow(result, structure)
    change |= {
        "start": structure.as_dict(),
        "provenance.job_uuids": uuids,
        "provenance.structure": structure.properties.get("provenance", {}),
    }
    return workflow, change


def _build(result: Result) -> Structure:
    return get_domain(result.candidate.domain).build(result.candidate)


def make_workflow(result: Result, structure: Structure) -> tuple[Workflow, list[str]]:
    """Make the FireWorks workflow of one evaluation.

    Returns
    -------
    Workflow
        Ready to be added.
    list of str
        uuids of the engine's jobs, the one whose output is parsed last.
    """
    from jobflow.managers.fireworks import flow_to_workflow

    from hts_flows.engines import engine_from_dict
    from hts_flows.flows.evaluation import EvaluationMaker

    domain, engine = get_domain(result.candidate.domain), engine_from_dict(result.settings)
    if domain.fixed_cell(result.candidate):
        engine = engine.fixed_cell()
    if engine.wants_bands:
        structure.properties["k_path"] = domain.k_path(result.candidate, structure)
    flow = EvaluationMaker(engine).make(structure, result.key, result.label)
    *calculations, recording = [job for job, _ in flow.iterflow()]
    # What the jobs of an evaluation carry, so that workers, failures and people can tell whose they are.
    mark = {
        "result": result.key,
        "campaigns": result.campaigns,
        "role": result.role,
        "engine": engine.runs_as,
        "resources": result.resources,
        "pool": pool_of(engine.runs_as, result.resources),
    }
    calculate = mark | {"job": "calculate", "seconds": engine.estimate_seconds(len(structure))}
    for job in calculations:
        job.update_config({"manager_config": {"hts": calculate, "_priority": PRIORITY[result.role]}}, dynamic=True)
    record = mark | {"job": "record", "seconds": RECORD_SECONDS}
    recording.config.manager_config.update({"hts": record, "_priority": PRIORITY["record"]})
    workflow = flow_to_workflow(flow, metadata={"result": result.key, "campaigns": result.campaigns})
    return workflow, [job.uuid for job in calculations]


def pool_of(engine: str, resources: dict[str, Any]) -> str:
    """Name the kind of work that one SLURM allocation can do: an engine, and what its jobs ask for beyond it."""
    return f"{engine}-{stable_hash(resources, 8)}" if resources else engine


def _add_workflows(database: Database, workflows: list[Workflow]) -> None:
    """Add many workflows in two inserts, without FireWorks' progress bar."""
    import contextlib
    import io

    with contextlib.redirect_stderr(io.StringIO()):
        database.launchpad.bulk_add_wfs(workflows)
