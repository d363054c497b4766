"""The panels of the pictures of grain boundaries, each drawn into given axes."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from hts_flows.figures.grain_boundary_tables import ANGLE_LABEL, ENERGY, ENERGY_LABEL, perfect_angles
from hts_flows.figures.style import CATEGORIES, EDGE, EMPTY, FAILED, FAILED_MARK, text_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from hts_flows.figures.grain_boundary_tables import TranslationMap

    Floats = NDArray[np.float64]

#: Scale of boundary energies in maps, low ones dark.
SCALE = "viridis"
TRIAL, BEST = CATEGORIES[0], CATEGORIES[5]
#: Share of the energies of a map that its scale covers, %, so that overlapping atoms do not make all others alike.
COVERED = 90.0
#: Scales and axes reach over at least so much, J/m²: smaller differences are those of the relaxations' ends.
LEAST_SPAN = 0.02
_SHAPES = ("o", "s", "^", "D", "v", "P")
#: Radius of the disc that holds a trial's number, points, and the letters' size in it.
_DISC, _NUMBER = 3.6, 4.6
_MOST_NUMBERS = 99
_LINE = "#A0A0A0"
_ROOM_ABOVE, _ROOM_BELOW = 0.12, 0.09
_ON_AXIS = 0.035
#: Where the highest energy is so many times farther from the lowest than the end of the scale, the axis ends there.
_FAR = 2.0


def map_norm(energies: ArrayLike) -> Normalize:
    """Give the colour scale of maps: from the lowest energy to where most are.

    Parameters
    ----------
    energies
        J/m², any shape; NaN is left out.
    """
    known = np.asarray(energies, dtype=float)
    known = known[np.isfinite(known)]
    low, high = float(known.min()), float(np.percentile(known, COVERED))
    return Normalize(low, max(high, low + LEAST_SPAN))


def draw_map(axes: Axes, one: TranslationMap, norm: Normalize, inches: tuple[float, float]) -> Any:
    """Draw energies over in-plane translations into axes; what was not computed stays grey.

    Parameters
    ----------
    axes
        Where to; x and y get the same scale.
    one
        What to draw.
    norm
        Colour scale, as :func:`map_norm` gives it.
    inches
        About how large the map will be: it decides how many ticks the axes get.

    Returns
    -------
    The image, for a colour bar.
    """
    axes.set_facecolor(EMPTY)
    colours = mpl.colormaps[SCALE].with_extremes(bad=EMPTY)
    (left, bottom), (right, top) = one.low, one.high
    image = axes.imshow(
        np.ma.masked_invalid(one.raster()), extent=(left, right, bottom, top), origin="lower", cmap=colours, norm=norm,
        interpolation="nearest", aspect="equal", gid="map",
    )  # fmt: skip
    axes.spines[:].set_visible(True)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    for axis, room in zip((axes.xaxis, axes.yaxis), inches, strict=True):
        axis.set_major_locator(MaxNLocator(int(np.clip(room / 0.25, 1, 9)), steps=[1, 2, 5, 10]))
    places = one.asked[one.failed]
    axes.scatter(
        places[:, 0], places[:, 1], 9, FAILED, marker=FAILED_MARK, lw=0.8, zorder=4, clip_on=False, gid="failed"
    )
    return image


def draw_trials_in_map(axes: Axes, one: TranslationMap, norm: Normalize) -> int:
    """Mark the trials of a search in its map, numbered in the order asked where they have room for it.

    Call it when the axes have their size; the best trial comes first, then the others as they were asked. Where the
    whole grid is known, the order says nothing: the best alone is marked.

    Parameters
    ----------
    axes
        Those of the map.
    one
        What is drawn there.
    norm
        Its colour scale.

    Returns
    -------
    How many trials have no number.
    """
    figure = axes.get_figure(root=True)
    scale = (figure.dpi if figure else 72.0) / 72
    pixels = axes.transData.transform(one.asked)
    others = [] if one.complete else [number for number in range(len(one.asked)) if number != one.best]
    order = [one.best, *others]
    colours = mpl.colormaps[SCALE](norm(one.energies))
    taken: list[Floats] = []
    bare = []
    for number in order:
        if np.isnan(one.energies[number]):
            continue
        apart = [float(np.hypot(*(pixels[number] - other))) for other in taken]
        if taken and (number >= _MOST_NUMBERS or min(apart) < 1.9 * _DISC * scale):
            bare.append(number)
            continue
        taken.append(pixels[number])
        x, y = one.asked[number]
        is_best = number == one.best
        ink = text_colour(colours[number])
        axes.plot(
            x, y, "o", ms=2 * _DISC, mfc=colours[number], mec=BEST if is_best else "white",
            mew=1.5 if is_best else 0.5, clip_on=False, zorder=6 if is_best else 5, gid="best" if is_best else "trial",
        )  # fmt: skip
        axes.annotate(
            str(number + 1), (x, y), (0, -0.2), textcoords="offset points", ha="center", va="center_baseline",
            fontsize=_NUMBER if number < _MOST_NUMBERS else 0.75 * _NUMBER, color=ink, zorder=7,
            annotation_clip=False, gid="number",
        ).set_in_layout(False)  # fmt: skip
    dots = one.asked[bare]
    axes.scatter(
        dots[:, 0], dots[:, 1], 6, colours[bare], edgecolor="white", lw=0.4, zorder=4.5, clip_on=False, gid="bare"
    )
    return len(bare)


def draw_trials(axes: Axes, one: TranslationMap, norm: Normalize) -> bool:
    """Draw energies against trials, and the lowest so far as a step line, into axes.

    Parameters
    ----------
    axes
        Where to.
    one
        Map of a search.
    norm
        Colour scale of the map. Where energies go far beyond it, the axis ends with it.

    Returns
    -------
    Whether there are energies above the axis; they are triangles at its upper end.
    """
    trial = np.arange(1, len(one.energies) + 1)
    done = np.isfinite(one.energies)
    best = one.best_so_far
    known = np.isfinite(best)
    axes.step(
        [*trial[known], trial[-1] + 0.5],
        [*best[known], best[-1]],
        where="post",
        color=BEST,
        lw=1.2,
        zorder=2,
        gid="best",
    )
    size = 14 if len(trial) <= 40 else 7  # noqa: PLR2004 (points that touch)
    low = float(np.nanmin(one.energies))
    high = axis_end(one, norm)
    room = max(high - low, LEAST_SPAN)
    inside, beyond = done & (one.energies <= high), done & (one.energies > high)
    axes.scatter(trial[inside], one.energies[inside], size, TRIAL, edgecolor="white", lw=0.4, zorder=3, gid="trials")
    axes.set_ylim(low - _ROOM_BELOW * room, low + (1 + _ROOM_ABOVE) * room)
    axes.scatter(
        trial[beyond], np.full(int(beyond.sum()), 1 - _ON_AXIS), size, TRIAL, marker="^", lw=0,
        transform=axes.get_xaxis_transform(), zorder=3, gid="beyond",
    )  # fmt: skip
    axes.scatter(
        trial[~done], np.full(int((~done).sum()), _ON_AXIS), 12, FAILED, marker=FAILED_MARK, lw=0.9,
        transform=axes.get_xaxis_transform(), zorder=4, gid="failed",
    )  # fmt: skip
    axes.set_xlim(0.5, trial[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("Trial")
    axes.set_ylabel(ENERGY_LABEL)
    return bool(beyond.any())


def axis_end(one: TranslationMap, norm: Normalize) -> float:
    """Highest energy of an axis of trials, J/m²: that of the map's colour scale where others are far beyond it."""
    low, high, scale = float(np.nanmin(one.energies)), float(np.nanmax(one.energies)), float(norm.vmax or 0.0)
    return scale if high - low > _FAR * (scale - low) else high


