import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from crystals import FAMILIES, fluorite, half_heusler, has_dscribe, lead_selenide, wurtzite
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from hts_flows.descriptors import Entry, describe_entries, soap
from hts_flows.errors import InputError
from hts_flows.pools.cells import structure_to_text


def _named(entry, *names, **options):
    table = describe_entries([entry], list(names), **options)
    return dict(zip(table.names, table.values[0].tolist(), strict=True))


def test_volume_and_density_by_hand():
    # PbSe: 8 atoms in (6.124 Å)³; 4 (207.2 + 78.96) u in it, 1 u/Å³ = 1.66054 g/cm³; 8.27 g/cm³ by X-rays.
    found = _named(Entry("PbSe", lead_selenide()), "volume_per_atom", "density")
    assert found["volume_per_atom"] == pytest.approx(6.124**3 / 8, rel=1e-9)
    assert found["density"] == pytest.approx(4 * 286.16 * 1.66053907 / 6.124**3, rel=1e-6)
    assert found["density"] == pytest.approx(8.27, abs=0.02)
    assert _named(Entry("CaF2", fluorite()), "density")["density"] == pytest.approx(3.18, abs=0.01)


def test_known_volume_and_density_go_before_the_structure():
    relaxed = Entry("PbSe", lead_selenide(), {"volume_per_atom": 29.0})
    density = 1.66053907 * 143.08 / 29.0
    assert _named(relaxed, "volume_per_atom", "density") == pytest.approx({"volume_per_atom": 29.0, "density": density})
    assert _named(Entry("PbSe", data={"density": density}), "volume_per_atom")["volume_per_atom"] == pytest.approx(29)
    with pytest.raises(InputError, match=r"'density': 1 of 2 entries have neither .* e\.g\. CaF2"):
        describe_entries([relaxed, Entry("CaF2")], ["density"])
    with pytest.raises(InputError, match="volume_per_atom of CaF2 is -3"):
        describe_entries([relaxed, Entry("CaF2", data={"volume_per_atom": -3.0})], ["density"])


def test_structures_may_come_as_objects_text_or_functions():
    crystal = lead_selenide().get_primitive_structure()
    ways = [
        crystal,
        crystal.as_dict(),
        json.dumps(crystal.as_dict()),
        structure_to_text(crystal),
        crystal.to(fmt="cif"),
        crystal.to(fmt="poscar"),
        lambda: crystal,
    ]
    table = describe_entries([Entry("PbSe", way) for way in ways], ["volume_per_atom", "local_order"])
    np.testing.assert_allclose(table.values, np.tile(table.values[0], (len(ways), 1)), rtol=1e-6, atol=1e-6)


def test_coordination_of_known_structures():
    rocksalt = _named(Entry("PbSe", lead_selenide()), "local_order")
    assert (rocksalt["min_coordination"], rocksalt["max_coordination"]) == (6, 6)
    assert rocksalt["mean_distance"] == pytest.approx(3.062)
    # Octahedron and cube: Steinhardt et al., Phys. Rev. B 28, 784 (1983)
    assert rocksalt["mean_q4"] == pytest.approx(0.764, abs=1e-3)
    assert rocksalt["mean_q6"] == pytest.approx(0.354, abs=1e-3)
    found = _named(Entry("CaF2", fluorite()), "local_order")
    assert (found["min_coordination"], found["max_coordination"]) == (4, 8)
    assert found["mean_coordination"] == pytest.approx(16 / 3)
    # Atoms farther apart than their radii let expect still have neighbours: solid argon is close-packed.
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.31), ["Ar"], [[0, 0, 0]])
    assert _named(Entry("Ar", argon), "local_order")["mean_coordination"] == 12


@has_dscribe
def test_soap_tells_structures_and_elements_apart():
    other = lead_selenide()
    other.replace_species({"Pb": "Sr", "Se": "O"})
    table = describe_entries([Entry("PbSe", lead_selenide()), Entry("SrO", other)], ["soap"])
    assert table.values.shape == (2, 210)
    # The same places: alike where atoms count alike, different where electronegativity counts.
    np.testing.assert_allclose(table.values[0, :105], table.values[1, :105], rtol=1e-10)
    assert abs(table.values[0, 105:] - table.values[1, 105:]).max() > 0.1
    zinc_oxide = describe_entries([Entry("ZnO", wurtzite())], ["soap"]).values[0]
    assert abs(zinc_oxide[:105] - table.values[0, :105]).max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_descriptors_depend_on_the_crystal_alone(family, data):
    crystal = data.draw(st.sampled_from([lead_selenide, fluorite, half_heusler, wurtzite]))()
    turn = Rotation.from_rotvec(data.draw(st.tuples(*[st.floats(-3, 3)] * 3))).as_matrix()
    order = data.draw(st.permutations(range(len(crystal))))
    shift = np.array(data.draw(st.tuples(*[st.floats(0, 1)] * 3)))
    species = [crystal[site].specie for site in order]
    moved = Structure(Lattice(crystal.lattice.matrix @ turn.T), species, crystal.frac_coords[order] + shift)
    larger = crystal.copy()
    larger.make_supercell(data.draw(st.sampled_from([[1, 1, 2], [[1, 1, 0], [0, 1, 0], [0, 0, 1]]])))
    entries = [Entry(crystal.formula, one) for one in (crystal, moved, larger)]
    values = describe_entries(entries, [family]).values
    np.testing.assert_allclose(values[1:], values[[0, 0]], rtol=1e-5, atol=1e-5)


def test_entries_without_a_structure_are_told():
    entries = [Entry("PbSe", lead_selenide()), Entry("CaF2", name="mp-2741"), Entry("LiMgP")]
    with pytest.raises(InputError, match=r"'local_order' needs a structure: 2 of 3 .* e\.g\. mp-2741, LiMgP"):
        describe_entries(entries, ["local_order"])


def test_unusable_structures_are_told_and_the_others_are_kept(tmp_path):
    half = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    entries = [Entry("NaK", half, name="alloy"), Entry("CaF2", "no structure"), Entry("PbSe", lead_selenide())]
    with pytest.raises(InputError, match=r"2 of 3 structures .* e\.g\. alloy: site 1 is partially occupied"):
        describe_entries(entries, ["local_order"], cache=tmp_path)
    (file,) = tmp_path.glob("*/*.parquet")
    assert pq.read_table(file).num_rows == 1


@has_dscribe
def test_soap_of_an_element_without_electronegativity_is_told():
    argon = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.31), ["Ar"], [[0, 0, 0]])
    with pytest.raises(InputError, match="no electronegativity is known of Ar"):
        describe_entries([Entry("Ar", argon)], ["soap"])


def test_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "dscribe", None)  # how Python marks a module that cannot be imported
    with pytest.raises(InputError, match=r"'soap' needs the package dscribe[\s\S]*'\.\[descriptors\]'"):
        describe_entries([Entry("PbSe", lead_selenide())], ["soap"])


def test_soap_options_are_in_the_provenance():
    assert soap.describe_options()["r_cut"] == 6.0
    table = describe_entries([Entry("PbSe", lead_selenide())], ["local_order"])
    assert "pymatgen-core" in table.provenance["versions"]
    assert json.loads(json.dumps(table.provenance))["descriptors"]["local_order"]["columns"] == 16
