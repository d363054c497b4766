"""Recording: from an engine's output to a stored result with its properties. Idempotent."""

from __future__ import annotations

import importlib.metadata
import traceback
import uuid
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hts_flows.engines import Calculation, engine_from_dict
from hts_flows.errors import InputError
from hts_flows.flows import get_domain
from hts_flows.launch.failures import FailureCause, diagnose_traceback, diagnose_workflow, failure
from hts_flows.stores.campaigns import now
from hts_flows.stores.results import UNDERIVED, Failure, Result, result_key

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

#: What a domain's own code may raise, beside ValueError for a calculation that it has no properties for.
DERIVATION_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)
#: Packages whose versions every result states, beside the engine's.
PACKAGES = ("hts-flows", "atomate2", "jobflow", "FireWorks", "pymatgen", "ase")


def package_versions() -> dict[str, str]:
    """Versions of the packages that carry every calculation."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def load_result(database: Database, key: str) -> Result:
    """Read one result by its key.

    Raises
    ------
    InputError
        There is none.
    """
    document = database.results.find_one({"_id": key})
    if document is None:
        raise InputError(f"no result {key!r} in the database", "was the campaign deleted while its jobs were running?")
    return Result.model_validate(document)


def record_result(database: Database, key: str, task_doc: Any) -> Result:
    """Store what one evaluation gave, then derive every property that can now be derived.

    Parameters
    ----------
    database
        Where to.
    key
        Key of the result.
    task_doc
        Output of the engine's Maker, as the object or the stored dict; None when it failed.
    """
    result = load_result(database, key)
    # First, so that at no moment a candidate counts as decided that this result will change.
    _mark_waiting(database, key)
    if task_doc is None:
        _store_failure(database, key, _diagnose(database, key))
    else:
        engine = engine_from_dict(result.settings)
        _store_calculation(database, result, engine.parse(task_doc), engine.versions())
    derive_waiting(database, load_result(database, key))
    return load_result(database, key)


def record_failure(database: Database, key: str, run: str | None = None) -> None:
    """Store that an evaluation ended without recording itself; a result that is already recorded stays.

    Parameters
    ----------
    database
        Where to.
    key
        Key of the result.
    run
        Token of the submission that ended so; a result that was resubmitted since stays as it is.
    """
    _store_failure(database, key, _diagnose(database, key), run)
    derive_waiting(database, load_result(database, key))


def _diagnose(database: Database, key: str) -> Failure:
    """Find why a result's workflow ended without it, and in which SLURM job that was."""
    from hts_flows.launch.diagnosis import usage_of

    return diagnose_workflow(database, key).model_copy(update={"job": usage_of(database, key)})


def _store_failure(database: Database, key: str, cause: Failure, run: str | None = None) -> None:
    database.results.update_one(
        {"_id": key, "state": "queued", **({"submission.token": run} if run else {})},
        {
            "$set": {
                "state": "failed",
                "failure": cause.model_dump(mode="json"),
                "provenance.finished_at": now(),
            }
        },
    )


def _store_calculation(database: Database, result: Result, calculation: Calculation, versions: dict[str, str]) -> None:
    changes: dict[str, Any] = {
        "calculation": calculation.model_dump(mode="json"),
        "provenance.folder": calculation.folder,
        "provenance.versions": versions | package_versions(),
        "provenance.finished_at": now(),
    }
    if calculation.converged:
        changes |= {"state": "done", "failure": None}
        if result.role == "candidate" and get_domain(result.candidate.domain).derive is not None:
            changes[UNDERIVED] = uuid.uuid4().hex
    else:
        cause = (
            FailureCause.IONIC_NOT_CONVERGED
            if result.settings.get("task") == "relax"
            else FailureCause.SCF_NOT_CONVERGED
        )
        message = f"not converged after {calculation.n_steps} steps"
        if calculation.max_force is not None:
            message += f"; largest force {calculation.max_force:.3f} eV/Å"
        changes |= {"state": "failed", "failure": failure(cause, message).model_dump(mode="json")}
    database.results.update_one({"_id": result.key}, {"$set": changes})


def derive_waiting(database: Database, result: Result) -> None:
    """Derive the properties of a just recorded result, and of those that waited for it as their reference.

    Of a candidate and a reference recorded at the same moment, each is stored before it looks for the other, so at
    least one of the two derives. What a killed caller leaves is done by :func:`derive_recorded`.
    """
    if result.role == "candidate":
        derive_properties(database, result.key)
    for key in _mark_waiting(database, result.key):
        derive_properties(database, key)


def _mark_waiting(database: Database, reference: str) -> list[str]:
    """Mark the candidates whose properties a reference changes; gives their keys."""
    waiting = {
        "reference_results": reference,
        "role": "candidate",
        "calculation.converged": True,
        "state": {"$in": ["done", "failed"]},
    }
    database.results.update_many(waiting, {"$set": {UNDERIVED: uuid.uuid4().hex}})
    return [document["_id"] for document in database.results.find(waiting, {"_id": 1})]


