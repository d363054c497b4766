import json

import pytest
from pydantic import ValidationError
from pymatgen.core import Structure

from hts_flows.candidates import Candidate
from hts_flows.errors import InputError
from hts_flows.inventories import Inventories
from hts_flows.pools import PoolSource, read_pool
from hts_flows.structures.compounds import CompoundSpace, FrozenPool, build, has_structure


@pytest.fixture(scope="module")
def inventories():
    return Inventories()


def space(**options):
    return CompoundSpace(domain="compounds", **options)


def write_pool(folder, records, name="pool.json"):
    (folder / name).write_text(json.dumps(records))
    return PoolSource(file=str(folder / name))


def rocksalt(a=6.12):
    return Structure.from_spacegroup(
        "Fm-3m", [[a, 0, 0], [0, a, 0], [0, 0, a]], ["Pb", "Se"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def test_what_is_known_beforehand_agrees_with_the_structure(inventories):
    names = ["PbSe-rocksalt", "ZnO-wurtzite", "CaF2-fluorite", "CsCl-caesium_chloride"]
    for candidate in space(compounds=names).candidates(inventories):
        structure = build(candidate)
        assert len(structure) == candidate.data["n_atoms"]
        assert structure.volume / len(structure) == pytest.approx(candidate.data["volume_per_atom"])
        assert structure.density == pytest.approx(candidate.data["density"])
        assert structure.properties["provenance"] == {"name": candidate.data["name"], "pool": "inventory"}


def test_the_id_follows_from_the_crystal_alone(inventories):
    (candidate,) = space(compounds=["PbSe-rocksalt"]).candidates(inventories)

    def changed(**fields):
        return Candidate.model_validate(candidate.model_dump() | fields).candidate_id

    assert changed(data={}, label="another name") == candidate.candidate_id
    content = candidate.inputs["content"] | {"lattice": {"a": 6.2}}
    assert changed(inputs=candidate.inputs | {"content": content}) != candidate.candidate_id


def test_a_pool_gives_structures_and_numbers(tmp_path, inventories):
    pool = write_pool(
        tmp_path,
        [
            {"name": "lead-selenide", "structure": rocksalt().as_dict(), "band_gap": 0.28},
            {"name": "only-a-formula", "formula": "PbIBr", "volume_per_atom": 38.0},
        ],
    )
    first, second = space(pools=[pool]).candidates(inventories)
    assert first.data["band_gap"] == 0.28
    assert first.data["pool"] == "pool"
    assert (first.data["n_atoms"], len(build(first))) == (8, 2)
    assert has_structure(first)
    assert not has_structure(second)
    assert second.data["volume_per_atom"] == 38.0
    assert "n_atoms" not in second.data
    with pytest.raises(InputError, match="gives no structure for it, so it can be ranked, not computed"):
        build(second)


def test_a_frozen_pool_stays_as_it_was(tmp_path, inventories, database):
    from hts_flows.stores.pools import fetch_pool, store_pool

    pool = write_pool(tmp_path, [{"name": "one", "structure": rocksalt().as_dict()}])
    original = space(pools=[pool])
    frozen = original.frozen(lambda frame: store_pool(database, frame), None)
    ids = [candidate.candidate_id for candidate in original.candidates(inventories)]
    (tmp_path / "pool.json").unlink()
    (table,) = frozen.tables()
    fetch_pool(database, table)
    assert [candidate.candidate_id for candidate in frozen.candidates(inventories)] == ids
    assert CompoundSpace.model_validate(frozen.model_dump(mode="json")) == frozen
    # A changed file is another pool.
    write_pool(tmp_path, [{"name": "one", "structure": rocksalt(6.2).as_dict()}])
    assert original.frozen(lambda frame: store_pool(database, frame), frozen).tables() != [table]


def test_a_database_is_asked_once():
    source = {"optimade": "https://example.org/optimade", "filter": 'elements HAS "Te"'}
    stored = space(pools=[FrozenPool(name="example.org", sha256="0" * 64, source=source)])
    asked = space(pools=[PoolSource(**source)])

    def fail(_frame):
        pytest.fail("it was read again")

    assert asked.frozen(fail, stored).pools == stored.pools


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give compounds"),
        ({"compounds": "some"}, "write all, or a list of ids"),
        ({"pools": [{"file": "a.csv"}, {"file": "b/a.csv"}]}, "two pools are named 'a'"),
        ({"pools": [{"file": "a.csv", "optimade": "https://example.org"}]}, "exactly one of"),
    ],
)
def test_a_section_that_cannot_be_used_says_why(options, message):
    with pytest.raises(ValidationError, match=message):
        space(**options)


def test_what_is_wrong_with_a_pool_is_told_once():
    with pytest.raises(ValidationError) as error:
        space(pools=[{"file": "a.csv"}, {"fil": "b.csv", "file": "b.csv"}])
    (problem,) = error.value.errors()
    assert problem["loc"] == ("pools", 1, "fil")
    assert "did you mean 'file'" in problem["msg"]


def test_paths_are_taken_from_the_campaign_files_folder(tmp_path):
    write_pool(tmp_path, [{"name": "one", "structure": rocksalt().as_dict()}])
    placed = space(pools=[{"file": "pool.json"}]).placed(tmp_path)
    assert len(read_pool(placed.pools[0])) == 1
