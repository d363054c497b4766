"""One candidate: what every engine made of it, what was tried, what it refers to, and how searches ranked it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, IndexModel

from hts_flows.errors import HtsError, InputError
from hts_flows.flows import domain_names, get_domain
from hts_flows.stores.result_columns import ColumnInfo, columns_of
from hts_flows.stores.results import Attempt, Failure, Provenance, State, result_key
from hts_flows.stores.times import UtcTime

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from hts_flows.stores.database import Database

#: Rankings that asked for a candidate, or found its result in the store.
CANDIDATE_RANKING_INDEXES = [
    IndexModel([("asked.candidate_id", ASCENDING)]),
    IndexModel([("shared.candidate_id", ASCENDING)]),
]
_ENERGIES = ("energy", "max_force", "pressure", "n_steps", "wall_time", "converged", "band_gap")
_BULKY = ("structure", "band_structure", "magnetic_moments", "thermal_conductivity")
_STARTS_WITH = 12


class LadderPlace(BaseModel):
    """The row of a campaign's ladder that a result is of."""

    model_config = ConfigDict(extra="forbid")

    campaign: str = Field(description="Name of the campaign")
    row: int | None = Field(description="Number of the row from 0; None where the campaign no longer has it")
    name: str = Field(description="Name of the row, for people: the engine's, with a number where it occurs again")


class PropertyValue(BaseModel):
    """One property with its value."""

    model_config = ConfigDict(extra="forbid")

    column: ColumnInfo = Field(description="What it is, with the unit")
    value: str | bool | int | float | None = Field(description="Its value; None where there is none")


class ReferenceValue(BaseModel):
    """Something that a result's energies refer to: the host, or the phase of an element."""

    model_config = ConfigDict(extra="forbid")

    role: str = Field(description="What it is to the candidate, e.g. host or element:Li")
    candidate_id: str = Field(description="Deterministic id of the reference")
    key: str = Field(description="Key of its result with the same engine and settings")
    label: str = Field(description="Name for people")
    state: State | None = Field(description="queued, done or failed; None where it is not stored")
    energy: float | None = Field(description="Total energy of its cell, eV")
    n_atoms: int | None = Field(description="Number of atoms in its cell")


class AttemptDetail(Attempt):
    """An earlier run, without its structures."""

    number: int = Field(description="Counts up from 1, the oldest")
    has_start: bool = Field(description="Whether the structure that it started from is stored")
    has_structure: bool = Field(description="Whether it gave a structure")


