"""A private, real MongoDB for one user on one machine: found, started, found again, stopped."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psutil

from hts_flows.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

    from hts_flows.settings import Settings

USER = "hts"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
INSTALL_HINT = (
    "set HTS_MONGODB_URI to a MongoDB you have, or HTS_MONGOD to a mongod program, or type:\n"
    '  pip install --editable ".[local]"   (in a clone of hts_flows; x86-64 Linux; MongoDB is under the SSPL licence)'
)


@dataclass(frozen=True)
class MongodStatus:
    """What ``hts db status`` shows of the private MongoDB."""

    running: bool
    pid: int | None
    port: int | None
    uptime: float | None
    folder: Path
    size: int


def find_mongod(settings: Settings) -> Path:
    """Find the mongod program: ``HTS_MONGOD``, then PATH, then the package of the ``local`` extra.

    Raises
    ------
    StoreUnavailableError
        There is none; the message says how to get one.
    """
    if settings.mongod is not None:
        if not settings.mongod.is_file():
            raise StoreUnavailableError(f"HTS_MONGOD: no such file: {settings.mongod}", INSTALL_HINT)
        return settings.mongod
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path)
    spec = find_spec("fiftyone")
    for place in (spec.submodule_search_locations or []) if spec else []:
        program = Path(place) / "db" / "bin" / "mongod"
        if program.is_file():
            return _executable(program, settings.home)
    raise StoreUnavailableError("there is no MongoDB: HTS_MONGODB_URI is not set and no mongod was found", INSTALL_HINT)


def _executable(program: Path, home: Path) -> Path:
    """Give the packaged program its execute bit, on a copy where the package folder is read-only."""
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except PermissionError:
        copy = home / "bin" / "mongod"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(program, copy)
        copy.chmod(0o755)
        return copy
    return program


def free_port(preferred: int | None = None) -> int:
    """Find a free loopback port, the preferred one where it is free."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StoreUnavailableError("no free loopback port for the private MongoDB")


