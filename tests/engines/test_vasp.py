"""VASP: its inputs as written, and its outputs as read; VASP itself is licensed and is not run."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from hts_flows.engines import engine_from_dict
from hts_flows.errors import EngineNotAvailableError

DATA = Path(__file__).parents[1] / "data" / "vasp"


def engine(*, layered=True, **settings):
    return engine_from_dict({"engine": "vasp", **settings}).resolved(layered=layered)


def inputs(structure, **settings):
    maker = engine(**settings).maker()
    return getattr(maker, "relax_maker1", maker).input_set_generator.get_input_set(structure, potcar_spec=True)


@pytest.mark.parametrize(
    ("functional", "tags", "absent"),
    [
        ("auto", {"GGA": "Pe", "IVDW": 12}, {"LUSE_VDW", "METAGGA"}),
        ("PBE", {"GGA": "Pe"}, {"IVDW", "LUSE_VDW", "METAGGA"}),
        ("PBEsol", {"GGA": "Ps"}, {"IVDW", "LUSE_VDW"}),
        (
            "optB88-vdW",
            {"GGA": "Bo", "PARAM1": 0.1833333333, "PARAM2": 0.22, "AGGAC": 0, "LUSE_VDW": True},
            {"IVDW", "ZAB_VDW"},
        ),
        ("optB86b-vdW", {"GGA": "Mk", "PARAM1": 0.1234, "PARAM2": 1.0, "AGGAC": 0, "LUSE_VDW": True}, {"ZAB_VDW"}),
        (
            "rev-vdW-DF2",
            {"GGA": "Mk", "PARAM1": 0.1234, "PARAM2": 0.711357, "ZAB_VDW": -1.8867, "AGGAC": 0, "LUSE_VDW": True},
            {"IVDW"},
        ),
        ("r2SCAN", {"METAGGA": "R2scan", "ALGO": "All"}, {"GGA", "LUSE_VDW"}),
        ("r2SCAN+rVV10", {"METAGGA": "R2scan", "BPARAM": 11.95, "CPARAM": 0.0093, "LUSE_VDW": True}, {"GGA", "IVDW"}),
    ],
)
def test_incar_has_the_tags_of_the_functional(lic6, functional, tags, absent):
    incar = inputs(lic6, functional=functional).incar
    assert {tag: incar.get(tag) for tag in tags} == tags
    assert not absent & set(incar)
    assert incar["LASPH"] is True


def test_inputs_follow_from_the_settings(lic6):
    written = inputs(lic6, encut=600, kspacing=0.2, fmax=0.01, steps=50, sigma=0.1, spin=False, incar={"ncore": 4})
    expected = {
        "ENCUT": 600, "KSPACING": 0.2, "KGAMMA": True, "EDIFFG": -0.01, "NSW": 50, "SIGMA": 0.1, "ISMEAR": 0,
        "ISPIN": 1, "ISIF": 3, "NCORE": 4, "LDAU": False,
    }  # fmt: skip
    assert {tag: written.incar[tag] for tag in expected} == expected
    assert written.kpoints is None
    assert str(written.potcar).split() == ["Li_sv", "C"]


def test_atoms_alone_and_statics_have_their_own_tags(lic6):
    assert inputs(lic6, relax_cell=False).incar["ISIF"] == 2
    static = inputs(lic6, task="static").incar
    assert static["NSW"] == 0
    assert static["ISMEAR"] == 0
    assert "EDIFFG" not in static


def test_relaxation_of_a_cell_is_done_twice(lic6):
    assert [job.name for job in engine().maker().make(lic6).jobs] == ["relax 1", "relax 2"]
    assert engine(relaxations=1).maker().make(lic6).name == "relax"
    assert engine(relax_cell=False).maker().make(lic6).name == "relax"


def test_hubbard_u_is_for_oxides_when_asked():
    oxide = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.3), ["Fe", "O"], [[0] * 3, [0.5] * 3])
    assert inputs(oxide).incar["LDAU"] is False
    assert 5.3 in inputs(oxide, hubbard_u=True).incar["LDAUU"]


def test_tags_with_a_key_of_their_own_are_refused_under_incar():
    with pytest.raises(ValidationError, match="ENCUT follows from 'encut'"):
        engine(incar={"encut": 400})
    with pytest.raises(ValidationError, match="LUSE_VDW follows from 'functional'"):
        engine(incar={"LUSE_VDW": True})


def test_hash_sees_incar_tags_but_not_the_command():
    assert engine(incar={"NGX": 24}).settings_hash() != engine().settings_hash()
    assert engine(incar={"a": 1, "b": 2}).settings_hash() == engine(incar={"B": 2, "A": 1}).settings_hash()
    assert engine(command="srun vasp_std").settings_hash() == engine().settings_hash()


@pytest.fixture
def diamond():
    """Structure of the calculation whose vasprun.xml ASE ships with its tests."""
    from pymatgen.io.vasp import Vasprun

    return Vasprun(vasprun_of_ase(), parse_potcar_file=False, parse_dos=False).final_structure


def vasprun_of_ase() -> Path:
    """Output of a real run of VASP 6.3.0 (diamond, static, PSTRESS = 1 kbar)."""
    path = Path(str(files("ase.test") / "testdata" / "vasp" / "vasprun_pstress.xml"))
    if not path.is_file():
        pytest.skip("this build of ASE comes without its test data")
    return path


@pytest.fixture
def reference(tmp_path, diamond):
    """Folder of inputs and outputs as atomate2's mock engine wants it."""
    folder = tmp_path / "reference" / "diamond_static"
    shutil.copytree(DATA / "diamond_static" / "inputs", folder / "inputs")
    outputs = folder / "outputs"
    shutil.copytree(folder / "inputs", outputs)
    shutil.copy(DATA / "diamond_static" / "OUTCAR", outputs)
    shutil.copy(vasprun_of_ase(), outputs / "vasprun.xml")
    diamond.to(filename=str(outputs / "CONTCAR"), fmt="poscar")
    return folder


