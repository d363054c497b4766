"""Running commands where a cluster's SLURM is: on this machine, or over ssh."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import shlex
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from hts_flows.errors import HtsError
from hts_flows.slurm.cluster import Cluster

#: A socket's path has at most 107 characters on Linux, and ssh writes 17 more behind it while it opens one.
LONGEST_SOCKET = 107 - 17
#: How long ssh keeps a connection open for the next command, s.
PERSIST_SECONDS = 60
#: ssh gives up by itself this long before the command is killed, so that its own words are heard, s.
_GRACE = 3.0
#: So much of a line, and of a file, is read by :meth:`Connection.read_tails`.
LONGEST_LINE, LONGEST_TAIL = 1000, 64_000
#: What ssh says, and what to do about it.
_SSH_HINTS = {
    "Could not resolve hostname": "check clusters.{name}.host in the settings file",
    "Host key verification failed": "connect once by hand, and check the key that is shown: ssh {host}",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "ask the cluster's operators about the new key, then: ssh {host}",
    "Permission denied": "the key must be accepted without a question (ssh-add, or -i in ssh_options); try: ssh {host}",
    "Connection refused": "check clusters.{name}.host and the port in ssh_options; the login node may be down",
    "timed out": "check the network (VPN?) and clusters.{name}.host; a longer wait is clusters.{name}.timeout",
}


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    stdout: str
    stderr: str
    returncode: int


class ClusterUnreachableError(HtsError):
    """A command could not be run on the cluster, or did not end in time.

    Parameters
    ----------
    message, hint
        What is wrong, and what to do next.
    output
        What the command had printed on standard error until then.
    """

    def __init__(self, message: str, hint: str | None = None, output: str = "") -> None:
        super().__init__(message, hint)
        self.output = output


class Connection:
    """Runs commands on one cluster.

    Parameters
    ----------
    cluster
        Says where: through ssh to ``host``, or on this machine where there is none.

    Attributes
    ----------
    calls
        How many commands were run.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.calls = 0

    def run(self, command: str, *, stdin: str = "", timeout: float | None = None) -> Answer:
        """Run a command line with ``sh``.

        Parameters
        ----------
        command
            Command line; everything in it that is not meant for the shell is quoted already.
        stdin
            What it reads.
        timeout
            Longest wait, s; the cluster's when left out.

        Raises
        ------
        ClusterUnreachableError
            There is no ``sh`` or ``ssh``, ssh gets no connection or loses it, or the command takes too long.
        """
        limit = timeout or self.cluster.timeout
        if self.cluster.host is None:
            return self._execute(["sh", "-c", command], stdin, limit)
        # What login scripts print comes before the marks; where the last one is missing the answer was cut off. The
        # command's own code is printed, because ssh uses 255 for its own failures.
        mark = f"hts-{secrets.token_hex(8)}"
        framed = f"echo {mark}; echo {mark} >&2; ( {command} ); printf '\\n%s %s\\n' {mark} $?"
        argv = [*self._ssh(limit), "--", self.cluster.host, f"exec sh -c {shlex.quote(framed)}"]
        answer = self._execute(argv, stdin, limit + _GRACE)
        _, begun, rest = answer.stdout.partition(f"{mark}\n")
        body, ended, code = rest.rpartition(f"\n{mark} ")
        stderr = answer.stderr.rpartition(f"{mark}\n")[2]
        if not begun or not ended:
            raise self._lost(stderr, begun=bool(begun))
        return Answer(body, stderr, int(code))

    def close(self) -> None:
        """End the connection that ssh keeps open for the next command."""
        if self.cluster.host is not None and (path := self._socket()) is not None and path.exists():
            with contextlib.suppress(ClusterUnreachableError):
                self._execute([*self._ssh(1), "-O", "exit", "--", self.cluster.host], "", 5)
            path.unlink(missing_ok=True)

    def read_tails(self, paths: Sequence[str], lines: int = 40) -> dict[str, str]:
        """Read the last lines of files on the cluster, all with one command.

        Parameters
        ----------
        paths
            Absolute paths; files that are not there or cannot be read are left out of the answer.
        lines
            How many lines of each, at most; long ones are cut.

        Raises
        ------
        ClusterUnreachableError
            As for :meth:`run`, and when the answer is not whole.
        """
        wanted = [path for path in dict.fromkeys(paths) if "\n" not in path]
        if not wanted:
            return {}
        mark = f"hts-{secrets.token_hex(8)}"
        read = f'tail -c {LONGEST_TAIL} -- "$f" | tail -n {lines} | cut -b -{LONGEST_LINE}'
        loop = f'if [ -f "$f" ] && [ -r "$f" ]; then printf "%s %s\\n" {mark} "$f"; {read}; fi'
        answer = self.run(
            f"while IFS= read -r f; do {loop}; done; echo {mark}", stdin="".join(f"{path}\n" for path in wanted)
        )
        *parts, end = answer.stdout.split(mark)
        if answer.returncode or end.strip() or not parts:
            raise ClusterUnreachableError(
                f"cluster {self.cluster.name!r}: output of jobs could not be read: {_first_line(answer.stderr)}",
                f"try again; then: hts cluster check {self.cluster.name}",
            )
        found = (part.removeprefix(" ").partition("\n") for part in parts[1:])
        return {path: text.replace("\0", "") for path, _, text in found}

    def write_private(self, path: str, text: str) -> None:
        """Write a file that only its owner can read, at once or not at all; folders are made as needed.

        Parameters
        ----------
        path
            Absolute path on the cluster.
        text
            What it holds.

        Raises
        ------
        ClusterUnreachableError
            As for :meth:`run`.
        HtsError
            It cannot be written there.
        """
        folder, new = str(PurePosixPath(path).parent), f"{path}.{secrets.token_hex(4)}"
        answer = self.run(f"umask 077; {store(folder, new, text)} && mv -f -- {quote(new)} {quote(path)}", stdin=text)
        if answer.returncode:
            raise HtsError(
                f"cluster {self.cluster.name!r}: cannot write {path}: {_first_line(answer.stderr)}",
                f"check clusters.{self.cluster.name}.scratch in the settings file: a folder of yours on the cluster",
            )

    def _ssh(self, timeout: float) -> list[str]:
        wait = math.ceil(timeout)
        options = ["BatchMode=yes", f"ConnectTimeout={wait}", "LogLevel=ERROR", "ServerAliveInterval=15"]
        if (path := self._socket()) is not None:
            options += ["ControlMaster=auto", f"ControlPath={path}", f"ControlPersist={PERSIST_SECONDS}"]
        # ssh obeys the first it reads of each option: the user's come first.
        return ["ssh", *self.cluster.ssh_options, *(word for option in options for word in ("-o", option))]

    def _socket(self) -> Path | None:
        """Path of the socket by which commands share one connection; None where there is no safe place for it."""
        from hts_flows.settings import default_home

        about = json.dumps([socket.gethostname(), self.cluster.host, self.cluster.ssh_options])
        name = hashlib.sha256(about.encode()).hexdigest()[:16]
        for folder in (default_home() / "ssh", Path(tempfile.gettempdir()) / f"hts-ssh-{os.getuid()}"):
            path = folder.absolute() / name
            # ssh reads % in it as its own.
            if len(os.fsencode(path)) <= LONGEST_SOCKET and "%" not in str(path) and _make_private(folder):
                return path
        return None

    def _execute(self, argv: list[str], stdin: str, timeout: float) -> Answer:
        # Files and not pipes: the ssh that stays behind for the next command may hold a pipe open.
        self.calls += 1
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            try:
                process = subprocess.Popen(argv, stdin=given, stdout=out, stderr=err, start_new_session=True)  # noqa: S603
            except OSError as error:
                raise ClusterUnreachableError(
                    f"cluster {self.cluster.name!r}: {argv[0]} cannot be run on this machine: {error.strerror}",
                    f"install {argv[0]}, or add its folder to PATH",
                ) from error
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired as error:
                self._forget_connection()
                raise ClusterUnreachableError(
                    f"cluster {self.cluster.name!r}: no answer within {timeout:g} s",
                    f"it may be overloaded or cut off: try again; longer waits: clusters.{self.cluster.name}.timeout",
                    _read(err),
                ) from error
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            return Answer(_read(out), _read(err), process.returncode)

    def _forget_connection(self) -> None:
        """Let the next command connect anew: the connection that is shared may hang."""
        if self.cluster.host is not None and (path := self._socket()) is not None:
            path.unlink(missing_ok=True)

    def _lost(self, stderr: str, *, begun: bool) -> ClusterUnreachableError:
        host = self.cluster.host or ""
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        known = next((text for text in _SSH_HINTS if text in stderr), None)
        if known:
            said = next(line for line in lines if known in line)
        else:
            said = "the answer was cut off" if begun or not lines else lines[-1]
        hint = _SSH_HINTS.get(known or "", "try by hand: ssh {host}")
        return ClusterUnreachableError(
            f"cluster {self.cluster.name!r} cannot be reached with ssh {host}: {said}",
            hint.format(name=self.cluster.name, host=" ".join([*map(quote, self.cluster.ssh_options), quote(host)])),
            stderr,
        )


def quote(value: str) -> str:
    """Quote one word for the shell."""
    return shlex.quote(value)


def store(folder: str, path: str, text: str) -> str:
    """Write a command line that stores what it reads in a file, and fails where that is not the whole text."""
    size = len(text.encode())
    whole = f'[ "$(wc -c < {quote(path)})" -eq {size} ]'
    return f"mkdir -p -- {quote(folder)} && cat > {quote(path)} && {whole}"


def _make_private(folder: Path) -> bool:
    """Make a folder that nobody else can enter; False where that fails or somebody else owns it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return mine and not stat.S_IMODE(found.st_mode) & 0o077


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "it says nothing")
