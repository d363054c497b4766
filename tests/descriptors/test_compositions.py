import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hts_flows.descriptors import Entry, describe_entries, descriptor_names
from hts_flows.descriptors.elemental import PROPERTIES
from hts_flows.errors import InputError

FORMULAS = ["PbSe", "CaF2", "LiMgP", "Ca(OH)2", "Si", "Fe0.95O"]


def _row(table, index):
    return dict(zip(table.names, table.values[index].tolist(), strict=True))


def test_flags_and_fractions_of_elements():
    table = describe_entries([Entry("PbSe"), Entry("CaF2"), Entry("SePb")], ["fractions", "elements"])
    assert table.names[:4] == ("fraction_F", "fraction_Ca", "fraction_Se", "fraction_Pb")
    assert table.names[4:] == ("has_F", "has_Ca", "has_Se", "has_Pb")
    assert table.groups == [[0, 1, 2, 3], [4, 5, 6, 7]]
    np.testing.assert_array_equal(table.values[:, 4:], [[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]])
    np.testing.assert_array_equal(table.values[1, :4], [2 / 3, 1 / 3, 0, 0])
    np.testing.assert_array_equal(table.values[0], table.values[2])
    assert table.provenance["descriptors"]["elements"] == {"columns": 4, "elements": ["F", "Ca", "Se", "Pb"]}


def test_given_elements_fix_the_columns():
    table = describe_entries([Entry("CaF2")], ["elements"], elements=["Pb", "F", "Ca"])
    assert table.names == ("has_F", "has_Ca", "has_Pb")
    assert table.values.tolist() == [[1, 1, 0]]
    with pytest.raises(InputError, match=r"1 of 2 entries .* e\.g\. PbSe: Se"):
        describe_entries([Entry("CaF2"), Entry("PbSe")], ["elements"], elements=["Pb", "F", "Ca"])
    with pytest.raises(InputError, match="unknown element 'Pd2'"):
        describe_entries([Entry("CaF2")], ["elements"], elements=["Pd2"])


def test_statistics_of_properties_by_hand():
    table = describe_entries([Entry("CaF2"), Entry("LiMgP"), Entry("PbSe")], ["properties"])
    assert len(table.names) == 5 * len(PROPERTIES)
    fluorite, heusler, selenide = (_row(table, index) for index in range(3))
    # Z: Ca 20, F 9; mean (20 + 2 · 9) / 3, variance (20 - 38/3)² / 3 + 2 (9 - 38/3)² / 3 = 242 / 9
    assert fluorite["mean_atomic_number"] == pytest.approx(38 / 3)
    assert fluorite["std_atomic_number"] == pytest.approx((242 / 9) ** 0.5)
    assert [fluorite[f"{kind}_atomic_number"] for kind in ("min", "max", "range")] == [9, 20, 11]
    # Pauling: Li 0.98, Mg 1.31, P 2.19
    assert heusler["mean_electronegativity"] == pytest.approx(4.48 / 3)
    assert heusler["range_electronegativity"] == pytest.approx(1.21)
    # Cordero: Pb 1.46 Å, Se 1.20 Å
    assert (selenide["max_covalent_radius"], selenide["min_covalent_radius"]) == (1.46, 1.20)
    # Pb [Xe] 4f14 5d10 6s2 6p2, Se [Ar] 3d10 4s2 4p4
    electrons = {shell: selenide[f"mean_{shell}_electrons"] for shell in ("s", "p", "d", "f", "valence")}
    assert electrons == {"s": 2, "p": 3, "d": 10, "f": 7, "valence": 22}
    # Groups 1, 2, 15; periods 2, 3, 3
    assert heusler["mean_group"] == pytest.approx(6)
    assert heusler["mean_period"] == pytest.approx(8 / 3)
    # CRC Handbook: Pb melts at 600.61 K, Se at 494 K; first ionisation energies 7.417 and 9.752 eV (NIST)
    assert selenide["max_melting_point"] == pytest.approx(600.6, abs=0.1)
    assert selenide["min_melting_point"] == pytest.approx(494, abs=1)
    assert selenide["mean_ionization_energy"] == pytest.approx((7.4167 + 9.7524) / 2, abs=1e-3)


