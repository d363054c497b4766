"""What campaigns on a real SLURM need in tests, and what is asked of the database about them."""

from __future__ import annotations

import json

import yaml


def write_settings(monkeypatch, folder, slurm, **cluster):
    """Describe the test's SLURM in a settings file, and let ``hts`` find both."""
    content = {
        "scratch": str(folder / "scratch"),
        "partition": "debug",
        "pre_commands": [f"module use {slurm.modulefiles}"],
    }
    resources = {"default": {"walltime": "00:05:00", "memory": "1500M"}} | cluster.pop("resources", {})
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump({"clusters": {"tiny": content | cluster | {"resources": resources}}}))
    monkeypatch.setenv("HTS_CONFIG_FILE", str(path))
    return path


def allocations_of(database, key):
    """SLURM jobs of one result, oldest first."""
    return list(database.allocations.find({"result": key}).sort("created_at", 1))


def hts_json(answer):
    """The JSON that a command printed."""
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)
