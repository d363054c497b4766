"""Pictures of campaigns on compounds of a library."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from hts_flows.errors import InputError, nearest
from hts_flows.figures.labels import place_labels
from hts_flows.figures.style import CATEGORIES, EDGE, FAILED, FAILED_MARK, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CONDUCTIVITY = "thermal_conductivity"
TEMPERATURE = "conductivity_temperature"
VOLUME, DENSITY = "volume_per_atom", "density"
#: How axes are named; the units are those of results.
LABELS = {
    CONDUCTIVITY: "Lattice thermal conductivity (W/(m·K))",
    VOLUME: "Volume per atom (Å³)",
    DENSITY: "Density (g/cm³)",
}
SHORT_LABEL = "Conductivity (W/(m·K))"
#: Figures of two columns of a journal.
WIDTH = 7.2
#: Prototypes with a shape and a colour of their own; all others share one.
MOST_PROTOTYPES = 6
#: Compounds that are named in the plot, and that get a bar.
MOST_NAMES, MOST_BARS = 6, 15
#: So many compounds are all named where there is nothing to be lowest in.
FEW = 12
#: More points than this are stored as a bitmap in .pdf and .svg.
MANY = 300
OTHER = "other"

_SHAPES = ("o", "s", "^", "D", "v", "P")
_OTHER_STYLE = ("*", "#808080")
_STAR = 1.6
_QUEUED = "#C8C8C8"
_LONGEST_NAME = 24
_TICK = 0.025
_ON_AXIS = 0.055
_STRIP = 0.1
_MARGIN = 0.06
_FEWEST_SLOTS = 6
_LEGEND_CHARACTERS = 100
_LEGEND_SYMBOL = 6


def campaign_figure(frame: pd.DataFrame, *, engine: str | None = None) -> Figure:
    """Draw the overview of a campaign.

    With thermal conductivities: their logarithms against the volume per atom, and bars of the lowest. Without: the
    density against the volume per atom, that of the starting structure where nothing is computed. Shape and colour
    are the prototype's. Compounds with imaginary modes are open symbols, on the axis where they have no conductivity.
    Failed ones are ticks on the axis, or crosses at their density.

    Parameters
    ----------
    frame
        Table of results, one row a candidate. Columns that are used, where they are there: label, formula, prototype,
        engine, state, dynamically_stable, volume_per_atom (Å³), density (g/cm³), thermal_conductivity (W/(m·K)),
        conductivity_temperature (K).
    engine
        Which engine's results; the one with the most finished ones when left out.

    Raises
    ------
    InputError
        Nothing to draw, or an unknown engine.
    """
    rows = _prepared(frame, engine)
    with styled():
        return _conductivities(rows) if rows[CONDUCTIVITY].notna().any() else _densities(rows)


def _prepared(frame: pd.DataFrame, engine: str | None) -> pd.DataFrame:
    """Keep the rows of one engine, with every column that is drawn; "class" is the prototype as it is shown."""
    if frame.empty:
        raise InputError("there are no results to draw", "see 'hts status' for how far the campaign is")
    rows = frame.reset_index(drop=True)
    if "state" not in rows:
        rows["state"] = "done"
    if "engine" in rows:
        engines = list(dict.fromkeys(rows["engine"]))
        if engine is None:
            done = rows[rows["state"] == "done"]["engine"].value_counts()
            engine = max(reversed(engines), key=lambda name: done.get(name, 0))
        elif engine not in engines:
            raise InputError(f"no results of engine {engine!r}; {nearest(engine, engines)}")
        rows = rows[rows["engine"] == engine].reset_index(drop=True)
    for name in (CONDUCTIVITY, VOLUME, DENSITY):
        values = rows[name] if name in rows else pd.Series(np.nan, index=rows.index)
        values = pd.to_numeric(values, errors="coerce")
        rows[name] = values.where((values > 0) & np.isfinite(values))
    rows[CONDUCTIVITY] = rows[CONDUCTIVITY].where(rows["state"] == "done")
    stable = rows["dynamically_stable"] if "dynamically_stable" in rows else pd.Series(None, index=rows.index)
    rows["unstable"] = stable.isin([False]) & (rows["state"] == "done")  # None: not known
    names = rows["label"] if "label" in rows else rows["formula"] if "formula" in rows else pd.Series("", rows.index)
    rows["name"] = [_short(name) for name in names]
    rows["class"] = _classes(rows)
    return rows


def _classes(rows: pd.DataFrame) -> list[str]:
    """Name the prototype of each row: the most frequent ones; the rest, and those without one, are "other"."""
    if "prototype" not in rows:
        return [OTHER] * len(rows)
    prototypes = [OTHER if pd.isna(name) else str(name) for name in rows["prototype"]]
    done = (rows["state"] == "done").to_numpy()
    # Of equally many, the order of the table decides.
    counts = Counter(name for name, shown in zip(prototypes, done, strict=True) if name != OTHER and shown)
    named = {name for name, _ in counts.most_common(MOST_PROTOTYPES)}
    return [name.replace("_", " ") if name in named else OTHER for name in prototypes]


def _conductivities(rows: pd.DataFrame) -> Figure:
    """Conductivities against volumes, and bars of the lowest; the bars alone where no compound has a volume."""
    abscissa = next(
        (name for name in (VOLUME, DENSITY) if rows.loc[rows[CONDUCTIVITY].notna(), name].notna().any()), ""
    )
    shown = rows[rows[CONDUCTIVITY].notna() | rows["unstable"]]
    styles, lowest = _styles(shown), shown.dropna(subset=CONDUCTIVITY).nsmallest(MOST_BARS, CONDUCTIVITY)
    kinds = {"unstable"} if shown["unstable"].any() else set()
    figure = new_figure(WIDTH, 3.7)
    if not abscissa:
        _draw_bars(figure.subplots(), lowest, styles)
        _legend(figure, styles, kinds)
        _note(figure, rows)
        return figure
    left, right = figure.subplots(1, 2, width_ratios=[1.75, 1.0])
    lost = rows[rows["state"] == "failed"].dropna(subset=abscissa)
    points = _draw_conductivities(left, shown.dropna(subset=abscissa), lost, abscissa, styles)
    _draw_bars(right, lowest, styles)
    right.set_xlabel(SHORT_LABEL)
    left.set_title("(a)", loc="left")
    right.set_title("(b)" if len(lowest) < MOST_BARS else f"(b)  The {MOST_BARS} lowest", loc="left")
    _legend(figure, styles, kinds | ({"failed"} if len(lost) else set()))
    without = int((shown[CONDUCTIVITY].notna() & shown[abscissa].isna()).sum())
    _note(figure, rows, f"{without} in (b) alone: no volume" if without else "")
    named = lowest.dropna(subset=abscissa)[:MOST_NAMES]
    place_labels(left, named[[abscissa, CONDUCTIVITY]].to_numpy(dtype=float), _names(named), points)
    return figure


def _densities(rows: pd.DataFrame) -> Figure:
    """Densities against volumes."""
    drawn = rows[rows[VOLUME].notna() & rows[DENSITY].notna()]
    if drawn.empty:
        raise InputError(
            "nothing to draw: no result has a thermal_conductivity, and none both a volume_per_atom and a density",
            "see 'hts status' for how far the campaign is",
        )
    of_state = {state: drawn[drawn["state"] == state] for state in ("failed", "queued")}
    done = drawn[~drawn["state"].isin(["failed", "queued"])]
    kinds = {state for state, part in of_state.items() if len(part)} | (
        {"unstable"} if done["unstable"].any() else set()
    )
    styles, size, many = _styles(done), _size(len(drawn)), len(drawn) > MANY
    figure = new_figure(WIDTH, 3.7)
    axes = figure.subplots()
    marks: dict[str, dict[str, Any]] = {
        "failed": {"color": FAILED, "marker": FAILED_MARK, "lw": 0.9, "zorder": 4},
        "queued": {"color": _QUEUED, "lw": 0, "zorder": 1.5},
    }
    for state, part in of_state.items():
        axes.scatter(part[VOLUME], part[DENSITY], size, rasterized=many, gid=state, **marks[state])
    _draw_points(axes, done[VOLUME], done[DENSITY], done, styles)
    axes.set_xlim(*_limits(drawn[VOLUME]))
    axes.set_ylim(*_limits(drawn[DENSITY]))
    axes.set_xlabel(LABELS[VOLUME])
    axes.set_ylabel(LABELS[DENSITY])
    _legend(figure, styles if len(done) else {}, kinds, cross=True)
    without = len(rows) - len(drawn)
    _note(figure, rows, f"{without} without volume or density left out" if without else "")
    if len(drawn) <= FEW:
        points = drawn[[VOLUME, DENSITY]].to_numpy(dtype=float)
        place_labels(axes, points, _names(drawn), points)
    return figure


def _draw_conductivities(
    axes: Axes, shown: pd.DataFrame, lost: pd.DataFrame, abscissa: str, styles: dict[str, tuple[str, str]]
) -> Floats:
    """Draw the panel of conductivities: rows with one or with imaginary modes, and those that failed.

    Returns
    -------
    Places of all symbols, shape (n, 2).
    """
    values = shown[CONDUCTIVITY]
    low, high = _log_limits(values, strip=bool(len(lost) or values.isna().any()))
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.set_xlim(*_limits(pd.concat([shown[abscissa], lost[abscissa]])))
    _log_ticks(axes, np.log10(high / low))
    tick, on_axis = low * (high / low) ** np.array([_TICK, _ON_AXIS])
    if len(lost):
        ends = np.tile([low, tick, np.nan], len(lost))
        axes.plot(np.repeat(lost[abscissa], 3), ends, color=FAILED, lw=0.8, rasterized=len(lost) > MANY, gid="failed")
    # Some engines give no conductivity where modes are imaginary.
    heights = values.fillna(on_axis)
    _draw_points(axes, shown[abscissa], heights, shown, styles)
    axes.set_xlabel(LABELS[abscissa])
    axes.set_ylabel(LABELS[CONDUCTIVITY])
    return np.concatenate(
        [np.column_stack([shown[abscissa], heights]), np.column_stack([lost[abscissa], np.full(len(lost), tick)])]
    )


def _draw_points(
    axes: Axes, x: pd.Series, y: pd.Series, rows: pd.DataFrame, styles: dict[str, tuple[str, str]]
) -> None:
    """Draw a symbol for each row, rare prototypes on top."""
    size, many = _size(len(rows)), len(rows) > MANY
    for place, (name, (marker, colour)) in enumerate(styles.items()):
        for open_ in (False, True):
            mine = (rows["class"] == name) & (rows["unstable"] == open_)
            if not mine.any():
                continue
            edge: dict[str, Any] = {"facecolor": colour, "edgecolor": "white", "lw": 0.0 if many else 0.4}
            if open_:
                edge = {"facecolor": "white", "edgecolor": colour, "lw": 0.6 if many else 0.9}
            area = size * (_STAR if marker == _OTHER_STYLE[0] else 1)
            axes.scatter(
                x[mine], y[mine], area, marker=marker, zorder=2 + 0.1 * place, rasterized=many, gid=name, **edge
            )


def _draw_bars(axes: Axes, lowest: pd.DataFrame, styles: dict[str, tuple[str, str]]) -> None:
    """Draw conductivities as bars with their values, the first on top."""
    for place, (value, name, unstable) in enumerate(
        zip(lowest[CONDUCTIVITY], lowest["class"], lowest["unstable"], strict=True)
    ):
        colour = styles[name][1]
        axes.barh(place, value, 0.7, facecolor="white" if unstable else colour, edgecolor=colour, lw=0.9)
        axes.annotate(_number(value), (value, place), (2, 0), textcoords="offset points", va="center", fontsize=6.5)
    axes.set_yticks(range(len(lowest)), list(lowest["name"]), fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(len(lowest), _FEWEST_SLOTS) - 0.4, -0.6)
    axes.set_xlim(0, 1.22 * lowest[CONDUCTIVITY].max())
    axes.set_xlabel(LABELS[CONDUCTIVITY])


def _styles(rows: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Shape and colour of each prototype: frequent ones first, "other" before all."""
    counts = rows["class"].value_counts()
    names = sorted((name for name in counts.index if name != OTHER), key=lambda name: (-counts[name], name))
    styles = {OTHER: _OTHER_STYLE} if OTHER in counts else {}
    if not names:  # nothing to tell apart
        return {OTHER: (_SHAPES[0], CATEGORIES[0])}
    return styles | dict(zip(names, zip(_SHAPES, CATEGORIES, strict=False), strict=False))


