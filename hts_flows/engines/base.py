"""What every engine provides: settings with a hash, a Maker, and one parsed document."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

from hts_flows.candidates import stable_hash
from hts_flows.errors import HtsError

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import Maker
    from pymatgen.core import Structure


class CalculationError(HtsError):
    """A calculation ended without a usable result."""


class SCFNotConvergedError(CalculationError):
    """The electronic self-consistency loop stopped at its limit of iterations."""


class UnphysicalResultError(CalculationError):
    """The engine gave a result that cannot be right: energy not finite, cell collapsed or blown up."""


def _as_structure(value: Any) -> Structure:
    from pymatgen.core import Structure

    if isinstance(value, Structure):
        return value
    if isinstance(value, dict):
        return Structure.from_dict(value)
    raise ValueError(f"expected a pymatgen Structure or its dict, found {type(value).__name__}")


#: A pymatgen Structure as a field of a document, without importing pymatgen (0.3 s) before there is one.
AnyStructure = Annotated[
    Any, PlainValidator(_as_structure), PlainSerializer(lambda value: value.as_dict(), return_type=dict)
]


class Conductivity(BaseModel):
    """Lattice thermal conductivity, and what it was computed with."""

    model_config = ConfigDict(extra="forbid")

    temperatures: list[float] = Field(description="K")
    kappa: list[list[float]] = Field(
        description="Components xx, yy, zz, yz, xz, xy at each temperature, in the standard setting of the "
        "conventional cell, W/(m·K)"
    )
    average: list[float] = Field(description="Mean of xx, yy, zz at each temperature, W/(m·K)")
    isotopes: bool = Field(default=False, description="Whether the natural isotopes scatter")
    mesh: list[int] = Field(description="q-points along the reciprocal vectors of the primitive cell")
    supercell: list[int] = Field(description="Repetitions of the conventional cell")
    n_atoms: int = Field(description="Number of atoms in the supercell")
    n_displaced: int = Field(description="Number of displaced supercells")
    n_parameters: int = Field(description="Number of free parameters of the force constants of second and third order")
    distance: float = Field(description="Displacement of an atom, Å")
    cutoff: float | None = Field(description="Largest distance in third-order force constants, Å; None for no limit")
    lowest_frequency: float = Field(
        description="Lowest phonon frequency on the mesh and at the points that fit the supercell, THz; imaginary ones "
        "are negative"
    )
    imaginary_tolerance: float = Field(description="A frequency below minus this counts as imaginary, THz")
    has_imaginary_modes: bool = Field(
        description="Whether the crystal is unstable against a displacement; kappa then leaves out the unstable modes"
    )
    fit_residual: float = Field(
        description="Root mean square of what the fitted force constants leave of the forces, relative to that of the "
        "forces"
    )
    residual_force: float = Field(
        description="Largest force in the undisplaced supercell, subtracted from the others, eV/Å"
    )
    volume: float = Field(description="Volume of the primitive cell, Å³")
    spacegroup: int = Field(description="Number of the space group")


class TranslationOperation(BaseModel):
    """A symmetry of the energy of translations: (x, y) → matrix · (x, y) + shift."""

    model_config = ConfigDict(extra="forbid")

    matrix: list[list[float]] = Field(description="Orthogonal, shape (2, 2), for columns (x, y)")
    shift: list[float] = Field(description="(x, y), Å")


class TranslationTrials(BaseModel):
    """Energies of a grain boundary over the rigid-body translations of its grains, and how they were chosen."""

    model_config = ConfigDict(extra="forbid")

    protocol: str = Field(
        description="What the grains could do while the atoms relaxed: fixed translation, free normal expansion, free "
        "sliding; static = nothing relaxed"
    )
    method: Literal["kriging", "enumeration", "prediction"] = Field(description="How the translations were chosen")
    translations: list[tuple[float, float, float]] = Field(
        description="Starting translations (x, y, z) of the upper grain from the origin, in the order computed, Å"
    )
    removal: list[float | None] = Field(
        description="Atoms closer than this to the other grain were removed before, Å, one a trial; None: none were"
    )
    removed: list[int] = Field(description="Number of atoms removed from the cell, one a trial")
    energies: list[float | None] = Field(
        description="Boundary energy, J/m², one a trial; None where the relaxation failed or atoms overlapped"
    )
    best: int = Field(description="Number of the trial with the lowest energy, from 0")
    n_candidates: int = Field(description="Translations of which no two are equivalent, times the choices of removal")
    n_points: int = Field(description="Translations of the grid, the equivalent ones included")
    n_starts: int = Field(description="How many of the trials were starts of a search")
    stop_reason: str = Field(description="patience, budget or exhausted; of several searches, all different ones")
    periods: tuple[float, float] = Field(description="Periods of the energy along x and y, Å")
    step: tuple[float, float] = Field(description="Distance of grid points along x and y, Å")
    openings: list[float] = Field(default_factory=list, description="Starting values of z on the grid, Å")
    operations: list[TranslationOperation] = Field(description="Symmetry of the energy without the periods")
    origin: str = Field(description="What the translation (0, 0, 0) is")
    area: float = Field(description="Area of one boundary, Å²")
    n_boundaries: int = Field(description="Boundaries in the cell")
    boundaries_equivalent: bool = Field(description="Whether they are the same; else the energy is their mean")
    excess_volume: float = Field(description="Volume beyond that of the crystal, per area of one boundary, Å³/Å²")
    relaxed_translation: tuple[float, float, float] = Field(
        description="Translation after the relaxation of the best, x and y within the periods, Å"
    )
    lattice_constant: float = Field(description="Of the crystal, from the same forces, Å")
    bulk_energy: float = Field(description="Of the crystal, from the same forces, eV per atom")
    predicted: list[float | None] | None = Field(
        default=None, description="Energies predicted from other boundaries, J/m², one a trial; None without"
    )
    trained_on: list[str] | None = Field(default=None, description="The boundaries they were predicted from")
    force_calls: int = Field(description="How often energy and forces of a bicrystal were computed")


class Calculation(BaseModel):
    """What came out of one calculation, whichever engine ran it."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = Field(default=1, description="Version of this document's layout")
    structure: AnyStructure = Field(description="Final structure (pymatgen), lengths in Å")
    energy: float = Field(description="Total energy of the cell, eV")
    converged: bool = Field(description="Whether the ionic relaxation (or the SCF of a static) met its criterion")
    max_force: float | None = Field(default=None, description="Largest force on an atom at the end, eV/Å")
    pressure: float | None = Field(default=None, description="Pressure at the end, positive when compressed, GPa")
    n_steps: int | None = Field(default=None, description="Number of geometries computed, the starting one included")
    magnetic_moments: list[float] | None = Field(default=None, description="Moment of each site, Bohr magnetons")
    band_gap: float | None = Field(default=None, description="Kohn–Sham gap, eV; None where the engine has no bands")
    band_structure: dict[str, Any] | None = Field(
        default=None,
        description="Bands along a path: k-points (fractional), labels, eigenvalues (eV), Fermi level (eV)",
    )
    thermal_conductivity: Conductivity | None = Field(
        default=None, description="Lattice thermal conductivity; None where the engine computes none"
    )
    translation_search: TranslationTrials | None = Field(
        default=None, description="Search over the translations of a grain boundary; None where the engine does none"
    )
    wall_time: float | None = Field(default=None, description="Time the engine took, s")
    folder: str | None = Field(default=None, description="Folder it ran in, host:path")


