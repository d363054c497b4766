from __future__ import annotations

import json

import pytest

from hts_flows.errors import InputError
from hts_flows.settings import load_settings, mask_password


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    path = tmp_path / "settings.yaml"
    monkeypatch.setenv("HTS_CONFIG_FILE", str(path))
    return path


def test_environment_wins_over_file_wins_over_default(settings_file, monkeypatch):
    settings_file.write_text("workers: 3\ndatabase: from_file\n")
    monkeypatch.setenv("HTS_WORKERS", "7")
    settings = load_settings()
    assert (settings.workers, settings.database, settings.mongod_cache) == (7, "from_file", 0.5)
    origins = {row.name: row.origin for row in settings.origins()}
    assert origins["workers"] == "environment HTS_WORKERS"
    assert origins["database"] == f"file {settings_file}"
    assert origins["mongod_cache"] == "default"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("worker: 3\n", ["unknown setting 'worker'", "did you mean 'workers'"]),
        ("workers: 0\n", ["workers", "greater than or equal to 1", "found 0"]),
        ("workers: [\n", ["not valid YAML"]),
        ("- workers\n", ["expected 'name: value' lines"]),
    ],
)
def test_bad_file_is_named_with_the_key_and_the_value(settings_file, text, expected):
    settings_file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_settings()
    assert str(settings_file) in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_bad_environment_variable_is_named(monkeypatch):
    monkeypatch.setenv("HTS_WORKERS", "many")
    with pytest.raises(InputError, match=r"HTS_WORKERS.*'many'"):
        load_settings()


def test_missing_settings_file_is_an_error_only_when_it_was_named(settings_file, monkeypatch):
    with pytest.raises(InputError, match="settings file not found"):
        load_settings()
    monkeypatch.delenv("HTS_CONFIG_FILE")
    assert load_settings().workers >= 1


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://user:secret@host:27017/?a=b", "mongodb://user:***@host:27017/?a=b"),
        ("mongodb://user:s@cret@host", "mongodb://user:***@host"),
        ("mongodb://host:27017", "mongodb://host:27017"),
    ],
)
def test_passwords_are_masked(uri, shown):
    assert mask_password(uri) == shown


def test_settings_command_never_shows_the_password(hts):
    done = hts("settings", "--json", HTS_MONGODB_URI="mongodb://user:secret@127.0.0.1:1/")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["mongodb_uri"]["value"] == "mongodb://user:***@127.0.0.1:1/"
    assert rows["mongodb_uri"]["origin"] == "environment HTS_MONGODB_URI"
    assert "secret" not in done.stdout + done.stderr
