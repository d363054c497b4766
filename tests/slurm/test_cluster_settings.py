from __future__ import annotations

import json

import pytest

from hts_flows.errors import InputError
from hts_flows.settings import load_settings, pick_cluster

GOOD = """\
workers: 2
clusters:
  big:
    scratch: /scratch/alice
    partition: standard
    mongodb_uri: mongodb://group:secret@login1:27117/
    limits: {max_queued: 5, max_walltime: 1d}
    resources:
      default: {walltime: 2h}
      gpaw: {tasks: 16, memory: 32G, walltime: "12:00:00"}
  far:
    host: alice@login.example.org
    scratch: /scratch/alice
    python: /home/alice/env/bin/python
"""


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    path = tmp_path / "settings.yaml"
    monkeypatch.setenv("HTS_CONFIG_FILE", str(path))
    return path


def refused(settings_file, text) -> str:
    settings_file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_settings()
    return str(caught.value)


def test_clusters_are_read_under_their_names(settings_file):
    settings_file.write_text(GOOD)
    settings = load_settings()
    assert list(settings.clusters) == ["big", "far"]
    big = settings.clusters["big"]
    assert (big.name, big.limits.max_queued, big.limits.max_walltime) == ("big", 5, 86400)
    assert big.resolve("gpaw").memory == 32 * 1024
    assert settings.clusters["far"].interpreter == "/home/alice/env/bin/python"


@pytest.mark.parametrize("text", ["workers: 2\n", "clusters:\n", "clusters: {}\n"])
def test_there_need_be_no_cluster(settings_file, text):
    settings_file.write_text(text)
    assert load_settings().clusters == {}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("limits: {max_queue: 5}", ["clusters.big.limits.max_queue: unknown key", "did you mean 'max_queued'"]),
        ("limits: {max_queued: 0}", ["clusters.big.limits.max_queued", "greater than or equal to 1", "found 0"]),
        ("resources: {gpaw: {walltime: 12}}", ["clusters.big.resources.gpaw.walltime", "not a time", "found 12"]),
        ("resources: {gpaw: {memory: lots}}", ["resources.gpaw.memory", "not an amount of memory", "'lots'"]),
        ("resources: {gpaww: {tasks: 2}}", ["clusters.big.resources.gpaww", "no such engine", "did you mean 'gpaw'"]),
        ("scratchh: /scratch", ["clusters.big.scratchh: unknown key", "did you mean 'scratch'"]),
        ("scratch: scratch/alice", ["clusters.big.scratch", "must be an absolute path", "'scratch/alice'"]),
        ("host: alice@login", ["clusters.big", "with 'host' give also scratch and python"]),
        ("host: -oProxyCommand=x", ["clusters.big.host", "must be a host"]),
        ("name: other", ["clusters.big.name", "leave it out"]),
        ("modules: gcc", ["clusters.big.modules", "write a list", "'gcc'"]),
        ("timeout: -1", ["clusters.big.timeout", "greater than 0", "found -1"]),
        (
            "{limits: {max_walltime: 1h}, resources: {gpaw: {walltime: 2h}}}",
            ["clusters.big", "resources.gpaw: walltime 02:00:00 is longer than limits.max_walltime 01:00:00"],
        ),
    ],
)
def test_a_mistake_is_named_with_file_line_key_and_value(settings_file, content, expected):
    said = refused(settings_file, f"workers: 2\nclusters:\n  big:\n    {content}\n")
    assert said.startswith(f"{settings_file}, line ")
    for part in expected:
        assert part in said


def test_every_mistake_is_told_at_once_with_its_line(settings_file):
    said = refused(
        settings_file, "clusters:\n  one:\n    qoss: x\n  two:\n    limits:\n      max_pilots: many\n  three: text\n"
    )
    assert "line 3: clusters.one.qoss: unknown key 'qoss'" in said
    assert "line 6: clusters.two.limits.max_pilots: not a whole number (found 'many')" in said
    assert "line 7: clusters.three: expected 'key: value' lines" in said


@pytest.mark.parametrize("name", ["12", "a b", "a/b", "-x", "x" * 33])
def test_a_name_that_is_none_is_refused(settings_file, name):
    assert "letters, digits" in refused(settings_file, f"clusters:\n  {name}: {{}}\n")


def test_clusters_are_a_mapping(settings_file):
    assert "expected 'name:' lines, found a list" in refused(settings_file, "clusters: [big]\n")


def test_the_environment_cannot_hold_clusters(settings_file, monkeypatch):
    monkeypatch.setenv("HTS_CLUSTERS", "{}")
    assert "HTS_CLUSTERS: " in refused(settings_file, "workers: 2\n")


def test_no_message_shows_a_password(settings_file):
    uri = "mongodb_uri: mongodb://group:secret@login1/"
    said = refused(settings_file, f"clusters: {{big: {{host: alice@login, {uri}}}}}\n")
    assert "with 'host' give also" in said
    assert "secret" not in said


def test_a_cluster_is_picked_by_its_name_or_as_the_only_one(settings_file):
    settings_file.write_text(GOOD)
    assert pick_cluster(load_settings(), "far").name == "far"
    settings_file.write_text("clusters: {only: {}}\n")
    assert pick_cluster(load_settings(), None).name == "only"


def test_which_cluster_is_meant_must_be_clear(settings_file):
    settings_file.write_text(GOOD)
    with pytest.raises(InputError, match=r"describes 2 clusters\n  name one: big, far"):
        pick_cluster(load_settings(), None)
    with pytest.raises(InputError, match=r"unknown cluster 'bigg'; did you mean 'big'"):
        pick_cluster(load_settings(), "bigg")
    settings_file.write_text("workers: 2\n")
    with pytest.raises(InputError, match=r"no cluster is described in .*settings\.yaml") as caught:
        pick_cluster(load_settings(), None)
    assert "docs/clusters.md" in str(caught.value)
    assert "scratch: " in str(caught.value)


def test_the_commands_show_clusters_and_no_password(settings_file, hts):
    settings_file.write_text(GOOD)
    rows = {row["name"]: row["value"] for row in json.loads(hts("settings", "--json").stdout)}
    assert rows["clusters"] == "big, far"
    done = hts("cluster", "show", "--json")
    big, far = json.loads(done.stdout)
    assert (big["name"], far["host"]) == ("big", "alice@login.example.org")
    assert big["mongodb_uri"] == "mongodb://group:***@login1:27117/"
    assert big["limits"]["max_walltime"] == "1-00:00:00"
    assert big["resources"]["gpaw"]["memory"] == "32G"
    assert big["resources"]["gpaw"]["partition"] == "standard"
    shown = hts("cluster", "show", "big")
    assert shown.returncode == 0
    assert "12:00:00" in shown.stdout
    assert "far" not in shown.stdout
    assert "secret" not in done.stdout + shown.stdout


def test_an_unknown_cluster_is_bad_input(settings_file, hts):
    settings_file.write_text(GOOD)
    for command in ("check", "show"):
        done = hts("cluster", command, "bigg")
        assert done.returncode == 2
        assert "did you mean 'big'" in done.stderr
