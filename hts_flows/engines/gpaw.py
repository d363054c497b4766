"""GPAW: density-functional theory with plane waves, free software, one core a calculation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from hts_flows.engines._ase import AseEngine, Optimizer, lookup
from hts_flows.engines._packages import package_versions, require_modules
from hts_flows.engines.base import Calculation

if TYPE_CHECKING:
    from hts_flows.engines._gpaw_maker import GpawMaker

#: Functionals that were run, and what GPAW calls them; PBE-D3BJ adds Grimme's D3(BJ) to PBE.
FUNCTIONALS = {
    "PBE": "PBE",
    "PBE-D3BJ": "PBE",
    "vdW-DF": "vdW-DF",
    "vdW-DF2": "vdW-DF2",
    "optB88-vdW": "optB88-vdW",
    "BEEF-vdW": "BEEF-vdW",
}


class Gpaw(AseEngine):
    """GPAW in plane-wave mode (Mortensen et al., J. Chem. Phys. 160, 092503 (2024)).

    Energies of different structures are comparable: same cutoff, same density of k-points, same functional.
    """

    install_hint: ClassVar[str] = (
        "apt-get install libxc-dev libopenblas-dev g++, then in a clone of hts_flows: make gpaw (builds 2–3 min)"
    )

    adjustable: ClassVar[frozenset[str]] = frozenset({"steps", "optimizer", "scf_steps", "symmetry"})

    engine: Literal["gpaw"] = Field(default="gpaw", description="Name of the engine")
    xc: Literal["auto", "PBE", "PBE-D3BJ", "vdW-DF", "vdW-DF2", "optB88-vdW", "BEEF-vdW"] = Field(
        default="auto", description="Functional; auto = optB88-vdW for layered systems, PBE for others"
    )
    cutoff: float = Field(default=400, ge=150, le=2000, description="Plane-wave cutoff, eV")
    kspacing: float = Field(
        default=0.35, gt=0, le=2, description="Largest distance of k-points, 1/Å (2π included); Γ is always one of them"
    )
    smearing: float = Field(default=0.1, gt=0, le=1, description="Width of the Fermi–Dirac occupations, eV")
    spin: bool | Literal["magnetic-elements"] = Field(
        default="magnetic-elements", description="Spin-polarised: yes, no, or where an open d or f shell may be"
    )
    symmetry: bool = Field(
        default=True, description="Use crystal symmetry; a relaxation that breaks it starts again without"
    )
    scf_energy: float = Field(
        default=5e-5, gt=0, le=1e-2, description="Change of energy at which the SCF loop stops, eV per valence electron"
    )
    scf_steps: int = Field(default=200, ge=1, description="Most iterations of the SCF loop; reached = the job fails")
    bands: bool = Field(
        default=False,
        description="Band structure and gap; on the host's path for layered compounds, else the cell's own",
    )
    band_points: int = Field(default=60, ge=2, le=2000, description="Number of k-points on it, at least five a piece")
    fmax: float = Field(default=0.05, gt=0, le=1, description="A relaxation stops when every force is below this, eV/Å")
    steps: int = Field(default=100, ge=2, le=10_000, description="Most steps of a relaxation; reached = not converged")
    optimizer: Optimizer = Field(default="BFGS", description="Optimizer of ASE")

    def resolved(self, *, layered: bool) -> Self:
        """Settle the functional."""
        if self.xc != "auto":
            return self
        return self.model_copy(update={"xc": "optB88-vdW" if layered else "PBE"})

    def check(self) -> None:
        """Find out whether GPAW and its PAW data sets are installed."""
        modules = ("gpaw", "gpaw_data", *(("dftd3",) if self.xc == "PBE-D3BJ" else ()))
        require_modules("gpaw", modules, self.install_hint)

    def versions(self) -> dict[str, str]:
        """Versions of GPAW, its data sets and ASE."""
        extra = ("dftd3",) if self.xc == "PBE-D3BJ" else ()
        return package_versions("gpaw", "gpaw-data", *extra, "ase", "atomate2")

    def maker(self) -> GpawMaker:
        """Give the Maker."""
        from hts_flows.engines._gpaw_maker import GpawMaker

        functional = self.resolved(layered=False).xc
        return GpawMaker(
            name=f"GPAW {self.task}",
            xc=FUNCTIONALS[functional],
            dispersion=functional == "PBE-D3BJ",
            cutoff=self.cutoff,
            kspacing=self.kspacing,
            smearing=self.smearing,
            spin=self.spin,
            symmetry=self.symmetry,
            scf_energy=self.scf_energy,
            scf_steps=self.scf_steps,
            band_points=self.band_points if self.bands else 0,
            **self.maker_options(),
        )

    def parse(self, task_doc: Any) -> Calculation:
        """Read the Maker's document.

        Raises
        ------
        ValueError
            The band structure is still in the JobStore's additional store: read with ``load=True``.
        """
        bands = lookup(task_doc, "band_structure")
        if bands and "blob_uuid" in bands:
            raise ValueError("the band structure was not read from the store: use get_output(uuid, load=True)")
        calculation = super().parse(task_doc)
        return calculation.model_copy(
            update={"band_gap": lookup(task_doc, "band_gap"), "band_structure": dict(bands) if bands else None}
        )

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate from what was measured for LiC6 and Si, scaled by cutoff and k-points."""
        k_points = max(1.0, 25 * (0.35 / self.kspacing) ** 3 * 7 / n_atoms)
        scf = 0.02 * n_atoms**1.5 * k_points * (self.cutoff / 400) ** 1.5 * (2 if "vdW" in self.xc else 1)
        return 3 + scf * (1 if self.task == "static" else 12)