class Engine(BaseModel, ABC):
    """Settings of one engine: a row of a campaign's ``calculate:`` list.

    A subclass names itself in ``engine``, adds its settings as fields, and gives the Maker that runs it and the
    parser that reads it. Two engines with equal settings give the same hash, on every machine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: What to type to get this engine, shown when it is missing.
    install_hint: ClassVar[str] = ""
    #: Fields that do not change the numbers (where it runs, how much is stored), left out of the hash.
    not_hashed: ClassVar[frozenset[str]] = frozenset()
    #: Fields that say how the result is reached, not what it is: a resubmission may change these, and no others.
    adjustable: ClassVar[frozenset[str]] = frozenset({"steps"})
    #: Fields of :class:`Calculation` that it never fills.
    never_gives: ClassVar[frozenset[str]] = frozenset({"thermal_conductivity", "translation_search"})
    #: Families of candidates that it computes; None for all.
    domains: ClassVar[frozenset[str] | None] = None
    #: Whether calculations are so short that many share one allocation on a cluster.
    packed: ClassVar[bool] = False

    engine: str = Field(description="Name of the engine")
    task: Literal["relax", "static"] = Field(
        default="relax", description="relax atoms and cell, or compute the structure as it is"
    )

    @abstractmethod
    def check(self) -> None:
        """Find out whether it can run here, without loading it.

        Raises
        ------
        EngineNotAvailableError
            With ``install_hint``.
        """

    def resolved(self, *, layered: bool) -> Self:
        """Replace every "auto" by what it means for this system, before hashing.

        Parameters
        ----------
        layered
            Whether the structures are held together by dispersion.
        """
        del layered
        return self

    def fixed_cell(self) -> Self:
        """The same settings with the cell held while the atoms relax: for molecules in a box."""
        return self.model_copy(update={"relax_cell": False}) if "relax_cell" in type(self).model_fields else self

    @property
    def runs_as(self) -> str:
        """Name of the engine whose resources its jobs ask a cluster for, and with whose jobs they share allocations."""
        return self.engine

    @property
    def is_selective(self) -> bool:
        """Whether there are compositions that it :meth:`refuses`, so that candidates are worth going through."""
        return False

    def refuses(self, formula: str) -> str | None:
        """Say why it cannot compute a composition, in a sentence; None where it can.

        Parameters
        ----------
        formula
            Of a candidate.
        """
        del formula
        return None

    @property
    def learns(self) -> bool:
        """Whether its results follow from those of a training set too, which the starting structure then carries."""
        return False

    @property
    def wants_bands(self) -> bool:
        """Whether a band structure is computed, along the property "k_path" of the structure where it has one."""
        return bool(getattr(self, "bands", False))

    def settings_hash(self, previous: str | None = None) -> str:
        """Hash the settings, and those of the steps that made the starting structure.

        Every digit of a number counts (a convergence of 1e-7 is not one of 1e-8).

        Parameters
        ----------
        previous
            Hash of the step below on the ladder; None when the structure is the generated one.

        Raises
        ------
        ValueError
            A setting is still "auto": it means different things for different systems; call ``resolved`` first.
        """
        settings = self.model_dump(mode="json", exclude=set(self.not_hashed))
        unresolved = [name for name, value in settings.items() if value == "auto"]
        if unresolved:
            raise ValueError(
                f"settings {unresolved} of engine {self.engine!r} are 'auto': call resolved() before hashing"
            )
        return stable_hash({"settings": _exact(settings), "previous": previous})

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the engine and the packages that determine its numbers."""

    @abstractmethod
    def maker(self) -> Maker:
        """Give the atomate2 Maker; ``maker().make(structure)`` is the job or flow."""

    @abstractmethod
    def parse(self, task_doc: Any) -> Calculation:
        """Read the Maker's output document, as the object or as the dict stored in the database."""

    def last_structure(self, folder: Path) -> Structure | None:
        """Last geometry that a cut-off relaxation left in its folder; None where there is none.

        Files that are partial, empty or something else are no error: they give the last geometry that is whole, or
        None.

        Parameters
        ----------
        folder
            Folder the relaxation ran in.
        """
        del folder
        return None

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate the time of one calculation on one core, s; used by ``hts check`` only."""
        return 60.0 * n_atoms


def _exact(value: Any) -> Any:
    """Spell floats out in 12 significant digits, so that small numbers keep their differences in the hash."""
    if isinstance(value, float) and value != int(value):
        return f"{value:.12g}"
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return value
