"""Bulk crystals as they stand in an inventory: the references of the other domains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hts_flows.flows.base import Domain
from hts_flows.structures.bulk import build, is_molecule

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from hts_flows.candidates import Candidate


def k_path(candidate: Candidate, structure: Structure) -> dict[str, Any] | None:
    """Give a layered crystal the path that its compounds get too; any other the engine's own."""
    del candidate
    from hts_flows.properties.base import PropertyError
    from hts_flows.properties.k_path import host_k_path

    try:
        return host_k_path(structure, structure).document()
    except PropertyError:
        return None


DOMAIN = Domain(name="bulk", build=build, fixed_cell=is_molecule, k_path=k_path)
