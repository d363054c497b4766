"""Makers shared by the engines that run through ASE."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase.calculators.calculator import InputError as CalculatorInputError
from atomate2.ase.jobs import _ASE_DATA_OBJECTS, AseRelaxMaker
from atomate2.ase.utils import AseRelaxer
from jobflow import Maker, job
from pymatgen.core import Molecule, Structure

from hts_flows.engines._restart import GeometryRecorder, calculator_moments
from hts_flows.engines.base import UnphysicalResultError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from atomate2.ase.schemas import AseResult, AseStructureTaskDoc
    from emmet.core.trajectory import AtomTrajectory

#: A relaxed cell may be this many times larger or smaller than the starting one.
MAX_VOLUME_RATIO = 3.0

#: Atoms closer than this are a mistake, Å (H2 is 0.74).
MIN_DISTANCE = 0.5

NOT_FINITE = "energy or forces are not finite numbers, or atoms met"
LOOK_AT_START = "the starting structure is probably far from any crystal: look at its shortest distances"


@dataclass
class CheckedRelaxMaker(AseRelaxMaker):
    """Relax with ASE, scale the cell for soft directions, and refuse results that cannot be right.

    ASE's ``FrechetCellFilter`` divides the cell's gradient by the number of atoms N. Here it is divided by √N: the cell
    moves on the scale of the atoms (fewer steps), and the criterion on the stress becomes tighter, which the soft
    c axis of layered compounds needs. A relaxation has converged when every force is below ``fmax`` (eV/Å) and
    every row of stress × volume / √N below ``fmax`` (eV).

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "ASE relaxation"

    @job(data=_ASE_DATA_OBJECTS)
    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> AseStructureTaskDoc:
        """Relax a structure, or compute it as it is when ``steps`` is 1.

        Parameters
        ----------
        structure
            Starting structure.
        prev_dir
            Folder of an earlier calculation; ASE needs none of its files.

        Returns
        -------
        AseStructureTaskDoc
            atomate2's document; magnetic moments, where the calculator has them, are the site property "magmom".
        """
        doc = original_make(AseRelaxMaker)(self, structure, prev_dir=prev_dir)
        add_moments(doc, self.calculator)
        return doc

    def run_ase(self, mol_or_struct: Structure | Molecule, prev_dir: str | Path | None = None) -> AseResult:
        """Relax without jobflow.

        Raises
        ------
        UnphysicalResultError
            Energy not finite, or the volume changed by more than :data:`MAX_VOLUME_RATIO`.
        """
        del prev_dir
        return checked_relaxation(self, mol_or_struct)


def original_make(maker: type[Maker]) -> Callable[..., Any]:
    """Give a Maker's ``make`` as it was before jobflow turned it into one that makes jobs."""
    return vars(maker)["make"].original


def checked_relaxation(maker: AseRelaxMaker, structure: Structure | Molecule, *, moments: bool = True) -> AseResult:
    """Relax with the settings of a Maker; see :class:`CheckedRelaxMaker`.

    Until it ends, the geometries are in a file of the working folder; see
    :class:`~hts_flows.engines._restart.GeometryRecorder`.

    Parameters
    ----------
    maker
        Gives calculator and settings.
    structure
        Starting structure.
    moments
        Keep the calculator's magnetic moments with these geometries.

    Raises
    ------
    UnphysicalResultError
        Atoms on top of each other, energy not finite, or a volume changed by more than :data:`MAX_VOLUME_RATIO`.
    """
    if not isinstance(structure, Structure):
        raise TypeError(f"expected a periodic Structure, found {type(structure).__name__}")
    check_distances(structure)
    recorder = GeometryRecorder(Path.cwd(), moments=moments)
    optimizer = {"optimizer": "FIRE", **maker.optimizer_kwargs}
    relaxer = AseRelaxer(
        maker.calculator,
        relax_cell=maker.relax_cell,
        relax_shape=maker.relax_shape,
        fix_symmetry=maker.fix_symmetry,
        symprec=maker.symprec or 1e-2,
        **optimizer | {"optimizer": recorder.attached(optimizer["optimizer"])},
    )
    options: dict[str, Any] = {"final_atoms_object_file": None, "use_emmet_models": True, **maker.relax_kwargs}
    if maker.relax_cell:
        options["filter_kwargs"] = {"exp_cell_factor": math.sqrt(len(structure)), **options.get("filter_kwargs", {})}
    try:
        result = relaxer.relax(structure, steps=maker.steps, **options)
    except (ValueError, np.linalg.LinAlgError, CalculatorInputError) as error:
        # D3 refuses atoms that came too close; matrix functions of the cell refuse what is not finite
        if not isinstance(error, CalculatorInputError) and _is_finite(maker.calculator):
            raise
        recorder.remove()
        raise UnphysicalResultError(f"{structure.composition.reduced_formula}: {NOT_FINITE}", LOOK_AT_START) from error
    recorder.remove()
    end, trajectory = result.final_mol_or_struct, cast("AtomTrajectory", result.trajectory)
    check_physical(structure, cast("Structure", end), float(cast("list[float]", trajectory.energy)[-1]))
    return result


def _is_finite(calculator: Calculator) -> bool:
    results = calculator.results
    return all(np.isfinite(results[name]).all() for name in ("energy", "forces", "stress") if name in results)


def check_distances(structure: Structure) -> None:
    """Refuse a structure with atoms on top of each other.

    Raises
    ------
    UnphysicalResultError
        With the pair and its distance.
    """
    first, second, _, distances = structure.get_neighbor_list(MIN_DISTANCE)
    if len(distances):
        closest = int(np.argmin(distances))
        one, other = (f"{structure[index].specie} {index}" for index in (first[closest], second[closest]))
        raise UnphysicalResultError(
            f"{structure.composition.reduced_formula}: atoms {one} and {other} are {distances[closest]:.2f} Å apart",
            "look at how the structure was made",
        )


def check_physical(start: Structure, end: Structure, energy: float) -> None:
    """Refuse a result whose energy is not finite or whose cell collapsed or blew up.

    Parameters
    ----------
    start, end
        Structure before and after, lengths in Å.
    energy
        Energy at the end, eV.

    Raises
    ------
    UnphysicalResultError
        With the numbers.
    """
    if not math.isfinite(energy):
        raise UnphysicalResultError(f"{start.composition.reduced_formula}: {NOT_FINITE}", LOOK_AT_START)
    ratio = end.volume / start.volume
    if not 1 / MAX_VOLUME_RATIO < ratio < MAX_VOLUME_RATIO:
        raise UnphysicalResultError(
            f"{start.composition.reduced_formula}: the cell went from {start.volume:.1f} to {end.volume:.1f} Å³",
            "the engine is outside what it was made for, or the starting structure is far from any crystal",
        )


def add_moments(doc: AseStructureTaskDoc, calculator: Calculator) -> None:
    """Write the calculator's magnetic moments (Bohr magnetons) into the structure of a task document."""
    moments = calculator_moments(calculator, len(doc.structure))
    if moments is not None:
        doc.structure.add_site_property("magmom", moments)
