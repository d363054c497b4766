"""Maker of the engine ``phono3py``: relaxation, displaced supercells, their forces, conductivity."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jobflow import Flow, Job, Maker, Response, job
from pymatgen.core import Structure

from hts_flows.engines import engine_from_dict
from hts_flows.engines._ase import lookup
from hts_flows.engines._emmet import EV_PER_ANGSTROM
from hts_flows.engines._phonons import Crystal, conventional_cell, repetitions
from hts_flows.engines.base import Calculation, CalculationError

if TYPE_CHECKING:
    from hts_flows.engines.phono3py import Phono3py

#: Coordinates of the same supercell, before and after a static calculation, differ by less than this, Å.
SAME_POSITION = 1e-3


@dataclass
class ConductivityMaker(Maker):
    """Compute a lattice thermal conductivity with forces of any engine.

    Parameters
    ----------
    name
        Name of the job or flow.
    settings
        Settings of :class:`~hts_flows.engines.phono3py.Phono3py`, as a dict.
    one_job
        Do everything in one job, for forces of ASE calculators; else relaxation, each supercell and the conductivity
        are jobs of their own, added while the flow runs.
    """

    name: str = "conductivity"
    settings: dict[str, Any] = field(default_factory=lambda: {"engine": "phono3py"})
    one_job: bool = True

    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> Job | Flow:
        """Make the job or flow; its output is a dict with "calculation", of a :class:`Calculation`.

        Parameters
        ----------
        structure
            Starting structure.
        prev_dir
            Folder of an earlier calculation; nothing in it is used.
        """
        del prev_dir
        if self.one_job:
            made = conductivity_in_one_job(structure, self.settings)
            made.name = self.name
            return made
        relaxing: Job | Flow | None = None
        if self.settings["task"] == "relax":
            relaxing = _engine(self.settings).relaxing().maker().make(structure)
        displaced = displace(structure if relaxing is None else relaxing.output, self.settings)
        return Flow([displaced] if relaxing is None else [relaxing, displaced], output=displaced.output, name=self.name)


def _engine(settings: dict[str, Any]) -> Phono3py:
    return cast("Phono3py", engine_from_dict(settings))


def crystal_of(structure: Structure, engine: Phono3py, displacements: Any = None) -> Crystal:
    """Make supercell and displacements that the settings ask for.

    Parameters
    ----------
    structure
        Relaxed structure; lengths in Å.
    engine
        The settings.
    displacements
        Those to take, shape (n, atoms, 3), Å; new ones when left out.
    """
    cell = conventional_cell(structure)
    chosen = engine.supercell
    supercell = repetitions(cell, engine.min_length, engine.max_atoms) if chosen == "auto" else chosen
    return Crystal(
        cell, supercell, engine.distance, engine.cutoff, engine.snapshots, seed=engine.seed, given=displacements
    )


@job
def conductivity_in_one_job(structure: Structure, settings: dict[str, Any]) -> dict[str, Any]:
    """Relax, displace, compute forces and the conductivity with one ASE calculator in one process.

    Parameters
    ----------
    structure
        Starting structure.
    settings
        Of the engine ``phono3py``.

    Returns
    -------
    dict
        "calculation": a :class:`Calculation` as a dict; without a conductivity where the relaxation did not converge.
    """
    begun = time.perf_counter()
    engine = _engine(settings)
    first = engine.relaxing() if engine.task == "relax" else engine.computing()
    maker: Any = first.maker()
    calculation = first.parse(type(maker).make.original(maker, structure))
    if calculation.converged:
        crystal = crystal_of(calculation.structure, engine)
        folder = Path("supercells")  # the geometries of the relaxation stay what a continuation finds
        folder.mkdir(exist_ok=True)
        with contextlib.chdir(folder):
            forces = [ase_forces(engine, supercell) for supercell in crystal.structures()]
        calculation = with_conductivity(calculation, crystal, forces, engine)
    calculation = calculation.model_copy(update={"wall_time": round(time.perf_counter() - begun, 3)})
    return {"calculation": calculation.model_dump(mode="json")}


def ase_forces(engine: Phono3py, supercell: Structure) -> np.ndarray:
    """Compute the forces of one supercell, shape (atoms, 3), eV/Å; potentials stay loaded from one to the next."""
    maker: Any = engine.computing().maker()
    return np.array(maker.run_ase(supercell).trajectory.forces[-1])


def with_conductivity(calculation: Calculation, crystal: Crystal, forces: Any, engine: Phono3py) -> Calculation:
    """Add what follows from the forces to the calculation of the relaxed structure.

    Parameters
    ----------
    calculation
        Of the relaxed structure.
    crystal
        Supercell and displacements.
    forces
        Shape (1 + n, atoms, 3), eV/Å; see :meth:`Crystal.fit`.
    engine
        Gives mesh and temperatures.
    """
    result = crystal.conductivity(crystal.fit(forces), engine.mesh, engine.temperatures, isotopes=engine.isotopes)
    return calculation.model_copy(update={"thermal_conductivity": result})


@job
def displace(relaxed: Any, settings: dict[str, Any]) -> Response[dict[str, Any]]:
    """Add a job for each supercell, and one that gathers their forces.

    Parameters
    ----------
    relaxed
        Task document of the relaxation; the structure itself where nothing is to be relaxed.
    settings
        Of the engine ``phono3py``.
    """
    engine = _engine(settings)
    calculation = None if isinstance(relaxed, Structure) else engine.relaxing().parse(relaxed)
    if calculation is not None and not calculation.converged:
        return Response(output={"calculation": calculation.model_dump(mode="json")})
    structure = relaxed if calculation is None else calculation.structure
    crystal = crystal_of(structure, engine)
    maker = engine.computing().maker()
    # Where nothing was relaxed, energy and gap are those of the given structure: one more calculation.
    given = [structure] if calculation is None else []
    jobs = [maker.make(supercell) for supercell in [*given, *crystal.structures()]]
    for number, added in enumerate(jobs):
        added.name = f"{engine.forces.engine} forces {number + 1}/{len(jobs)}"
    gathered = collect(
        None if calculation is None else calculation.model_dump(mode="json"),
        [added.output for added in jobs],
        structure,
        crystal.displacements.tolist(),
        settings,
    )
    return Response(replace=Flow([*jobs, gathered], output=gathered.output))


@job
def collect(
    calculation: dict[str, Any] | None,
    task_docs: list[Any],
    structure: Structure,
    displacements: list[Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Compute the conductivity from the forces of jobs.

    Parameters
    ----------
    calculation
        Of the relaxed structure; None where the first of the documents is its.
    task_docs
        Documents of the static calculations, in the order of :meth:`Crystal.structures`.
    structure
        The relaxed structure.
    displacements
        Shape (n, atoms, 3), Å.
    settings
        Of the engine ``phono3py``.

    Returns
    -------
    dict
        "calculation": a :class:`Calculation` as a dict.
    """
    engine = _engine(settings)
    if calculation is None:
        own, *task_docs = task_docs
        done = engine.computing().parse(own)
    else:
        done = Calculation.model_validate(calculation)
    crystal = crystal_of(structure, engine, displacements)
    supercells = crystal.structures()
    forces = [forces_of(engine, document, cell) for document, cell in zip(task_docs, supercells, strict=True)]
    return {"calculation": with_conductivity(done, crystal, forces, engine).model_dump(mode="json")}


