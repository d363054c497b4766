"""Compounds of a library: how the pieces of the domain fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hts_flows.flows.base import Column, Domain
from hts_flows.properties.compounds import COLUMNS, CompoundDoc, derive
from hts_flows.structures.compounds import CompoundSpace, build, facets, has_structure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def figure(frame: pd.DataFrame) -> Figure:
    """Draw the overview of a campaign."""
    from hts_flows.figures.compounds import campaign_figure

    return campaign_figure(frame)


DOMAIN = Domain(
    name="compounds",
    build=build,
    computable=has_structure,
    space=CompoundSpace,
    facets=facets,
    derive=derive,
    properties=CompoundDoc,
    columns=(Column("label", "compound"), *COLUMNS),
    figure=figure,
)
