"""An OpenSSH server on loopback for tests, with keys of its own."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from daemons import Daemons, end_processes, free_ports, wait_for

PACKAGES = {"sshd": "openssh-server", "ssh": "openssh-client"}
_PRIVILEGE_SEPARATION = Path("/run/sshd")


class LocalSshd:
    """sshd at a free port of 127.0.0.1, for the user who starts it (root) and one key.

    Parameters
    ----------
    folder
        Holds its configuration, keys and log.
    environment
        What sessions see besides what a login sets, such as ``SLURM_CONF`` and ``PATH``.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.host = "127.0.0.1"
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self.port = 0
        self.key = folder / "user_key"
        self.known_hosts = folder / "known_hosts"
        self._environment = environment or {}
        self._daemons = Daemons(folder, {})

    @property
    def options(self) -> list[str]:
        """Options of ``ssh`` that lead to it, and nowhere else; the user's own configuration is not read."""
        settings = {
            "User": self.user,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
        }
        pairs = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return ["-F", "/dev/null", "-p", str(self.port), "-i", str(self.key), *pairs]

    def run(self, command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command over ssh."""
        argv = ["ssh", *self.options, self.host, command]
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)

    def start(self) -> None:
        """Start it (again: at the same port, with the same keys), and wait until it answers."""
        if not self.port:
            self._configure()
        # Ends with the process that starts it, also when that is killed.
        config = str(self.folder / "sshd_config")
        self._daemons.start("sshd", "setpriv", "--pdeathsig", "TERM", "/usr/sbin/sshd", "-D", "-e", "-f", config)
        wait_for("sshd answers", self._answers, 60)

    def stop(self) -> None:
        """End it and the sessions that are open."""
        process = self._daemons.process("sshd")
        sessions = process.children(recursive=True) if process else []
        self._daemons.end("sshd")
        end_processes(sessions, signal.SIGTERM)

    def _configure(self) -> None:
        [self.port] = free_ports(1)
        self.folder.mkdir(parents=True, exist_ok=True)
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
        for key in (self.key, self.folder / "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        host_key = (self.folder / "host_key.pub").read_text()
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {host_key}")
        lines = [
            f"Port {self.port}",
            f"ListenAddress {self.host}",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/user_key.pub",
            "StrictModes no",  # the folder's parents may be writable by others, as /tmp is
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            f"AllowUsers {self.user}",
            "PidFile none",
            "Subsystem sftp internal-sftp",
        ]
        if self._environment:
            # One line: sshd obeys the first SetEnv only.
            values = (f'"{name}={value}"' for name, value in self._environment.items())
            lines.append(f"SetEnv {' '.join(values)}")
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
