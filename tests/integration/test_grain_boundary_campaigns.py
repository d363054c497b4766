"""Campaigns on grain boundaries as users run them: searched, learnt from others, promoted, one configuration a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install --editable '.[tight-binding]'")

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"

LEARNED = """\
name: learned
candidates:
  domain: grain_boundaries
  boundaries: [Cu-S5-001-210, Cu-S5-001-310, Cu-S29-001-520]
  cell: {thickness: 14}
calculate:
  - engine: translation_search
    forces: {engine: tight_binding}
    method: enumeration
    step: 0.6
    openings: [0.4]
    learned: verify
    screen:
      by: boundary_energy
      descriptors: [angle]
      train_on: {boundary: [Cu-S5-001-210, Cu-S5-001-310]}
      stop: {budget: 1}
"""

PROMOTED = """\
name: promoted
candidates:
  domain: grain_boundaries
  boundaries: [Cu-S5-001-210]
  cell: {thickness: 6}
calculate:
  - engine: translation_search
    forces: {engine: tight_binding}
    step: 0.6
  - engine: sevennet
    fmax: 0.1
    promote: {by: boundary_energy, lowest: 1}
"""

CONFIGURATIONS = """\
name: configurations
candidates:
  domain: grain_boundaries
  boundaries: [Cu-S5-001-210]
  cell: {thickness: 12}
  translations: {step: 0.9, openings: [0.3]}
calculate:
  - engine: tight_binding
    fmax: 0.02
    screen:
      by: boundary_energy
      descriptors: [x_cos, x_sin, y_cos, y_sin]
      n_initial: 2
      stop: {budget: 4}
