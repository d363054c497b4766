"""Read emmet's and atomate2's documents of DFT programs."""

from __future__ import annotations

from typing import Any, Literal

from hts_flows.engines._ase import lookup, max_norm, state_of
from hts_flows.engines.base import Calculation

#: Hartree/Bohr in eV/Å.
EV_PER_ANGSTROM = 51.422067


def parse_task_doc(task_doc: Any, *, program: Literal["vasp", "cp2k"], static: bool) -> Calculation:
    """Read a TaskDoc of VASP or CP2K.

    Parameters
    ----------
    task_doc
        The document, or the dict read back from a JobStore.
    program
        Decides on units: VASP's forces are in eV/Å and its stress in kbar; pymatgen leaves CP2K's forces in
        Hartree/Bohr, and its stress in a unit that depends on the release of CP2K: no pressure is given.
    static
        Whether it was one calculation without relaxation.

    Returns
    -------
    Calculation
        Energy in eV, forces in eV/Å, pressure in GPa.
    """
    from pymatgen.core import Structure

    structure = lookup(task_doc, "output", "structure") or lookup(task_doc, "structure")
    if isinstance(structure, dict):
        structure = Structure.from_dict(structure)
    last = _last_calculation(task_doc)
    stress = lookup(task_doc, "output", "stress") if program == "vasp" else None
    force = max_norm(lookup(task_doc, "output", "forces"))
    moments = structure.site_properties.get("magmom")
    steps = lookup(last, "output", "ionic_steps")
    return Calculation(
        structure=structure,
        energy=lookup(task_doc, "output", "energy"),
        converged=_has_completed(task_doc, last),
        max_force=force if force is None or program == "vasp" else force * EV_PER_ANGSTROM,
        pressure=None if stress is None else sum(stress[axis][axis] for axis in range(3)) / 30,
        n_steps=1 if static else None if steps is None else len(steps),
        magnetic_moments=None if moments is None else [float(value) for value in moments],
        band_gap=lookup(task_doc, "output", "bandgap"),
        wall_time=lookup(task_doc, "run_stats", "overall", "elapsed_time"),
        folder=lookup(task_doc, "dir_name"),
    )


def _last_calculation(task_doc: Any) -> Any:
    """Give the last run of the folder: emmet lists them newest first."""
    runs = lookup(task_doc, "calcs_reversed")
    return runs[0] if runs else None


def _has_completed(task_doc: Any, last: Any) -> bool:
    completed = [lookup(last, name) for name in ("has_vasp_completed", "has_cp2k_completed")]
    values = {getattr(value, "value", value) for value in completed}
    return state_of(task_doc) == "successful" and values <= {None, True, "successful"}
