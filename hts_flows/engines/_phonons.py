"""Displaced supercells, force constants fitted to their forces, and the lattice thermal conductivity that follows."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hts_flows.engines.base import CalculationError, Conductivity, UnphysicalResultError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms
    from pymatgen.core import Structure
    from symfc import Symfc

#: Relaxed positions and cells that differ by less than this are symmetric, Å.
SYMMETRY_TOLERANCE = 1e-2
#: Forces that are computed for each free parameter, where the number of snapshots is "auto".
FORCES_PER_PARAMETER = 2.0
#: With more parameters of third order than this, "auto" shortens the cutoff: the fit grows with their third power.
MAX_PARAMETERS = 3000
#: A frequency below minus this is imaginary, THz; what is above is noise of the forces.
IMAGINARY_TOLERANCE = 0.05

Auto = Literal["auto"]


def conventional_cell(structure: Structure) -> Structure:
    """Give the conventional cell with the symmetry of a relaxed structure made exact, its atoms sorted by element.

    Parameters
    ----------
    structure
        Symmetric to within :data:`SYMMETRY_TOLERANCE`.

    Returns
    -------
    Structure
        Without site properties, in the standard setting of the space group; lengths in Å.
    """
    from pymatgen.core import Structure
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    plain = Structure(structure.lattice, [site.specie.symbol for site in structure], structure.frac_coords)
    standard = SpacegroupAnalyzer(plain, symprec=SYMMETRY_TOLERANCE).get_conventional_standard_structure()
    return standard.get_sorted_structure()


def repetitions(cell: Structure, min_length: float, max_atoms: int) -> tuple[int, int, int]:
    """Find how often to repeat a cell: its narrowest directions first, equal ones together.

    Parameters
    ----------
    cell
        Lengths in Å.
    min_length
        Distance of opposite faces of the supercell that is wanted, Å.
    max_atoms
        Most atoms of the supercell; it comes before ``min_length``.

    Raises
    ------
    CalculationError
        One cell alone has more atoms.
    """
    if len(cell) > max_atoms:
        raise CalculationError(
            f"{cell.composition.reduced_formula}: its conventional cell has {len(cell)} atoms, and a supercell may "
            f"have {max_atoms} (max_atoms)",
            "raise 'max_atoms', or leave this candidate out",
        )
    lengths = 1 / np.linalg.norm(np.linalg.inv(cell.lattice.matrix), axis=0)
    number = np.ones(3, dtype=int)
    free = np.ones(3, dtype=bool)
    while (growing := free & (number * lengths < min_length)).any():
        widths = number * lengths
        narrowest = growing & (widths < widths[growing].min() * 1.001)
        more = number + narrowest
        if more.prod() * len(cell) > max_atoms:
            free &= ~narrowest
        else:
            number = more
    first, second, third = (int(value) for value in number)
    return first, second, third


@dataclass
class Crystal:
    """A relaxed crystal, its supercell, and the displacements in it.

    Parameters
    ----------
    cell
        What the supercell repeats, from :func:`conventional_cell`; lengths in Å.
    supercell
        How often along each axis.
    distance
        How far each atom is displaced, Å.
    cutoff
        Largest distance of two of the three atoms of a third-order force constant, Å; None for no limit; "auto" for
        none unless there were more than :data:`MAX_PARAMETERS` parameters.
    snapshots
        Number of supercells in which every atom is displaced at random; "auto" for :data:`FORCES_PER_PARAMETER` forces
        a parameter; "systematic" for the complete set of displaced atoms and pairs of atoms.
    seed
        Of the random directions.
    given
        Displacements to take instead, shape (n, atoms, 3), Å.
    """

    cell: Structure
    supercell: tuple[int, int, int]
    distance: float = 0.03
    cutoff: float | Auto | None = "auto"
    snapshots: int | Literal["auto", "systematic"] = "auto"
    seed: int = 0
    given: Any = None
    _phonons: Phono3py = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from phono3py import Phono3py
        from phonopy.structure.atoms import PhonopyAtoms

        unit = PhonopyAtoms(
            symbols=[site.specie.symbol for site in self.cell],
            cell=self.cell.lattice.matrix,
            scaled_positions=self.cell.frac_coords,
            masses=[float(site.specie.atomic_mass) for site in self.cell],
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the primitive cell is found from the symmetry
            self._phonons = Phono3py(
                unit, supercell_matrix=np.diag(self.supercell), primitive_matrix="auto", log_level=0
            )

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the supercell."""
        return len(self._phonons.supercell)

    @cached_property
    def resolved_cutoff(self) -> float | None:
        """The cutoff with "auto" settled, Å: the longest one that lies between two shells of neighbours."""
        if self.cutoff != "auto":
            return self.cutoff
        if self._estimate(None) <= MAX_PARAMETERS:
            return None
        distances = np.unique(np.round(self._distances(), 2))
        shells = [
            (near + far) / 2
            for near, far in pairwise(distances[1:])
            if far - near > 0.1  # noqa: PLR2004 (Å)
        ]
        short, long = 0, len(shells) - 1  # the number of parameters grows with the cutoff
        while short < long:
            middle = (short + long + 1) // 2
            if self._estimate(shells[middle]) <= MAX_PARAMETERS:
                short = middle
            else:
                long = middle - 1
        return round(float(shells[short]), 3)

    def _distances(self) -> np.ndarray:
        """Distances of the atoms of the primitive cell to all of the supercell, Å."""
        vectors, _ = self._phonons.primitive.get_smallest_vectors()
        return np.linalg.norm(vectors @ self._phonons.primitive.cell, axis=-1)

    def _estimate(self, cutoff: float | None) -> int:
        return int(self._solver(cutoff).estimate_basis_size(orders=[3])[3])

    def _solver(self, cutoff: float | None) -> Symfc:
        from symfc import Symfc
        from symfc.utils.utils import SymfcAtoms

        supercell = self._phonons.supercell
        atoms = SymfcAtoms(cell=supercell.cell, scaled_positions=supercell.scaled_positions, numbers=supercell.numbers)
        return Symfc(
            atoms,
            spacegroup_operations=self._phonons.symmetry.symmetry_operations,
            cutoff=None if cutoff is None else {3: cutoff},
        )

    @cached_property
    def basis(self) -> Symfc:
        """Symmetry-adapted basis of the force constants of second and third order, computed once.

        Raises
        ------
        CalculationError
            Symmetry leaves no force constant of third order: the supercell is too small or
            the cutoff too short.
        """
        solver = self._solver(self.resolved_cutoff)
        try:
            return solver.compute_basis_set(orders=[2, 3])
        except AssertionError as error:  # symfc finds no block of the basis
            raise CalculationError(
                f"{self.cell.composition.reduced_formula}: no third-order force constant is left by symmetry in a "
                f"supercell of {self.n_atoms} atoms with cutoff {self.resolved_cutoff} Å",
                "give a larger 'supercell' or a longer 'cutoff'",
            ) from error

    @property
    def n_parameters(self) -> int:
        """Number of free parameters of the force constants of both orders."""
        return sum(int(basis.blocked_basis_set.shape[1]) for basis in self.basis.basis_set.values())

    @cached_property
    def displacements(self) -> np.ndarray:
        """Displacements, shape (n, atoms, 3), Å.

        Raises
        ------
        CalculationError
            Fewer forces than parameters would come out.
        """
        if self.given is not None:
            return np.array(self.given, dtype=float)
        if self.snapshots == "systematic":
            return self._systematic()
        needed = math.ceil(self.n_parameters / (3 * self.n_atoms))
        number = 0 if self.snapshots == "auto" else self.snapshots
        if self.snapshots == "auto":
            number = math.ceil(FORCES_PER_PARAMETER * self.n_parameters / (3 * self.n_atoms))
        if number < needed:
            raise CalculationError(
                f"{self.cell.composition.reduced_formula}: {number} snapshots of {self.n_atoms} atoms give fewer "
                f"forces than the {self.n_parameters} parameters of the force constants",
                f"give at least 'snapshots: {needed}', 'snapshots: auto', or a shorter 'cutoff'",
            )
        self._phonons.generate_displacements(distance=self.distance, number_of_snapshots=number, random_seed=self.seed)
        return np.array(self._phonons.displacements)

    def _systematic(self) -> np.ndarray:
        self._phonons.generate_displacements(distance=self.distance, cutoff_pair_distance=self.resolved_cutoff)
        dataset: Any = self._phonons.dataset
        moves = [[(first["number"], first["displacement"])] for first in dataset["first_atoms"]]
        moves += [
            [(first["number"], first["displacement"]), (second["number"], second["displacement"])]
            for first in dataset["first_atoms"]
            for second in first["second_atoms"]
            if second.get("included", True)
        ]
        displacements = np.zeros((len(moves), self.n_atoms, 3))
        for vectors, moved in zip(displacements, moves, strict=True):
            for atom, vector in moved:  # the two may be the same atom
                vectors[atom] += vector
        return displacements

    def structures(self) -> list[Structure]:
        """Give the supercells whose forces are wanted: the undisplaced one, then the displaced ones."""
        supercell: PhonopyAtoms = self._phonons.supercell
        zero = np.zeros((1, self.n_atoms, 3))
        return [_displaced(supercell, vectors) for vectors in np.concatenate([zero, self.displacements])]

    def fit(self, forces: Any) -> ForceFit:
        """Fit the force constants.

        Parameters
        ----------
        forces
            Of :meth:`structures`, in its order, shape (1 + n, atoms, 3), eV/Å. Those of the undisplaced supercell are
            subtracted from the others.

        Raises
        ------
        UnphysicalResultError
            A force is not a finite number.
        CalculationError
            Shapes do not match, or the displacements do not determine the parameters.
        """
        values = np.asarray(forces, dtype=float)
        formula = self.cell.composition.reduced_formula
        if values.shape != (1 + len(self.displacements), self.n_atoms, 3):
            raise CalculationError(
                f"{formula}: forces of shape {values.shape} for {len(self.displacements)} displaced "
                f"supercells of {self.n_atoms} atoms and the undisplaced one"
            )
        if not np.isfinite(values).all():
            raise UnphysicalResultError(f"{formula}: a force on an atom of a supercell is not a finite number")
        solver = self.basis
        solver.displacements, solver.forces = self.displacements, values[1:] - values[0]
        same = np.array_equal(solver.p2s_map, self._phonons.primitive.p2s_map)
        try:
            solver.solve(orders=[2, 3], is_compact_fc=same)
        except np.linalg.LinAlgError as error:
            raise CalculationError(
                f"{formula}: {len(self.displacements)} displaced supercells do not determine the force constants",
                "raise 'snapshots', or give a shorter 'cutoff'",
            ) from error
        basis: Any = solver.basis_set[3]
        if basis.fc_cutoff is not None:  # phono3py leaves out the triplets of atoms that are too far apart
            nonzero = basis.fc_cutoff.nonzero_atomic_indices_fc3().reshape((self.n_atoms,) * 3)
            rows = self._phonons.primitive.p2s_map if same else slice(None)
            self._phonons.fc3_nonzero_indices = np.array(nonzero[rows], dtype="byte", order="C")
        self._phonons.fc2, self._phonons.fc3 = solver.force_constants[2], solver.force_constants[3]
        return ForceFit(self._residual(values[1:] - values[0], compact=same), float(_longest(values[0])))

    def _residual(self, forces: np.ndarray, *, compact: bool) -> float:
        """Root mean square of what the fit leaves of the forces on one primitive cell, relative to them."""
        atoms = self._phonons.primitive.p2s_map
        rows = slice(None) if compact else atoms
        second, third = np.asarray(self._phonons.fc2)[rows], np.asarray(self._phonons.fc3)[rows]
        left = []
        for moved, force in zip(self.displacements, forces[:, atoms], strict=True):
            cubic = np.einsum("ijkabc,kc->ijab", third, moved, optimize=True)
            left.append(force + np.einsum("ijab,jb->ia", second + cubic / 2, moved))
        return float(np.linalg.norm(left)) / max(float(np.linalg.norm(forces[:, atoms])), 1e-12)

    def conductivity(
        self,
        fit: ForceFit,
        mesh: tuple[int, int, int] | float,
        temperatures: Sequence[float],
        *,
        isotopes: bool = True,
    ) -> Conductivity:
        """Compute the conductivity in the relaxation-time approximation, with the fitted force constants.

        Parameters
        ----------
        fit
            What :meth:`fit` gave.
        mesh
            q-points along the reciprocal vectors of the primitive cell, or a length in Å: one point for each 1/length
            (without 2π) of a reciprocal vector.
        temperatures
            K.
        isotopes
            Add the scattering by the natural isotopes.

        Raises
        ------
        UnphysicalResultError
            The conductivity is not a finite number.
        """
        phonons = self._phonons
        phonons.mesh_numbers = mesh if isinstance(mesh, float) else list(mesh)
        phonons.init_phph_interaction()
        phonons.run_thermal_conductivity(temperatures=list(temperatures), is_isotope=isotopes)
        kappa = np.array(phonons.thermal_conductivity.kappa).reshape(-1, len(temperatures), 6)[0]
        if not np.isfinite(kappa).all():
            raise UnphysicalResultError(
                f"{self.cell.composition.reduced_formula}: its thermal conductivity is not a finite number",
                "look at its lowest phonon frequency, and at forces and mesh",
            )
        lowest = self._lowest_frequency()
        return Conductivity(
            temperatures=[float(value) for value in temperatures],
            kappa=np.round(kappa, 6).tolist(),
            average=np.round(kappa[:, :3].mean(axis=1), 6).tolist(),
            isotopes=isotopes,
            mesh=[int(value) for value in phonons.mesh_numbers],
            supercell=list(self.supercell),
            n_atoms=self.n_atoms,
            n_displaced=len(self.displacements),
            n_parameters=self.n_parameters,
            distance=self.distance,
            cutoff=self.resolved_cutoff,
            lowest_frequency=round(lowest, 6),
            imaginary_tolerance=IMAGINARY_TOLERANCE,
            has_imaginary_modes=lowest < -IMAGINARY_TOLERANCE,
            fit_residual=fit.residual,
            residual_force=fit.undisplaced,
            volume=float(self._phonons.primitive.volume),
            spacegroup=self.cell.get_space_group_info(symprec=SYMMETRY_TOLERANCE)[1],
        )

    def _lowest_frequency(self) -> float:
        """Lowest frequency on the mesh and at the points that fit the supercell, THz; negative when imaginary."""
        from phonopy.harmonic.dynmat_to_fc import get_commensurate_points
        from phonopy.physical_units import get_physical_units

        phonons = self._phonons
        frequencies: Any = phonons.get_phonon_data()[0]
        lowest = float(np.min(frequencies))
        matrix = phonons.dynamical_matrix
        transformation = np.rint(np.linalg.inv(phonons.primitive.primitive_matrix))
        for point in get_commensurate_points(transformation.astype(int)):
            matrix.run(point)
            value = float(np.linalg.eigvalsh(matrix.dynamical_matrix)[0])
            frequency = math.copysign(math.sqrt(abs(value)), value) * get_physical_units().DefaultToTHz
            lowest = min(lowest, frequency)
        return lowest


@dataclass(frozen=True)
class ForceFit:
    """How well force constants describe the forces they were fitted to."""

    residual: float
    """Root mean square of what is left of the forces, relative to that of the forces."""

    undisplaced: float
    """Largest force in the undisplaced supercell, eV/Å."""


def _displaced(supercell: PhonopyAtoms, vectors: np.ndarray) -> Structure:
    from pymatgen.core import Structure

    return Structure(supercell.cell, supercell.symbols, supercell.positions + vectors, coords_are_cartesian=True)


def _longest(vectors: np.ndarray) -> np.floating[Any]:
    return np.linalg.norm(vectors, axis=-1).max()
