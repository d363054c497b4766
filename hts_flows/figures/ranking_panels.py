"""The panels of the pictures of a search, each drawn into given axes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from hts_flows.errors import InputError, nearest
from hts_flows.figures.drawing import draw_periodic_table, table_height, table_rows
from hts_flows.figures.style import CATEGORIES, DIVERGING, EMPTY, FAILED, FAILED_MARK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from hts_flows.stores.rankings import Ranking

    Floats = NDArray[np.float64]

#: How the scores of the compounds of an element become one number.
ELEMENT_SCORES = ("max", "mean")
#: More points than this are drawn as a density.
DENSE = 3000
#: More points than this are stored as a bitmap in .pdf and .svg.
MANY = 300
#: Most candidates that are named.
MOST_NAMES = 8
#: Units of plain descriptors.
UNITS = {
    "volume_per_atom": "Å³",
    "density": "g/cm³",
    "band_gap": "eV",
    "energy_above_hull": "eV/atom",
    "mean_mass": "u",
}

VERIFIED, QUEUED, BEST = CATEGORIES[0], CATEGORIES[1], CATEGORIES[5]
OTHERS = "#A0A0A0"
#: Mark of a score that lies below the axis.
BELOW = "v"
SHAPES = {
    "not asked": ("o", OTHERS),
    "queued": ("D", QUEUED),
    "verified": ("o", VERIFIED),
    "failed": (FAILED_MARK, FAILED),
}
_PREFIX = "x_"
_FEW = 200
_ELEMENT = re.compile(r"[A-Z][a-z]?")


def draw_scores(
    axes: Axes, table: pd.DataFrame, ranking: Ranking, descriptor: str | None = None
) -> tuple[Floats, list[str], Floats]:
    """Draw Z-scores into axes.

    Parameters
    ----------
    axes
        Where to.
    table, ranking, descriptor
        As for :func:`score_figure`.

    Returns
    -------
    Points to be named, their names, and points that names should not cover, for
    :func:`hts_flows.figures.labels.place_labels`.
    """
    rows = table[table["z_score"].notna()]
    name, label = _abscissa(rows, ranking, descriptor)
    x, z = rows[name].to_numpy(dtype=float), rows["z_score"].to_numpy(dtype=float)
    status = rows["status"].to_numpy(dtype=object)
    low, high = _score_limits(z, np.isin(status, ["not asked", "queued"]))
    others = status == "not asked"
    if (n := int(others.sum())) > DENSE:
        inside = others & (z >= low)
        axes.hexbin(
            x[inside], z[inside], gridsize=(60, 40), bins="log", cmap="Greys", mincnt=1, lw=0, rasterized=True, vmin=0.3
        )
    else:
        size = float(np.clip(3000 / max(n, 1), 5, 14))
        inside = others & (z >= low)
        axes.scatter(x[inside], z[inside], size, OTHERS, lw=0, alpha=0.7, rasterized=n > MANY, zorder=2)
    for which, (marker, colour) in SHAPES.items():
        mine = status == which
        if which != "not asked":
            edge: dict[str, Any] = {} if marker == FAILED_MARK else {"edgecolor": "white", "lw": 0.4}
            axes.scatter(x[mine & (z >= low)], z[mine & (z >= low)], 16, colour, marker=marker, zorder=4, **edge)
        # What is known already is predicted with hardly a deviation: its score may be beyond any axis.
        below = mine & (z < low)
        height = np.full(below.sum(), low + 0.015 * (high - low))
        axes.scatter(
            x[below], height, 12, colour, marker=BELOW, lw=0, zorder=4, rasterized=len(height) > MANY, gid=BELOW
        )
    axes.axhline(0, color="black", lw=0.6, ls="--", zorder=1)
    axes.set_ylim(low, high)
    if len(x) and x.min() == x.max():
        axes.set_xlim(x[0] - 1, x[0] + 1)
    axes.set_xlabel(label)
    axes.set_ylabel("Z-score, " + ("(best − mean)" if ranking.minimize else "(mean − best)") + " / std. dev.")
    ids = rows["candidate_id"].to_numpy()
    places = {one: number for number, one in enumerate(ids)}
    asked = [places[choice.candidate_id] for choice in ranking.asked if choice.candidate_id in places]
    if not asked:  # the search has ended
        asked = list(np.flatnonzero(others)[:3])
    asked = asked[:MOST_NAMES]
    shown = np.column_stack([x, np.maximum(z, low)])
    line = np.column_stack([np.linspace(*axes.get_xlim(), 40), np.zeros(40)])
    names = [_short(str(rows["label"].iloc[one])) for one in asked]
    # A mark counts more than one of the many grey points.
    marked = np.repeat(shown[~others], 4, axis=0)
    return shown[asked], names, np.concatenate([shown, marked, line])


def draw_progress(axes: Axes, history: pd.DataFrame, ranking: Ranking) -> None:
    """Draw values against trials into axes.

    Parameters
    ----------
    axes
        Where to.
    history, ranking
        As for :func:`progress_figure`.
    """
    trial = history["trial"].to_numpy(dtype=float)
    value, training = history["value"].to_numpy(dtype=float), history["training"].to_numpy(dtype=bool)
    status = history["status"].to_numpy(dtype=object)
    verified, queued = status == "verified", status == "queued"
    many = len(trial) > MANY
    for start, end in _runs(training):
        axes.axvspan(trial[start] - 0.5, trial[end] + 0.5, color=EMPTY, lw=0, zorder=0)
    size = 16 if len(trial) <= _FEW else 8
    axes.scatter(trial[verified], value[verified], size, VERIFIED, edgecolor="white", lw=0.3, zorder=3, rasterized=many)
    mean, spread = history["mean"].to_numpy(dtype=float), history["standard_deviation"].to_numpy(dtype=float)
    expected = queued & np.isfinite(mean)
    if expected.any():
        bars = _error_bars(mean[expected], spread[expected], log=is_logarithmic(ranking))
        axes.errorbar(
            trial[expected], mean[expected], bars, fmt="D", ms=3.5, color=QUEUED, lw=0.7, mec="white", mew=0.4, zorder=3
        )
    edge = axes.get_xaxis_transform()
    failed, waiting = status == "failed", queued & ~expected
    axes.scatter(
        trial[failed], np.full(failed.sum(), 0.03), 14, FAILED, marker=FAILED_MARK, lw=0.9, transform=edge, zorder=4
    )
    axes.scatter(trial[waiting], np.full(waiting.sum(), 0.03), 10, QUEUED, marker="D", transform=edge, zorder=4)
    best = history["best"].to_numpy(dtype=float)
    known = np.isfinite(best)
    axes.step([*trial[known], trial[-1] + 0.5], [*best[known], best[-1]], where="post", color=BEST, lw=1.2, zorder=2)
    if is_logarithmic(ranking) and (value[verified] > 0).all() and verified.any():
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis, value[verified])
    # Failures stand below all values.
    _room_below(axes, [*value[verified], *mean[expected]])
    axes.set_xlim(0.5, trial[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Trial")
    axes.set_ylabel(value_label(ranking))
    if verified.any():
        number = f"{best[-1]:.3g}".replace("-", "−")
        found = f"Best: {_short(str(history['best_label'].iloc[-1]))}, {number} {ranking.unit}".rstrip()
        axes.set_title(found, loc="left")


def draw_parity(axes: Axes, left_out: pd.DataFrame, ranking: Ranking) -> None:
    """Draw leave-one-out predictions against values into axes.

    Parameters
    ----------
    axes
        Where to.
    left_out, ranking
        As for :func:`parity_figure`.
    """
    value, mean = left_out["value"].to_numpy(dtype=float), left_out["mean"].to_numpy(dtype=float)
    spread = left_out["standard_deviation"].to_numpy(dtype=float)
    log = is_logarithmic(ranking) and bool((value > 0).all()) and bool((mean > 0).all())
    unit = f" ({ranking.unit})" if ranking.unit else ""
    axes.set_xlabel(f"Computed{unit}")
    axes.set_ylabel(f"Predicted from all others{unit}")
    if len(value) < 2:  # noqa: PLR2004 (one value is predicted by nothing)
        text = "one value yet" if len(value) else "no values yet"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
        return
    if log:
        axes.set(xscale="log", yscale="log")
    many = len(value) > MANY
    axes.errorbar(
        value,
        mean,
        _error_bars(mean, spread, log=log),
        fmt="none",
        ecolor=VERIFIED,
        elinewidth=0.5,
        alpha=0.15 if many else 0.45,
        zorder=2,
        rasterized=many,
    )
    axes.scatter(
        value, mean, 5 if many else 12, VERIFIED, edgecolor="white", lw=0 if many else 0.3, zorder=3, rasterized=many
    )
    limits = _limits(np.concatenate([value, mean]), log=log)
    axes.plot(limits, limits, color="black", lw=0.6, zorder=1)
    axes.set(xlim=limits, ylim=limits)
    axes.set_aspect("equal", adjustable="box")
    if log:
        for axis in (axes.xaxis, axes.yaxis):
            _plain_ticks(axis, np.array(limits))
    text = _quality(value, mean, ranking.unit, log=log)
    x, y = axes.transAxes.inverted().transform(axes.transData.transform(np.column_stack([value, mean]))).T
    # In the corner beside the diagonal that has fewer points.
    lower = np.count_nonzero((x > 0.5) & (y < 0.25)) <= np.count_nonzero((x < 0.5) & (y > 0.75))  # noqa: PLR2004
    axes.text(
        0.98 if lower else 0.03,
        0.03 if lower else 0.98,
        text,
        transform=axes.transAxes,
        ha="right" if lower else "left",
        va="bottom" if lower else "top",
        fontsize=6.5,
        linespacing=1.4,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )


def draw_elements(axes: Axes, table: pd.DataFrame, score: str, width: float) -> None:
    """Draw the scores of elements into axes.

    Parameters
    ----------
    axes
        Where to.
    table, score
        As for :func:`element_figure`.
    width
        Of the periodic table, inches; it sets the size of the letters.
    """
    scores = element_scores(table, score)
    rows = table_rows(symbols_of(table))
    values = np.array(list(scores.values()) or [0.0])
    # One element that nobody expects anything of should not make all others alike.
    norm = _Promise(float(np.percentile(values, 5)), float(values.max()))
    font = float(np.clip(width / 18.2 * 72 * 0.42, 3.5, 9))
    draw_periodic_table(axes, scores, (), norm, rows=rows, numbers=False, font=font)
    if not scores:
        axes.text(7.4, 2.2, "no candidates are left", ha="center", va="center", fontsize=7)
        return
    # Between beryllium and boron a periodic table has room for the scale.
    height = table_height(rows)
    room = axes.inset_axes((2.6 / 18.1, 1 - 1.45 / height, 9.2 / 18.1, 0.32 / height))
    room.imshow(np.linspace(norm.low, norm.high, 200)[None], aspect="auto", cmap=DIVERGING, norm=norm)
    room.images[0].set_extent((norm.low, norm.high, 0, 1))
    room.set_yticks([])
    room.spines[:].set_visible(True)
    room.spines[:].set_linewidth(0.4)
    room.tick_params(labelsize=6, length=2, pad=1.5)
    room.xaxis.set_major_locator(MaxNLocator(5))
    what = {"max": "Best Z-score", "mean": "Mean Z-score"}[score]
    room.set_title(f"{what} of candidates not asked for", fontsize=7, pad=3)


def element_scores(table: pd.DataFrame, score: str = "max") -> dict[str, float]:
    """Z-scores of the candidates that nobody asked for yet, by element.

    Parameters
    ----------
    table, score
        As for :func:`element_figure`.

    Returns
    -------
    dict
        Symbols of elements to the largest or the mean Z-score; elements without such a candidate are left out.
    """
    import pandas as pd

    if score not in ELEMENT_SCORES:
        raise InputError(f"no score of elements is called {score!r}; {nearest(score, ELEMENT_SCORES)}")
    rows = table.loc[(table["status"] == "not asked") & table["z_score"].notna(), ["formula", "z_score"]]
    found = pd.Series([sorted(set(_ELEMENT.findall(str(one)))) for one in rows["formula"]], rows.index, dtype=object)
    pairs = rows.assign(element=found)
    grouped = pairs.explode("element").groupby("element")["z_score"]
    return {str(symbol): float(value) for symbol, value in grouped.agg(score).items()}


def is_logarithmic(ranking: Ranking) -> bool:
    """Tell whether the model took the logarithms of the values."""
    return bool(fitted(ranking).get("transform") == "log")


def fitted(ranking: Ranking) -> dict[str, Any]:
    """Hyper-parameters and transform of the model; empty where there was none."""
    return (ranking.provenance.get("screener") or {}).get("fitted") or {}


def value_label(ranking: Ranking) -> str:
    """Name of the property with its unit, for an axis."""
    name = ranking.by.replace("_", " ")
    return f"{name[:1].upper()}{name[1:]}" + (f" ({ranking.unit})" if ranking.unit else "")


def _abscissa(rows: pd.DataFrame, ranking: Ranking, descriptor: str | None) -> tuple[str, str]:
    """Column along the axis, and what is written there."""
    known = [str(name) for name in rows.columns if str(name).startswith(_PREFIX) and rows[name].notna().any()]
    if descriptor is not None:
        name = _PREFIX + descriptor
        if name not in known:
            among = nearest(descriptor, [one.removeprefix(_PREFIX) for one in known])
            raise InputError(f"no plain descriptor is called {descriptor!r}; {among}")
    else:
        name = next((one for one in known if rows[one].min() < rows[one].max()), "mean")
    if name == "mean":
        return name, "Predicted " + value_label(ranking)[:1].lower() + value_label(ranking)[1:]
    plain = name.removeprefix(_PREFIX)
    unit = UNITS.get(plain, "")
    text = plain.replace("_", " ")
    return name, f"{text[:1].upper()}{text[1:]}" + (f" ({unit})" if unit else "")


def _score_limits(scores: Floats, open_ones: NDArray[np.bool_]) -> tuple[float, float]:
    """Ends of the axis of scores: those of what is not known yet, and zero."""
    chosen = scores[open_ones] if open_ones.any() else scores
    # A few that nobody expects anything of should not press all others together.
    first, middle, third = np.percentile(chosen, [25, 50, 75])
    lowest = max(np.percentile(chosen, 0.5) if len(chosen) > _FEW else chosen.min(), middle - 8 * (third - first))
    low, high = float(min(lowest, 0.0)), float(max(chosen.max(), 0.0))
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _error_bars(mean: Floats, spread: Floats, *, log: bool) -> Floats:
    """Distances down and up, shape (2, n): of logarithms, the interval of one standard deviation to both sides."""
    if not log:
        return np.stack([spread, spread])
    # The table's number is half the width of that interval, mean · sinh(standard deviation of the logarithm).
    factor = np.exp(np.arcsinh(spread / mean))
    return np.stack([mean - mean / factor, mean * factor - mean])


def _limits(values: Floats, *, log: bool) -> tuple[float, float]:
    low, high = (float(np.log10(end)) if log else float(end) for end in (values.min(), values.max()))
    room = 0.06 * (high - low) or 0.1 * abs(low) or 1.0
    ends = (low - room, high + room)
    return (10 ** ends[0], 10 ** ends[1]) if log else ends


def _room_below(axes: Axes, values: list[float]) -> None:
    if not values:
        return
    log = axes.get_yscale() == "log"
    low, high = _limits(np.asarray(values), log=log)
    if log:
        axes.set_ylim(low * (low / high) ** 0.06, high)
    else:
        axes.set_ylim(low - 0.06 * (high - low), high)


def _plain_ticks(axis: Any, values: Floats) -> None:
    """Numbers instead of powers of ten on a logarithmic axis, as many as have room."""
    decades = float(np.log10(values.max() / values.min()))
    steps = (1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)  # noqa: PLR2004
    axis.set_major_locator(LogLocator(10, steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _quality(value: Floats, mean: Floats, unit: str, *, log: bool) -> str:
    """RMSE and R², of decimal logarithms where those were modelled."""
    x, y = (np.log10(value), np.log10(mean)) if log else (value, mean)
    rmse = float(np.sqrt(np.mean((x - y) ** 2)))
    variance = float(np.sum((x - x.mean()) ** 2))
    explained = f"{1 - float(np.sum((x - y) ** 2)) / variance:.2f}".replace("-", "−") if variance > 0 else "–"
    return f"RMSE {rmse:.2g} {'(log₁₀)' if log else unit}".rstrip() + f"\nR² {explained}, n = {len(x)}"


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last places of the runs of true ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(start), int(end) - 1) for start, end in edges.reshape(-1, 2)]


def symbols_of(table: pd.DataFrame) -> set[str]:
    """Elements of all candidates."""
    return {symbol for one in table["formula"].dropna() for symbol in _ELEMENT.findall(str(one))}


class _Promise(Normalize):
    """The warm half of the colour scale, from white to red: the scores of candidates have no middle."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = (low, high) if high > low else (low - 1.0, low)
        super().__init__(self.low, self.high)

    def __call__(self, value: Any, clip: bool | None = None) -> Any:  # noqa: ARG002, FBT001 (as matplotlib calls it)
        """Places on the scale of values, any shape."""
        return 0.5 + 0.5 * super().__call__(value, clip=True)


def _short(label: str) -> str:
    longest = 28
    return label if len(label) <= longest else label[: longest - 1] + "…"
