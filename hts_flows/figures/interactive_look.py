"""How interactive figures look, light and dark, and how they become JSON.

The colours are those of :mod:`hts_flows.figures.style`; on a dark page the darkest of them are lightened, and scales
run through the page's colour instead of white. Backgrounds are transparent. The template holds what differs from
plotly's own defaults alone, so that it adds little to each figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    import plotly.graph_objects as go
    from numpy.typing import NDArray

    from hts_flows.stores.result_columns import ColumnInfo

Theme = Literal["light", "dark"]
Scale = list[tuple[float, str]]

#: Shares of values that a colour scale covers, so that one outlier does not make all others pale, %.
REACH = 95.0
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_VIRIDIS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")


@dataclass(frozen=True)
class Look:
    """The colours of a theme.

    Attributes
    ----------
    text, muted, grid
        Of what is written, of what is less important, and of lines behind the data.
    empty
        Of cells without a value.
    categories
        Of categories that are told apart.
    other, failed, best
        Of what is not known or not told apart, of failures, and of the best value.
    diverging, sequential
        Scales: around zero, and of anything else.
    hover
        Behind the text of a hover label.
    """

    text: str
    muted: str
    grid: str
    empty: str
    categories: tuple[str, ...]
    other: str
    failed: str
    best: str
    diverging: Scale
    sequential: Scale
    hover: str


def _evenly(colours: Iterable[str]) -> Scale:
    found = list(colours)
    return [(number / (len(found) - 1), colour) for number, colour in enumerate(found)]


_LOOKS: dict[str, Look] = {
    "light": Look(
        text="#24292f",
        muted="#5c6670",
        grid="#e3e6ea",
        empty="#eef0f2",
        categories=("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800"),
        other="#8c959f",
        failed="#000000",
        best="#D55E00",
        diverging=_evenly(("#2166ac", "#67a9cf", "#f1f3f5", "#ef8a62", "#b2182b")),
        sequential=_evenly(_VIRIDIS),
        hover="#ffffff",
    ),
    "dark": Look(
        text="#dde3ea",
        muted="#9aa5b1",
        grid="#2c333c",
        empty="#232931",
        categories=("#4aa3df", "#E69F00", "#1fbf92", "#CC79A7", "#8fd0f5", "#ef7a33", "#F0E442"),
        other="#7d8793",
        failed="#f2f4f7",
        best="#ff8a4c",
        diverging=_evenly(("#6db3f2", "#3f78ad", "#2b323b", "#b05a45", "#ff8566")),
        sequential=_evenly(("#7b68c8", "#4f8fd0", "#2fb5a8", "#7ad151", "#fde725")),
        hover="#1d232a",
    ),
}


def look_of(theme: str) -> Look:
    """Give the colours of a theme.

    Raises
    ------
    InputError
        There is no such theme.
    """
    if theme not in _LOOKS:
        raise InputError(f"no theme of figures is called {theme!r}; {nearest(theme, _LOOKS)}")
    return _LOOKS[theme]


def new_figure(theme: str, **layout: Any) -> go.Figure:
    """Give an empty figure in a theme.

    Parameters
    ----------
    theme
        "light" or "dark".
    layout
        Further entries of plotly's layout.
    """
    import plotly.graph_objects as go

    look = look_of(theme)
    # Built by dicts: plotly's own template is several kB and would be in every figure.
    figure = go.Figure(layout={"template": {"layout": _template(look)}})
    figure.update_layout(**layout)
    return figure


def _template(look: Look) -> dict[str, Any]:
    axis = {
        "automargin": True,
        "gridcolor": look.grid,
        "linecolor": look.muted,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": look.muted,
        "zeroline": False,
        "title": {"standoff": 8},
    }
    bar = {"outlinewidth": 0, "ticks": "outside", "ticklen": 3, "thickness": 12, "title": {"side": "right"}}
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 13, "color": look.text},
        "colorway": list(look.categories),
        "coloraxis": {"colorbar": bar},
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": look.hover,
            "bordercolor": look.grid,
            "font": {"color": look.text, "size": 12},
            "align": "left",
        },
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "margin": {"l": 56, "r": 16, "t": 52, "b": 48},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": look.muted, "activecolor": look.text},
        "title": {"font": {"size": 12, "color": look.muted}, "x": 0.01, "xanchor": "left", "y": 0.99, "yanchor": "top"},
        "xaxis": axis,
        "yaxis": axis,
    }


def figure_json(figure: go.Figure) -> str:
    """Write a figure as JSON that any browser reads: data and layout, no NaN or infinity.

    Parameters
    ----------
    figure
        One of this package's.
    """
    text = figure.to_json(validate=False)
    assert text is not None  # noqa: S101 (plotly's annotation)
    return text


def header_of(name: str, columns: Mapping[str, ColumnInfo]) -> str:
    """Name a column with its unit, for an axis."""
    column = columns.get(name)
    if column is None:
        text = name.replace("_", " ")
        return text[:1].upper() + text[1:]
    text = column.name.replace("_", " ") if column.group == "property" else column.header
    text = text[:1].upper() + text[1:]
    return f"{text} ({column.unit})" if column.unit else text


def by_name(columns: Iterable[ColumnInfo]) -> dict[str, ColumnInfo]:
    """Columns by name."""
    return {column.name: column for column in columns}


def numbers(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Values of a column as numbers, NaN where there is none.

    Raises
    ------
    InputError
        There is no such column, or it holds no numbers.
    """
    import pandas as pd

    if name not in frame.columns:
        raise InputError(f"the table has no column {name!r}; {nearest(name, map(str, frame.columns))}")
    values = pd.to_numeric(frame[name], errors="coerce") if len(frame) else pd.Series([], dtype=float)
    found = values.to_numpy(dtype=float, na_value=np.nan)
    found = np.where(np.isfinite(found), found, np.nan)
    if frame[name].notna().any() and np.isnan(found).all():
        numeric = [str(one) for one in frame.columns if pd.api.types.is_numeric_dtype(frame[one])]
        raise InputError(f"column {name!r} holds no numbers; {nearest(name, numeric)}")
    return found


