"""Layered intercalation compounds: how the pieces of the domain fit together."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from hts_flows.candidates import Candidate
from hts_flows.flows.base import Column, Domain
from hts_flows.inventories import Host, Inventories, Phase
from hts_flows.properties.intercalation import COLUMNS, IntercalationDoc
from hts_flows.structures.intercalation import IntercalationSpace, build

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from pymatgen.core import Structure

    from hts_flows.engines import Calculation

#: Properties that fit on a screen; exports hold all.
IN_TABLES = frozenset(
    {
        "intercalation_energy",
        "interlayer_distance",
        "interlayer_expansion",
        "stays_layered",
        "coordination_geometry",
    }
)


def facets(candidate: Candidate) -> dict[str, Any]:
    """Give what candidates are told apart by; the concentration is a number, so that it can be compared."""
    inputs = candidate.inputs
    return {
        "n_atoms": count_atoms(candidate),
        "host": inputs["host"],
        "intercalant": inputs["intercalant"],
        "concentration": float(Fraction(inputs["concentration"])),
        "stage": inputs["stage"],
        "site": inputs["site"],
        "ordering": inputs["ordering"],
    }


def references(candidate: Candidate, inventories: Inventories) -> dict[str, Candidate]:
    """Give the empty host and the elemental phase of every element of the compound."""
    from hts_flows.structures.bulk import bulk_candidate

    host = cast("Host", inventories.pick("hosts", candidate.inputs["host"]))
    elements = sorted({site.element for site in host.sites} | {candidate.inputs["intercalant"]})
    phases: dict[str, Phase] = {"host": host}
    phases |= {f"element:{element}": cast("Phase", inventories.pick("elements", element)) for element in elements}
    return {role: bulk_candidate(phase) for role, phase in phases.items()}


def count_atoms(candidate: Candidate) -> int:
    """Count the atoms of a candidate's cell without building it."""
    import json
    import sys

    from hts_flows.structures.filling import geometry, occupation

    inputs = candidate.inputs
    text = json.dumps(inputs["content"], sort_keys=True)
    host = geometry(text, inputs["stacking"], inputs["stage"])
    return occupation(host, Fraction(inputs["concentration"]), sys.maxsize).atoms


def derive(candidate: Candidate, calculation: Calculation, others: Mapping[str, Calculation]) -> IntercalationDoc:
    """Compute the property document; see :func:`hts_flows.properties.intercalation.derive`."""
    from hts_flows.properties.intercalation import derive as from_calculations

    return from_calculations(candidate, calculation, others)


def k_path(candidate: Candidate, structure: Structure) -> dict[str, Any]:
    """Give the host's high-symmetry path in the reciprocal basis of the compound's cell."""
    from hts_flows.inventories import crystal
    from hts_flows.properties.intercalation import count_intercalants, intercalant_sites
    from hts_flows.properties.k_path import host_k_path

    host = crystal(candidate.inputs["content"])
    number = count_intercalants(candidate, structure, host)
    sites = intercalant_sites(structure, candidate.inputs["intercalant"], number)
    return host_k_path(host, structure, sites).document()


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the overview of a campaign."""
    from hts_flows.figures.intercalation import campaign_figure

    return campaign_figure(frame)


DOMAIN = Domain(
    name="intercalation",
    build=build,
    space=IntercalationSpace,
    layered=True,
    facets=facets,
    references=references,
    k_path=k_path,
    derive=derive,
    properties=IntercalationDoc,
    columns=(Column("label", "candidate"), *(column for column in COLUMNS if column.name in IN_TABLES)),
    figure=figure,
)
