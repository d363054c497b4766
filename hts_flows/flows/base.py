"""What a domain is: how its candidates are listed, built, referenced, parsed and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure
    from pymatgen.core import Structure

    from hts_flows.candidates import Candidate, CandidateSpace
    from hts_flows.engines import Calculation
    from hts_flows.figures.interactive_look import Theme
    from hts_flows.inventories import Inventories
    from hts_flows.properties.base import PropertyDoc


@dataclass(frozen=True)
class Column:
    """A column of the tables of a domain.

    Attributes
    ----------
    name
        Of the property, or another field of a result.
    header
        Symbol or word above the column.
    unit
        Of its values.
    format
        How its numbers are written, as for ``format``; empty for what is no number.
    good
        Which of its values are the best ones, where that can be said of the family as a whole; empty where not.
    """

    name: str
    header: str
    unit: str = ""
    format: str = ""
    good: Literal["", "low", "high"] = ""


class InteractiveFigure(NamedTuple):
    """A figure that only candidates of one domain have, for the browser."""

    #: Written above it.
    title: str
    #: From a table of results and a theme, "light" or "dark".
    draw: Callable[[pd.DataFrame, Theme], go.Figure]


@dataclass(frozen=True)
class Domain:
    """A family of candidates and everything that is particular to it.

    Attributes
    ----------
    name
        As written in ``candidates: domain:``.
    build
        Builds the starting structure from a candidate alone.
    computable
        Whether there is a structure to build; a candidate without one can be ranked, not computed.
    space
        Model of the ``candidates:`` section; None for a domain that only serves as reference.
    layered
        Whether its structures are held together by dispersion ("auto" of an engine's dispersion).
    fixed_cell
        Whether a candidate's cell is held while its atoms relax.
    facets
        What to tell the candidates apart by: short names to values, filterable in the database.
    references
        Candidates whose energies a candidate's properties refer to, by role.
    k_path
        Path for the band structure of a candidate's structure, as :meth:`~hts_flows.properties.k_path.KPath.document`
        gives it; None where the engine is to choose.
    derive
        Computes the property document from the candidate's calculation and those of its references.
    properties
        Class of that document.
    columns
        What tables show; the first with good values is the :attr:`headline`.
    figure
        Draws the overview of a campaign from a table of results.
    interactive
        The same for the browser.
    drawn
        What these tables have beside the columns of tables: name, and the field of the Calculation that it holds.
    taught
        Builds the starting structure of a candidate with what its engine is to learn from: the calculations of the
        training set of a ``screen:`` row, each with its candidate. None where nothing is learnt from others.
    """

    name: str
    build: Callable[[Candidate], Structure]
    computable: Callable[[Candidate], bool] = lambda _candidate: True
    space: type[CandidateSpace] | None = None
    layered: bool = False
    fixed_cell: Callable[[Candidate], bool] = lambda _candidate: False
    facets: Callable[[Candidate], dict[str, Any]] = lambda _candidate: {}
    references: Callable[[Candidate, Inventories], dict[str, Candidate]] = lambda _candidate, _inventories: {}
    k_path: Callable[[Candidate, Structure], dict[str, Any] | None] = lambda _candidate, _structure: None
    derive: Callable[[Candidate, Calculation, Mapping[str, Calculation]], PropertyDoc] | None = None
    properties: type[PropertyDoc] | None = None
    columns: tuple[Column, ...] = ()
    figure: Callable[[pd.DataFrame], Figure] | None = None
    interactive: InteractiveFigure | None = None
    drawn: Mapping[str, str] = field(default_factory=dict)
    taught: Callable[[Candidate, Sequence[tuple[Candidate, Calculation]]], Structure] | None = None

    @property
    def headline(self) -> Column | None:
        """Property that tells good candidates from others where a campaign searches for none; None: there is none."""
        return next((column for column in self.columns if column.good), None)