def forces_of(engine: Phono3py, task_doc: Any, supercell: Structure) -> np.ndarray:
    """Read the forces of one static calculation.

    Parameters
    ----------
    engine
        The settings.
    task_doc
        atomate2's document, or the dict it was stored as.
    supercell
        The supercell that was to be computed.

    Returns
    -------
    numpy.ndarray
        Shape (atoms, 3), eV/Å.

    Raises
    ------
    CalculationError
        The SCF loop did not converge, there are no forces, or the atoms are not in the supercell's order.
    """
    static = engine.computing().parse(task_doc)
    values = lookup(task_doc, "output", "forces")
    name = f"{engine.forces.engine}: the supercell in {static.folder or 'an unknown folder'}"
    if values is None or not static.converged:
        raise CalculationError(f"{name} has {'no forces' if values is None else 'not converged'}", "read its output")
    computed: Structure = static.structure
    moved = computed.frac_coords - supercell.frac_coords if len(computed) == len(supercell) else np.array([np.inf])
    shifts = supercell.lattice.get_cartesian_coords(moved - np.rint(moved)) if np.isfinite(moved).all() else moved
    if computed.species != supercell.species or np.abs(shifts).max() > SAME_POSITION:
        raise CalculationError(f"{name} is not the one that was asked for, or its atoms are in another order")
    return np.array(values, dtype=float) * (EV_PER_ANGSTROM if engine.forces.engine == "cp2k" else 1.0)
