"""Intercalation candidates: which there are, and that each one's structure is what its label says."""

from __future__ import annotations

import shutil
from collections import defaultdict
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from hts_flows.candidates import Candidate
from hts_flows.errors import InputError
from hts_flows.inventories import Host, Inventories, LatticeParameters, Site
from hts_flows.structures.intercalation import IntercalationSpace, build, parse_concentration
from hts_flows.structures.layers import covalent_radius, find_layers

INVENTORIES = Inventories()
#: A host whose numbers are fixed here, so that ids and cells below do not change with the inventory.
GRAPHITE = Host(
    id="graphite",
    name="Graphite",
    formula="C",
    family="graphite",
    spacegroup="P6_3/mmc",
    lattice=LatticeParameters(a=2.461, c=6.708, gamma=120),
    sites=(Site(element="C", xyz=(0, 0, 0.25)), Site(element="C", xyz=(1 / 3, 2 / 3, 0.25))),
    source="values fixed for tests",
    filled_stacking="eclipsed",
)


class FixedGraphite(Inventories):
    """The project's intercalants, and graphite with fixed numbers."""

    hosts = {"graphite": GRAPHITE}  # noqa: RUF012 - replaces a cached property


def space(**fields):
    given_fields = {"hosts": ["graphite"], "intercalants": ["Li"], "concentrations": ["1/6"], **fields}
    return IntercalationSpace(domain="intercalation", **given_fields)


def only(inventories=INVENTORIES, **fields):
    (candidate,) = space(**fields).candidates(inventories)
    return candidate


def spacegroup(structure):
    return SpacegroupAnalyzer(structure, symprec=0.02).get_space_group_symbol()


def shortest_contact(structure):
    """Shortest distance as a multiple of the sum of covalent radii."""
    radii = np.array([covalent_radius(site.specie.symbol) for site in structure])
    first, second, _, distances = structure.get_neighbor_list(2 * radii.max())
    return min(distances / (radii[first] + radii[second]), default=np.inf)


def check(candidate):
    """Check contacts, composition, stage and provenance of a candidate's structure."""
    structure = build(candidate)
    inputs, provenance = candidate.inputs, structure.properties["provenance"]
    guests = provenance["intercalant_sites"]
    assert shortest_contact(structure) >= 0.7
    assert structure.composition.reduced_formula == candidate.formula
    assert {structure[index].specie.symbol for index in guests} == {inputs["intercalant"]}
    crystal = find_layers(structure, guests)
    filled = [gap for gap in crystal.gaps if gap.guests]
    assert len(filled) * inputs["stage"] == len(crystal.gaps)
    host = structure.copy()
    host.remove_sites(guests)
    _, units = host.composition.get_integer_formula_and_factor()
    per_filled_gap = Fraction(inputs["concentration"]) * Fraction(int(units), inputs["stage"])
    assert len(guests) == per_filled_gap
    return structure


def test_lic6_is_root_three_eclipsed_and_matches_the_known_structure():
    structure = check(only())
    assert structure.composition.formula == "Li1 C6"
    assert spacegroup(structure) == "P6/mmm"
    provenance = structure.properties["provenance"]
    assert provenance["superlattice_name"] == "√3×√3 R30°"
    assert provenance["site"] == "hollow"
    carbon = [
        (1 / 3, 0, 0.5),
        (0, 1 / 3, 0.5),
        (2 / 3, 2 / 3, 0.5),
        (2 / 3, 0, 0.5),
        (0, 2 / 3, 0.5),
        (1 / 3, 1 / 3, 0.5),
    ]
    known = Structure(Lattice.hexagonal(4.305, 3.706), ["Li"] + ["C"] * 6, [(0, 0, 0), *carbon])
    assert StructureMatcher(scale=False, ltol=0.05, stol=0.05).fit(structure, known)


@pytest.mark.parametrize(
    ("element", "concentration", "spacing"),
    [("Li", "1/6", 3.70), ("K", "1/8", 5.35), ("Rb", "1/8", 5.65), ("Cs", "1/8", 5.94)],
)
def test_graphite_starts_within_4_percent_of_the_measured_spacing(element, concentration, spacing):
    structure = build(only(intercalants=[element], concentrations=[concentration]))
    (gap,) = find_layers(structure, element).gaps
    assert gap.height == pytest.approx(spacing, rel=0.04)


def test_kc8_is_two_by_two():
    structure = check(only(intercalants=["K"], concentrations=["1/8"]))
    assert structure.composition.formula == "K1 C8"
    assert structure.properties["provenance"]["superlattice_name"] == "2×2"
    assert spacegroup(structure) == "P6/mmm"


