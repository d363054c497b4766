"""One candidate: what every engine made of it, and its structures as files and to look at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from hts_flows.dashboard.dependencies import Db
from hts_flows.dashboard.problems import NAMED, NotFoundError
from hts_flows.errors import InputError
from hts_flows.stores.candidates import CandidateDetail, candidate_detail, structure_of
from hts_flows.stores.database import Database

if TYPE_CHECKING:
    from pymatgen.core import Structure

router = APIRouter(tags=["candidates"])

_LONGEST = 300
#: Cells with more atoms are not searched for symmetry, which takes long.
_MOST_ATOMS = 200
#: Distance within which atoms are taken for equivalent, Å.
SYMMETRY_PRECISION = 0.01
_MEDIA = {"json": "application/json", "cif": "chemical/x-cif", "poscar": "text/plain"}
_STRUCTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The structure: pymatgen's JSON, CIF or POSCAR; `format` says which",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "chemical/x-cif": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
}
_FIGURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "plotly's `data` and `layout`",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

FileKind = Literal["json", "cif", "poscar"]
CandidateId = Annotated[str, Path(max_length=_LONGEST, description="Whole id of the candidate")]


class StructureQuery(BaseModel):
    """Which structure of a candidate."""

    result: str | None = Field(
        default=None, max_length=_LONGEST, description="Key of the result; the last that has the structure else"
    )
    which: str = Field(
        default="relaxed",
        pattern=r"^(relaxed|start|[1-9][0-9]{0,3})$",
        description="relaxed, start, or the number of an earlier attempt from 1: what it gave, or started from",
    )


class StructureFile(StructureQuery):
    """Which structure, as which file."""

    format: FileKind = Field(default="json", description="Kind of file")


class StructureFigure(StructureQuery):
    """Which structure, in which colours."""

    theme: Literal["light", "dark"] = Field(default="light", description="Colours of the text and the lines")


class Cell(BaseModel):
    """What a structure is, in numbers."""

    model_config = ConfigDict(extra="forbid")

    formula: str = Field(description="Formula of the cell")
    n_atoms: int = Field(description="Number of atoms in the cell")
    a: float = Field(description="Length of the first lattice vector, Å")
    b: float = Field(description="Length of the second lattice vector, Å")
    c: float = Field(description="Length of the third lattice vector, Å")
    alpha: float = Field(description="Angle between b and c, °")
    beta: float = Field(description="Angle between a and c, °")
    gamma: float = Field(description="Angle between a and b, °")
    volume: float = Field(description="Volume of the cell, Å³")
    density: float = Field(description="Density, g/cm³")
    space_group: str | None = Field(
        description=f"Symbol and number, atoms within {SYMMETRY_PRECISION} Å equivalent; None: not determined"
    )


def read_candidate(database: Database, candidate_id: str) -> CandidateDetail:
    """Read what is stored of a candidate.

    Raises
    ------
    NotFoundError
        There is none; the message names those whose ids begin alike.
    """
    try:
        return candidate_detail(database, candidate_id)
    except InputError as error:
        if database.results.find_one({"candidate_id": candidate_id}, {"_id": 1}) is None:
            raise NotFoundError(error.message, error.hint) from error
        raise


def read_structure(database: Database, candidate_id: str, query: StructureQuery) -> Structure:
    """Read a structure of a candidate.

    Raises
    ------
    NotFoundError
        There is no such candidate, result or structure.
    """
    key = query.result
    if key is None:
        field = "calculation.structure" if query.which == "relaxed" else "start"
        found = database.results.find_one(
            {"candidate_id": candidate_id, field: {"$ne": None}},
            {"_id": 1},
            sort=[("provenance.finished_at", -1), ("_id", 1)],
        )
        if found is None:
            read_candidate(database, candidate_id)
            raise NotFoundError(f"no {query.which} structure of {candidate_id!r} is stored", "it may still be queued")
        key = str(found["_id"])
    elif key.partition(":")[0] != candidate_id:
        raise NotFoundError(f"{key!r} is no result of {candidate_id!r}", f"see /api/candidates/{candidate_id}")
    which: Any = int(query.which) if query.which.isdigit() else query.which
    try:
        return structure_of(database, key, which)
    except InputError as error:
        raise NotFoundError(error.message, error.hint) from error


def cell_of(structure: Structure) -> Cell:
    """Describe a structure in numbers.

    Parameters
    ----------
    structure
        Lengths in Å.
    """
    lattice = structure.lattice
    return Cell(
        formula=structure.composition.formula,
        n_atoms=len(structure),
        **{name: float(getattr(lattice, name)) for name in ("a", "b", "c", "alpha", "beta", "gamma", "volume")},
        density=float(structure.density),
        space_group=_space_group(structure),
    )


def _space_group(structure: Structure) -> str | None:
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    if len(structure) > _MOST_ATOMS:
        return None
    try:
        found = SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION)
    except SymmetryUndeterminedError:
        return None
    return f"{found.get_space_group_symbol()} ({found.get_space_group_number()})"


def file_of(structure: Structure, kind: FileKind) -> str:
    """Write a structure as a file.

    Parameters
    ----------
    structure
        Lengths in Å.
    kind
        json (pymatgen's), cif or poscar.
    """
    return str(structure.to(fmt=kind))


@router.get("/candidates/{candidate_id}", responses=NAMED)
def candidate(candidate_id: CandidateId, database: Db) -> CandidateDetail:
    """Give everything that is stored of a candidate, except structures."""
    return read_candidate(database, candidate_id)


@router.get("/candidates/{candidate_id}/structure", response_class=Response, responses={**NAMED, **_STRUCTURE})
def structure(candidate_id: CandidateId, query: Annotated[StructureFile, Query()], database: Db) -> Response:
    """Give a structure as a file: pymatgen's JSON, CIF (without symmetry), or POSCAR."""
    text = file_of(read_structure(database, candidate_id, query), query.format)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{candidate_id}_{query.which}")
    name = f"{name}.vasp" if query.format == "poscar" else f"{name}.{query.format}"
    return Response(
        text,
        media_type=_MEDIA[query.format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get("/candidates/{candidate_id}/cell", responses=NAMED)
def cell(candidate_id: CandidateId, query: Annotated[StructureQuery, Query()], database: Db) -> Cell:
    """Give the cell of a structure, and its space group."""
    return cell_of(read_structure(database, candidate_id, query))


@router.get("/candidates/{candidate_id}/figure", response_class=Response, responses={**NAMED, **_FIGURE})
def figure(candidate_id: CandidateId, query: Annotated[StructureFigure, Query()], database: Db) -> Response:
    """Draw a structure in three dimensions for plotly."""
    from hts_flows.figures.interactive import figure_json, structure_view

    found = read_structure(database, candidate_id, query)
    return Response(figure_json(structure_view(found, theme=query.theme)), media_type="application/json")