class EngineResult(BaseModel):
    """What one engine with its settings made of a candidate."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(description="Key of the result")
    engine: str = Field(description="Name of the engine")
    places: list[LadderPlace] = Field(description="Rows of campaigns' ladders that it is of")
    settings: dict[str, Any] = Field(description="Every setting of the engine")
    settings_hash: str = Field(description="Hash of the settings and of the steps below on the ladder")
    previous_hash: str | None = Field(description="settings_hash of the step below")
    resources: dict[str, Any] = Field(description="What its SLURM jobs ask for beyond the cluster's settings")
    role: Literal["candidate", "reference"] = Field(description="Asked for by a campaign, or needed for its energies")
    state: State = Field(description="queued, done or failed")
    properties: list[PropertyValue] = Field(description="Properties, those that tables show first")
    energy: float | None = Field(default=None, description="Total energy of the cell, eV")
    n_atoms: int | None = Field(default=None, description="Number of atoms in the cell")
    converged: bool | None = Field(default=None, description="Whether the relaxation met its criterion")
    max_force: float | None = Field(default=None, description="Largest force on an atom at the end, eV/Å")
    pressure: float | None = Field(default=None, description="Pressure at the end, positive when compressed, GPa")
    band_gap: float | None = Field(default=None, description="Kohn–Sham gap, eV")
    n_steps: int | None = Field(default=None, description="Number of geometries computed")
    wall_time: float | None = Field(default=None, description="Time the engine took, s")
    failure: Failure | None = Field(description="Why it failed")
    provenance: Provenance = Field(description="Jobs, folder, versions, and how its structure was built")
    attempts: list[AttemptDetail] = Field(description="Earlier runs, oldest first")
    references: list[ReferenceValue] = Field(description="What its energies refer to")
    has_start: bool = Field(description="Whether its starting structure is stored")
    has_structure: bool = Field(description="Whether it has a final structure")


class Standing(BaseModel):
    """How one ranking of a search judged the candidate when it asked for it, or found its result in the store."""

    model_config = ConfigDict(extra="forbid")

    campaign: str = Field(description="Name of the campaign")
    settings_hash: str = Field(description="The row of the ladder whose values are predicted")
    number: int = Field(description="Number of the ranking")
    created_at: UtcTime = Field(description="When it was made (UTC)")
    asked: bool = Field(description="Whether it sent the candidate to be computed; else its result was there already")
    by: str = Field(description="Property that is predicted")
    unit: str = Field(description="Its unit")
    minimize: bool = Field(description="Whether low values are wanted")
    rank: int | None = Field(description="Its place among those not computed; None without a model")
    mean: float | None = Field(description="Predicted value, in the property's unit")
    standard_deviation: float | None = Field(description="Of the prediction, in the property's unit")
    z_score: float | None = Field(description="(best − mean) / standard deviation, signed so: high = good")
    why: str = Field(description="Why it was chosen, in a line")


class CandidateDetail(BaseModel):
    """Everything that is stored of one candidate, except structures."""

    model_config = ConfigDict(extra="forbid")

    candidate_id: str = Field(description="Hash of everything that determines the starting structure")
    label: str = Field(description="Name for people")
    formula: str = Field(description="Reduced formula")
    domain: str = Field(description="Which family of structures it belongs to")
    facets: dict[str, Any] = Field(description="What the candidate is: host, intercalant, …")
    data: dict[str, Any] = Field(description="What was known of it beforehand")
    campaigns: list[str] = Field(description="Campaigns that share any of its results, by name")
    results: list[EngineResult] = Field(description="One for each engine and settings, in the order of the ladder")
    standings: list[Standing] = Field(description="Rankings that asked for it or shared its result, newest first")


def candidate_detail(database: Database, candidate_id: str) -> CandidateDetail:
    """Read everything that is stored of a candidate, in four calls of the database.

    Parameters
    ----------
    database
        Where from.
    candidate_id
        Its whole id.

    Raises
    ------
    InputError
        There is none; the message names those whose ids begin alike.
    """
    documents = list(database.results.aggregate(_results_of(candidate_id)))
    if not documents:
        raise _no_candidate(database, candidate_id)
    campaigns = sorted({name for document in documents for name in document["campaigns"]})
    rows = _rows(database, campaigns)
    references = _references(database, documents)
    standings = [_standing(document) for document in database.rankings.aggregate(_rankings_of(candidate_id))]
    first = documents[0]
    columns = _columns(first["candidate"]["domain"], first.get("facets") or {})
    results = [_engine_result(document, rows, references, columns) for document in documents]
    results.sort(
        key=lambda one: (min((place.row for place in one.places if place.row is not None), default=99), one.key)
    )
    return CandidateDetail(
        candidate_id=candidate_id,
        label=first["label"],
        formula=first["formula"],
        domain=first["candidate"]["domain"],
        facets=first.get("facets") or {},
        data=first["candidate"].get("data") or {},
        campaigns=campaigns,
        results=results,
        standings=standings,
    )


def structure_of(database: Database, key: str, which: Literal["relaxed", "start"] | int = "relaxed") -> Structure:
    """Read one structure of a result.

    Parameters
    ----------
    database
        Where from.
    key
        Key of the result.
    which
        "relaxed", the final one; "start"; or the number of an attempt from 1, the oldest: what it gave, or started
        from where it gave nothing.

    Returns
    -------
    Structure
        Lengths in Å.

    Raises
    ------
    InputError
        There is no such result, attempt or structure.
    """
    from pymatgen.core import Structure

    if which == "relaxed":
        fields: dict[str, Any] = {"found": "$calculation.structure"}
    elif which == "start":
        fields = {"found": "$start"}
    elif isinstance(which, int) and which > 0:
        attempt = {"$arrayElemAt": ["$attempts", which - 1]}
        fields = {"found": {"$let": {"vars": {"one": attempt}, "in": {
            "$ifNull": ["$$one.calculation.structure", "$$one.start"]}}}}  # fmt: skip
    else:
        raise InputError(
            f"no structure is called {which!r}", "there are 'relaxed', 'start', and the numbers of attempts from 1"
        )
    document = next(iter(database.results.aggregate([{"$match": {"_id": key}}, {"$project": fields}])), None)
    if document is None:
        raise InputError(f"no result {key!r} in the database", "its candidate's page lists the results")
    if document.get("found") is None:
        name = f"attempt {which}" if isinstance(which, int) else f"{which} structure"
        raise InputError(f"result {key!r} has no {name}", "a result that is queued or failed may have none")
    structure: Structure = Structure.from_dict(document["found"])
    return structure


def _results_of(candidate_id: str) -> list[dict[str, Any]]:
    """Pipeline that reads a candidate's results without what is large, but with whether it is there."""
    return [
        {"$match": {"candidate_id": candidate_id}},
        {
            "$set": {
                "n_atoms": {"$size": {"$ifNull": ["$calculation.structure.sites", "$start.sites", []]}},
                "has_start": {"$gt": ["$start", None]},
                "has_structure": {"$gt": ["$calculation.structure", None]},
                "has_starts": {"$map": {"input": "$attempts", "in": {"$gt": ["$$this.start", None]}}},
                "has_structures": {
                    "$map": {"input": "$attempts", "in": {"$gt": ["$$this.calculation.structure", None]}}
                },
            }
        },
        {
            "$unset": [
                "start",
                "attempts.start",
                "candidate.inputs",
                *(f"calculation.{name}" for name in _BULKY),
                *(f"attempts.calculation.{name}" for name in _BULKY),
            ]
        },
        {"$sort": {"_id": 1}},
    ]