@pytest.fixture
def mock_vasp(monkeypatch, reference):
    from atomate2.utils.testing.vasp import monkeypatch_vasp

    yield from monkeypatch_vasp(monkeypatch, reference.parent, nelect=8)


def test_mock_vasp_accepts_our_inputs_and_its_outputs_are_read(mock_vasp, reference, run_job, diamond):
    mock_vasp({"static": reference.name}, {"static": {}})
    chosen = engine(layered=False, task="static")
    calculation = chosen.parse(run_job(chosen.maker().make(diamond)))
    assert calculation.energy == pytest.approx(-20.24010135)
    assert calculation.converged
    assert calculation.pressure == pytest.approx(-16.59956258)
    assert calculation.max_force == pytest.approx(0, abs=1e-6)
    assert calculation.n_steps == 1
    assert calculation.band_gap == pytest.approx(5.5504)
    assert calculation.wall_time == pytest.approx(1.5)
    assert calculation.structure.matches(diamond)


def test_mock_vasp_refuses_other_inputs(mock_vasp, reference, run_job, diamond):
    mock_vasp({"static": reference.name})
    chosen = engine(layered=False, task="static", encut=600)
    with pytest.raises(RuntimeError, match="did not finish"):
        run_job(chosen.maker().make(diamond))


def test_unfinished_run_has_not_converged(reference):
    from emmet.core.tasks import TaskDoc

    from hts_flows.engines._emmet import parse_task_doc

    vasprun = reference / "outputs" / "vasprun.xml"
    vasprun.write_text(vasprun.read_text().replace('name="NELM">    60', 'name="NELM">     1'))
    document = TaskDoc.from_directory(reference / "outputs")
    calculation = parse_task_doc(document, program="vasp", static=True)
    assert not calculation.converged


def test_missing_program_and_potentials_are_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "srun vasp_std_that_is_not_there")
    with pytest.raises(EngineNotAvailableError, match=r"not on PATH(.|\n)*VASP_CMD"):
        engine().check()
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path / "missing"))
    with pytest.raises(EngineNotAvailableError, match="PMG_VASP_PSP_DIR"):
        engine(command="python3").check()
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    engine(command="python3").check()


def test_inputs_of_one_translation_of_a_grain_boundary():
    """Each translation of a boundary may be a job of its own: cell, atoms and k-points are the bicrystal's."""
    from hts_flows.inventories import Inventories
    from hts_flows.structures.grain_boundaries import GrainBoundarySpace, build

    section = {"domain": "grain_boundaries", "boundaries": ["MgO-S5-001-210"], "cell": {"thickness": 6}}
    space = GrainBoundarySpace.model_validate(section | {"translations": {"step": 2.0, "openings": [1.0]}})
    structure = build(next(iter(space.candidates(Inventories()))))
    written = inputs(structure)
    assert (written["INCAR"]["ISIF"], written["INCAR"]["IBRION"]) == (3, 2)
    poscar = written["POSCAR"].structure
    assert poscar.composition == structure.composition
    assert poscar.lattice.abc == pytest.approx(structure.lattice.abc)
    assert poscar.site_properties["grain"].count(2) == len(structure) // 2
