"""A real SLURM on this machine for tests: three nodes, accounting in MariaDB, all of it in one folder.

Everything listens on loopback at free ports, or on a socket in that folder, so that several run side by side. Needs
root. By hand: ``python tests/slurm_cluster.py start FOLDER`` leaves one running, ``stop FOLDER`` ends it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
from daemons import SBIN, Daemons, end_processes, missing_for, wait_for
from slurm_config import NODES, configure

ACCOUNT, EXPIRED_ACCOUNT = "materials", "expired"
#: The Debian package that each command is from.
PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "modulecmd": "environment-modules",
}


class SlurmCluster:
    """One SLURM in a folder.

    Parameters
    ----------
    folder
        Holds configuration, sockets, logs and databases. Its path is short: a socket's has at most 107 characters.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.modulefiles = folder / "modulefiles"
        self.environment = {
            "SLURM_CONF": str(self.conf),
            "PATH": f"{os.environ['PATH']}:{SBIN}",
        }
        database = {"MYSQL_UNIX_PORT": str(folder / "db/sock")}
        self._daemons = Daemons(folder, self.environment | database)

    @property
    def limits_memory_by_cgroup(self) -> bool:
        """Whether too much memory is OUT_OF_MEMORY; elsewhere it is FAILED, 0:9, and only the job's output says why."""
        return (self.folder / "cgroup.conf").exists()

    # -- commands

    def run(
        self, *argv: str, check: bool = False, timeout: float = 60, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that sees this SLURM."""
        environment = os.environ | self.environment
        result = subprocess.run(
            argv,
            env=environment,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit {result.returncode}: {result.stdout}{result.stderr}")
        return result

    def output(self, *argv: str) -> str:
        """The output of a command that must succeed."""
        return self.run(*argv, check=True).stdout.strip()

    def submit(self, script: str, *options: str) -> int:
        """Submit a batch script (a ``#!`` line is added if it has none); gives the job's id."""
        path = self.folder / "scripts" / f"{secrets.token_hex(4)}.sh"
        path.write_text(script if script.startswith("#!") else f"#!/bin/bash\n{script}\n")
        log = self.folder / "jobs" / "%j.out"
        return int(self.output("sbatch", "--parsable", f"--output={log}", *options, str(path)).split(";")[0])

    # -- what SLURM says

    def nodes(self) -> dict[str, str]:
        """State of each node, as in ``{"n1": "idle", "n2": "down*"}``."""
        lines = self.output("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def job_state(self, job_id: int) -> str:
        """State of a job, such as RUNNING; slurmctld forgets a job some minutes after its end, then of the accounts."""
        shown = self.run("scontrol", "-o", "show", "job", str(job_id))
        for word in shown.stdout.split():
            if word.startswith("JobState="):
                return word.removeprefix("JobState=")
        return self.sacct(job_id).get("State", "").split(" ")[0]

    def wait_state(self, job_id: int, *states: str, seconds: float = 60) -> str:
        """Wait until a job is in one of the states; gives it."""
        wait_for(f"job {job_id} {' or '.join(states)}", lambda: self.job_state(job_id) in states, seconds)
        return self.job_state(job_id)

    def sacct(self, job_id: int) -> dict[str, str]:
        """Fields of a job in the accounts, MaxRSS and the like from its batch step; empty if it is not there yet."""
        lines = self.output("sacct", "-P", "-o", "ALL", "-j", str(job_id)).splitlines()
        header = lines[0].split("|")
        rows = [dict(zip(header, line.split("|"), strict=False)) for line in lines[1:]]
        jobs = [row for row in rows if row["JobID"] == str(job_id)]
        steps = [row for row in rows if row["JobID"] == f"{job_id}.batch"]
        if not jobs:
            return {}
        measured = ("MaxRSS", "MaxVMSize", "AveCPU", "AveRSS")
        return jobs[-1] | ({name: steps[-1][name] for name in measured} if steps else {})

    def wait_finished(self, job_id: int, seconds: float = 60, *, complete: bool = False) -> dict[str, str]:
        """Wait until the accounts have a job's end; gives its fields there, as `sacct` does.

        State, ExitCode, NodeList, Elapsed and MaxRSS are there at once; what was asked for (Partition, JobName,
        Timelimit) can follow 5 s later, as starts are told in batches: wait for it with `complete`.
        """

        def known() -> bool:
            fields = self.sacct(job_id)
            return fields.get("End", "Unknown") != "Unknown" and bool(fields["Partition"] or not complete)

        wait_for(f"end of job {job_id}", known, seconds)
        return self.sacct(job_id)

    def wait_idle(self, seconds: float = 240) -> None:
        """Wait until there is no job and every node is idle."""
        wait_for("no jobs", lambda: not self.output("squeue", "-h"), seconds)
        wait_for("idle nodes", lambda: set(self.nodes().values()) == {"idle"}, seconds)

    # -- what happens to clusters

    def drain(self, node: str, reason: str = "test") -> None:
        """Let no more jobs onto a node."""
        self.output("scontrol", "update", f"nodename={node}", "state=drain", f"reason={reason}")

    def set_down(self, node: str, reason: str = "test") -> None:
        """Take a node down; its jobs end as NODE_FAIL, or are requeued where they may be."""
        self.output("scontrol", "update", f"nodename={node}", "state=down", f"reason={reason}")

    def resume(self, node: str) -> None:
        """Make a drained or downed node usable again, and wait until it is."""
        if not self._daemons.alive(f"slurmd.{node}"):
            self.restart_slurmd(node)
        usable = ("idle", "mixed", "allocated")

        def resumed() -> bool:
            state = self.nodes()[node]
            if state.startswith(("down", "drain")):  # refused while the last job is being cleared up
                self.run("scontrol", "update", f"nodename={node}", "state=resume")
            return state in usable

        wait_for(f"node {node} usable", resumed)

    def kill_slurmd(self, node: str, *, with_jobs: bool = True) -> None:
        """The node dies: its slurmd is killed, and its jobs' processes too unless told otherwise."""
        self._daemons.end(f"slurmd.{node}", number=signal.SIGKILL)
        if with_jobs:
            end_processes(self._job_processes(node), signal.SIGKILL)

    def restart_slurmd(self, node: str) -> None:
        """Start a node's slurmd again, and wait until slurmctld hears it."""
        self._daemons.end(f"slurmd.{node}")
        self._daemons.start(f"slurmd.{node}", "slurmd", "-D", "-N", node)
        wait_for(f"slurmd {node}", lambda: not self.nodes()[node].endswith("*") and self.nodes()[node] != "down")

    def stop_controller(self) -> None:
        """SLURM does not answer any more; jobs go on running."""
        self._daemons.end("slurmctld")

    def start_controller(self) -> None:
        """SLURM answers (again)."""
        self._daemons.start("slurmctld", "slurmctld", "-D")
        wait_for("slurmctld", lambda: "is UP" in self.run("scontrol", "ping").stdout)

    def hang_controller(self) -> None:
        """slurmctld takes connections and does not answer, until `continue_controller`; what it is told counts."""
        if process := self._daemons.process("slurmctld"):
            process.suspend()

    def continue_controller(self) -> None:
        """It goes on."""
        if process := self._daemons.process("slurmctld"):
            process.resume()

    def stop_accounting(self) -> None:
        """``sacct`` does not answer any more; what happens meanwhile is told to slurmdbd later."""
        self._daemons.end("slurmdbd")

    def start_accounting(self) -> None:
        """``sacct`` answers (again)."""
        self._daemons.start("slurmdbd", "slurmdbd", "-D")
        wait_for("slurmdbd", lambda: self.run("sacctmgr", "-n", "show", "cluster").returncode == 0)

    # -- start and stop

    def start(self) -> None:
        """Start everything, and wait until jobs can run.

        Raises
        ------
        RuntimeError
            Something did not come up; the message has the end of its log.
        """
        self.stop()  # daemons of two configurations must not meet
        try:
            configure(self.folder)
            self._daemons.start(
                "munged", "munged", "--foreground", f"--socket={self.folder}/munge.sock", *self._munge_files()
            )
            self._start_mariadb()
            wait_for("munged", (self.folder / "munge.sock").exists)
            self.start_accounting()
            self._make_accounts()
            self.start_controller()
            for node in NODES:
                self._daemons.start(f"slurmd.{node}", "slurmd", "-D", "-N", node)
            wait_for("idle nodes", lambda: set(self.nodes().values()) == {"idle"})
        except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
            logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in (self.folder / "log").iterdir())
            self.stop()
            raise RuntimeError(f"SLURM does not start: {error}\n{logs}") from error

    def restore(self) -> None:
        """Whatever happened: no jobs, every daemon runs, every node is usable."""
        self.continue_controller()
        if not self._daemons.alive("slurmdbd"):
            self.start_accounting()
        if not self._daemons.alive("slurmctld"):
            self.start_controller()
        for node in NODES:
            self._daemons.start(f"slurmd.{node}", "slurmd", "-D", "-N", node)
        if jobs := self.output("squeue", "-h", "-o", "%A").split():
            self.run("scancel", *jobs)
        for node, state in self.nodes().items():
            if state != "idle":
                self.resume(node)
        self.wait_idle()

    def stop(self) -> None:
        """End every process of this SLURM; files stay."""
        self._daemons.end("slurmctld", *(f"slurmd.{node}" for node in NODES))
        for node in NODES:
            end_processes(self._job_processes(node), signal.SIGKILL)
        self._daemons.end("slurmdbd")
        self._daemons.end("mariadbd", "munged")

    def _munge_files(self) -> Iterator[str]:
        yield f"--key-file={self.folder}/munge.key"
        yield f"--pid-file={self.folder}/run/munged"
        yield f"--log-file={self.folder}/log/munged.log"
        yield f"--seed-file={self.folder}/munge.seed"

    def _start_mariadb(self) -> None:
        data = self.folder / "db/data"
        common = ("--no-defaults", "--user=root", f"--datadir={data}", "--innodb-log-file-size=16M")
        if not data.exists():
            self.output("mariadb-install-db", *common, "--skip-test-db", "--auth-root-authentication-method=normal")
        memory = ("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0")
        reach = (f"--socket={self.folder}/db/sock", "--skip-networking", "--skip-grant-tables")
        self._daemons.start("mariadbd", "mariadbd", *common, *memory, *reach, f"--pid-file={self.folder}/run/mariadbd")
        wait_for("MariaDB", (self.folder / "db/sock").exists)

    def _make_accounts(self) -> None:
        """The user may charge `ACCOUNT`, the default; of `EXPIRED_ACCOUNT` nothing is left."""
        user = self.output("id", "-un")
        commands = (
            "add cluster hts",
            f"add account {ACCOUNT} cluster=hts",
            f"add account {EXPIRED_ACCOUNT} cluster=hts",
            f"add user {user} account={ACCOUNT} defaultaccount={ACCOUNT}",
            f"add user {user} account={EXPIRED_ACCOUNT}",
            f"modify user where name={user} account={EXPIRED_ACCOUNT} set maxsubmitjobs=0",
        )
        # All in one session: each takes a third of a second to end.
        said = self.run("sacctmgr", "-i", stdin="\n".join(commands) + "\n")
        if "Modified user associations" not in said.stdout:  # its exit status is 0 anyway
            raise RuntimeError(f"sacctmgr: {said.stdout}{said.stderr}")

    def _job_processes(self, node: str) -> list[psutil.Process]:
        """Every process of a job on a node: those SLURM started know its name, and their shepherd writes its log."""
        log = str(self.folder / "log" / f"slurmd.{node}.log")
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.info["name"] == "slurmstepd":
                    belongs = any(file.path == log for file in process.open_files())
                else:
                    env = process.environ()
                    belongs = env.get("SLURM_CONF") == str(self.conf) and env.get("SLURMD_NODENAME") == node
                if belongs:
                    found.append(process)
        return found


def main() -> None:
    """Start or stop a SLURM by hand; ``guard`` waits for a line or the end of its input, then leaves nothing behind."""
    command, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    cluster = SlurmCluster(folder)
    if command == "start":
        if reason := missing_for(PACKAGES):
            sys.exit(reason)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        cluster.start()
        sys.stdout.write(f"export SLURM_CONF={cluster.conf}\n")
    elif command == "stop":
        cluster.stop()
    elif command == "guard":
        sys.stdin.readline()
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    else:
        sys.exit("start FOLDER or stop FOLDER")


if __name__ == "__main__":
    main()
