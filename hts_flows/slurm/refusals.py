"""What SLURM's commands say when they do not do what is asked, in three kinds: never, not now, and no answer."""

from __future__ import annotations

import re
from typing import Literal

from hts_flows.errors import HtsError

Concern = Literal["partition", "account", "qos", "walltime", "memory", "nodes", "options"]


class SlurmNotAnsweringError(HtsError):
    """SLURM's controller, accounting or authentication does not answer; later it may."""


class IncompleteAnswerError(SlurmNotAnsweringError):
    """An answer of SLURM was cut off, or cannot be understood."""


class QueueFullError(HtsError):
    """SLURM takes no more jobs now: a limit of submitted jobs is reached, or a partition is closed."""


class RejectedError(HtsError):
    """SLURM will not take such a job, however often it is submitted.

    Parameters
    ----------
    message, hint
        What is wrong, and what to do next.
    reason
        Words of sbatch.
    concerns
        What to change: "partition", "account", "qos", "walltime", "memory", "nodes" or "options"; None where that is
        not known.
    """

    def __init__(
        self, message: str, hint: str | None = None, *, reason: str = "", concerns: Concern | None = None
    ) -> None:
        super().__init__(message, hint)
        self.reason = reason
        self.concerns = concerns


#: SLURM's words (slurm_errno.c, and its names of reasons) for limits that are free again later.
_FULL = re.compile(
    r"MaxSubmitJob|GrpSubmitJob|SubmitJobs?(?:PerUser|PerAccount)?Limit|Reached QoS|temporarily unable to accept"
    r"|partition not available \(inactive|Job submission is disabled|too many jobs",
    re.IGNORECASE,
)
#: Limits of submitted jobs of one association: reached, or zero for an account that has expired.
ASSOCIATION_LIMIT = re.compile(r"Assoc\w*SubmitJob\w*Limit", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"unable to contact slurm|socket timed out|timed out on send|connection (?:refused|timed out|reset)|connect failure"
    r"|munge|authentication|invalid credential|credential expired|zero bytes were transmitted|communication"
    r"|unexpected message|in standby mode|could not establish a configuration source|controller .*not respond"
    r"|slurmdbd|problem talking to the database|unable to establish control|backup controller|transport endpoint"
    r"|resource temporarily unavailable|try again|i/o error writing",
    re.IGNORECASE,
)
#: The shell's exit code for a command that is not there.
_NOT_FOUND = 127
#: The first that matches wins: an account may be named together with a partition.
_CONCERNS: tuple[tuple[Concern, str], ...] = (
    ("walltime", r"time limit|--time specification|MaxWall|TimeLimit|deadline"),
    ("account", r"account|bank|association|AssocGrp\w*Minutes|MaxJobs?Per(?:User|Account)"),
    ("qos", r"\bqos\b"),
    ("partition", r"partition|user's group not permitted"),
    ("memory", r"\bmemory|--mem\b|Mem(?:ory)?(?:Per|Limit)"),
    ("nodes", r"node|processors|cpu|tasks|cores|sockets|gres|gpu|TRES|reservation"),
    ("options", r"option|invalid|illegal|ambiguous|feature|license|dependency|argument"),
)
_HINTS: dict[Concern | None, str] = {
    "partition": "name one that 'sinfo -s' lists",
    "account": "name an account you may charge: sacctmgr show associations user=$USER",
    "qos": "name a QOS you may use: sacctmgr show qos",
    "walltime": "ask for less time, or name a partition that allows it; 'sinfo -s' lists the limits",
    "memory": "ask for less memory, or name a partition with larger nodes: sinfo -o '%P %m %c %D'",
    "nodes": "ask for fewer nodes, tasks, cores or GPUs, or name another partition: sinfo -o '%P %m %c %D %G'",
    "options": "correct the options under 'sbatch'",
    None: "ask the cluster's operators what it means",
}


def said(stderr: str) -> str:
    """What a command complains of, in one line, without its own name."""
    lines = [
        re.sub(r"^(?:\w+: )?(?:error|fatal): |^allocation failure: |^sbatch: |Batch job submission failed: ", "", line)
        for line in (line.strip() for line in stderr.splitlines())
        if line and not line.startswith('Try "')
    ]
    cleaned = (line.removeprefix("Batch job submission failed: ") for line in lines)
    return "; ".join(dict.fromkeys(cleaned))


def error_of(stderr: str, returncode: int, cluster: str) -> HtsError:
    """Find out what kind of refusal it is.

    Parameters
    ----------
    stderr
        What the command printed on standard error.
    returncode
        Its exit code.
    cluster
        Name of the cluster in the settings.
    """
    reason = said(stderr) or "it gives no reason"
    if returncode == _NOT_FOUND:
        return SlurmNotAnsweringError(
            f"SLURM's commands are not found on cluster {cluster!r}: {reason}",
            "add their folder to PATH in ~/.bashrc on that machine, or name the login node with clusters."
            f"{cluster}.host",
        )
    if _FULL.search(stderr):
        return QueueFullError(
            f"cluster {cluster!r} takes no more jobs now: {reason}",
            f"the rest is submitted when jobs have ended; fewer at once: clusters.{cluster}.limits.max_queued",
        )
    if _NO_ANSWER.search(stderr):
        return not_answering(cluster, reason)
    concerns = next((name for name, words in _CONCERNS if re.search(words, reason, re.IGNORECASE)), None)
    return RejectedError(
        f"SLURM refuses the job: {reason}",
        _HINTS[concerns],
        reason=reason,
        concerns=concerns,
    )


def not_answering(cluster: str, reason: str) -> SlurmNotAnsweringError:
    """Error for a SLURM that does not answer."""
    return SlurmNotAnsweringError(
        f"SLURM of cluster {cluster!r} does not answer: {reason}",
        "jobs that run are not harmed; try again in a few minutes, and ask the cluster's operators if it lasts",
    )
