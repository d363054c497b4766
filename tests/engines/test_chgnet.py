"""CHGNet, really run."""

from __future__ import annotations

import json

import pytest
from pymatgen.core import Lattice, Structure

from hts_flows.engines import engine_from_dict
from hts_flows.errors import EngineNotAvailableError

pytest.importorskip("chgnet", reason="CHGNet is not installed: pip install --editable '.[chgnet]'")


def engine(**settings):
    return engine_from_dict({"engine": "chgnet", "dispersion": False, **settings})


@pytest.fixture
def iron():
    return Structure(Lattice.cubic(2.83), ["Fe"] * 2, [[0, 0, 0], [0.5, 0.5, 0.5]]).get_primitive_structure()


def test_magnetic_moments_of_iron_are_read(run_job, iron):
    chosen = engine(task="static")
    calculation = chosen.parse(run_job(chosen.maker().make(iron)))
    assert calculation.magnetic_moments == [pytest.approx(2.2, abs=0.4)]
    assert calculation.converged


def test_relaxed_lic6_with_dispersion(run_job, lic6):
    pytest.importorskip("dftd3", reason="D3 is not installed: pip install dftd3")
    chosen = engine(dispersion=True)
    document = run_job(chosen.maker().make(lic6), load=False)
    calculation = chosen.parse(document)
    assert calculation.converged
    assert calculation.structure.lattice.c == pytest.approx(3.59, abs=0.03)
    assert len(calculation.magnetic_moments) == 7
    assert len(json.dumps(document, default=str)) < 10_000


def test_dispersion_follows_from_the_system():
    auto = engine_from_dict({"engine": "chgnet"})
    assert auto.resolved(layered=True).dispersion is True
    assert auto.resolved(layered=False).dispersion is False
    assert engine(dispersion=False).resolved(layered=True).dispersion is False


def test_missing_package_is_reported_with_what_to_type(monkeypatch):
    monkeypatch.setattr("hts_flows.engines._packages.find_spec", lambda name: None if name == "chgnet" else object())
    with pytest.raises(EngineNotAvailableError, match=r"chgnet(.|\n)*pip install"):
        engine().check()