def test_litis2_is_octahedral():
    structure = check(only(hosts=["1T-TiS2"], concentrations=[1]))
    assert len(structure) == 4
    assert spacegroup(structure) == "P-3m1"
    assert structure.properties["provenance"]["site"] == "octahedral"
    neighbours = sorted(site.nn_distance for site in structure.get_neighbors(structure[3], 2.9))
    assert len([distance for distance in neighbours if distance < 2.7]) == 6


@pytest.mark.parametrize(
    ("concentration", "name"),
    [("1/3", "√3×√3 R30°"), ("1/4", "2×2"), ("1/2", "2×1"), (1, "1×1"), ("1/7", "√7×√7 R19.1°")],
)
@pytest.mark.parametrize("host", ["1T-TiS2", "2H-NbS2", "Bi2Se3"])
def test_superlattices_of_dichalcogenides(host, concentration, name):
    structure = check(only(hosts=[host], concentrations=[concentration]))
    assert structure.properties["provenance"]["superlattice_name"] == name


@pytest.mark.parametrize(("element", "concentration", "formula"), [("Li", "1/6", "LiC12"), ("K", "1/8", "KC16")])
def test_stage_2_graphite_closes_after_two_layers(element, concentration, formula):
    candidate = only(intercalants=[element], concentrations=[concentration], stages=[2])
    structure = check(candidate)
    assert candidate.label == f"graphite {formula} stage 2"
    assert len(structure) == Composition(formula).num_atoms
    assert sorted(bool(gap.guests) for gap in find_layers(structure, element).gaps) == [False, True]


def test_filled_2h_keeps_the_symmetry_of_the_host():
    assert spacegroup(check(only(hosts=["2H-MoS2"], concentrations=[1]))) == "P6_3/mmc"


@pytest.mark.parametrize("name", INVENTORIES.hosts)
@pytest.mark.parametrize("stage", [1, 2])
def test_every_host_can_be_intercalated(name, stage):
    candidates = list(space(hosts=[name], concentrations=["1/4", 1], stages=[stage]).candidates(INVENTORIES))
    assert candidates
    for candidate in candidates:
        check(candidate)


@settings(max_examples=40, deadline=None)
@given(
    host=st.sampled_from(sorted(INVENTORIES.hosts)),
    element=st.sampled_from(sorted(INVENTORIES.intercalants)),
    concentration=st.fractions(Fraction(1, 6), 2, max_denominator=6),
    stage=st.integers(1, 4),
    stacking=st.sampled_from(["auto", "host", "eclipsed"]),
    sites=st.sampled_from(["roomiest", "all"]),
)
def test_any_candidate_has_its_composition_and_stage_and_no_short_contact(
    *, host, element, concentration, stage, stacking, sites
):
    fields = {"stages": [stage], "stacking": stacking, "sites": sites, "orderings": 2, "max_atoms": 120}
    wanted = space(hosts=[host], intercalants=[element], concentrations=[str(concentration)], **fields)
    skipped = wanted.skipped(INVENTORIES)
    try:
        candidates = list(wanted.candidates(INVENTORIES))
    except InputError as error:
        assert skipped
        assert skipped[0][0] in error.message  # noqa: PT017 - either outcome is right, each has its own check
        return
    for candidate in candidates[:3]:
        check(candidate)


@pytest.mark.parametrize(
    "fields",
    [
        {"stages": [1, 2, 3], "concentrations": ["1/12", "1/8", "1/6", "1/4", "1/3", "1/2", 1]},
        {"sites": "all", "concentrations": ["1/4", "1/2", 1], "stages": [1, 2], "max_atoms": 40},
        {
            "orderings": "all",
            "hosts": ["graphite", "1T-TiS2", "2H-MoS2"],
            "concentrations": ["1/4", "1/3", "1/6", "1/2"],
        },
    ],
)
def test_no_two_candidates_of_a_mixed_campaign_are_the_same_structure(fields):
    hosts = ["graphite", "1T-TiS2", "2H-MoS2", "3R-MoS2", "alpha-MoO3", "black-P", "FeOCl"]
    candidates = list(space(**{"hosts": hosts, **fields}).candidates(INVENTORIES))
    assert len({candidate.candidate_id for candidate in candidates}) == len(candidates)
    assert len({candidate.label for candidate in candidates}) == len(candidates)
    groups = defaultdict(list)
    for candidate in candidates:
        groups[candidate.formula].append((candidate.label, build(candidate)))
    matcher = StructureMatcher()
    compared = 0
    for group in groups.values():
        for (one, first), (other, second) in combinations(group, 2):
            compared += 1
            assert not matcher.fit(first, second), f"{one} is {other}"
    assert compared > 10


