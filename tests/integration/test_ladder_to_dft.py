"""From a potential to density-functional theory: the best goes up to GPAW, with bands along the host's path."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Structure

pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")
pytest.importorskip("gpaw", reason="GPAW is not installed: make gpaw")

CAMPAIGN = """\
name: ladder
candidates:
  domain: intercalation
  hosts: [graphite]
  intercalants: [Li, Mg]
  concentrations: [1/6]
calculate:
  - engine: sevennet
    task: static
  - engine: gpaw
    task: static
    xc: PBE
    cutoff: 300
    kspacing: 0.6
    bands: true
    band_points: 60
    promote: {by: intercalation_energy, lowest: 1}
"""


def test_the_best_candidate_gets_dft_energies_and_bands_on_the_path_of_its_host(hts, database, tmp_path):
    (tmp_path / "ladder.yaml").write_text(CAMPAIGN)
    done = hts("run", "ladder.yaml", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(hts("results", "ladder", "--engine", "gpaw", "--json").stdout)
    assert [item["formula"] for item in found] == ["LiC6"]
    assert -1 < found[0]["intercalation_energy"] < 1
    assert found[0]["band_gap"] == 0  # lithium in graphite is a metal
    assert found[0]["provenance"]["versions"]["gpaw"]
    stored = {document["label"]: document for document in database.results.find({"engine": "gpaw"})}
    compound = stored["graphite LiC6 stage 1"]["calculation"]
    host = next(doc for label, doc in stored.items() if label.startswith("Graphite"))["calculation"]
    lengths = []
    for calculation in (host, compound):
        bands = calculation["band_structure"]
        structure = Structure.from_dict(calculation["structure"])
        assert bands["path"].startswith("GMKG")
        at = dict(bands["labels"][:3])
        corner = bands["kpoints"][int(np.argmin(np.abs(np.array(bands["distances"]) - at["K"])))]
        lengths.append(np.linalg.norm(structure.lattice.reciprocal_lattice.get_cartesian_coords(corner)))
        assert np.array(bands["eigenvalues"]).shape[1] == len(bands["kpoints"]) >= 60
    # The corner K of graphite's zone, 4π/3a = 1.70 1/Å, though LiC6 has a cell three times as large.
    assert lengths[0] == pytest.approx(1.70, abs=0.01)
    assert lengths[1] == pytest.approx(lengths[0], rel=0.02)
