"""Translations of a bicrystal, computed one after the other; what came out, and what failed."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hts_flows.engines._bicrystal_relaxation import (
    NotConvergedError,
    ShearedGrainError,
    holds_formula_units,
    largest_shear,
    unwrapped,
)
from hts_flows.engines.base import UnphysicalResultError
from hts_flows.errors import HtsError, InputError
from hts_flows.screening.grain_boundaries import EvaluationError
from hts_flows.structures.bicrystal_translation import translated

if TYPE_CHECKING:
    from hts_flows.engines._bicrystal_relaxation import BicrystalPotential, BicrystalState, RelaxedCrystal
    from hts_flows.engines.translation_search import TranslationSearch
    from hts_flows.structures.bicrystals import Bicrystal

#: (x, y, z), Å.
Translation = tuple[float, float, float]

#: A grain whose middle shears by more than this along the plane has changed the misorientation, degrees.
MOST_SHEAR = 2.0
#: A line on standard output about so often, s.
EVERY = 10.0


@dataclass(frozen=True)
class Trial:
    """One starting translation that was computed, or could not be."""

    translation: Translation
    """Å."""
    removal: float | None
    """Atoms closer than this to the other grain were removed, Å."""
    removed: int
    """Number of atoms."""
    energy: float | None
    """J/m²."""


class Trials:
    """Computes translations of a bicrystal, each configuration once, and keeps what came out.

    Parameters
    ----------
    engine
        The settings.
    bicrystal
        In the coincidence position, of the relaxed crystal.
    potential
        Relaxes it.
    crystal
        The relaxed crystal.
    """

    def __init__(
        self, engine: TranslationSearch, bicrystal: Bicrystal, potential: BicrystalPotential, crystal: RelaxedCrystal
    ) -> None:
        self._engine, self._bicrystal, self._potential, self._crystal = engine, bicrystal, potential, crystal
        self._known: dict[tuple[Any, ...], float | None] = {}
        self._begun = self._told = time.monotonic()
        self.done: list[Trial] = []
        self.best: tuple[float, BicrystalState] | None = None
        self.force_calls = 0
        self.reason: HtsError | None = None
        """Why the last trial that failed did."""
        self.interrupted = False
        """Whether a trial ended with an error that is no failure of its own."""

    def energy(self, translation: Translation, removal: float | None) -> float:
        """Boundary energy of a starting translation after the relaxation, J/m².

        A configuration that was computed before, because another distance removes the same atoms, is no new trial.

        Parameters
        ----------
        translation
            (x, y, z), Å.
        removal
            Atoms of one element closer than this are removed, Å; None for none.

        Raises
        ------
        EvaluationError
            Atoms overlap, elements are not removed in their proportion, the relaxation failed, or a grain sheared.
        """
        key = (translation, self._removed(translation, removal))
        if key in self._known:
            energy = self._known[key]
            if energy is None:
                raise EvaluationError(f"the translation {translation} Å failed before")
            return energy
        self.interrupted = True
        try:
            start = self.start(translation, removal)
            state = self._relaxed(start)
        except (EvaluationError, NotConvergedError, ShearedGrainError, UnphysicalResultError) as error:
            self.reason = error
            self._record(Trial(translation, removal, key[1], None), key)
            raise EvaluationError(error.message, error.hint) from error
        self.force_calls += state.n_calls
        energy = self._potential.boundary_energy(state, self._crystal)
        if self.best is None or energy < self.best[0]:
            self.best = energy, state
        self._record(Trial(translation, removal, key[1], energy), key)
        return energy

    def _relaxed(self, start: Bicrystal) -> BicrystalState:
        """Relax a bicrystal, where that is asked for, and see whether it still has its boundary."""
        if self._engine.task == "static":
            return self._potential.unrelaxed(start)
        state = self._potential.relaxed(start)
        shear = largest_shear(unwrapped(start), state.positions, start.grain)
        if shear > MOST_SHEAR:
            raise ShearedGrainError(
                f"a grain of {start.spec} sheared by {shear:.1f}°, more than {MOST_SHEAR:g}°: the boundary moved away",
                "give the cell a larger thickness",
            )
        return state

    def unrelaxed(self, translation: Translation, removal: float | None) -> float:
        """Boundary energy of a starting translation as it is, J/m².

        Raises
        ------
        EvaluationError
            As :meth:`energy`.
        """
        state = self._potential.unrelaxed(self.start(translation, removal))
        self.force_calls += state.n_calls
        return self._potential.boundary_energy(state, self._crystal)

    def start(self, translation: Translation, removal: float | None) -> Bicrystal:
        """Give the bicrystal at a translation, atoms removed.

        Raises
        ------
        EvaluationError
            Atoms overlap, or elements were not removed in their proportion.
        """
        try:
            start = translated(self._bicrystal, *translation, remove_closer=removal)
        except InputError as error:
            raise EvaluationError(error.message, error.hint) from error
        if not holds_formula_units(start):
            raise EvaluationError(
                f"removing atoms closer than {removal} Å at {translation} Å leaves {start.built.formula}, which is no "
                f"multiple of {start.spec.formula}",
                "leave remove_closer out for crystals of several elements",
            )
        return start

    def _removed(self, translation: Translation, removal: float | None) -> int:
        """Number of atoms removed: where one distance removes as many as another, they are the same ones."""
        if removal is None:
            return 0
        return translated(self._bicrystal, *translation, remove_closer=removal, overlap=0).removed

    def _record(self, trial: Trial, key: tuple[Any, ...]) -> None:
        self.interrupted = False
        self._known[key] = trial.energy
        self.done.append(trial)
        now = time.monotonic()
        if now - self._told > EVERY:
            self._told = now
            self.tell(f"{now - self._begun:.0f} s")

    def tell(self, more: str) -> None:
        """Write a line on standard output: trials done and the best so far.

        Parameters
        ----------
        more
            What stands at the end of the line.
        """
        found = "none has an energy yet"
        if self.best is not None:
            x, y, z = self.best[1].start.translation
            found = f"best {self.best[0]:.4f} J/m² at ({x:.2f}, {y:.2f}, {z:.2f}) Å"
        sys.stdout.write(f"{self._bicrystal.spec}: {len(self.done)} trials, {found}, {more}\n")
        sys.stdout.flush()
