"""What ``hts cluster check`` runs on a node: finds out whether jobs could work there, and writes it down.

Run by a batch script as ``python -m hts_flows.slurm.probe FOLDER [ENGINE SHELL_LINES]...``, which starts
``python -m hts_flows.slurm.probe --engine ENGINE`` in a shell with each engine's own modules and commands.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel, Field

import hts_flows
from hts_flows.errors import HtsError

REPORT_NAME = "probe.json"
#: MongoDB has to answer a node within this time, s.
DATABASE_SECONDS = 5.0
#: Longest time for the modules and the check of one engine, s.
ENGINE_SECONDS = 60.0
_LOOPBACK = re.compile(r"^(?:localhost|127\.[\d.]+|\[::1\])(?::\d+)?$", re.IGNORECASE)


class Finding(BaseModel):
    """Whether one thing works."""

    ok: bool = Field(description="Whether it does")
    message: str = Field(description="What was found")
    hint: str | None = Field(default=None, description="What to do about it")


class Report(BaseModel):
    """What a node is like."""

    node: str = Field(description="Name of the node")
    python: str = Field(description="Version of Python")
    hts_flows: str = Field(description="Version of hts_flows")
    scratch: Finding = Field(description="Whether the folder can be written")
    database: Finding = Field(description="Whether MongoDB answers")
    engines: dict[str, Finding] = Field(description="Whether each engine can run")


def is_loopback(uri: str) -> bool:
    """Tell whether a MongoDB address names only the machine that uses it."""
    hosts = uri.partition("://")[2].rpartition("@")[2].partition("/")[0].partition("?")[0]
    return all(_LOOPBACK.match(host) for host in hosts.split(","))


def probe(folder: Path, engines: dict[str, str]) -> Report:
    """Look at this node.

    Parameters
    ----------
    folder
        Folder on the shared file system.
    engines
        Engines to look for, each with the lines of shell that prepare it.
    """
    return Report(
        node=os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        python=platform.python_version(),
        hts_flows=hts_flows.__version__,
        scratch=_try_scratch(folder),
        database=_try_database(),
        engines={name: _try_engine(name, lines) for name, lines in engines.items()},
    )


def _try_scratch(folder: Path) -> Finding:
    file = folder / f"written-by-{socket.gethostname()}-{os.getpid()}"
    try:
        file.write_text("x")
        file.unlink()
    except OSError as error:
        return Finding(
            ok=False,
            message=f"cannot write in {folder}: {error.strerror}",
            hint="set scratch to a folder that every node can write in",
        )
    return Finding(ok=True, message=f"{folder.parent.parent} can be written")


def _try_database() -> Finding:
    from hts_flows.settings import load_settings
    from hts_flows.stores.database import open_database

    uri = os.environ.get("HTS_MONGODB_URI", "")
    begun = time.monotonic()
    try:
        settings = load_settings()
        database = open_database(uri, settings.database, min(settings.mongodb_timeout, DATABASE_SECONDS))
    except HtsError as error:
        return Finding(ok=False, message=error.message, hint=error.hint)
    seconds = time.monotonic() - begun
    return Finding(ok=True, message=f"{database.address} answers in {1000 * seconds:.0f} ms")


def _try_engine(name: str, lines: str) -> Finding:
    again = shlex.join([sys.executable, "-m", __spec__.name, "--engine", name])
    try:
        done = subprocess.run(  # noqa: S603 (the user's own settings)
            ["bash", "-l", "-c", f"{lines}\nexec {again}"],  # noqa: S607 (the shell of the batch script)
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ENGINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(
            ok=False, message=f"its modules and check took over {ENGINE_SECONDS:g} s", hint="try them on a node"
        )
    if done.returncode == 0:
        return Finding.model_validate_json(done.stdout.strip().splitlines()[-1])
    said = [line.removeprefix("hts: ").strip() for line in done.stderr.splitlines() if line.startswith("hts: ")]
    last = said or done.stderr.strip().splitlines()[-1:] or [f"its shell ends with exit code {done.returncode}"]
    return Finding(ok=False, message=last[-1], hint="correct its modules and pre_commands in the settings")


def check_engine(name: str) -> Finding:
    """Find out whether an engine can run in this process's environment."""
    from hts_flows.engines import engine_class

    try:
        engine = engine_class(name).model_validate({"engine": name})
        engine.check()
    except HtsError as error:
        return Finding(ok=False, message=error.message, hint=error.hint)
    versions = ", ".join(f"{package} {version}" for package, version in engine.versions().items())
    return Finding(ok=True, message=versions)


def main() -> None:
    """Look at this node, or for one engine."""
    first, *rest = sys.argv[1:]
    if first == "--engine":
        print(check_engine(rest[0]).model_dump_json())  # noqa: T201 (read by the probe that started it)
        return
    folder = Path(first)
    report = probe(folder, dict(zip(rest[::2], rest[1::2], strict=True)))
    new = folder / f"{REPORT_NAME}.new"
    new.write_text(report.model_dump_json(indent=1), encoding="utf-8")
    new.replace(folder / REPORT_NAME)


if __name__ == "__main__":
    main()