"""


def finished(hts, name):
    return json.loads(hts("results", name, "--sort", "boundary_energy", "--json").stdout)


def test_kriging_finds_the_published_energy_of_sigma_5_and_draws_its_map(hts, database, tmp_path):
    file = str(WORKFLOWS / "cu_sigma5_kriging.yaml")
    done = hts("run", file)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = finished(hts, "cu_sigma5_kriging")
    assert result["boundary_energy"] == pytest.approx(0.96, abs=0.005)
    assert (result["relaxed"], result["method"], result["stop_reason"]) == ("fixed translation", "kriging", "patience")
    assert 5 < result["n_trials"] < 60 < result["n_candidates"]
    assert 0.2 < result["excess_volume"] < 0.5
    stored = database.results.find_one({"candidate_id": result["candidate_id"]})["calculation"]["translation_search"]
    assert len(stored["translations"]) == len(stored["energies"]) == result["n_trials"]
    assert min(stored["energies"]) == result["boundary_energy"]
    drawn = hts("results", "cu_sigma5_kriging", "--plot", "map.png")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "map.png").stat().st_size > 20_000
    again = hts("run", file)
    assert again.returncode == 0
    assert database.mongo["launches"].count_documents({"state": "COMPLETED"}) == 4  # search, crystal; both recorded


def test_the_structure_of_a_boundary_is_learnt_from_others_and_verified_by_one_relaxation(hts, database, tmp_path):
    (tmp_path / "learned.yaml").write_text(LEARNED)
    done = hts("run", "learned.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {item["boundary"]: item for item in finished(hts, "learned")}
    for name in ("Cu-S5-001-210", "Cu-S5-001-310"):
        assert (found[name]["method"], found[name]["n_trials"]) == ("enumeration", found[name]["n_candidates"])
        assert found[name]["predicted_energy"] is None
    new = found["Cu-S29-001-520"]
    assert (new["method"], new["n_trials"]) == ("prediction", 1)
    assert new["predicted_energy"] is not None
    assert 0.7 < new["boundary_energy"] < 1.2
    document = database.results.find_one({"candidate_id": new["candidate_id"]})
    assert set(document["calculation"]["translation_search"]["trained_on"]) == {"Cu Σ5[001](210)", "Cu Σ5[001](310)"}


def test_what_is_learnt_from_is_part_of_the_settings():
    import yaml

    from hts_flows.campaign import Campaign

    data = yaml.safe_load(LEARNED)
    one = Campaign.from_dict(data).ladder()[0].settings_hash
    data["calculate"][0]["screen"]["train_on"] = {"boundary": ["Cu-S5-001-210"]}
    assert Campaign.from_dict(data).ladder()[0].settings_hash != one


def test_a_boundary_that_was_searched_with_a_potential_goes_up_to_another_engine(hts, database, tmp_path):
    pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")
    (tmp_path / "promoted.yaml").write_text(PROMOTED)
    done = hts("run", "promoted.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(hts("results", "promoted", "--engine", "sevennet", "--json").stdout)
    assert (result["relaxed"], result["method"], result["translation_x"]) == ("free cell", "one configuration", None)
    assert 0.6 < result["boundary_energy"] < 1.2
    references = {item["label"] for item in database.results.find({"role": "reference"})}
    assert references == {"Cu crystal"}


def test_each_translation_may_be_a_job_that_a_search_asks_for(hts, database, tmp_path):
    (tmp_path / "configurations.yaml").write_text(CONFIGURATIONS)
    done = hts("run", "configurations.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    found = finished(hts, "configurations")
    assert len(found) == 4
    # The grains slide, so that the lowest energy is found from most translations.
    assert found[0]["boundary_energy"] == pytest.approx(0.96, abs=0.02)
    assert found[0]["relaxed"] == "free cell"
    rankings = list(database.mongo["rankings"].find({"campaign": "configurations"}).sort("number", 1))
    assert rankings[-1]["stopped"] == "budget"
    assert rankings[-1]["best_value"] == pytest.approx(found[0]["boundary_energy"])
    drawn = hts("results", "configurations", "--plot", "map.png")
    assert drawn.returncode == 0, drawn.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            LEARNED.replace("      train_on: {boundary: [Cu-S5-001-210, Cu-S5-001-310]}\n", ""),
            ["calculate", "train_on", "translation_search"],
        ),
        (
            PROMOTED.replace(
                "engine: translation_search\n    forces: {engine: tight_binding}\n    step: 0.6", "engine: sevennet"
            ),
            ["sevennet", "whole boundary", "translations"],
        ),
        (
            CONFIGURATIONS.replace("engine: tight_binding\n    fmax: 0.02", "engine: translation_search"),
            ["translation_search", "leave", "translations"],
        ),
        (CONFIGURATIONS.replace("Cu-S5-001-210", "Fe-S3-110-111"), ["Fe Σ3", "no parameters for 'Fe'", "sevennet"]),
        (
            PROMOTED.replace("    step: 0.6", "    protocol: free normal expansion"),
            ["free normal expansion", "cell: {rigid: 5}"],
        ),
        (CONFIGURATIONS.replace("Cu-S5-001-210", "Cu-S5-001-211"), ["Cu-S5-001-211", "Cu-S5-001-210"]),
        (CONFIGURATIONS.replace("thickness: 12", "thickness: 12, max_atoms: 20"), ["Cu-S5-001-210", "20", "thickness"]),
        (CONFIGURATIONS.replace("thickness: 12", "thickness: 12, boundaries: 1"), ["boundaries", "surfaces"]),
    ],
    ids=[
        "nothing to learn from",
        "whole boundary",
        "one configuration",
        "no parameters",
        "no rigid blocks",
        "unknown boundary",
        "too many atoms",
        "surfaces",
    ],
)
def test_campaigns_that_cannot_be_computed_are_refused_before_anything_is(hts, tmp_path, text, words):
    (tmp_path / "wrong.yaml").write_text(text)
    checked = hts("check", "wrong.yaml")
    assert checked.returncode == 2, checked.stdout
    for word in words:
        assert word in checked.stderr, checked.stderr
    assert "Traceback" not in checked.stderr
