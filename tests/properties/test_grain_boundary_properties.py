"""Properties of grain boundaries, against numbers worked out by hand and against the potential itself."""

import math

import numpy as np
import pytest

from hts_flows.boundary_inventory import specification
from hts_flows.candidates import Candidate
from hts_flows.engines.base import Calculation, TranslationTrials
from hts_flows.properties.base import CompositionError, MissingReferenceError, PropertyError
from hts_flows.properties.grain_boundaries import crystal_shell, derive
from hts_flows.structures.bicrystals import JOULE_PER_SQUARE_METRE
from hts_flows.structures.bulk import build as build_crystal
from hts_flows.structures.grain_boundaries import GrainBoundarySpace, build

COPPER = {"domain": "grain_boundaries", "boundaries": ["Cu-S5-001-210"], "cell": {"thickness": 10}}


def candidates(inventories, **changes):
    return list(GrainBoundarySpace.model_validate(COPPER | changes).candidates(inventories))


@pytest.fixture(scope="module")
def inventories():
    from hts_flows.inventories import Inventories

    return Inventories()


@pytest.fixture(scope="module")
def configuration(inventories):
    """One configuration that is not the origin, and its crystal."""
    from hts_flows.flows import get_domain

    found = candidates(inventories, translations={"step": 0.9, "openings": [0.3]})
    candidate = next(one for one in found if one.inputs["translation"][0] > 0.5)
    return candidate, get_domain("grain_boundaries").references(candidate, inventories)["crystal"]


def calculation(structure, energy):
    return Calculation(structure=structure, energy=energy, converged=True)


def test_energy_is_what_the_cell_costs_beyond_the_crystal_over_both_boundaries(configuration):
    candidate, crystal = configuration
    structure, cell = build(candidate), build_crystal(crystal)
    assert len(cell) == 1
    document = derive(candidate, calculation(structure, -340.0), {"crystal": calculation(cell, -3.5)})
    area = 3.615 * 3.615 * math.sqrt(5)
    assert document.boundary_energy == pytest.approx((-340.0 + 3.5 * len(structure)) / (2 * area) * 16.02176634)
    # Both boundaries of the unrelaxed cell were opened by 0.3 Å, and nothing else differs from the crystal.
    assert document.excess_volume == pytest.approx(0.3, abs=1e-3)
    assert document.translation_z == pytest.approx(0.3)
    assert document.translation_x == pytest.approx(candidate.inputs["translation"][0], abs=1e-6)
    assert (document.method, document.n_trials, document.relaxed) == ("one configuration", 1, "free cell")


def test_the_reference_of_a_configuration_is_the_perfect_crystal(configuration):
    structure = build_crystal(configuration[1])
    assert structure.composition.reduced_formula == "Cu"
    assert structure.volume == pytest.approx(3.615**3 / 4)


def test_grains_that_slide_change_the_translation_and_not_the_energy_of_the_description(configuration):
    candidate, crystal = configuration
    start = build(candidate)
    moved = start.copy()
    upper = [number for number, grain in enumerate(start.site_properties["grain"]) if grain == 2]
    moved.translate_sites(upper, [0.4, -0.5, 0.0], frac_coords=False)
    document = derive(candidate, calculation(moved, -340.0), {"crystal": calculation(build_crystal(crystal), -3.5)})
    x, y, _ = candidate.inputs["translation"]
    assert document.translation_x == pytest.approx((x + 0.4) % (3.615 * math.sqrt(5)), abs=1e-3)
    assert document.translation_y == pytest.approx((y - 0.5) % 3.615, abs=1e-3)


def test_a_cell_that_strained_in_the_plane_has_no_boundary_energy(configuration):
    candidate, crystal = configuration
    strained = build(candidate)
    strained.apply_strain([0.05, 0, 0])
    with pytest.raises(PropertyError, match=r"strained by 5\.0 % in the plane"):
        derive(candidate, calculation(strained, -340.0), {"crystal": calculation(build_crystal(crystal), -3.5)})


def test_a_crystal_of_another_lattice_constant_is_no_strain(configuration):
    candidate, crystal = configuration
    larger, cell = build(candidate), build_crystal(crystal)
    for one in (larger, cell):
        one.apply_strain(0.04)
    document = derive(candidate, calculation(larger, -340.0), {"crystal": calculation(cell, -3.5)})
    area = 3.615 * 3.615 * math.sqrt(5) * 1.04**2
    assert document.boundary_energy == pytest.approx((-340.0 + 3.5 * len(larger)) / (2 * area) * 16.02176634)


def test_a_missing_crystal_is_named(configuration):
    candidate, _ = configuration
    with pytest.raises(MissingReferenceError, match="perfect crystal"):
        derive(candidate, calculation(build(candidate), -1.0), {})


