"""L-BFGS descent in the second-moment potential, compiled by numba: atoms, and a grain that moves as a whole.

References
----------
J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed. (2006), algorithm 7.4.
"""

# ruff: noqa: FBT001, PLR0917 (compiled functions take plain positional arguments)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from hts_flows.engines import _second_moment
from hts_flows.engines._second_moment import drift, evaluate_pairs, list_pairs

if TYPE_CHECKING:
    from hts_flows.engines._second_moment import Booleans, Floats, Parameters

    Freedom = tuple[Booleans, Booleans, Floats, Booleans, bool]
    Descent = tuple[int, int, float, Floats, Floats, Floats, Floats, Floats]

#: How a descent ended.
CONVERGED, CUT_OFF, ATOMS_MET = 0, 1, 2

#: Atoms closer than this have met, Å.
MIN_DISTANCE = 0.5

#: Longest step of an atom, Å.
MAX_STEP = 0.25

#: Curvature of the first step, eV/Å².
CURVATURE = 25.0

#: Steps remembered.
MEMORY = 12

#: An energy may rise by this much in a step: rounding, eV an atom.
ROUNDING = 1e-13

#: Least decrease of the energy, as a part of what the gradient promises.
SUFFICIENT = 1e-4


@njit(error_model="numpy")
def _place(
    start: Floats,
    cell: Floats,
    variables: Floats,
    freedom: Freedom,
    stretches: bool,
    normal: int,
) -> tuple[Floats, Floats, Floats]:
    """Positions, cell, and the shift of the upper grain along the frame, from the variables."""
    upper, loose, frame, _, _ = freedom
    n_atoms = len(start)
    scale = np.sqrt(max(1, upper.sum()))
    shift = variables[3 * n_atoms :] / scale
    move = np.zeros(3)
    for axis in range(3):
        move += shift[axis] * frame[axis]
    positions = start.copy()
    for atom in range(n_atoms):
        if upper[atom]:
            positions[atom] += move
        if loose[atom]:
            positions[atom] += variables[3 * atom : 3 * atom + 3]
    grown = cell.copy()
    if stretches:
        grown[normal] += 2.0 * shift[2] * frame[2]
    return positions, grown, shift


@njit(error_model="numpy")
def _take_means(gradient: Floats, freedom: Freedom) -> None:
    """Take the mean in the plane, over the free atoms of each grain, from the gradient."""
    upper, loose, frame, _, _ = freedom
    totals, counts = np.zeros((2, 2)), np.zeros(2)
    for atom in range(len(upper)):
        if loose[atom]:
            counts[int(upper[atom])] += 1.0
            for axis in range(2):
                for i in range(3):
                    totals[int(upper[atom]), axis] += gradient[3 * atom + i] * frame[axis, i]
    for atom in range(len(upper)):
        if loose[atom]:
            grain = int(upper[atom])
            for axis in range(2):
                for i in range(3):
                    gradient[3 * atom + i] -= totals[grain, axis] / counts[grain] * frame[axis, i]


@njit(error_model="numpy")
def _lifting(positions: Floats, cell: Floats, forces: Floats, virial: Floats, direction: Floats, normal: int) -> float:
    """Derivative of the energy by the height of the cell at fixed positions, from the one by an affine strain, eV/Å."""
    strain, height = 0.0, 0.0
    for i in range(3):
        height += cell[normal, i] * direction[i]
        for j in range(3):
            strain += direction[i] * virial[i, j] * direction[j]
    for atom in range(len(positions)):
        force, place = 0.0, 0.0
        for i in range(3):
            force += forces[atom, i] * direction[i]
            place += positions[atom, i] * direction[i]
        strain += force * place
    return strain / height


@njit(error_model="numpy")
def _gradient(
    positions: Floats,
    cell: Floats,
    forces: Floats,
    virial: Floats,
    freedom: Freedom,
    stretches: bool,
    normal: int,
) -> tuple[Floats, float]:
    """Derivative of the energy by the variables, and its largest part (that of an atom or of the grain)."""
    upper, loose, frame, moves, hold = freedom
    n_atoms = len(positions)
    gradient = np.zeros(3 * n_atoms + 3)
    pull = np.zeros(3)
    for atom in range(n_atoms):
        for i in range(3):
            if loose[atom]:
                gradient[3 * atom + i] = -forces[atom, i]
            if upper[atom]:
                pull[i] -= forces[atom, i]
    if hold:
        _take_means(gradient, freedom)
    scale = np.sqrt(max(1, upper.sum()))
    for axis in range(3):
        if moves[axis]:
            gradient[3 * n_atoms + axis] = (pull * frame[axis]).sum() / scale
    if stretches:
        gradient[3 * n_atoms + 2] += 2.0 * _lifting(positions, cell, forces, virial, frame[2], normal) / scale
    worst = 0.0
    for part in range(n_atoms + 1):
        x, y, z = gradient[3 * part], gradient[3 * part + 1], gradient[3 * part + 2]
        worst = max(worst, x * x + y * y + z * z)
    return gradient, np.sqrt(worst)


@njit(error_model="numpy")
def _direction(gradient: Floats, steps: Floats, changes: Floats, stored: int) -> Floats:
    """Two-loop recursion: minus the inverse Hessian times the gradient."""
    direction = -gradient
    kept = min(stored, MEMORY)
    weights = np.zeros(MEMORY)
    for back in range(1, kept + 1):
        slot = (stored - back) % MEMORY
        weights[slot] = np.dot(steps[slot], direction) / np.dot(steps[slot], changes[slot])
        direction -= weights[slot] * changes[slot]
    if kept:
        slot = (stored - 1) % MEMORY
        direction *= np.dot(steps[slot], changes[slot]) / np.dot(changes[slot], changes[slot])
    else:
        direction /= CURVATURE
    for back in range(kept, 0, -1):
        slot = (stored - back) % MEMORY
        weight = np.dot(changes[slot], direction) / np.dot(steps[slot], changes[slot])
        direction += (weights[slot] - weight) * steps[slot]
    return direction


