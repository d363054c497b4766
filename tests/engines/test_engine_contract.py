"""What holds for every engine."""

from __future__ import annotations

import subprocess
import sys

import pytest
from jobflow import Maker
from monty.json import MontyDecoder, jsanitize
from pydantic import ValidationError

from hts_flows.engines import Engine, engine_class, engine_from_dict, engine_names
from hts_flows.engines.base import Calculation
from hts_flows.errors import InputError

ENGINES = ["chgnet", "cp2k", "gpaw", "phono3py", "sevennet", "tight_binding", "translation_search", "vasp"]

#: Those whose settings mean the same for every system.
WITHOUT_AUTO = {"tight_binding"}

#: Hashes of the default settings for layered systems: results in databases are stored under them.
HASHES = {
    "chgnet": "fd09b967d36c",
    "cp2k": "5cbd2439ccab",
    "gpaw": "19b79a593658",
    "phono3py": "8ad0c082b64d",
    "sevennet": "299a0d699980",
    "tight_binding": "619a51aa3030",
    "translation_search": "edcfc0503590",
    "vasp": "1ddb30a492f8",
}


def changed(engine: Engine, name: str) -> Engine | None:
    """Change one numeric setting by a little, within its bounds."""
    value = getattr(engine, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    new = value + 1 if isinstance(value, int) else value * 1.001
    try:
        return engine_from_dict(engine.model_dump() | {name: new})
    except ValidationError:
        return engine_from_dict(engine.model_dump() | {name: value - 1})


def test_every_engine_is_found_by_the_name_of_its_module():
    assert [name for name in engine_names() if name in ENGINES] == ENGINES


@pytest.mark.parametrize("name", ENGINES)
def test_settings_survive_the_way_to_the_database_and_back(name):
    engine = engine_from_dict({"engine": name, "task": "static"}).resolved(layered=True)
    assert engine_from_dict(engine.model_dump(mode="json")) == engine


@pytest.mark.parametrize("name", ENGINES)
def test_hash_of_the_defaults_is_the_same_on_every_machine(name):
    assert engine_from_dict({"engine": name}).resolved(layered=True).settings_hash() == HASHES[name]


@pytest.mark.parametrize("name", ENGINES)
def test_hash_changes_with_every_number_that_changes_the_result(name):
    engine = engine_from_dict({"engine": name}).resolved(layered=True)
    variants = {field: changed(engine, field) for field in type(engine).model_fields}
    numeric = {field: variant for field, variant in variants.items() if variant is not None}
    assert numeric
    for field, variant in numeric.items():
        same = variant.settings_hash() == engine.settings_hash()
        assert same == (field in engine.not_hashed), field


@pytest.mark.parametrize(
    ("name", "field", "one", "other"), [("gpaw", "scf_energy", 1e-8, 2e-8), ("vasp", "ediff", 1e-7, 1e-8)]
)
def test_hash_tells_small_numbers_apart(name, field, one, other):
    engines = [engine_from_dict({"engine": name, field: value}).resolved(layered=False) for value in (one, other)]
    assert engines[0].settings_hash() != engines[1].settings_hash()


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in WITHOUT_AUTO])
def test_hash_of_an_unresolved_auto_is_refused(name):
    with pytest.raises(ValueError, match="resolved"):
        engine_from_dict({"engine": name}).settings_hash()


@pytest.mark.parametrize("name", ENGINES)
def test_hash_depends_on_what_made_the_starting_structure(name):
    engine = engine_from_dict({"engine": name}).resolved(layered=True)
    assert len({engine.settings_hash(), engine.settings_hash("a"), engine.settings_hash("b")}) == 3


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("task", ["relax", "static"])
def test_maker_survives_serialisation_by_jobflow(name, task, lic6):
    maker = engine_from_dict({"engine": name, "task": task}).resolved(layered=True).maker()
    assert isinstance(maker, Maker)
    document = jsanitize(maker, strict=True, enum_values=True)
    again = MontyDecoder().process_decoded(document)
    assert type(again) is type(maker)
    assert jsanitize(again, strict=True, enum_values=True) == document
    assert maker.make(lic6).name


@pytest.mark.parametrize("name", ENGINES)
def test_estimates_grow_with_the_number_of_atoms(name):
    engine = engine_from_dict({"engine": name}).resolved(layered=True)
    static = engine.model_copy(update={"task": "static"})
    assert 0 < engine.estimate_seconds(4) < engine.estimate_seconds(40)
    assert static.estimate_seconds(10) < engine.estimate_seconds(10)


@pytest.mark.parametrize("name", ENGINES)
def test_versions_name_the_installed_packages(name):
    versions = engine_from_dict({"engine": name}).resolved(layered=True).versions()
    assert versions
    assert all(text[0].isdigit() for text in versions.values())


@pytest.mark.parametrize("name", ENGINES)
def test_unknown_settings_and_values_are_refused(name):
    with pytest.raises(ValidationError, match="Extra inputs"):
        engine_class(name).model_validate({"engine": name, "colour": "red"})
    with pytest.raises(ValidationError, match=r"less than or equal|should be"):
        engine_class(name).model_validate({"engine": name, "fmax": 1e9})


@pytest.mark.parametrize("name", ENGINES)
def test_every_setting_is_described(name):
    assert all(field.description for field in engine_class(name).model_fields.values())


@pytest.mark.parametrize("name", ENGINES)
def test_one_engine_searches_translations(name):
    assert ("translation_search" in engine_class(name).never_gives) == (name != "translation_search")
    assert engine_class(name).never_gives <= set(Calculation.model_fields)


def test_unknown_model_is_refused_when_the_campaign_is_read():
    with pytest.raises(ValidationError, match="7net-0"):
        engine_class("sevennet").model_validate({"engine": "sevennet", "model": "7net-9"})


def test_unknown_engine_names_the_nearest():
    with pytest.raises(InputError, match="sevennet"):
        engine_class("sevenet")


def test_settings_without_an_engine_list_the_engines():
    with pytest.raises(InputError, match=r"allowed: .*sevennet"):
        engine_from_dict({"task": "static"})


def test_importing_the_engines_loads_nothing_heavy():
    code = (
        "import sys, hts_flows.engines as e; [e.engine_class(n) for n in e.engine_names()];"
        "heavy = {'torch','sevenn','chgnet','gpaw','ase','atomate2','jobflow','pymatgen','numpy'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_calculation_takes_a_structure_or_its_dict_and_gives_json(silicon):
    calculation = Calculation(structure=silicon, energy=-1, converged=True)
    again = Calculation.model_validate_json(calculation.model_dump_json())
    assert again.structure == silicon
    assert Calculation.model_validate(calculation.model_dump()) == calculation
    with pytest.raises(ValidationError, match="expected a pymatgen Structure"):
        Calculation(structure="Si", energy=-1, converged=True)