def plain(values: Iterable[float], digits: int = 6) -> list[float | None]:
    """Numbers as JSON has them: shortened to some digits, None for what is no number."""
    return [None if not math.isfinite(value) else float(f"{value:.{digits}g}") for value in values]


def colour_axis(values: NDArray[np.float64], look: Look, title: str) -> dict[str, Any]:
    """Give plotly's colour axis: around zero where values have both signs, else from the lowest to the highest.

    Parameters
    ----------
    values
        What is coloured, any shape; NaN is left out.
    look
        Colours.
    title
        Name of the values, with the unit.
    """
    known = values[np.isfinite(values)]
    bar = {"title": {"text": title}}
    if not known.size:
        return {"colorscale": look.sequential, "colorbar": bar, "cmin": 0.0, "cmax": 1.0}
    if known.min() < 0 < known.max():
        reach = float(np.percentile(np.abs(known), REACH)) or float(np.abs(known).max())
        return {"colorscale": look.diverging, "colorbar": bar, "cmin": -reach, "cmax": reach}
    low, high = (float(end) for end in np.percentile(known, [100 - REACH, REACH]))
    if len(known) < 40 or low == high:  # noqa: PLR2004 (of few, none is an outlier)
        low, high = float(known.min()), float(known.max())
    room = 0.0 if high > low else abs(high) * 0.05 or 0.5
    return {"colorscale": look.sequential, "colorbar": bar, "cmin": low - room, "cmax": high + room}


def tone_at(scale: Scale, place: float) -> list[float]:
    """Red, green and blue, 0 to 1, at a place between 0 and 1 on a scale; beyond its ends, those of the ends."""
    ends = [end for end, _ in scale]
    parts = [[int(colour[at : at + 2], 16) / 255 for _, colour in scale] for at in (1, 3, 5)]
    return [float(np.interp(place, ends, part)) for part in parts]


def common_prefix(texts: Iterable[str]) -> str:
    """Give what all of some texts begin with; empty for one alone."""
    known = sorted(set(texts))
    if len(known) < 2:  # noqa: PLR2004 (nothing to share)
        return ""
    low, high = known[0], known[-1]
    length = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:length]


def short(label: str, longest: int = 40) -> str:
    """Cut a long name."""
    return label if len(label) <= longest else label[: longest - 1] + "…"


def error_arms(mean: NDArray[np.float64], spread: NDArray[np.float64], *, log: bool) -> tuple[Any, Any]:
    """Lengths of error bars up and down: of logarithms, the interval of one standard deviation to both sides.

    Parameters
    ----------
    mean, spread
        Predicted values and their standard deviations, shape (n,).
    log
        Whether the model took logarithms.
    """
    if not log:
        return spread, spread
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.exp(np.arcsinh(spread / mean))
    return mean * factor - mean, mean - mean / factor
