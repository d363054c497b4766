"""Grain boundaries: how the pieces of the domain fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hts_flows.flows.base import Column, Domain, InteractiveFigure
from hts_flows.properties.grain_boundaries import COLUMNS, GrainBoundaryDoc, derive
from hts_flows.structures.grain_boundaries import GrainBoundarySpace, build, facets

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure
    from pymatgen.core import Structure

    from hts_flows.candidates import Candidate
    from hts_flows.engines.base import Calculation
    from hts_flows.figures.interactive_look import Theme
    from hts_flows.inventories import Inventories


def references(candidate: Candidate, inventories: Inventories) -> dict[str, Candidate]:
    """Give the perfect crystal."""
    del inventories
    from hts_flows.structures.bulk import crystal_candidate
    from hts_flows.structures.cubic_crystals import element_content

    content = candidate.inputs["crystal"]
    if "element" in content:
        content = element_content(**content)
    return {"crystal": crystal_candidate(content, candidate.formula)}


def taught(candidate: Candidate, training: Sequence[tuple[Candidate, Calculation]]) -> Structure:
    """Give a boundary's starting structure the energies of all configurations of other boundaries."""
    from hts_flows.screening.configurations import TrainingTable

    structure = build(candidate)
    tables = []
    for other, calculation in training:
        found = calculation.translation_search
        if found is None:
            continue
        table = TrainingTable(
            label=other.label,
            grain_boundary=build(other).properties["grain_boundary"],
            lattice_constant=found.lattice_constant,
            translations=found.translations,
            removal=found.removal,
            energies=found.energies,
        )
        tables.append(table.model_dump(mode="json"))
    structure.properties["grain_boundary"]["training"] = tables
    return structure


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the overview of a campaign."""
    from hts_flows.figures.grain_boundaries import campaign_figure

    return campaign_figure(frame)


def interactive(frame: pd.DataFrame, theme: Theme) -> go.Figure:
    """Draw the same for the browser."""
    from hts_flows.figures.interactive import boundary_energies

    return boundary_energies(frame, theme=theme)


DOMAIN = Domain(
    name="grain_boundaries",
    build=build,
    space=GrainBoundarySpace,
    facets=facets,
    references=references,
    derive=derive,
    properties=GrainBoundaryDoc,
    columns=(Column("label", "boundary"), *COLUMNS),
    figure=figure,
    interactive=InteractiveFigure("Grain boundaries", interactive),
    drawn={"trials": "translation_search"},
    taught=taught,
)
