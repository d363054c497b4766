"""Searches over the translations of real boundaries, with tight binding and SevenNet in this process."""

from __future__ import annotations

import traceback

import numpy as np
import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from hts_flows.engines import engine_from_dict
from hts_flows.engines.base import Calculation, CalculationError
from hts_flows.errors import InputError
from hts_flows.launch.failures import FailureCause, diagnose_traceback
from hts_flows.screening.grain_boundaries import EvaluationError
from hts_flows.screening.translation_space import TranslationSpace
from hts_flows.structures.bicrystal_translation import translated
from hts_flows.structures.boundary_specs import BicrystalCell, GrainBoundary
from hts_flows.structures.grain_boundaries import bicrystal_of

#: S. Kiyohara et al., Jpn. J. Appl. Phys. 55, 045502 (2016): Cu Σ5 (210)[001], this potential, J/m².
PUBLISHED = 0.96
SIGMA5 = {"element": "Cu", "axis": (0, 0, 1), "plane": (2, 1, 0)}
TWIN = {"element": "Cu", "axis": (1, -1, 0), "plane": (1, 1, 1)}
STO = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.212), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def starting(boundary=None, *, remove_closer=(None,), translation=None, **cell):
    """Starting structure of a boundary, as the domain makes it."""
    spec, built = GrainBoundary(**(boundary or SIGMA5)), BicrystalCell(**cell)
    structure = built.bicrystal(spec).structure
    structure.properties["grain_boundary"] = {
        "boundary": spec.model_dump(mode="json"),
        "cell": built.model_dump(mode="json"),
        "remove_closer": list(remove_closer),
        "translation": translation,
    }
    return structure


def engine(**settings):
    return engine_from_dict({"engine": "translation_search"} | settings).resolved(layered=False)


def search(structure, **settings):
    from hts_flows.engines._translation_search_maker import searched

    return searched(engine(**settings), structure)


@pytest.fixture(scope="module", autouse=True)
def _needs_numba():
    pytest.importorskip("numba", reason="numba is not installed: pip install --editable '.[tight-binding]'")


@pytest.fixture(scope="module")
def enumerated():
    """All translations that differ on a coarse grid, without and with removal of atoms."""
    return search(starting(remove_closer=(None, 1.5)), method="enumeration", step=0.6)


def trials_of(boundary=None, **settings):
    """Trials of the bicrystal of tight binding's copper, ready to compute, and its grid."""
    from hts_flows.engines._bicrystal_relaxation import potential_of
    from hts_flows.engines._translation_trials import Trials

    cell = settings.pop("cell", {})
    chosen, structure = engine(**settings), starting(boundary, **cell)
    potential = potential_of(chosen, bicrystal_of(structure))
    crystal = potential.crystal(bicrystal_of(structure).spec.crystal)
    bicrystal = bicrystal_of(structure, crystal.constant)
    return Trials(chosen, bicrystal, potential, crystal), bicrystal


@pytest.mark.parametrize("protocol", ["fixed translation", "free sliding"])
def test_sigma_5_of_copper_has_its_published_energy(run_job, protocol):
    chosen = engine(protocol=protocol)
    start = starting()
    calculation = chosen.parse(run_job(chosen.maker().make(start)))
    found = calculation.translation_search
    energies = np.array(found.energies, dtype=float)
    assert energies[found.best] == np.nanmin(energies) == pytest.approx(PUBLISHED, abs=5e-3)
    assert (found.protocol, found.method, found.stop_reason) == (protocol, "kriging", "patience")
    assert found.n_starts == 5 < len(energies) <= 40 < found.n_candidates < found.n_points / 6
    # From the stored document alone: energy, atoms, area.
    lattice = calculation.structure.lattice
    area = np.linalg.norm(np.cross(*lattice.matrix[:2]))
    excess = calculation.energy - len(calculation.structure) * found.bulk_energy
    assert excess / (2 * area) * 16.0217663 == pytest.approx(energies[found.best])
    assert area == pytest.approx(found.area)
    assert found.lattice_constant == pytest.approx(3.6149, abs=1e-4)
    assert found.bulk_energy == pytest.approx(-3.54363, abs=1e-5)
    atom = found.lattice_constant**3 / 4
    volume = (lattice.volume - len(calculation.structure) * atom) / (2 * area)
    assert found.excess_volume == pytest.approx(volume, abs=1e-6)
    assert 0.3 < volume < 0.45
    moved = np.array(found.relaxed_translation) - found.translations[found.best]
    assert min(found.relaxed_translation[:2]) >= 0
    moved[:2] -= np.round(moved[:2] / found.periods) * found.periods
    assert (np.abs(moved[:2]).max() < 1e-6) == (protocol == "fixed translation")
    assert calculation.structure.site_properties["grain"].count(1) == 50
    assert calculation.structure.properties["grain_boundary"] == start.properties["grain_boundary"]
    assert calculation.max_force < chosen.fmax
    assert found.predicted is found.trained_on is None
    assert found.boundaries_equivalent
    assert "mirror" in found.origin