@njit(error_model="numpy")
def _limited(direction: Floats) -> Floats:
    """The step, shortened where an atom or the grain would move too far."""
    longest = 0.0
    for part in range(len(direction) // 3):
        longest = max(longest, (direction[3 * part : 3 * part + 3] ** 2).sum())
    longest = np.sqrt(longest)
    return direction * (MAX_STEP / longest) if longest > MAX_STEP else direction


@njit(error_model="numpy")
def _descend(
    start: Floats,
    cell: Floats,
    pbc: Booleans,
    parameters: Parameters,
    skin: float,
    freedom: Freedom,
    stretches: bool,
    normal: int,
    fmax: float,
    max_calls: int,
) -> Descent:
    """Go down to the next minimum.

    Parameters
    ----------
    start, cell, pbc
        The crystal, Å.
    parameters
        A, ξ, p, q, r0, start of the taper, cutoff (eV, Å).
    skin
        How much further than the cutoff pairs are listed, Å.
    freedom
        Atoms of the upper grain; atoms that relax; two unit vectors in the plane and the normal; along which of them
        the upper grain moves; whether the mean displacement of each grain's atoms in the plane is held.
    stretches
        Whether the cell grows by twice the shift of the upper grain along the normal.
    normal
        Lattice vector that crosses the boundary.
    fmax
        Largest force at the end, eV/Å.
    max_calls
        Most force calls.

    Returns
    -------
    tuple
        How it ended, force calls, largest force, shift of the upper grain along the frame, positions, cell, energies
        of the atoms, forces.
    """
    n_atoms = len(start)
    variables = np.zeros(3 * n_atoms + 3)
    steps, changes, stored = np.zeros((MEMORY, len(variables))), np.zeros((MEMORY, len(variables))), 0
    energies, forces, virial = np.zeros(n_atoms), np.zeros((n_atoms, 3)), np.zeros((3, 3))
    positions, grown, shift = _place(start, cell, variables, freedom, stretches, normal)
    reach = parameters[6] + skin
    listed_positions, listed_cell = positions, grown
    pairs = list_pairs(positions, grown, pbc, reach)
    closest = evaluate_pairs(positions, grown, pairs, parameters, energies, forces, virial)
    energy = energies.sum()
    gradient, worst = _gradient(positions, grown, forces, virial, freedom, stretches, normal)
    calls = 1
    while True:
        if closest < MIN_DISTANCE or not np.isfinite(energy):
            return ATOMS_MET, calls, worst, shift, positions, grown, energies, forces
        if worst < fmax or calls >= max_calls:
            status = CONVERGED if worst < fmax else CUT_OFF
            return status, calls, worst, shift, positions, grown, energies, forces
        direction = _direction(gradient, steps, changes, stored)
        slope = np.dot(direction, gradient)
        if slope >= 0.0:
            stored = 0
            direction = -gradient / CURVATURE
        step = _limited(direction)
        slope = np.dot(step, gradient)
        while True:
            trial = variables + step
            positions, grown, shift = _place(start, cell, trial, freedom, stretches, normal)
            if drift(positions, grown, listed_positions, listed_cell, pairs[2]) >= skin:
                pairs = list_pairs(positions, grown, pbc, reach)
                listed_positions, listed_cell = positions, grown
            closest = evaluate_pairs(positions, grown, pairs, parameters, energies, forces, virial)
            calls += 1
            reached = energies.sum()
            if reached <= energy + SUFFICIENT * slope + ROUNDING * n_atoms or calls >= max_calls:
                break
            # the minimum of the parabola through both energies and the slope, within bounds
            factor = -0.5 * slope / (reached - energy - slope)
            factor = min(max(factor, 0.1), 0.5)
            step = step * factor
            slope *= factor
            if slope > -ROUNDING * n_atoms:
                break
        new_gradient, worst = _gradient(positions, grown, forces, virial, freedom, stretches, normal)
        change = new_gradient - gradient
        if np.dot(step, change) > 1e-10 * np.sqrt(np.dot(step, step) * np.dot(change, change)):
            steps[stored % MEMORY] = step
            changes[stored % MEMORY] = change
            stored += 1
        variables, gradient, energy = trial, new_gradient, reached


def _cached(kernels: int) -> Callable[..., Descent]:
    """Compile :func:`_descend` once for all processes.

    numba's cache knows when the file of a function has changed, and not when those of the functions that it calls have;
    what a function encloses is part of its key, so the state of the other file is enclosed.
    """

    @njit(cache=True, error_model="numpy")
    def compiled(
        start: Floats,
        cell: Floats,
        pbc: Booleans,
        parameters: Parameters,
        skin: float,
        freedom: Freedom,
        stretches: bool,
        normal: int,
        fmax: float,
        max_calls: int,
    ) -> Descent:
        most = max_calls if kernels else 0
        return _descend(start, cell, pbc, parameters, skin, freedom, stretches, normal, fmax, most)

    return compiled


#: :func:`_descend`, with its compiled form kept on disk.
descend = _cached(Path(_second_moment.__file__).stat().st_mtime_ns)
