"""Fixtures of a real SLURM: `slurm` for a test, `slurm_cluster` for what many tests share."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_cluster as module
from daemons import missing_for
from slurm_cluster import PACKAGES, SlurmCluster


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A SLURM of this process's own, started when the first test asks for it (about 5 s)."""
    if reason := missing_for(PACKAGES):
        pytest.skip(f"SLURM {reason}")
    folder = Path(tempfile.mkdtemp(prefix="hts-slurm-"))  # not pytest's: its paths can be too long for sockets
    folder.chmod(0o755)
    cluster = SlurmCluster(folder)
    # Ends what runs also when this process is killed.
    command = [sys.executable, module.__file__, "guard", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            guard.communicate(b"\n")


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """That SLURM, idle, and the one that commands find; whatever the test does to it is undone afterwards."""
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield slurm_cluster
    slurm_cluster.restore()
