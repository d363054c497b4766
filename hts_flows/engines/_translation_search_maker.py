"""Maker of the engine ``translation_search``: the crystal, and a search over the translations of its bicrystal."""

from __future__ import annotations

import contextlib
import math
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from jobflow import Job, Maker, job
from pymatgen.core import Structure

from hts_flows.engines import engine_from_dict
from hts_flows.engines._bicrystal_relaxation import NotConvergedError, RelaxedCrystal, potential_of
from hts_flows.engines._translation_trials import Translation, Trials
from hts_flows.engines.base import Calculation, TranslationOperation, TranslationTrials, UnphysicalResultError
from hts_flows.errors import InputError
from hts_flows.screening.grain_boundaries import EvaluationError, search_translations
from hts_flows.screening.translation_space import TranslationSpace
from hts_flows.structures.bicrystal_symmetry import boundaries_are_equivalent
from hts_flows.structures.grain_boundaries import bicrystal_of

if TYPE_CHECKING:
    from hts_flows.engines.translation_search import TranslationSearch
    from hts_flows.structures.bicrystals import Bicrystal


@dataclass
class TranslationSearchMaker(Maker):
    """Search over the translations of a bicrystal, in one job.

    Parameters
    ----------
    name
        Name of the job.
    settings
        Settings of :class:`~hts_flows.engines.translation_search.TranslationSearch`, as a dict.
    """

    name: str = "translation search"
    settings: dict[str, Any] = field(default_factory=lambda: {"engine": "translation_search"})

    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> Job:
        """Make the job; its output is a dict with "calculation", of a :class:`Calculation`.

        Parameters
        ----------
        structure
            Starting structure of the domain ``grain_boundaries``.
        prev_dir
            Folder of an earlier calculation; nothing in it is used.
        """
        del prev_dir
        made = search_in_one_job(structure, self.settings)
        made.name = self.name
        return made


@job
def search_in_one_job(structure: Structure, settings: dict[str, Any]) -> dict[str, Any]:
    """Relax the crystal and the translations of its bicrystal that the method asks for, in one process.

    Parameters
    ----------
    structure
        Starting structure of the domain ``grain_boundaries``; one that names no boundary is a crystal to relax.
    settings
        Of the engine ``translation_search``.

    Returns
    -------
    dict
        "calculation": a :class:`Calculation` as a dict.
    """
    engine = cast("TranslationSearch", engine_from_dict(settings))
    compute = searched if "grain_boundary" in structure.properties else _crystal
    return {"calculation": compute(engine, structure).model_dump(mode="json")}


def _crystal(engine: TranslationSearch, structure: Structure) -> Calculation:
    """Relax a crystal, cell and atoms, with the engine of the forces."""
    computing = engine.computing()
    maker: Any = computing.maker()
    return computing.parse(type(maker).make.original(maker, structure))


@dataclass(frozen=True)
class _Search:
    """What a search needs: settings, trials, translations and choices of removal, and what other boundaries say."""

    engine: TranslationSearch
    trials: Trials
    space: TranslationSpace
    removals: list[float | None]
    learned: _Learned

    def candidates(self) -> list[tuple[Translation, float | None]]:
        """Translations of which no two are equivalent, with every choice of removal."""
        return [(one, removal) for removal in self.removals for one in _representatives(self.space)]


@dataclass(frozen=True)
class _Learned:
    """Energies of candidates, predicted from those of other boundaries; empty without."""

    energies: dict[tuple[Translation, float | None], float]
    """J/m²."""
    trained_on: list[str]
    """The other boundaries."""


@dataclass(frozen=True)
class _Found:
    """How a search went."""

    method: Literal["kriging", "enumeration", "prediction"]
    stop_reason: str
    n_starts: int = 0


