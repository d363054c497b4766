"""Recording: from an engine's output to a stored result with its properties. Idempotent."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from hts_flows.engines import Calculation, engine_from_dict
from hts_flows.errors import InputError
from hts_flows.flows import get_domain
from hts_flows.launch.failures import FailureCause, diagnose_workflow, failure
from hts_flows.stores.campaigns import now
from hts_flows.stores.results import Failure, Result, result_key

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

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
    least one of the two derives.
    """
    if result.role == "candidate":
        derive_properties(database, result)
        return
    waiting = database.results.find(
        {"reference_results": result.key, "calculation": {"$ne": None}, "state": {"$in": ["done", "failed"]}}
    )
    for document in waiting:
        derive_properties(database, Result.model_validate(document))


def derive_properties(database: Database, result: Result) -> None:
    """Compute and store a candidate's property document, once all its references are there.

    A reference that failed makes the candidate's properties impossible; that is stored as its failure, and taken back
    when the reference comes in later.
    """
    domain = get_domain(result.candidate.domain)
    converged = result.calculation is not None and Calculation.model_validate(result.calculation).converged
    if domain.derive is None or not converged:
        return
    references: dict[str, Calculation] = {}
    for role, candidate_id in result.references.items():
        key = result_key(candidate_id, result.settings_hash)
        document = database.results.find_one({"_id": key}, {"state": 1, "calculation": 1, "label": 1})
        if document is None or document["state"] == "queued":
            return
        if document["state"] == "failed":
            cause = failure(
                FailureCause.REFERENCE_FAILED,
                f"its reference {role}, {candidate_id} ({document['label']}), failed with the same engine",
            )
            _set_derived(database, result, None, cause)
            return
        references[role] = Calculation.model_validate(document["calculation"])
    try:
        properties = domain.derive(result.candidate, Calculation.model_validate(result.calculation), references)
    except ValueError as error:
        _set_derived(database, result, None, failure(FailureCause.BAD_INPUT, f"properties: {error}"))
        return
    _set_derived(database, result, properties.model_dump(mode="json"), None)


def _set_derived(database: Database, result: Result, properties: dict[str, Any] | None, cause: Failure | None) -> None:
    database.results.update_one(
        {"_id": result.key},
        {
            "$set": {
                "properties": properties,
                "state": "failed" if cause else "done",
                "failure": cause.model_dump(mode="json") if cause else None,
            }
        },
    )


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
    for document in database.results.find({"campaigns": campaign, "role": "candidate"}):
        derive_properties(database, Result.model_validate(document))
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
