"""What a user sees of a campaign that cannot be used: exit code 2, no traceback, place, value, remedy."""

from __future__ import annotations

import shutil

import pytest

from hts_flows.inventories import Inventories

DOMAINS = "allowed: compounds, grain_boundaries, intercalation"
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
    "unknown host": ("[graphite]", "[grafite]", 4, ["'grafite'", "did you mean 'graphite'", "hts inventory hosts"]),
    "unknown element": ("[Li, K]", "[Li, Kx]", 5, ["'Kx'", "hts inventory intercalants"]),
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
    "bad name": (
        "name: bad_or_good",
        "name: bad or good",
        1,
        ["'bad or good'", "letters, digits, _ and - (at most 64)"],
    ),
    "concentration 1/1000": ("[1/6]", "[1/1000]", 6, ["1/1000", "up to 24", "did you mean 1/24"]),
    "concentration 0.001": ("[1/6]", "[0.001]", 6, ["0.001", "did you mean 1/24"]),
    "concentration 1e-400": ("[1/6]", "[1e-400]", 6, ["1e-400", "above 0"]),
    "concentration of large denominator": ("[1/6]", "[2/47]", 6, ["2/47", "up to 24", "did you mean 1/24"]),
    "mapping for a list": ("[1/6]", "{a: 1}", 6, ["write a list, e.g. [1/6, 1/3]", "{'a': 1}"]),
    "nothing for a list": ("concentrations: [1/6]", "concentrations:", 6, ["write a list, e.g. [1/6, 1/3]"]),
    "mapping for the ladder": (GOOD[GOOD.index("calculate") :], "calculate: {a: 1}", 8, ["write a list", "{'a': 1}"]),
    "list of domains": ("domain: intercalation", "domain: [a]", 3, ["['a']", DOMAINS]),
    "mapping of domains": (
        "domain: intercalation",
        "domain: {a: b}",
        3,
        ["{'a': 'b'}", DOMAINS],
    ),
    "alias of itself": ("[1/6]", "&z [*z]", 6, ["holds itself", "*name"]),
    "section in itself": (GOOD[GOOD.index("candidates") :], "candidates: &c {x: *c}", 2, ["holds itself"]),
    "deep brackets": ("[1/6]", "[" * 3000 + "]" * 3000, None, ["more than 50 deep", "brackets"]),
    "rather deep brackets": ("[1/6]", "[" * 60 + "]" * 60, 6, ["more than 50 deep", "brackets"]),
    "alias bomb": (
        "name: bad_or_good",
        "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
        + "name: bad_or_good",
        None,
        ["aliases", "more than 100,000"],
    ),
    "impossible date": ("name: bad_or_good", "name: 2024-13-45", None, ["month must be in 1..12", "quotes"]),
    "tag": ("name: bad_or_good", "name: !!python/object:x {}", 1, ["not valid YAML", "python/object:x"]),
    "list as a key": ("stages: [1]", "? [1]\n  : 2", 7, ["not valid YAML", "unhashable key"]),
    "number as a key": ("stages: [1]", "7: [1]", 7, ["7", "text"]),
    "empty file": (GOOD, "", 1, ["expected 'key: value' lines"]),
}


#: A bad way to say who goes up: text after "promote: ", what the message must say.
BAD_PROMOTIONS = {
    "by no number": ("{by: stays_layered, lowest: 2}", ["'stays_layered' is not a number", "intercalation_energy"]),
    "by text": ("{by: coordination_geometry, lowest: 2}", ["'coordination_geometry' is not a number"]),
    "true for how many": ("{by: intercalation_energy, lowest: true}", ["lowest", "not a number", "True"]),
    "half a candidate": ("{by: intercalation_energy, lowest: 1.5}", ["lowest", "not a whole number", "1.5"]),
    "endless window": ("{by: intercalation_energy, window: .inf}", ["window", "not a finite number", "inf"]),
    "true for a window": ("{by: intercalation_energy, window: true}", ["window", "not a number", "True"]),
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


@pytest.mark.parametrize("case", BAD_PROMOTIONS)
def test_a_bad_promotion_is_refused_in_its_line(case, hts, tmp_path):
    promotion, parts = BAD_PROMOTIONS[case]
    (tmp_path / "campaign.yaml").write_text(f"{GOOD}  - engine: sevennet\n    promote: {promotion}\n")
    done = hts("check", "campaign.yaml")
    assert_refused(done, "campaign.yaml, line 12", *parts)
    assert done.stderr.count("campaign.yaml, line") == 1


def test_an_unknown_name_in_a_list_of_several_lines_is_told_with_its_own_line(hts, tmp_path):
    (tmp_path / "campaign.yaml").write_text(GOOD.replace("[graphite]", "\n  - graphite\n  - grafite\n  - mica"))
    for command in ("check", "run"):
        done = hts(command, "campaign.yaml")
        assert_refused(done, "campaign.yaml, line 6: candidates.hosts[2]: 'grafite'", "line 7", "'mica'")


def own_inventories(folder, hosts):
    """Inventories of a group's own, with the hosts given, and a campaign file that uses them."""
    shutil.copytree(Inventories().folder, folder / "mine")
    (folder / "mine" / "hosts.yaml").write_bytes(hosts)
    (folder / "campaign.yaml").write_text(f"inventories: mine\n{GOOD}")


def test_an_inventory_in_another_encoding_is_refused(hts, tmp_path):
    own_inventories(tmp_path, "- id: gr\u00fcn\n".encode("latin-1"))
    assert_refused(hts("check", "campaign.yaml"), "hosts.yaml", "utf-8", "UTF-8")


def test_a_host_with_an_unknown_space_group_is_named(hts, tmp_path):
    hosts = (Inventories().folder / "hosts.yaml").read_text(encoding="utf-8")
    own_inventories(tmp_path, hosts.replace("P6_3/mmc", "P9_9/foo").encode())
    assert_refused(hts("check", "campaign.yaml"), "graphite", "'P9_9/foo'", "P6_3/mmc")


@pytest.mark.parametrize("value", ["[1", "!!python/object:x", "2024-13-45", "&a [*a]", "many"])
def test_a_new_setting_that_cannot_be_read_is_refused(value, hts, database, make_campaign):
    database.results.insert_many(make_campaign(database, "many", count=3, failed=(1,)))
    assert_refused(hts("resubmit", "many", "--yes", "--set", f"steps={value}"), "--set steps", value)


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
