"""Averaged smooth overlap of atomic positions."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.descriptors.compositions import symbols
from hts_flows.descriptors.elemental import property_column

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.pools.cells import Cell

    Floats = NDArray[np.float64]

#: Raised when the same options give other numbers than before.
VERSION = 1
#: The neighbourhood ends at r_cut (Å); atoms are Gaussians of width sigma (Å); n_max radial functions, degrees to l_max
# "outer" averages the power spectra of the sites. "inner" averages the density itself first, and loses what two sites
# that are each other's mirror image have of odd degree: the tetrahedra of zincblende and diamond, for example.
# "mu2" adds up the elements before the spectrum, so that its length does not depend on how many elements a pool has.
OPTIONS: dict[str, Any] = {"r_cut": 6.0, "n_max": 6, "l_max": 4, "sigma": 0.5, "rbf": "gto", "average": "outer"}
COMPRESSION = "mu2"
#: How atoms count: in the first block all alike, in the second by their electronegativity (Pauling).
BLOCKS = ("equal", "electronegativity")
_LENGTH = OPTIONS["n_max"] * (OPTIONS["n_max"] + 1) // 2 * (OPTIONS["l_max"] + 1)
COLUMNS = tuple(f"soap_{block}_{number}" for block in BLOCKS for number in range(_LENGTH))


def describe_options() -> dict[str, Any]:
    """Every option, for the key of the cache and for provenance."""
    return {"version": VERSION, **OPTIONS, "compression": COMPRESSION, "weights": list(BLOCKS), "periodic": True}


def soap(cell: Cell) -> Floats:
    """Averaged power spectra of a crystal, with atoms alike and with atoms weighted by electronegativity.

    Bartók et al., Phys. Rev. B 87, 184115 (2013); compression of Darby et al., npj Comput. Mater. 8, 166 (2022); by
    DScribe, Himanen et al., Comput. Phys. Commun. 247, 106949 (2020).

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
    ValueError
        An element without electronegativity.
    """
    from ase import Atoms

    unknown = sorted(set(cell.species) - set(_weights()))
    if unknown:
        raise ValueError(f"no electronegativity is known of {', '.join(unknown)}")
    atoms = Atoms(list(cell.species), scaled_positions=cell.fractions, cell=cell.lattice, pbc=True)
    return np.concatenate([spectrum.create(atoms) for spectrum in _spectra()])


@lru_cache(maxsize=1)
def _weights() -> dict[str, float]:
    known = zip(symbols(), property_column("electronegativity"), strict=True)
    return {symbol: float(value) for symbol, value in known if np.isfinite(value)}


@lru_cache(maxsize=1)
def _spectra() -> tuple[Any, ...]:
    from dscribe.descriptors import SOAP

    # All elements, always: an entry's numbers must not depend on what else is in the pool.
    weights = {"equal": None, "electronegativity": _weights()}
    return tuple(
        SOAP(
            **OPTIONS,
            compression={"mode": COMPRESSION, "species_weighting": weights[block]},
            species=list(_weights()),
            periodic=True,
        )
        for block in BLOCKS
    )
