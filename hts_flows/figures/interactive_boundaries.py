"""Grain boundaries for the browser: energies over translations, the trials of a search, and against misorientations.

What is drawn is chosen as in :func:`hts_flows.figures.grain_boundaries.campaign_figure`. Maps are points, not images:
pages allow no style attributes, which plotly's heat maps write.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError
from hts_flows.figures.grain_boundary_panels import angle_styles, axis_end, map_norm, series_name
from hts_flows.figures.grain_boundary_tables import (
    ANGLE_LABEL,
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
from hts_flows.figures.interactive_look import Look, Theme, common_prefix, look_of, new_figure, plain, short, tone_at
from hts_flows.figures.style import text_colour

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.colors import Normalize

    from hts_flows.figures.grain_boundary_tables import TranslationMap

#: Most maps, those of the boundaries with the lowest energies, and most points of one.
MOST_MAPS, MOST_POINTS = 12, 2500
_SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
_IMAGE, _TRIAL, _BEST = 9, 16, 17
#: Between panels, parts of the paper; below each there are its axis and the next one's title.
_GAP, _GAP_BELOW = 0.09, 0.17
#: Numbers of trials are farther apart than this part of the map's longer side.
_NUMBER_ROOM = 0.032


def boundary_energies(frame: pd.DataFrame, *, theme: Theme = "light") -> go.Figure:
    """Draw the energies of grain boundaries.

    Parameters
    ----------
    frame
        As for :func:`hts_flows.figures.grain_boundaries.campaign_figure`, with ``candidate_id``; a mapping of trials
        may be the text of one.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        There is nothing to draw.
    """
    rows = prepared(frame)
    rows["id"] = rows["candidate_id"].astype(str) if "candidate_id" in rows else ""
    if has_translations(rows):
        return _translations(rows, theme)
    row = search_row(rows) if is_one_boundary(rows) else None
    return _angles(rows, theme) if row is None else _search(row, theme)


def _search(row: pd.Series, theme: Theme) -> go.Figure:
    """Map of a search above the energies of its trials."""
    look, one = look_of(theme), map_of_search(row)
    norm = map_norm(one.energies)
    of = f" of {int(row['n_candidates'])} candidates" if np.isfinite(row["n_candidates"]) else " trials"
    words = [
        f"{one.name}: {_number(one)}",
        f"{len(one.energies)}{of}",
        stopped(str(row["stop_reason"])),
        row["relaxed"],
    ]
    figure = new_figure(
        theme,
        meta={"prefix": ""},
        title={"text": "; ".join(filter(None, words))},
        coloraxis=_colours(norm, look, length=0.5, y=0.78),
    )
    _axes(figure, 1, (0.0, 1.0), (0.56, 1.0))
    _axes(figure, 2, (0.0, 1.0), (0.0, 0.4))
    _add_map(figure, one, 1, look)
    trials = np.arange(1, len(one.energies) + 1)
    done = np.isfinite(one.energies)
    if not one.complete:
        _add_trials(figure, one, norm, look, key=str(row["id"]))
    _add_best(figure, one, 1, look, key=str(row["id"]), words=f"trial {one.best + 1}")
    known = np.isfinite(one.best_so_far)
    common: dict[str, Any] = {"xaxis": "x2", "yaxis": "y2"}
    figure.add_scatter(
        x=plain([*trials[known], trials[-1] + 0.5]), y=plain([*one.best_so_far[known], one.best_so_far[-1]], 5),
        mode="lines", name="lowest so far", line={"color": look.best, "width": 2, "shape": "hv"}, hoverinfo="skip",
        **common,
    )  # fmt: skip
    top = axis_end(one, norm)
    figure.add_scatter(
        x=trials[done].tolist(), y=plain(np.minimum(one.energies[done], top), 5), mode="markers", name="trial",
        showlegend=False, marker={"color": look.categories[0], "size": 7, "symbol": [
            "circle" if energy <= top else "triangle-up" for energy in one.energies[done]]},
        text=[f"{energy:.4f} J/m²<br>({x:.2f}, {y:.2f}) Å" for energy, (x, y) in
              zip(one.energies[done], one.asked[done], strict=True)],
        customdata=[str(row["id"])] * int(done.sum()), hovertemplate="trial %{x}<br>%{text}<extra></extra>", **common,
    )  # fmt: skip
    if not done.all():
        figure.add_scatter(
            x=trials[~done].tolist(), y=[float(np.nanmin(one.energies))] * int((~done).sum()), mode="markers",
            name="failed", marker=_cross(look), hovertemplate="trial %{x} failed<extra></extra>", **common,
        )  # fmt: skip
    figure.update_layout(
        xaxis2={"title": {"text": "Trial"}, "range": [0.5, len(trials) + 0.5]}, yaxis2={"title": {"text": ENERGY_LABEL}}
    )
    return figure


def _translations(rows: pd.DataFrame, theme: Theme) -> go.Figure:
    """Map of the candidates of each boundary."""
    look = look_of(theme)
    here = rows[rows["x"].notna() & rows["y"].notna()]
    lowest = here.groupby("boundary", sort=False)[ENERGY].min().dropna()
    chosen = set(lowest.nsmallest(MOST_MAPS).index)
    maps = [map_of_candidates(here[here["boundary"] == name]) for name in lowest.index if name in chosen]
    ids = dict(zip(rows["row"], rows["id"], strict=True))
    prefix = common_prefix(str(ids[row]) for one in maps for row in one.rows)
    n_columns = 1 if len(maps) == 1 else 2 if len(maps) <= 4 else 3  # noqa: PLR2004 (panels)
    n_rows = ceil(len(maps) / n_columns)
    norm = map_norm(np.concatenate([one.energies for one in maps]))
    left_out = f"the {len(maps)} lowest of {len(lowest)} boundaries" if len(maps) < len(lowest) else ""
    figure = new_figure(
        theme,
        meta={"prefix": prefix},
        title={"text": left_out},
        coloraxis=_colours(norm, look, length=0.8, y=0.5),
        showlegend=any(np.isnan(one.energies).any() for one in maps),
        legend={"y": 1.08},
        margin={"t": 78},
    )
    failed_named = False
    for number, one in enumerate(maps, start=1):
        down, across = divmod(number - 1, n_columns)
        x = _share(across, n_columns, _GAP)
        top, bottom = (1 - end for end in _share(down, n_rows, _GAP_BELOW))
        _axes(figure, number, x, (bottom, top))
        mine = [str(ids[row]).removeprefix(prefix) for row in one.rows]
        failed_named = _add_candidates(figure, one, number, look, mine, named=failed_named)
        _add_best(figure, one, number, look, key=mine[one.best], words=one.name, named=False)
        figure.add_annotation(
            text=f"{one.name}: {_number(one)}", x=x[0], y=top, xref="paper", yref="paper", xanchor="left",
            yanchor="bottom", showarrow=False, font={"size": 12},
        )  # fmt: skip
        _frame(figure, one, number, titles=(number + n_columns > len(maps), across == 0))
    return figure


def _angles(rows: pd.DataFrame, theme: Theme) -> go.Figure:
    """Energies against misorientations, each axis and kind of boundary with a curve for each crystal."""
    look = look_of(theme)
    shown = rows[rows["angle"].notna() & (rows[ENERGY].notna() | (rows["state"] == "failed"))]
    done = shown[shown[ENERGY].notna()]
    if done.empty:
        message = f"nothing to draw: no result has an angle beside its {ENERGY}"
        raise InputError(message, "the angle is a facet of every candidate of the domain grain_boundaries")
    prefix = common_prefix(shown["id"])
    figure = new_figure(
        theme,
        meta={"prefix": prefix},
        title={"text": ", ".join(dict.fromkeys(filter(None, done["relaxed"])))},
        xaxis={"title": {"text": ANGLE_LABEL}},
        yaxis={"title": {"text": ENERGY_LABEL}, "rangemode": "tozero"},
    )
    groups = list(done.groupby(["axis", "kind"], sort=False))
    at = 0
    for place, ((axis, kind), group) in enumerate(groups):
        ends = perfect_angles(str(kind), str(axis), group["angle"].to_list())
        styles = angle_styles(group)
        words = "" if len(groups) == 1 else f" {axis} {str(kind).replace('_', ' ')}"
        _add_curves(figure, group, ends, look)
        several = len({crystal for crystal, _ in styles}) > 1
        for crystal, collection in styles:
            mine = group[(group["crystal"] == crystal) & ((group["collection"] == collection) | (not collection))]
            name = series_name(crystal, collection, several=several)
            marker = {"color": look.categories[at % len(look.categories)], "symbol": _SYMBOLS[at % len(_SYMBOLS)]}
            _add_boundaries(figure, mine, name + words, marker, prefix=prefix)
            at += 1
        figure.add_scatter(
            x=ends, y=[0.0] * len(ends), mode="markers", name="perfect crystal", showlegend=place == 0,
            marker={"symbol": "circle-open", "color": look.muted, "size": 7},
            hovertemplate="perfect crystal<extra></extra>",
        )  # fmt: skip
    guess = done[done["predicted_energy"].notna()]
    if len(guess):
        figure.add_scatter(
            x=plain(guess["angle"], 5), y=plain(guess["predicted_energy"], 5), mode="markers", name="predicted energy",
            marker={"symbol": "line-ew", "color": look.muted, "size": 10, "line": {"width": 2, "color": look.muted}},
            text=[short(one) for one in guess["label"]], customdata=_ids(guess, prefix),
            hovertemplate="%{text}<br>predicted %{y} J/m²<extra></extra>",
        )  # fmt: skip
    lost = shown[shown["state"] == "failed"]
    if len(lost):
        figure.add_scatter(
            x=plain(lost["angle"], 5), y=[0.0] * len(lost), mode="markers", name="failed", marker=_cross(look),
            text=[short(one) for one in lost["label"]], customdata=_ids(lost, prefix),
            hovertemplate="%{text} failed<extra></extra>",
        )  # fmt: skip
    return figure


def _add_curves(figure: go.Figure, group: pd.DataFrame, ends: list[float], look: Look) -> None:
    """Add a line through the lowest energies of each crystal, to the perfect crystals where these are."""
    for _, part in group.groupby("crystal", sort=False):
        curve = part.groupby("angle")[ENERGY].min()
        angles, energies = list(curve.index), list(curve)
        for end in ends:
            if end < angles[0]:
                angles, energies = [end, *angles], [0.0, *energies]
            elif end > angles[-1]:
                angles, energies = [*angles, end], [*energies, 0.0]
        figure.add_scatter(
            x=plain(angles, 5), y=plain(energies, 5), mode="lines", showlegend=False, hoverinfo="skip",
            line={"color": look.other, "width": 1, "dash": "dot"},
        )  # fmt: skip


def _add_boundaries(figure: go.Figure, rows: pd.DataFrame, name: str, marker: dict[str, Any], *, prefix: str) -> None:
    figure.add_scatter(
        x=plain(rows["angle"], 5), y=plain(rows[ENERGY], 5), mode="markers", name=name,
        marker=marker | {"size": 9},
        text=[short(one) for one in rows["label"]], customdata=_ids(rows, prefix),
        hovertemplate="%{text}<br>%{x}°<br>%{y} J/m²<extra></extra>",
    )  # fmt: skip


def _add_map(figure: go.Figure, one: TranslationMap, number: int, look: Look) -> None:
    """Add what is known over the whole period, evenly thinned where it is more than a browser draws without delay."""
    energies = one.at_points
    kept = np.flatnonzero(np.isfinite(energies))
    if len(kept) > MOST_POINTS:
        kept = kept[np.linspace(0, len(kept) - 1, MOST_POINTS).round().astype(int)]
    figure.add_scatter(
        x=plain(one.points[kept, 0], 5), y=plain(one.points[kept, 1], 5), mode="markers", name="computed or equal",
        marker={"color": plain(energies[kept], 5), "coloraxis": "coloraxis", "size": _IMAGE,
                "symbol": "square" if one.complete else "circle", "line": {"width": 0}},
        hovertemplate="(%{x}, %{y}) Å<br>%{marker.color} J/m²<extra></extra>", **_on(number),
    )  # fmt: skip
    _frame(figure, one, number)
    failed = one.failed
    if failed.any():
        figure.add_scatter(
            x=plain(one.asked[failed, 0], 5), y=plain(one.asked[failed, 1], 5), mode="markers", name="failed",
            showlegend=False, marker=_cross(look), hovertemplate="(%{x}, %{y}) Å failed<extra></extra>", **_on(number),
        )  # fmt: skip


def _add_trials(figure: go.Figure, one: TranslationMap, norm: Normalize, look: Look, *, key: str) -> None:
    """Add the trials, numbered where there is room; all say their number where the mouse is on them."""
    trials = np.arange(1, len(one.energies) + 1)
    done = np.flatnonzero(np.isfinite(one.energies))
    done = done[done != one.best]
    room = _NUMBER_ROOM * max(one.size)
    numbered: list[int] = [one.best]
    for at in done:
        if np.hypot(*(one.asked[numbered] - one.asked[at]).T).min() > room:
            numbered.append(int(at))
    done = done[np.argsort(np.isin(done, numbered), kind="stable")]  # those with a number above the others
    has = np.isin(done, numbered)
    tones = [tone_at(look.sequential, float(place)) for place in norm(one.energies[done])]
    figure.add_scatter(
        x=plain(one.asked[done, 0], 5), y=plain(one.asked[done, 1], 5), mode="markers+text", name="trial, as asked",
        text=[str(trials[at]) if written else "" for at, written in zip(done, has, strict=True)],
        textfont={"size": 9, "color": [text_colour(tone) for tone in tones]},
        marker={"color": plain(one.energies[done], 5), "coloraxis": "coloraxis", "opacity": 1,
                "size": np.where(has, _TRIAL, _IMAGE).tolist(), "line": {"width": 1.5, "color": look.text}},
        customdata=[key] * len(done), hovertext=[f"trial {trials[at]}: {one.energies[at]:.4f} J/m²" for at in done],
        hovertemplate="%{hovertext}<br>(%{x}, %{y}) Å<extra></extra>", cliponaxis=False, **_on(1),
    )  # fmt: skip


def _add_best(
    figure: go.Figure, one: TranslationMap, number: int, look: Look, *, key: str, words: str, named: bool = True
) -> None:
    x, y = one.asked[one.best]
    figure.add_scatter(
        x=plain([x], 5), y=plain([y], 5), mode="markers", name="lowest energy", showlegend=named,
        marker={"color": look.best, "symbol": "star", "size": _BEST, "line": {"width": 1, "color": "#ffffff"}},
        text=[f"{words}<br>{_number(one)}"], customdata=[key], cliponaxis=False,
        hovertemplate="%{text}<br>(%{x}, %{y}) Å<extra></extra>", **_on(number),
    )  # fmt: skip


def _add_candidates(
    figure: go.Figure, one: TranslationMap, number: int, look: Look, ids: list[str], *, named: bool
) -> bool:
    """Add the candidates of a boundary; tells whether failed ones are in the legend by now."""
    done = np.isfinite(one.energies)
    figure.add_scatter(
        x=plain(one.asked[done, 0], 5), y=plain(one.asked[done, 1], 5), mode="markers", showlegend=False,
        marker={"color": plain(one.energies[done], 5), "coloraxis": "coloraxis", "size": _IMAGE, "line": {"width": 0}},
        customdata=[key for key, here in zip(ids, done, strict=True) if here],
        hovertemplate="(%{x}, %{y}) Å<br>%{marker.color} J/m²<extra></extra>", **_on(number),
    )  # fmt: skip
    if done.all():
        return named
    figure.add_scatter(
        x=plain(one.asked[~done, 0], 5), y=plain(one.asked[~done, 1], 5), mode="markers", name="failed",
        showlegend=not named, marker=_cross(look), hovertemplate="(%{x}, %{y}) Å failed<extra></extra>",
        customdata=[key for key, here in zip(ids, done, strict=True) if not here], **_on(number),
    )  # fmt: skip
    return True


def _axes(figure: go.Figure, number: int, x: tuple[float, float], y: tuple[float, float]) -> None:
    """Place a pair of axes on the paper; the template reaches the first pair alone."""
    last = "" if number == 1 else str(number)
    template = figure.layout.template.layout
    figure.update_layout(
        {
            f"xaxis{last}": template.xaxis.to_plotly_json() | {"domain": list(x), "anchor": f"y{last}"},
            f"yaxis{last}": template.yaxis.to_plotly_json() | {"domain": list(y), "anchor": f"x{last}"},
        }
    )


def _frame(figure: go.Figure, one: TranslationMap, number: int, *, titles: tuple[bool, bool] = (True, True)) -> None:
    """Show the whole of a map, with the same scale along x and y; ``titles``: whether the axes are named."""
    last = "" if number == 1 else str(number)
    common = {"constrain": "domain", "showgrid": False, "mirror": True}
    x, y = ({"text": f"{name} (Å)" if named else ""} for name, named in zip("xy", titles, strict=True))
    figure.update_layout(
        {
            f"xaxis{last}": common | {"title": x, "range": [one.low[0], one.high[0]]},
            f"yaxis{last}": common
            | {"title": y, "range": [one.low[1], one.high[1]], "nticks": 5, "scaleanchor": f"x{last}"},
        }
    )


def _share(number: int, count: int, gap: float) -> tuple[float, float]:
    """Part of the paper for one of some panels in a row."""
    width = (1 - gap * (count - 1)) / count
    start = number * (width + gap)
    return start, min(start + width, 1.0)


def _on(number: int) -> dict[str, str]:
    last = "" if number == 1 else str(number)
    return {"xaxis": f"x{last}", "yaxis": f"y{last}"}


def _colours(norm: Normalize, look: Look, *, length: float, y: float) -> dict[str, Any]:
    bar = {"title": {"text": ENERGY_LABEL, "side": "right"}, "len": length, "y": y}
    return {"colorscale": look.sequential, "cmin": norm.vmin, "cmax": norm.vmax, "colorbar": bar}


def _cross(look: Look) -> dict[str, Any]:
    return {"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": look.failed}}


def _ids(rows: pd.DataFrame, prefix: str) -> list[str]:
    return [str(one).removeprefix(prefix) for one in rows["id"]]


def _number(one: TranslationMap) -> str:
    return f"{one.energies[one.best]:.3f} J/m²".replace("-", "−")
