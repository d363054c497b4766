"""What ``hts cluster check`` does: every part of the way from here to a job on a node, one step after the other."""

from __future__ import annotations

import platform
import secrets
import shlex
import time
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import ValidationError

import hts_flows
from hts_flows.errors import HtsError
from hts_flows.settings import Settings, mask_password
from hts_flows.slurm.cluster import DEFAULT, Cluster
from hts_flows.slurm.commands import Slurm, SlurmJob, SlurmNotAnsweringError
from hts_flows.slurm.environment import FOLDER, mongodb_uri, put_environment_file
from hts_flows.slurm.probe import REPORT_NAME, Report, is_loopback
from hts_flows.slurm.refusals import not_answering
from hts_flows.slurm.resources import MINUTE, Resources
from hts_flows.slurm.script import job_script, preparation, sbatch_options
from hts_flows.stores.allocations import JOB_NAME_PREFIX

#: Walltime of the probe job, s.
PROBE_WALLTIME = 5 * MINUTE
#: How long a report may take to be seen here after its job has ended: shared file systems lag, s.
REPORT_SECONDS = 10.0
_POLL_SECONDS = 1.0
#: SLURM's signal for a job whose output files could not be opened on the node.
_NO_OUTPUT_FILE = 53
_COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")
_LOOPBACK_HINT = (
    "127.0.0.1 is each node itself: use a MongoDB that the nodes can reach, and name it in HTS_MONGODB_URI or "
    "clusters.{name}.mongodb_uri; see docs/clusters.md"
)


class CheckStep(NamedTuple):
    """One step.

    Attributes
    ----------
    name
        What was looked at.
    ok
        Whether it works; None for a warning, with which jobs can run all the same.
    message
        What was found.
    hint
        What to do about it.
    """

    name: str
    ok: bool | None
    message: str
    hint: str | None = None


def _works(name: str, message: str) -> CheckStep:
    return CheckStep(name, ok=True, message=message)


def _failed(name: str, message: str, hint: str | None = None) -> CheckStep:
    return CheckStep(name, ok=False, message=message, hint=hint)


def _warning(name: str, message: str, hint: str) -> CheckStep:
    return CheckStep(name, ok=None, message=message, hint=hint)


def check_cluster(
    settings: Settings, cluster: Cluster, *, wait: float = 120.0, job: bool = True
) -> Iterator[CheckStep]:
    """Look at a cluster.

    Parameters
    ----------
    settings
        Those in force.
    cluster
        The cluster.
    wait
        How long the probe job may wait in the queue and run, s.
    job
        Whether a job is submitted at all.

    Yields
    ------
    CheckStep
        Each step as soon as it is done; what cannot be looked at after a failure is left out.
    """
    slurm = Slurm(cluster)
    try:
        for look in (_reach, _find_commands, _ask_controller):
            try:
                yield look(slurm)
            except HtsError as error:
                yield _failed(_NAMES[look.__name__], error.message, error.hint)
                return
        yield _ask_accounting(slurm)
        accepted = False
        for engine in dict.fromkeys((DEFAULT, *cluster.resources)):
            step = _test_preset(slurm, engine)
            accepted = accepted or step.ok is True
            yield step
        if job and accepted:
            yield from _Probe(slurm, settings).run(wait)
        elif job:
            yield _warning("probe job", "left out, as SLURM accepts no kind of job", "correct what is refused above")
    finally:
        slurm.connection.close()


_NAMES = {"_reach": "reachable", "_find_commands": "SLURM's commands", "_ask_controller": "controller"}


def _reach(slurm: Slurm) -> CheckStep:
    begun = time.monotonic()
    answer = slurm.connection.run("uname -n")
    how = f"ssh {slurm.cluster.host}" if slurm.cluster.host else "this machine"
    message = f"{how}: {answer.stdout.strip()} answers in {1000 * (time.monotonic() - begun):.0f} ms"
    return _works("reachable", message)


def _find_commands(slurm: Slurm) -> CheckStep:
    answer = slurm.connection.run(
        f"for c in {' '.join(_COMMANDS)}; do command -v $c >/dev/null || echo missing $c; done; sbatch --version"
    )
    missing = [line.split()[1] for line in answer.stdout.splitlines() if line.startswith("missing ")]
    if missing:
        hint = "add their folder to PATH in ~/.bashrc there"
        if slurm.cluster.host is None:
            hint += f", or name the login node with clusters.{slurm.cluster.name}.host"
        return _failed("SLURM's commands", f"not found: {', '.join(missing)}", hint)
    return _works("SLURM's commands", answer.stdout.strip() or "found")


