"""Maker of the engine ``gpaw``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from atomate2.ase.jobs import AseRelaxMaker
from atomate2.ase.schemas import AseStructureTaskDoc
from jobflow import job
from pydantic import Field
from pymatgen.core import Molecule, Structure

from hts_flows.engines._ase_makers import CheckedRelaxMaker, add_moments, checked_relaxation, original_make
from hts_flows.engines._bands import band_gap, band_path
from hts_flows.engines._potentials import with_dispersion
from hts_flows.engines.base import SCFNotConvergedError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from atomate2.ase.schemas import AseResult

#: Elements whose d or f shell may be open in a solid: they start with a moment of 1 μB, Mn, Fe, Co and f elements more.
START_MOMENTS = {
    **dict.fromkeys(["Ti", "V", "Ni", "Mo", "Ru", "Rh", "Ce"], 1.0),
    **dict.fromkeys(["Cr", "Co", "Pr", "Nd", "Yb", "Tm"], 3.0),
    **dict.fromkeys(["Mn", "Fe", "Pm", "Sm", "Er", "Ho", "Dy"], 4.0),
    **dict.fromkeys(["Eu", "Gd", "Tb"], 7.0),
}


class GpawTaskDoc(AseStructureTaskDoc):
    """atomate2's document of an ASE calculation, with what only an electronic structure has."""

    band_gap: float | None = Field(default=None, description="Kohn–Sham gap on path and mesh, eV; 0 for a metal")
    band_structure: dict[str, Any] | None = Field(default=None, description="See hts_flows.engines._bands.band_path")


def k_mesh(structure: Structure, kspacing: float) -> tuple[int, int, int]:
    """Number of k-points along each reciprocal vector.

    Parameters
    ----------
    structure
        Its lattice decides.
    kspacing
        Largest distance between neighbours, 1/Å, 2π included.
    """
    lengths = structure.lattice.reciprocal_lattice.abc
    first, second, third = (max(1, math.ceil(length / kspacing - 1e-6)) for length in lengths)
    return first, second, third


@dataclass
class GpawMaker(CheckedRelaxMaker):
    """Relax or compute with GPAW in plane-wave mode; its text output is ``gpaw.txt`` in the run folder.

    Parameters
    ----------
    name
        Name of the job.
    xc
        GPAW's name of the functional.
    dispersion
        Add D3(BJ) for PBE.
    cutoff
        Plane-wave cutoff, eV.
    kspacing
        Largest distance of k-points, 1/Å; the mesh of the starting cell is kept while it relaxes.
    smearing
        Width of the Fermi–Dirac occupations, eV.
    spin
        True, False, or "magnetic-elements".
    symmetry
        Use crystal symmetry.
    scf_energy
        SCF criterion on the energy, eV per valence electron.
    scf_steps
        Most SCF iterations.
    band_points
        Number of k-points of the band structure; 0 for none.
    """

    name: str = "GPAW"
    xc: str = "PBE"
    dispersion: bool = False
    cutoff: float = 400.0
    kspacing: float = 0.35
    smearing: float = 0.1
    spin: bool | str = "magnetic-elements"
    symmetry: bool = True
    scf_energy: float = 5e-5
    scf_steps: int = 200
    band_points: int = 0

    @job(data=["trajectory", "band_structure"], output_schema=GpawTaskDoc)
    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> GpawTaskDoc:
        """Relax a structure, or compute it as it is when ``steps`` is 1.

        Raises
        ------
        SCFNotConvergedError
            The SCF loop reached ``scf_steps``.
        """
        self._calculator = self.build_calculator(structure, symmetry=self.symmetry)
        doc = original_make(AseRelaxMaker)(self, structure, prev_dir=prev_dir)
        if self.start_moments(structure) is not None:
            add_moments(doc, self.calculator)
        fields = {name: getattr(doc, name) for name in type(doc).model_fields}
        if self.band_points:
            dft = _gpaw_part(self.calculator)
            bands = band_path(dft, self.band_points, Path("gpaw-bands.txt"), structure.properties.get("k_path"))
            fields |= {"band_structure": bands, "band_gap": band_gap(dft, bands)}
        return GpawTaskDoc(**fields | {"ase_calculator_name": "GPAW"})

    def run_ase(self, mol_or_struct: Structure | Molecule, prev_dir: str | Path | None = None) -> AseResult:
        """Compute without jobflow; once more without symmetry when a relaxation breaks it or GPAW cannot analyse it."""
        del prev_dir
        from gpaw import ConvergenceError
        from gpaw.new.symmetry import SymmetryAnalysisBug, SymmetryBrokenError

        if not isinstance(mol_or_struct, Structure):
            raise TypeError(f"expected a periodic Structure, found {type(mol_or_struct).__name__}")
        if self._calculator is None:
            self._calculator = self.build_calculator(mol_or_struct, symmetry=self.symmetry)
        spins = self.start_moments(mol_or_struct) is not None
        try:
            try:
                return checked_relaxation(self, mol_or_struct, moments=spins)
            except (SymmetryAnalysisBug, SymmetryBrokenError):
                self._calculator = self.build_calculator(mol_or_struct, symmetry=False)
                return checked_relaxation(self, mol_or_struct, moments=spins)
        except ConvergenceError as error:
            raise SCFNotConvergedError(
                f"GPAW: the SCF loop of {mol_or_struct.composition.reduced_formula} did not converge in "
                f"{self.scf_steps} iterations ({type(error).__name__}); see gpaw.txt",
                "raise 'scf_steps' or 'smearing', or look at the starting structure and its spin",
            ) from error

    def build_calculator(self, structure: Structure, *, symmetry: bool) -> Any:
        """Make the calculator for a structure.

        Parameters
        ----------
        structure
            Starting structure: it gives k-mesh and initial moments.
        symmetry
            Use crystal symmetry.
        """
        from gpaw import GPAW, PW

        calculator = GPAW(
            mode=PW(self.cutoff, dedecut="estimate"),  # stress corrected for the finite cutoff
            xc=self.xc,
            kpts={"size": k_mesh(structure, self.kspacing), "gamma": True},
            occupations={"name": "fermi-dirac", "width": self.smearing},
            convergence={"energy": self.scf_energy},
            maxiter=self.scf_steps,
            magmoms=self.start_moments(structure),
            symmetry="on" if symmetry else "off",
            txt="gpaw.txt",
        )
        return with_dispersion(calculator) if self.dispersion else calculator

    def start_moments(self, structure: Structure) -> list[float] | None:
        """Moments to start from, μB a site; None without spin polarisation.

        Those of the structure (site property "magmom") come first, then :data:`START_MOMENTS`, then 0.6 a site when
        spin polarisation is demanded.
        """
        if self.spin is False:
            return None
        given = structure.site_properties.get("magmom")
        if given is not None and np.abs(given).max() > 1e-2:  # noqa: PLR2004 (noise of an earlier engine)
            return [float(value) for value in given]
        moments = [START_MOMENTS.get(site.specie.symbol, 0.0) for site in structure]
        if any(moments):
            return moments
        return [0.6] * len(structure) if self.spin is True else None


def _gpaw_part(calculator: Calculator) -> Any:
    """Give the GPAW calculator inside a sum with D3."""
    return calculator.mixer.calcs[0] if hasattr(calculator, "mixer") else calculator