def test_enumeration_agrees_with_kriging(enumerated):
    every = enumerated.translation_search
    asked = search(starting(remove_closer=(None, 1.5)), step=0.6).translation_search
    lowest = min(energy for energy in every.energies if energy is not None)
    assert asked.energies[asked.best] == pytest.approx(lowest, abs=5e-3)
    assert len(asked.energies) < len(every.energies) / 2
    table = {
        (tuple(translation), removed): energy
        for translation, removed, energy in zip(every.translations, every.removed, every.energies, strict=True)
    }
    for translation, removed, energy in zip(asked.translations, asked.removed, asked.energies, strict=True):
        assert table[tuple(translation), removed] == pytest.approx(energy, abs=1e-9)
    assert (every.method, every.stop_reason, every.n_starts) == ("enumeration", "exhausted", 0)
    assert every.n_candidates == asked.n_candidates == 2 * len(set(map(tuple, every.translations)))


def test_removed_atoms_are_recorded_and_configurations_computed_once(enumerated):
    found = enumerated.translation_search
    bicrystal = bicrystal_of(starting(), found.lattice_constant)
    rows = list(zip(found.translations, found.removal, found.removed, strict=True))
    assert len({(tuple(translation), removed) for translation, _, removed in rows}) == len(rows)
    for translation, removal, removed in rows:
        assert removed == translated(bicrystal, *translation, remove_closer=removal).removed
        assert (removed > 0) == (removal == 1.5)
    assert {4} <= {removed for _, _, removed in rows}
    assert len(rows) < found.n_candidates


def test_fewer_atoms_are_counted_in_energy_and_volume():
    found = search(starting(remove_closer=(1.5,)), method="enumeration", step=2.0, openings=[-0.6])
    trials, structure = found.translation_search, found.structure
    assert len(structure) == 100 - trials.removed[trials.best] < 100
    assert set(trials.removal) == {1.5}
    assert trials.energies[trials.best] == pytest.approx(PUBLISHED, abs=5e-3)
    volume = structure.volume - len(structure) * trials.lattice_constant**3 / 4
    assert trials.excess_volume == pytest.approx(volume / (2 * trials.area), abs=1e-6)


def test_cells_with_one_and_with_two_boundaries_agree():
    two = search(starting(), method="enumeration", step=1.2, openings=[0.8]).translation_search
    one = search(starting(boundaries=1, thickness=25), method="enumeration", step=1.2, openings=[0.8])
    found = one.translation_search
    assert (two.n_boundaries, found.n_boundaries) == (2, 1)
    assert one.structure.site_properties["rigid"].count(True) > 20
    assert found.translations == two.translations
    assert found.energies[found.best] == pytest.approx(two.energies[two.best], abs=2e-3)
    assert found.excess_volume == pytest.approx(two.excess_volume, abs=0.03)
    # Away from minima, grains with held means slide by their shear, and unrelaxed ones cannot.
    still = [
        search(starting(boundaries=number), task="static", method="enumeration", step=0.8).translation_search.energies
        for number in (1, 2)
    ]
    assert still[0] == pytest.approx(still[1], abs=1e-6)
    assert np.ptp(still[0]) > 5


def test_translations_that_fail_are_trials():
    found = search(starting(), method="enumeration", step=1.0, openings=[-1.0, 0.8]).translation_search
    bicrystal = bicrystal_of(starting(), found.lattice_constant)
    failed = [one for one, energy in zip(found.translations, found.energies, strict=True) if energy is None]
    assert len(found.energies) == found.n_candidates
    assert {z for _, _, z in failed} == {-1.0}
    for translation in failed:
        with pytest.raises(InputError, match="apart"):
            translated(bicrystal, *translation)
    assert found.energies[found.best] < 1.1


