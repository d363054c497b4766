"""Pictures of campaigns on layered intercalation compounds."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.figures.drawing import (
    bar_handles,
    colour_bar,
    draw_bars,
    draw_matrix,
    draw_periodic_table,
    failed_handle,
    series_of,
    table_height,
    table_rows,
)
from hts_flows.figures.frames import chosen_hosts, element_order, lowest, prepared
from hts_flows.figures.style import energy_norm, new_figure, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

ENERGY = "intercalation_energy"
ENERGY_LABEL = "Intercalation energy (eV per intercalant)"
SHORT_LABEL = "E$_\\mathrm{int}$ (eV per intercalant)"
#: Widest a figure gets, inches: two columns of a journal are 7.
WIDTH = 7.2
#: Most hosts whose tables and bars fit below each other.
FEW_HOSTS = 3
#: Most intercalants whose values are written into the matrix.
FEW_COLUMNS = 20
#: Most hosts with the colour scale below the matrix, not beside it.
FEW_ROWS = 8

_BAR = 0.09
_SLOT = 0.19
_PANEL_HEIGHT = 1.7
_LOW_PANEL_HEIGHT = 1.15
_MANY_PANELS = 6
_LEGEND_ENTRY = 1.15
_NUMBERS_FROM = 22.0


def energy_bars(frame: pd.DataFrame, *, hosts: Sequence[str] | None = None, engine: str | None = None) -> Figure:
    """Draw intercalation energies as bars, a panel a host, grouped by concentration and stage.

    Parameters
    ----------
    frame
        Table of results with columns host, intercalant, concentration, stage, engine, state, intercalation_energy.
    hosts
        Which hosts, in this order; all when left out.
    engine
        Which engine's results; the one with the most when left out.

    Raises
    ------
    InputError
        Nothing to draw, or an unknown column, host or engine.
    """
    rows = prepared(frame, ENERGY, engine)
    names = chosen_hosts(rows, hosts)
    rows = rows[rows["host"].isin(names)]
    order = element_order(list(rows["intercalant"]))
    among = series_of(rows)
    room = 0.7 + len(order) * max(len(among) * _BAR + 0.05, _SLOT)
    n_columns = max(1, min(len(names), int(WIDTH // room)))
    n_rows = ceil(len(names) / n_columns)
    height = _PANEL_HEIGHT if n_rows <= _MANY_PANELS else _LOW_PANEL_HEIGHT
    with styled():
        figure = new_figure(max(WIDTH if n_columns > 1 else min(room, 11), 3.4), n_rows * height + 0.7)
        panels = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
        for axes, host in zip(panels.flat, names, strict=False):
            draw_bars(axes, rows[rows["host"] == host], ENERGY, order, among)
            axes.set_title(host, loc="left")
        for axes in panels.flat[len(names) :]:
            axes.remove()
        if len(names) == 1:
            panels[0, 0].set_ylabel(SHORT_LABEL)
        else:
            figure.supylabel(SHORT_LABEL, fontsize=8)
        for axes in panels.flat[max(0, len(names) - n_columns) : len(names)]:
            axes.set_xlabel("Intercalant")
        figure.suptitle(_engine_of(rows), fontsize=7, x=0.99, ha="right")
        _legend(figure, bar_handles(among, failed=bool(rows["failed"].any())))
    return figure


def energy_heat_map(frame: pd.DataFrame, *, hosts: Sequence[str] | None = None, engine: str | None = None) -> Figure:
    """Draw the lowest intercalation energy of each element on a periodic table, one a host.

    Parameters and errors as for :func:`energy_bars`.
    """
    rows = prepared(frame, ENERGY, engine)
    names = chosen_hosts(rows, hosts)
    table = lowest(rows[rows["host"].isin(names)], ENERGY)
    norm = energy_norm(table[ENERGY])
    n_columns = 1 if len(names) == 1 else 2 if len(names) <= 8 else 4  # noqa: PLR2004
    n_rows = ceil(len(names) / n_columns)
    width = WIDTH if n_columns < 4 else 11.0  # noqa: PLR2004
    with styled():
        shown = table_rows(set(rows["intercalant"]))
        figure = new_figure(width, n_rows * (width / n_columns * _aspect(shown) + 0.25) + 0.9)
        panels = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes, host in zip(panels.flat, names, strict=False):
            _draw_host_table(axes, _of_host(table, host), norm, width / n_columns, shown)
            axes.set_title(host, loc="left")
        for axes in panels.flat[len(names) :]:
            axes.remove()
        used = list(panels.flat[: len(names)])
        colour_bar(figure, used, norm, table[ENERGY], ENERGY_LABEL, location="bottom", shrink=0.5, aspect=40, pad=0.02)
        figure.suptitle(_note(rows), fontsize=7, x=0.99, ha="right")
        if table["failed"].any():
            _legend(figure, [failed_handle()])
    return figure


def host_intercalant_map(
    frame: pd.DataFrame, *, hosts: Sequence[str] | None = None, engine: str | None = None
) -> Figure:
    """Draw the lowest intercalation energy of every host and intercalant as a matrix.

    Parameters and errors as for :func:`energy_bars`.
    """
    rows = prepared(frame, ENERGY, engine)
    names = chosen_hosts(rows, hosts)
    rows = rows[rows["host"].isin(names)]
    n_columns = rows["intercalant"].nunique()
    with styled():
        figure = new_figure(*_matrix_size(len(names), n_columns))
        _matrix_panel(figure, rows, names)
        figure.suptitle(_note(rows), fontsize=7, x=0.99, ha="right")
    return figure


def campaign_figure(frame: pd.DataFrame, *, engine: str | None = None) -> Figure:
    """Draw the overview of a campaign.

    Up to three hosts: a periodic table and the bars of each. More hosts: the matrix of hosts and intercalants, and a
    periodic table of the lowest energy in any host.

    Parameters and errors as for :func:`energy_bars`.
    """
    rows = prepared(frame, ENERGY, engine)
    names = chosen_hosts(rows)
    with styled():
        figure = _few_hosts(rows, names) if len(names) <= FEW_HOSTS else _many_hosts(rows, names)
        figure.suptitle(_note(rows), fontsize=7, x=0.99, ha="right")
    return figure


def _few_hosts(rows: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Per host, a periodic table above bars."""
    order = element_order(list(rows["intercalant"]))
    among = series_of(rows)
    table = lowest(rows, ENERGY)
    norm = energy_norm(table[ENERGY])
    width = max(WIDTH, min(0.7 + len(order) * max(len(among) * _BAR + 0.05, _SLOT), 11))
    shown = table_rows(set(rows["intercalant"]))
    heights = [0.8 * width * _aspect(shown) + 0.2, 1.9]
    figure = new_figure(width, len(names) * sum(heights) + 0.8)
    panels = figure.subplots(2 * len(names), 1, height_ratios=heights * len(names), squeeze=False)[:, 0]
    for number, host in enumerate(names):
        above, below = panels[2 * number], panels[2 * number + 1]
        _draw_host_table(above, _of_host(table, host), norm, 0.8 * width, shown)
        above.set_title(host, loc="left")
        colour_bar(figure, above, norm, table[ENERGY], SHORT_LABEL, location="right", shrink=0.7, aspect=20)
        draw_bars(below, rows[rows["host"] == host], ENERGY, order, among)
        below.set_ylabel(SHORT_LABEL)
        below.set_xlabel("Intercalant")
    _legend(figure, bar_handles(among, failed=bool(rows["failed"].any())))
    return figure