def _ask_controller(slurm: Slurm) -> CheckStep:
    # It says at once what squeue would find out only after its own waiting time.
    told = slurm.connection.run("scontrol ping")
    if "DOWN" in told.stdout and " UP" not in told.stdout:
        raise not_answering(slurm.cluster.name, told.stdout.strip().partition("\n")[0] or "no controller")
    begun = time.monotonic()
    jobs = slurm.queue()
    seconds = time.monotonic() - begun
    waiting, running = (sum(test(job) for job in jobs.values()) for test in (_waits, _runs))
    message = f"answers in {1000 * seconds:.0f} ms; your jobs: {running} running, {waiting} waiting"
    return _works("controller", message)


def _waits(job: SlurmJob) -> bool:
    return job.is_waiting


def _runs(job: SlurmJob) -> bool:
    return job.is_running


def _ask_accounting(slurm: Slurm) -> CheckStep:
    without = "jobs can run; causes of failure will be less exact: no memory used, no exit codes after some minutes"
    try:
        found = slurm.account(["1"])
    except HtsError as error:
        return _warning("accounting", error.message, without)
    if found is None:
        return _warning("accounting", "this cluster keeps no accounting", without)
    return _works("accounting", "sacct answers")


def _test_preset(slurm: Slurm, engine: str) -> CheckStep:
    name = f"resources.{engine}"
    options: list[str] = []
    try:
        options = sbatch_options(slurm.cluster.resolve(engine))
        slurm.test(options)
    except HtsError as error:
        place = f"clusters.{slurm.cluster.name}.{name} or what it is based on"
        asked = f"; asked for: {' '.join(options)}" if options else ""
        return _failed(name, error.message + asked, f"{error.hint}; correct {place} in the settings file")
    return _works(name, f"accepted: {' '.join(options)}")


