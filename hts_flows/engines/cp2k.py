"""CP2K: density-functional theory with Gaussians and plane waves, free software."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from hts_flows.engines._packages import package_versions
from hts_flows.engines._programs import cp2k_data, require_program
from hts_flows.engines.base import Calculation, Engine
from hts_flows.errors import EngineNotAvailableError

if TYPE_CHECKING:
    from atomate2.cp2k.jobs.base import BaseCp2kMaker

#: eV/Å in Hartree/Bohr, and GPa in bar.
HARTREE_PER_BOHR = 1 / 51.422067
BAR_PER_GPA = 1e4


class Cp2k(Engine):
    """CP2K through atomate2 (T. D. Kühne et al., J. Chem. Phys. 152, 194103 (2020)): MOLOPT basis, GTH potentials.

    A cut-off relaxation starts again from its first structure: CP2K's restart files are not read (``last_structure``
    is None).
    """

    install_hint: ClassVar[str] = (
        "apt-get install cp2k cp2k-data; pmg config --cp2k /usr/share/cp2k ~/cp2k_data; "
        "pmg config --add PMG_CP2K_DATA_DIR ~/cp2k_data; CP2K_CMD in ~/.atomate2.yaml, e.g. 'cp2k.psmp'"
    )
    not_hashed: ClassVar[frozenset[str]] = frozenset({"command"})

    engine: Literal["cp2k"] = Field(default="cp2k", description="Name of the engine")
    functional: Literal["auto", "PBE", "PBE-D3BJ"] = Field(
        default="auto", description="Functional; auto = PBE-D3BJ for layered systems, PBE for others"
    )
    relax_cell: bool = Field(default=True, description="Relax the cell too (CELL_OPT), not the atoms alone (GEO_OPT)")
    cutoff: float | None = Field(
        default=None, ge=100, le=5000, description="Plane-wave cutoff of the density, Ry; from the basis when left out"
    )
    rel_cutoff: float = Field(default=50, ge=20, le=200, description="Cutoff of the reference grid, Ry")
    k_density: float = Field(default=64, gt=0, le=2000, description="k-points per volume of reciprocal space, Å³")
    eps_scf: float = Field(default=1e-6, gt=0, le=1e-3, description="SCF criterion of CP2K")
    fmax: float = Field(default=0.02, gt=0, le=1, description="A relaxation stops when every force is below this, eV/Å")
    pressure_tolerance: float = Field(default=0.1, gt=0, le=10, description="… and the pressure below this, GPa")
    steps: int = Field(default=200, ge=1, le=10_000, description="Most ionic steps")
    command: str | None = Field(default=None, description="Command that runs CP2K; CP2K_CMD of atomate2 when left out")

    def resolved(self, *, layered: bool) -> Self:
        """Settle the functional."""
        if self.functional != "auto":
            return self
        return self.model_copy(update={"functional": "PBE-D3BJ" if layered else "PBE"})

    def check(self) -> None:
        """Find out whether the command is on PATH and basis sets are configured."""
        require_program("cp2k", self.command, "CP2K_CMD", self.install_hint)
        if cp2k_data() is None:
            raise EngineNotAvailableError(
                "engine 'cp2k' finds no basis sets: PMG_CP2K_DATA_DIR is not set to a folder with one file an element",
                self.install_hint,
            )

    def versions(self) -> dict[str, str]:
        """Versions of the packages that write inputs and read outputs; CP2K's own is in its output."""
        return package_versions("atomate2", "pymatgen", "custodian")

    def input_settings(self) -> dict[str, Any]:
        """Give the updates of atomate2's base set that follow from these settings."""
        settings: dict[str, Any] = {
            "xc_functionals": "PBE",
            "cutoff": self.cutoff or 0,
            "rel_cutoff": self.rel_cutoff,
            "eps_scf": self.eps_scf,
            # k-points need diagonalisation: the orbital transformation of the base set knows Γ only
            "ot": False,
        }
        if self.resolved(layered=False).functional == "PBE-D3BJ":
            settings["activate_vdw_potential"] = {
                "dispersion_functional": "PAIR_POTENTIAL",
                "potential_type": "DFTD3(BJ)",
            }
        if self.task == "relax":
            settings["activate_motion"] = {
                "optimizer": "BFGS",
                "trust_radius": 0.1,
                "max_iter": self.steps,
                "max_force": self.fmax * HARTREE_PER_BOHR,
            }
        return settings

    def maker(self) -> BaseCp2kMaker:
        """Give atomate2's CellOptMaker, RelaxMaker or StaticMaker with these settings."""
        from hts_flows.engines._cp2k_maker import cp2k_maker

        return cp2k_maker(
            run_type="static" if self.task == "static" else "cell" if self.relax_cell else "atoms",
            settings=self.input_settings(),
            pressure_tolerance=self.pressure_tolerance * BAR_PER_GPA,
            k_density=self.k_density,
            command=self.command,
        )

    def parse(self, task_doc: Any) -> Calculation:
        """Read atomate2's CP2K TaskDocument."""
        from hts_flows.engines._emmet import parse_task_doc

        return parse_task_doc(task_doc, program="cp2k", static=self.task == "static")

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate from one static of Si (160 s), scaled; relaxations were not run."""
        return 80.0 * n_atoms**1.5 * (1 if self.task == "static" else 20)
