"""One candidate: its structure in three dimensions, every engine's result beside the others, and what was tried."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from hts_flows.dashboard.api.candidates import CandidateId, StructureQuery, cell_of, read_candidate, read_structure
from hts_flows.dashboard.api.figures import plotly_styles
from hts_flows.dashboard.dependencies import Db
from hts_flows.dashboard.pages.jobs import flat
from hts_flows.dashboard.problems import NotFoundError
from hts_flows.dashboard.templating import number, page
from hts_flows.stores.result_columns import unit_of

if TYPE_CHECKING:
    from hts_flows.stores.candidates import CandidateDetail, EngineResult
    from hts_flows.stores.result_columns import ColumnInfo

router = APIRouter()

#: What is compared beside the properties: field of a result, name for people, format.
_CALCULATED = (
    ("energy", "Total energy of the cell", ".6f"),
    ("n_atoms", "Atoms in the cell", ""),
    ("max_force", "Largest force", ".2e"),
    ("pressure", "Pressure", ".3f"),
    ("band_gap", "Kohn–Sham gap", ".3f"),
    ("converged", "Relaxation converged", ""),
    ("n_steps", "Geometries computed", ""),
)
#: Results of the same engine are told apart by so many settings, and by so much of the value of each.
_MOST_SETTINGS, _LONGEST_VALUE = 2, 24


@router.get("/candidates/{candidate_id}")
def candidate(
    request: Request, candidate_id: CandidateId, view: Annotated[StructureQuery, Query()], database: Db
) -> Response:
    """Show a candidate."""
    detail = read_candidate(database, candidate_id)
    shown, which = _chosen(detail, view)
    structure = read_structure(database, candidate_id, StructureQuery(result=shown.key, which=which)) if shown else None
    return page(
        request,
        "candidate.html",
        {
            "detail": detail,
            "plotly_styles": plotly_styles(),
            "names": _names(detail),
            "structures": _structures(detail),
            "shown": shown,
            "which": which,
            "cell": cell_of(structure) if structure is not None else None,
            "properties": _properties(detail),
            "calculated": _calculated(),
            "failed": [one for one in detail.results if one.failure],
        },
    )


def _names(detail: CandidateDetail) -> dict[str, str]:
    """Name each result by its rows, and those of the same rows by what tells them apart; by key."""
    groups: dict[str, list[EngineResult]] = defaultdict(list)
    for one in detail.results:
        groups[", ".join(sorted({place.name for place in one.places})) or one.engine].append(one)
    names = {}
    for name, alike in groups.items():
        settings = [_told(one, alike) for one in alike]
        campaigns = [", ".join(place.campaign for place in one.places) for one in alike]
        for one, *told in zip(alike, settings, campaigns, strict=True):
            apart = [text for text, all_texts in zip(told, (settings, campaigns), strict=True)
                     if text and all_texts.count(text) == 1]  # fmt: skip
            names[one.key] = f"{name} ({(apart or [one.settings_hash[:6]])[0]})" if len(alike) > 1 else name
    return names


def _told(result: EngineResult, alike: list[EngineResult]) -> str:
    """Write the settings in which a result differs from those of the same rows, the first of them."""
    settings = {one.key: dict(flat(one.settings)) for one in alike}
    own = settings[result.key]
    names = sorted({name for other in settings.values() for name in own.keys() | other.keys()})
    differing = [name for name in names if any(other.get(name) != own.get(name) for other in settings.values())]
    parts = [f"{name} {number(own.get(name))[:_LONGEST_VALUE]}" for name in differing[:_MOST_SETTINGS]]
    return ", ".join(parts)


def _structures(detail: CandidateDetail) -> list[tuple[EngineResult, str]]:
    """Structures that can be shown: of each result the relaxed one, the start, and those of attempts."""
    found = []
    for result in detail.results:
        found += [(result, "relaxed")] if result.has_structure else []
        found += [(result, "start")] if result.has_start else []
        found += [(result, str(one.number)) for one in result.attempts if one.has_structure or one.has_start]
    return found


def _chosen(detail: CandidateDetail, view: StructureQuery) -> tuple[EngineResult | None, str]:
    """The structure that was asked for; else that of the highest row that is done, relaxed where there is one.

    Raises
    ------
    NotFoundError
        The candidate has no such result.
    """
    structures = _structures(detail)
    if view.result is not None:
        named = next((one for one in detail.results if one.key == view.result), None)
        if named is None:
            raise NotFoundError(f"this candidate has no result {view.result!r}", "its page lists the results")
        return named, view.which
    # What a failed calculation has reached is shown where nothing else is, or where it is asked for.
    ordered = list(reversed(structures))
    ordered.sort(key=lambda one: one[0].state != "done")
    for wanted in (view.which, "relaxed", "start"):
        for result, which in ordered:
            if which == wanted:
                return result, which
    return ordered[0] if ordered else (None, "start")


def _properties(detail: CandidateDetail) -> list[tuple[ColumnInfo, dict[str, Any]]]:
    """Each property with its value in each result, by the result's key."""
    found: dict[str, tuple[ColumnInfo, dict[str, Any]]] = {}
    for result in detail.results:
        for one in result.properties:
            found.setdefault(one.column.name, (one.column, {}))[1][result.key] = one.value
    return [pair for pair in found.values() if any(value is not None for value in pair[1].values())]


def _calculated() -> list[tuple[str, str, str, str, str]]:
    """Field, name, unit, description and format of what every engine gives."""
    from hts_flows.stores.candidates import EngineResult

    described = {name: EngineResult.model_fields[name].description or "" for name, _, _ in _CALCULATED}
    return [(name, header, unit_of(described[name]), described[name], form) for name, header, form in _CALCULATED]
