"""What the figures of grain boundaries draw, read from tables of results: maps over translations, and curves.

A map knows energies at the translations that were computed and at those that symmetry makes equal to them, and nowhere
else: what lies farther from all of them than about a step of the grid stays empty.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.screening.translation_space import TranslationSpace

    Floats = NDArray[np.float64]

ENERGY = "boundary_energy"
ENERGY_LABEL = "Boundary energy (J/m²)"
ANGLE_LABEL = "Misorientation angle (°)"
TRIALS = "trials"
#: Why searches end, as in :data:`hts_flows.screening.stopping.RULES`, in words that fit above a panel.
STOPPED = {
    "patience": "no further gain",
    "budget": "budget spent",
    "exhausted": "none left",
}
#: Angles at which there is no boundary but one crystal, degrees, by the kind of boundary and the family of the axis;
#: about any axis, 0.
PERFECT: dict[tuple[str, tuple[int, ...]], tuple[float, ...]] = {
    ("symmetric_tilt", (0, 0, 1)): (0.0, 90.0),
    ("symmetric_tilt", (0, 1, 1)): (0.0, 180.0),
}
_TEXTS = ("label", "boundary", "crystal", "axis", "plane", "kind", "collection", "relaxed", "method", "stop_reason")
_NUMBERS = (ENERGY, "predicted_energy", "angle", "sigma", "x", "y", "x_cos", "x_sin", "y_cos", "y_sin", "n_candidates")
#: Translations that are nearer than this are the same, Å.
_SAME = 1e-3
#: How far from a translation its energy is drawn: in steps of the grid, and at least as a part of the longer side.
_REACH, _LEAST_REACH = 0.75, 0.017
_LONGEST_SIDE = 700
_MARGIN = 0.5


@dataclass(frozen=True, eq=False)
class TranslationMap:
    """Energies over in-plane translations; the lowest over openings and removals where there are several.

    Attributes
    ----------
    name
        Of the boundary.
    asked
        Translations (x, y) as they were computed, in the order asked, Å, shape (n, 2).
    energies
        J/m², NaN where the relaxation failed, shape (n,).
    points
        Computed translations and those that symmetry makes equal to them, each once, Å, shape (m, 2).
    at_points
        Lowest energy at each, J/m², NaN where all failed, shape (m,).
    periods
        In-plane periods, Å; None where they are not known.
    step
        Of the grid, Å.
    low, high
        Corners of what is drawn, Å.
    complete
        Whether every translation of the grid was computed, or is by symmetry equal to one that was.
    rows
        Number of each trial's row in the table that the map was made from, shape (n,).
    """

    name: str
    asked: Floats
    energies: Floats
    points: Floats
    at_points: Floats
    periods: tuple[float, float] | None
    step: float
    low: tuple[float, float]
    high: tuple[float, float]
    complete: bool
    rows: NDArray[np.int_]

    @property
    def size(self) -> tuple[float, float]:
        """Extent along x and y, Å."""
        return self.high[0] - self.low[0], self.high[1] - self.low[1]

    @property
    def best(self) -> int:
        """Number of the trial with the lowest energy."""
        return int(np.nanargmin(self.energies))

    @cached_property
    def failed(self) -> NDArray[np.bool_]:
        """Trials that failed where no other of the same translation gave an energy, shape (n,)."""
        places = [tuple(place) for place in self.asked.round(3).tolist()]
        done = {place for place, energy in zip(places, self.energies, strict=True) if np.isfinite(energy)}
        return np.array([place not in done for place in places], dtype=bool)

    @cached_property
    def best_so_far(self) -> Floats:
        """Lowest energy of each trial and those before it, J/m², NaN before the first, shape (n,)."""
        lowest = np.minimum.accumulate(np.where(np.isnan(self.energies), np.inf, self.energies))
        return np.where(np.isfinite(lowest), lowest, np.nan)

    def raster(self) -> Floats:
        """Energies of cells about the points for an image, row by row from the bottom, NaN where nothing is known.

        Each cell ends where another point is nearer, and at about a step of the grid from its own.
        """
        from scipy.spatial import cKDTree

        pixel = max(self.size) / _LONGEST_SIDE
        counts = [max(2, round(length / pixel)) for length in self.size]
        x, y = (
            low + (np.arange(count) + 0.5) * length / count
            for low, length, count in zip(self.low, self.size, counts, strict=True)
        )
        places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        if self.periods is None:
            tree = cKDTree(self.points)
        else:
            tree = cKDTree(_folded(self.points, self.periods), boxsize=self.periods)
            places = _folded(places, self.periods)
        # A square cell of a grid reaches to its corners.
        reach = max(_REACH * self.step, _LEAST_REACH * max(self.size))
        distance, owner = tree.query(places, distance_upper_bound=reach)
        known = np.isfinite(distance)
        found = np.full(len(places), np.nan)
        found[known] = self.at_points[owner[known]]
        return found.reshape(counts[1], counts[0])


def prepared(frame: pd.DataFrame, engine: str | None = None) -> pd.DataFrame:
    """Keep the rows of one engine, with every column that figures of grain boundaries read.

    Parameters
    ----------
    frame
        Table of results, one row a candidate.
    engine
        Which engine's results; when left out, the one with the most finished results, of equals the last in the table.

    Returns
    -------
    DataFrame
        Copy; energies are NaN unless the state is "done"; texts that are missing are empty.

    Raises
    ------
    InputError
        There are no rows, no energies, or no results of the engine.
    """
    if frame.empty:
        raise InputError("there are no results to draw", "see 'hts status' for how far the campaign is")
    rows = frame.reset_index(drop=True)
    rows["row"] = np.arange(len(rows))
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
    for name in _NUMBERS:
        values = pd.to_numeric(rows[name], errors="coerce") if name in rows else pd.Series(np.nan, rows.index)
        found = values.to_numpy(dtype=float, na_value=np.nan)
        rows[name] = np.where(np.isfinite(found), found, np.nan)
    rows[ENERGY] = rows[ENERGY].where((rows["state"] == "done").to_numpy(dtype=bool))
    for name in _TEXTS:
        rows[name] = ["" if pd.isna(one) else str(one) for one in rows[name]] if name in rows else ""
    rows["boundary"] = rows["boundary"].where(rows["boundary"] != "", rows["label"])
    if rows[ENERGY].isna().all():
        failed = int((rows["state"] == "failed").sum())
        states = f", {failed} of them failed" if failed else ""
        raise InputError(
            f"nothing to draw: none of {len(rows)} results has a {ENERGY}{states}",
            "see 'hts failures'" if failed else "see 'hts status' for how far the campaign is",
        )
    return rows


def is_one_boundary(rows: pd.DataFrame) -> bool:
    """Tell whether a prepared table is of one boundary."""
    return len(set(rows["boundary"])) == 1


def has_translations(rows: pd.DataFrame) -> bool:
    """Tell whether the candidates are translations of boundaries, not whole boundaries."""
    return bool((rows["x"].notna() & rows["y"].notna()).any())


def search_row(rows: pd.DataFrame) -> pd.Series | None:
    """Row of the search with the lowest energy of a prepared table; None where there is none."""
    if TRIALS not in rows:
        return None
    searched = np.array([trials_of(one) is not None for one in rows[TRIALS]], dtype=bool)
    known = rows[rows[ENERGY].notna().to_numpy(dtype=bool) & searched]
    return None if known.empty else known.loc[known[ENERGY].idxmin()]


def trials_of(value: Any) -> dict[str, Any] | None:
    """Trials of a search from a cell of a table: a mapping, or the text of one; None where there are none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            try:  # tables in memory spell mappings as Python does
                value = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                return None
    if not isinstance(value, Mapping) or not {"translations", "energies", "periods", "step"} <= value.keys():
        return None
    return dict(value) if len(value["translations"]) else None