@pytest.mark.parametrize("method", ["kriging", "enumeration"])
def test_search_without_any_energy_says_why(method):
    with pytest.raises(CalculationError, match=r"none of the \d+ translations of Cu Σ5.*after 2 steps") as found:
        search(starting(), method=method, step=2.0, steps=2, patience=3)
    # So that the failure is told to be one that more steps may mend.
    trace = "".join(traceback.format_exception(found.value))
    assert diagnose_traceback(trace).cause == FailureCause.IONIC_NOT_CONVERGED


def test_symmetric_images_have_equal_energies():
    trials, bicrystal = trials_of(fmax=1e-3, protocol="free sliding")
    space = TranslationSpace.of_bicrystal(bicrystal, step=0.4, openings=[0.8])
    energies = [
        trials.unrelaxed((*image, 0.8), None)
        for point in ([0.3, 0.7], [2.9, 0.4])
        for image in space.images(np.array([point]))[0]
    ]
    assert np.ptp(energies[:8]) < 1e-9
    assert np.ptp(energies[8:]) < 1e-9
    assert abs(energies[0] - energies[8]) > 1e-3
    relaxed = [trials.energy((*image, 0.8), None) for image in space.images(np.array([[0.3, 0.7]]))[0]]
    assert np.ptp(relaxed) < 1e-3


def test_seed_decides():
    def run(seed):
        document = search(starting(thickness=12), step=0.4, seed=seed, patience=4).model_dump(mode="json")
        return {name: value for name, value in document.items() if name != "wall_time"}

    first = run(3)
    assert run(3) == first
    assert run(4)["translation_search"]["translations"] != first["translation_search"]["translations"]


def test_nothing_is_relaxed_where_the_task_is_static():
    found = search(starting(), task="static", method="enumeration", step=1.0)
    trials = found.translation_search
    assert trials.protocol == "static"
    assert trials.lattice_constant == pytest.approx(3.61)
    assert trials.force_calls == trials.n_candidates == len(trials.energies)
    assert trials.relaxed_translation == pytest.approx(trials.translations[trials.best])
    assert trials.energies[trials.best] > 1.2


@pytest.mark.parametrize(
    ("protocol", "cell", "optimizer"),
    [
        ("fixed translation", {}, "LBFGS"),
        ("fixed translation", {"rigid": 4}, "FIRE"),
        ("free normal expansion", {"rigid": 4}, "LBFGS"),
        ("free sliding", {}, "LBFGS"),
        ("free sliding", {"rigid": 4}, "LBFGS"),
    ],
)
def test_ase_calculators_relax_to_the_same_bicrystal(protocol, cell, optimizer):
    from hts_flows.engines._bicrystal_relaxation import AseBicrystals, SecondMomentBicrystals, unwrapped

    chosen = engine(protocol=protocol, fmax=2e-3)
    bicrystal = translated(bicrystal_of(starting(thickness=14, **cell), 3.6149), 0.4, 0.9, 0.5)
    own = SecondMomentBicrystals(chosen, bicrystal).relaxed(bicrystal)
    other = AseBicrystals(chosen.model_copy(update={"optimizer": optimizer})).relaxed(bicrystal)
    assert other.energy == pytest.approx(own.energy, abs=1e-3)
    assert other.move == pytest.approx(own.move, abs=0.03)
    assert other.lattice[2, 2] == pytest.approx(bicrystal.lattice[2, 2] + 2 * other.move[2])
    assert other.lattice[:2] == pytest.approx(bicrystal.lattice[:2])
    assert other.max_force < chosen.fmax
    assert other.n_calls < (1000 if optimizer == "FIRE" else 2.5 * own.n_calls)
    moved = other.positions - unwrapped(bicrystal)
    for grain in (1, 2):
        block = moved[bicrystal.rigid & (bicrystal.grain == grain)]
        assert not len(block) or np.ptp(block, axis=0) == pytest.approx([0, 0, 0], abs=1e-9)
        mean = moved[bicrystal.grain == grain, :2].mean(axis=0)
        assert protocol != "fixed translation" or np.abs(mean).max() < 1e-9


