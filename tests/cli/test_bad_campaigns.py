"""What a user sees of a campaign that cannot be used: exit code 2, no traceback, place, value, remedy."""

from __future__ import annotations

import pytest

GOOD = """\
name: bad_or_good
candidates:
  domain: intercalation
  hosts: [graphite]
  intercalants: [Li, K]
  concentrations: [1/6]
  stages: [1]
calculate:
  - engine: sevennet
    task: static
"""

#: What is wrong: (text to replace, by what, line of the mistake, what the message must say).
BAD_FILES = {
    "unknown key": ("stages: [1]", "stagse: [1]", 7, ["unknown key 'stagse'", "did you mean 'stages'"]),
    "unknown key of an engine": ("task: static", "fmxa: 0.1", 10, ["unknown key 'fmxa'", "did you mean 'fmax'"]),
    "unknown host": ("[graphite]", "[grafite]", None, ["'grafite'", "did you mean 'graphite'", "hts inventory hosts"]),
    "unknown element": ("[Li, K]", "[Li, Kx]", None, ["'Kx'", "hts inventory intercalants"]),
    "stage 0": ("stages: [1]", "stages: [0]", 7, ["stage 0", "count from 1"]),
    "empty list": ("[Li, K]", "[]", 5, ["the list is empty"]),
    "not a number": ("[1/6]", "[lots]", 6, ["'lots'", "fraction"]),
    "unit in a number": ("task: static", "fmax: 20 meV", 10, ["fmax", "'20 meV'", "number"]),
    "missing section": ("calculate:\n  - engine: sevennet\n    task: static\n", "", 1, ["calculate", "required"]),
    "unknown engine": ("sevennet", "sevenet", 9, ["unknown engine 'sevenet'", "did you mean 'sevennet'"]),
    "unknown domain": ("domain: intercalation", "domain: intercalations", 3, ["did you mean 'intercalation'"]),
    "missing inventory": ("candidates:", "inventories: ./nowhere\ncandidates:", 2, ["no such folder: ./nowhere"]),
    "YAML syntax": ("[Li, K]", "[Li, K", None, ["not valid YAML", "line"]),
    "key given twice": ("stages: [1]", "stages: [1]\n  stages: [2]", 8, ["'stages' is given twice", "line 7"]),
    "promotion in the first row": (
        "task: static",
        "promote: {by: intercalation_energy, lowest: 2}",
        10,
        ["leave 'promote' out"],
    ),
    "promotion by no property": (
        "    task: static\n",
        "  - engine: sevennet\n    promote: {by: intercalation_enrgy, lowest: 2}\n",
        11,
        ["did you mean 'intercalation_energy'"],
    ),
    "bad name": ("name: bad_or_good", "name: bad or good", 1, ["name", "'bad or good'"]),
    "empty file": (GOOD, "", 1, ["expected 'key: value' lines"]),
}


def assert_refused(done, *parts):
    message = done.stderr
    assert done.returncode == 2, done.stdout + message
    assert "Traceback" not in message
    assert message.startswith("error: ")
    assert "→" in message, "the next step is missing"
    for part in parts:
        assert part in message


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_place_value_and_remedy(case, hts, tmp_path):
    old, new, line, parts = BAD_FILES[case]
    assert old in GOOD
    (tmp_path / "campaign.yaml").write_text(GOOD.replace(old, new))
    where = [f"campaign.yaml, line {line}"] if line else []
    done = hts("check", "campaign.yaml")
    assert_refused(done, *where, *parts)
    assert done.stderr.count("campaign.yaml, line") <= 1, "one mistake is told once"


def test_the_file_these_are_made_from_is_good(hts, tmp_path):
    (tmp_path / "campaign.yaml").write_text(GOOD)
    done = hts("check", "campaign.yaml")
    assert done.returncode == 0, done.stderr
    assert "candidates  2 on graphite" in done.stdout


def test_every_problem_of_a_file_is_told_at_once(hts, tmp_path):
    bad = GOOD.replace("stages: [1]", "stages: [0]").replace("task: static", "task: melt").replace("name: ", "nam: ")
    (tmp_path / "campaign.yaml").write_text(bad)
    assert_refused(hts("check", "campaign.yaml"), "line 7", "line 10", "'melt'", "unknown key 'nam'", "name: missing")


def test_a_missing_file_lists_those_that_are_there(hts, tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    assert_refused(hts("run", "yours.yaml"), "campaign file not found: yours.yaml", "mine.yaml")


def test_a_name_with_other_content_is_refused_until_told_to_update(hts, settings, tmp_path):
    (tmp_path / "campaign.yaml").write_text(GOOD)
    assert hts("submit", "campaign.yaml").returncode == 0
    (tmp_path / "campaign.yaml").write_text(GOOD.replace("[Li, K]", "[Li, K, Rb]"))
    assert_refused(hts("submit", "campaign.yaml"), "'bad_or_good'", "candidates", "--update", "'name:'")
    updated = hts("submit", "campaign.yaml", "--update")
    assert updated.returncode == 0
    assert "2 calculations queued" in updated.stdout  # RbC6 and Rb


def test_an_engine_that_is_not_installed_is_refused(hts, settings, tmp_path):
    (tmp_path / "campaign.yaml").write_text(GOOD.replace("engine: sevennet\n    task: static", "engine: vasp"))
    assert_refused(hts("run", "campaign.yaml"), "vasp")


def test_an_unreachable_mongodb_is_named_without_its_password(hts, tmp_path):
    (tmp_path / "campaign.yaml").write_text(GOOD)
    uri = "mongodb://me:secret@127.0.0.1:9/"
    done = hts("run", "campaign.yaml", HTS_MONGODB_URI=uri, HTS_MONGODB_TIMEOUT="0.5")
    assert_refused(done, "me:***@127.0.0.1:9", "HTS_MONGODB_URI")
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("home", ["a-file/home", "/proc/hts_flows"])
def test_an_unwritable_home_is_refused_before_anything_is_submitted(home, hts, tmp_path):
    (tmp_path / "campaign.yaml").write_text(GOOD)
    (tmp_path / "a-file").touch()
    assert_refused(hts("run", "campaign.yaml", HTS_HOME=str(tmp_path / home)), home, "HTS_HOME")