def derive_recorded(database: Database, campaign: str, settings_hash: str) -> bool:
    """Derive what is recorded without a final outcome: its recorder is at it, or was killed.

    Parameters
    ----------
    database
        Where the results are.
    campaign
        Name of the campaign.
    settings_hash
        Of the row of its ladder.

    Returns
    -------
    bool
        Whether every recorded result of the row has its final outcome now; False while one waits for a reference of
        the campaign that is queued.
    """
    recorded = {
        "campaigns": campaign,
        "settings_hash": settings_hash,
        UNDERIVED: {"$exists": True},
        "state": {"$in": ["done", "failed"]},
    }
    waiting = {
        document["_id"]: document.get("reference_results") or []
        for document in database.results.find(recorded, {"reference_results": 1})
    }
    references = sorted({key for keys in waiting.values() for key in keys})
    queued = {
        document["_id"]: campaign in document["campaigns"]
        for document in database.results.find({"_id": {"$in": references}, "state": "queued"}, {"campaigns": 1})
    }
    for key, needed in waiting.items():
        if queued.keys().isdisjoint(needed):
            derive_properties(database, key)
    return not any(queued.get(key) for needed in waiting.values() for key in needed)


def derive_properties(database: Database, key: str) -> None:
    """Compute and store a candidate's property document, once all its references are there.

    Nothing is done where its properties follow all that is recorded. A reference that failed makes them impossible;
    that is stored as the candidate's failure, and taken back when the reference comes in later.
    """
    document = database.results.find_one({"_id": key, UNDERIVED: {"$exists": True}})
    if document is None:
        return
    try:
        result = Result.model_validate(document)
    except ValidationError:
        # A damaged document keeps no other from being derived.
        return
    derived = _derive(database, result)
    if derived is not None:
        # What was recorded meanwhile is not in it; it has marked the result anew and is derived by its recorder.
        database.results.update_one(
            {"_id": key, UNDERIVED: document[UNDERIVED], "state": {"$in": ["done", "failed"]}},
            {"$unset": {UNDERIVED: ""}} | ({"$set": derived} if derived else {}),
        )


def _derive(database: Database, result: Result) -> dict[str, Any] | None:
    """Find what recorded calculations change in a candidate; None while a reference is missing."""
    domain = get_domain(result.candidate.domain)
    if domain.derive is None or not (result.calculation or {}).get("converged"):
        return {}
    references: dict[str, Any] = {}
    for role, candidate_id in result.references.items():
        key = result_key(candidate_id, result.settings_hash)
        document = database.results.find_one({"_id": key}, {"state": 1, "calculation": 1, "label": 1})
        if document is None or document["state"] == "queued":
            return None
        if document["state"] == "failed":
            message = f"its reference {role}, {candidate_id} ({document['label']}), failed with the same engine"
            return _derived(None, failure(FailureCause.REFERENCE_FAILED, message))
        references[role] = document["calculation"]
    try:
        properties = domain.derive(
            result.candidate,
            Calculation.model_validate(result.calculation),
            {role: Calculation.model_validate(calculation) for role, calculation in references.items()},
        )
    except ValueError as error:
        return _derived(None, failure(FailureCause.BAD_INPUT, f"properties: {error}"))
    except DERIVATION_ERRORS:
        cause = diagnose_traceback(traceback.format_exc())
        return _derived(None, cause.model_copy(update={"message": f"properties: {cause.message}"}))
    return _derived(properties.model_dump(mode="json"), None)


def _derived(properties: dict[str, Any] | None, cause: Failure | None) -> dict[str, Any]:
    return {
        "properties": properties,
        "state": "failed" if cause else "done",
        "failure": cause.model_dump(mode="json") if cause else None,
    }


def rebuild_results(database: Database, campaign: str) -> tuple[int, list[str]]:
    """Parse the stored raw outputs of a campaign again and derive its properties anew; runs no engine.

    Returns
    -------
    int
        How many results were parsed again.
    list of str
        Labels of results whose raw output is not in the JobStore; these are left as they are.
    """
    missing: list[str] = []
    count = 0
    results = [Result.model_validate(doc) for doc in database.results.find({"campaigns": campaign})]
    # References first, so that candidates find them renewed.
    for result in sorted(results, key=lambda item: item.role == "candidate"):
        if result.calculation is None:
            continue
        output = raw_output(database, result)
        if output is None:
            missing.append(result.label)
            continue
        engine = engine_from_dict(result.settings)
        _store_calculation(database, result, engine.parse(output), _engine_versions(result))
        count += 1
    candidates = {"campaigns": campaign, "role": "candidate", "calculation.converged": True}
    database.results.update_many(candidates, {"$set": {UNDERIVED: uuid.uuid4().hex}})
    for document in database.results.find(candidates, {"_id": 1}):
        derive_properties(database, document["_id"])
    return count, missing


def _engine_versions(result: Result) -> dict[str, str]:
    """Versions that ran, which a rebuild keeps."""
    return {name: version for name, version in result.provenance.versions.items() if name not in PACKAGES}


def raw_output(database: Database, result: Result) -> Any | None:
    """Read an evaluation's raw engine output from the JobStore; None when it is not there."""
    if not result.provenance.job_uuids:
        return None
    try:
        return database.job_store.get_output(result.provenance.job_uuids[-1], load=True)
    except ValueError:
        return None