def map_of_search(row: pd.Series) -> TranslationMap:
    """Make the map of a search from its row of a prepared table.

    Raises
    ------
    InputError
        The row has no trials, none of them has an energy, or their symmetry is no symmetry of the periods.
    """
    from hts_flows.screening.translation_space import TranslationSpace

    trials = trials_of(row.get(TRIALS))
    if trials is None:
        raise InputError(f"{row['label']}: the result has no trials", "a search over translations stores them")
    energies = np.array([np.nan if one is None else one for one in trials["energies"]], dtype=float)
    if np.isnan(energies).all():
        raise InputError(f"{row['label']}: none of {len(energies)} trials has an energy", "see 'hts failures'")
    lx, ly = (float(one) for one in trials["periods"])
    operations = [(one["matrix"], one["shift"]) for one in trials.get("operations") or ()]
    space = TranslationSpace.grid(lx=lx, ly=ly, step=trials["step"], symmetry=operations)
    asked = np.array(trials["translations"], dtype=float).reshape(len(energies), -1)[:, :2] % (lx, ly)
    grid, on_grid = _whole_grid(space, asked, energies)
    if grid is None:
        images = space.images(asked)
        grid, on_grid = images.reshape(-1, 2), np.repeat(energies, images.shape[1])
        complete = False
    else:
        complete = True
    points, values = _lowest(grid, on_grid, periods=(lx, ly), digits=_digits(space.steps))
    return TranslationMap(
        _name(row), asked, energies, points, values, (lx, ly), max(space.steps), (0.0, 0.0), (lx, ly),
        complete=complete, rows=np.full(len(energies), int(row["row"])),
    )  # fmt: skip