def test_concentrations_and_stages_of_one_composition_are_different_structures():
    wanted = space(concentrations=["1/12", "1/6"], stages=[1, 2])
    same = [candidate for candidate in wanted.candidates(INVENTORIES) if candidate.formula == "LiC12"]
    assert [candidate.label for candidate in same] == ["graphite LiC12 stage 1", "graphite LiC12 stage 2"]
    assert not StructureMatcher().fit(*(build(candidate) for candidate in same))


def test_ids_are_the_same_on_every_machine():
    assert only(FixedGraphite()).candidate_id == "intercalation-e80d5157b21f"


def test_ids_do_not_depend_on_the_rest_of_the_campaign_or_the_order_of_keys():
    alone = only().candidate_id
    many = space(intercalants=["K", "Li"], concentrations=["1/8", 1 / 6], stages=[2, 1], orderings=2)
    assert alone in [candidate.candidate_id for candidate in many.candidates(INVENTORIES)]
    candidate = only()
    reverse = Candidate(**{**candidate.model_dump(), "inputs": dict(reversed(candidate.inputs.items()))})
    assert reverse.candidate_id == alone
    assert build(reverse) == build(candidate)


def test_candidates_come_in_the_same_order_every_time():
    wanted = space(
        hosts=["1T-TiS2", "graphite"], intercalants=["Na", "Li"], stages=[2, 1], concentrations=["1/3", "1/4"]
    )
    labels = [candidate.label for candidate in wanted.candidates(INVENTORIES)]
    assert labels == [candidate.label for candidate in wanted.candidates(Inventories())]
    assert labels[0] == "1T-TiS2 Na(TiS2)6 stage 2"
    assert len(labels) == 16


def test_structure_is_rebuilt_from_stored_inputs():
    candidate = only(hosts=["2H-MoS2"], concentrations=["1/3"], stages=[2])
    stored = Candidate.model_validate_json(candidate.model_dump_json())
    assert stored.candidate_id == candidate.candidate_id
    assert build(stored) == build(candidate)


def test_provenance_is_json_and_says_how_the_structure_was_made():
    structure = check(only(intercalants=["K"], concentrations=["1/8"], stages=[2]))
    again = Structure.from_str(structure.to(fmt="json"), fmt="json")
    provenance = again.properties["provenance"]
    expected = {"host": "graphite", "intercalant": "K", "concentration": "1/8", "stage": 2, "stacking": "eclipsed"}
    assert expected.items() <= provenance.items()
    assert provenance["generator"] == 1
    assert abs(round(np.linalg.det(provenance["superlattice"]))) == 4


def test_candidate_of_another_generator_version_is_refused():
    candidate = only()
    old = candidate.model_copy(update={"inputs": {**candidate.inputs, "generator": 0}})
    with pytest.raises(InputError, match="version 0"):
        build(old)


def test_more_orderings_are_less_uniform_and_numbered():
    candidates = list(space(hosts=["1T-TiS2"], concentrations=["1/4"], orderings="all").candidates(INVENTORIES))
    spacings = [build(candidate).properties["provenance"]["intercalant_spacing"] for candidate in candidates]
    assert spacings == sorted(spacings, reverse=True)
    assert [candidate.label[-10:] for candidate in candidates] == ["ordering 1", "ordering 2", "ordering 3"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"concentrations": [1]}, "more than its hollow sites hold"),
        ({"max_atoms": 5}, "7 atoms, more than max_atoms: 5"),
        ({"intercalants": ["Cs"], "concentrations": ["1/2"]}, "2.46 Å apart"),
    ],
)
def test_impossible_combinations_are_skipped_with_a_reason_and_an_empty_campaign_is_an_error(fields, message):
    ((label, reason),) = space(**fields).skipped(INVENTORIES)
    assert label.startswith("graphite")
    assert message in reason
    with pytest.raises(InputError, match="no candidate is left"):
        list(space(**fields).candidates(INVENTORIES))


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"hosts": ["graphit"]}, "'graphite'"), ({"intercalants": ["Lj"]}, "Lj")],
)
def test_unknown_names_are_answered_with_the_nearest(fields, message):
    with pytest.raises(InputError, match=message):
        list(space(**fields).candidates(INVENTORIES))


