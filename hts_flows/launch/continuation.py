"""Continuation: where a resubmitted calculation starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import DESCENDING

from hts_flows.engines import engine_from_dict
from hts_flows.launch.failures import CUT_OFF, FailureCause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymatgen.core import Structure

    from hts_flows.stores.database import Database
    from hts_flows.stores.results import Result


def continuation(database: Database, result: Result) -> tuple[dict[str, Any] | None, str | None]:
    """Find the structure that a failed calculation goes on from.

    An unconverged relaxation goes on from the structure it gave; one that was cut off from the last geometry that its
    engine finds in its folder, where that can be seen from here. All others start where they started before.

    Returns
    -------
    dict or None
        The structure as stored; None: it was never built.
    str or None
        Folder that it is from; None where the start is the same as before.
    """
    cause = result.failure.cause if result.failure else None
    if result.settings.get("task") != "relax" or not result.start:
        return result.start, None
    if cause == FailureCause.IONIC_NOT_CONVERGED and (calculation := result.calculation):
        where = calculation.get("folder") or result.provenance.folder or "the stored calculation"
        return _with_properties(calculation["structure"], result.start), where
    if cause in CUT_OFF:
        engine = engine_from_dict(result.settings)
        for folder in _folders(database, result):
            structure = engine.last_structure(folder) if _visible(folder) else None
            if structure is not None and _same_atoms(structure, result.start):
                return _with_properties(structure.as_dict(), result.start), str(folder)
    return result.start, None


def _folders(database: Database, result: Result) -> Iterator[Path]:
    """Folders that the calculation ran in, newest first."""
    nodes = {
        node
        for workflow in database.mongo["workflows"].find({"metadata.result": result.key}, {"nodes": 1})
        for node in workflow["nodes"]
    }
    launches = database.mongo["launches"].find({"fw_id": {"$in": sorted(nodes)}}, {"launch_dir": 1})
    for launch in launches.sort("launch_id", DESCENDING):
        if launch.get("launch_dir"):
            yield Path(launch["launch_dir"])
    if result.failure and result.failure.job and result.failure.job.folder:
        yield Path(result.failure.job.folder)


def _visible(folder: Path) -> bool:
    try:
        return folder.is_absolute() and folder.is_dir()
    except OSError:
        return False


def _same_atoms(structure: Structure, start: dict[str, Any]) -> bool:
    from pymatgen.core import Structure

    return bool(structure.composition == Structure.from_dict(start).composition)


def _with_properties(structure: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
    """Let a structure say what its start said of itself: how it was built, its path through the Brillouin zone."""
    return structure | {"properties": (start.get("properties") or {}) | (structure.get("properties") or {})}