def series_name(crystal: str, collection: str, *, several: bool) -> str:
    """Name what is drawn alike, for a legend.

    Parameters
    ----------
    crystal, collection
        As :func:`angle_styles` has them.
    several
        Whether there are several crystals.
    """
    words = collection.replace("_", " ")
    if not words or (several and not words.lower().startswith(crystal.lower())):
        return ", ".join(filter(None, (crystal, words)))
    return words


def draw_angles(axes: Axes, rows: pd.DataFrame, styles: dict[tuple[str, str], tuple[str, str]]) -> Floats:
    """Draw energies against misorientations into axes: the boundaries of one axis and kind.

    Parameters
    ----------
    axes
        Where to.
    rows
        Of a prepared table.
    styles
        Shape and colour by crystal and collection, as :func:`angle_styles` gives them.

    Returns
    -------
    Places that names should not cover, shape (n, 2).
    """
    done = rows[rows[ENERGY].notna()]
    ends = perfect_angles(str(rows["kind"].iloc[0]), str(rows["axis"].iloc[0]), rows["angle"].to_list())
    covered = [done[["angle", ENERGY]].to_numpy(dtype=float), *(np.array([[end, 0.0]]) for end in ends)]
    axes.axhline(0, color="black", lw=0.5, zorder=1)
    several = len(set(rows["crystal"])) > 1
    for crystal, part in done.groupby("crystal", sort=False):
        curve = part.groupby("angle")[ENERGY].min().reset_index().to_numpy(dtype=float)
        colour = next((tone for (name, _), (_, tone) in styles.items() if name == crystal), _LINE) if several else _LINE
        axes.plot(curve[:, 0], curve[:, 1], color=colour, lw=0.7, alpha=0.6, zorder=2, gid="curve")
        covered.append(_along(curve))
        for end in ends:
            near = curve[0] if end < curve[0, 0] else curve[-1] if end > curve[-1, 0] else None
            if near is not None:
                way = np.array([near, [end, 0.0]])
                axes.plot(way[:, 0], way[:, 1], color=colour, lw=0.6, ls=(0, (1, 2)), zorder=1.5, gid="to limit")
                covered.append(_along(way))
    for (crystal, collection), (marker, colour) in styles.items():
        mine = done[
            (done["crystal"] == crystal) & done["collection"].isin([collection] if collection else done["collection"])
        ]
        axes.scatter(
            mine["angle"], mine[ENERGY], 20, colour, marker=marker, edgecolor="white", lw=0.4, zorder=4, gid="computed"
        )
    guess = done[done["predicted_energy"].notna()]
    axes.scatter(guess["angle"], guess["predicted_energy"], 26, EDGE, marker="_", lw=1.0, zorder=3.5, gid="predicted")
    covered += [guess[["angle", "predicted_energy"]].to_numpy(dtype=float)]
    axes.scatter(ends, [0.0] * len(ends), 14, "white", edgecolor=EDGE, lw=0.8, zorder=5, clip_on=False, gid="limit")
    top = float(done[ENERGY].max()) if len(done) else 1.0
    lost = rows[(rows["state"] == "failed") & rows["angle"].notna()]
    axes.scatter(
        lost["angle"], [-0.05 * top] * len(lost), 14, FAILED, marker=FAILED_MARK, lw=0.9, zorder=4, gid="failed"
    )
    axes.set_ylim(-_ROOM_BELOW * top if len(lost) else -0.02 * top, (1 + 1.6 * _ROOM_ABOVE) * top)
    low, high = min([*rows["angle"], *ends]), max([*rows["angle"], *ends])
    room = 0.03 * (high - low) or 5.0
    axes.set_xlim(low - (room if low > 0 else 0), high + (0 if high in ends else room))
    span = axes.get_xlim()[1] - axes.get_xlim()[0]
    axes.xaxis.set_major_locator(MultipleLocator(15 if span <= 100 else 30) if span > 30 else MaxNLocator(5))  # noqa: PLR2004 (degrees)
    axes.set_xlabel(ANGLE_LABEL)
    covered.append(_along(np.array([[low, 0.0], [high, 0.0]]), 40))
    return np.concatenate(covered)


