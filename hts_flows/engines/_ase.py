"""Settings and parsing shared by the engines that run through ASE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field

from hts_flows.engines.base import Calculation, Engine

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

#: Curvature that BFGS starts from, eV/Å²; ASE's own 70 is stiffer than layered compounds are.
BFGS_CURVATURE = 50.0

Optimizer = Literal["BFGS", "LBFGS", "BFGSLineSearch", "FIRE"]


class AseEngine(Engine):
    """An engine whose forces come from an ASE calculator and whose relaxation is ASE's."""

    not_hashed: ClassVar[frozenset[str]] = frozenset({"store_trajectory"})
    adjustable: ClassVar[frozenset[str]] = frozenset({"steps", "optimizer"})

    fmax: float = Field(default=0.02, gt=0, le=1, description="A relaxation stops when every force is below this, eV/Å")
    steps: int = Field(default=300, ge=2, le=100_000, description="Most steps of a relaxation; reached = not converged")
    relax_cell: bool = Field(default=True, description="Relax the cell too, not the atoms alone")
    optimizer: Optimizer = Field(default="BFGS", description="Optimizer of ASE")
    store_trajectory: bool = Field(
        default=False, description="Keep every step of the relaxation, in the JobStore's additional store 'data'"
    )

    def maker_options(self) -> dict[str, Any]:
        """Give the arguments of atomate2's AseRelaxMaker that follow from these settings."""
        options: dict[str, Any] = {
            "ionic_step_data": (),
            "store_trajectory": "full" if self.store_trajectory else "no",
        }
        if self.task == "static":
            return options | {"relax_cell": False, "steps": 1}
        relax: dict[str, Any] = {"fmax": self.fmax}
        if self.optimizer == "BFGS":
            relax["alpha"] = BFGS_CURVATURE
        return options | {
            "relax_cell": self.relax_cell,
            "steps": self.steps,
            "relax_kwargs": relax,
            "optimizer_kwargs": {"optimizer": self.optimizer},
        }

    def parse(self, task_doc: Any) -> Calculation:
        """Read atomate2's ASE or force-field document."""
        return parse_ase(task_doc, static=self.task == "static")

    def last_structure(self, folder: Path) -> Structure | None:
        """Last geometry of a relaxation by this package's Makers that was cut off; None after one that ended."""
        from hts_flows.engines._restart import last_recorded

        return last_recorded(folder) if self.task == "relax" else None


class PotentialEngine(AseEngine):
    """An interatomic potential, with or without Grimme's D3(BJ) dispersion for PBE.

    References
    ----------
    S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011).
    """

    not_hashed: ClassVar[frozenset[str]] = frozenset({"store_trajectory", "threads", "device"})
    packed: ClassVar[bool] = True
    never_gives: ClassVar[frozenset[str]] = frozenset(
        {"thermal_conductivity", "translation_search", "band_gap", "band_structure"}
    )

    dispersion: bool | Literal["auto"] = Field(
        default="auto", description="Add D3(BJ) for PBE to the potential; auto = for layered systems only"
    )
    threads: int = Field(
        default=1, ge=1, le=256, description="Threads of PyTorch; more than one is slower when workers share the cores"
    )
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where PyTorch computes")

    def resolved(self, *, layered: bool) -> Self:
        """Settle whether dispersion is added."""
        return self.model_copy(update={"dispersion": layered}) if self.dispersion == "auto" else self


def lookup(document: Any, *path: str) -> Any:
    """Follow keys or attributes into a document; None when one of them is missing.

    Parameters
    ----------
    document
        A pydantic document, or the dict it was stored as.
    path
        Names from the outside in.
    """
    for name in path:
        document = document.get(name) if isinstance(document, dict) else getattr(document, name, None)
        if document is None:
            return None
    return document


def state_of(task_doc: Any) -> str | None:
    """State of an emmet or atomate2 document ("successful", "failed", …) as text."""
    state = lookup(task_doc, "state")
    return getattr(state, "value", state)


def parse_ase(task_doc: Any, *, static: bool) -> Calculation:
    """Read an atomate2 AseStructureTaskDoc or ForceFieldTaskDocument.

    Parameters
    ----------
    task_doc
        The document, or the dict read back from a JobStore.
    static
        Whether it was one calculation without relaxation.

    Returns
    -------
    Calculation
        Forces in eV/Å; the stress (kbar, positive when compressed) becomes a pressure in GPa.
    """
    from pymatgen.core import Structure

    structure = lookup(task_doc, "structure")
    if isinstance(structure, dict):
        structure = Structure.from_dict(structure)
    forces = lookup(task_doc, "output", "forces")
    stress = lookup(task_doc, "output", "stress")
    computed = lookup(task_doc, "output", "n_steps")
    moments = structure.site_properties.get("magmom")
    # atomate2 records the last geometry of a relaxation twice
    n_steps = computed if computed is None or static else computed - 1
    return Calculation(
        structure=structure,
        energy=lookup(task_doc, "output", "energy"),
        converged=True if static else state_of(task_doc) == "successful",
        max_force=max_norm(forces),
        pressure=None if stress is None else sum(stress[axis][axis] for axis in range(3)) / 30,
        n_steps=n_steps,
        magnetic_moments=None if moments is None else [float(value) for value in moments],
        wall_time=lookup(task_doc, "output", "elapsed_time"),
        folder=lookup(task_doc, "dir_name"),
    )


def max_norm(vectors: Any) -> float | None:
    """Length of the longest vector; None without vectors.

    Parameters
    ----------
    vectors
        Shape (N, 3).
    """
    if vectors is None or len(vectors) == 0:
        return None
    return max(sum(float(part) ** 2 for part in vector) ** 0.5 for vector in vectors)
