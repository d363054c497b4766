"""Pictures of campaigns on grain boundaries."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from hts_flows.errors import InputError
from hts_flows.figures.grain_boundary_panels import (
    BEST,
    TRIAL,
    angle_handles,
    angle_styles,
    draw_angles,
    draw_map,
    draw_trials,
    draw_trials_in_map,
    energy_bar,
    map_norm,
)
from hts_flows.figures.grain_boundary_tables import (
    ENERGY,
    ENERGY_LABEL,
    has_translations,
    is_one_boundary,
    map_of_candidates,
    map_of_search,
    perfect_angles,
    prepared,
    search_row,
    stopped,
)
from hts_flows.figures.labels import place_labels
from hts_flows.figures.style import EDGE, EMPTY, FAILED, FAILED_MARK, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hts_flows.figures.grain_boundary_tables import TranslationMap

#: Figures of two columns of a journal.
WIDTH = 7.2
#: Most boundaries whose candidates get a map each; those with the lowest energies.
MOST_MAPS = 18
#: Most boundaries of a panel that are named.
MOST_NAMES = 40
#: Maps that are longer than this times their height stand above the trials, not beside them.
LONG_MAP = 3.0

_PANEL_HEIGHT = 3.1
_LEGEND_ENTRY = 1.5


def campaign_figure(frame: pd.DataFrame, *, engine: str | None = None) -> Figure:
    """Draw the overview of a campaign.

    Candidates that are translations: a map of energies for each boundary. One boundary that was searched: its map with
    the trials in the order asked, and the energy of each trial. Else: energies against misorientations.

    Parameters
    ----------
    frame
        Table of results, one row a candidate. Columns that are used, where they are there: label, boundary, crystal,
        sigma, axis, plane, kind, angle (degrees), collection, x, y (Å), x_cos, x_sin, y_cos, y_sin (Å), engine, state,
        boundary_energy, predicted_energy (J/m²), relaxed, method, stop_reason, n_candidates, trials.
    engine
        Which engine's results; the one with the most finished ones when left out.

    Raises
    ------
    InputError
        Nothing to draw, or an unknown engine.
    """
    rows = prepared(frame, engine)
    if has_translations(rows):
        return translation_figure(frame, engine=engine)
    if is_one_boundary(rows) and search_row(rows) is not None:
        return search_figure(frame, engine=engine)
    return angle_figure(frame, engine=engine)


def search_figure(frame: pd.DataFrame, *, engine: str | None = None) -> Figure:
    """Draw a search over the translations of one boundary: of several results, the one with the lowest energy.

    Parameters and errors as for :func:`campaign_figure`.
    """
    rows = prepared(frame, engine)
    row = search_row(rows)
    if row is None:
        raise InputError(
            f"nothing to draw: no result with a {ENERGY} has trials",
            "a search over translations stores them; 'hts results' shows what there is",
        )
    one = map_of_search(row)
    length, height = one.size
    norm = map_norm(one.energies)
    stand_beside = length <= LONG_MAP * height
    with styled():
        if not stand_beside:
            inches = (6.1, 6.1 * height / length)
            figure = new_figure(WIDTH, 3.9 + inches[1])
            upper, lower = figure.subplots(2, 1, height_ratios=[inches[1] + 0.05, 1.9])
            bar: dict[str, Any] = {"location": "right", "shrink": 0.95, "aspect": 14, "pad": 0.015}
        else:
            inches = (3.8, 3.8 * height / length)
            figure = new_figure(WIDTH, float(np.clip(inches[1] + 1.75, 3.1, 4.8)))
            upper, lower = figure.subplots(1, 2, width_ratios=[1.7 if length > height else 1.2, 1.0])
            bar = {"location": "bottom", "shrink": 0.8, "aspect": 32, "pad": 0.02}
        energy_bar(figure, upper, draw_map(upper, one, norm, inches), one.energies, **bar)
        upper.set_xlabel("Translation x (Å)")
        upper.set_ylabel("Translation y (Å)")
        beyond = draw_trials(lower, one, norm)
        upper.set_title(f"(a)  {_plain(one.name)}, lowest: {_energy(one)}", loc="left", fontsize=8)
        lines = _stop(row, one)
        lower.set_title("(b)  " + ("\n" if stand_beside else ", ").join(lines), loc="left", fontsize=8)
        _note(figure, rows, str(row["relaxed"]), str(row["method"]))
        _settle(figure)
        bare = draw_trials_in_map(upper, one, norm)
        _legend(figure, _search_handles(one, bare, beyond=beyond))
    return figure


def angle_figure(frame: pd.DataFrame, *, engine: str | None = None) -> Figure:
    """Draw energies against misorientations, a panel for each axis and kind of boundary.

    Parameters and errors as for :func:`campaign_figure`.
    """
    rows = prepared(frame, engine)
    shown = rows[rows["angle"].notna()]
    groups = [part for _, part in shown.groupby(["axis", "kind"], sort=False) if part[ENERGY].notna().any()]
    groups.sort(key=lambda part: -len(part))
    if not groups:
        message = f"nothing to draw: no result has an angle beside its {ENERGY}"
        raise InputError(message, "the angle is a facet of every candidate of the domain grain_boundaries")
    drawn = shown.loc[[number for part in groups for number in part.index]]
    styles = angle_styles(drawn)
    n_columns = min(len(groups), 2)
    n_rows = ceil(len(groups) / n_columns)
    with styled():
        figure = new_figure(WIDTH, n_rows * (_PANEL_HEIGHT if n_rows > 1 else 3.7) + 0.5)
        panels = figure.subplots(n_rows, n_columns, squeeze=False)
        covered = []
        for axes, part in zip(panels.flat, groups, strict=False):
            covered.append(draw_angles(axes, part, styles))
            axes.set_title(_panel_title(part, drawn), loc="left")
        for axes in panels.flat[len(groups) :]:
            axes.remove()
        for axes in panels[:, 0]:
            axes.set_ylabel(ENERGY_LABEL)
        limits = any(perfect_angles(str(part["kind"].iloc[0]), str(part["axis"].iloc[0]), part["angle"].to_list())
                     for part in groups)  # fmt: skip
        _legend(figure, angle_handles(drawn, styles, limits=limits))
        without = len(rows) - len(drawn)
        _note(figure, rows, _joined(drawn, "relaxed"), _joined(drawn, "method"),
              f"{without} left out: no angle" if without else "")  # fmt: skip
        for axes, part, points in zip(panels.flat, groups, covered, strict=False):
            _name_boundaries(axes, part, points)
    return figure


def translation_figure(frame: pd.DataFrame, *, engine: str | None = None) -> Figure:
    """Draw the energies of candidates that are translations, a map for each boundary.

    Parameters and errors as for :func:`campaign_figure`.
    """
    rows = prepared(frame, engine)
    here = rows[rows["x"].notna() & rows["y"].notna()]
    lowest = here.groupby("boundary", sort=False)[ENERGY].min().dropna()
    names = list(lowest.nsmallest(MOST_MAPS).index)
    names = [name for name in lowest.index if name in names]
    if not names:
        raise InputError(f"nothing to draw: no result has a translation (x, y) beside its {ENERGY}",
                         "see 'hts status' for how far the campaign is")  # fmt: skip
    maps = [map_of_candidates(here[here["boundary"] == name]) for name in names]
    waiting = [_waiting(here[here["boundary"] == name]) for name in names]
    energies = np.concatenate([one.energies for one in maps])
    norm = map_norm(energies)
    n_columns = 1 if len(maps) == 1 else 2 if len(maps) <= 4 else 3  # noqa: PLR2004 (panels)
    n_rows = ceil(len(maps) / n_columns)
    room = (WIDTH - 0.9) / n_columns - 0.55
    heights = [float(np.clip(room * one.size[1] / one.size[0], 0.25, 3.4)) for one in maps]
    heights = [max(heights[at : at + n_columns]) for at in range(0, len(heights), n_columns)]
    with styled():
        figure = new_figure(WIDTH, sum(heights) + 0.52 * n_rows + 0.75)
        panels = figure.subplots(n_rows, n_columns, squeeze=False, height_ratios=heights)
        image = None
        for axes, one, places in zip(panels.flat, maps, waiting, strict=False):
            image = draw_map(axes, one, norm, (room, room * one.size[1] / one.size[0]))
            axes.set_anchor("N")
            axes.scatter(places[:, 0], places[:, 1], 2.5, EDGE, lw=0, alpha=0.6, zorder=3, gid="queued")
            axes.scatter(*one.asked[one.best], 60, "white", edgecolor=BEST, marker="*", lw=0.9, zorder=5, gid="best")
            title = f"{_plain(one.name)}: {_energy(one)}"
            axes.set_title(title, loc="left", fontsize=9 if n_columns < 3 else 7.5)  # noqa: PLR2004 (panels)
        for axes in panels.flat[len(maps) :]:
            axes.remove()
        for axes in panels[:, 0]:
            axes.set_ylabel("y (Å)")
        for axes in panels.flat[max(0, len(maps) - n_columns) : len(maps)]:
            axes.set_xlabel("x (Å)")
        energy_bar(figure, list(panels.flat[: len(maps)]), image, energies, location="right", shrink=0.8, aspect=30,
                   panchor=False)  # fmt: skip
        more = f"{len(lowest) - len(maps)} boundaries not shown" if len(lowest) > len(maps) else ""
        _note(figure, rows, _joined(here, "relaxed"), more)
        _legend(figure, _map_handles(maps, queued=any(len(places) for places in waiting)))
    return figure


def _waiting(rows: pd.DataFrame) -> Any:
    """Translations that are neither computed nor failed, Å, shape (n, 2)."""
    return rows.loc[rows[ENERGY].isna() & (rows["state"] != "failed"), ["x", "y"]].to_numpy(dtype=float)


def _panel_title(part: pd.DataFrame, drawn: pd.DataFrame) -> str:
    kind = str(part["kind"].iloc[0]).replace("_", " ")
    crystals = list(dict.fromkeys(drawn["crystal"]))
    alone = crystals[0] if len(crystals) == 1 else ""
    return _plain(" ".join(filter(None, (alone, str(part["axis"].iloc[0]), kind)))) + " boundaries"


def _name_boundaries(axes: Axes, part: pd.DataFrame, covered: Any) -> None:
    """Write Σ and plane beside the points; of boundaries of several crystals, beside the highest."""
    done = part[part[ENERGY].notna()].sort_values(ENERGY, ascending=False)
    done = done.drop_duplicates(["sigma", "plane"])
    # Small Σ first: these are the boundaries that everybody looks for.
    done = done.sort_values(["sigma", "angle"])[:MOST_NAMES]
    names = [f"Σ{int(sigma)}{plane}" if np.isfinite(sigma) else plane
             for sigma, plane in zip(done["sigma"], done["plane"], strict=True)]  # fmt: skip
    place_labels(axes, done[["angle", ENERGY]].to_numpy(dtype=float), names, covered, size=6.0)


def _search_handles(one: TranslationMap, bare: int, *, beyond: bool) -> list[Line2D]:
    point: dict[str, Any] = {"ls": "none", "marker": "o", "mfc": "white"}
    handles = [Line2D([], [], ms=6.5, mec=BEST, mew=1.5, label="best trial", **point)]
    if not one.complete:
        numbered = "trial, numbered as asked" + (" where there is room" if bare else "")
        handles.append(Line2D([], [], ms=6.5, mec=EDGE, mew=0.5, label=numbered, **point))
        handles.append(Line2D([], [], ls="none", marker="s", ms=6, mfc=EMPTY, mec=EDGE, mew=0.3, label="not computed"))
    if beyond:
        handles.append(Line2D([], [], ls="none", marker="^", ms=4, mew=0, color=TRIAL, label="above the scale"))
    if np.isnan(one.energies).any():
        handles.append(_failed())
    handles.append(Line2D([], [], color=BEST, lw=1.2, label="lowest so far"))
    return handles


def _map_handles(maps: list[TranslationMap], *, queued: bool) -> list[Line2D]:
    handles = [Line2D([], [], ls="none", marker="*", ms=8, mfc="white", mec=BEST, mew=0.9, label="lowest energy")]
    if queued:
        handles.append(Line2D([], [], ls="none", marker="o", ms=2, mec="none", mfc=EDGE, label="not computed"))
    if any(np.isnan(one.energies).any() for one in maps):
        handles.append(_failed())
    return handles


def _failed() -> Line2D:
    return Line2D([], [], color=FAILED, marker=FAILED_MARK, mew=0.9, ls="none", ms=4.5, label="failed")


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    if not handles:
        return
    columns = max(1, min(len(handles), int(figure.get_figwidth() / _LEGEND_ENTRY)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.4, handletextpad=0.5)


def _energy(one: TranslationMap) -> str:
    return f"{one.energies[one.best]:.3f} J/m²".replace("-", "−")


def _stop(row: pd.Series, one: TranslationMap) -> list[str]:
    """How many trials there were, of how many candidates, and why no more."""
    number, candidates, reason = len(one.energies), row["n_candidates"], stopped(str(row["stop_reason"]))
    count = f"{number} of {int(candidates)} candidates" if np.isfinite(candidates) else f"{number} trials"
    return [count, reason] if reason else [count]


def _joined(rows: pd.DataFrame, name: str) -> str:
    return ", ".join(dict.fromkeys(one for one in rows.loc[rows[ENERGY].notna(), name] if one))


def _note(figure: Figure, rows: pd.DataFrame, *more: str) -> None:
    """Say which engine and protocol, and how many candidates."""
    counts = rows["state"].value_counts()
    states = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "queued") if counts.get(state, 0))
    engine = f"Engine: {rows['engine'].iloc[0]}".replace("_", " ") if "engine" in rows else ""
    figure.suptitle("; ".join(filter(None, (engine, *more, states))), fontsize=7, x=0.99, ha="right")


def _plain(text: str) -> str:
    """Leave nothing that would be read as mathematics."""
    return text.replace("$", r"\$")


def _settle(figure: Figure) -> None:
    """Give all axes their places."""
    FigureCanvasAgg(figure).draw()