def test_twin_of_copper_with_sevennet(run_job):
    pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")
    chosen = engine(forces={"engine": "sevennet"}, step=1.5, openings=[0.2], fmax=0.03)
    calculation = chosen.parse(run_job(chosen.maker().make(starting(TWIN, thickness=6, shape="smallest"))))
    found = calculation.translation_search
    assert chosen.runs_as == "sevennet"
    assert chosen.forces.dispersion is False
    assert found.lattice_constant == pytest.approx(3.62, abs=0.03)
    assert (len(found.energies), found.stop_reason) == (found.n_candidates, "exhausted")
    assert calculation.max_force < 0.03
    # The twin is the lowest; its energy is about 0.02 J/m², other translations cost ten times more.
    assert abs(found.energies[found.best]) < 0.04
    assert max(found.energies) > 0.1


def test_elements_removed_out_of_proportion_have_no_energy():
    from hts_flows.engines._bicrystal_relaxation import holds_formula_units
    from hts_flows.engines._translation_trials import Trials

    bicrystal = bicrystal_of(starting({"structure": STO, "axis": (0, 0, 1), "plane": (3, 1, 0)}, thickness=10))
    assert holds_formula_units(bicrystal)
    trials = Trials(engine(), bicrystal, None, None)
    at = (0.0, 0.0, 0.4)
    assert holds_formula_units(translated(bicrystal, *at, overlap=0))
    left = translated(bicrystal, *at, remove_closer=1.8, overlap=0)
    assert left.removed == 4
    assert not holds_formula_units(left)
    with pytest.raises(EvaluationError, match=f"leaves {left.built.formula}, which is no multiple of SrTiO3"):
        trials.energy(at, 1.8)
    assert trials.done[0].energy is None
    assert trials.done[0].removed > 0


def test_progress_is_written(monkeypatch, capsys):
    from hts_flows.engines import _translation_trials

    monkeypatch.setattr(_translation_trials, "EVERY", -1.0)
    found = search(starting(thickness=12), method="enumeration", step=2.0).translation_search
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(found.energies) + 1
    assert lines[0].startswith("Cu Σ5[001](210): 1 trials, best")
    assert lines[-1].endswith("stopped: exhausted")


def test_without_energies_of_others_the_method_is_used():
    settings = {"step": 1.2, "patience": 3}
    plain = search(starting(thickness=12), **settings).translation_search
    assert search(starting(thickness=12), learned="verify", **settings).translation_search == plain
    assert search(starting(thickness=12), learned="starts", **settings).translation_search == plain


@pytest.mark.parametrize(("learned", "method"), [("verify", "prediction"), ("starts", "kriging")])
def test_energies_of_another_boundary_choose_what_is_relaxed(learned, method):
    pytest.importorskip("hts_flows.screening.configurations", reason="the regression across boundaries is not there")
    other = starting(SIGMA5 | {"plane": (3, 1, 0)}, thickness=12)
    table = search(other, method="enumeration", step=0.8).translation_search
    training = {
        "label": "Cu Σ5[001](310)",
        "grain_boundary": other.properties["grain_boundary"],
        "lattice_constant": table.lattice_constant,
        "translations": table.translations,
        "removal": table.removal,
        "energies": table.energies,
    }
    structure = starting(thickness=12)
    structure.properties["grain_boundary"]["training"] = [training]
    calculation = search(structure, learned=learned, step=0.4)
    found = calculation.translation_search
    assert (found.method, found.trained_on) == (method, ["Cu Σ5[001](310)"])
    assert len(found.predicted) == len(found.energies)
    assert np.isfinite(np.array(found.predicted, dtype=float)).any()
    assert (found.stop_reason == "verified") == (learned == "verify")
    assert (len(found.energies) - 1 == found.energies[:-1].count(None)) == (learned == "verify")
    assert "training" not in calculation.structure.properties["grain_boundary"]


@pytest.mark.parametrize(
    ("structure", "settings", "message"),
    [
        (MGO, {}, "does not say which grain boundary"),
        (starting(translation=[0.1, 0.2, 0.4]), {}, "'translations:'"),
        (starting(), {"protocol": "free normal expansion"}, r"cell: \{rigid: 5\}"),
        (starting(boundaries=1, thickness=9, rigid=4), {}, "thickness of at least 12.4 Å"),
        (starting({"structure": MGO, "axis": (0, 0, 1), "plane": (2, 1, 0)}), {}, "Mg"),
    ],
)
def test_structures_that_cannot_be_searched_say_what_to_do(structure, settings, message):
    with pytest.raises(InputError, match=message):
        search(structure, **settings)


