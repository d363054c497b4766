"""phono3py: lattice thermal conductivity, with the forces of any other engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, ValidationError, ValidationInfo, field_validator

from hts_flows.engines._forces import ForcesEngine
from hts_flows.engines._packages import package_versions, require_modules
from hts_flows.engines.base import Calculation, Engine

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from hts_flows.engines._phono3py_maker import ConductivityMaker

#: What may be written where several kinds of values are allowed.
EXPECTED = {
    "supercell": "auto, or three whole numbers [n, n, n] from 1 to 20",
    "snapshots": "auto, systematic, or a whole number from 1 to 10000",
    "cutoff": "auto, null, or a length up to 50 Å",
    "mesh": "three whole numbers [n, n, n] from 1 to 100, or a length up to 500 Å",
}

Repetition = Annotated[int, Field(ge=1, le=20)]
Points = Annotated[int, Field(ge=1, le=100)]


class Phono3py(ForcesEngine):
    """Lattice thermal conductivity by phono3py (A. Togo, L. Chaput, T. Tadano, J. Phys.: Condens. Matter 35, 353001).

    The structure is relaxed (``task: static``: taken as it is); random displacements in a supercell and the engine
    under ``forces`` give force constants of second and third order, fitted with symfc (A. Seko, A. Togo, Phys. Rev. B
    110, 214302 (2024)); the Boltzmann equation is solved in the relaxation-time approximation. Boundaries, four-phonon
    scattering and the splitting of optical modes by charges are left out.
    """

    install_hint: ClassVar[str] = "in a clone of hts_flows: pip install --editable '.[conductivity]'"
    never_gives: ClassVar[frozenset[str]] = frozenset({"translation_search"})

    engine: Literal["phono3py"] = Field(default="phono3py", description="Name of the engine")
    forces: SerializeAsAny[Engine] = Field(
        default_factory=lambda: Phono3py.read_forces({"engine": "sevennet"}),
        description="Engine of the relaxation and the forces, with its settings: {engine: sevennet}; its 'task', "
        "'fmax' and 'steps' stand beside 'forces'",
    )
    fmax: float = Field(
        default=1e-3, gt=0, le=1, description="The relaxation stops when every force is below this, eV/Å"
    )
    steps: int = Field(default=300, ge=2, le=1000, description="Most steps of the relaxation; reached = not converged")
    supercell: Literal["auto"] | tuple[Repetition, Repetition, Repetition] = Field(
        default="auto",
        description="Repetitions [n, n, n] of the conventional cell; auto = at least 'min_length' wide where "
        "'max_atoms' allows it",
    )
    min_length: float = Field(default=10, gt=0, le=100, description="Least width of an automatic supercell, Å")
    max_atoms: int = Field(default=100, ge=8, le=2000, description="Most atoms of an automatic supercell")
    snapshots: Literal["auto", "systematic"] | Annotated[int, Field(ge=1, le=10_000)] = Field(
        default="auto",
        description="Number of supercells with random displacements; auto = two forces a parameter of the force "
        "constants; systematic = the complete set of displaced atoms and pairs",
    )
    distance: float = Field(default=0.03, gt=0, le=0.5, description="Displacement of an atom, Å")
    cutoff: Annotated[float, Field(gt=0, le=50)] | Literal["auto"] | None = Field(
        default="auto",
        description="Largest distance of two atoms of a third-order force constant, Å; null = no limit; auto = none, "
        "or as long as 3000 parameters allow",
    )
    mesh: Annotated[float, Field(gt=0, le=500)] | tuple[Points, Points, Points] = Field(
        default=40.0,
        description="q-points [n, n, n] along the reciprocal vectors of the primitive cell, or a length, Å: a "
        "reciprocal vector (without 2π) times it is the number of points",
    )
    temperatures: tuple[Annotated[float, Field(gt=0, le=5000)], ...] = Field(
        default=(200.0, 300.0, 500.0), min_length=1, max_length=100, description="Temperatures of the conductivity, K"
    )
    isotopes: bool = Field(
        default=True,
        description="Scattering by the natural isotopes; without it, some crystals with a wide gap between acoustic "
        "and optical modes have modes on the mesh that nothing scatters",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the random displacements")

    @field_validator("mesh", "cutoff", "snapshots", "supercell", mode="wrap")
    @classmethod
    def _in_one_sentence(cls, value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        """Say once what may be written, not once for each kind of value."""
        if not isinstance(value, bool):
            with contextlib.suppress(ValidationError):
                return handler(value)
        raise ValueError(f"must be {EXPECTED[str(info.field_name)]}")

    def relaxing(self) -> Engine:
        """Give the engine that relaxes the structure."""
        return self.forces.model_copy(update={"task": "relax", "fmax": self.fmax, "steps": self.steps})

    def computing(self) -> Engine:
        """Give the engine that computes the forces of a structure as it is, without bands."""
        bands = {"bands": False} if self.forces.wants_bands else {}
        return self.forces.model_copy(update={"task": "static", **bands})

    @property
    def wants_bands(self) -> bool:
        """Whether the engine of the forces computes a band structure of the relaxed cell."""
        return self.forces.wants_bands

    def check(self) -> None:
        """Find out whether phono3py, symfc and the engine of the forces are installed."""
        require_modules("phono3py", ("phono3py", "phonopy", "symfc"), self.install_hint)
        self.forces.check()

    def versions(self) -> dict[str, str]:
        """Versions of phono3py, phonopy and symfc, and those of the engine of the forces."""
        return package_versions("phono3py", "phonopy", "symfc", "spglib") | self.forces.versions()

    def maker(self) -> ConductivityMaker:
        """Give the Maker: one job where forces come from an ASE calculator, else jobs that are added as it runs."""
        from hts_flows.engines._ase import AseEngine
        from hts_flows.engines._phono3py_maker import ConductivityMaker

        return ConductivityMaker(
            name=f"phono3py {self.task}",
            settings=self.model_dump(mode="json"),
            one_job=isinstance(self.forces, AseEngine),
        )

    def parse(self, task_doc: Any) -> Calculation:
        """Read the Maker's document."""
        from hts_flows.engines._ase import lookup

        return Calculation.model_validate(lookup(task_doc, "calculation"))

    def last_structure(self, folder: Path) -> Structure | None:
        """Last geometry of a relaxation that was cut off, where the engine of the forces keeps it in this folder."""
        from hts_flows.engines._ase import AseEngine

        ended = self.task == "static" or (folder / "supercells").is_dir()
        return None if ended or not isinstance(self.forces, AseEngine) else self.relaxing().last_structure(folder)

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate from what was measured: about 12 supercells of up to 100 atoms, and a mesh whose time is N⁶."""
        supercell = min(self.max_atoms, max(64, 8 * n_atoms))
        number = self.snapshots if isinstance(self.snapshots, int) else 12 if self.snapshots == "auto" else 150
        forces = number * self.computing().estimate_seconds(supercell)
        points = (
            self.mesh / 3.5 if isinstance(self.mesh, float) else (self.mesh[0] * self.mesh[1] * self.mesh[2]) ** (1 / 3)
        )
        kappa = 3 * (points / 9) ** 6 * (n_atoms / 2) ** 2
        relaxation = self.relaxing().estimate_seconds(n_atoms) if self.task == "relax" else 0
        return 3 + relaxation + forces + kappa
