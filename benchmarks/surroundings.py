"""What benchmarks run in: a real SLURM, a private MongoDB and an empty home, in one temporary folder."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from pymongo import monitoring

from hts_flows.errors import StoreUnavailableError
from hts_flows.launch.mongod import PrivateMongod, find_mongod
from hts_flows.settings import Settings, load_settings
from hts_flows.stores import Database, connect

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

import slurm_cluster  # noqa: E402 (it is in the folder that was just named)
from daemons import missing_for  # noqa: E402
from many_jobs import CallCounter  # noqa: E402

#: Name of the cluster in the settings file.
CLUSTER = "here"


@dataclass(frozen=True)
class Surroundings:
    """Where a benchmark runs.

    Attributes
    ----------
    folder
        Temporary folder; all that is written is in it.
    slurm
        SLURM, running and idle.
    machine
        The machine, and how busy it was before.
    """

    folder: Path
    slurm: slurm_cluster.SlurmCluster
    machine: dict[str, Any]

    def connect(self, name: str) -> Database:
        """Open an empty database of that name, with the package's indexes."""
        os.environ["HTS_DATABASE"] = name
        return connect(load_settings())

    def connect_counted(self, name: str) -> tuple[Database, CallCounter]:
        """Open such a database together with a counter of all commands that are sent to it from then on."""
        counter = CallCounter()
        # Clients take over the listeners that are known when they are made; each database has a client of its own.
        monitoring.register(counter)
        return self.connect(name), counter


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Start SLURM and MongoDB, and end both whatever happens; exits with a message where they cannot run."""
    if reason := missing_for(slurm_cluster.PACKAGES):
        sys.exit(f"this benchmark starts a SLURM of its own and {reason}")
    machine = {"load_average_before": round(os.getloadavg()[0], 2)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, as Ctrl-C does
    with tempfile.TemporaryDirectory(prefix="hts-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # munge wants its socket in folders that everybody may enter
        settings = use_home(folder / "home")
        cluster = slurm_cluster.SlurmCluster(folder / "slurm")
        cluster.folder.mkdir(mode=0o755)
        os.environ |= cluster.environment
        server = PrivateMongod(settings)
        # Ends SLURM also when this process is killed.
        guard_command = [sys.executable, slurm_cluster.__file__, "guard", str(cluster.folder)]
        with subprocess.Popen(guard_command, stdin=subprocess.PIPE, start_new_session=True) as guard:
            try:
                cluster.start()
                server.uri()
                yield Surroundings(folder, cluster, describe_machine(cluster) | machine)
            finally:
                cluster.stop()
                guard.communicate(b"\n")
                server.stop()


def use_home(home: Path) -> Settings:
    """Use another home, so that nothing of the user's is read or written; exits where there is no MongoDB."""
    home.mkdir(mode=0o700, exist_ok=True)
    for name in [name for name in os.environ if name.startswith("HTS_") and name != "HTS_MONGOD"]:
        del os.environ[name]
    # FireWorks reads its configuration from HOME.
    os.environ |= {"HTS_HOME": str(home), "HOME": str(home), "OMP_NUM_THREADS": "1"}
    settings = load_settings()
    try:
        find_mongod(settings)
    except StoreUnavailableError as error:
        sys.exit(f"{error.message}\n{error.hint}")
    return settings


def describe_machine(cluster: slurm_cluster.SlurmCluster | None = None) -> dict[str, Any]:
    """Say what decides how fast a benchmark runs."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "processor": next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown"),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1024**3, 1),
        "python": platform.python_version(),
        **({"slurm": cluster.output("sbatch", "--version").split()[-1]} if cluster else {}),
        "mongodb": connect(load_settings()).mongo.client.server_info()["version"],
        **{name: version(name) for name in ("fireworks", "pymongo", "hts-flows")},
    }