def test_one_boundary_needs_energies_of_atoms():
    from hts_flows.engines._bicrystal_relaxation import AseBicrystals

    with pytest.raises(InputError, match=r"cell: \{boundaries: 2\}"):
        AseBicrystals(engine()).check(bicrystal_of(starting(boundaries=1)))


@pytest.mark.parametrize(
    ("settings", "where", "message"),
    [
        ({"forces": {"engine": "vasp"}}, ("forces", "engine"), "chgnet, sevennet, tight_binding; .*'translations:'"),
        ({"forces": {"engine": "gpaw"}}, ("forces", "engine"), "chgnet, sevennet, tight_binding; .*'translations:'"),
        ({"forces": {"engine": "phono3py"}}, ("forces", "engine"), "takes its forces from another engine"),
        ({"forces": {"engine": "translation_search"}}, ("forces", "engine"), "name another one"),
        ({"forces": {"engine": "tight_bindin"}}, ("forces", "engine"), "did you mean 'tight_binding'"),
        ({"forces": "sevennet"}, ("forces",), "'engine' among them"),
        ({"forces": {"engine": "sevennet", "fmax": 0.1}}, ("forces", "fmax"), "beside 'forces'"),
        ({"forces": {"engine": "sevennet", "optimizer": "FIRE"}}, ("forces", "optimizer"), "beside 'forces'"),
        ({"forces": {"engine": "sevennet", "relax_cell": False}}, ("forces", "relax_cell"), "leave 'relax_cell' out"),
        ({"forces": {"engine": "sevennet", "modle": "7net-0"}}, ("forces", "modle"), "did you mean 'model'"),
        ({"optimizer": "FIRE"}, (), "leave 'optimizer' out"),
        ({"openings": [0.4, 0.4]}, ("openings",), "named twice"),
        ({"openings": []}, ("openings",), "at least 1"),
        ({"protocol": "fixed"}, ("protocol",), "free sliding"),
        ({"step": 0}, ("step",), "greater than or equal"),
    ],
)
def test_settings_that_cannot_be_used_say_where(settings, where, message):
    with pytest.raises(ValidationError, match=message) as error:
        engine_from_dict({"engine": "translation_search"} | settings)
    assert error.value.errors()[0]["loc"] == where


def test_settings_of_the_forces_are_handed_down_and_count_in_the_hash():
    chosen = engine(forces={"engine": "sevennet"}, fmax=0.05, steps=77, optimizer="FIRE")
    assert (chosen.forces.fmax, chosen.forces.steps, chosen.forces.optimizer) == (0.05, 77, "FIRE")
    other = engine(forces={"engine": "sevennet", "model": "7net-l3i5"}, fmax=0.05, steps=77, optimizer="FIRE")
    assert chosen.settings_hash() != other.settings_hash()
    assert (chosen.begins_unrelaxed, engine().begins_unrelaxed) == (False, True)
    assert chosen.fixed_cell() == chosen
    assert chosen.packed


def test_document_survives_the_way_to_the_database_and_back(enumerated):
    assert Calculation.model_validate_json(enumerated.model_dump_json()).translation_search == (
        enumerated.translation_search
    )


def test_a_grain_that_shears_into_the_other_is_no_boundary(monkeypatch):
    """Near the perfect crystal a thin grain shears until no boundary is left; that energy would be the lowest."""
    from hts_flows.engines import _translation_trials

    boundary = {"element": "Cu", "axis": (0, 0, 1), "plane": (4, 3, 0)}
    low_angle = starting(boundary, remove_closer=(2.3,), thickness=18, shape="smallest")
    settings = {"method": "enumeration", "step": 0.5, "openings": [0.0]}
    found = search(low_angle, **settings).translation_search
    monkeypatch.setattr(_translation_trials, "MOST_SHEAR", 90.0)
    undone = search(low_angle, **settings).translation_search
    # 0.69 J/m² of the boundary, and what is left where it is gone.
    assert 0.6 < min(one for one in found.energies if one is not None) < 0.8
    assert min(one for one in undone.energies if one is not None) < 0.3
