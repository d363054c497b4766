"""Figures for the browser from tables of results: plotly figures, light or dark.

Points carry the candidate's id in ``customdata``, without what all ids of the figure begin with, which is
``layout.meta["prefix"]``: a page makes links of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError, nearest
from hts_flows.figures.interactive_boundaries import boundary_energies
from hts_flows.figures.interactive_elements import periodic_table
from hts_flows.figures.interactive_look import (
    Look,
    Theme,
    by_name,
    colour_axis,
    common_prefix,
    figure_json,
    header_of,
    look_of,
    new_figure,
    numbers,
    plain,
    short,
)
from hts_flows.figures.interactive_ranking import ranking_parity, ranking_predictions, ranking_progress
from hts_flows.figures.interactive_structure import structure_view

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from numpy.typing import NDArray

    from hts_flows.stores.result_columns import ColumnInfo

__all__ = [
    "boundary_energies",
    "figure_json",
    "histogram",
    "periodic_table",
    "ranking_parity",
    "ranking_predictions",
    "ranking_progress",
    "scatter",
    "structure_view",
]

#: Points that a browser draws without delay; of more, some are left out.
MOST_POINTS = 5000
#: Categories with a colour of their own; the others share one.
MOST_CATEGORIES = 7
#: So few different numbers are categories too.
FEW_NUMBERS = 5
_OTHER = "other"
_MOST_BINS = 60


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str,
    colour: str | None = None,
    *,
    columns: Iterable[ColumnInfo] = (),
    theme: Theme = "light",
) -> go.Figure:
    """Draw one column against another.

    Parameters
    ----------
    frame
        One row a candidate, with ``candidate_id`` and ``label``; rows without a number in ``x`` or ``y`` are left out.
        Of more than :data:`MOST_POINTS`, rows evenly spaced in ``y`` are drawn, and the title says so.
    x, y
        Columns of numbers.
    colour
        Column that colours the points: many different numbers by a scale, anything else by category.
    columns
        What the columns are, with units.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        No such column, or it holds no numbers.
    """
    look, known = look_of(theme), by_name(columns)
    if colour is not None and colour not in frame.columns:
        raise InputError(f"the table has no column {colour!r}; {nearest(colour, map(str, frame.columns))}")
    across, up = numbers(frame, x), numbers(frame, y)
    kept = np.flatnonzero(np.isfinite(across) & np.isfinite(up))
    total = len(kept)
    if total > MOST_POINTS:
        ordered = kept[np.argsort(up[kept], kind="stable")]
        kept = np.sort(ordered[np.linspace(0, total - 1, MOST_POINTS).round().astype(int)])
    rows = frame.iloc[kept]
    ids = [str(one) for one in rows["candidate_id"]] if "candidate_id" in rows else [""] * len(rows)
    prefix = common_prefix(ids)
    figure = new_figure(
        theme,
        meta={"prefix": prefix},
        xaxis={"title": {"text": header_of(x, known)}},
        yaxis={"title": {"text": header_of(y, known)}},
        title={"text": _drawn(total, len(kept), len(frame))},
    )
    for values in (("xaxis", across[kept]), ("yaxis", up[kept])):
        if values[1].size and values[1].min() < 0 < values[1].max():
            figure.update_layout({values[0]: {"zeroline": True, "zerolinecolor": look.muted, "zerolinewidth": 1}})
    base = {"size": 7 if len(kept) <= 500 else 5, "opacity": 0.85, "line": {"width": 0}}  # noqa: PLR2004 (points)
    hover = f"%{{text}}<br>{header_of(x, known)}: %{{x}}<br>{header_of(y, known)}: %{{y}}"
    for name, mine, marker, extra in _coloured(rows, colour, look, known, figure):
        figure.add_scatter(
            x=plain(across[kept][mine], 5),
            y=plain(up[kept][mine], 5),
            mode="markers",
            name=name,
            showlegend=bool(name),
            marker=base | marker,
            text=[short(str(one)) for one in rows["label"][mine]] if "label" in rows else None,
            customdata=[one.removeprefix(prefix) for one, here in zip(ids, mine, strict=True) if here],
            hovertemplate=hover + extra + "<extra></extra>",
        )
    return figure


def histogram(
    frame: pd.DataFrame, column: str, *, columns: Iterable[ColumnInfo] = (), theme: Theme = "light"
) -> go.Figure:
    """Draw how often the values of a column occur.

    Parameters
    ----------
    frame
        One row a candidate; rows without a number are left out, and the title says how many.
    column
        Column of numbers.
    columns
        What the columns are, with units.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        No such column, or it holds no numbers.
    """
    look, known = look_of(theme), by_name(columns)
    values = numbers(frame, column)
    values = values[np.isfinite(values)]
    header = header_of(column, known)
    figure = new_figure(
        theme,
        bargap=0.04,
        xaxis={"title": {"text": header}},
        yaxis={"title": {"text": "Candidates"}, "rangemode": "tozero"},
        title={"text": _drawn(len(values), len(values), len(frame))},
    )
    if not len(values):
        return figure
    edges = np.histogram_bin_edges(values, bins="auto")
    if len(edges) - 1 > _MOST_BINS:
        edges = np.linspace(edges[0], edges[-1], _MOST_BINS + 1)
    counts, _ = np.histogram(values, edges)
    figure.add_bar(
        x=plain((edges[1:] + edges[:-1]) / 2),
        y=counts.tolist(),
        width=plain(np.diff(edges)),
        customdata=[plain(pair, 4) for pair in pairwise(edges)],
        marker={"color": look.categories[0], "line": {"width": 0}},
        hovertemplate=f"%{{customdata[0]}} to %{{customdata[1]}}<br>%{{y}} candidates<extra>{header}</extra>",
        showlegend=False,
    )
    if edges[0] < 0 < edges[-1]:
        figure.add_vline(x=0, line={"color": look.muted, "width": 1, "dash": "dot"})
    return figure


def _coloured(
    rows: pd.DataFrame, colour: str | None, look: Look, known: Mapping[str, ColumnInfo], figure: go.Figure
) -> list[tuple[str, NDArray[np.bool_], dict[str, Any], str]]:
    """Traces of a scatter plot: name, which rows, marker, and a line of the hover label."""
    import pandas as pd

    everyone = np.ones(len(rows), dtype=bool)
    if colour is None:
        return [("", everyone, {"color": look.categories[0]}, "")]
    column = rows[colour]
    header = header_of(colour, known)
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    if is_number and column.nunique() > FEW_NUMBERS:
        values = numbers(rows, colour)
        has = np.isfinite(values)
        figure.update_layout(coloraxis=colour_axis(values, look, header))
        marker = {"color": plain(values[has], 4), "coloraxis": "coloraxis"}
        traces = [("", has, marker, f"<br>{header}: %{{marker.color}}")]
        return (
            [(f"no {colour.replace('_', ' ')}", ~has, {"color": look.other}, ""), *traces] if not has.all() else traces
        )
    pairs = zip(column, column.isna(), strict=True)
    texts = np.array(
        ["none" if gone else f"{header} {one:.4g}" if is_number else str(one) for one, gone in pairs], dtype=object
    )
    counts = pd.Series(texts).value_counts()
    named = sorted(counts.index[:MOST_CATEGORIES]) if len(counts) > 0 else []
    traces = [
        (str(name), texts == name, {"color": tone}, f"<br>{name if is_number else f'{header}: {name}'}")
        for name, tone in zip(named, look.categories, strict=False)
    ]
    rest = ~np.isin(texts, named)
    return [(_OTHER, rest, {"color": look.other}, ""), *traces] if rest.any() else traces


def _drawn(total: int, drawn: int, rows: int) -> str:
    """Say what is not drawn."""
    parts = [f"{drawn:,} of {total:,} points drawn"] if drawn < total else []
    if rows > total:
        parts.append(f"{rows - total:,} without a value left out")
    return "; ".join(parts)
