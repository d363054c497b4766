"""Maker of the engine ``chgnet``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atomate2.forcefields.jobs import ForceFieldRelaxMaker
from atomate2.forcefields.utils import _FORCEFIELD_DATA_OBJECTS, MLFF
from jobflow import job
from pymatgen.core import Molecule, Structure

from hts_flows.engines._ase_makers import add_moments, checked_relaxation, original_make
from hts_flows.engines._potentials import chgnet_calculator

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from atomate2.ase.schemas import AseResult
    from atomate2.forcefields.schemas import ForceFieldTaskDocument


@dataclass
class CHGNetMaker(ForceFieldRelaxMaker):
    """Relax with CHGNet, with or without D3(BJ).

    Parameters
    ----------
    name
        Name of the job.
    dispersion
        Add D3(BJ) for PBE.
    threads
        Threads of PyTorch.
    device
        "cpu" or "cuda".
    """

    name: str = "CHGNet"
    force_field_name: str | MLFF | dict = MLFF.CHGNet
    dispersion: bool = False
    threads: int = 1
    device: str = "cpu"

    def _get_calculator(self) -> Calculator:
        return chgnet_calculator(dispersion=self.dispersion, threads=self.threads, device=self.device)

    @job(data=_FORCEFIELD_DATA_OBJECTS)
    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> ForceFieldTaskDocument:
        """Relax a structure, or compute it as it is when ``steps`` is 1; moments become the site property "magmom"."""
        doc = original_make(ForceFieldRelaxMaker)(self, structure, prev_dir=prev_dir)
        add_moments(doc, self.calculator)
        return doc

    def run_ase(self, mol_or_struct: Structure | Molecule, prev_dir: str | Path | None = None) -> AseResult:
        """Relax without jobflow; see :func:`~hts_flows.engines._ase_makers.checked_relaxation`."""
        del prev_dir
        return checked_relaxation(self, mol_or_struct)
