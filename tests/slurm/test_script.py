from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hts_flows.errors import InputError
from hts_flows.slurm.resources import Resources
from hts_flows.slurm.script import EXIT_ENVIRONMENT, job_script, sbatch_options


def script(command="true", environment_file=None, **asked):
    resources = Resources.model_validate({"walltime": "1h"} | asked)
    return job_script(job_name="hts-x", resources=resources, command=command, environment_file=environment_file)


def run(text, tmp_path):
    path = tmp_path / "job.sh"
    path.write_text(text)
    return subprocess.run(["bash", "-l", path], cwd=tmp_path, capture_output=True, text=True, check=False)


def directives(text):
    return [line for line in text.split("\n") if line.startswith("#SBATCH")]


def test_every_resource_becomes_an_option():
    asked = {
        "walltime": "1d12h",
        "memory": "8G",
        "nodes": 2,
        "tasks": 64,
        "cpus": 2,
        "gpus": 4,
        "partition": "standard",
        "account": "mat123",
        "qos": "long",
        "requeue": True,
        "sbatch": ["--constraint=haswell", "--comment 'two words'"],
    }
    assert sbatch_options(Resources.model_validate(asked)) == [
        "--time=1-12:00:00",
        "--mem=8G",
        "--nodes=2",
        "--ntasks=64",
        "--cpus-per-task=2",
        "--gpus=4",
        "--partition=standard",
        "--account=mat123",
        "--qos=long",
        "--requeue",
        "--constraint=haswell",
        "--comment",
        "two words",
    ]


def test_what_is_not_asked_for_is_left_to_slurm():
    assert sbatch_options(Resources(gpus=0)) == []
    assert sbatch_options(Resources(requeue=False)) == ["--no-requeue"]


def unchecked(**asked):
    """A script for resources that nobody has checked."""
    resources = Resources.model_validate({"walltime": "1h"}).model_copy(update=asked)
    return job_script(job_name="hts-x", resources=resources, command="true", environment_file=None)


@pytest.mark.parametrize("name", ["partition", "account", "qos"])
def test_no_value_can_bring_in_another_option(name):
    value = "x\n#SBATCH --exclusive"
    with pytest.raises(ValidationError, match="one line"):
        script(**{name: value})
    with pytest.raises(InputError, match=f"{name}.*line break"):
        unchecked(**{name: value})


@pytest.mark.parametrize("name", ["modules", "sbatch"])
def test_no_entry_of_a_list_can_bring_in_another_option(name):
    with pytest.raises(InputError, match="line break"):
        script(**{name: ["--x\n#SBATCH --exclusive"]})


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_a_value_stays_one_word_of_one_line(value):
    before = len(directives(script()))
    text = unchecked(partition=value)
    assert len(directives(text)) == before + 1


@pytest.mark.parametrize(
    "option", ["haswell", "--array=1-9", "-J name", "--wrap=true", "--output=x", "", "--comment='x"]
)
def test_options_that_would_hide_jobs_are_refused(option):
    with pytest.raises(InputError, match=r"resources\.sbatch"):
        sbatch_options(Resources(sbatch=[option]))


def test_what_commands_export_reaches_the_work(tmp_path):
    file = tmp_path / "environment.sh"
    file.write_text("export FROM_FILE='a b'\n")
    text = script(
        "bash -c 'echo \"$ONE|$OMP_NUM_THREADS|$FROM_FILE|$MKL_NUM_THREADS\"; exit 7'",
        str(file),
        pre_commands=["export ONE='x y'", "export OMP_NUM_THREADS=4"],
    )
    done = run(text, tmp_path)
    assert (done.stdout, done.returncode) == ("x y|4|a b|1\n", 7)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"pre_commands": ["true", "cd /no'such folder", "echo never"]},
            "hts: this command failed: cd /no'such folder",
        ),
        ({"modules": ["no such/1.0"]}, "hts: this command failed: module load 'no such/1.0'"),
        ({"pre_commands": ["if true; then\n  false\nfi"]}, "hts: this command failed: if true; then false fi"),
    ],
)
def test_a_failing_command_is_named_and_ends_the_job(tmp_path, asked, told):
    done = run(script("echo work", **asked), tmp_path)
    assert done.returncode == EXIT_ENVIRONMENT
    assert told in done.stderr.splitlines()
    assert done.stdout == ""


def test_an_environment_file_that_is_not_there_is_named(tmp_path):
    done = run(script("echo work", str(tmp_path / "none.sh")), tmp_path)
    assert done.returncode == EXIT_ENVIRONMENT
    assert f"hts: the environment file cannot be read on this node: {tmp_path}/none.sh" in done.stderr
    assert done.stdout == ""


def test_slurm_reads_the_options_as_they_were_meant(slurm, tmp_path):
    text = script(
        "sleep 30",
        memory="150M",
        tasks=2,
        cpus=1,
        partition="debug",
        account="materials",
        requeue=False,
        sbatch=['--comment="it\'s # 100% \\"odd\\""', "--nice=5", "--hold"],
    )
    (tmp_path / "job.sh").write_text(text)
    job = slurm.run(
        "sbatch", "--parsable", "--chdir", str(tmp_path), str(tmp_path / "job.sh"), check=True
    ).stdout.strip()
    shown = slurm.output("scontrol", "show", "job", job)
    for part in (
        "JobName=hts-x",
        "TimeLimit=01:00:00",
        "NumTasks=2",
        "MinMemoryNode=150M",
        "Account=materials",
        "Requeue=0",
        "Nice=5",
        'Comment=it\'s # 100% "odd"',
        f"StdErr={tmp_path}/queue.err",
        f"StdOut={tmp_path}/queue.out",
    ):
        assert part in shown
    slurm.output("scancel", job)