def searched(engine: TranslationSearch, structure: Structure) -> Calculation:
    """Search over the translations of a bicrystal.

    Parameters
    ----------
    engine
        The settings.
    structure
        Starting structure of the domain ``grain_boundaries``; only its ``properties["grain_boundary"]`` is read.

    Raises
    ------
    InputError
        The structure is no whole boundary, or its cell cannot be computed with these settings.
    CalculationError
        The crystal did not relax, or no translation has an energy: NotConvergedError or UnphysicalResultError.
    """
    begun = time.perf_counter()
    given = _boundary(structure)
    start = bicrystal_of(structure)
    potential = potential_of(engine, start)
    potential.check(start)
    crystal = potential.crystal(start.spec.crystal)
    bicrystal = start if engine.task == "static" else bicrystal_of(structure, crystal.constant)
    trials = Trials(engine, bicrystal, potential, crystal)
    space = TranslationSpace.of_bicrystal(bicrystal, step=engine.step, openings=engine.openings)
    removals = list(dict.fromkeys(given.get("remove_closer") or [None]))
    learned = _predicted(engine, given, bicrystal, space, removals)
    search = _Search(engine, trials, space, removals, learned)
    if learned.energies and engine.learned == "verify":
        found = _verify(search)
    else:
        found = _enumerate(search) if engine.method == "enumeration" else _kriging(search)
    if trials.best is None:
        unfinished = isinstance(trials.reason, NotConvergedError)
        raise (NotConvergedError if unfinished else UnphysicalResultError)(
            f"none of the {len(trials.done)} translations of {bicrystal.spec} that were tried has an energy; the last "
            f"failed because: {trials.reason or 'none was computed'}"
        )
    trials.tell(f"stopped: {found.stop_reason}")
    best = trials.best[1]
    relaxed = best.structure
    relaxed.properties = structure.properties | {
        "grain_boundary": {key: value for key, value in given.items() if key != "training"}
    }
    return Calculation(
        structure=relaxed,
        energy=best.energy,
        converged=True,
        max_force=best.max_force,
        n_steps=best.n_calls,
        translation_search=_document(search, found, crystal, bicrystal),
        wall_time=round(time.perf_counter() - begun, 3),
        folder=f"{socket.gethostname()}:{Path.cwd()}",
    )


def _boundary(structure: Structure) -> dict[str, Any]:
    """Read what a starting structure says of its boundary."""
    given: dict[str, Any] | None = structure.properties.get("grain_boundary")
    if given is None:
        raise InputError(
            f"engine translation_search was given {structure.composition.reduced_formula}, which does not say which "
            "grain boundary it holds",
            "use it on candidates of the domain grain_boundaries, in the first row that computes them",
        )
    if given.get("translation") is not None:
        raise InputError(
            f"engine translation_search was given the one translation {given['translation']} Å of a grain boundary",
            "leave 'translations:' of the candidates out, or relax them with an engine such as tight_binding",
        )
    return given


def _representatives(space: TranslationSpace) -> list[Translation]:
    return [(float(x), float(y), float(z)) for x, y, z in space.translations(space.representatives)]


def _predicted(
    engine: TranslationSearch,
    given: dict[str, Any],
    bicrystal: Bicrystal,
    space: TranslationSpace,
    removals: list[float | None],
) -> _Learned:
    """Predict the energies of all candidates, where that is asked for and other boundaries are given."""
    training = given.get("training")
    if engine.learned is None or not training:
        return _Learned({}, [])
    from hts_flows.screening.configurations import TrainingTable, predict_energies

    tables = [TrainingTable.model_validate(table) for table in training]
    candidates = [(one, removal) for removal in removals for one in _representatives(space)]
    energies = predict_energies(
        tables, bicrystal, np.array([one for one, _ in candidates]), [removal for _, removal in candidates]
    )
    return _Learned(dict(zip(candidates, energies.tolist(), strict=True)), [table.label for table in tables])


def _verify(search: _Search) -> _Found:
    """Relax the candidate that is predicted lowest; where it fails the next."""
    energies = search.learned.energies
    order = sorted((one for one in energies if math.isfinite(energies[one])), key=lambda one: energies[one])
    for candidate in order[: search.engine.max_trials]:
        with contextlib.suppress(EvaluationError):
            search.trials.energy(*candidate)
            break
    return _Found("prediction", "verified")


