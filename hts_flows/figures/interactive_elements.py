"""The periodic table for the browser, coloured by what came out of the candidates with each element."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hts_flows.errors import InputError, nearest
from hts_flows.figures.interactive_look import (
    Theme,
    by_name,
    colour_axis,
    header_of,
    look_of,
    new_figure,
    numbers,
    short,
    tone_at,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from numpy.typing import NDArray

    from hts_flows.stores.result_columns import ColumnInfo

How = Literal["best", "mean", "count"]

_ELEMENT = re.compile(r"[A-Z][a-z]?")
_INTERCALANT = "intercalant"
_SUMMARIES = ("best", "mean", "count")
_CELL = 0.94
_COLUMNS = 18
#: Row of the table that is left out, and the f block moved up, where no element of it occurs.
_LAST_ROW = 7.0
_F_ELEMENTS = (57, 71, 89, 103)


def periodic_table(
    frame: pd.DataFrame,
    by: str = "",
    how: How = "best",
    *,
    minimize: bool = True,
    columns: Iterable[ColumnInfo] = (),
    theme: Theme = "light",
) -> go.Figure:
    """Colour the elements by a property of the candidates with each.

    Parameters
    ----------
    frame
        One row a candidate. An element is the candidate's ``intercalant`` where the table has that column, else any of
        its ``formula``.
    by
        Column of numbers; unused by "count".
    how
        "best" or "mean" of the column, or "count" of the candidates.
    minimize
        Whether low values are good.
    columns
        What the columns are, with units.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        No such column, or an unknown ``how``.
    """
    from hts_flows.figures.style import text_colour

    if how not in _SUMMARIES:
        raise InputError(f"how={how!r}: no such summary; {nearest(how, _SUMMARIES)}")
    look, known = look_of(theme), by_name(columns)
    values, counts, named = _element_values(frame, by, how, minimize=minimize)
    what = {"best": "Lowest" if minimize else "Highest", "mean": "Mean", "count": "Candidates"}[how]
    header = header_of(by, known) if how != "count" else ""
    title = f"{what} {header[:1].lower() + header[1:]}".strip()
    found = np.array(list(values.values()), dtype=float)
    axis = colour_axis(found, look, title)
    if how == "count":
        axis["cmin"] = 0.0
    axis["colorbar"] = {
        "title": {"text": title, "side": "top"}, "orientation": "h", "thickness": 10, "len": 0.42,
        "x": 0.37, "xanchor": "center", "y": 1.0, "yanchor": "top",
    }  # fmt: skip
    places, height = _places(values)
    figure = new_figure(
        theme,
        meta={"prefix": ""},
        barmode="overlay",
        bargap=0,
        showlegend=False,
        coloraxis=axis,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"visible": False, "range": [0.5, _COLUMNS + 0.5], "fixedrange": True},
        yaxis={"visible": False, "range": [height + 0.5, 0.5], "fixedrange": True},
    )
    digits = 0 if how == "count" else _digits(found)
    empty = [symbol for symbol in places if symbol not in values]
    _add_cells(figure, empty, places, {"color": look.empty}, None)
    texts = [
        "<br>".join(
            [f"{symbol}"]
            + ([f"{title}: {_written(value, digits)}"] if how != "count" else [])
            + [f"{counts[symbol]:,} candidate{'s' if counts[symbol] != 1 else ''}"]
            + ([f"{what.lower()}: {named[symbol]}"] if how == "best" else [])
        )
        for symbol, value in values.items()
    ]
    tones = [_tone(value, axis) for value in values.values()]
    _add_cells(figure, list(values), places, {"color": [f"rgb({','.join(map(str, tone))})" for tone in tones]}, texts)
    # Bars have colours, not numbers: their colour bar is that of a point which is not drawn.
    figure.add_scatter(
        x=[None], y=[None], mode="markers", marker={"color": [axis["cmin"]], "coloraxis": "coloraxis"}, hoverinfo="skip"
    )
    _add_texts(figure, empty, places, [look.other] * len(empty), None)
    inks = [text_colour([part / 255 for part in tone]) for tone in tones]
    _add_texts(figure, list(values), places, inks, [_written(value, digits) for value in values.values()])
    return figure


def _places(values: Mapping[str, float]) -> tuple[dict[str, tuple[int, float]], float]:
    """Column and row of every element that is drawn, and the number of rows; rows below the sixth where needed."""
    from pymatgen.core import Element

    from hts_flows.figures.drawing import table_place, table_rows

    rows = table_rows(values)
    lift = 0.0 if _LAST_ROW in rows else 1.0
    first, last, next_first, next_last = _F_ELEMENTS
    places = {}
    for element in Element:
        in_f_block = first <= element.Z <= last or next_first <= element.Z <= next_last
        column, row = table_place(element)
        if row in rows:
            places[element.symbol] = (column, row - lift if in_f_block else row)
    return places, max(row for _, row in places.values())


def _add_cells(
    figure: go.Figure,
    symbols: list[str],
    places: Mapping[str, tuple[int, float]],
    marker: dict[str, Any],
    texts: list[str] | None,
) -> None:
    figure.add_bar(
        x=[places[symbol][0] for symbol in symbols],
        base=[places[symbol][1] - _CELL / 2 for symbol in symbols],
        y=[_CELL] * len(symbols),
        width=_CELL,
        marker=marker | {"line": {"width": 0}},
        customdata=symbols,
        hovertext=texts,
        hovertemplate="%{hovertext}<extra></extra>" if texts else None,
        hoverinfo=None if texts else "skip",
    )


def _add_texts(
    figure: go.Figure,
    symbols: list[str],
    places: Mapping[str, tuple[int, float]],
    inks: list[str],
    written: list[str] | None,
) -> None:
    x = [places[symbol][0] for symbol in symbols]
    y = [places[symbol][1] for symbol in symbols]
    common: dict[str, Any] = {"mode": "text", "hoverinfo": "skip", "cliponaxis": False}
    up = 0.14 if written else 0.0
    figure.add_scatter(x=x, y=[row - up for row in y], text=symbols, textfont={"color": inks, "size": 13}, **common)
    if written:
        figure.add_scatter(
            x=x, y=[row + 0.24 for row in y], text=written, textfont={"color": inks, "size": 10}, **common
        )


def _element_values(
    frame: pd.DataFrame, by: str, how: How, *, minimize: bool
) -> tuple[dict[str, float], dict[str, int], dict[str, str]]:
    """Value, number of candidates, and label of the best candidate, by element; only elements with a value."""
    import pandas as pd

    is_intercalant = _INTERCALANT in frame.columns
    # Many candidates have the same, so each different one is looked at once.
    codes, texts = pd.factorize(frame[_INTERCALANT if is_intercalant else "formula"])
    found = [[str(one)] if is_intercalant else sorted(set(_ELEMENT.findall(str(one)))) for one in texts]
    elements = pd.DataFrame(
        [(code, symbol) for code, symbols in enumerate(found) for symbol in symbols if _is_element(symbol)],
        columns=["code", "element"],
    )
    values = numbers(frame, by) if how != "count" else np.ones(len(frame))
    labels = (
        frame["label"].to_numpy(dtype=object) if "label" in frame.columns else frame["formula"].to_numpy(dtype=object)
    )
    rows = pd.DataFrame({"code": codes, "value": values, "label": labels})
    pairs = rows[rows["value"].notna()].merge(elements, on="code")
    if pairs.empty:
        return {}, {}, {}
    groups = pairs.groupby("element")["value"]
    counts = {str(symbol): int(number) for symbol, number in groups.size().items()}
    if how == "count":
        return {symbol: float(number) for symbol, number in counts.items()}, counts, {}
    best = pairs.loc[groups.idxmin() if minimize else groups.idxmax()]
    named = {str(one): short(str(label)) for one, label in zip(best["element"], best["label"], strict=True)}
    summary = groups.mean() if how == "mean" else best.set_index("element")["value"]
    return {str(symbol): float(value) for symbol, value in summary.items()}, counts, named


def _is_element(symbol: str) -> bool:
    from pymatgen.core import Element

    return Element.is_valid_symbol(symbol)


def _tone(value: float, axis: Mapping[str, Any]) -> list[int]:
    """Red, green and blue of a value on the colour scale, 0 to 255."""
    place = (value - axis["cmin"]) / ((axis["cmax"] - axis["cmin"]) or 1.0)
    return [round(255 * part) for part in tone_at(axis["colorscale"], place)]


def _digits(values: NDArray[np.float64]) -> int:
    """Decimals for numbers in cells of a periodic table."""
    largest = float(np.nanmax(np.abs(values))) if values.size else 0.0
    return 2 if largest < 10 else 1 if largest < 100 else 0  # noqa: PLR2004 (three or four figures)


def _written(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−") if np.isfinite(value) else ""
