"""Tables of grain-boundary energies over all translations in the plane, computed with the second-moment potential.

Fixed translation: the grains keep their translation in the plane, atoms and the distance of the grains relax
(:func:`hts_flows.engines._second_moment_relaxation.relax`). One translation of each orbit is computed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hts_flows.engines._second_moment_parameters import PARAMETERS
from hts_flows.engines._second_moment_relaxation import evaluate, relax
from hts_flows.engines.base import UnphysicalResultError
from hts_flows.screening.grain_boundaries import EvaluationError, Translation, TranslationSpace
from hts_flows.structures.bicrystals import JOULE_PER_SQUARE_METRE, Bicrystal, build_bicrystal
from hts_flows.structures.boundary_specs import GrainBoundary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PROTOCOL: Final = "fixed translation"
#: Of each grain, Å: as :func:`build_bicrystal` has it.
THICKNESS = 20.0
FMAX = 0.01
#: Label of the grain that is translated.
UPPER = 2
#: Å.
ROUNDING = 1e-3
_FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])


@dataclass(frozen=True)
class PairOfGrains:
    """A bicrystal with two equal boundaries, whose upper grain is translated.

    Attributes
    ----------
    bicrystal
        At the translation 0.
    space
        Translations in the plane, opening 0.
    bulk
        Energy of an atom of the crystal, eV.
    """

    bicrystal: Bicrystal
    space: TranslationSpace
    bulk: float

    @classmethod
    def of(cls, element: str, plane: tuple[int, int, int], step: float) -> PairOfGrains:
        """Build the symmetric tilt boundary about [001].

        Parameters
        ----------
        element
            An fcc metal of the potential, at the lattice constant of its parameters.
        plane
            Boundary plane.
        step
            Largest one of the grid, Å.
        """
        constant = PARAMETERS[element].lattice_constant
        spec = GrainBoundary(element=element, lattice_constant=constant, axis=(0, 0, 1), plane=plane)
        bicrystal = build_bicrystal(spec, thickness=THICKNESS)
        space = TranslationSpace.of_bicrystal(bicrystal, step=step)
        bulk = evaluate([[0, 0, 0]], _FCC * constant, True, element).energy  # noqa: FBT003 (periodic)
        return cls(bicrystal, space, bulk)

    @property
    def element(self) -> str:
        """Symbol of the metal."""
        return self.bicrystal.symbols[0]

    @cached_property
    def _start(self) -> Floats:
        """Positions with the upper grain in one piece, Å."""
        positions = self.bicrystal.positions.copy()
        below = positions[:, 2] < self.bicrystal.boundary_heights[0] - ROUNDING
        positions[self._upper & below, 2] += self.bicrystal.lattice[2, 2]
        return positions

    @property
    def _upper(self) -> NDArray[np.bool_]:
        return self.bicrystal.grain == UPPER

    def translated(self, translation: Translation) -> tuple[Floats, Floats]:
        """Positions and cell with the upper grain translated; both boundaries open by z.

        Parameters
        ----------
        translation
            (x, y, z), Å.
        """
        positions, cell = self._start.copy(), self.bicrystal.lattice.copy()
        positions[self._upper] += translation
        cell[2, 2] += 2 * translation[2]
        return positions, cell

    def unrelaxed(self, translation: Translation) -> float:
        """Energy of one boundary without relaxation, J/m².

        Parameters
        ----------
        translation
            (x, y, z), Å.
        """
        return self._energy(evaluate(*self.translated(translation), True, self.element).energy)  # noqa: FBT003

    def relaxed(self, translation: Translation) -> float:
        """Energy of one boundary, J/m².

        Parameters
        ----------
        translation
            (x, y, z), Å.

        Raises
        ------
        EvaluationError
            Atoms met, or the relaxation did not converge.
        """
        grains = self.bicrystal.grain.tolist()
        cell = self.translated(translation)
        try:
            found = relax(*cell, True, self.element, groups=grains, protocol=PROTOCOL, fmax=FMAX)  # noqa: FBT003
        except UnphysicalResultError as error:
            raise EvaluationError(f"atoms met at {translation}") from error
        if not found.converged:
            raise EvaluationError(f"{found.n_calls} force calls were not enough at {translation}")
        return self._energy(found.energy)

    def _energy(self, total: float) -> float:
        excess = total - len(self.bicrystal.symbols) * self.bulk
        return excess / (2 * self.bicrystal.area) * JOULE_PER_SQUARE_METRE


@dataclass(frozen=True)
class Table:
    """Energies of the representatives of a space.

    Attributes
    ----------
    space
        Translations.
    energies
        J/m², shape (n_representatives,); NaN where a relaxation failed.
    unrelaxed
        J/m², same shape; None where there are none.
    seconds
        CPU time to compute the relaxed ones.
    """

    space: TranslationSpace
    energies: Floats
    unrelaxed: Floats | None
    seconds: float = 0.0

    @cached_property
    def translations(self) -> list[Translation]:
        """Representatives, Å."""
        return [(float(x), float(y), float(z)) for x, y, z in self.space.translations(self.space.representatives)]

    @cached_property
    def _rows(self) -> dict[Translation, int]:
        return {translation: row for row, translation in enumerate(self.translations)}

    @property
    def lowest(self) -> float:
        """Lowest energy, J/m²."""
        return float(np.nanmin(self.energies))

    def energy(self, translation: Translation) -> float:
        """Look one up, J/m².

        Parameters
        ----------
        translation
            A representative, Å.
        """
        return float(self.energies[self._rows[translation]])

    def cheap(self) -> Callable[[Translation], float] | None:
        """What looks unrelaxed energies up, J/m², where there are any."""
        values, rows = self.unrelaxed, self._rows
        return None if values is None else lambda translation: float(values[rows[translation]])

    def unfolded(self) -> tuple[Floats, Floats]:
        """All grid points, Å, shape (n, 3), and their energies, J/m², shape (n,)."""
        places = np.searchsorted(self.space.representatives, self.space.orbits)
        return self.space.translations(np.arange(self.space.n_points)), self.energies[places]


def computed(element: str, plane: tuple[int, int, int], step: float, cache: Path | None) -> Table:
    """Compute a table, or read it from the folder where it was written.

    Parameters
    ----------
    element, plane, step
        As in :meth:`PairOfGrains.of`.
    cache
        Folder; None computes always.
    """
    pair = PairOfGrains.of(element, plane, step)
    name = f"{element}_{''.join(str(index) for index in plane)}_{step:g}_{THICKNESS:g}_{FMAX:g}.json"
    if cache is not None and (cache / name).exists():
        stored = json.loads((cache / name).read_text())
        return Table(pair.space, np.array(stored["energies"]), np.array(stored["unrelaxed"]), stored["seconds"])
    translations = Table(pair.space, np.empty(0), None).translations
    unrelaxed = np.array([pair.unrelaxed(one) for one in translations])
    pair.relaxed(translations[0])  # compiled
    start = time.process_time()
    energies = np.array([_or_nan(pair, one) for one in translations])
    seconds = time.process_time() - start
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        stored = {"energies": energies.tolist(), "unrelaxed": unrelaxed.tolist(), "seconds": seconds}
        (cache / name).write_text(json.dumps(stored))
    return Table(pair.space, energies, unrelaxed, seconds)


def _or_nan(pair: PairOfGrains, translation: Translation) -> float:
    try:
        return pair.relaxed(translation)
    except EvaluationError:
        return float("nan")


def published(path: Path) -> Table:
    """Read the grid that was published with Jpn. J. Appl. Phys. 55, 045502 (2016); no unrelaxed energies.

    Parameters
    ----------
    path
        Of ``cu_s5_210_gb_17982.csv``: columns dx, gb, dz, gb_energy (Å and J/m²).
    """
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    z = np.unique(rows[:, 1])
    space = TranslationSpace.grid(lx=8.083, ly=3.615, z=z, step=0.1)
    energies = np.full(space.n_points, np.nan)
    for x, gap, y, energy in rows:
        energies[space.number((x, y, gap))] = energy
    return Table(space, energies, None)