def _legend(figure: Figure, styles: dict[str, tuple[str, str]], kinds: set[str], *, cross: bool = False) -> None:
    """Explain the symbols below the figure; ``cross``: failed ones are crosses."""
    names = [] if list(styles) == [OTHER] else [name for name in styles if name != OTHER]
    names += [OTHER] if names and OTHER in styles else []
    handles = [
        Line2D([], [], color=styles[name][1], marker=styles[name][0], ms=4.5, mew=0, ls="none", label=name)
        for name in names
    ]
    if "unstable" in kinds:
        open_: dict[str, Any] = {"mfc": "white", "mec": EDGE, "mew": 0.9}
        handles.append(Line2D([], [], marker="o", ms=4.5, ls="none", label="open: imaginary modes", **open_))
    if "queued" in kinds:
        handles.append(Line2D([], [], color=_QUEUED, marker="o", ms=4.5, mew=0, ls="none", label="queued"))
    if "failed" in kinds:
        shape = FAILED_MARK if cross else "|"
        handles.append(Line2D([], [], color=FAILED, marker=shape, ms=4.5, mew=0.9, ls="none", label="failed"))
    if not handles:
        return
    figure.legend(handles=handles, loc="outside lower center", ncols=_columns(handles), columnspacing=1.2)


def _columns(handles: list[Line2D]) -> int:
    """Give the columns of the legend that has fewest lines within the figure's width; it is filled column by column."""
    widths = [_LEGEND_SYMBOL + len(str(handle.get_label())) for handle in handles]
    for lines in range(1, len(widths)):
        if sum(max(widths[at : at + lines]) for at in range(0, len(widths), lines)) <= _LEGEND_CHARACTERS:
            return -(-len(widths) // lines)
    return 1


def _note(figure: Figure, rows: pd.DataFrame, more: str = "") -> None:
    """Say which engine, the temperature of conductivities, and how many candidates."""
    counts = rows["state"].value_counts()
    states = ", ".join(f"{counts[state]} {state}" for state in ("done", "failed", "queued") if counts.get(state, 0))
    engine = f"Engine: {rows['engine'].iloc[0]}" if "engine" in rows else ""
    temperature = ""
    if TEMPERATURE in rows:
        values = pd.to_numeric(rows[TEMPERATURE], errors="coerce")[rows[CONDUCTIVITY].notna()].dropna()
        temperature = "–".join(f"{value:g}" for value in sorted({*values.agg(["min", "max"])})) if len(values) else ""
    at = temperature and f"{temperature} K"
    figure.suptitle("; ".join(filter(None, (engine, at, states, more))), fontsize=7, x=0.99, ha="right")


def _size(number: int) -> float:
    """Area of a symbol, points²."""
    return float(np.clip(4000 / max(number, 1), 7, 22))


def _limits(values: pd.Series) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = _MARGIN * (high - low) or 0.1 * high
    return low - room, high + room


def _log_limits(values: pd.Series, *, strip: bool) -> tuple[float, float]:
    """Limits with room about the values, and below for what stands on the axis."""
    low, high = np.log10(float(values.min())), np.log10(float(values.max()))
    if high - low < (least := 0.5):
        low, high = (low + high - least) / 2, (low + high + least) / 2
    span = high - low
    return float(10 ** (low - (_MARGIN + strip * _STRIP) * span)), float(10 ** (high + _MARGIN * span))


def _log_ticks(axes: Axes, decades: float) -> None:
    """Ticks as plain numbers, also between powers of ten where there are few of these."""
    between = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0) if decades > 1 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # noqa: PLR2004
    axes.yaxis.set_major_locator(LogLocator(subs=between, numticks=20))
    axes.yaxis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=20))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _number(value: float) -> str:
    """Write a value with about three digits and no exponent where it can be avoided."""
    for least, digits in ((100, 0), (10, 1), (0.1, 2)):
        if value >= least:
            return f"{value:.{digits}f}"
    return f"{value:#.2g}"


def _names(rows: pd.DataFrame) -> list[str]:
    """Name points: by formulas where these tell them apart, as the prototype is in the symbol."""
    if "formula" in rows and rows["formula"].notna().all() and rows["formula"].is_unique:
        return [_short(formula) for formula in rows["formula"]]
    return list(rows["name"])


def _short(name: Any) -> str:
    """Shorten a name, with nothing left that would be read as mathematics."""
    text = str(name)
    text = text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
    return text.replace("$", r"\$")