def _rankings_of(candidate_id: str) -> list[dict[str, Any]]:
    """Pipeline that reads the rankings which chose a candidate, with its choice alone."""
    chosen = {
        name: {"$filter": {"input": f"${name}", "cond": {"$eq": ["$$this.candidate_id", candidate_id]}}}
        for name in ("asked", "shared")
    }
    plain = ("campaign", "settings_hash", "number", "created_at", "by", "unit", "minimize")
    return [
        {"$match": {"$or": [{"asked.candidate_id": candidate_id}, {"shared.candidate_id": candidate_id}]}},
        {"$project": {**dict.fromkeys(plain, 1), **chosen}},
        {"$sort": {"created_at": -1, "number": -1}},
    ]


def _standing(document: Mapping[str, Any]) -> Standing:
    asked = bool(document["asked"])
    choice = (document["asked"] or document["shared"])[0]
    of_ranking = ("campaign", "settings_hash", "number", "created_at", "by", "unit", "minimize")
    of_choice = ("rank", "mean", "standard_deviation", "z_score", "why")
    return Standing(
        asked=asked,
        **{name: document[name] for name in of_ranking},
        **{name: choice[name] for name in of_choice},
    )


def _rows(database: Database, campaigns: list[str]) -> dict[tuple[str, str], LadderPlace]:
    """Rows of the ladders of some campaigns, by campaign and settings_hash."""
    from hts_flows.campaign import Campaign

    found = {}
    for document in database.campaigns.find({"_id": {"$in": campaigns}}, {"content": 1}):
        name = document["_id"]
        try:
            levels = Campaign.from_dict(document.get("content"), f"stored campaign {name!r}").ladder()
        except HtsError:
            # The overview says what is wrong with it; here its ladder is as if it were gone.
            continue
        for level in levels:
            found[name, level.settings_hash] = LadderPlace(campaign=name, row=level.number, name=level.name)
    return found


