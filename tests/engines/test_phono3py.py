"""Thermal conductivity, with forces of SevenNet that are really computed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from jobflow import Flow
from monty.json import MontyDecoder, jsanitize
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from hts_flows.campaign import CampaignError
from hts_flows.engines import engine_from_dict
from hts_flows.engines.base import CalculationError
from hts_flows.errors import EngineNotAvailableError

#: Quick: a supercell of 8 atoms and few points, for what does not depend on them.
SMALL = {"supercell": [1, 1, 1], "mesh": [3, 3, 3], "temperatures": [300]}


def engine(*, forces=None, **settings):
    settings |= {"engine": "phono3py", "forces": {"engine": "sevennet"} | (forces or {})}
    return engine_from_dict(settings).resolved(layered=False)


def rocksalt(cation, anion, a):
    crystal = Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return crystal.get_primitive_structure()


def zinc_sulfide(a=5.43):
    crystal = Structure.from_spacegroup("F-43m", Lattice.cubic(a), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    return crystal.get_primitive_structure()


@pytest.fixture
def needs_sevennet():
    pytest.importorskip("phono3py", reason="phono3py is not installed: pip install phono3py symfc")
    pytest.importorskip("symfc", reason="symfc is not installed: pip install phono3py symfc")
    pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")


@pytest.fixture
def compute(run_job, needs_sevennet):
    """Conductivity document of a structure."""

    def run(structure, **settings):
        chosen = engine(**settings)
        return chosen.parse(run_job(chosen.maker().make(structure))).thermal_conductivity

    return run


def test_lead_selenide(run_job, needs_sevennet):
    """Published force constants of this potential: 0.72 W/(m·K) at 300 K."""
    chosen = engine(mesh=[9, 9, 9], temperatures=[300, 600])
    document = run_job(chosen.maker().make(rocksalt("Pb", "Se", 6.12)), load=False)
    calculation = chosen.parse(document)
    found = calculation.thermal_conductivity
    assert calculation.converged
    assert calculation.structure.lattice.a * 2**0.5 == pytest.approx(6.22, abs=0.03)
    assert 0.5 < found.average[0] < 1.1
    assert found.average[1] == pytest.approx(found.average[0] / 2, rel=0.05)
    assert found.kappa[0] == pytest.approx([found.average[0]] * 3 + [0] * 3, abs=1e-3)
    assert (found.spacegroup, found.n_atoms, found.supercell, found.n_displaced) == (225, 64, [2, 2, 2], 9)
    assert not found.has_imaginary_modes
    assert abs(found.lowest_frequency) < 0.01
    assert found.fit_residual < 0.01
    assert len(json.dumps(document, default=str)) < 10_000


def test_random_displacements_agree_with_the_systematic_set(compute):
    crystal = zinc_sulfide()
    systematic = compute(crystal, **SMALL, snapshots="systematic")
    random = compute(crystal, **SMALL, snapshots=20)
    assert random.n_displaced == 20
    assert systematic.n_displaced != 20
    assert random.average[0] == pytest.approx(systematic.average[0], rel=0.1)


def test_both_ways_to_run_it_give_the_same(run_job, needs_sevennet):
    """Many jobs, as for VASP and CP2K, against one job."""
    chosen = engine(**SMALL)
    crystal = zinc_sulfide()
    one = chosen.parse(run_job(chosen.maker().make(crystal)))
    maker = chosen.maker()
    maker.one_job = False
    many = chosen.parse(run_job(maker.make(crystal)))
    assert many.thermal_conductivity.average[0] == pytest.approx(one.thermal_conductivity.average[0], rel=1e-3)
    assert many.thermal_conductivity.n_displaced == one.thermal_conductivity.n_displaced
    assert many.energy == pytest.approx(one.energy, abs=1e-6)


@pytest.mark.parametrize("forces", [{"engine": "vasp", "kspacing": 0.3}, {"engine": "cp2k"}])
@pytest.mark.parametrize("task", ["relax", "static"])
def test_program_without_a_calculator_gets_a_job_for_each_supercell(forces, task, needs_sevennet):
    from hts_flows.engines._phono3py_maker import displace

    chosen = engine(forces=forces, task=task, **SMALL, snapshots=6)
    crystal = zinc_sulfide()
    flow = chosen.maker().make(crystal)
    assert isinstance(flow, Flow)
    assert [job.name for job in flow.jobs][-1] == "displace"
    assert len(flow.jobs) == (2 if task == "relax" else 1)
    added = displace.original(crystal, json.loads(json.dumps(chosen.model_dump(mode="json")))).replace
    *statics, last = added.jobs
    assert last.name == "collect"
    assert added.output.uuid == last.uuid
    # the given structure, the undisplaced supercell, six displaced ones
    assert [len(job.function_args[0]) for job in statics] == [2] + [8] * 7
    moved = [job.function_args[0].cart_coords - statics[1].function_args[0].cart_coords for job in statics[2:]]
    assert np.linalg.norm(moved, axis=-1) == pytest.approx(0.03)
    generators = {type(job.maker.input_set_generator).__name__ for job in statics}
    assert generators == {"StaticSetGenerator"}
    if forces["engine"] == "vasp":
        assert statics[1].maker.input_set_generator.user_incar_settings["KSPACING"] == pytest.approx(0.3)


def test_forces_of_another_structure_are_refused(needs_sevennet):
    from hts_flows.engines._phono3py_maker import forces_of

    asked = rocksalt("Na", "Cl", 5.64)
    other = Structure(asked.lattice, asked.species[::-1], asked.frac_coords[::-1])
    document = {"structure": other, "output": {"energy": -1.0, "forces": [[0, 0, 0]] * 2}}
    with pytest.raises(CalculationError, match="another order"):
        forces_of(engine(), document, asked)


def test_unstable_crystal_is_said_to_be_unstable(compute):
    stretched = compute(zinc_sulfide(6.9), **SMALL, task="static")
    assert stretched.has_imaginary_modes
    assert stretched.lowest_frequency < -0.1
    assert stretched.volume == pytest.approx(6.9**3 / 4)


def test_supercell_without_third_order_force_constants_is_refused(needs_sevennet):
    """Every pair of atoms of these eight has a centre of inversion between them or in them."""
    from hts_flows.engines._phonons import Crystal, conventional_cell

    with pytest.raises(CalculationError, match="larger 'supercell'"):
        _ = Crystal(conventional_cell(rocksalt("Na", "Cl", 5.64)), (1, 1, 1)).displacements


def test_too_few_snapshots_are_refused_with_the_number_needed(needs_sevennet):
    from hts_flows.engines._phonons import Crystal, conventional_cell

    crystal = Crystal(conventional_cell(rocksalt("Na", "Cl", 5.64)), (2, 2, 2), snapshots=3)
    with pytest.raises(CalculationError, match=r"3 snapshots(.|\n)*snapshots: 5"):
        _ = crystal.displacements


def test_cutoff_shortens_where_there_are_too_many_parameters(needs_sevennet, monkeypatch):
    from hts_flows.engines import _phonons

    monkeypatch.setattr(_phonons, "MAX_PARAMETERS", 100)
    crystal = _phonons.Crystal(_phonons.conventional_cell(rocksalt("Na", "Cl", 5.64)), (2, 2, 2))
    assert 4 < crystal.resolved_cutoff < 7
    assert crystal.n_parameters < 150


@pytest.mark.parametrize(
    ("a", "min_length", "max_atoms", "expected"),
    [(4.2, 8, 100, 2), (4.2, 10, 100, 2), (4.2, 10, 300, 3), (6, 5, 100, 1)],
)
def test_automatic_supercell(a, min_length, max_atoms, expected, needs_sevennet):
    from hts_flows.engines._phonons import conventional_cell, repetitions

    assert repetitions(conventional_cell(rocksalt("Na", "Cl", a)), min_length, max_atoms) == (expected,) * 3


def test_automatic_supercell_keeps_equal_axes_equal_and_refuses_large_cells(needs_sevennet):
    from hts_flows.engines._phonons import repetitions

    cell = Structure(Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[0, 0, 0], [0.3, 0.3, 0.3]])
    assert repetitions(cell, 10, 100) == (4, 4, 2)
    assert repetitions(cell, 10, 36) == (3, 3, 2)
    with pytest.raises(CalculationError, match="max_atoms"):
        repetitions(cell, 10, 1)


def test_settings_survive_the_way_to_the_database_and_back():
    chosen = engine(mesh=[9, 9, 9], fmax=0.01, cutoff=None)
    assert engine_from_dict(json.loads(json.dumps(chosen.model_dump(mode="json")))) == chosen


@pytest.mark.parametrize("name", ["chgnet", "cp2k", "gpaw", "sevennet", "vasp"])
def test_maker_survives_serialisation_for_every_engine_of_the_forces(name):
    chosen = engine(forces={"engine": name})
    document = jsanitize(chosen.maker(), strict=True)
    assert MontyDecoder().process_decoded(document) == chosen.maker()
    assert chosen.maker().make(rocksalt("Na", "Cl", 5.64)).name
    assert chosen.estimate_seconds(2) < chosen.estimate_seconds(20)


def test_hash_follows_what_changes_the_result():
    base = engine().settings_hash()
    assert engine(forces={"threads": 4, "device": "cuda", "store_trajectory": True}).settings_hash() == base
    changes = [{"seed": 1}, {"mesh": [9, 9, 9]}, {"fmax": 0.002}, {"cutoff": None}, {"distance": 0.031}, {"steps": 20}]
    changes += [{"forces": {"model": "7net-l3i5"}}, {"forces": {"dispersion": True}}, {"forces": {"engine": "chgnet"}}]
    hashes = {base, *(engine(**change).settings_hash() for change in changes)}
    assert len(hashes) == 1 + len(changes)
    assert engine().settings_hash("below") != base


def test_auto_of_the_engine_of_the_forces_is_settled_before_hashing():
    unresolved = engine_from_dict({"engine": "phono3py"})
    with pytest.raises(ValueError, match="resolved"):
        unresolved.settings_hash()
    assert unresolved.resolved(layered=True).forces.dispersion is True
    assert unresolved.resolved(layered=False).forces.dispersion is False


def test_what_stands_beside_forces_reaches_their_engine():
    chosen = engine(forces={"engine": "vasp"}, fmax=0.004, steps=33)
    assert chosen.relaxing().incar_tags()["EDIFFG"] == pytest.approx(-0.004)
    assert chosen.relaxing().incar_tags()["NSW"] == 33
    assert "EDIFFG" not in chosen.computing().incar_tags()


def test_shares_allocations_where_its_forces_do():
    assert engine().runs_as == "sevennet"
    assert engine(forces={"engine": "vasp"}).runs_as == "vasp"


@pytest.mark.parametrize(
    ("settings", "place", "message"),
    [
        ({"forces": {"engine": "sevennet", "modl": "7net-0"}}, "forces.modl", "did you mean 'model'"),
        ({"forces": {"engine": "sevennet", "device": "tpu"}}, "forces.device", "'cpu' or 'cuda'"),
        ({"forces": {"engine": "sevennet", "fmax": 0.1}}, "forces.fmax", "beside 'forces'"),
        ({"forces": {"engine": "sevenet"}}, "forces.engine", "did you mean 'sevennet'"),
        ({"forces": {"engine": "phono3py"}}, "forces.engine", "another"),
        ({"forces": "sevennet"}, "forces", "'engine' among them"),
        ({"mesh": [9, 9]}, "mesh", "three whole numbers"),
        ({"supercell": "big"}, "supercell", "auto, or three"),
        ({"snapshots": 0}, "snapshots", "systematic"),
        ({"cutoff": True}, "cutoff", "null"),
        ({"fmax": 3}, "fmax", "less than or equal"),
    ],
)
def test_bad_settings_name_the_key_and_what_is_allowed(settings, place, message):
    from hts_flows.campaign import Campaign

    space = {"domain": "intercalation", "hosts": ["graphite"], "intercalants": ["Li"], "concentrations": ["1/8"]}
    row = {"engine": "phono3py"} | settings
    with pytest.raises(CampaignError) as caught:
        Campaign.from_dict({"name": "bad", "candidates": space, "calculate": [row]})
    problem = caught.value.problems[0]
    assert [".".join(map(str, item.path)) for item in caught.value.problems] == [f"calculate.0.{place}"]
    assert message in problem.message
    with pytest.raises(ValidationError):
        engine_from_dict(row)


def test_missing_package_of_either_is_reported(monkeypatch):
    for missing in ("symfc", "sevenn"):
        monkeypatch.setattr(
            "hts_flows.engines._packages.find_spec", lambda name, missing=missing: None if name == missing else object()
        )
        with pytest.raises(EngineNotAvailableError, match=missing):
            engine().check()


def test_versions_name_both():
    assert {"phono3py", "symfc", "sevenn"} <= set(engine().versions())
