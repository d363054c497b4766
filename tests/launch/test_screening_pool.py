import pytest

from hts_flows.errors import InputError
from hts_flows.inventories import Inventories
from hts_flows.launch.screening_pool import (
    NO_STRUCTURE,
    FilterReader,
    Member,
    is_charge_balanced,
    screening_pool,
    training_set,
)
from hts_flows.screen import Filters, Screen
from hts_flows.structures.compounds import CompoundSpace, pool_candidates


@pytest.fixture(scope="module")
def members():
    names = [
        "PbSe-rocksalt",
        "PbTe-rocksalt",
        "NaCl-rocksalt",
        "HgTe-zincblende",
        "CsCl-caesium_chloride",
        "CaF2-fluorite",
    ]
    space = CompoundSpace(domain="compounds", compounds=names)
    return [Member(candidate, candidate.data) for candidate in space.candidates(Inventories())]


def formulas(members):
    return [member.candidate.formula for member in members]


def left(members, trained=(), **filters):
    reader = FilterReader(Filters(**filters), members, trained)
    return {member.candidate.formula: reader.reason(member) for member in members if reader.reason(member)}


def test_elements_are_excluded(members):
    assert left(members, exclude_elements=["Hg", "Cs"]) == {"HgTe": "has Hg", "CsCl": "has Cs"}


def test_only_elements_of_the_training_set(members):
    others = "has other elements than those allowed"
    expected = dict.fromkeys(["NaCl", "HgTe", "CsCl", "CaF2"], others)
    assert left(members, trained=members[:2], only_elements="trained") == expected
    assert left(members, only_elements=["Na", "Cs", "Cl"]) == dict.fromkeys(["PbSe", "PbTe", "HgTe", "CaF2"], others)


def test_conditions_on_what_is_known(members):
    assert set(left(members, where=["density > 5", "n_atoms == 2"])) == {"NaCl", "CsCl", "CaF2"}
    assert left(members, where=["prototype == rocksalt"])["CaF2"] == "not: prototype == rocksalt"


def test_band_gap_window(members):
    bare = [{name: one for name, one in member.data.items() if name != "band_gap"} for member in members]
    gaps = [{"band_gap": 0.0}, {"band_gap": 0.1}, {"band_gap": 0.2}, {"band_gap": 0.3}, {"band_gap": 0.4}, {}]
    gapped = [Member(one.candidate, data | gap) for one, data, gap in zip(members, bare, gaps, strict=True)]
    found = left(gapped, band_gap=[0.1, 0.3])
    assert set(found) == {"PbSe", "CsCl", "CaF2"}
    assert found["CaF2"] == "band gap not known"
    assert found["CsCl"] == "band gap outside 0.1 to 0.3 eV"


@pytest.mark.parametrize(
    ("formula", "balanced"),
    [
        ("NaCl", True),
        ("PbSe", True),
        ("PbRb4Br6", True),
        ("CaF2", True),
        ("Si", True),
        ("NaCl2", False),
        ("Cu3Au", False),
    ],
)
def test_charge_balance(formula, balanced):
    assert is_charge_balanced(formula) is balanced


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"where": ["densty > 5"]}, "did you mean 'density'"),
        ({"where": ["density 5"]}, "cannot read the condition"),
        ({"where": ["density << 5"]}, "'< 5' is not a number"),
        ({"where": ["density < nan"]}, "not a finite number"),
        ({"only_elements": "trained"}, "needs train_on"),
    ],
)
def test_filters_that_cannot_be_applied_say_why(members, filters, message):
    with pytest.raises(InputError) as error:
        FilterReader(Filters(**filters), members, [])
    assert message in f"{error.value.message} {error.value.hint}"


def test_a_band_gap_window_needs_band_gaps(members):
    bare = [
        Member(one.candidate, {name: value for name, value in one.data.items() if name != "band_gap"})
        for one in members
    ]
    with pytest.raises(InputError, match="no candidate comes with a band gap"):
        FilterReader(Filters(band_gap=[0, 1]), bare, [])


def test_the_training_set_is_chosen_by_facets(members):
    assert formulas(training_set(members, {"prototype": ["rocksalt"]})) == ["PbSe", "PbTe", "NaCl"]
    assert formulas(training_set(members, {"prototype": ["rocksalt"], "name": ["PbSe-rocksalt"]})) == ["PbSe"]
    assert formulas(training_set(members, {"n_atoms": ["3"]})) == ["CaF2"]
    assert training_set(members, {}) == []


@pytest.mark.parametrize(
    ("train_on", "message"),
    [
        ({"protoype": ["rocksalt"]}, "prototype"),
        ({"prototype": ["rock salt"]}, "rocksalt"),
        ({"prototype": ["fluorite"], "name": ["PbSe-rocksalt"]}, "no candidate fits"),
    ],
)
def test_a_training_set_that_is_not_there_is_named(members, train_on, message):
    with pytest.raises(InputError) as error:
        training_set(members, train_on)
    assert message in f"{error.value.message} {error.value.hint}"


def test_what_is_known_stays_and_what_has_no_structure_is_never_asked_for(members):
    import pandas as pd

    frame = pd.DataFrame(
        {
            "name": ["PbIBr"],
            "formula": ["PbBrI"],
            "structure": [None],
            "n_atoms": [None],
            "volume_per_atom": [38.0],
            "density": [6.0],
        }
    )
    bare = [Member(candidate, candidate.data) for candidate in pool_candidates(frame, "formulas")]
    screen = Screen(
        by="volume_per_atom",
        descriptors=["volume_per_atom", "density", "elements"],
        filters={"exclude_elements": ["Hg", "Ca"]},
        stop={"budget": 3},
    )
    known = {members[3].candidate.candidate_id}
    pool = screening_pool([*members, *bare], screen, [], known, None)
    assert formulas(pool.members) == ["PbSe", "PbTe", "NaCl", "HgTe", "CsCl", "PbBrI"]
    assert formulas(pool.members[number] for number in pool.closed) == ["HgTe", "PbBrI"]
    assert pool.left_out == {"has Hg": 1, "has Ca": 1, NO_STRUCTURE: 1}
    assert len(pool.table.values) == 6
    assert set(pool.plain_descriptors()) == {"volume_per_atom", "density"}
    assert pool.plain_descriptors()["density"][-1] == 6.0


def test_filters_that_leave_nothing_count_what_they_left_out(members):
    screen = Screen(
        by="volume_per_atom", descriptors=["elements"], filters={"only_elements": ["Au"]}, stop={"budget": 1}
    )
    with pytest.raises(InputError, match="none of the 6 candidates: 6 has other elements"):
        screening_pool(members, screen, [], set(), None)