def test_means_agree_with_magpie():
    # Means over PbSe, CaF2, LiMgP of the data of Ward et al. (2016), as matminer 0.10.1 gives them (preset "magpie").
    magpie = {
        "atomic_number": [58.0, 12.66666667, 10.0],
        "mass": [143.08, 26.02493547, 20.73992067],
        "melting_point": [547.305, 407.33333333, 564.66333333],
        "group": [15.0, 12.0, 6.0],
        "period": [5.0, 2.66666667, 2.66666667],
        "electronegativity": [2.44, 2.98666667, 1.49333333],
        "valence_electrons": [22.0, 5.33333333, 2.66666667],
    }
    table = describe_entries([Entry("PbSe"), Entry("CaF2"), Entry("LiMgP")], ["properties"])
    for name, means in magpie.items():
        np.testing.assert_allclose(table.values[:, table.names.index(f"mean_{name}")], means, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(FORMULAS), min_size=1, max_size=6), st.integers(2, 7))
def test_entries_do_not_depend_on_each_other_nor_on_the_formula_unit(formulas, units):
    names = ["fractions", "properties"]
    elements = ["H", "Li", "O", "F", "Mg", "Si", "P", "Ca", "Fe", "Se", "Pb"]
    together = describe_entries([Entry(formula) for formula in formulas], names, elements=elements)
    for index, formula in enumerate(formulas):
        alone = describe_entries([Entry(formula)], names, elements=elements)
        assert alone.values[0].tobytes() == together.values[index].tobytes()
        larger = describe_entries([Entry(f"({formula}){units}")], names, elements=elements)
        np.testing.assert_allclose(larger.values[0], alone.values[0], rtol=1e-13, atol=1e-7)


def test_unreadable_formulas_are_told():
    with pytest.raises(InputError, match=r"2 of 3 formulas .* 'B', formula 'Xx2O': unknown element 'Xx'"):
        describe_entries([Entry("PbSe"), Entry("Xx2O", name="B"), Entry("")], ["elements"])


def test_element_without_a_property_is_told():
    with pytest.raises(InputError, match=r"1 of 2 entries, e\.g\. ArF, .*Ar without electronegativity"):
        describe_entries([Entry("PbSe"), Entry("ArF")], ["properties"])
    assert describe_entries([Entry("ArF")], ["elements"]).values.tolist() == [[1, 1]]


def test_numbers_that_came_with_the_entries():
    entries = [Entry("PbSe", data={"band_gap": 0.27}), Entry("CaF2", data={"band_gap": 12.1})]
    table = describe_entries(entries, ["band_gap", "elements"])
    assert table.values[:, 0].tolist() == [0.27, 12.1]
    assert table.plain == ("band_gap",)
    entries += [Entry("LiMgP", name="mp-36111"), Entry("MgO", data={"band_gap": float("nan")})]
    with pytest.raises(InputError, match=r"'band_gap': 2 of 4 entries have no .* e\.g\. mp-36111, MgO"):
        describe_entries(entries, ["band_gap"])


def test_unknown_descriptors_are_told_with_the_nearest():
    entries = [Entry("PbSe", data={"band_gap": 0.27})]
    with pytest.raises(InputError, match=r"unknown descriptor 'bandgap'[\s\S]*'band_gap'"):
        describe_entries(entries, ["bandgap"])
    with pytest.raises(InputError, match=r"'element'[\s\S]*'elements'"):
        describe_entries(entries, ["element"])
    with pytest.raises(InputError, match="'elements' is written twice"):
        describe_entries(entries, ["elements", "elements"])
    with pytest.raises(InputError, match="no descriptor is named"):
        describe_entries(entries, [])
    with pytest.raises(InputError, match="no entry"):
        describe_entries([], ["elements"])


def test_every_family_says_what_it_needs():
    families = {family.name: family for family in descriptor_names()}
    assert families["soap"].package == "dscribe"
    assert {name for name, family in families.items() if family.needs == "formula"} == {
        "elements",
        "fractions",
        "properties",
    }


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys; from hts_flows.descriptors import descriptor_names; descriptor_names(); "
        "print([name for name in ('pymatgen', 'dscribe', 'ase', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
