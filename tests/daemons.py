"""Daemons that tests start and end: by process id, whoever started them, and also when pytest is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

#: Where Debian puts daemons; a user's PATH may lack it.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def missing_for(commands: Mapping[str, str]) -> str:
    """Why daemons cannot run here, and what to do, or "". `commands` has the Debian package of each command."""
    if os.geteuid() != 0:
        return "needs root: it starts daemons that run jobs or log in as users"
    found = f"{os.environ['PATH']}:{SBIN}"
    lacking = sorted({package for command, package in commands.items() if not shutil.which(command, path=found)})
    return f"needs: apt-get install --no-install-recommends {' '.join(lacking)}" if lacking else ""


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(what: str, condition: Callable[[], bool], seconds: float = 90) -> None:
    """Wait until `condition` holds; TimeoutError names `what` otherwise."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def runs(process: psutil.Process) -> bool:
    """Whether a process runs: one that ended may still be listed, until its parent asks for it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_processes(processes: Iterable[psutil.Process], number: signal.Signals, seconds: float = 10) -> None:
    """Send a signal to processes, wait until they ended, and kill those that do not."""
    listed = list(processes)
    for one in (number, signal.SIGKILL):
        for process in listed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(one)
        with contextlib.suppress(TimeoutError):
            wait_for("processes ended", lambda: not any(runs(process) for process in listed), seconds)
            return
    raise TimeoutError(f"processes go on after SIGKILL: {listed}")


class Daemons:
    """The daemons of a folder: ``run/NAME.pid`` has process id and start time of each, ``log/NAME.out`` its output."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *argv: str) -> None:
        """Start a daemon that stays in the foreground, in a session of its own; nothing if it runs already."""
        if self.alive(name):
            return
        for folder in ("run", "log"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        with (self.folder / "log" / f"{name}.out").open("a") as file:
            child = subprocess.Popen(
                argv,
                env=os.environ | self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._children[name] = child
        self._file(name).write_text(f"{child.pid} {psutil.Process(child.pid).create_time()}")

    def alive(self, name: str) -> bool:
        """Whether a daemon runs."""
        return self.process(name) is not None

    def process(self, name: str) -> psutil.Process | None:
        """The process of a daemon, unless it ended: a process id that is used again has another start time."""
        try:
            pid, created = self._file(name).read_text().split()
            process = psutil.Process(int(pid))
            same = process.create_time() == float(created)
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        return process if same and runs(process) else None

    def end(self, *names: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End daemons, by force when they do not within 10 s."""
        end_processes((process for name in names if (process := self.process(name))), number)
        for name in names:
            if name in self._children:
                self._children.pop(name).wait()

    def _file(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.pid"
