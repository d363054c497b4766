"""Coordination of the atoms, and the order of the shells around them."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.pools.cells import Cell

    Floats = NDArray[np.float64]

#: Raised when the same options give other numbers than before.
VERSION = 1
#: Options of pymatgen's CrystalNN, its defaults: bonds between unlike atoms count more, long ones less.
FINDER: dict[str, Any] = {"distance_cutoffs": [0.5, 1.0], "x_diff_weight": 3.0}
#: The same without limits of distance, where every neighbour is farther than the atoms' radii let expect.
FAR_FINDER: dict[str, Any] = {"distance_cutoffs": None, "x_diff_weight": 3.0}
#: What is found at each site: number of neighbours, their mean distance (Å), Steinhardt's order parameters.
SITE_NUMBERS = ["coordination", "distance", "q4", "q6"]
#: What is taken of each over the sites.
STATISTICS = ["mean", "std", "min", "max"]
COLUMNS = tuple(f"{statistic}_{name}" for name in SITE_NUMBERS for statistic in STATISTICS)
#: Shells that are less likely than this are left out.
_LEAST_WEIGHT = 1e-3
#: Decimals of a site's numbers: sites that symmetry makes equal differ by rounding.
_DECIMALS = 9


def describe_options() -> dict[str, Any]:
    """Every option, for the key of the cache and for provenance."""
    return {"version": VERSION, "CrystalNN": [FINDER, FAR_FINDER], "sites": SITE_NUMBERS, "statistics": STATISTICS}


def local_order(cell: Cell) -> Floats:
    """Statistics over the sites of coordination number, distance of neighbours, and order parameters q4 and q6.

    pymatgen's CrystalNN (Pan et al., Inorg. Chem. 60, 1590 (2021)) gives each coordination number at a site a weight;
    each number here is the mean over them, so that small changes of a structure change it little.
    Order parameters: Steinhardt et al., Phys. Rev. B 28, 784 (1983).

    Parameters
    ----------
    cell
        The crystal.

    Returns
    -------
    Floats
        As :data:`COLUMNS`.

    Raises
    ------
    ValueError, RuntimeError
        A site without neighbours, or one whose neighbourhood cannot be constructed.
    """
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice(cell.lattice), list(cell.species), cell.fractions)
    with warnings.catch_warnings():
        # It warns that it has no oxidation states and takes atomic radii, as is meant here.
        warnings.simplefilter("ignore")
        sites = np.array([_site_numbers(structure, site) for site in range(len(structure))])
    sites = np.round(sites, _DECIMALS)
    statistics = [sites.mean(axis=0), sites.std(axis=0), sites.min(axis=0), sites.max(axis=0)]
    return np.stack(statistics, axis=1).ravel()


def _site_numbers(structure: Any, site: int) -> list[float]:
    """Numbers of one site, the mean over its possible shells."""
    near, far, order = _finders()
    for finder in (near, far):
        found = finder.get_nn_data(structure, site)
        shells = {int(n): float(w) for n, w in found.cn_weights.items() if n > 0 and w >= _LEAST_WEIGHT}
        if shells:
            break
    else:
        raise ValueError(f"site {site + 1} ({structure[site].specie}) has no neighbours")
    total = np.zeros(len(SITE_NUMBERS))
    for number, weight in shells.items():
        around = [one["site"] for one in found.cn_nninfo[number]]
        distance = np.mean([np.linalg.norm(one.coords - structure[site].coords) for one in around])
        steinhardt = order.get_order_parameters(
            [structure[site], *around], 0, indices_neighs=list(range(1, len(around) + 1))
        )
        total += weight * np.array([number, distance, *steinhardt])
    return list(total / sum(shells.values()))


@lru_cache(maxsize=1)
def _finders() -> tuple[Any, Any, Any]:
    from pymatgen.analysis.local_env import CrystalNN, LocalStructOrderParams

    return CrystalNN(**FINDER), CrystalNN(**FAR_FINDER), LocalStructOrderParams(["q4", "q6"])
