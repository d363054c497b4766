"""Parts of figures: a bar chart, a periodic table and a matrix, each drawn into given axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from hts_flows.figures.style import (
    DIVERGING,
    EDGE,
    EMPTY,
    FAILED,
    FAILED_MARK,
    category_colours,
    fraction_text,
    text_colour,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from pymatgen.core import Element

#: Share of the room between two ticks that bars take.
BAR_ROOM = 0.84
_TABLE_COLUMNS = 18
_HALF = 0.55
_LAST_ROW = 7.0

Series = tuple[float, int]


def series_of(rows: pd.DataFrame) -> list[Series]:
    """Concentrations and stages that occur, sorted."""
    return sorted({(float(x), int(stage)) for x, stage in zip(rows["concentration"], rows["stage"], strict=True)})


def series_text(series: Series, among: Sequence[Series]) -> str:
    """Name a series by what tells it from the others."""
    concentration, stage = series
    text = f"x = {fraction_text(concentration)}"
    return f"{text}, stage {stage}" if {other for _, other in among} != {1} else text


def draw_bars(axes: Axes, rows: pd.DataFrame, value: str, order: Sequence[str], among: Sequence[Series]) -> None:
    """Draw bars by intercalant, side by side for concentrations and stages.

    Parameters
    ----------
    axes
        Where to.
    rows
        Results of one host. Of several orderings or sites with the same concentration and stage the lowest is drawn;
        a mark stands where there are only failed ones.
    value
        Column to draw.
    order
        Intercalants along the axis.
    among
        Concentrations and stages, in the order of their colours.
    """
    width = BAR_ROOM / len(among)
    for number, (series, colour) in enumerate(zip(among, category_colours(len(among)), strict=True)):
        concentration, stage = series
        here = rows[np.isclose(rows["concentration"], concentration) & (rows["stage"] == stage)]
        groups = here.groupby("intercalant").agg(**{value: (value, "min"), "failed": ("failed", "any")})
        offset = (number + 0.5) * width - BAR_ROOM / 2
        done = groups[value].dropna()
        places = [order.index(name) + offset for name in done.index]
        axes.bar(places, done.to_numpy(), width, color=colour, edgecolor="none", label=series_text(series, among))
        failed = groups.index[groups["failed"] & groups[value].isna()]
        marks = [order.index(name) + offset for name in failed]
        if marks:
            axes.plot(marks, [0.0] * len(marks), FAILED_MARK, color=FAILED, ms=4, mew=1, ls="none", label="_failed")
    axes.axhline(0, color="black", lw=0.6)
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_xticks(range(len(order)), order)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#DDDDDD", lw=0.5)


def bar_handles(among: Sequence[Series], *, failed: bool) -> list[Any]:
    """Entries of the legend of bars."""
    handles: list[Any] = [
        Patch(facecolor=colour, label=series_text(series, among))
        for series, colour in zip(among, category_colours(len(among)), strict=True)
    ]
    return [*handles, failed_handle()] if failed else handles


def failed_handle() -> Line2D:
    """Entry of a legend for what failed."""
    return Line2D([], [], color=FAILED, marker=FAILED_MARK, ms=4, mew=1, ls="none", label="failed")


def draw_periodic_table(
    axes: Axes,
    values: Mapping[str, float],
    failed: Collection[str],
    norm: Normalize,
    *,
    rows: Collection[float],
    numbers: bool,
    font: float,
) -> None:
    """Draw a periodic table coloured by a value of each element.

    Parameters
    ----------
    axes
        Where to.
    values
        By element symbol; NaN and missing ones stay grey.
    failed
        Symbols of the elements marked as failed.
    norm
        Colour scale.
    rows
        Rows to draw, as :func:`table_rows` gives them.
    numbers
        Write the values under the symbols.
    font
        Size of the symbols, points.
    """
    from pymatgen.core import Element

    for element in Element:
        column, row = table_place(element)
        if row not in rows or element.symbol in ("D", "T"):
            continue
        row -= _lift(row, rows)
        symbol = element.symbol
        value = values.get(symbol, float("nan"))
        known = bool(np.isfinite(value))
        shown = known or symbol in failed
        face = mpl.colormaps[DIVERGING](norm(value)) if known else mpl.colors.to_rgba("white" if shown else EMPTY)
        corner = (column - 0.46, row - 0.46)
        edge = EDGE if shown else "none"
        axes.add_patch(Rectangle(corner, 0.92, 0.92, facecolor=face, edgecolor=edge, lw=0.4, gid=f"cell-{symbol}"))
        ink = text_colour(face) if known else "black" if shown else "#999999"
        high = row - (0.16 if numbers and shown else 0)
        axes.text(column, high, symbol, ha="center", va="center", fontsize=font, color=ink)
        if known and numbers:
            axes.text(column, row + 0.24, energy_text(value), ha="center", va="center", fontsize=0.7 * font, color=ink)
        if shown and not known:
            low, size = (row + 0.24, 0.5 * font) if numbers else (row, 1.5 * font)
            axes.plot([column], [low], FAILED_MARK, color=FAILED, ms=size, mew=0.8, alpha=1 if numbers else 0.5)
    axes.set_xlim(1 - _HALF, _TABLE_COLUMNS + _HALF)
    axes.set_ylim(table_height(rows) + 1 - _HALF, 1 - _HALF)
    axes.set_aspect("equal")
    axes.set_axis_off()


def table_rows(symbols: Collection[str]) -> list[float]:
    """Rows of the periodic table to draw: the first six, and those below where an element asked for lies there."""
    from pymatgen.core import Element

    places = {table_place(Element(symbol))[1] for symbol in symbols if Element.is_valid_symbol(symbol)}
    return sorted({1.0, 2.0, 3.0, 4.0, 5.0, 6.0} | places)


def table_height(rows: Collection[float]) -> float:
    """Height of a periodic table with these rows, in cells."""
    return max(row - _lift(row, rows) for row in rows) - 1 + 2 * _HALF


def _lift(row: float, rows: Collection[float]) -> float:
    """How much higher the f block stands where the seventh row is left out."""
    return 1.0 if row > _LAST_ROW and _LAST_ROW not in rows else 0.0


def table_place(element: Element) -> tuple[int, float]:
    """Column and row in the table; the f block stands below."""
    for row, start in ((6, 57), (7, 89)):
        if start <= element.Z <= start + 14:
            return 3 + element.Z - start, row + 2.4
    return int(element.group), float(element.row)


def draw_matrix(
    axes: Axes,
    hosts: Sequence[str],
    intercalants: Sequence[str],
    values: NDArray[np.float64],
    failed: NDArray[np.bool_],
    *,
    norm: Normalize,
    numbers: bool,
) -> None:
    """Draw host × intercalant as coloured cells.

    Parameters
    ----------
    axes
        Where to.
    hosts, intercalants
        Names of the rows and columns.
    values
        Shape (n_hosts, n_intercalants); NaN cells stay grey.
    failed
        Same shape: cells marked as failed.
    norm
        Colour scale.
    numbers
        Write the values into the cells.
    """
    scale = mpl.colormaps[DIVERGING].with_extremes(bad=EMPTY)
    axes.imshow(np.ma.masked_invalid(values), cmap=scale, norm=norm, aspect="auto", interpolation="none")
    axes.set_xticks(range(len(intercalants)), list(intercalants))
    axes.set_yticks(range(len(hosts)), list(hosts))
    axes.set_xticks(np.arange(len(intercalants) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(hosts) + 1) - 0.5, minor=True)
    axes.grid(visible=False, which="major")
    axes.grid(which="minor", color="white", lw=0.8)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    rows, columns = np.nonzero(failed)
    axes.plot(columns, rows, FAILED_MARK, color=FAILED, ms=4, mew=1, ls="none", label="failed")
    if numbers:
        for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
            value = float(values[row, column])
            ink = text_colour(scale(norm(value)))
            axes.text(column, row, energy_text(value), ha="center", va="center", fontsize=5.5, color=ink)


def energy_text(value: float) -> str:
    """Write an energy with two decimals and a proper minus sign; no negative zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def colour_bar(figure: Any, axes: Any, norm: Normalize, values: Any, label: str, **options: Any) -> None:
    """Add the colour scale, with arrows at the ends that values go beyond."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    low, high = bool((finite < norm.vmin).any()), bool((finite > norm.vmax).any())
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((low, high), "neither")
    bar = figure.colorbar(ScalarMappable(norm, DIVERGING), ax=axes, extend=extend, label=label, **options)
    bar.outline.set_linewidth(0.4)