def _many_hosts(rows: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Matrix of all hosts above a periodic table of the lowest energy in any."""
    width, height = _matrix_size(len(names), rows["intercalant"].nunique())
    width = max(width, WIDTH)
    shown = table_rows(set(rows["intercalant"]))
    table_height = 0.9 * min(width, 9) * _aspect(shown) + 0.3
    figure = new_figure(width, height + table_height)
    upper, lower = figure.subfigures(2, 1, height_ratios=[height, table_height], squeeze=False)[:, 0]
    _matrix_panel(upper, rows, names)
    best = _of_host(lowest(rows.assign(host="any"), ENERGY), "any")
    norm = energy_norm(best[ENERGY])
    axes = lower.subplots()
    _draw_host_table(axes, best, norm, min(width, 9) * 0.9, shown)
    axes.set_title("Lowest in any host", loc="left")
    colour_bar(lower, axes, norm, best[ENERGY], SHORT_LABEL, location="right", shrink=0.7, aspect=20)
    return figure


def _matrix_size(n_hosts: int, n_intercalants: int) -> tuple[float, float]:
    cell = 0.3 if n_intercalants <= FEW_COLUMNS else 0.2
    return max(2.0 + n_intercalants * cell, 4.6), (1.9 if n_hosts <= FEW_ROWS else 1.3) + n_hosts * 0.2


def _matrix_panel(figure: Any, rows: pd.DataFrame, names: Sequence[str]) -> None:
    order = element_order(list(rows["intercalant"]))
    table = lowest(rows, ENERGY)
    cells = table.reindex([(host, element) for host in names for element in order])
    shape = (len(names), len(order))
    values = cells[ENERGY].to_numpy(dtype=float).reshape(shape)
    failed = (cells["failed"] == True).to_numpy(dtype=bool).reshape(shape)  # noqa: E712 - NaN: not computed
    norm = energy_norm(values)
    axes = figure.subplots()
    draw_matrix(axes, names, order, values, failed, norm=norm, numbers=len(order) <= FEW_COLUMNS)
    axes.set_xlabel("Intercalant")
    axes.set_ylabel("Host")
    place: dict[str, Any] = {"location": "bottom", "shrink": 0.6, "aspect": 30}
    if len(names) > FEW_ROWS:
        place = {"location": "right", "shrink": min(1.0, FEW_ROWS / len(names)), "aspect": 25}
    colour_bar(figure, axes, norm, values, SHORT_LABEL, **place)
    if failed.any():
        _legend(figure, [failed_handle()])


def _of_host(table: pd.DataFrame, host: str) -> pd.DataFrame:
    """Rows of one host, by intercalant."""
    return table[table.index.get_level_values("host") == host].droplevel("host")


def _aspect(shown: Sequence[float]) -> float:
    """Height over width of a periodic table with these rows."""
    return table_height(shown) / 18.1


def _draw_host_table(axes: Any, table: pd.DataFrame, norm: Any, width: float, shown: Sequence[float]) -> None:
    """Periodic table of one host; ``width`` in inches sets the size of its letters."""
    cell = width / 18.2 * 72
    numbers = cell > _NUMBERS_FROM
    draw_periodic_table(
        axes,
        dict(zip(map(str, table.index), table[ENERGY].astype(float), strict=True)),
        {str(symbol) for symbol in table.index[table["failed"]]},
        norm,
        rows=shown,
        numbers=numbers,
        font=float(np.clip(cell * (0.3 if numbers else 0.42), 3.5, 9)),
    )


def _legend(figure: Any, handles: list[Any]) -> None:
    width = figure.get_figure(root=True).get_figwidth()
    columns = max(1, min(len(handles), int(width / _LEGEND_ENTRY)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def _engine_of(rows: pd.DataFrame) -> str:
    return f"Engine: {rows['engine'].iloc[0]}"


def _note(rows: pd.DataFrame) -> str:
    """Say which engine, and over what the lowest is taken."""
    several = " (lowest of all concentrations, stages and orderings)" if _several(rows) else ""
    return f"{_engine_of(rows)}{several}"


def _several(rows: pd.DataFrame) -> bool:
    return bool(rows.duplicated(["host", "intercalant"]).any())
