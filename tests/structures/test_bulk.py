"""Bulk phases: the same numbers are the same candidate, and the primitive cell is built."""

from __future__ import annotations

import pytest
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from hts_flows.candidates import Candidate
from hts_flows.inventories import Inventories
from hts_flows.structures.bulk import build, bulk_candidate

INVENTORIES = Inventories()
PHASES = [*INVENTORIES.hosts.values(), *INVENTORIES.elements.values()]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: f"{type(phase).__name__}-{phase.id}")
def test_every_phase_is_rebuilt_from_its_candidate_in_a_cell_that_is_not_larger(phase):
    candidate = Candidate.model_validate_json(bulk_candidate(phase).model_dump_json())
    structure, original = build(candidate), phase.structure()
    assert len(structure) <= len(original)
    assert structure.density == pytest.approx(original.density, rel=1e-3)
    assert structure.composition.reduced_composition == original.composition.reduced_composition
    analyzers = [SpacegroupAnalyzer(crystal) for crystal in (structure, original)]
    assert analyzers[0].get_space_group_number() == analyzers[1].get_space_group_number()
    nearest = [min(crystal.get_neighbor_list(7)[3]) for crystal in (structure, original)]
    assert nearest[0] == pytest.approx(nearest[1], abs=1e-4)


def test_face_centred_and_rhombohedral_cells_become_primitive():
    assert len(build(bulk_candidate(INVENTORIES.hosts["Bi2Se3"]))) == 5
    assert len(build(bulk_candidate(INVENTORIES.hosts["black-P"]))) == 4


def test_same_numbers_share_an_id_under_any_name():
    host = INVENTORIES.hosts["graphite"]
    other = host.model_copy(update={"id": "C", "name": "Carbon", "source": "the same numbers, elsewhere"})
    assert bulk_candidate(host).candidate_id == bulk_candidate(other).candidate_id
    moved = host.model_copy(update={"lattice": host.lattice.model_copy(update={"a": 2.5})})
    assert bulk_candidate(host).candidate_id != bulk_candidate(moved).candidate_id
    assert bulk_candidate(host).label == host.name
