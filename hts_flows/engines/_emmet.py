"""Read emmet's and atomate2's documents of DFT programs."""

from __future__ import annotations

from typing import Any

from hts_flows.engines._ase import lookup, max_norm, state_of
from hts_flows.engines.base import Calculation


def parse_task_doc(task_doc: Any, *, static: bool) -> Calculation:
    """Read a TaskDoc of VASP or CP2K.

    Parameters
    ----------
    task_doc
        The document, or the dict read back from a JobStore.
    static
        Whether it was one calculation without relaxation.

    Returns
    -------
    Calculation
        Energies in eV; the stress (kbar) becomes a pressure in GPa.
    """
    from pymatgen.core import Structure

    structure = lookup(task_doc, "output", "structure") or lookup(task_doc, "structure")
    if isinstance(structure, dict):
        structure = Structure.from_dict(structure)
    last = _last_calculation(task_doc)
    stress = lookup(task_doc, "output", "stress")
    moments = structure.site_properties.get("magmom")
    steps = lookup(last, "output", "ionic_steps")
    return Calculation(
        structure=structure,
        energy=lookup(task_doc, "output", "energy"),
        converged=_has_completed(task_doc, last),
        max_force=max_norm(lookup(task_doc, "output", "forces")),
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
    completed = lookup(last, "has_vasp_completed") if last is not None else None
    if completed is None:
        completed = lookup(last, "has_cp2k_completed") if last is not None else None
    value = getattr(completed, "value", completed)
    return state_of(task_doc) == "successful" and value in {None, True, "successful"}
