"""Parameters of the second-moment potential for fcc metals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from hts_flows.errors import InputError, nearest

#: Distance at which interactions begin to be switched off, in nearest-neighbour distances; the fifth shell of an fcc
#: crystal is at √5 = 2.236.
TAPER_START = 2.28

#: Distance beyond which there is no interaction, in nearest-neighbour distances; the sixth shell is at √6 = 2.449.
CUTOFF = 2.42

CLERI_ROSATO = "F. Cleri, V. Rosato, Phys. Rev. B 48, 22 (1993)"


@dataclass(frozen=True)
class SecondMomentParameters:
    """The potential of one metal.

    The energy of atom i is Σ_j A exp(−p (r_ij/r0 − 1)) − √(Σ_j ξ² exp(−2q (r_ij/r0 − 1))).

    Parameters
    ----------
    a
        Strength of the repulsion, A, eV.
    xi
        Effective hopping integral, ξ, eV.
    p, q
        Decay of the repulsion and of the hopping integral.
    lattice_constant
        Lattice constant that gives r0 = a/√2, Å.
    source
        Where the numbers are from.
    """

    a: float
    xi: float
    p: float
    q: float
    lattice_constant: float
    source: str = CLERI_ROSATO

    @property
    def r0(self) -> float:
        """Distance of nearest neighbours, Å."""
        return self.lattice_constant / math.sqrt(2)

    @property
    def taper_start(self) -> float:
        """Distance at which interactions begin to be switched off, Å."""
        return TAPER_START * self.r0

    @property
    def cutoff(self) -> float:
        """Distance beyond which there is no interaction, Å."""
        return CUTOFF * self.r0

    def as_tuple(self) -> tuple[float, float, float, float, float, float, float]:
        """A, ξ, p, q, r0, start of the taper, cutoff: what the kernels take (eV, Å)."""
        return (self.a, self.xi, self.p, self.q, self.r0, self.taper_start, self.cutoff)


#: Fcc metals of Cleri and Rosato. With five shells of neighbours these reproduce the cohesive energy and the lattice
#: constant that they were fitted to, but for lead, whose crystal is in equilibrium at 4.9145 Å (tests/engines).
PARAMETERS: dict[str, SecondMomentParameters] = {
    "Ni": SecondMomentParameters(0.0376, 1.070, 16.999, 1.189, 3.523),
    "Cu": SecondMomentParameters(0.0855, 1.224, 10.960, 2.278, 3.615),
    "Rh": SecondMomentParameters(0.0629, 1.660, 18.450, 1.867, 3.803),
    "Pd": SecondMomentParameters(0.1746, 1.718, 10.867, 3.742, 3.887),
    "Ag": SecondMomentParameters(0.1028, 1.178, 10.928, 3.139, 4.085),
    "Ir": SecondMomentParameters(0.1156, 2.289, 16.980, 2.691, 3.839),
    "Pt": SecondMomentParameters(0.2975, 2.695, 10.612, 4.004, 3.924),
    "Au": SecondMomentParameters(0.2061, 1.790, 10.229, 4.036, 4.079),
    "Al": SecondMomentParameters(0.1221, 1.316, 8.612, 2.516, 4.050),
    "Pb": SecondMomentParameters(0.0980, 0.914, 9.576, 3.648, 4.951),
}


def parameters_for(species: str | Iterable[str]) -> SecondMomentParameters:
    """Find the parameters of a metal.

    Parameters
    ----------
    species
        Symbol, or the symbol of each atom: all the same, since there are no parameters for alloys.

    Raises
    ------
    InputError
        Unknown metal, or more than one.
    """
    symbols = {species} if isinstance(species, str) else set(species)
    if len(symbols) != 1:
        found = ", ".join(sorted(symbols)) or "no atoms"
        raise InputError(
            f"engine 'tight_binding' computes one metal at a time, found {found}",
            "there are no parameters for alloys: use another engine, e.g. 'sevennet'",
        )
    symbol = symbols.pop()
    if symbol not in PARAMETERS:
        raise InputError(
            f"engine 'tight_binding' has no parameters for {symbol!r}; {nearest(symbol, PARAMETERS)}",
            "use another engine for it, e.g. 'sevennet'",
        )
    return PARAMETERS[symbol]
