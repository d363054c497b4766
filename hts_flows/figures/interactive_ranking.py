"""Figures of a search for the browser: its progress, what it predicts of whom, and how well it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError
from hts_flows.figures.interactive_look import Look, Theme, common_prefix, error_arms, look_of, new_figure, plain, short

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from numpy.typing import NDArray

    from hts_flows.stores.rankings import Ranking

    Floats = NDArray[np.float64]

#: Candidates of a ranking that are drawn; the best come first.
MOST_RANKS = 2000
_ORDER = ("not asked", "queued", "verified", "failed")
_SYMBOLS = {"not asked": "circle", "queued": "diamond", "verified": "circle", "failed": "x-thin"}


def ranking_progress(history: pd.DataFrame, ranking: Ranking, *, theme: Theme = "light") -> go.Figure:
    """Draw what each trial gave, what was predicted for it, and the best value so far.

    Parameters
    ----------
    history
        As :func:`hts_flows.stores.ranking_queries.history` gives it.
    ranking
        Document of the last ranking.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        Nothing was asked for yet.
    """
    if history.empty:
        raise InputError("nothing was asked for yet, there is no progress to draw", "see 'hts status'")
    look, prefix = look_of(theme), _prefix(history["candidate_id"])
    log = _is_logarithmic(ranking, history["value"])
    figure = new_figure(
        theme,
        meta={"prefix": prefix},
        xaxis={"title": {"text": "Trial"}, "range": [0.5, len(history) + 0.5]},
        yaxis={"title": {"text": _value_label(ranking)}, **_scale(log=log)},
        title={"text": _best(history, ranking)},
    )
    for start, end in _runs(history["training"].to_numpy(dtype=bool)):
        figure.add_vrect(
            x0=start + 0.5, x1=end + 1.5, fillcolor=look.empty, line_width=0, layer="below",
            annotation={"text": "training", "font": {"color": look.muted, "size": 11}, "yanchor": "top", "y": 1},
        )  # fmt: skip
    _add_predictions(figure, history, history["trial"], look, log=log, prefix=prefix)
    best = history["best"].to_numpy(dtype=float)
    known = np.isfinite(best)
    trial = history["trial"].to_numpy(dtype=float)
    if known.any():
        figure.add_scatter(
            x=plain([*trial[known], trial[-1] + 0.5]),
            y=plain([*best[known], best[-1]]),
            mode="lines",
            name="best so far",
            line={"color": look.best, "width": 2, "shape": "hv"},
            hoverinfo="skip",
        )
    _add_values(figure, history, history["trial"], look, unit=ranking.unit, prefix=prefix)
    _add_failures(figure, history, history["trial"], look, prefix)
    return figure


def ranking_predictions(table: pd.DataFrame, ranking: Ranking, *, theme: Theme = "light") -> go.Figure:
    """Draw Z-scores by rank, and below what is predicted with its standard deviation, and what was computed.

    Parameters
    ----------
    table
        As :func:`hts_flows.stores.ranking_queries.current_table` gives it; the first :data:`MOST_RANKS` are drawn.
    ranking
        Its document.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        There are no predictions.
    """
    rows = table[table["rank"].notna() & table["z_score"].notna()]
    if rows.empty:
        raise InputError("this ranking has no predictions to draw", "the training set is computed first")
    total, rows = len(rows), rows.head(MOST_RANKS)
    look, prefix = look_of(theme), _prefix(rows["candidate_id"])
    log = _is_logarithmic(ranking, rows["value"], rows["mean"])
    wanted = "(best − mean)" if ranking.minimize else "(mean − best)"
    figure = new_figure(
        theme,
        meta={"prefix": prefix},
        xaxis={"anchor": "y", "showticklabels": False, "matches": "x2"},
        xaxis2={"anchor": "y2", "title": {"text": f"Rank (ranking {ranking.number})"}},
        yaxis={"domain": [0.56, 1], "title": {"text": f"Z-score<br>{wanted} / sd"}},
        yaxis2={"domain": [0, 0.5], "title": {"text": _value_label(ranking)}, **_scale(log=log)},
        title={"text": f"the first {len(rows):,} of {total:,}" if len(rows) < total else ""},
    )
    figure.update_layout(xaxis2=figure.layout.template.layout.xaxis.to_plotly_json() | _set(figure, "xaxis2"))
    figure.update_layout(yaxis2=figure.layout.template.layout.yaxis.to_plotly_json() | _set(figure, "yaxis2"))
    for status in _ORDER:
        part = rows[rows["status"] == status]
        if part.empty:
            continue
        figure.add_scatter(
            x=part["rank"].astype(int).tolist(),
            y=plain(part["z_score"].to_numpy(dtype=float), 4),
            mode="markers",
            name=status,
            legendgroup=status,
            marker=_marker(status, look),
            text=[_words(one) for one in part.to_dict("records")],
            customdata=_ids(part, prefix),
            hovertemplate="%{text}<br>Z-score %{y}, rank %{x}<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": look.muted, "width": 1, "dash": "dot"}, row=None, col=None)
    _add_predictions(figure, rows, rows["rank"], look, log=log, prefix=prefix, xaxis="x2", yaxis="y2")
    _add_values(
        figure, rows, rows["rank"], look, unit=ranking.unit, prefix=prefix, xaxis="x2", yaxis="y2", showlegend=False
    )
    return figure


def ranking_parity(left_out: pd.DataFrame, ranking: Ranking, *, theme: Theme = "light") -> go.Figure:
    """Draw what the model predicts for each computed candidate from all others, against what was computed.

    Parameters
    ----------
    left_out
        Leave-one-out predictions, as :func:`hts_flows.stores.rankings.ranking_tables` gives them.
    ranking
        Document of the ranking.
    theme
        "light" or "dark".

    Raises
    ------
    InputError
        There are no predictions.
    """
    rows = left_out[left_out["mean"].notna() & left_out["value"].notna()]
    if rows.empty:
        raise InputError("there are no values to compare predictions with", "see 'hts status' for how far it is")
    look, prefix = look_of(theme), _prefix(rows["candidate_id"])
    log = _is_logarithmic(ranking, rows["value"], rows["mean"])
    unit = f" ({ranking.unit})" if ranking.unit else ""
    value, mean = rows["value"].to_numpy(dtype=float), rows["mean"].to_numpy(dtype=float)
    spread = rows["standard_deviation"].to_numpy(dtype=float)
    figure = new_figure(
        theme,
        meta={"prefix": prefix},
        xaxis={"title": {"text": f"Computed{unit}"}, **_scale(log=log)},
        yaxis={"title": {"text": f"Predicted from all others{unit}"}, **_scale(log=log)},
        title={"text": _quality(value, mean, ranking.unit, log=log)},
        showlegend=False,
    )
    ends = plain([min(value.min(), mean.min()), max(value.max(), mean.max())])
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": look.muted, "width": 1, "dash": "dot"}, hoverinfo="skip"
    )
    figure.add_scatter(
        x=plain(value, 4),
        y=plain(mean, 4),
        error_y=_arms(mean, spread, look.categories[0], log=log),
        mode="markers",
        marker=_marker("verified", look),
        text=[short(str(one)) for one in rows["label"]],
        customdata=_ids(rows, prefix),
        hovertemplate="%{text}<br>computed %{x}<br>predicted %{y}<extra></extra>",
    )
    return figure


def _add_predictions(
    figure: go.Figure, rows: pd.DataFrame, place: pd.Series, look: Look, *, log: bool, prefix: str, **axes: str
) -> None:
    """Add the predicted values with one standard deviation to both sides."""
    mean, spread = rows["mean"].to_numpy(dtype=float), rows["standard_deviation"].to_numpy(dtype=float)
    has = np.isfinite(mean) & np.isfinite(spread) & ((mean > 0) | (not log))
    if not has.any():
        return
    figure.add_scatter(
        x=place[has].astype(int).tolist(),
        y=plain(mean[has], 4),
        error_y=_arms(mean[has], spread[has], look.other, log=log),
        mode="markers",
        name="predicted ± sd",
        marker={"color": look.other, "size": 4, "symbol": "line-ew-open", "line": {"width": 1.5, "color": look.other}},
        text=[_words(one) for one in rows[has].to_dict("records")],
        customdata=_ids(rows[has], prefix),
        hovertemplate="%{text}<br>predicted %{y}<extra></extra>",
        **axes,
    )


def _add_values(
    figure: go.Figure, rows: pd.DataFrame, place: pd.Series, look: Look, *, unit: str, prefix: str, **more: Any
) -> None:
    """Add the computed values."""
    has = rows["value"].notna().to_numpy()
    if not has.any():
        return
    part = rows[has]
    figure.add_scatter(
        x=place[has].astype(int).tolist(),
        y=plain(part["value"].to_numpy(dtype=float)),
        mode="markers",
        name="computed",
        marker=_marker("verified", look),
        text=[_words(one) for one in part.to_dict("records")],
        customdata=_ids(part, prefix),
        hovertemplate=f"%{{text}}<br>computed %{{y}} {unit}<extra></extra>",
        **more,
    )


def _add_failures(figure: go.Figure, rows: pd.DataFrame, place: pd.Series, look: Look, prefix: str) -> None:
    """Add failures, and what waits without a prediction, along the lower edge."""
    waiting = (rows["status"] == "queued") & rows["mean"].isna()
    for status, mine in (("failed", rows["status"] == "failed"), ("queued", waiting)):
        part = rows[mine]
        if part.empty:
            continue
        figure.add_scatter(
            x=place[mine].astype(int).tolist(),
            y=[0.02] * len(part),
            yaxis="y2",
            mode="markers",
            name=status,
            marker=_marker(status, look),
            text=[_words(one) for one in part.to_dict("records")],
            customdata=_ids(part, prefix),
            hovertemplate=f"%{{text}}<br>{status}<extra></extra>",
        )
        figure.update_layout(
            yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True, "anchor": "x"}
        )


def _scale(*, log: bool) -> dict[str, Any]:
    return {"type": "log", "dtick": "D2"} if log else {"type": "linear"}


def _marker(status: str, look: Look) -> dict[str, Any]:
    colour = {
        "not asked": look.other,
        "queued": look.categories[1],
        "verified": look.categories[0],
        "failed": look.failed,
    }[status]
    if status == "failed":
        return {"symbol": _SYMBOLS[status], "size": 8, "line": {"width": 2, "color": colour}, "color": colour}
    size = 5 if status == "not asked" else 8
    return {"symbol": _SYMBOLS[status], "size": size, "color": colour, "line": {"width": 0}}


def _arms(mean: Floats, spread: Floats, colour: str, *, log: bool) -> dict[str, Any]:
    up, down = error_arms(mean, spread, log=log)
    more = {} if not log else {"arrayminus": plain(down, 3), "symmetric": False}
    return {"type": "data", "array": plain(up, 3), "color": colour, "thickness": 1, "width": 0, **more}


def _words(row: Mapping[Any, Any]) -> str:
    """Name of a candidate, and why it was chosen or what became of it."""
    lines = [short(str(row["label"]))]
    lines += [short(str(row[name]), 90) for name in ("why", "cause") if isinstance(row.get(name), str) and row[name]]
    return f"{lines[0]}<br>" + "<br>".join(lines[1:]) + "" if lines[1:] else lines[0]


def _ids(rows: pd.DataFrame, prefix: str) -> list[str]:
    """Ids without what all begin with; empty for candidates that nobody asked for, of which there is no result."""
    ids = [str(one).removeprefix(prefix) for one in rows["candidate_id"]]
    if "status" not in rows.columns:
        return ids
    return ["" if status == "not asked" else one for one, status in zip(ids, rows["status"], strict=True)]


def _prefix(ids: Iterable[Any]) -> str:
    return common_prefix(str(one) for one in ids)


def _set(figure: go.Figure, axis: str) -> dict[str, Any]:
    found: dict[str, Any] = figure.layout[axis].to_plotly_json()
    return found


def _value_label(ranking: Ranking) -> str:
    from hts_flows.figures.ranking_panels import value_label

    return value_label(ranking)


def _is_logarithmic(ranking: Ranking, *values: pd.Series) -> bool:
    """Tell whether the model took logarithms, and all that is drawn has one."""
    from hts_flows.figures.ranking_panels import is_logarithmic

    return is_logarithmic(ranking) and all(bool((one.dropna() > 0).all()) for one in values)


def _best(history: pd.DataFrame, ranking: Ranking) -> str:
    best = float(history["best"].iloc[-1])
    if not np.isfinite(best):
        return ""
    number = f"{best:.3g}".replace("-", "−")
    return f"Best: {short(str(history['best_label'].iloc[-1]))}, {number} {ranking.unit}".rstrip()


def _quality(value: Floats, mean: Floats, unit: str, *, log: bool) -> str:
    """RMSE and R², of decimal logarithms where those were modelled."""
    x, y = (np.log10(value), np.log10(mean)) if log else (value, mean)
    rmse = float(np.sqrt(np.mean((x - y) ** 2)))
    variance = float(np.sum((x - x.mean()) ** 2))
    explained = f"{1 - float(np.sum((x - y) ** 2)) / variance:.2f}".replace("-", "−") if variance > 0 else "–"
    return f"RMSE {rmse:.2g} {'(log₁₀)' if log else unit}".rstrip() + f", R² {explained}, n = {len(x)}"


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last places of the runs of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(start), int(end) - 1) for start, end in edges.reshape(-1, 2)]