def test_atoms_may_be_sorted_by_element_and_in_any_other_order_have_no_translation(inventories):
    """VASP's inputs are sorted; an energy is not lost for the order of atoms."""
    from hts_flows.flows import get_domain

    candidate = candidates(
        inventories, boundaries=["MgO-S5-001-210"], cell={"thickness": 6}, translations={"step": 2.0, "openings": [1.0]}
    )[0]
    references = get_domain("grain_boundaries").references(candidate, inventories)
    crystal = {"crystal": calculation(build_crystal(references["crystal"]), -1.0)}
    start = build(candidate)
    ordered, reversed_order = start.get_sorted_structure(), start.copy()
    reversed_order.sort(reverse=True)
    assert len({str([site.specie for site in one]) for one in (start, ordered, reversed_order)}) == 3
    as_given, as_sorted = (derive(candidate, calculation(one, -1.0), crystal) for one in (start, ordered))
    assert as_sorted == as_given
    other = derive(candidate, calculation(reversed_order, -1.0), crystal)
    assert other.translation_x is None
    assert other.boundary_energy == pytest.approx(as_given.boundary_energy)


def test_a_boundary_that_is_not_stoichiometric_has_no_energy(inventories):
    candidate = candidates(
        inventories, boundaries=["MgO-S5-001-210"], cell={"thickness": 6}, translations={"step": 2.0, "openings": [1.0]}
    )[0]
    from hts_flows.flows import get_domain

    crystal = build_crystal(get_domain("grain_boundaries").references(candidate, inventories)["crystal"])
    short = build(candidate)
    short.remove_sites([next(number for number, site in enumerate(short) if site.specie.symbol == "O")])
    with pytest.raises(CompositionError, match="not made of whole MgO"):
        derive(candidate, calculation(short, -1.0), {"crystal": calculation(crystal, -1.0)})


@pytest.mark.parametrize(
    ("boundary", "number", "constant", "element"),
    [
        ("Cu-S5-001-210", 12, 3.615, "Cu"),  # first shell of fcc
        ("Fe-S3-110-111", 14, None, "Fe"),  # first two shells of bcc
        ("Si-S3-110-111", 4, None, "Si"),
        ("MgO-S5-001-210", 6, None, "Mg"),
        ("SrTiO3-S5-001-210", 6, None, "Ti"),
    ],
)
def test_neighbours_in_perfect_crystals(inventories, boundary, number, constant, element):
    cutoff, usual = crystal_shell(specification(inventories.boundaries[boundary].content(inventories)))
    assert usual[element] == number
    if constant is not None:
        assert cutoff == pytest.approx(constant * (1 / math.sqrt(2) + 1) / 2, abs=1e-4)


def test_a_perfect_crystal_has_no_structural_unit(inventories):
    """Σ3(111) of an fcc metal at the coincidence position is the twin: all atoms keep twelve neighbours."""
    candidate = candidates(inventories, boundaries=["Cu-S3-110-111"])[0]
    structure = build(candidate)
    trials = search_of([0.02], area=structure.volume / structure.lattice.c, constant=3.615)
    found = calculation(structure, -1.0).model_copy(update={"translation_search": trials})
    document = derive(candidate, found, {})
    assert (document.coordination, document.lowest_coordination) == ("as in the crystal", 12)


def search_of(energies, *, area, constant, n_boundaries=2, **changes):
    known = [one for one in energies if one is not None]
    values = {
        "protocol": "fixed translation",
        "method": "kriging",
        "translations": [(0.1 * number, 0.0, 0.3) for number in range(len(energies))],
        "removal": [None] * len(energies),
        "removed": [0] * len(energies),
        "energies": energies,
        "best": energies.index(min(known)),
        "n_candidates": 40,
        "n_points": 80,
        "n_starts": 1,
        "stop_reason": "patience",
        "periods": (8.0833, 3.615),
        "step": (0.1, 0.1),
        "operations": [{"matrix": np.eye(2).tolist(), "shift": [0.0, 0.0]}],
        "origin": "coincidence",
        "area": area,
        "n_boundaries": n_boundaries,
        "boundaries_equivalent": True,
        "excess_volume": 0.31,
        "relaxed_translation": (-0.1, 3.7, 0.31),
        "lattice_constant": constant,
        "bulk_energy": -3.5,
        "force_calls": 10,
    }
    return TranslationTrials.model_validate(values | changes)


def test_the_document_of_a_search_says_what_was_found_and_how(inventories):
    candidate = candidates(inventories)[0]
    structure = build(candidate)
    trials = search_of([None, 1.1, 0.96, 0.97], area=29.2, constant=3.615, removed=[0, 0, 2, 0])
    found = calculation(structure, -1.0).model_copy(update={"translation_search": trials})
    document = derive(candidate, found, {})
    assert document.boundary_energy == 0.96
    assert (document.n_trials, document.n_candidates, document.stop_reason) == (4, 40, "patience")
    assert document.n_removed == 1  # at each of two boundaries
    # The translation is given within the periods.
    assert document.translation_x == pytest.approx(7.9833)
    assert document.translation_y == pytest.approx(0.085)
    assert document.translation_z == 0.31
    assert document.predicted_energy is None


def test_the_unit_of_energy_is_joule_per_square_metre():
    from scipy import constants

    assert pytest.approx(constants.e / constants.angstrom**2, rel=1e-9) == JOULE_PER_SQUARE_METRE


def test_candidate_is_of_the_domain(configuration):
    assert isinstance(configuration[0], Candidate)
    assert configuration[0].domain == "grain_boundaries"
