"""Bulk phases as they are: empty hosts and the elemental phases that energies refer to."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from hts_flows.candidates import Candidate

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from hts_flows.inventories import Phase


@cache
def bulk_candidate(phase: Phase) -> Candidate:
    """Give the candidate of a phase; phases with the same numbers share its id, whatever they are called."""
    inputs = phase.content()
    if getattr(phase, "molecule", False):
        inputs["molecule"] = True
    return Candidate(domain="bulk", inputs=inputs, label=phase.name, formula=phase.formula)


def is_molecule(candidate: Candidate) -> bool:
    """Tell whether it is a molecule in a box, whose atoms are relaxed while the box is kept."""
    return bool(candidate.inputs.get("molecule"))


def structure_of(content: dict[str, Any]) -> Structure:
    """Conventional cell from a phase's content; its formula was checked when the inventory was read."""
    from pymatgen.core import Lattice, Structure

    from hts_flows.inventories import LatticeParameters

    cell = LatticeParameters.model_validate(content["lattice"])
    lattice = Lattice.from_parameters(cell.a, cell.b or cell.a, cell.c or cell.a, cell.alpha, cell.beta, cell.gamma)
    elements = [site["element"] for site in content["sites"]]
    return Structure.from_spacegroup(
        content["spacegroup"], lattice, elements, [site["xyz"] for site in content["sites"]]
    )


def build(candidate: Candidate) -> Structure:
    """Build a phase's structure from the candidate's inputs alone.

    Returns
    -------
    Structure
        The primitive cell where that is smaller, else the cell of the literature.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    structure = structure_of(candidate.inputs)
    primitive = SpacegroupAnalyzer(structure).find_primitive()
    if primitive is not None and len(primitive) < len(structure):
        structure = primitive
    structure.properties["provenance"] = {"phase": candidate.label, "formula": candidate.formula}
    return structure
