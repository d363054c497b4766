"""Candidates of the domain grain_boundaries: whole boundaries and translations, their ids, structures and messages."""

from __future__ import annotations

import re
from math import hypot, pi

import numpy as np
import pytest
from pydantic import ValidationError

from hts_flows.boundary_inventory import Boundary, specification
from hts_flows.campaign import Campaign
from hts_flows.candidates import Candidate
from hts_flows.engines import engine_class
from hts_flows.errors import InputError
from hts_flows.inventories import Inventories
from hts_flows.screening.translation_space import TranslationSpace
from hts_flows.structures.bicrystal_translation import translated
from hts_flows.structures.boundary_specs import BicrystalCell
from hts_flows.structures.grain_boundaries import GrainBoundarySpace, bicrystal_of, build, facets

INVENTORIES = Inventories()
#: As ids are stored in databases; another value here means that results already computed would not be found again.
STORED_IDS = {
    "Cu-S5-001-210": "grain_boundaries-92303e9801f9",
    "Fe-S3-110-twist": "grain_boundaries-efb73bf3f070",
    "SrTiO3-S5-001-310-t1": "grain_boundaries-e11d3215c525",
}


def space(*names, **options):
    return GrainBoundarySpace(domain="grain_boundaries", **({"boundaries": list(names)} | options))


def made(*names, inventories=INVENTORIES, **options):
    return list(space(*names, **options).candidates(inventories))


def own_inventory(folder, **changes):
    """An inventory with copper Σ5(210) under another name, its entry changed; None leaves a key out."""
    fields = {"id": "mine", "name": "Mine", "element": "Cu", "lattice_constant": 3.615, "axis": "[0, 0, 1]"}
    fields |= {"plane": "[2, 1, 0]", "source": "a calculation of ours"} | changes
    text = "\n  ".join(f"{key}: {value}" for key, value in fields.items() if value is not None)
    (folder / "grain_boundaries.yaml").write_text(f"- {text}\n", encoding="utf-8")
    (folder / "compounds.yaml").write_text((INVENTORIES.folder / "compounds.yaml").read_text("utf-8"), "utf-8")
    return Inventories(folder)


@pytest.mark.parametrize("name", STORED_IDS)
def test_the_id_of_a_boundary_is_the_stored_one(name):
    (candidate,) = made(name)
    assert candidate.candidate_id == STORED_IDS[name]


def test_the_id_of_a_translation_is_the_stored_one():
    candidates = made("Cu-S5-001-210", translations={"step": 0.5, "openings": [0.4]}, remove_closer=[1.5])
    assert candidates[7].inputs["translation"] == [0.404169, 0.90375, 0.4]
    assert candidates[7].candidate_id == "grain_boundaries-62ef2e60d33f"


def test_inputs_are_what_determines_the_structure_and_nothing_else(tmp_path):
    (candidate,) = made("Cu-S5-001-210")
    same = candidate.candidate_id
    assert set(candidate.inputs) == {"version", "crystal", "geometry", "cell", "remove_closer", "translation"}
    for changes in (
        {},
        {"plane": None, "angle": 53.13},
        {"plane": None, "angle": 53.1, "sigma": 5},
        {"collection": "a"},
    ):
        (other,) = made("mine", inventories=own_inventory(tmp_path, **changes))
        assert other.candidate_id == same
    assert made("Cu-S5-001-210", cell={"max_atoms": 5000, "vacuum": 30})[0].candidate_id == same
    one = {"boundaries": 1}
    changed = [
        {"cell": {"thickness": 25}},
        {"cell": one},
        {"cell": one | {"vacuum": 30}},
        {"cell": {"rigid": 5}},
        {"cell": {"shape": "smallest"}},
        {"remove_closer": [1.5]},
    ]
    ids = [made("Cu-S5-001-210", **options)[0].candidate_id for options in changed]
    (strained,) = made("mine", inventories=own_inventory(tmp_path, lattice_constant=3.6))
    assert len({same, strained.candidate_id, *ids}) == len(changed) + 2


def test_an_element_without_a_lattice_constant_gets_its_number_into_the_inputs(tmp_path):
    (candidate,) = made("mine", inventories=own_inventory(tmp_path, lattice_constant=None))
    assert candidate.inputs["crystal"] == {"element": "Cu", "lattice_constant": 3.61}