class _Probe:
    """The probe job."""

    def __init__(self, slurm: Slurm, settings: Settings) -> None:
        self.slurm = slurm
        self.cluster = slurm.cluster
        self.settings = settings
        self.token = secrets.token_hex(6)
        self.folder = f"{self.cluster.scratch or settings.launches.absolute()}/{FOLDER}/probe-{self.token}"

    def run(self, wait: float) -> Iterator[CheckStep]:
        try:
            script = self._script()
            job_id = self.slurm.submit(script, self.folder, f"{JOB_NAME_PREFIX}probe-{self.token}")
        except HtsError as error:
            yield _failed("probe job", error.message, error.hint)
            return
        ended = False
        try:
            step, ended = self._wait(job_id, wait)
        except HtsError as error:
            yield _failed("probe job", error.message, error.hint)
            return
        finally:
            if not ended:
                self._cancel(job_id)
        report = self._read_report() if ended else None
        if report is None:
            yield step if not ended else self._no_report(step)
            return
        yield _works("probe job", f"SLURM job {job_id} ran on {report.node}")
        steps = list(self._judge(report))
        yield from steps
        if all(found.ok for found in steps):
            self.slurm.connection.run(f"rm -rf -- {shlex.quote(self.folder)}")

    def _script(self) -> str:
        environment_file = put_environment_file(self.slurm.connection, self.settings, self.cluster)
        wanted: list[str] = []
        for engine in self.cluster.resources:
            if engine != DEFAULT:
                wanted += [engine, "\n".join(preparation(self.cluster.resolve(engine), environment_file))]
        base = self.cluster.resolve(DEFAULT)
        walltime = min(PROBE_WALLTIME, self.cluster.limits.max_walltime or PROBE_WALLTIME)
        small = Resources.model_validate(
            base.model_dump(include={"partition", "account", "qos", "modules", "pre_commands", "sbatch"})
        ).model_copy(update={"walltime": walltime, "nodes": 1, "tasks": 1, "cpus": 1, "requeue": False})
        command = shlex.join([self.cluster.interpreter, "-m", "hts_flows.slurm.probe", self.folder, *wanted])
        return job_script(
            job_name=f"{JOB_NAME_PREFIX}probe-{self.token}",
            resources=small,
            command=command,
            environment_file=environment_file,
        )

    def _wait(self, job_id: str, wait: float) -> tuple[CheckStep, bool]:
        """Wait for the job; gives what became of it, and whether it has ended."""
        deadline = time.monotonic() + wait
        state, reason, tail = "PENDING", "", ""
        while True:
            try:
                job = self.slurm.queue().get(job_id)
            except SlurmNotAnsweringError:
                if time.monotonic() > deadline:
                    raise
                job = None
            if job is not None:
                state, reason = job.state, job.reason
                if job.has_ended:
                    tail = f", exit code {job.exit_code}" if job.exit_code else ""
                    tail += " (its output files could not be opened)" if job.signal == _NO_OUTPUT_FILE else ""
                    return _failed("probe job", f"SLURM job {job_id} ended: {state}{tail}"), True
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
        why = f" (SLURM's reason: {reason})" if reason else ""
        doing = "still waited" if state == "PENDING" else f"was still {state.lower()}"
        hint = "the queue may be long: wait longer with --wait SECONDS, or leave the job out with --no-job"
        return _failed("probe job", f"SLURM job {job_id} {doing} after {wait:g} s{why}; cancelled", hint), False

    def _cancel(self, job_id: str) -> None:
        try:
            self.slurm.cancel([job_id])
        except HtsError:
            return  # it ends by itself within its five minutes

    def _read_report(self) -> Report | None:
        deadline = time.monotonic() + REPORT_SECONDS
        file = shlex.quote(f"{self.folder}/{REPORT_NAME}")
        errors = shlex.quote(f"{self.folder}/queue.err")
        while True:
            # Where the job has left words but no report there is nothing to wait for.
            answer = self.slurm.connection.run(f"cat {file} 2>/dev/null || {{ [ -s {errors} ] && exit 3; exit 4; }}")
            if answer.returncode == 0:
                try:
                    return Report.model_validate_json(answer.stdout)
                except ValidationError:
                    return None
            if answer.returncode == 3 or time.monotonic() > deadline:  # noqa: PLR2004 (as in the command above)
                return None
            time.sleep(_POLL_SECONDS)

    def _no_report(self, step: CheckStep) -> CheckStep:
        words = self.slurm.connection.read_tails([f"{self.folder}/queue.err"], 5)
        lines = [line for text in words.values() for line in text.splitlines() if line.strip()]
        if not lines:
            hint = (
                f"is {self.folder} on a file system that every node sees? set clusters.{self.cluster.name}.scratch; "
                "or does one of pre_commands end the script?"
            )
            return step._replace(message=f"{step.message}; it left no report", hint=hint)
        hint = (
            f"check clusters.{self.cluster.name}.python ({self.cluster.interpreter}), modules and pre_commands; "
            f"the job's folder: {self.folder}"
        )
        return step._replace(message=f"{step.message}: {' / '.join(lines)}", hint=hint)

    def _judge(self, report: Report) -> Iterator[CheckStep]:
        here, name = hts_flows.__version__, self.cluster.name
        same = report.hts_flows == here
        yield CheckStep(
            "hts_flows on the node",
            same,
            f"version {report.hts_flows}" + ("" if same else f", here {here}"),
            None if same else "install the same version in both places",
        )
        python = platform.python_version_tuple()[:2]
        alike = tuple(report.python.split(".")[:2]) == python
        yield CheckStep(
            "Python on the node",
            True if alike else None,
            report.python if alike else f"{report.python}, here {platform.python_version()}",
            None if alike else "jobs can run; the same version in both places avoids surprises",
        )
        yield CheckStep("scratch on the node", report.scratch.ok, report.scratch.message, report.scratch.hint)
        yield self._judge_database(report)
        for engine, found in report.engines.items():
            hint = None if found.ok else f"{found.hint}; or correct clusters.{name}.resources.{engine}"
            yield CheckStep(f"{engine} on the node", found.ok, found.message, hint)

    def _judge_database(self, report: Report) -> CheckStep:
        found, name = report.database, self.cluster.name
        if found.ok:
            return _works("MongoDB from the node", found.message)
        uri = mongodb_uri(self.settings, self.cluster)
        if is_loopback(uri):
            message = f"{report.node} cannot reach {mask_password(uri)}: that address is this machine's own"
            return _failed("MongoDB from the node", message, _LOOPBACK_HINT.format(name=name))
        hint = (
            "MongoDB must listen on an address of the cluster's network, and no firewall may be between; where nodes "
            f"see it under another name, set clusters.{name}.mongodb_uri; see docs/clusters.md"
        )
        return _failed("MongoDB from the node", found.message, hint)