def map_of_candidates(rows: pd.DataFrame) -> TranslationMap:
    """Make the map of a boundary whose candidates are translations, from its rows of a prepared table.

    What is drawn is the part of the period that has candidates: where symmetry was used, one translation of each orbit.
    """
    here = rows[rows["x"].notna() & rows["y"].notna()]
    plane = here[["x", "y"]].to_numpy(dtype=float)
    known = (here[ENERGY].notna() | (here["state"] == "failed")).to_numpy(dtype=bool)
    steps = [_smallest_step(values) for values in plane.T]
    step = max(steps) or 1.0
    margins = [_MARGIN * (one or step) for one in steps]
    low, high = (
        tuple(float(end) for end in ends) for ends in (plane.min(axis=0) - margins, plane.max(axis=0) + margins)
    )
    energies = here[ENERGY].to_numpy(dtype=float)[known]
    points, values = _lowest(plane[known], energies, periods=None, digits=3)
    return TranslationMap(
        _name(here.iloc[0]), plane[known], energies, points, values, _periods(here), step,
        (low[0], low[1]), (high[0], high[1]), complete=False, rows=here["row"].to_numpy(dtype=int)[known],
    )  # fmt: skip


def indices_of(text: str) -> tuple[int, ...]:
    """Indices of an axis or a plane as it is written: [001], (1-10), [0 11 1]."""
    inside = text.strip("[]() ")
    found = inside.split() if " " in inside else re.findall(r"-?\d", inside)
    try:
        return tuple(int(one) for one in found)
    except ValueError:
        return ()


def stopped(reason: str) -> str:
    """Say why a search ended, or, with commas, several: "stopped: no further gain"; empty where nobody knows."""
    words = [STOPPED.get(one, one) for one in filter(None, (part.strip() for part in reason.split(",")))]
    return f"stopped: {', '.join(words)}" if words else ""


def perfect_angles(kind: str, axis: str, angles: Iterable[float]) -> list[float]:
    """Angles at which there is one crystal and no boundary, degrees, those that end the range of given angles.

    Parameters
    ----------
    kind, axis
        As in tables of results.
    angles
        Misorientations of the boundaries, degrees.
    """
    family = tuple(sorted(map(abs, indices_of(axis))))
    largest = max(angles, default=0.0)
    if len(family) != 3:  # noqa: PLR2004 (an axis has three indices)
        return []
    # A few boundaries near one end say nothing of the other.
    return [end for end in PERFECT.get((kind, family), (0.0,)) if end == 0 or largest > end / 2]


def _name(row: pd.Series) -> str:
    """Name of a boundary: that of its facets, which no translation is part of."""
    if row["axis"] and row["plane"] and np.isfinite(row["sigma"]):
        tail = " twist" if row["kind"] == "twist" else ""
        return f"{row['crystal']} Σ{int(row['sigma'])}{row['axis']}{row['plane']}{tail}".strip()
    return str(row["boundary"])


def _folded(points: Floats, periods: tuple[float, float]) -> Floats:
    """Points within the periods; rounding can give the period itself, which is 0."""
    folded = points % np.array(periods)
    return np.where(folded >= np.array(periods), 0.0, folded)


def _whole_grid(space: TranslationSpace, asked: Floats, energies: Floats) -> tuple[Floats | None, Floats]:
    """Every point of the grid with the energy of its orbit; None for the points where an orbit was not computed."""
    n_x, n_y, _ = space.shape
    steps = np.array(space.steps)
    indices = np.rint(asked / steps).astype(int)
    on_grid = np.abs(indices * steps - asked).max(axis=1) < _SAME
    numbers = (indices % (n_x, n_y)) @ (n_y, 1)
    lowest = np.full(n_x * n_y, np.inf)
    np.minimum.at(lowest, space.orbits[numbers[on_grid]], np.nan_to_num(energies[on_grid], nan=np.inf))
    if np.setdiff1d(space.representatives, space.orbits[numbers[on_grid]]).size:
        return None, energies
    found = lowest[space.orbits]
    plane = space.translations(np.arange(space.n_points))[:, :2]
    return plane, np.where(np.isfinite(found), found, np.nan)


def _digits(steps: Sequence[float]) -> int:
    """Digits after the point to which translations of a grid are told apart."""
    return 3 if min(steps) > 10 * _SAME else 5


def _lowest(
    points: Floats, energies: Floats, *, periods: tuple[float, float] | None, digits: int
) -> tuple[Floats, Floats]:
    """Each point once, with the lowest energy of all that was computed there; NaN where all failed."""
    if periods is not None:
        points = _folded(_folded(points, periods).round(digits), periods)
    table = pd.DataFrame({"x": points[:, 0].round(digits), "y": points[:, 1].round(digits), "energy": energies})
    lowest = table.groupby(["x", "y"], sort=True)["energy"].min().reset_index()
    return lowest[["x", "y"]].to_numpy(dtype=float), lowest["energy"].to_numpy(dtype=float)


def _smallest_step(values: Floats) -> float:
    """Smallest distance of values that differ; 0 where none do."""
    gaps = np.diff(np.unique(values.round(3)))
    gaps = gaps[gaps > _SAME]
    return float(gaps.min()) if len(gaps) else 0.0


def _periods(rows: pd.DataFrame) -> tuple[float, float] | None:
    """Periods from the circles that translations lie on, whose circumferences they are, Å."""
    found = [2 * np.pi * float(np.median(np.hypot(rows[f"{name}_cos"], rows[f"{name}_sin"]))) for name in ("x", "y")]
    return (found[0], found[1]) if np.isfinite(found).all() and min(found) > 0 else None