def test_host_without_layers_is_named():
    salt = GRAPHITE.model_copy(
        update={
            "id": "salt",
            "spacegroup": "Fm-3m",
            "formula": "NaCl",
            "lattice": LatticeParameters(a=5.64),
            "sites": (Site(element="Na", xyz=(0, 0, 0)), Site(element="Cl", xyz=(0.5, 0.5, 0.5))),
        }
    )
    inventories = FixedGraphite()
    inventories.hosts = {"salt": salt}
    with pytest.raises(InputError, match="'salt' cannot be intercalated"):
        list(space(hosts=["salt"]).candidates(inventories))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hosts": []}, "empty"),
        ({"hosts": "graphite"}, r"write a list or \"all\", e.g. \[graphite\]"),
        ({"intercalants": ["Li", "K", "Li"]}, "Li is given twice"),
        ({"intercalants": [False]}, "put it in quotes"),
        ({"concentrations": ["1/6", 1 / 6]}, "1/6 is given twice"),
        ({"concentrations": [0]}, "above 0"),
        ({"concentrations": [-0.5]}, "above 0"),
        ({"concentrations": [2.5]}, "above 2"),
        ({"concentrations": [0.33]}, "did you mean 1/3"),
        ({"concentrations": [0.001]}, "did you mean 1/24"),
        ({"concentrations": ["1/1000"]}, "did you mean 1/24"),
        ({"concentrations": ["1/104"]}, "did you mean 1/24"),
        ({"concentrations": ["2/47"]}, "concentration 2/47 is no fraction .*did you mean 1/24"),
        ({"concentrations": ["3/71"]}, "concentration 3/71 is no fraction"),
        ({"concentrations": ["1e-400"]}, "above 0"),
        ({"concentrations": ["1e-999999999"]}, "above 0"),
        ({"concentrations": ["1e999999999"]}, "write a fraction"),
        ({"concentrations": [float("nan")]}, "write a fraction"),
        ({"concentrations": [10**5000]}, "concentrations"),
        ({"concentrations": {"a": 1}}, r"write a list, e.g. \[1/6, 1/3\]"),
        ({"concentrations": None}, r"write a list, e.g. \[1/6, 1/3\]"),
        ({"hosts": None}, r"write a list or \"all\", e.g. \[graphite\]"),
        ({"max_atoms": True}, "whole number"),
        ({"concentrations": ["a third"]}, "write a fraction"),
        ({"concentrations": ["1/0"]}, "write a fraction"),
        ({"stages": [0]}, "stages count from 1"),
        ({"stages": [99]}, "above 12"),
        ({"stages": [1, 1]}, "given twice"),
        ({"orderings": 0}, "from 1"),
        ({"orderings": "some"}, '"all"'),
        ({"max_atoms": 0}, "greater than or equal to 1"),
        ({"stacking": "AB"}, "eclipsed"),
        ({"stagez": [1]}, "Extra inputs"),
    ],
)
def test_bad_values_are_refused_in_plain_words(fields, message):
    with pytest.raises(ValidationError, match=message):
        space(**fields)


@given(st.fractions(Fraction(1, 24), 2, max_denominator=24))
def test_concentrations_are_read_as_text_and_number(fraction):
    assert parse_concentration(str(fraction)) == str(fraction)
    assert parse_concentration(round(float(fraction), 6)) == str(fraction)


def test_only_decimals_are_rounded():
    assert parse_concentration(0.0417) == "1/24"
    assert parse_concentration("0.333") == "1/3"
    assert parse_concentration("2/12") == "1/6"
    assert parse_concentration(1) == "1"
    with pytest.raises(ValueError, match="333/1000"):
        parse_concentration("333/1000")


def test_a_host_that_cannot_be_built_is_refused_by_its_name(tmp_path):
    text = (INVENTORIES.folder / "hosts.yaml").read_text(encoding="utf-8")
    start = text.index("- id: graphite")
    entry = text[start : text.index("\n- id:", start + 1)]
    assert "P6_3/mmc" in entry
    (tmp_path / "hosts.yaml").write_text(entry.replace("P6_3/mmc", "P9_9/foo"), encoding="utf-8")
    shutil.copy(INVENTORIES.folder / "intercalants.yaml", tmp_path)
    with pytest.raises(InputError, match="graphite: cannot build the structure of space group 'P9_9/foo'"):
        list(space().candidates(Inventories(tmp_path)))


def test_every_field_is_described():
    assert all(field.description for field in IntercalationSpace.model_fields.values())
