"""Maker and ASE calculator of the engine ``tight_binding``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.geometry import complete_cell
from ase.stress import full_3x3_to_voigt_6_stress

from hts_flows.engines._ase_makers import CheckedRelaxMaker
from hts_flows.engines._second_moment_parameters import parameters_for
from hts_flows.engines.tight_binding import require_numba

if TYPE_CHECKING:
    from ase import Atoms

    from hts_flows.engines._second_moment import SecondMoment


class TightBindingCalculator(Calculator):
    """Second-moment potential as an ASE calculator: energies of atoms, forces, and stress where there is a cell.

    Raises
    ------
    EngineNotAvailableError
        When made: numba is not installed.
    InputError
        When asked for a result: a metal without parameters, or more than one.

    References
    ----------
    F. Cleri, V. Rosato, Phys. Rev. B 48, 22 (1993).
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012 (as in ASE)

    def __init__(self, **kwargs: Any) -> None:
        require_numba()
        super().__init__(**kwargs)
        self._potentials: dict[str, SecondMoment] = {}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        present = self.atoms
        parameters = parameters_for(present.symbols)
        potential = self._potentials.get(present.symbols[0])
        if potential is None:
            from hts_flows.engines._second_moment import SecondMoment

            potential = self._potentials[present.symbols[0]] = SecondMoment(parameters)
        cell = np.ascontiguousarray(complete_cell(present.cell), dtype=np.float64)
        result = potential.evaluate(np.ascontiguousarray(present.positions), cell, np.array(present.pbc))
        self.results = {
            "energy": result.energy,
            "free_energy": result.energy,
            "energies": result.energies,
            "forces": result.forces,
        }
        if present.cell.rank == 3:  # noqa: PLR2004 (dimensions)
            self.results["stress"] = full_3x3_to_voigt_6_stress(result.virial / present.get_volume())


@dataclass
class TightBindingMaker(CheckedRelaxMaker):
    """Relax with the second-moment potential.

    Parameters
    ----------
    name
        Name of the job.
    potential
        Set of parameters.
    """

    name: str = "Tight binding"
    potential: str = "cleri-rosato"

    def _get_calculator(self) -> Calculator:
        return TightBindingCalculator()
