"""Properties of intercalation compounds, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from hts_flows.candidates import Candidate
from hts_flows.engines.base import Calculation
from hts_flows.properties.base import CompositionError, MissingReferenceError, PropertyError
from hts_flows.properties.intercalation import COLUMNS, IntercalationDoc, derive, intercalant_sites

CARBON, LITHIUM = -9.0, -1.9  # eV/atom, made up


def calculation(structure, energy, **more):
    return Calculation(structure=structure, energy=energy, converged=True, **more)


def candidate(intercalant="Li", concentration="1/6", stage=1, **more):
    inputs = {"intercalant": intercalant, "concentration": concentration, "stage": stage} | more
    return Candidate(domain="intercalation", inputs=inputs, label="a compound", formula="LiC6")


def graphite():
    return Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(2.4612, 6.7079), ["C", "C"], [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)]
    )


def lic6():
    structure = Structure.from_spacegroup(
        "P6/mmm", Lattice.hexagonal(4.305, 3.706), ["Li", "C"], [(0, 0, 0), (1 / 3, 0, 0.5)]
    )
    assert len(structure) == 7
    return structure


def lic12(filled=3.71, empty=3.35):
    period = filled + empty
    return Structure.from_spacegroup(
        "P6/mmm", Lattice.hexagonal(4.288, period), ["Li", "C"], [(0, 0, 0), (1 / 3, 0, filled / 2 / period)]
    )


def bcc_lithium():
    return Structure.from_spacegroup("Im-3m", Lattice.cubic(3.51), ["Li"], [(0, 0, 0)])


def carbon_references():
    return {
        "host": calculation(graphite(), 4 * CARBON),
        "element:C": calculation(graphite(), 4 * CARBON),
        "element:Li": calculation(bcc_lithium(), 2 * LITHIUM),
    }


def tis2():
    return Structure.from_spacegroup(
        "P-3m1", Lattice.hexagonal(3.407, 5.695), ["Ti", "S"], [(0, 0, 0), (1 / 3, 2 / 3, 0.25)]
    )


def litis2(site=(0, 0, 0.5)):
    return Structure.from_spacegroup(
        "P-3m1", Lattice.hexagonal(3.455, 6.195), ["Ti", "S", "Li"], [(0, 0, 0), (1 / 3, 2 / 3, 0.2345), site]
    )


def tis2_references():
    return {
        "host": calculation(tis2(), -20.0),
        "element:Ti": calculation(Structure(Lattice.hexagonal(2.95, 4.68), ["Ti"], [(0, 0, 0)]), -7.0),
        "element:S": calculation(Structure(Lattice.cubic(4), ["S", "S"], [(0, 0, 0), (0.5, 0.5, 0.5)]), -8.0),
        "element:Li": calculation(bcc_lithium(), 2 * LITHIUM),
    }


def test_lic6_has_the_values_worked_out_by_hand():
    doc = derive(candidate(), calculation(lic6(), -56.1, magnetic_moments=[0.1] * 7), carbon_references())
    assert doc.intercalation_energy == pytest.approx(-56.1 - 6 * CARBON - LITHIUM)  # -0.2 eV
    assert doc.formation_energy == pytest.approx(-0.2 / 7)
    assert doc.average_voltage == pytest.approx(0.2)
    assert doc.n_intercalants == 1
    assert doc.interlayer_distance == pytest.approx(3.706)
    assert doc.identity_period == pytest.approx(3.706)
    assert doc.empty_interlayer_distance is None
    assert doc.interlayer_expansion == pytest.approx(3.706 - 6.7079 / 2)
    assert (doc.stays_layered, doc.dimensionality, doc.stage_kept) == (True, 2, True)
    assert (doc.intercalant_coordination_number, doc.coordination_geometry) == (12, "hollow")
    assert doc.nearest_distance == pytest.approx(np.hypot(4.305 / 3, 3.706 / 2))
    host_volume = 2.4612**2 * np.sqrt(3) / 2 * 6.7079 / 4
    assert doc.volume_change == pytest.approx(100 * (4.305**2 * np.sqrt(3) / 2 * 3.706 / (6 * host_volume) - 1))
    assert doc.magnetic_moment == pytest.approx(0.7)
    assert doc.band_gap is None


def test_stage_2_has_two_distances_and_the_identity_period_of_both():
    doc = derive(candidate(stage=2), calculation(lic12(), -110.3), carbon_references())
    assert doc.intercalation_energy == pytest.approx(-110.3 - 12 * CARBON - LITHIUM)
    assert doc.interlayer_distance == pytest.approx(3.71)
    assert doc.empty_interlayer_distance == pytest.approx(3.35)
    assert doc.identity_period == pytest.approx(7.06)
    assert doc.stage_kept


def test_lithium_that_moved_to_the_other_gap_lost_the_stage():
    structure = lic12()
    structure.make_supercell([1, 1, 2])
    sites = [index for index, site in enumerate(structure) if site.specie.symbol == "Li"]
    structure.translate_sites(sites[1], [0, 0, 7.06 / 2 / 14.12])
    assert derive(candidate(stage=2), calculation(lic12(), -110.3), carbon_references()).stage_kept
    doc = derive(candidate(stage=2), calculation(structure, -220.6), carbon_references())
    assert not doc.stage_kept
    assert doc.stays_layered


def test_lithium_in_tis2_is_octahedral():
    doc = derive(candidate(concentration="1"), calculation(litis2(), -24.0), tis2_references())
    assert doc.intercalation_energy == pytest.approx(-24.0 + 20.0 - LITHIUM)  # -2.1 eV
    assert doc.average_voltage == pytest.approx(2.1)
    assert doc.formation_energy == pytest.approx((-24.0 + 7.0 + 2 * 4.0 - LITHIUM) / 4)
    assert (doc.intercalant_coordination_number, doc.coordination_geometry) == (6, "octahedral")
    assert doc.nearest_distance == pytest.approx(np.hypot(3.455 / np.sqrt(3), (0.5 - 0.2345) * 6.195))
    assert doc.interlayer_expansion == pytest.approx(6.195 - 5.695)
    assert doc.stays_layered


def test_lithium_above_sulfur_is_tetrahedral():
    structure = Structure(
        Lattice.hexagonal(3.455, 7.6),
        ["Ti", "S", "S", "Li"],
        [(0, 0, 0), (1 / 3, 2 / 3, 0.19), (2 / 3, 1 / 3, -0.19), (1 / 3, 2 / 3, 0.19 + 2.35 / 7.6)],
    )
    doc = derive(candidate(concentration="1"), calculation(structure, -24.0), tis2_references())
    assert (doc.intercalant_coordination_number, doc.coordination_geometry) == (4, "tetrahedral")


def test_eclipsed_triangles_of_sulfur_are_a_trigonal_prism():
    half = 3.0 / 6.195
    structure = Structure(  # one 2H-like layer above its mirror image: sulfur over sulfur across the gap
        Lattice.hexagonal(3.3, 6.195),
        ["Mo", "S", "S", "Li"],
        [(1 / 3, 2 / 3, 0.5), (0, 0, 0.5 + half / 2), (0, 0, 0.5 - half / 2), (1 / 3, 2 / 3, 0)],
    )
    host = Structure(
        Lattice.hexagonal(3.16, 6.15),
        ["Mo", "S", "S"],
        [(1 / 3, 2 / 3, 0.5), (0, 0, 0.5 + 1.56 / 6.15), (0, 0, 0.5 - 1.56 / 6.15)],
    )
    references = tis2_references() | {"host": calculation(host, -20.0)}
    references["element:Mo"] = calculation(Structure(Lattice.cubic(3), ["Mo"], [(0, 0, 0)]), -10.0)
    doc = derive(candidate(concentration="1"), calculation(structure, -24.0), references)
    assert (doc.intercalant_coordination_number, doc.coordination_geometry) == (6, "trigonal-prismatic")


def test_layers_that_merged_are_no_longer_layered():
    structure = lic6()
    merged = Structure(
        Lattice.hexagonal(4.305, 1.75), structure.species, structure.frac_coords
    )  # carbon over carbon at 1.75 Å: bonded
    doc = derive(candidate(), calculation(merged, -50.0), carbon_references())
    assert not doc.stays_layered
    assert doc.dimensionality == 3
    assert doc.interlayer_distance is None
    assert doc.identity_period is None
    assert not doc.stage_kept


def test_two_layers_that_merged_into_one_are_not_the_hosts_even_when_still_two_dimensional():
    structure = lic12(filled=3.71, empty=1.7)
    doc = derive(candidate(stage=2), calculation(structure, -100.0), carbon_references())
    assert doc.dimensionality == 2
    assert not doc.stays_layered


def test_a_broken_bond_of_the_host_is_noticed():
    structure = lic6()
    structure.make_supercell([2, 2, 1])
    intact = derive(candidate(), calculation(structure, -224.4), carbon_references())
    carbon = next(index for index, site in enumerate(structure) if site.specie.symbol == "C")
    structure.translate_sites(carbon, [0, 0, 1.6], frac_coords=False)
    broken = derive(candidate(), calculation(structure, -220.0), carbon_references())
    assert intact.stays_layered
    assert not broken.stays_layered


def test_a_host_that_contains_the_intercalants_element_is_told_apart_from_it():
    lattice = Lattice.hexagonal(4.143, 28.636)
    host = Structure.from_spacegroup("R-3m", lattice, ["Bi", "Se", "Se"], [(0, 0, 0.4008), (0, 0, 0), (0, 0, 0.2117)])
    compound = host.copy()
    for third in range(3):  # the octahedral site of each gap
        compound.append("Bi", (2 * third / 3, third / 3, 0.5 + third / 3))
    references = {
        "host": calculation(host, 3 * -20.0),
        "element:Bi": calculation(Structure(Lattice.cubic(3.8), ["Bi"], [(0, 0, 0)]), -4.0),
        "element:Se": calculation(Structure(Lattice.cubic(3.4), ["Se"], [(0, 0, 0)]), -3.5),
    }
    doc = derive(candidate("Bi", "1"), calculation(compound, 3 * -24.5), references)
    assert doc.n_intercalants == 3
    assert doc.intercalation_energy == pytest.approx(-24.5 + 20.0 + 4.0)
    assert doc.formation_energy == pytest.approx((-24.5 + 3 * 4.0 + 3 * 3.5) / 6)
    assert doc.average_voltage is None
    assert doc.stays_layered
    assert (doc.intercalant_coordination_number, doc.coordination_geometry) == (6, "octahedral")
    assert intercalant_sites(compound, "Bi", 3) == [15, 16, 17]


def test_elemental_host_of_the_intercalant_itself_is_counted_by_the_concentration():
    structure = lic6()
    structure.replace_species({"Li": "C"})
    structure = Structure(structure.lattice, structure.species, np.roll(structure.frac_coords, -1, axis=0))
    doc = derive(candidate("C", charge=4, working_ion=False), calculation(structure, -60.0), carbon_references())
    assert doc.n_intercalants == 1
    assert doc.intercalation_energy == pytest.approx(-60.0 - 7 * CARBON)


def test_voltage_follows_the_charge_and_only_for_working_ions():
    compound = calculation(litis2(), -24.0)
    given = candidate({"element": "Li", "charge": 2, "working_ion": True}, "1")
    assert derive(given, compound, tis2_references()).average_voltage == pytest.approx(1.05)
    given = candidate(concentration="1", charge=3, working_ion=True)
    assert derive(given, compound, tis2_references()).average_voltage == pytest.approx(0.7)
    given = candidate(concentration="1", charge=1, working_ion=False)
    assert derive(given, compound, tis2_references()).average_voltage is None


@pytest.mark.parametrize("role", ["host", "element:C", "element:Li"])
def test_missing_reference_is_named(role):
    references = carbon_references()
    del references[role]
    with pytest.raises(MissingReferenceError, match=f"'{role}'"):
        derive(candidate(), calculation(lic6(), -56.1), references)


def test_wrong_element_reference_is_named():
    references = carbon_references() | {"element:Li": calculation(graphite(), -36.0)}
    with pytest.raises(MissingReferenceError, match="'element:Li' is one of C4"):
        derive(candidate(), calculation(lic6(), -56.1), references)


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (candidate(concentration="1/8"), "C6 with|LiC6 is not C with 1/8"),
        (candidate(stage=2), "is not C with 1/12 Li"),
        (candidate("Na"), "is not C with 1/6 Na"),
    ],
)
def test_composition_that_does_not_fit_the_candidate_is_refused(made, wrong):
    with pytest.raises(CompositionError, match=wrong):
        derive(made, calculation(lic6(), -56.1), carbon_references())


def test_errors_are_value_errors_and_incomplete_inputs_are_named():
    with pytest.raises(ValueError, match="does not say its stage") as caught:
        derive(
            Candidate(
                domain="intercalation", inputs={"intercalant": "Li", "concentration": "1/6"}, label="", formula=""
            ),
            calculation(lic6(), -56.1),
            carbon_references(),
        )
    assert isinstance(caught.value, PropertyError)


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.integers(1, 2)] * 3), st.sampled_from(["host", "element:Li", "element:C"]), st.integers(1, 3))
def test_nothing_depends_on_the_size_of_the_cells(supercell, role, copies):
    wanted = derive(candidate(), calculation(lic6(), -56.1), carbon_references())
    larger = lic6()
    larger.make_supercell(supercell)
    references = carbon_references()
    reference = references[role].structure.copy()
    reference.make_supercell([copies, 1, 1])
    references[role] = calculation(reference, copies * references[role].energy)
    found = derive(candidate(), calculation(larger, -56.1 * np.prod(supercell)), references)
    assert found.n_intercalants == np.prod(supercell)
    for name, value in wanted.model_dump(exclude={"n_intercalants"}).items():
        assert getattr(found, name) == (pytest.approx(value) if isinstance(value, float) else value), name


@settings(max_examples=10, deadline=None)
@given(*[st.floats(-5, 5)] * 4)
def test_energies_are_linear_in_those_they_refer_to(compound, host, carbon, lithium):
    base = derive(candidate(), calculation(lic6(), -56.1), carbon_references())
    references = {
        "host": calculation(graphite(), 4 * (CARBON + host)),
        "element:C": calculation(graphite(), 4 * (CARBON + carbon)),
        "element:Li": calculation(bcc_lithium(), 2 * (LITHIUM + lithium)),
    }
    doc = derive(candidate(), calculation(lic6(), -56.1 + compound), references)
    assert doc.intercalation_energy - base.intercalation_energy == pytest.approx(
        compound - 6 * host - lithium, abs=1e-9
    )
    assert doc.formation_energy - base.formation_energy == pytest.approx(
        (compound - 6 * carbon - lithium) / 7, abs=1e-9
    )


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 2 * np.pi), st.tuples(*[st.floats(0, 1)] * 3))
def test_geometry_does_not_depend_on_orientation_origin_or_choice_of_cell(angle, shift):
    from pymatgen.core.operations import SymmOp

    wanted = derive(candidate(stage=2), calculation(lic12(), -110.3), carbon_references())
    structure = lic12()
    structure.make_supercell([[1, 0, 0], [1, 1, 0], [2, 1, 1]])  # another basis of the same lattice
    structure.translate_sites(range(len(structure)), shift)
    structure.apply_operation(SymmOp.from_axis_angle_and_translation((1, 2, 3), angle, angle_in_radians=True))
    found = derive(candidate(stage=2), calculation(structure, -110.3), carbon_references())
    for name, value in wanted.model_dump().items():
        assert getattr(found, name) == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value), name


def test_every_field_is_described_with_its_unit_and_nothing_else_is_allowed():
    assert all(field.description for field in IntercalationDoc.model_fields.values())
    units = {column.name: column.unit for column in COLUMNS}
    for name, unit in units.items():
        word = {"eV/M": "eV per intercalant", "μ_B": "Bohr magneton"}.get(unit, unit)
        assert word in IntercalationDoc.model_fields[name].description
    doc = derive(candidate(), calculation(lic6(), -56.1), carbon_references())
    with pytest.raises(ValidationError, match="extra"):
        IntercalationDoc.model_validate(doc.model_dump() | {"colour": "gold"})
    assert IntercalationDoc.model_validate_json(doc.model_dump_json()) == doc


def test_column_formats_apply_to_the_values():
    doc = derive(candidate(), calculation(lic6(), -56.1), carbon_references())
    shown = {
        column.name: format(getattr(doc, column.name), column.format)
        for column in COLUMNS
        if column.format and getattr(doc, column.name) is not None
    }
    assert shown["intercalation_energy"] == "-0.200"
    assert shown["interlayer_expansion"] == "+0.35"


@pytest.mark.parametrize(
    ("host", "element", "concentration", "stage"),
    [
        ("graphite", "Li", "1/6", 1),
        ("graphite", "K", "1/8", 2),
        ("2H-MoS2", "Li", "1/4", 1),
        ("1T-TiS2", "K", "1/3", 3),
        ("3R-MoS2", "Na", "1/4", 2),
        ("Bi2Se3", "Bi", "1/3", 1),
        ("epsilon-GaSe", "Li", "1/4", 1),
        ("V2O5", "K", "1/4", 2),
        ("FePS3", "Li", "1/4", 1),
    ],
)
def test_generated_structures_are_read_back_as_they_were_made(host, element, concentration, stage):
    from hts_flows.flows.intercalation import DOMAIN
    from hts_flows.inventories import Inventories
    from hts_flows.structures import bulk
    from hts_flows.structures.intercalation import IntercalationSpace, build

    inventories = Inventories()
    space = IntercalationSpace(
        domain="intercalation", hosts=[host], intercalants=[element], concentrations=[concentration], stages=[stage]
    )
    made = next(iter(space.candidates(inventories)))
    structure = build(made)
    provenance = structure.properties["provenance"]
    references = {
        role: calculation(bulk.build(phase), -1.0) for role, phase in DOMAIN.references(made, inventories).items()
    }
    doc = derive(made, calculation(structure, -1.0), references)
    assert intercalant_sites(structure, element, doc.n_intercalants) == provenance["intercalant_sites"]
    assert doc.stays_layered
    assert doc.stage_kept
    assert doc.coordination_geometry == made.inputs["site"]
    assert doc.interlayer_distance == pytest.approx(
        doc.identity_period - (stage - 1) * (doc.empty_interlayer_distance or 0)
    )


def test_energies_of_a_real_engine_give_lithium_a_place_in_graphite():
    chgnet = pytest.importorskip("chgnet.model.dynamics")
    engine = chgnet.CHGNetCalculator(use_device="cpu")

    def computed(structure):
        atoms = structure.to_ase_atoms()
        atoms.calc = engine
        return calculation(
            structure, float(atoms.get_potential_energy()), magnetic_moments=list(map(float, engine.results["magmoms"]))
        )

    references = {
        "host": computed(graphite()),
        "element:C": computed(graphite()),
        "element:Li": computed(bcc_lithium()),
    }
    doc = derive(candidate(), computed(lic6()), references)
    assert -1.0 < doc.intercalation_energy < 0.2
    assert doc.formation_energy == pytest.approx(doc.intercalation_energy / 7, abs=1e-5)
    assert doc.magnetic_moment is not None
    assert doc.stays_layered
