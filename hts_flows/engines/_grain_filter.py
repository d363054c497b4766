"""Two grains as optimizers move them: the atoms, and the upper grain as a whole."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.filters import Filter

if TYPE_CHECKING:
    from ase import Atoms
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Booleans = NDArray[np.bool_]

#: Longest step of an atom, Å; curvature of the first step, eV/Å²; steps remembered.
MAX_STEP = 0.25
CURVATURE = 25.0
MEMORY = 12
#: Least decrease of the energy, as a part of what the gradient promises; by rounding it may rise so much, eV an atom.
SUFFICIENT = 1e-4
ROUNDING = 2e-6


class GrainFilter(Filter):
    """Variables of a bicrystal under a protocol, the same as in :mod:`hts_flows.engines._second_moment_descent`.

    One row an atom, Å, and a last one for the upper grain: its translation times √(its number of atoms). The boundary
    plane is normal to z. In a cell that is periodic along z there are two boundaries: the cell grows by twice the
    movement of the upper grain along z.

    Parameters
    ----------
    atoms
        The bicrystal, with a calculator that gives forces and, where z is periodic, stress. The cell cuts no
        grain.
    upper
        Atoms of the upper grain, shape (N,).
    loose
        Atoms that are not rigid with their grain, shape (N,).
    protocol
        "fixed translation", "free normal expansion" or "free sliding".
    """

    def __init__(self, atoms: Atoms, upper: Booleans, loose: Booleans, protocol: str) -> None:
        super().__init__(atoms, mask=np.ones(len(atoms), dtype=bool))
        self._start, self._cell = atoms.positions.copy(), atoms.cell.array.copy()
        self._upper, self._loose = upper, loose
        self._scale = float(np.sqrt(max(1, upper.sum())))
        self._moves = np.array([protocol == "free sliding"] * 2 + [True])
        self._hold = protocol == "fixed translation"
        self._stretches = bool(atoms.pbc[2])
        self._variables = np.zeros((len(atoms) + 1, 3))
        self.n_calls = 0
        """How often forces were asked for."""

    def __len__(self) -> int:
        """Number of rows of variables."""
        return len(self._variables)

    @property
    def move(self) -> Floats:
        """Translation of the upper grain as a whole, Å, shape (3,), without what its atoms moved themselves."""
        return np.asarray(self._variables[-1] / self._scale)

    def get_positions(self) -> Floats:
        """Variables, Å, shape (N + 1, 3)."""
        return self._variables.copy()

    def set_positions(self, positions: Floats, **_: Any) -> None:
        """Move atoms and grain; the cell follows."""
        self._variables = np.array(positions, dtype=float)
        moved = self._start + self._variables[:-1]
        moved[self._upper] += self.move
        if self._stretches:
            cell = self._cell.copy()
            cell[2, 2] += 2 * self.move[2]
            self.atoms.set_cell(cell, scale_atoms=False)
        self.atoms.set_positions(moved)

    positions = property(get_positions, set_positions)

    def get_forces(self, *_: Any, **__: Any) -> Floats:
        """Minus the derivative of the energy by the variables, eV/Å, shape (N + 1, 3)."""
        self.n_calls += 1
        computed = np.asarray(self.atoms.get_forces(), dtype=float)
        own = np.where(self._loose[:, None], computed, 0.0)
        if self._hold:
            for grain in (self._upper & self._loose, ~self._upper & self._loose):
                if grain.any():
                    own[grain, :2] -= own[grain, :2].mean(axis=0)
        pull = computed[self._upper].sum(axis=0)
        if self._stretches:
            height = self.atoms.cell[2, 2]
            strain = self.atoms.get_volume() * self.atoms.get_stress()[2]
            # By the height of the cell at fixed positions, not by a strain that moves the atoms along.
            pull[2] -= 2 * (strain + computed[:, 2] @ self.atoms.positions[:, 2]) / height
        return np.vstack([own, np.where(self._moves, pull, 0.0) / self._scale])


def descend(grains: GrainFilter, fmax: float, steps: int) -> bool:
    """Relax by L-BFGS, with the scaling that makes steps of 1; ASE's own takes up to ten times more steps here.

    Parameters
    ----------
    grains
        Atoms and grain; they end where the descent ends.
    fmax
        Largest force that is left, eV/Å.
    steps
        Most force calls.

    Returns
    -------
    bool
        Whether the forces became that small.

    References
    ----------
    J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed. (2006), algorithm 7.4 and equation 7.20.
    """
    place, gradient, energy = grains.get_positions(), -grains.get_forces(), grains.get_potential_energy()
    remembered: deque[tuple[Floats, Floats]] = deque(maxlen=MEMORY)
    while np.linalg.norm(gradient, axis=1).max() >= fmax:
        if grains.n_calls >= steps or not np.isfinite(energy):
            return False
        step = _direction(gradient, remembered)
        slope = float((step * gradient).sum())
        if slope >= 0:
            remembered.clear()
            step, slope = -gradient / CURVATURE, -float((gradient**2).sum()) / CURVATURE
        shortened = min(1.0, MAX_STEP / float(np.linalg.norm(step, axis=1).max()))
        step, slope = step * shortened, slope * shortened
        while True:
            grains.set_positions(place + step)
            reached, after = grains.get_potential_energy(), -grains.get_forces()
            allowed = energy + SUFFICIENT * slope + ROUNDING * len(gradient)
            if reached <= allowed or grains.n_calls >= steps or not np.isfinite(reached):
                break
            # The minimum of the parabola through both energies and the slope, within bounds.
            factor = min(max(-0.5 * slope / (reached - energy - slope), 0.1), 0.5)
            step, slope = step * factor, slope * factor
        change = after - gradient
        if (step * change).sum() > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            remembered.append((step, change))
        place, gradient, energy = place + step, after, reached
    return True


def _direction(gradient: Floats, remembered: deque[tuple[Floats, Floats]]) -> Floats:
    """Two-loop recursion: minus the inverse Hessian times the gradient."""
    direction, weights = -gradient, []
    for step, change in reversed(remembered):
        weights.append(float((step * direction).sum() / (step * change).sum()))
        direction = direction - weights[-1] * change
    if not remembered:
        return np.asarray(direction / CURVATURE)
    step, change = remembered[-1]
    direction = direction * float((step * change).sum() / (change**2).sum())
    for (step, change), weight in zip(remembered, reversed(weights), strict=True):
        direction = direction + (weight - float((change * direction).sum() / (step * change).sum())) * step
    return np.asarray(direction)
