"""Bulk phases as they are: empty hosts and the elemental phases that energies refer to."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from hts_flows.candidates import Candidate
from hts_flows.inventories import crystal

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


def crystal_candidate(content: dict[str, Any], formula: str) -> Candidate:
    """Give the candidate of a crystal from what :meth:`~hts_flows.inventories.Phase.content` gives.

    Parameters
    ----------
    content
        Space group, lattice and sites.
    formula
        Of the crystal.
    """
    return Candidate(domain="bulk", inputs=content, label=f"{formula} crystal", formula=formula)


def is_molecule(candidate: Candidate) -> bool:
    """Tell whether it is a molecule in a box, whose atoms are relaxed while the box is kept."""
    return bool(candidate.inputs.get("molecule"))


def build(candidate: Candidate) -> Structure:
    """Build a phase's structure from the candidate's inputs alone.

    Returns
    -------
    Structure
        The primitive cell where that is smaller, else the cell of the literature.
    """
    structure = primitive_cell(crystal(candidate.inputs))
    structure.properties["provenance"] = {"phase": candidate.label, "formula": candidate.formula}
    return structure


def primitive_cell(structure: Structure) -> Structure:
    """Give the primitive cell where that is smaller, else the structure as it is."""
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    primitive = SpacegroupAnalyzer(structure).find_primitive()
    return structure if primitive is None or len(primitive) >= len(structure) else primitive
