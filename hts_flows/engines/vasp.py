"""VASP: production density-functional theory; needs a licence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator

from hts_flows.engines._packages import package_versions
from hts_flows.engines._programs import require_program, vasp_potentials
from hts_flows.engines._vasp_functionals import FUNCTIONAL_TAGS, Scalar
from hts_flows.engines.base import Calculation, Engine
from hts_flows.errors import EngineNotAvailableError

if TYPE_CHECKING:
    from pathlib import Path

    from jobflow import Maker
    from pymatgen.core import Structure

Functional = Literal[
    "auto", "PBE", "PBEsol", "PBE-D3BJ", "optB88-vdW", "optB86b-vdW", "rev-vdW-DF2", "r2SCAN", "r2SCAN+rVV10"
]

#: INCAR tags that a setting of its own decides.
OWN_TAGS = {
    "ENCUT": "encut",
    "KSPACING": "kspacing",
    "SIGMA": "sigma",
    "EDIFF": "ediff",
    "EDIFFG": "fmax",
    "NSW": "steps",
    "ISIF": "relax_cell",
    "ISPIN": "spin",
    **{tag: "functional" for tags in FUNCTIONAL_TAGS.values() for tag in tags if tag != "ALGO"},
}


class Vasp(Engine):
    """VASP through atomate2 (G. Kresse, J. Furthmüller, Phys. Rev. B 54, 11169 (1996))."""

    install_hint: ClassVar[str] = (
        "VASP needs a licence (https://www.vasp.at). Then set VASP_CMD in ~/.atomate2.yaml, e.g. 'srun vasp_std', "
        "and PMG_VASP_PSP_DIR in ~/.config/.pmgrc.yaml (pmg config -p FROM TO; pmg config --add PMG_VASP_PSP_DIR TO)"
    )
    not_hashed: ClassVar[frozenset[str]] = frozenset({"command"})

    engine: Literal["vasp"] = Field(default="vasp", description="Name of the engine")
    functional: Functional = Field(
        default="auto", description="Functional; auto = PBE-D3BJ for layered systems, PBE for others"
    )
    relaxations: Literal[1, 2] = Field(
        default=2, description="2: the second takes up the basis of the relaxed cell; atoms alone are relaxed once"
    )
    relax_cell: bool = Field(default=True, description="Relax the cell too (ISIF 3), not the atoms alone (ISIF 2)")
    encut: float = Field(default=520, ge=200, le=1500, description="Plane-wave cutoff, eV")
    kspacing: float = Field(default=0.25, gt=0, le=1, description="Largest distance of k-points, 1/Å (2π included)")
    sigma: float = Field(default=0.05, gt=0, le=1, description="Width of the Gaussian smearing, eV")
    ediff: float = Field(default=1e-5, gt=0, le=1e-2, description="SCF criterion, eV")
    fmax: float = Field(default=0.02, gt=0, le=1, description="A relaxation stops when every force is below this, eV/Å")
    steps: int = Field(default=99, ge=1, le=1000, description="Most ionic steps of one relaxation")
    spin: bool = Field(default=True, description="Spin-polarised, from the moments of atomate2's base set")
    hubbard_u: bool = Field(default=False, description="PBE+U of the Materials Project for oxides and fluorides")
    potcar: Literal["PBE_52", "PBE_54", "PBE_64"] = Field(default="PBE_54", description="Release of the PAW potentials")
    incar: dict[str, Scalar] = Field(default_factory=dict, description="Further INCAR tags, e.g. {NCORE: 4}; they win")
    command: str | None = Field(default=None, description="Command that runs VASP; VASP_CMD of atomate2 when left out")

    @field_validator("incar")
    @classmethod
    def _no_own_tags(cls, tags: dict[str, Scalar]) -> dict[str, Scalar]:
        upper = {tag.upper(): value for tag, value in tags.items()}
        clashes = sorted(set(upper) & set(OWN_TAGS))
        if clashes:
            told = ", ".join(f"{tag} follows from '{OWN_TAGS[tag]}'" for tag in clashes)
            raise ValueError(f"set these by their own key, not under 'incar': {told}")
        return dict(sorted(upper.items()))

    def resolved(self, *, layered: bool) -> Self:
        """Settle the functional."""
        if self.functional != "auto":
            return self
        return self.model_copy(update={"functional": "PBE-D3BJ" if layered else "PBE"})

    def check(self) -> None:
        """Find out whether the command is on PATH and the potentials are configured."""
        require_program("vasp", self.command, "VASP_CMD", self.install_hint)
        if vasp_potentials() is None:
            raise EngineNotAvailableError(
                "engine 'vasp' finds no PAW potentials: PMG_VASP_PSP_DIR is not set to an existing folder",
                self.install_hint,
            )

    def versions(self) -> dict[str, str]:
        """Versions of the packages that write inputs and read outputs; VASP's own is in its output."""
        return package_versions("atomate2", "pymatgen", "custodian", "emmet-core")

    def incar_tags(self) -> dict[str, Scalar | None]:
        """INCAR tags that follow from these settings, ``incar`` last; None removes a tag of atomate2's base set."""
        functional = self.resolved(layered=False).functional
        tags: dict[str, Scalar | None] = {
            "LASPH": True,
            "PREC": "Accurate",
            "LREAL": False,
            "LVTOT": False,
            "LAECHG": False,
            "ENCUT": self.encut,
            "KSPACING": self.kspacing,
            "KGAMMA": True,
            "ISMEAR": 0,
            "SIGMA": self.sigma,
            "EDIFF": self.ediff,
            "ISPIN": 2 if self.spin else 1,
            **FUNCTIONAL_TAGS[functional],
        }
        if not self.hubbard_u:
            tags |= {"LDAU": False}
        if self.task == "relax":
            tags |= {"IBRION": 2, "ISIF": 3 if self.relax_cell else 2, "NSW": self.steps, "EDIFFG": -self.fmax}
        return {**tags, **self.incar}

    def maker(self) -> Maker:
        """Give atomate2's DoubleRelaxMaker, RelaxMaker or StaticMaker with these settings."""
        from hts_flows.engines._vasp_maker import vasp_maker

        return vasp_maker(
            task=self.task,
            double=self.task == "relax" and self.relaxations == 2 and self.relax_cell,  # noqa: PLR2004 (two)
            tags=self.incar_tags(),
            potcar=self.potcar,
            command=self.command,
        )

    def parse(self, task_doc: Any) -> Calculation:
        """Read emmet's TaskDoc."""
        from hts_flows.engines._emmet import parse_task_doc

        return parse_task_doc(task_doc, program="vasp", static=self.task == "static")

    def last_structure(self, folder: Path) -> Structure | None:
        """Last geometry of a cut-off relaxation: CONTCAR, else the last whole one in XDATCAR, with OUTCAR's moments."""
        from hts_flows.engines._restart import last_of_vasp

        return last_of_vasp(folder) if self.task == "relax" else None

    def estimate_seconds(self, n_atoms: int) -> float:
        """Rough guess for one node: nothing was measured, as VASP needs a licence."""
        static = 60 + 20 * n_atoms**1.7 * (self.encut / 520) ** 1.5 * (0.25 / self.kspacing)
        return static * (1 if self.task == "static" else 20)