class PrivateMongod:
    """The private MongoDB of one home folder.

    Parameters
    ----------
    settings
        Gives the home folder, the program and the cache size.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.home / "mongodb"
        self.data = self.folder / "data"
        self.log = self.folder / "mongod.log"
        self.pid_file = self.folder / "mongod.pid"
        self.credentials_file = self.folder / "credentials.json"

    def uri(self) -> str:
        """Start it if it does not run, and give its address with credentials.

        Raises
        ------
        StoreUnavailableError
            It cannot be started; the message holds the end of its log.
        """
        with self._lock():
            process = self._process()
            if process is None:
                process = self._start()
            elif (port := _port_of(process)) != self._credentials()["port"]:
                self._write_credentials(self._credentials() | {"port": port})
            credentials = self._credentials()
            if not credentials.get("ready"):
                # Also where an earlier command started it and was killed before there was a user.
                self._wait_until_ready(process, credentials)
                self._write_credentials(credentials | {"ready": True})
        return _uri(credentials["port"], credentials["password"])

    def stop(self) -> bool:
        """Stop it; False when it did not run."""
        if not self.folder.is_dir():
            return False
        with self._lock():
            process = self._process()
            if process is None:
                return False
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except psutil.TimeoutExpired as error:
                raise StoreUnavailableError(
                    f"the private MongoDB (pid {process.pid}) did not stop in {STOP_SECONDS:.0f} s", f"see {self.log}"
                ) from error
            self.pid_file.unlink(missing_ok=True)
            return True

    def status(self) -> MongodStatus:
        """Tell whether it runs, where, and how much it holds."""
        process = self._process()
        size = sum(path.stat().st_size for path in self.data.rglob("*") if path.is_file()) if self.data.is_dir() else 0
        port = json.loads(self.credentials_file.read_text())["port"] if self.credentials_file.is_file() else None
        return MongodStatus(
            running=process is not None,
            pid=process.pid if process else None,
            port=port if process else None,
            uptime=time.time() - process.create_time() if process else None,
            folder=self.folder,
            size=size,
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time start or stop it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = (self.folder / "lock").open("w")
        except OSError as error:
            raise StoreUnavailableError(
                f"cannot write in the folder of the private MongoDB: {self.folder}: {error.strerror}",
                "set HTS_HOME to a folder you can write in, or HTS_MONGODB_URI to a MongoDB you have",
            ) from error
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _process(self) -> psutil.Process | None:
        """Find the running mongod of this folder, and no other process that got its pid.

        mongod writes its pid into its lock file too: that one is there when the start was cut short.
        """
        for file in (self.pid_file, self.data / "mongod.lock"):
            try:
                process = psutil.Process(int(file.read_text()))
                if _runs(process) and str(self.data) in _command_line(process):
                    return process
            except (OSError, ValueError, psutil.Error):
                continue
        return None

    def _credentials(self) -> dict[str, Any]:
        credentials: dict[str, Any] = json.loads(self.credentials_file.read_text())
        return credentials

    def _write_credentials(self, credentials: dict[str, Any]) -> None:
        new = self.credentials_file.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            json.dump(credentials, handle)
        new.replace(self.credentials_file)

    def _start(self) -> psutil.Process:
        program = find_mongod(self.settings)
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        old = self._credentials() if self.credentials_file.is_file() else {}
        password = old.get("password") or secrets.token_urlsafe(24)
        credentials = {"password": password, "port": free_port(old.get("port"))}
        self._write_credentials(credentials)
        command = [
            str(program),
            *("--dbpath", str(self.data)),
            *("--port", str(credentials["port"])),
            *("--bind_ip", "127.0.0.1"),
            *("--wiredTigerCacheSizeGB", str(self.settings.mongod_cache)),
            *("--logpath", str(self.log)),
            "--logappend",
            "--nounixsocket",
            "--auth",
        ]
        with (self.folder / "mongod.out").open("w") as output:
            process = subprocess.Popen(  # noqa: S603 (the program is the user's own choice)
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.pid_file.write_text(str(process.pid))
        return psutil.Process(process.pid)

    def _wait_until_ready(self, process: psutil.Process, credentials: dict[str, Any]) -> None:
        from pymongo.errors import OperationFailure, PyMongoError

        port, password = credentials["port"], credentials["password"]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and _runs(process):
            # Without credentials: MongoDB lets the first connection from this machine make one user.
            with _client(f"mongodb://127.0.0.1:{port}/") as client:
                try:
                    client.admin.command("ping")
                    client.admin.command("createUser", USER, pwd=password, roles=["root"])
                except OperationFailure:
                    pass  # the user is there from an earlier start; logging in below is the proof
                except PyMongoError:
                    time.sleep(0.1)
                    continue
            with _client(_uri(port, password)) as client:
                try:
                    client.admin.command("listDatabases")
                except OperationFailure as error:
                    process.terminate()
                    raise StoreUnavailableError(
                        f"the private MongoDB refuses the password in {self.credentials_file}",
                        f"restore that file, or move {self.folder} away to start with an empty database",
                    ) from error
            return
        if _runs(process):
            process.kill()
        raise StoreUnavailableError(
            f"the private MongoDB did not start:\n{self._last_lines()}",
            f"see {self.log}; to start with an empty database move {self.folder} away",
        )

    def _last_lines(self, count: int = 5) -> str:
        lines: list[str] = []
        for path in (self.folder / "mongod.out", self.log):
            if path.is_file():
                lines += path.read_text(errors="replace").splitlines()[-count:]
        return "\n".join("  " + line[:300] for line in lines)


def _port_of(process: psutil.Process) -> int:
    command = _command_line(process)
    return int(command[command.index("--port") + 1])


def _command_line(process: psutil.Process) -> list[str]:
    """Arguments of a process; Linux shows none for a moment while a program starts."""
    deadline = time.monotonic() + 1.0
    while not (command := process.cmdline()) and _runs(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    return command


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _client(uri: str) -> MongoClient[dict[str, Any]]:
    from pymongo import MongoClient

    return MongoClient(uri, serverSelectionTimeoutMS=1000)


def _uri(port: int, password: str) -> str:
    return f"mongodb://{USER}:{quote(password)}@127.0.0.1:{port}/?authSource=admin&journal=true"
