"""Relax crystals and pairs of grains with the second-moment potential, in this process.

Importing this module imports numba: do so in functions. A search of thousands of grain boundaries calls :func:`relax`
for each: about 100 atoms take some tens of milliseconds. Jobs that relax one structure go through ASE instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from hts_flows.engines._second_moment import SKIN, SecondMoment
from hts_flows.engines._second_moment_descent import ATOMS_MET, CONVERGED, descend
from hts_flows.engines._second_moment_parameters import SecondMomentParameters, parameters_for
from hts_flows.engines.base import UnphysicalResultError
from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from hts_flows.engines._second_moment import Booleans, Evaluation, Floats

#: What two grains may do while their atoms relax; see :func:`relax`.
Protocol = Literal["fixed translation", "free normal expansion", "free sliding"]

#: A grain that spans more of a periodic cell than this is taken for one that was cut by wrapping its atoms.
MOST_OF_CELL = 0.8


@dataclass(frozen=True)
class Relaxation:
    """Where a relaxation ended."""

    positions: Floats
    """Å, shape (N, 3); not wrapped into the cell."""
    cell: Floats
    """Lattice vectors as rows, Å; only the length along the normal differs from the start."""
    energy: float
    """eV."""
    energies: Floats
    """Energy of each atom, eV, shape (N,): what a boundary costs without the surfaces behind its rigid blocks."""
    forces: Floats
    """eV/Å, shape (N, 3), those on held atoms included."""
    translation: Floats
    """How far the upper grain ended from where it began, as seen from the lower one, Å, shape (3,): the rigid atoms
    where both grains have some, otherwise the means of all."""
    expansion: float
    """How much further apart the grains ended, at each boundary, Å."""
    max_force: float
    """Largest force left on what could move, eV/Å; that on a grain is divided by √(its number of atoms)."""
    converged: bool
    """Whether it is below ``fmax``."""
    n_calls: int
    """How often forces were computed."""


def evaluate(positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, species: str | Sequence[str]) -> Evaluation:
    """Compute energy, forces and virial once.

    Parameters
    ----------
    positions
        Å, shape (N, 3).
    cell
        Lattice vectors as rows, Å, shape (3, 3); three independent ones, periodic or not.
    pbc
        Which of them are periods: one for all, or three.
    species
        Symbol of the metal, or of each atom.

    Raises
    ------
    InputError
        Shapes that do not fit, numbers that are not finite, a metal without parameters or more than one.
    """
    parameters = parameters_for(species)
    return SecondMoment(parameters).evaluate(*_checked(positions, cell, pbc, species))


def relax(
    positions: ArrayLike,
    cell: ArrayLike,
    pbc: ArrayLike,
    species: str | Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    protocol: Protocol | None = None,
    free: ArrayLike | None = None,
    expand: bool = True,
    normal: int = 2,
    fmax: float = 0.01,
    max_calls: int = 2000,
) -> Relaxation:
    """Relax atoms, alone or in two grains that move as their protocol allows (L-BFGS).

    Without a protocol the free atoms relax in the cell as it is. With one, the grain of the smaller label is the lower
    one and stays where it is; the upper one moves as a whole, on top of what its free atoms do themselves:

    - "fixed translation": the translation of the grains in the plane is held. Neither grain moves in the plane, and the
      mean displacement of the free atoms of each grain has no component in it, so that the grains cannot glide by
      their atoms either. For cells with and without rigid blocks.
    - "free normal expansion": rigid blocks of both grains hold the translation in the plane; the free atoms between
      them are not constrained.
    - "free sliding": the upper grain moves in all directions.

    Along the normal the upper grain moves in all of them, unless ``expand`` is False. Where the normal is periodic
    there are two boundaries: the upper grain moves by as much as each expands, and the cell grows by twice that.

    Parameters
    ----------
    positions
        Å, shape (N, 3); the atoms of a grain are not wrapped apart.
    cell
        Lattice vectors as rows, Å, shape (3, 3); three independent ones, periodic or not.
    pbc
        Which of them are periods: one for all, or three.
    species
        Symbol of the metal, or of each atom.
    groups
        Label of the grain of each atom: two different numbers.
    protocol
        What the grains may do; None without grains.
    free
        Which atoms relax, shape (N,); the others are rigid with their grain. None for all; with no free atom the grains
        are rigid, and an expansion is all that relaxes.
    expand
        Whether the distance of the grains relaxes. False with rigid blocks is a cell of fixed volume.
    normal
        Which lattice vector crosses the boundary; the normal is perpendicular to the other two.
    fmax
        Converged when every force is below this, eV/Å; that on a grain is divided by √(its number of atoms).
    max_calls
        Most force calls.

    Returns
    -------
    Relaxation
        Not converged when ``max_calls`` were not enough.

    Raises
    ------
    InputError
        Arguments that do not fit together, a metal without parameters.
    UnphysicalResultError
        Atoms less than 0.5 Å apart.
    """
    parameters = parameters_for(species)
    start, lattice, periods = _checked(positions, cell, pbc, species)
    loose = _mask(free, len(start))
    if fmax <= 0 or max_calls < 1:
        raise InputError(f"fmax is {fmax} and max_calls {max_calls}: both must be positive")
    if normal not in {0, 1, 2}:
        raise InputError(f"normal is {normal}: allowed are 0, 1, 2, the lattice vector that crosses the boundary")
    frame = _frame(lattice, normal)
    upper, moves, hold = np.zeros(len(start), dtype=np.bool_), np.zeros(3, dtype=np.bool_), False
    if protocol is None:
        if groups is not None:
            raise InputError("grains without a protocol", f"give protocol=: {nearest('', get_args(Protocol))}")
    else:
        if protocol not in get_args(Protocol):
            raise InputError(f"unknown protocol {protocol!r}; {nearest(protocol, get_args(Protocol))}")
        upper = _upper_grain(groups, len(start), protocol)
        _check_grains(start, lattice, periods, normal, upper)
        _check_blocks(protocol, upper, loose, held=not expand and not periods[normal])
        moves[:2] = protocol == "free sliding"
        moves[2] = expand
        hold = protocol == "fixed translation"
    return _run(parameters, (start, lattice, periods), (upper, loose, frame, moves, hold), (normal, fmax, max_calls))


def _run(
    parameters: SecondMomentParameters,
    crystal: tuple[Floats, Floats, Booleans],
    freedom: tuple[Booleans, Booleans, Floats, Booleans, bool],
    limits: tuple[int, float, int],
) -> Relaxation:
    start, lattice, periods = crystal
    upper, loose, frame, moves, _ = freedom
    normal, fmax, max_calls = limits
    stretches = bool(periods[normal] and moves[2])
    status, calls, worst, shift, end, grown, energies, forces = descend(
        start, lattice, periods, parameters.as_tuple(), SKIN, freedom, stretches, normal, fmax, max_calls
    )
    if status == ATOMS_MET:
        raise UnphysicalResultError(
            "the relaxation met atoms less than 0.5 Å apart, or numbers that are not finite",
            "look at the shortest distances of the start, atoms of different grains included",
        )
    translation = np.zeros(3)
    if upper.any():
        rigid = ~loose
        seen = rigid if (rigid & upper).any() and (rigid & ~upper).any() else np.ones_like(rigid)
        translation = (end - start)[upper & seen].mean(axis=0) - (end - start)[~upper & seen].mean(axis=0)
    return Relaxation(
        positions=end,
        cell=grown,
        energy=float(energies.sum()),
        energies=energies,
        forces=forces,
        translation=translation,
        expansion=float(shift[2] if stretches else translation @ frame[2]),
        max_force=float(worst),
        converged=status == CONVERGED,
        n_calls=int(calls),
    )


def _checked(
    positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, species: str | Sequence[str]
) -> tuple[Floats, Floats, Booleans]:
    try:
        points = np.array(positions, dtype=np.float64, order="C")
        lattice = np.array(cell, dtype=np.float64, order="C")
        periods = np.broadcast_to(np.asarray(pbc, dtype=np.bool_), 3).copy()
    except ValueError as error:
        raise InputError(f"positions, cell or pbc are no arrays of numbers: {error}") from error
    if points.ndim != 2 or points.shape[1] != 3 or not len(points):  # noqa: PLR2004 (coordinates)
        raise InputError(f"positions have the shape {points.shape}, expected (number of atoms, 3)")
    if lattice.shape != (3, 3):
        raise InputError(f"cell has the shape {lattice.shape}, expected (3, 3)")
    if not isinstance(species, str) and len(species) != len(points):
        raise InputError(f"{len(species)} species for {len(points)} atoms")
    if not (np.isfinite(points).all() and np.isfinite(lattice).all()):
        raise InputError("positions or cell hold numbers that are not finite")
    if abs(np.linalg.det(lattice)) < 1e-6:  # noqa: PLR2004 (Å³)
        raise InputError(
            "the three lattice vectors lie in one plane", "give non-periodic directions a vector too, of any length"
        )
    return points, lattice, periods


def _mask(free: ArrayLike | None, n_atoms: int) -> Booleans:
    mask = np.ones(n_atoms, dtype=np.bool_) if free is None else np.array(free)
    if mask.shape != (n_atoms,) or mask.dtype != np.bool_:
        raise InputError(f"free has the shape {mask.shape} and type {mask.dtype}, expected one boolean for each atom")
    return mask


def _frame(cell: Floats, normal: int) -> Floats:
    """Two unit vectors in the plane of the boundary and the normal, as rows."""
    one, other = cell[(normal + 1) % 3], cell[(normal + 2) % 3]
    first = one / np.linalg.norm(one)
    third = np.cross(one, other)
    third /= np.linalg.norm(third)
    if third @ cell[normal] < 0:
        third = -third
    return np.array([first, np.cross(third, first), third])


def _upper_grain(groups: Sequence[int] | None, n_atoms: int, protocol: str) -> Booleans:
    if groups is None:
        raise InputError(f"protocol {protocol!r} without grains", "give groups=: the label of the grain of each atom")
    labels = np.asarray(groups)
    names = np.unique(labels)
    if labels.shape != (n_atoms,) or len(names) != 2:  # noqa: PLR2004 (two grains)
        raise InputError(
            f"{labels.size} group labels of {len(names)} grains for {n_atoms} atoms: expected one of two labels for "
            "each atom"
        )
    return np.asarray(labels == names[1])


def _check_grains(positions: Floats, cell: Floats, pbc: Booleans, normal: int, upper: Booleans) -> None:
    heights = (positions @ np.linalg.inv(cell))[:, normal]
    if heights[upper].mean() <= heights[~upper].mean():
        raise InputError(
            f"the grain of the larger label is not the upper one along lattice vector {normal}",
            "swap the labels, or shift one grain by that vector",
        )
    spans = [float(np.ptp(heights[mask])) for mask in (upper, ~upper)]
    if pbc[normal] and max(spans) > MOST_OF_CELL:
        raise InputError(
            f"a grain spans {max(spans):.2f} of the cell along lattice vector {normal}",
            "do not wrap atoms into the cell: each grain must be in one piece",
        )


def _check_blocks(protocol: str, upper: Booleans, loose: Booleans, *, held: bool) -> None:
    blocks = (~loose & upper).any() and (~loose & ~upper).any()
    if protocol == "free normal expansion" and not blocks:
        raise InputError(
            "protocol 'free normal expansion' needs rigid atoms in both grains, which hold their translation",
            "mark some with free=, or use 'fixed translation', which holds the grains' means",
        )
    if held and not blocks:
        raise InputError(
            "expand=False without rigid atoms in both grains: nothing would hold their distance", "mark some with free="
        )