def angle_styles(rows: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """Shape and colour of the points of each crystal and collection, which is empty where it tells nothing.

    Collections differ in shape, and crystals in colour; where there is one crystal, or each collection is of one, both
    differ.
    """
    pairs = rows[["crystal", "collection"]].drop_duplicates()
    crystals = list(dict.fromkeys(rows["crystal"]))
    tells = pairs.groupby("crystal").size().max() > 1 and rows["collection"].nunique() <= len(_SHAPES)
    if not tells:
        return {(one, ""): (_SHAPES[at % len(_SHAPES)], _colour(at)) for at, one in enumerate(crystals)}
    collections = list(dict.fromkeys(rows["collection"]))
    return {
        (crystal, collection): (
            _SHAPES[collections.index(collection)],
            _colour(crystals.index(crystal) if len(crystals) > 1 else collections.index(collection)),
        )
        for crystal, collection in pairs.itertuples(index=False)
    }


def angle_handles(rows: pd.DataFrame, styles: dict[tuple[str, str], tuple[str, str]], *, limits: bool) -> list[Line2D]:
    """Entries of the legend of :func:`draw_angles`.

    Parameters
    ----------
    rows
        All that is drawn.
    styles
        Of the points.
    limits
        Whether perfect crystals are drawn.
    """
    point: dict[str, Any] = {"ls": "none", "ms": 4.5}
    crystals = {crystal for crystal, _ in styles}
    handles = []
    if len(styles) > 1:
        for (crystal, collection), (marker, colour) in styles.items():
            label = series_name(crystal, collection, several=len(crystals) > 1)
            handles.append(Line2D([], [], color=colour, marker=marker, mew=0, label=label, **point))
    if rows["predicted_energy"].notna().any():
        handles.append(Line2D([], [], color=EDGE, marker="_", mew=1.0, ls="none", ms=6, label="predicted energy"))
    if limits:
        open_: dict[str, Any] = {"marker": "o", "mfc": "white", "mec": EDGE, "mew": 0.8, "ls": "none", "ms": 4}
        handles.append(Line2D([], [], label="perfect crystal", **open_))
    if (rows["state"] == "failed").any():
        handles.append(Line2D([], [], color=FAILED, marker=FAILED_MARK, mew=0.9, ls="none", ms=4.5, label="failed"))
    return handles


def energy_bar(figure: Figure, axes: Any, image: Any, energies: Sequence[float] | Floats, **place: Any) -> None:
    """Draw the scale of a map, with a tip where energies go beyond it.

    Parameters
    ----------
    figure, axes
        Where to.
    image
        The map.
    energies
        All that is drawn with this scale, J/m².
    place
        Further options of ``Figure.colorbar``.
    """
    beyond = bool(np.nanmax(energies) > image.norm.vmax + 1e-9)
    bar = figure.colorbar(image, ax=axes, extend="max" if beyond else "neither", **place)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(labelsize=7, width=0.5, length=2)
    bar.set_label(ENERGY_LABEL)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()


def _colour(number: int) -> str:
    return CATEGORIES[number % len(CATEGORIES)]


def _along(points: Floats, each: int = 15) -> Floats:
    """Points along a line, for names to stay away from."""
    if len(points) < 2:  # noqa: PLR2004 (no line)
        return points
    ways = [np.linspace(one, other, each) for one, other in pairwise(points)]
    return np.concatenate(ways)