def test_a_compound_is_in_the_inputs_by_value():
    (candidate,) = made("MgO-S5-001-310")
    assert candidate.inputs["crystal"] == INVENTORIES.compounds["MgO-rocksalt"].content()
    assert build(Candidate.model_validate_json(candidate.model_dump_json())) == build(candidate)


@pytest.mark.parametrize("options", [{}, {"cell": {"boundaries": 1, "rigid": 5.0, "shape": "smallest", "vacuum": 9}}])
def test_the_starting_structure_says_what_it_is(options):
    (candidate,) = made("SrTiO3-S5-001-310-t1", remove_closer=[None, 1.5], **options)
    structure = build(candidate)
    assert len(structure) == candidate.data["n_atoms"]
    assert set(structure.site_properties["grain"]) == {1, 2}
    assert any(structure.site_properties["rigid"]) == bool(options)
    found = structure.properties["grain_boundary"]
    assert found["remove_closer"] == [None, 1.5]
    assert found["translation"] is None
    assert found["cell"] == BicrystalCell(**options.get("cell", {})).model_dump(mode="json")
    assert found["boundary"]["termination"] == 1
    again = bicrystal_of(type(structure).from_dict(structure.as_dict()))
    assert again.symbols == tuple(site.specie.symbol for site in structure)
    assert np.allclose(again.positions, structure.cart_coords)
    assert np.allclose(again.lattice, structure.lattice.matrix)


@pytest.mark.parametrize("name", ["Cu-S29-001-520", "SrTiO3-S3-110-112", "Au-S13-001-twist"])
@pytest.mark.parametrize("factor", [0.97, 1.0, 1.0377])
def test_another_lattice_constant_scales_the_bicrystal(name, factor):
    structure = build(made(name, cell={"rigid": 4})[0])
    start = bicrystal_of(structure)
    scaled = bicrystal_of(structure, start.spec.crystal.constant * factor)
    assert scaled.symbols == start.symbols
    assert scaled.spec.crystal.constant == pytest.approx(start.spec.crystal.constant * factor)
    assert np.allclose(scaled.positions, start.positions * factor)
    assert np.allclose(scaled.lattice, start.lattice * factor)
    assert (scaled.rigid == start.rigid).all()


def test_a_structure_of_another_origin_is_refused():
    (candidate,) = made("Cu-S5-001-210")
    structure = build(candidate)
    structure.properties = {}
    with pytest.raises(InputError, match="does not say which grain boundary"):
        bicrystal_of(structure)


def test_boundaries_are_chosen_by_id_by_collection_or_all():
    assert [one.data["boundary"] for one in made("W-S5-001-310", "Cu-S5-001-210")] == ["W-S5-001-310", "Cu-S5-001-210"]
    both = made(boundaries={"collection": ["kiyohara-2016-test", "kiyohara-2016-training"]})
    assert [one.data["collection"] for one in both] == ["kiyohara-2016-test"] * 12 + ["kiyohara-2016-training"] * 4
    assert made(boundaries={"collection": "kiyohara-2016-training"}) == both[12:]
    everything = made(boundaries="all", cell={"thickness": 8, "shape": "smallest"})
    assert [one.data["boundary"] for one in everything] == list(INVENTORIES.boundaries)
    assert len({one.candidate_id for one in everything}) == len(everything)
    assert len({one.label for one in everything}) == len(everything)


def test_each_orbit_of_translations_is_one_candidate():
    options = {"step": 0.4, "openings": [0.4, 0.8]}
    candidates = made("Cu-S5-001-210", translations=options)
    left_out = space("Cu-S5-001-210", translations=options).skipped(INVENTORIES)
    bicrystal = BicrystalCell().bicrystal(specification(candidates[0].inputs))
    grid = TranslationSpace.of_bicrystal(bicrystal, step=0.4, openings=[0.4, 0.8])
    assert len(candidates) + len(left_out) == len(grid.representatives) < grid.n_points / 3
    for candidate in candidates[::17]:
        x, y, z = candidate.inputs["translation"]
        structure = build(candidate)
        expected = translated(bicrystal, x, y, z)
        assert np.allclose(structure.cart_coords, expected.positions)
        assert np.allclose(structure.lattice.matrix, expected.lattice)
        assert structure.properties["grain_boundary"]["translation"] == [x, y, z]
        assert np.allclose(bicrystal_of(structure).positions, bicrystal.positions)


