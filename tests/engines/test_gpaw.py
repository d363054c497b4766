"""GPAW, really run, with settings that take seconds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from hts_flows.engines import engine_from_dict
from hts_flows.errors import EngineNotAvailableError

QUICK = {"cutoff": 300, "kspacing": 0.6, "smearing": 0.05}

needs_gpaw = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("gpaw") is None,
    reason="GPAW is not installed: apt-get install libxc-dev libopenblas-dev g++; make gpaw",
)


def engine(**settings):
    return engine_from_dict({"engine": "gpaw", **QUICK, **settings}).resolved(layered=False)


@needs_gpaw
def test_static_of_silicon_with_bands_has_an_indirect_pbe_gap(run_job, silicon):
    """PBE gap of Si: 0.6 eV on a fine path (experiment 1.17 eV)."""
    chosen = engine(task="static", bands=True, band_points=80)
    calculation = chosen.parse(run_job(chosen.maker().make(silicon)))
    assert calculation.converged
    assert calculation.n_steps == 1
    assert calculation.band_gap == pytest.approx(0.6, abs=0.1)
    bands = calculation.band_structure
    energies = np.array(bands["eigenvalues"])
    assert energies.shape[:2] == (1, 80) == (1, len(bands["kpoints"]))
    assert bands["labels"][0][0] == "G"
    gamma = int(np.argmin(np.linalg.norm(bands["kpoints"], axis=1)))
    assert energies[0, gamma, 3] == pytest.approx(energies[0].T[3].max(), abs=0.02)  # valence band tops at Γ
    assert energies[0, gamma, 1:4] == pytest.approx(energies[0, gamma, 3], abs=0.01)  # threefold


@needs_gpaw
def test_band_structure_goes_to_the_data_store_and_must_be_loaded(run_job, silicon):
    chosen = engine(task="static", bands=True, band_points=10)
    document = run_job(chosen.maker().make(silicon), load=False)
    assert document["band_structure"]["store"] == "data"
    assert len(json.dumps(document, default=str)) < 10_000
    with pytest.raises(ValueError, match="load=True"):
        chosen.parse(document)


@needs_gpaw
def test_lic6_with_vdw_df_is_a_metal(run_job, lic6, tmp_path):
    chosen = engine(task="static", xc="vdW-DF", smearing=0.1, bands=True, band_points=12)
    calculation = chosen.parse(run_job(chosen.maker().make(lic6)))
    assert calculation.band_gap == 0
    assert calculation.magnetic_moments is None
    assert list(tmp_path.rglob("gpaw.txt"))


@needs_gpaw
def test_displaced_silicon_relaxes_back(run_job, silicon):
    displaced = silicon.copy()
    displaced.translate_sites([1], [0.02, 0.0, 0.0])
    chosen = engine(relax_cell=False)
    calculation = chosen.parse(run_job(chosen.maker().make(displaced)))
    assert calculation.converged
    assert calculation.n_steps > 1
    assert calculation.max_force < 0.05
    assert calculation.structure.get_distance(0, 1) == pytest.approx(5.43 * 3**0.5 / 4, abs=0.01)


@needs_gpaw
def test_stress_is_the_derivative_of_the_energy(run_job, silicon):
    """Corrected for the finite cutoff, which alone would shift it by GPa."""
    chosen = engine(task="static", scf_energy=1e-7)
    cells = [silicon.copy() for _ in range(3)]
    for cell, scale in zip(cells, (0.97, 0.973, 0.967), strict=True):
        cell.scale_lattice(silicon.volume * scale)
    middle, large, small = (chosen.parse(run_job(chosen.maker().make(cell))) for cell in cells)
    slope = (large.energy - small.energy) / (large.structure.volume - small.structure.volume)
    assert middle.pressure == pytest.approx(-slope * 160.2177, abs=0.3)


@needs_gpaw
def test_scf_that_does_not_converge_raises_a_named_error(silicon, tmp_path, monkeypatch):
    from hts_flows.engines.base import SCFNotConvergedError

    monkeypatch.chdir(tmp_path)
    maker = engine(task="static", scf_steps=3).maker()
    with pytest.raises(SCFNotConvergedError, match=r"Si(.|\n)*scf_steps"):
        type(maker).make.original(maker, silicon)


@needs_gpaw
def test_iron_is_spin_polarised_and_silicon_is_not(run_job, silicon):
    iron = Structure(Lattice.cubic(2.83), ["Fe"] * 2, [[0, 0, 0], [0.5, 0.5, 0.5]]).get_primitive_structure()
    chosen = engine(task="static", smearing=0.1)
    calculation = chosen.parse(run_job(chosen.maker().make(iron)))
    assert calculation.magnetic_moments == [pytest.approx(2.2, abs=0.5)]
    assert chosen.maker().start_moments(silicon) is None
    assert engine(spin=True).maker().start_moments(silicon) == [0.6, 0.6]
    assert engine(spin=False).maker().start_moments(iron) is None


@needs_gpaw
def test_k_points_have_the_asked_density_and_do_not_depend_on_the_choice_of_cell(silicon):
    from hts_flows.engines._gpaw_maker import k_mesh

    for kspacing in (0.2, 0.35, 0.6):
        mesh = k_mesh(silicon, kspacing)
        steps = [length / n for length, n in zip(silicon.lattice.reciprocal_lattice.abc, mesh, strict=True)]
        assert max(steps) <= kspacing
        assert k_mesh(silicon * (2, 2, 2), kspacing)[0] == -(-mesh[0] // 2)


def test_gap_of_levels_is_zero_when_a_band_crosses():
    from hts_flows.engines._bands import gap_of

    insulator = np.array([[[-1.0, 2.0], [-0.5, 1.5]]])
    assert gap_of([insulator], 0.0) == pytest.approx(2.0)
    assert gap_of([insulator, np.array([[[-0.2, 1.0, 3.0]]])], 0.0) == pytest.approx(1.2)
    assert gap_of([insulator, np.array([[[0.3, 2.0]]])], 0.0) == 0


def test_functional_follows_from_the_system():
    auto = engine_from_dict({"engine": "gpaw"})
    assert auto.resolved(layered=True).xc == "optB88-vdW"
    assert auto.resolved(layered=False).xc == "PBE"
    assert engine(xc="vdW-DF").resolved(layered=True).xc == "vdW-DF"


def test_missing_package_is_reported_with_what_to_type(monkeypatch):
    monkeypatch.setattr("hts_flows.engines._packages.find_spec", lambda name: None if name == "gpaw" else object())
    with pytest.raises(EngineNotAvailableError, match=r"libxc-dev(.|\n)*make gpaw"):
        engine().check()
