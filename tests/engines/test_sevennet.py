"""SevenNet, really run."""

from __future__ import annotations

import json
import math

import pytest
from pymatgen.core import Lattice, Structure

from hts_flows.engines import engine_class, engine_from_dict
from hts_flows.engines.base import UnphysicalResultError
from hts_flows.errors import EngineNotAvailableError

pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")
pytest.importorskip("dftd3", reason="D3 is not installed: pip install dftd3")


def engine(**settings):
    return engine_from_dict({"engine": "sevennet", **settings}).resolved(layered=True)


def relax(run_job, structure, **settings):
    chosen = engine(**settings)
    return chosen.parse(run_job(chosen.maker().make(structure)))


def intercalated(element: str, carbons: int, height: float) -> Structure:
    """MC6 (√3×√3) or MC8 (2×2) of stage 1 with eclipsed layers."""
    if carbons == 6:
        return Structure.from_spacegroup(
            "P6/mmm", Lattice.hexagonal(2.46 * 3**0.5, height), [element, "C"], [[0, 0, 0.5], [1 / 3, 0, 0]]
        )
    layer = Structure(Lattice.hexagonal(2.46, height), ["C", "C"], [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]])
    layer.make_supercell([2, 2, 1])
    layer.append(element, [0, 0, 0.5])
    return layer


@pytest.fixture(scope="module")
def energy_of():
    """Relaxed calculation by name, without jobflow."""
    starts = {
        "graphite": Structure.from_spacegroup(
            "P6_3/mmc", Lattice.hexagonal(2.46, 6.9), ["C", "C"], [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]]
        ),
        "MoS2": Structure.from_spacegroup(
            "P6_3/mmc", Lattice.hexagonal(3.16, 12.3), ["Mo", "S"], [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]]
        ),
        "LiC6": intercalated("Li", 6, 3.7),
        "NaC6": intercalated("Na", 6, 4.2),
        "NaC8": intercalated("Na", 8, 4.4),
        "KC8": intercalated("K", 8, 5.0),
        **{
            element: Structure(Lattice.cubic(a), [element] * 2, [[0, 0, 0], [0.5, 0.5, 0.5]]).get_primitive_structure()
            for element, a in (("Li", 3.45), ("Na", 4.2), ("K", 5.3))
        },
    }
    done = {}

    def compute(name):
        if name not in done:
            maker = engine().maker()
            done[name] = engine().parse(type(maker).make.original(maker, starts[name]))
        return done[name]

    return compute


@pytest.mark.parametrize(("name", "c"), [("graphite", 6.71), ("MoS2", 11.84), ("LiC6", 3.58), ("KC8", 5.36)])
def test_layer_distances_of_known_compounds(energy_of, name, c):
    """Published: graphite 6.71, MoS2 12.29, LiC6 3.70, KC8 5.35 Å; the values here are the potential's own."""
    calculation = energy_of(name)
    assert calculation.converged
    assert calculation.structure.lattice.c == pytest.approx(c, rel=0.01)
    assert calculation.max_force < 0.02
    assert abs(calculation.pressure) < 0.2


@pytest.mark.parametrize(("name", "expected"), [("LiC6", -0.02), ("NaC6", 0.03), ("NaC8", 0.09), ("KC8", -0.30)])
def test_intercalation_energies_have_the_sign_nature_has(energy_of, name, expected):
    """K and Li go into graphite, Na does not (at stage 1); eV per intercalant."""
    element, carbons = name[: name.index("C")], int(name[name.index("C") + 1 :])
    compound, metal, carbon = energy_of(name), energy_of(element), energy_of("graphite")
    energy = compound.energy - metal.energy / len(metal.structure) - carbons * carbon.energy / len(carbon.structure)
    assert energy == pytest.approx(expected, abs=0.03)
    assert math.copysign(1, energy) == math.copysign(1, expected)


def test_task_document_is_small_and_the_trajectory_goes_to_the_data_store(run_job, lic6):
    chosen = engine(store_trajectory=True)
    document = run_job(chosen.maker().make(lic6), load=False)
    assert len(json.dumps(document, default=str)) < 10_000
    assert document["objects"]["trajectory"]["store"] == "data"
    assert chosen.parse(document).converged


def test_parse_gives_the_same_from_the_object_and_from_the_store(run_job, lic6):
    chosen = engine(task="static")
    maker = chosen.maker()
    direct = chosen.parse(type(maker).make.original(maker, lic6))
    stored = chosen.parse(run_job(chosen.maker().make(lic6)))
    assert stored.energy == pytest.approx(direct.energy, abs=1e-6)
    assert stored.structure == direct.structure == lic6
    assert stored.n_steps == 1
    assert stored.max_force == pytest.approx(direct.max_force, abs=1e-5)


def test_pressure_is_positive_when_compressed(run_job, lic6):
    squeezed = lic6.copy()
    squeezed.scale_lattice(0.9 * lic6.volume)
    assert relax(run_job, squeezed, task="static").pressure > 1


def test_relaxation_that_runs_out_of_steps_has_not_converged(run_job, graphite):
    calculation = relax(run_job, graphite, steps=2)
    assert not calculation.converged
    assert calculation.n_steps == 3


def test_cell_stays_when_only_atoms_are_relaxed(run_job, lic6):
    calculation = relax(run_job, lic6, relax_cell=False)
    assert calculation.structure.lattice == lic6.lattice


def test_dispersion_is_what_holds_graphite_together(run_job, graphite):
    with_d3 = relax(run_job, graphite, task="static")
    without = relax(run_job, graphite, task="static", dispersion=False)
    assert with_d3.energy < without.energy - 0.1


@pytest.mark.parametrize("optimizer", ["LBFGS", "BFGSLineSearch", "FIRE"])
def test_every_optimizer_reaches_the_same_energy(run_job, energy_of, lic6, optimizer):
    calculation = relax(run_job, lic6, optimizer=optimizer)
    assert calculation.converged
    assert calculation.energy == pytest.approx(energy_of("LiC6").energy, abs=2e-3)


def test_potential_is_loaded_once_in_a_process():
    first, second = (engine().maker()._get_calculator() for _ in range(2))
    assert first is second
    assert engine(dispersion=False).maker()._get_calculator() is not first


def test_atoms_on_top_of_each_other_give_a_clear_error(lic6):
    bad = lic6.copy()
    bad.append("C", lic6[1].frac_coords, validate_proximity=False)
    maker = engine().maker()
    with pytest.raises(UnphysicalResultError, match=r"C 1 and C 7|C 7 and C 1"):
        type(maker).make.original(maker, bad)


@pytest.mark.parametrize(
    ("energy", "scale", "message"), [(math.nan, 1.0, "finite"), (-1.0, 3.1, "Å³"), (-1.0, 0.3, "Å³"), (-1.0, 1.5, None)]
)
def test_result_that_cannot_be_right_is_refused(lic6, energy, scale, message):
    from hts_flows.engines._ase_makers import check_physical

    end = lic6.copy()
    end.scale_lattice(scale * lic6.volume)
    if message is None:
        check_physical(lic6, end, energy)
    else:
        with pytest.raises(UnphysicalResultError, match=message):
            check_physical(lic6, end, energy)


def test_missing_package_is_reported_with_what_to_type(monkeypatch):
    monkeypatch.setattr("hts_flows.engines._packages.find_spec", lambda name: None if name == "sevenn" else object())
    with pytest.raises(EngineNotAvailableError, match=r"sevenn(.|\n)*pip install"):
        engine().check()


def test_check_passes_where_it_is_installed():
    engine_class("sevennet").model_validate({"engine": "sevennet"}).check()