@pytest.mark.parametrize(
    ("name", "cell", "closed"),
    [
        ("Cu-S17-001-410", {}, -0.6),
        ("Cu-S5-001-310", {"rigid": 4, "shape": "smallest"}, -0.6),
        ("MgO-S5-001-210", {}, -0.6),
        ("Al-S7-111-twist", {}, -1.6),
    ],
)
def test_overlaps_and_removals_are_those_of_the_whole_cell(name, cell, closed):
    removal, options = [None, 1.2, 2.2], {"step": 0.8, "openings": [closed, 0.0, 0.5]}
    chosen = space(name, cell=cell, remove_closer=removal, translations=options)
    candidates, left_out = list(chosen.candidates(INVENTORIES)), chosen.skipped(INVENTORIES)
    bicrystal = BicrystalCell(**cell).bicrystal(specification(candidates[0].inputs))
    grid = TranslationSpace.of_bicrystal(bicrystal, step=0.8, openings=options["openings"])
    kept, overlapping, repeated = [], 0, 0
    for translation in np.round(grid.translations(grid.representatives), 6):
        counts = set()
        for distance in removal:
            try:
                removed = translated(bicrystal, *translation, remove_closer=distance).removed
            except InputError:
                overlapping += 1
                continue
            if removed in counts:
                repeated += 1
                continue
            counts.add(removed)
            kept.append((translation.tolist(), [distance], len(bicrystal.symbols) - removed))
    found = [(one.inputs["translation"], one.inputs["remove_closer"], one.data["n_atoms"]) for one in candidates]
    assert found == kept
    assert sum("apart, less than" in reason for _, reason in left_out) == overlapping
    assert sum("removes" in reason for _, reason in left_out) == repeated
    assert overlapping
    assert repeated
    assert len({one.candidate_id for one in candidates}) == len(candidates)
    for candidate in candidates[:: max(1, len(candidates) // 5)]:
        assert len(build(candidate)) == candidate.data["n_atoms"]
    assert any("removed" in one.label for one in candidates)


def test_what_overlaps_is_named_with_its_distance():
    left_out = space("Cu-S125-001-11_2_0", translations={"step": 2}).skipped(INVENTORIES)
    name, reason = left_out[0]
    assert name == "Cu Σ125[001](11 2 0) at (0, 0, 0) Å"
    assert re.search(r"Cu and Cu of the two grains are 0\.323 Å apart, less than 1\.022 Å", reason)


def test_facets_name_the_boundary_and_its_place_on_the_circles_of_the_periods():
    (whole,) = made("Cu-S5-001-210")
    assert facets(whole) == {
        "boundary": "Cu-S5-001-210",
        "crystal": "Cu",
        "sigma": 5,
        "axis": "[001]",
        "plane": "(210)",
        "kind": "symmetric_tilt",
        "angle": 53.13,
        "collection": "kiyohara-2016-training",
        "n_atoms": 100,
    }
    candidates = made("Cu-S5-001-210", translations={"step": 0.4, "openings": [0.4]})
    lx, ly = 3.615 * 5**0.5, 3.615
    for candidate in candidates:
        found = facets(candidate)
        x, y, _ = candidate.inputs["translation"]
        assert (found["x"], found["y"], found["z"]) == (x, y, 0.4)
        assert hypot(found["x_cos"], found["x_sin"]) == pytest.approx(lx / (2 * pi))
        assert hypot(found["y_cos"], found["y_sin"]) == pytest.approx(ly / (2 * pi))
        assert np.arctan2(found["x_sin"], found["x_cos"]) % (2 * pi) == pytest.approx(2 * pi * x / lx, abs=1e-9)
    assert "collection" not in facets(made("W-S5-001-310")[0])


def test_engines_that_do_not_fit_are_refused_with_what_to_do():
    search, relax = engine_class("translation_search")(), engine_class("tight_binding")()
    whole, configurations = space("Cu-S5-001-210"), space("Cu-S5-001-210", translations={})
    assert whole.refuses(search) is None
    assert configurations.refuses(relax) is None
    assert re.search("tight_binding computes one .* translation_search, or give translations", whole.refuses(relax))
    assert "leave translations out of the candidates section" in configurations.refuses(search)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"boundaries": ["Cu-S5-001-120"]}, ["'Cu-S5-001-120' is not in", "did you mean", "'Cu-S5-001-210'"]),
        (
            {"boundaries": {"collection": ["kiyohara"]}},
            ["'kiyohara'", "kiyohara-2016-test", "hts inventory boundaries"],
        ),
        (
            {"boundaries": ["Cu-S125-001-11_2_0"], "cell": {"max_atoms": 300}},
            [
                "Cu-S125-001-11_2_0",
                "would have 496 atoms",
                "max_atoms = 300",
                "thickness up to",
                "shape: smallest has 248",
            ],
        ),
        (
            {"boundaries": ["Fe-S5-001-210"], "cell": {"rigid": 30}},
            ["boundary Fe-S5-001-210", "rigid block of 30 Å", "Give a larger thickness"],
        ),
        (
            {"boundaries": ["Cu-S125-001-11_2_0"], "translations": {"openings": [-2], "step": 3}},
            ["no candidate is left; the first: Cu Σ125[001](11 2 0) at (0, 0, -2) Å", "apart", "larger openings"],
        ),
    ],
)
def test_what_cannot_be_made_says_why_and_what_helps(options, says):
    with pytest.raises(InputError) as caught:
        made(**options)
    for part in says:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"element": "Zn"}, "'Zn' crystallises as hcp"),
        ({"termination": 1}, "no termination 1"),
        ({"element": None, "lattice_constant": None, "compound": "ZnS-zincblende"}, "its space group is F-43m"),
        ({"element": None, "lattice_constant": None, "compound": "MgO-rocksal"}, "did you mean 'MgO-rocksalt'"),
    ],
)
def test_an_entry_that_is_no_boundary_is_named(tmp_path, changes, says):
    with pytest.raises(InputError, match="boundary mine: ") as caught:
        made("mine", inventories=own_inventory(tmp_path, **changes))
    assert says in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"boundaries": []}, "write all, a list of ids"),
        ({"boundaries": "Cu-S5-001-210"}, "write all, a list of ids"),
        ({"boundaries": {"collections": ["a"]}}, "write all, a list of ids"),
        ({"boundaries": {"collection": []}}, "write all, a list of ids"),
        ({"remove_closer": [1.5, 1.5]}, "given twice"),
        ({"remove_closer": [-1]}, "greater than 0"),
        ({"remove_closer": []}, "at least 1"),
        ({"cell": {"thickness": 0}}, "greater than 0"),
        ({"cell": {"boundaries": 3}}, "1 or 2"),
        ({"cell": {"size": 3}}, "Extra inputs"),
        ({"translations": {"step": 0}}, "greater than or equal to 0.01"),
        ({"translations": {"openings": []}}, "at least 1"),
        ({"translations": {"openings": [40]}}, "less than or equal to 10"),
    ],
)
def test_values_that_make_no_sense_are_refused(options, says):
    with pytest.raises(ValidationError, match=re.escape(says)):
        space("Cu-S5-001-210", **options)


