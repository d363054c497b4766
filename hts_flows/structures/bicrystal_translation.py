"""Rigid translations of a bicrystal's grains, with atoms that come too close removed or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError
from hts_flows.structures.bicrystal_check import close_pairs, closest_contact, formula
from hts_flows.structures.bicrystals import Bicrystal, inside_cell

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Atoms closer than this times the crystal's shortest distance count as overlapping after a translation.
OVERLAP = 0.4
_ROUNDING = 1e-6


def translated(
    bicrystal: Bicrystal,
    tx: float,
    ty: float,
    tz: float = 0.0,
    *,
    fractional: bool = False,
    remove_closer: float | None = None,
    overlap: float = OVERLAP,
) -> Bicrystal:
    """Translate grain 2 rigidly, from where it is.

    Parameters
    ----------
    bicrystal
        The cell.
    tx, ty
        In-plane translation, Å, or in units of ``lx`` and ``ly``.
    tz
        Opening of each boundary, Å, always; the cell grows by as much for each.
    fractional
        Whether tx and ty are fractions of the periods.
    remove_closer
        Remove atoms of grain 2 that are closer than this to atoms of grain 1 with their own element, closest first, Å;
        ``removed`` counts them, and ``built.formula`` is what is left.
    overlap
        Atoms closer than this times the crystal's shortest distance are an error; 0 allows anything.

    Raises
    ------
    InputError
        Atoms overlap; the message names the shortest contact.
    """
    shift = np.array([tx * bicrystal.lx, ty * bicrystal.ly, tz] if fractional else [tx, ty, tz], dtype=float)
    upper = bicrystal.grain == 2  # noqa: PLR2004
    lattice, positions = bicrystal.lattice.copy(), bicrystal.positions.copy()
    lattice[2, 2] += tz * len(bicrystal.boundary_heights)
    # Atoms of grain 2 lie above the middle, also those that rounding put at the lower border.
    positions[upper & (positions[:, 2] < bicrystal.boundary_heights[0] - _ROUNDING), 2] += bicrystal.lattice[2, 2]
    positions[upper] += shift
    positions = inside_cell(positions, lattice)
    kept = np.ones(len(positions), dtype=bool)
    if remove_closer is not None:
        kept = _without_close(bicrystal.symbols, positions, lattice, bicrystal.grain, remove_closer)
    symbols = tuple(symbol for symbol, keep in zip(bicrystal.symbols, kept, strict=True) if keep)
    grain, positions = bicrystal.grain[kept], positions[kept]
    closest, pair = closest_contact(positions, lattice, grain, 2 * bicrystal.spec.crystal.contact)
    limit = overlap * bicrystal.spec.crystal.contact
    total = tuple(float(old + new) for old, new in zip(bicrystal.translation, shift, strict=True))
    if closest < limit:
        names = " and ".join(symbols[index] for index in pair)
        raise InputError(
            f"{bicrystal.spec} at the translation ({total[0]:.3f}, {total[1]:.3f}, {total[2]:.3f}) Å: {names} of the "
            f"two grains are {closest:.3f} Å apart, less than {limit:.3f} Å",
            "Open the boundary (tz), remove close atoms (remove_closer), or allow it (overlap)",
        )
    built = replace(bicrystal.built, shortest_contact=closest, formula=formula(symbols, bicrystal.spec))
    first = bicrystal.boundary_heights[0] + tz / 2
    border = [float((bicrystal.boundary_heights[1] - tz / 2) % lattice[2, 2]) for _ in bicrystal.boundary_heights[1:]]
    return replace(
        bicrystal,
        symbols=symbols,
        positions=positions,
        lattice=lattice,
        grain=grain,
        rigid=bicrystal.rigid[kept],
        boundary_heights=(first, *border),
        built=built,
        translation=total,  # type: ignore[arg-type]
        removed=bicrystal.removed + int((~kept).sum()),
    )


def _without_close(
    symbols: tuple[str, ...], positions: NDArray[np.float64], lattice: NDArray[np.float64], grain: Any, distance: float
) -> NDArray[np.bool_]:
    """Which atoms stay when of each too close pair of one element that of grain 2 goes, closest pairs first."""
    kept = np.ones(len(symbols), dtype=bool)
    for first, second, _ in zip(*close_pairs(positions, lattice, grain, distance), strict=True):
        if symbols[first] == symbols[second] and kept[second]:
            kept[second] = False
    return kept