def _references(database: Database, documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the results refer to, by key."""
    keys = {
        result_key(reference, document["settings_hash"])
        for document in documents
        for reference in (document.get("references") or {}).values()
    }
    pipeline: list[dict[str, Any]] = [
        {"$match": {"_id": {"$in": sorted(keys)}}},
        {
            "$project": {
                "label": 1,
                "state": 1,
                "energy": "$calculation.energy",
                "n_atoms": {"$size": {"$ifNull": ["$calculation.structure.sites", []]}},
            }
        },
    ]
    return {document["_id"]: document for document in database.results.aggregate(pipeline)}


def _columns(domain: str, facets: Mapping[str, Any]) -> list[ColumnInfo]:
    known = get_domain(domain) if domain in domain_names() else None
    columns = [column for column in columns_of(known, dict.fromkeys(facets)) if column.group == "property"]
    return sorted(columns, key=lambda column: not column.shown)


def _engine_result(
    document: dict[str, Any],
    rows: Mapping[tuple[str, str], LadderPlace],
    references: Mapping[str, dict[str, Any]],
    columns: list[ColumnInfo],
) -> EngineResult:
    calculation, properties = document.get("calculation") or {}, document.get("properties") or {}
    settings_hash, engine = document["settings_hash"], document["engine"]
    gone = {name: LadderPlace(campaign=name, row=None, name=engine) for name in document["campaigns"]}
    attempts = [
        AttemptDetail(number=number, has_start=start, has_structure=structure, **attempt)
        for number, (attempt, start, structure) in enumerate(
            zip(
                document.get("attempts") or [],
                document.get("has_starts") or [],
                document.get("has_structures") or [],
                strict=True,
            ),
            start=1,
        )
    ]
    return EngineResult(
        key=document["_id"],
        engine=engine,
        places=[rows.get((name, settings_hash), gone[name]) for name in document["campaigns"]],
        settings=document["settings"],
        settings_hash=settings_hash,
        previous_hash=document.get("previous_hash"),
        resources=document.get("resources") or {},
        role=document.get("role", "candidate"),
        state=document["state"],
        properties=[
            PropertyValue(column=column, value=properties[column.name])
            for column in columns
            if column.name in properties
        ],
        n_atoms=document["n_atoms"] or None,
        **{name: calculation.get(name) for name in _ENERGIES},
        failure=document.get("failure"),
        provenance=document.get("provenance") or {},
        attempts=attempts,
        references=[
            _reference(role, reference, result_key(reference, settings_hash), references)
            for role, reference in (document.get("references") or {}).items()
        ],
        has_start=document["has_start"],
        has_structure=document["has_structure"],
    )


def _reference(role: str, candidate_id: str, key: str, references: Mapping[str, dict[str, Any]]) -> ReferenceValue:
    found = references.get(key) or {}
    return ReferenceValue(
        role=role,
        candidate_id=candidate_id,
        key=key,
        label=found.get("label", role),
        state=found.get("state"),
        energy=found.get("energy"),
        n_atoms=found.get("n_atoms") or None,
    )


def _no_candidate(database: Database, candidate_id: str) -> InputError:
    begin = re.escape(candidate_id[: candidate_id.find("-") + _STARTS_WITH // 2])
    near = database.results.find({"candidate_id": {"$regex": f"^{begin}"}}, {"candidate_id": 1}).limit(5)
    ids = sorted({document["candidate_id"] for document in near})
    meant = f"; ids that begin alike: {', '.join(ids)}" if ids else ""
    return InputError(f"no candidate {candidate_id!r} in the database{meant}", "the tables of campaigns link to theirs")
