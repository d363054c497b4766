"""Crystals and bicrystals relaxed with one potential in this process, and the energy of their boundaries.

Boundary energies are (E − N·e) / (n·A): energy and number of the atoms, energy of an atom in the crystal, number and
area of the boundaries. In crystals of several elements that needs whole formula units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hts_flows.engines.base import CalculationError, UnphysicalResultError
from hts_flows.errors import InputError
from hts_flows.structures.bicrystals import JOULE_PER_SQUARE_METRE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pymatgen.core import Structure

    from hts_flows.engines.translation_search import TranslationSearch
    from hts_flows.structures.bicrystals import Bicrystal
    from hts_flows.structures.cubic_crystals import CubicCrystal

    Floats = NDArray[np.float64]
    Booleans = NDArray[np.bool_]

#: The crystal has relaxed when no force and no stress × volume of an atom is above this, eV/Å and eV.
CRYSTAL_FMAX = 1e-3
CRYSTAL_STEPS = 500


@dataclass(frozen=True)
class RelaxedCrystal:
    """A crystal as the potential has it."""

    constant: float
    """Lattice constant, Å."""
    energy: float
    """eV per atom."""


@dataclass(frozen=True)
class BicrystalState:
    """Where the atoms of a bicrystal are, and their energy."""

    start: Bicrystal
    """Before the relaxation."""
    positions: Floats
    """Å, shape (N, 3); no grain is cut by the cell."""
    lattice: Floats
    """Lattice vectors as rows, Å."""
    energy: float
    """eV."""
    energies: Floats | None
    """Energy of each atom, eV, shape (N,); None where the potential has none."""
    move: Floats
    """How far the upper grain moved against the lower one, at each boundary, Å, shape (3,)."""
    max_force: float
    """Largest force left on what could move, eV/Å."""
    n_calls: int
    """How often energy and forces were computed."""

    @property
    def structure(self) -> Structure:
        """The cell, with the site properties ``grain`` and ``rigid``."""
        from pymatgen.core import Lattice, Structure

        marks: dict[str, Any] = {"grain": self.start.grain.tolist(), "rigid": self.start.rigid.tolist()}
        return Structure(
            Lattice(self.lattice),
            self.start.symbols,
            self.positions,
            coords_are_cartesian=True,
            to_unit_cell=True,
            site_properties=marks,
        )


class ShearedGrainError(CalculationError):
    """A grain sheared as a whole while it relaxed, so that the boundary is no longer the one that was asked for."""


class NotConvergedError(CalculationError):
    """A bicrystal was not relaxed in the steps that were allowed."""


def largest_shear(before: Floats, after: Floats, grain: NDArray[np.int_]) -> float:
    """How far the middle half of a grain has sheared along the plane in the relaxation, the larger of both, degrees.

    Boundaries move by shear of the crystal they sweep (J. W. Cahn, Y. Mishin, A. Suzuki, Acta Mater. 54, 4953 (2006)).
    In a thin cell, near the perfect crystal, a grain may shear into the other until there is no boundary left, whose
    energy is next to nothing.

    Parameters
    ----------
    before, after
        Positions in whole grains, Å, shape (N, 3).
    grain
        Grain of each atom, 1 or 2, shape (N,).
    """
    moved, heights = after - before, before[:, 2]
    slopes: list[float] = []
    for number in (1, 2):
        inner = grain == number
        lowest, highest = float(heights[inner].min()), float(heights[inner].max())
        inner &= np.abs(heights - (lowest + highest) / 2) < (highest - lowest) / 4
        offsets = heights[inner] - heights[inner].mean()
        spread = float(offsets @ offsets)
        if spread > 0:
            slopes += (offsets @ moved[inner, :2] / spread).tolist()
    if not slopes:  # one layer of atoms
        return 0.0
    return float(np.degrees(np.arctan(np.abs(slopes))).max())


class BicrystalPotential(ABC):
    """A potential that relaxes bicrystals.

    Parameters
    ----------
    engine
        The settings.
    """

    #: How far the energy of an atom depends on others, Å; None where atoms have no energies.
    reach: float | None = None

    def __init__(self, engine: TranslationSearch) -> None:
        self.engine = engine
        maker: Any = engine.forces.maker()
        self.calculator: Any = maker.calculator

    def crystal(self, crystal: CubicCrystal) -> RelaxedCrystal:
        """Compute the crystal: relaxed with its cell as a cube, or as it is where nothing is to be relaxed.

        Raises
        ------
        CalculationError
            It did not converge.
        """
        from ase import Atoms
        from ase.filters import FrechetCellFilter
        from ase.optimize import LBFGS

        cell = crystal.basis * (crystal.constant / 2)
        atoms = Atoms(list(crystal.symbols), crystal.positions, cell=cell, pbc=True, calculator=self.calculator)
        volume = atoms.get_volume()
        if self.engine.task == "relax":
            cube: Any = FrechetCellFilter(atoms, hydrostatic_strain=True)
            optimizer = cast("Any", LBFGS)(cube, logfile=None)
            if not optimizer.run(fmax=CRYSTAL_FMAX, steps=CRYSTAL_STEPS):
                raise CalculationError(
                    f"the crystal of {atoms.get_chemical_formula()} did not relax in {CRYSTAL_STEPS} steps",
                    "compute it alone first (domain bulk) to see whether this potential knows it",
                )
        growth = float(atoms.get_volume() / volume) ** (1 / 3)
        return RelaxedCrystal(crystal.constant * growth, float(atoms.get_potential_energy()) / len(atoms))

    def check(self, bicrystal: Bicrystal) -> None:
        """Refuse cells that cannot be computed with this potential and protocol.

        Raises
        ------
        InputError
            With what to change.
        """
        rigid = [bool((bicrystal.rigid & (bicrystal.grain == grain)).any()) for grain in (1, 2)]
        if self.engine.task == "relax" and self.engine.protocol == "free normal expansion" and not all(rigid):
            raise InputError(
                f"protocol 'free normal expansion' without rigid blocks in {bicrystal.spec}: nothing holds the grains "
                "in the plane",
                "give the cell rigid blocks (cell: {rigid: 5}), or use 'fixed translation'",
            )
        if len(bicrystal.boundary_heights) > 1:
            return
        if self.reach is None:
            raise InputError(
                f"a cell with one boundary and surfaces ({bicrystal.spec}) needs energies of single atoms, which "
                f"{self.engine.forces.engine} does not give",
                "use cells with two boundaries (cell: {boundaries: 2}), or forces: {engine: tight_binding}",
            )
        if bicrystal.height < 2 * self.reach:
            raise InputError(
                f"grains of {bicrystal.height:.1f} Å between a boundary and a surface are too thin: each reaches "
                f"{self.reach:.1f} Å deep",
                f"give a thickness of at least {2 * self.reach:.1f} Å",
            )

    def boundary_energy(self, state: BicrystalState, crystal: RelaxedCrystal) -> float:
        """Energy of one boundary, J/m²; of two different ones the mean.

        With surfaces, the energies of those atoms are added up that are further from the outermost atoms of the
        unrelaxed cell than the potential reaches: they do not know of the surfaces.

        Parameters
        ----------
        state
            Of a bicrystal of this potential.
        crystal
            Of this potential.

        Raises
        ------
        InputError
            The cell does not hold whole formula units of the crystal.
        """
        start = state.start
        if not holds_formula_units(start):
            raise InputError(
                f"{start.built.formula} is no multiple of {start.spec.formula}: a boundary energy needs whole formula "
                "units",
                "leave remove_closer out, or choose distances at which all elements lose as many atoms",
            )
        n_boundaries = len(start.boundary_heights)
        if n_boundaries > 1:
            excess = state.energy - len(start.symbols) * crystal.energy
        else:
            heights = unwrapped(start)[:, 2]
            reach = self.reach or 0.0
            inner = (heights > heights.min() + reach) & (heights < heights.max() - reach)
            excess = float((np.asarray(state.energies)[inner] - crystal.energy).sum())
        return excess / (n_boundaries * start.area) * JOULE_PER_SQUARE_METRE

    @abstractmethod
    def unrelaxed(self, bicrystal: Bicrystal) -> BicrystalState:
        """Compute a bicrystal as it is."""

    @abstractmethod
    def relaxed(self, bicrystal: Bicrystal) -> BicrystalState:
        """Relax a bicrystal under the protocol of the settings.

        Raises
        ------
        NotConvergedError
            The steps were not enough.
        UnphysicalResultError
            Atoms met, or numbers are not finite.
        """

    def _converged(self, worst: float, *, converged: bool) -> float:
        if not converged:
            raise NotConvergedError(
                f"a force of {worst:.3g} eV/Å was left after {self.engine.steps} steps", "raise 'steps' or 'fmax'"
            )
        return worst


class SecondMomentBicrystals(BicrystalPotential):
    """Tight binding: a relaxation takes some ten milliseconds."""

    def __init__(self, engine: TranslationSearch, bicrystal: Bicrystal) -> None:
        from hts_flows.engines._second_moment_parameters import parameters_for

        super().__init__(engine)
        self.reach = parameters_for(bicrystal.symbols).cutoff

    def unrelaxed(self, bicrystal: Bicrystal) -> BicrystalState:
        """Compute a bicrystal as it is."""
        from hts_flows.engines.tight_binding import evaluate

        positions = unwrapped(bicrystal)
        found = evaluate(positions, bicrystal.lattice, _periodic(bicrystal), bicrystal.symbols)
        worst = float(np.linalg.norm(found.forces, axis=1).max())
        return BicrystalState(
            bicrystal, positions, bicrystal.lattice, found.energy, found.energies, np.zeros(3), worst, 1
        )

    def relaxed(self, bicrystal: Bicrystal) -> BicrystalState:
        """Relax a bicrystal under the protocol of the settings."""
        from hts_flows.engines.tight_binding import relax

        found = relax(
            unwrapped(bicrystal),
            bicrystal.lattice,
            _periodic(bicrystal),
            bicrystal.symbols,
            groups=bicrystal.grain.tolist(),
            protocol=self.engine.protocol,
            free=~bicrystal.rigid,
            fmax=self.engine.fmax,
            max_calls=self.engine.steps,
        )
        worst = self._converged(found.max_force, converged=found.converged)
        move = np.array([*found.translation[:2], found.expansion])
        return BicrystalState(
            bicrystal, found.positions, found.cell, found.energy, found.energies, move, worst, found.n_calls
        )


class AseBicrystals(BicrystalPotential):
    """Any ASE calculator."""

    def _atoms(self, bicrystal: Bicrystal) -> Any:
        from ase import Atoms

        return Atoms(
            list(bicrystal.symbols),
            unwrapped(bicrystal),
            cell=bicrystal.lattice,
            pbc=_periodic(bicrystal),
            calculator=self.calculator,
        )

    def unrelaxed(self, bicrystal: Bicrystal) -> BicrystalState:
        """Compute a bicrystal as it is."""
        atoms = self._atoms(bicrystal)
        energy, forces = self._computed(atoms)
        worst = float(np.linalg.norm(forces, axis=1).max())
        return BicrystalState(bicrystal, atoms.positions, bicrystal.lattice, energy, None, np.zeros(3), worst, 1)

    def relaxed(self, bicrystal: Bicrystal) -> BicrystalState:
        """Relax a bicrystal under the protocol of the settings."""
        from ase.calculators.calculator import InputError as CalculatorInputError
        from ase.optimize import FIRE

        from hts_flows.engines._ase_makers import check_distances
        from hts_flows.engines._grain_filter import GrainFilter, descend

        atoms = self._atoms(bicrystal)
        upper, loose = bicrystal.grain == 2, ~bicrystal.rigid  # noqa: PLR2004 (the second grain)
        grains = GrainFilter(atoms, upper, loose, self.engine.protocol)
        fmax, steps = self.engine.fmax, self.engine.steps
        try:
            if self.engine.optimizer == "FIRE":
                converged = bool(cast("Any", FIRE)(grains, logfile=None).run(fmax=fmax, steps=steps - 1))
            else:
                converged = descend(grains, fmax, steps)
        except (ValueError, np.linalg.LinAlgError, CalculatorInputError) as error:
            # D3 refuses atoms that came too close; what is not finite is refused here and there.
            if not isinstance(error, CalculatorInputError) and np.isfinite(atoms.positions).all():
                raise
            raise UnphysicalResultError("atoms met, or numbers are not finite", "use a larger opening") from error
        energy, _ = self._computed(atoms)
        worst = float(np.linalg.norm(grains.get_forces(), axis=1).max())
        self._converged(worst, converged=converged)
        move = grains.move
        move[:2] = _slid(atoms.positions - unwrapped(bicrystal), upper, ~loose)[:2]
        if not atoms.pbc[2]:
            move[2] = _slid(atoms.positions - unwrapped(bicrystal), upper, ~loose)[2]
        state = BicrystalState(
            bicrystal, atoms.positions, atoms.cell.array.copy(), energy, None, move, worst, grains.n_calls - 1
        )
        check_distances(state.structure)
        return state

    def _computed(self, atoms: Any) -> tuple[float, Floats]:
        energy, forces = float(atoms.get_potential_energy()), np.asarray(atoms.get_forces())
        if not np.isfinite(energy) or not np.isfinite(forces).all():
            raise UnphysicalResultError("energy or forces are not finite numbers", "use a larger opening")
        return energy, forces


def potential_of(engine: TranslationSearch, bicrystal: Bicrystal) -> BicrystalPotential:
    """Give what relaxes bicrystals with the forces of the settings.

    Parameters
    ----------
    engine
        The settings.
    bicrystal
        The first that is to be computed.

    Raises
    ------
    InputError
        The potential has no parameters for its elements.
    """
    return SecondMomentBicrystals(engine, bicrystal) if engine.fast else AseBicrystals(engine)


def holds_formula_units(bicrystal: Bicrystal) -> bool:
    """Tell whether a cell has the composition of the crystal."""
    crystal, cell = Counter(bicrystal.spec.crystal.symbols), Counter(bicrystal.symbols)
    total, atoms = sum(crystal.values()), len(bicrystal.symbols)
    return all(cell[symbol] * total == number * atoms for symbol, number in crystal.items())


def unwrapped(bicrystal: Bicrystal) -> Floats:
    """Positions in which the cell's border cuts no grain, Å, shape (N, 3)."""
    positions = bicrystal.positions.copy()
    length = bicrystal.lattice[2, 2]
    # Grain 2 fills the upper half; only what stands at the border has come round.
    positions[(bicrystal.grain == 2) & (positions[:, 2] < length / 4), 2] += length  # noqa: PLR2004 (the second grain)
    return positions


def _periodic(bicrystal: Bicrystal) -> tuple[bool, bool, bool]:
    return True, True, len(bicrystal.boundary_heights) > 1


def _slid(moved: Floats, upper: Booleans, rigid: Booleans) -> Floats:
    """How far the upper grain moved against the lower one: the rigid atoms where both have some, else the means."""
    both = (rigid & upper).any() and (rigid & ~upper).any()
    seen = rigid if both else np.ones_like(rigid)
    return np.asarray(moved[upper & seen].mean(axis=0) - moved[~upper & seen].mean(axis=0))
