"""Names beside points, placed so that they cover neither each other nor the points."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike, NDArray

#: Distances from a point that are tried, in points of 1/72 inch, near ones first, in so many directions.
_DISTANCES = (6.0, 10.0, 15.0, 22.0, 30.0, 40.0, 55.0, 75.0)
_DIRECTIONS = 16
#: A point that is named counts like so many others where a label would cover it.
_NAMED = 50
#: Of more points than this, each counts less.
_CLOUD = 150
#: A label that is farther away than this gets a line to its point.
_NEAR = 8.0
#: Room about a label, pixels.
_ROOM = 1.5
_LINE: dict[str, Any] = {"arrowstyle": "-", "lw": 0.4, "color": "#666666", "shrinkA": 0, "shrinkB": 2}


def place_labels(
    axes: Axes, points: ArrayLike, texts: Sequence[str], avoid: ArrayLike, *, size: float = 6.5
) -> list[str]:
    """Write names beside points, in the axes; call it when all else is drawn.

    Parameters
    ----------
    axes
        Where to.
    points
        In data units, shape (n, 2).
    texts
        Names, n of them, the most important first.
    avoid
        Points that labels should not cover, in data units, shape (m, 2); the labelled ones among them.
    size
        Of the letters, points.

    Returns
    -------
    list of str
        The names that found room.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not texts:
        return []
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()  # positions are known from here on
    renderer = canvas.get_renderer()
    scale = figure.dpi / 72
    inside = axes.get_window_extent(renderer)
    pixels = axes.transData.transform(np.asarray(points, dtype=float).reshape(-1, 2))
    obstacles = axes.transData.transform(np.asarray(avoid, dtype=float).reshape(-1, 2))
    obstacles = obstacles[np.isfinite(obstacles).all(axis=1)]
    # Where points are many, a name over some of them is better than one far away.
    weight = min(1.0, _CLOUD / max(len(obstacles), 1))
    taken: list[Bbox] = [text.get_window_extent(renderer) for text in axes.texts]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent(renderer))
    lines: list[NDArray[np.float64]] = []
    placed = []
    for (x, y), text in zip(pixels, texts, strict=True):
        probe = axes.text(0, 0, text, fontsize=size)
        extent = probe.get_window_extent(renderer)
        probe.remove()
        best: tuple[float, float, float, Bbox] | None = None
        for distance, turn in itertools.product(_DISTANCES, range(_DIRECTIONS)):
            angle = 2 * np.pi * (turn + 0.5) / _DIRECTIONS
            dx, dy = scale * distance * np.cos(angle), scale * distance * np.sin(angle)
            # The nearest edge of the label stands at that distance.
            left = x + dx - (extent.width if np.cos(angle) < 0 else 0)
            low = y + dy - extent.height / 2
            box = Bbox.from_bounds(left - _ROOM, low - _ROOM, extent.width + 2 * _ROOM, extent.height + 2 * _ROOM)
            outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1
            if outside or any(box.overlaps(other) for other in taken):
                continue
            lead = np.linspace((x, y), (x + dx, y + dy), 20)
            if any(box.count_contains(line) for line in lines) or any(other.count_contains(lead) for other in taken):
                continue
            wide = box.padded(2 * scale)
            covered = weight * wide.count_contains(obstacles) + _NAMED * wide.count_contains(pixels)
            cost = covered + distance / 12
            if best is None or cost < best[0]:
                best = (cost, dx, dy, box)
        if best is None:
            continue
        _, dx, dy, box = best
        taken.append(box)
        far = np.hypot(dx, dy) > _NEAR * scale
        if far:
            lines.append(np.linspace((x, y), (x + dx, y + dy), 20))
        data = axes.transData.inverted().transform((x, y))
        axes.annotate(
            text,
            (float(data[0]), float(data[1])),
            (dx / scale, dy / scale),
            textcoords="offset points",
            fontsize=size,
            ha="right" if dx < 0 else "left",
            va="center",
            arrowprops=_LINE | {"relpos": (1 if dx < 0 else 0, 0.5)} if far else None,
            zorder=6,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        ).set_in_layout(False)
        placed.append(text)
    return placed
