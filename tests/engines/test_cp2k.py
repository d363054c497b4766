"""CP2K: its inputs as written; CP2K itself is not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hts_flows.engines import engine_from_dict
from hts_flows.errors import EngineNotAvailableError

#: Where Debian's package cp2k-data puts basis sets.
DEBIAN = Path("/usr/share/cp2k")


def engine(*, layered=True, **settings):
    return engine_from_dict({"engine": "cp2k", **settings}).resolved(layered=layered)


@pytest.fixture(scope="module")
def cp2k_library(tmp_path_factory):
    """Basis sets and potentials as pymatgen reads them."""
    if not (DEBIAN / "BASIS_MOLOPT_UZH").is_file():
        pytest.skip("CP2K's basis sets are not installed: apt-get install cp2k-data")
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("cp2k") / "library"
    for name in ("BASIS_MOLOPT_UZH", "BASIS_ADMM", "POTENTIAL"):
        (source / name).write_bytes((DEBIAN / name).read_bytes())
    pmg = Path(sys.executable).with_name("pmg")
    subprocess.run([pmg, "config", "--cp2k", source, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def written(cp2k_library, monkeypatch, lic6):
    """Give sections and keywords of the cp2k.inp of LiC6."""
    monkeypatch.setenv("CP2K_DATA_DIR", str(cp2k_library))

    def write(**settings):
        maker = engine(**settings).maker()
        return maker.input_set_generator.get_input_set(lic6).cp2k_input

    return write


def keyword(section, *path):
    *sections, name = path
    for part in sections:
        section = section[part]
    return section[name].values[0]


@pytest.mark.filterwarnings("ignore")
def test_relaxation_of_a_layered_cell(written):
    text = written(fmax=0.02, pressure_tolerance=0.1, steps=77)
    assert keyword(text, "GLOBAL", "RUN_TYPE") == "CELL_OPT"
    motion = text["MOTION"]["CELL_OPT"]
    assert keyword(motion, "MAX_FORCE") == pytest.approx(3.889e-4, rel=1e-3)  # Hartree/Bohr
    assert keyword(motion, "PRESSURE_TOLERANCE") == pytest.approx(1000)  # bar
    assert keyword(motion, "MAX_ITER") == 77
    dispersion = text["FORCE_EVAL"]["DFT"]["XC"]["VDW_POTENTIAL"]["PAIR_POTENTIAL"]
    assert keyword(dispersion, "TYPE") == "DFTD3(BJ)"
    assert keyword(dispersion, "REFERENCE_FUNCTIONAL") == "PBE"


@pytest.mark.filterwarnings("ignore")
def test_atoms_alone_and_static(written):
    assert keyword(written(relax_cell=False), "GLOBAL", "RUN_TYPE") == "GEO_OPT"
    assert keyword(written(task="static"), "GLOBAL", "RUN_TYPE") == "ENERGY_FORCE"


@pytest.mark.filterwarnings("ignore")
def test_functional_cutoff_and_k_points(written):
    text = written(functional="PBE", cutoff=500, rel_cutoff=60, k_density=200, eps_scf=1e-7)
    dft = text["FORCE_EVAL"]["DFT"]
    assert "PBE" in dft["XC"]["XC_FUNCTIONAL"].subsections
    assert "VDW_POTENTIAL" not in dft["XC"].subsections
    assert keyword(dft, "MGRID", "CUTOFF") == 500
    assert keyword(dft, "MGRID", "REL_CUTOFF") == 60
    assert keyword(dft, "SCF", "EPS_SCF") == pytest.approx(1e-7)
    assert "KPOINTS" in dft.subsections
    assert "OT" not in dft["SCF"].subsections  # knows Γ only
    few = written(k_density=20)["FORCE_EVAL"]["DFT"]["KPOINTS"]
    assert str(few).count("KPOINT ") < str(dft["KPOINTS"]).count("KPOINT ")


@pytest.mark.filterwarnings("ignore")
def test_cutoff_follows_from_the_basis_when_left_out(written):
    assert keyword(written(rel_cutoff=100), "FORCE_EVAL", "DFT", "MGRID", "CUTOFF") == pytest.approx(
        2 * keyword(written(rel_cutoff=50), "FORCE_EVAL", "DFT", "MGRID", "CUTOFF")
    )


def test_forces_of_cp2k_are_converted(lic6):
    document = {
        "structure": lic6.as_dict(),
        "output": {"energy": -5.0, "forces": [[0.0, 0.0, 0.01]], "stress": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
        "state": "successful",
    }
    calculation = engine(task="static").parse(document)
    assert calculation.max_force == pytest.approx(0.51422, rel=1e-4)
    assert calculation.pressure is None
    assert not engine(task="static").parse(document | {"state": "failed"}).converged


def test_missing_program_and_data_are_reported(monkeypatch, tmp_path):
    monkeypatch.setenv("ATOMATE2_CP2K_CMD", "cp2k_that_is_not_there")
    with pytest.raises(EngineNotAvailableError, match=r"not on PATH(.|\n)*apt-get install cp2k"):
        engine().check()
    monkeypatch.setenv("CP2K_DATA_DIR", str(tmp_path))
    with pytest.raises(EngineNotAvailableError, match="PMG_CP2K_DATA_DIR"):
        engine(command="python3").check()
    (tmp_path / "H").write_text("")
    engine(command="python3").check()
