"""What a relaxation that was cut off leaves, and that it goes on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from hts_flows.engines import engine_from_dict
from hts_flows.engines._restart import GEOMETRIES, KEPT, GeometryRecorder

VASP = engine_from_dict({"engine": "vasp"})
EMT_STEPS = 7

RELAX = """
import sys
from pymatgen.core import Structure
from hts_flows.engines import engine_from_dict
maker = engine_from_dict({"engine": "sevennet", "dispersion": False}).maker()
type(maker).make.original(maker, Structure.from_file(sys.argv[1]))
"""


def potential(**settings):
    return engine_from_dict({"engine": "sevennet", "dispersion": False, **settings})


def compute(engine, structure):
    maker = engine.maker()
    return engine.parse(type(maker).make.original(maker, structure))


def killed_after(lines: int, structure: Structure, folder: Path) -> None:
    """Start a relaxation and kill it, with no chance to tidy up, once so many geometries are on disk."""
    structure.to(str(folder / "start.json"))
    process = subprocess.Popen([sys.executable, "-c", RELAX, "start.json"], cwd=folder, stderr=subprocess.DEVNULL)
    written = folder / GEOMETRIES
    deadline = time.monotonic() + 120
    try:
        while not written.is_file() or written.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, "the relaxation ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_killed_relaxation_goes_on_from_its_last_structure(lic6, tmp_path, monkeypatch):
    pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")
    monkeypatch.chdir(tmp_path)
    start = lic6 * (3, 1, 1)
    start.perturb(0.08, seed=4)
    whole = compute(potential(), start)
    assert whole.converged
    assert not list(tmp_path.iterdir()), "a relaxation that ended leaves no file"

    folder = tmp_path / "killed"
    folder.mkdir()
    killed_after(whole.n_steps // 2, start, folder)
    last = potential().last_structure(folder)
    assert last.composition == start.composition
    first, middle = (compute(potential(task="static"), structure).energy for structure in (start, last))
    assert whole.energy + 1e-3 < middle < first - 0.1
    recorded = json.loads((folder / GEOMETRIES).read_bytes().splitlines()[-1])["energy"]
    assert middle == pytest.approx(recorded, abs=1e-3), "cell and atoms are of the same step"
    assert last.lattice != start.lattice

    rest = compute(potential(), last)
    assert rest.converged
    assert rest.energy == pytest.approx(whole.energy, abs=1e-3)
    assert rest.n_steps < whole.n_steps
    assert potential(task="static").last_structure(folder) is None


def test_moments_are_kept_as_in_the_document(tmp_path, monkeypatch):
    pytest.importorskip("chgnet", reason="CHGNet is not installed: pip install --editable '.[chgnet]'")
    monkeypatch.chdir(tmp_path)
    left = []
    # what is on disk when a relaxation ends
    remove = GeometryRecorder.remove
    monkeypatch.setattr(
        GeometryRecorder, "remove", lambda self: (left.append(engine.last_structure(tmp_path)), remove(self))
    )
    engine = engine_from_dict({"engine": "chgnet", "dispersion": False})
    iron = Structure(Lattice.cubic(2.7), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.52]])
    iron.properties["k_path"] = {"of": "a test"}
    end = compute(engine, iron)
    assert left[0] == end.structure
    assert set(left[0].site_properties) == set(end.structure.site_properties)
    np.testing.assert_allclose(left[0].site_properties["magmom"], end.magnetic_moments, atol=1e-4)
    assert left[0].properties == {"k_path": {"of": "a test"}}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> tuple[bytes, list[Structure]]:
    """File and geometries of a relaxation of copper with effective-medium theory."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.filters import FrechetCellFilter
    from pymatgen.io.ase import AseAtomsAdaptor

    folder = tmp_path_factory.mktemp("copper")
    atoms = bulk("Cu", a=3.8, cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = EMT()
    geometries = []
    optimizer = GeometryRecorder(folder, moments=True).attached("BFGS")(FrechetCellFilter(atoms), logfile=None)
    optimizer.attach(lambda: geometries.append(AseAtomsAdaptor.get_structure(atoms)))
    optimizer.run(fmax=1e-9, steps=EMT_STEPS)
    return (folder / GEOMETRIES).read_bytes(), geometries


def test_file_that_is_cut_anywhere_gives_the_last_whole_geometry(recorded, tmp_path):
    content, geometries = recorded
    assert len(geometries) == EMT_STEPS + 1
    ends = [place for place, byte in enumerate(content) if byte == ord("\n")]
    cuts = {*range(0, len(content), 97), *ends, *(end + 1 for end in ends), *(end - 1 for end in ends)}
    for cut in sorted(cuts):
        (tmp_path / GEOMETRIES).write_bytes(content[:cut])
        whole = sum(end <= cut for end in ends)  # the newline itself may be missing
        found = potential().last_structure(tmp_path)
        assert found == (geometries[whole - 1] if whole else None), cut


@given(
    tail=st.binary(max_size=60) | st.sampled_from([b"{}", b"1", b"null", b'{"structure": {"sites": 3}}', b"\0" * 99])
)
def test_anything_after_the_last_geometry_is_passed_over(recorded, tmp_path_factory, tail):
    content, geometries = recorded
    folder = tmp_path_factory.mktemp("tail")
    (folder / GEOMETRIES).write_bytes(content + tail)
    assert potential().last_structure(folder) == geometries[-1]
    (folder / GEOMETRIES).write_bytes(tail)
    assert potential().last_structure(folder) is None


def test_file_stays_small_and_keeps_the_newest(tmp_path):
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk("Cu")
    atoms.calc = EMT()
    recorder = GeometryRecorder(tmp_path, moments=True)
    for step in range(KEPT + 2):
        atoms.set_cell(bulk("Cu", a=3.5 + 0.001 * step).cell, scale_atoms=True)
        atoms.get_potential_energy()
        recorder.write(atoms)
    assert (tmp_path / GEOMETRIES).read_bytes().count(b"\n") == 2
    newest = potential().last_structure(tmp_path)
    assert newest.volume == pytest.approx(atoms.get_volume(), rel=1e-9)
    atoms.calc.results["energy"] = float("nan")
    recorder.write(atoms)
    assert (tmp_path / GEOMETRIES).read_bytes().count(b"\n") == 2


def test_disk_that_refuses_is_a_warning(tmp_path):
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk("Cu")
    atoms.calc = EMT()
    atoms.get_potential_energy()
    with pytest.warns(UserWarning, match="not kept"):
        GeometryRecorder(tmp_path / "absent", moments=True).write(atoms)


@pytest.mark.parametrize("name", ["sevennet", "chgnet", "gpaw", "vasp", "cp2k"])
def test_folder_with_nothing_or_nonsense_gives_none(tmp_path, name):
    engine = engine_from_dict({"engine": name})
    assert engine.last_structure(tmp_path / "absent") is None
    assert engine.last_structure(tmp_path) is None
    for file in (GEOMETRIES, "POSCAR", "CONTCAR", "XDATCAR", "OUTCAR"):
        (tmp_path / file).write_bytes(b"\xff\x00 no file of that kind\n1\n\n")
    (tmp_path / "error.1.tar.gz").write_bytes(b"")
    assert engine.last_structure(tmp_path) is None


def xdatcar(structures: list[Structure], *, repeat: bool) -> str:
    """XDATCAR as VASP writes it: the header before each geometry where the cell relaxes, else once."""
    text = ""
    for number, structure in enumerate(structures, 1):
        poscar = Poscar(structure).get_str(significant_figures=8).splitlines()
        if repeat or number == 1:
            text += "\n".join(poscar[:7]) + "\n"
        text += f"Direct configuration= {number:5d}\n"
        text += "".join("   " + "  ".join(f"{part:.8f}" for part in site.frac_coords) + "\n" for site in structure)
    return text


@pytest.fixture
def steps(lic6) -> list[Structure]:
    """Three geometries of a relaxation of LiC6, in the order of the elements that VASP got."""
    found = []
    for scale in (1.0, 0.98, 0.96):
        step = lic6.copy()
        step.scale_lattice(scale * lic6.volume)
        step.translate_sites([0], [0, 0, 0.02 - 0.02 * scale], to_unit_cell=False)
        found.append(step)
    return found


def same(one: Structure, other: Structure) -> bool:
    """Whether two geometries agree within the digits of XDATCAR."""
    shift = one.frac_coords - other.frac_coords
    return (
        one.species == other.species
        and np.allclose(one.lattice.matrix, other.lattice.matrix, atol=1e-6)
        and np.allclose(shift - np.round(shift), 0, atol=1e-6)
    )


def test_contcar_comes_first_and_its_velocities_are_left_out(tmp_path, steps):
    Poscar(steps[0]).write_file(tmp_path / "POSCAR")
    velocities = "\n" + "  0.0  0.0  0.0\n" * 7
    (tmp_path / "CONTCAR").write_text(Poscar(steps[2]).get_str() + velocities)
    (tmp_path / "XDATCAR").write_text(xdatcar(steps[:2], repeat=True))
    found = VASP.last_structure(tmp_path)
    assert same(found, steps[2])
    assert not found.site_properties
    assert VASP.model_copy(update={"task": "static"}).last_structure(tmp_path) is None


@pytest.mark.parametrize("repeat", [True, False])
def test_vasp_files_that_are_cut_anywhere_give_a_whole_geometry(tmp_path, steps, repeat):
    if not repeat:
        steps = [Structure(steps[0].lattice, step.species, step.frac_coords) for step in steps]
    Poscar(steps[0]).write_file(tmp_path / "POSCAR")
    contcar, path = Poscar(steps[2]).get_str(), xdatcar(steps[:2], repeat=repeat)
    (tmp_path / "XDATCAR").write_text(path)
    for cut in range(len(contcar) + 1):
        (tmp_path / "CONTCAR").write_text(contcar[:cut])
        assert same(VASP.last_structure(tmp_path), steps[2 if cut == len(contcar) else 1]), cut
    (tmp_path / "CONTCAR").write_text("")
    first = len(xdatcar(steps[:1], repeat=repeat))
    for cut in range(len(path) + 1):
        (tmp_path / "XDATCAR").write_text(path[:cut])
        found = VASP.last_structure(tmp_path)
        assert found is None if cut < first else same(found, steps[1 if cut == len(path) else 0]), cut


def test_contcar_of_another_compound_or_with_stars_is_not_taken(tmp_path, steps):
    Poscar(steps[0]).write_file(tmp_path / "POSCAR")
    other = steps[2].copy()
    other.replace(0, "Na")
    Poscar(other).write_file(tmp_path / "CONTCAR")
    assert VASP.last_structure(tmp_path) is None
    (tmp_path / "XDATCAR").write_text(xdatcar(steps[:2], repeat=True))
    assert same(VASP.last_structure(tmp_path), steps[1])
    for bad in ("********", "NaN"):
        lines = Poscar(steps[2]).get_str().splitlines()
        lines[8] = f"{bad} 0.0 0.5"
        (tmp_path / "CONTCAR").write_text("\n".join(lines) + "\n")
        assert same(VASP.last_structure(tmp_path), steps[1])


def test_moments_are_those_of_the_last_whole_table_of_outcar(tmp_path, steps):
    def table(moment: float) -> str:
        rows = "".join(f"{row:5d}        0.000   0.000   0.000   {moment + row:.3f}\n" for row in range(1, 8))
        ruler = "-" * 42 + "\n"
        head = " magnetization (x)\n \n# of ion       s       p       d       tot\n"
        return f"{head}{ruler}{rows}{ruler}tot  0.0 0.0 0.0 1.0\n\n"

    Poscar(steps[2]).write_file(tmp_path / "CONTCAR")
    text = "some lines\n" + table(0) + "more lines\n" + table(1)
    for cut, first in ((len(text), 2.0), (len(text) - 120, 1.0)):
        (tmp_path / "OUTCAR").write_text(text[:cut])
        assert VASP.last_structure(tmp_path).site_properties["magmom"] == [first + row for row in range(7)]