def test_a_campaign_names_the_places_of_unknown_boundaries():
    campaign = Campaign.model_construct(candidates=space("Cu-S5-001-210", "Cu-S5-001-21"), inventories=None)
    (problem,) = campaign.unknown_names()
    assert problem.path == ("candidates", "boundaries", 1)
    assert "'Cu-S5-001-210'" in problem.message
    assert Campaign.model_construct(candidates=space(boundaries="all"), inventories=None).unknown_names() == []


def test_the_space_is_the_same_after_being_stored():
    chosen = space(
        boundaries={"collection": ["kiyohara-2016-test"]}, translations={"step": 0.3}, remove_closer=[None, 1]
    )
    assert GrainBoundarySpace.model_validate_json(chosen.model_dump_json()) == chosen


def test_a_boundary_given_by_its_angle_is_the_one_given_by_its_plane():
    fields = {"id": "a", "name": "a", "element": "Cu", "axis": (0, 0, 1), "source": "a calculation of ours"}
    by_plane = Boundary(**fields, plane=(5, 3, 0))
    by_angle = Boundary(**fields, angle=61.93)
    assert (by_plane.geometry.sigma, by_angle.geometry.sigma) == (17, 17)
    assert by_angle.content(INVENTORIES)["geometry"]["sigma"] == 17