def _enumerate(search: _Search) -> _Found:
    """Relax every candidate."""
    for candidate in search.candidates():
        with contextlib.suppress(EvaluationError):
            search.trials.energy(*candidate)
    return _Found("enumeration", "exhausted")


def _kriging(search: _Search) -> _Found:
    """Let a Gaussian process choose, for each choice of removal by itself."""
    engine, trials, n_starts = search.engine, search.trials, 0
    reasons = []
    for removal in search.removals:
        before = len(trials.done)
        try:
            found = search_translations(
                search.space,
                partial(trials.energy, removal=removal),
                unrelaxed=_cheap(search, removal),
                seed=engine.seed,
                tol=engine.tol,
                patience=engine.patience,
                max_trials=engine.max_trials,
            )
        except InputError:
            # Of several choices one may fail at every translation.
            new = trials.done[before:]
            if trials.interrupted or not new or any(trial.energy is not None for trial in new):
                raise
            continue
        computed = {trial.translation for trial in trials.done[before:]}
        n_starts += sum(translation in computed for translation, _ in found.trials[: found.n_starts])
        reasons.append(found.stop_reason)
    return _Found("kriging", ", ".join(dict.fromkeys(reasons)), n_starts)


def _cheap(search: _Search, removal: float | None) -> Callable[[Translation], float] | None:
    """Give the estimate that chooses where a search begins: predictions, or unrelaxed energies."""
    if search.learned.energies:
        return lambda translation: search.learned.energies[translation, removal]
    return partial(search.trials.unrelaxed, removal=removal) if search.engine.begins_unrelaxed else None


def _document(search: _Search, found: _Found, crystal: RelaxedCrystal, bicrystal: Bicrystal) -> TranslationTrials:
    """Describe a search that found an energy."""
    trials, space, learned = search.trials, search.space, search.learned
    best, state = cast("Any", trials.best)
    n_boundaries = len(bicrystal.boundary_heights)
    energies = [trial.energy for trial in trials.done]
    translation = np.array(state.start.translation) + state.move
    atom = (
        crystal.constant**3 / 8 * abs(np.linalg.det(bicrystal.spec.crystal.basis)) / len(bicrystal.spec.crystal.symbols)
    )
    periods = np.array(space.periods)
    # What rounding puts just below 0 is 0, not the whole period.
    x, y = np.maximum(translation[:2] - np.floor(translation[:2] / periods + 1e-6) * periods, 0)
    return TranslationTrials(
        protocol="static" if search.engine.task == "static" else search.engine.protocol,
        method=found.method,
        translations=[trial.translation for trial in trials.done],
        removal=[trial.removal for trial in trials.done],
        removed=[trial.removed for trial in trials.done],
        energies=energies,
        best=energies.index(best),
        n_candidates=len(space.representatives) * len(search.removals),
        n_points=space.n_points,
        n_starts=found.n_starts,
        stop_reason=found.stop_reason,
        periods=space.periods,
        step=space.steps,
        openings=space.z.tolist(),
        operations=[
            TranslationOperation(matrix=one.matrix.tolist(), shift=one.shift.tolist()) for one in space.operations
        ],
        origin=bicrystal.origin,
        area=bicrystal.area,
        n_boundaries=n_boundaries,
        boundaries_equivalent=boundaries_are_equivalent(bicrystal),
        excess_volume=float(translation[2] + state.start.removed * atom / (n_boundaries * bicrystal.area)),
        relaxed_translation=(float(x), float(y), float(translation[2])),
        lattice_constant=crystal.constant,
        bulk_energy=crystal.energy,
        predicted=_finite([learned.energies[trial.translation, trial.removal] for trial in trials.done])
        if learned.energies
        else None,
        trained_on=learned.trained_on or None,
        force_calls=trials.force_calls,
    )


def _finite(energies: list[float]) -> list[float | None]:
    return [energy if math.isfinite(energy) else None for energy in energies]
