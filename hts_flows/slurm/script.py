"""The batch script of a SLURM job."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from hts_flows.errors import InputError
from hts_flows.launch.worker import ONE_THREAD
from hts_flows.slurm.resources import Resources, format_memory, format_walltime

#: Exit code of a job whose environment could not be set up: a module, a command before the work, the environment file.
EXIT_ENVIRONMENT = 97
#: Options of sbatch that are set by hts_flows itself, or would break how jobs are followed.
RESERVED_OPTIONS = frozenset(
    {
        "--array",
        "-a",
        "--job-name",
        "-J",
        "--output",
        "-o",
        "--error",
        "-e",
        "--input",
        "-i",
        "--open-mode",
        "--chdir",
        "-D",
        "--wrap",
        "--parsable",
        "--test-only",
        "--wait",
        "-W",
        "--clusters",
        "-M",
        "--version",
        "-V",
        "--help",
        "-h",
        "--usage",
    }
)
_PLAIN = re.compile(r"^[A-Za-z0-9_=:,.+/@%^-]+$")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def sbatch_options(resources: Resources) -> list[str]:
    """Give what a job asks for as options of sbatch, one word each.

    Raises
    ------
    InputError
        A value has a line break or another control character, or a free option is none or a reserved one.
    """
    asked = {
        "time": resources.walltime and format_walltime(resources.walltime),
        "mem": resources.memory and format_memory(resources.memory),
        "nodes": resources.nodes,
        "ntasks": resources.tasks,
        "cpus-per-task": resources.cpus,
        "gpus": resources.gpus,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
    }
    options = [f"--{name}={_one_line(str(value), name)}" for name, value in asked.items() if value]
    if resources.requeue is not None:
        options.append("--requeue" if resources.requeue else "--no-requeue")
    for entry in resources.sbatch:
        options += _free_option(entry)
    return options


def job_script(*, job_name: str, resources: Resources, command: str, environment_file: str | None) -> str:
    """Write the batch script of a job.

    It prepares the job's shell and then becomes the command. Where the preparation fails it says so on standard error,
    in a line that begins with ``hts:``, and ends with :data:`EXIT_ENVIRONMENT`.

    Parameters
    ----------
    job_name
        Name in SLURM's queue.
    resources
        What the job asks for, and what its shell needs.
    command
        Command line, quoted.
    environment_file
        Shell file with the job's environment, on the cluster; read after modules and commands.

    Raises
    ------
    InputError
        As for :func:`sbatch_options`.
    """
    options = [
        f"--job-name={_one_line(job_name, 'job name')}",
        "--output=queue.out",
        "--error=queue.err",
        "--open-mode=append",
        *sbatch_options(resources),
    ]
    lines = ["#!/bin/bash -l", *(f"#SBATCH {_quote_option(option)}" for option in options), ""]
    lines += [*preparation(resources, environment_file), f"exec {command}"]
    return "\n".join(lines) + "\n"


def preparation(resources: Resources, environment_file: str | None) -> list[str]:
    """Lines of shell that make the job's environment: threads, modules, commands, the environment file.

    Raises
    ------
    InputError
        A name has a line break or another control character.
    """
    lines = [f"export {name}={value}" for name, value in ONE_THREAD.items()]
    lines += _prepared(f"module load {shlex.quote(_one_line(name, 'modules'))}" for name in resources.modules)
    lines += _prepared(resources.pre_commands)
    if environment_file is not None:
        file = shlex.quote(_one_line(environment_file, "environment file"))
        failed = shlex.quote(f"hts: the environment file cannot be read on this node: {environment_file}")
        lines.append(f"[ -r {file} ] && . {file} || {{ printf '%s\\n' {failed} >&2; exit {EXIT_ENVIRONMENT}; }}")
    return lines


def _prepared(commands: Iterator[str] | list[str]) -> Iterator[str]:
    """Run commands in the script's own shell, so that what they export lasts."""
    for command in commands:
        failed = shlex.quote(f"hts: this command failed: {' '.join(command.split())}")
        yield f"eval {shlex.quote(command)} || {{ printf '%s\\n' {failed} >&2; exit {EXIT_ENVIRONMENT}; }}"


def _free_option(entry: str) -> list[str]:
    try:
        words = shlex.split(_one_line(entry, "sbatch"))
    except ValueError as error:
        raise InputError(f"resources.sbatch: {entry!r}: {error}", "close the quotes") from error
    if not words or not words[0].startswith("-"):
        raise InputError(f"resources.sbatch: {entry!r} is no option of sbatch", "write e.g. --constraint=haswell")
    name = words[0].partition("=")[0]
    if name in RESERVED_OPTIONS:
        raise InputError(f"resources.sbatch: {name} is not yours to set: hts follows jobs by it", "leave it out")
    return words


def _one_line(value: str, what: str) -> str:
    if _CONTROL.search(value):
        raise InputError(
            f"resources: {what}: {value!r} has a line break or another control character", "write it in one line"
        )
    return value


def _quote_option(option: str) -> str:
    """Quote a word as sbatch reads it: double quotes, in which a backslash keeps the next character."""
    if _PLAIN.match(option):
        return option
    escaped = option.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
