"""SLURM's commands: submit, queue, accounting, cancel. Each asks once for all jobs, never once for each."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from hts_flows.errors import HtsError
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.connection import Answer, ClusterUnreachableError, Connection, quote, store
from hts_flows.slurm.jobs import ACCOUNT_FIELDS, QUEUE_FIELDS, SEPARATOR, SlurmJob, job_of_queue, jobs_of_accounting
from hts_flows.slurm.refusals import (
    ASSOCIATION_LIMIT,
    IncompleteAnswerError,
    QueueFullError,
    RejectedError,
    SlurmNotAnsweringError,
    error_of,
    not_answering,
    said,
)

__all__ = [
    "IncompleteAnswerError",
    "QueueFullError",
    "RejectedError",
    "Slurm",
    "SlurmJob",
    "SlurmNotAnsweringError",
]

#: Longest list of job ids in one command line, characters; Linux takes 131072 in one argument.
LONGEST_LIST = 100_000
SCRIPT_NAME = "job.sh"
_CANNOT_WRITE = 90
_TIMED_OUT = 124
_TRIVIAL_SCRIPT = "#!/bin/sh\ntrue\n"
_PARSABLE = re.compile(r"^(\d+)(?:;\S+)?$", re.MULTILINE)
_SAYS_ERROR = re.compile(r"^(?:squeue|sacct|slurm\w*)\b.*\b(?:error|fatal)\b", re.MULTILINE)
_DIRECTIVE = re.compile(r'^#SBATCH "?--([a-z-]+)', re.MULTILINE)
#: Variables by which sbatch would overrule what the script says; those that the script leaves open are a user's wish.
_OVERRULING = {
    "account": ["SBATCH_ACCOUNT"],
    "error": ["SBATCH_ERROR"],
    "gpus": ["SBATCH_GPUS"],
    "job-name": ["SBATCH_JOB_NAME"],
    "mem": ["SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"],
    "no-requeue": ["SBATCH_REQUEUE"],
    "open-mode": ["SBATCH_OPEN_MODE"],
    "output": ["SBATCH_OUTPUT"],
    "partition": ["SBATCH_PARTITION"],
    "qos": ["SBATCH_QOS"],
    "requeue": ["SBATCH_NO_REQUEUE"],
    "time": ["SBATCH_TIMELIMIT"],
}
#: Always left out of a job's environment: what the launcher has from a job it runs in itself, and a password.
_NEVER = ["SBATCH_ARRAY_INX", "SBATCH_WAIT", "HTS_MONGODB_URI"]
_LEAVE_OWN_JOB = (
    'if [ -n "$SLURM_JOB_ID" ]; then for v in $(env | sed -n "s/^\\(SLURM_[A-Za-z0-9_]*\\)=.*/\\1/p"); do '
    '[ "$v" = SLURM_CONF ] || unset "$v"; done; fi'
)


class Slurm:
    """SLURM of one cluster.

    Parameters
    ----------
    cluster
        Where it is.
    connection
        Runs the commands; made for the cluster when left out.
    """

    def __init__(self, cluster: Cluster, connection: Connection | None = None) -> None:
        self.cluster = cluster
        self.connection = connection or Connection(cluster)

    def submit(self, script: str, folder: str, job_name: str) -> str:
        """Write a batch script into a folder and submit it from there.

        Parameters
        ----------
        script
            Text of the batch script.
        folder
            Absolute path on the cluster; made where it is missing.
        job_name
            Name in the queue.

        Returns
        -------
        str
            Job id.

        Raises
        ------
        RejectedError
            SLURM will never take it.
        QueueFullError
            SLURM does not take it now.
        SlurmNotAnsweringError, ClusterUnreachableError
            No answer; it may have been submitted all the same, and is found in the queue by its name then.
        HtsError
            The folder cannot be written.
        """
        named = [variable for option in _DIRECTIVE.findall(script) for variable in _OVERRULING.get(option, [])]
        unset = " ".join(dict.fromkeys([*named, *_NEVER]))
        sbatch = f"timeout {self.cluster.timeout:g} sbatch --parsable --job-name={quote(job_name)} {SCRIPT_NAME}"
        command = (
            f"{{ {store(folder, f'{folder}/{SCRIPT_NAME}', script)} && cd -- {quote(folder)}; }} || "
            f"exit {_CANNOT_WRITE}; {_LEAVE_OWN_JOB}; unset {unset}; {sbatch} </dev/null"
        )
        answer = self._run(command, stdin=script)
        if answer.returncode == _CANNOT_WRITE:
            raise HtsError(
                f"cluster {self.cluster.name!r}: cannot write {folder}/{SCRIPT_NAME}: {said(answer.stderr)}",
                f"check clusters.{self.cluster.name}.scratch in the settings file: a folder of yours on the cluster",
            )
        if answer.returncode:
            self._refuse(answer, script)
        found = _PARSABLE.findall(answer.stdout)
        if not found:
            raise IncompleteAnswerError(
                f"cluster {self.cluster.name!r}: sbatch gave no job id: {answer.stdout.strip()!r}", "try again"
            )
        return str(found[-1])

    def test(self, options: Sequence[str]) -> None:
        """Let SLURM check whether it would take a job with these options of sbatch; nothing is submitted.

        Raises
        ------
        RejectedError, QueueFullError, SlurmNotAnsweringError, ClusterUnreachableError
            As for :meth:`submit`.
        """
        words = " ".join(map(quote, options))
        command = f"{_LEAVE_OWN_JOB}; timeout {self.cluster.timeout:g} sbatch --test-only {words}"
        answer = self._run(command, stdin=_TRIVIAL_SCRIPT)
        if answer.returncode:
            self._refuse(answer, "".join(f"#SBATCH {option}\n" for option in options))

    def queue(self) -> dict[str, SlurmJob]:
        """Ask for all jobs of this user that wait, run, or ended in the last minutes.

        Returns
        -------
        dict
            Jobs by their id.

        Raises
        ------
        SlurmNotAnsweringError
            No answer, or none that is whole: never a part of it.
        ClusterUnreachableError
            The cluster cannot be reached.
        """
        end = f"end{secrets.token_hex(8)}"
        # A digit after the colon would be read as a width.
        columns = ",".join(f"{name}:{SEPARATOR if name != QUEUE_FIELDS[-1] else end}" for name in QUEUE_FIELDS)
        command = (
            f'SLURM_TIME_FORMAT=%s squeue --user="$(id -un)" --states=all --noheader --Format={quote(columns)}'
            f" && echo {end}"
        )
        *records, last = self._whole_answer("squeue", command).split(f"{end}\n")
        if last or not records or records.pop():
            raise self._incomplete("squeue", "its end is missing")
        try:
            jobs = [job_of_queue(record) for record in records]
        except ValueError as error:
            raise self._incomplete("squeue", str(error)) from error
        return {job.job_id: job for job in jobs}

    def account(self, job_ids: Iterable[str]) -> dict[str, SlurmJob] | None:
        """Ask the accounting for jobs, with the memory that their steps used.

        Parameters
        ----------
        job_ids
            Jobs; those that the accounting does not know are left out of the answer.

        Returns
        -------
        dict or None
            Jobs by their id, each as it was when SLURM last started it; None where the cluster keeps no accounting.

        Raises
        ------
        SlurmNotAnsweringError, ClusterUnreachableError
            As for :meth:`queue`.
        """
        jobs: dict[str, SlurmJob] = {}
        for chunk in _chunks(dict.fromkeys(job_ids)):
            found = self._account(chunk)
            if found is None:
                return None
            jobs |= found
        return jobs

    def _account(self, job_ids: str) -> dict[str, SlurmJob] | None:
        end = f"end{secrets.token_hex(8)}"
        command = (
            "r=; sacct --helpformat 2>/dev/null | grep -qw Restarts && r=Restarts,; echo restarts:$r; "
            f"SLURM_TIME_FORMAT=%s sacct --jobs={quote(job_ids)} --noheader --parsable2 --delimiter={quote(SEPARATOR)} "
            f'--format={",".join(ACCOUNT_FIELDS)},"$r"JobName && echo {end}'
        )
        try:
            text = self._whole_answer("sacct", command)
        except SlurmNotAnsweringError as error:
            if "accounting storage is disabled" in error.message:
                return None
            raise
        first, *records = text.splitlines()
        if not records or records.pop() != end:
            raise self._incomplete("sacct", "its end is missing")
        try:
            return jobs_of_accounting(records, with_restarts="Restarts" in first)
        except ValueError as error:
            raise self._incomplete("sacct", str(error)) from error

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Cancel jobs; those that have ended are passed over.

        Raises
        ------
        SlurmNotAnsweringError, ClusterUnreachableError
            SLURM does not answer.
        """
        for chunk in _chunks(dict.fromkeys(job_ids)):
            answer = self._run(f"scancel {chunk.replace(',', ' ')}")
            serious = [line for line in answer.stderr.splitlines() if "nvalid job id" not in line]
            if answer.returncode and serious:
                raise not_answering(self.cluster.name, said("\n".join(serious)))

    def _run(self, command: str, stdin: str = "") -> Answer:
        # Longer than the limit within the command, so that what SLURM said until then is heard.
        return self.connection.run(command, stdin=stdin, timeout=self.cluster.timeout + 5)

    def _whole_answer(self, program: str, command: str) -> str:
        try:
            answer = self._run(command)
        except ClusterUnreachableError as error:
            if error.output.strip():
                raise not_answering(self.cluster.name, said(error.output)) from error
            raise
        if answer.returncode or _SAYS_ERROR.search(answer.stderr):
            found = error_of(answer.stderr, answer.returncode, self.cluster.name)
            if isinstance(found, SlurmNotAnsweringError):
                raise found
            raise not_answering(self.cluster.name, said(answer.stderr) or f"{program} ends with {answer.returncode}")
        return answer.stdout

    def _incomplete(self, program: str, what: str) -> IncompleteAnswerError:
        return IncompleteAnswerError(
            f"cluster {self.cluster.name!r}: the answer of {program} is not whole: {what}",
            "nothing was changed by it; it is asked again",
        )

    def _refuse(self, answer: Answer, script: str) -> NoReturn:
        error = error_of(answer.stderr, answer.returncode, self.cluster.name)
        if isinstance(error, QueueFullError) and ASSOCIATION_LIMIT.search(answer.stderr):
            account = re.search(r'^#SBATCH "?--account=([^\s"]+)', script, re.MULTILINE)
            if closed := self._closed_account(account[1] if account else None):
                raise RejectedError(
                    f"account {closed!r} may submit no jobs on cluster {self.cluster.name!r} any more (its limit is 0)",
                    "it may have expired: name another account, see: sacctmgr show associations user=$USER",
                    reason=said(answer.stderr),
                    concerns="account",
                )
        if answer.returncode == _TIMED_OUT and isinstance(error, RejectedError):
            raise not_answering(self.cluster.name, f"sbatch did not end within {self.cluster.timeout:g} s")
        raise error

    def _closed_account(self, account: str | None) -> str | None:
        """Name of the account, the default one when left out, where it may submit no job at all; else None."""
        default = 'a=$(sacctmgr --noheader --parsable2 show user "$u" format=DefaultAccount)'
        chosen = f"a={quote(account)}" if account else default
        answer = self._run(
            f'u=$(id -un); {chosen}; echo "$a"; sacctmgr --noheader --parsable2 show associations account="$a" '
            "user=\"$u\",'' format=MaxSubmitJobs,GrpSubmitJobs"
        )
        name, *limits = answer.stdout.splitlines() or [""]
        return name if answer.returncode == 0 and any("0" in line.split("|") for line in limits) else None


def _chunks(job_ids: Iterable[str]) -> Iterator[str]:
    """Join job ids with commas, in lists that fit into a command line."""
    chunk: list[str] = []
    size = 0
    for job_id in job_ids:
        if size + len(job_id) + 1 > LONGEST_LIST:
            yield ",".join(chunk)
            chunk, size = [], 0
        chunk.append(job_id)
        size += len(job_id) + 1
    if chunk:
        yield ",".join(chunk)
