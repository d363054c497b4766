from __future__ import annotations

import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from daemons import missing_for
from local_sshd import PACKAGES, LocalSshd

from hts_flows.errors import HtsError
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.commands import (
    IncompleteAnswerError,
    QueueFullError,
    RejectedError,
    Slurm,
    SlurmNotAnsweringError,
)
from hts_flows.slurm.jobs import SEPARATOR, clock_seconds, job_of_queue, jobs_of_accounting, megabytes
from hts_flows.slurm.refusals import error_of
from hts_flows.slurm.script import job_script, sbatch_options

#: Takes 300 MB for a moment.
BIG = "python3 -c 'x = bytearray(300_000_000)'"
MODIFY = ("sacctmgr", "-i", "modify", "user", "where", "account=materials", "set")


class Here:
    """The SLURM of the tests as the package sees it, with jobs of this test's own."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.slurm = Slurm(cluster)
        self.folder = folder
        self.count = 0

    def submit(self, command="true", **asked):
        self.count += 1
        name = f"hts-{self.count}"
        resources = self.slurm.cluster.resolve("gpaw", {"walltime": "2min"} | asked)
        text = job_script(job_name=name, resources=resources, command=command, environment_file=None)
        return self.slurm.submit(text, str(self.folder / name), name)


@pytest.fixture
def here(slurm, tmp_path):
    return Here(Cluster(name="here", scratch=str(tmp_path)), tmp_path)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program in front of SLURM's own; ``$REAL`` is the one it hides."""

    def put(name, text):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_text(f"#!/bin/sh\nREAL={shutil.which(name)}\n{text}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return put


def test_jobs_are_followed_from_submission_to_the_accounts(here, slurm):
    begun = datetime.now(UTC) - timedelta(seconds=2)
    jobs = {
        "good": here.submit("sleep 2", memory="150M"),
        "bad": here.submit("sh -c 'sleep 1; exit 7'"),
        "held": here.submit(sbatch=["--hold"], nodes=2, tasks=2),
        "again": here.submit("sh -c '[ -n \"$SLURM_RESTART_COUNT\" ] && exit 0; exit 99'", requeue=True),
    }
    if slurm.limits_memory_by_cgroup:
        jobs["big"] = here.submit(BIG, memory="60M")
    assert here.slurm.connection.calls == len(jobs)
    slurm.wait_state(int(jobs["good"]), "RUNNING")
    queue = here.slurm.queue()
    assert here.slurm.connection.calls == len(jobs) + 1
    good, held = queue[jobs["good"]], queue[jobs["held"]]
    assert (good.name, good.state, good.nodes[0], good.walltime, good.memory_asked) == (
        "hts-1",
        "RUNNING",
        "n",
        120,
        150,
    )
    assert good.is_running
    assert good.ended is None
    assert begun < good.submitted <= good.started <= datetime.now(UTC) + timedelta(seconds=1)
    assert (held.state, held.reason, held.started, held.nodes) == ("PENDING", "JobHeldUser", None, "")
    assert held.is_waiting
    for name in ("good", "bad"):
        slurm.wait_finished(int(jobs[name]), complete=True)
    slurm.wait_state(int(jobs["again"]), "COMPLETED", seconds=30)
    queue = here.slurm.queue()
    assert queue[jobs["again"]].restarts == 1
    assert (queue[jobs["bad"]].state, queue[jobs["bad"]].exit_code) == ("FAILED", 7)
    here.slurm.cancel([jobs["held"], "999999999", jobs["good"]])
    slurm.wait_finished(int(jobs["held"]))

    calls = here.slurm.connection.calls
    accounts = here.slurm.account([*jobs.values(), "999999999"])
    assert here.slurm.connection.calls == calls + 1
    assert set(accounts) == set(jobs.values())
    good, bad, held = (accounts[jobs[name]] for name in ("good", "bad", "held"))
    assert (good.state, good.exit_code, good.signal, good.memory_asked) == ("COMPLETED", 0, None, 150)
    assert 0.5 < good.memory_used < 50
    assert 2 <= good.elapsed <= 10
    assert begun < good.started < good.ended
    assert (bad.state, bad.exit_code, bad.has_ended) == ("FAILED", 7, True)
    assert (held.state, held.cancelled_by, held.started) == ("CANCELLED", str(os.getuid()), None)
    assert held.nodes == ""
    if slurm.limits_memory_by_cgroup:
        slurm.wait_finished(int(jobs["big"]), complete=True)
        [big] = here.slurm.account([jobs["big"]]).values()
        assert (big.state, big.memory_asked, big.signal) == ("OUT_OF_MEMORY", 60, None)


def test_the_script_lies_in_its_folder_and_writes_there(here, slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "short")  # the script's own word wins
    monkeypatch.setenv("SBATCH_ACCOUNT", "expired")
    monkeypatch.setenv("HTS_MONGODB_URI", "mongodb://user:secret@host/")
    here.folder = tmp_path / "a folder" / "it's"
    job = here.submit("sh -c 'pwd; env; echo wrong >&2'", partition="debug", account="materials")
    slurm.wait_finished(int(job))
    folder = here.folder / "hts-1"
    out = (folder / "queue.out").read_text()
    assert out.startswith(f"{folder}\n")
    assert {"SLURM_JOB_PARTITION=debug", "SLURM_JOB_ACCOUNT=materials"} <= set(out.splitlines())
    assert "secret" not in out
    assert here.slurm.connection.read_tails([f"{folder}/queue.err"]) == {f"{folder}/queue.err": "wrong\n"}


def test_a_launcher_inside_a_job_hands_nothing_of_it_on(here, slurm, monkeypatch):
    for name, value in {"JOB_ID": "1", "MEM_PER_CPU": "100", "NTASKS": "64"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    job = here.submit("env", memory="100M")
    slurm.wait_finished(int(job))
    out = (here.folder / "hts-1" / "queue.out").read_text().splitlines()
    assert f"SLURM_JOB_ID={job}" in out
    assert "SLURM_NTASKS=1" in out
    assert not [line for line in out if line.startswith("SLURM_MEM_PER_CPU=")]


@pytest.mark.parametrize(
    ("asked", "concerns"),
    [
        ({"partition": "nosuch"}, "partition"),
        ({"account": "nosuch"}, "account"),
        ({"account": "expired"}, "account"),
        ({"partition": "short", "walltime": "10min"}, "walltime"),
        ({"memory": "5G"}, "memory"),
        ({"nodes": 5, "tasks": 5}, "nodes"),
        ({"tasks": 50}, "nodes"),
        ({"gpus": 1}, "nodes"),
        ({"sbatch": ["--constraint=nosuch"]}, "options"),
        ({"sbatch": ["--nosuch=1"]}, "options"),
    ],
)
def test_what_slurm_refuses_is_told_with_what_it_concerns(here, asked, concerns):
    with pytest.raises(RejectedError) as caught:
        here.submit(**asked)
    assert caught.value.concerns == concerns
    assert caught.value.hint
    assert caught.value.reason
    with pytest.raises(RejectedError) as tested:
        here.slurm.test(sbatch_options(here.slurm.cluster.resolve("gpaw", {"walltime": "2min"} | asked)))
    # Without submitting SLURM does not say which part of a node is too small.
    assert tested.value.concerns in {concerns, "nodes"}


def test_what_slurm_takes_passes_the_test_and_leaves_no_job(here):
    here.slurm.test(["--time=00:01:00", "--comment=two words"])
    assert "PENDING" not in {job.state for job in here.slurm.queue().values()}


def test_a_full_queue_is_no_refusal(here, slurm):
    slurm.output(*MODIFY, "maxsubmitjobs=1")
    try:
        first = here.submit(sbatch=["--hold"])
        with pytest.raises(QueueFullError, match=r"takes no more jobs now.*Limit"):
            here.submit()
        here.slurm.cancel([first])
        here.submit()
    finally:
        slurm.output(*MODIFY, "maxsubmitjobs=-1")


def test_a_folder_that_cannot_be_written_is_named(here):
    with pytest.raises(HtsError, match=r"cannot write /proc/nowhere/job\.sh: mkdir") as caught:
        here.slurm.submit("#!/bin/sh\n", "/proc/nowhere", "hts-x")
    assert "clusters.here.scratch" in str(caught.value.hint)
    assert not isinstance(caught.value, RejectedError)


def test_a_machine_without_slurm_is_told_so(tmp_path, monkeypatch):
    for name in ("sh", "env", "sed", "id", "timeout", "mkdir", "cat", "wc", "grep"):
        (tmp_path / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    slurm = Slurm(Cluster(name="here"))
    for call in (slurm.queue, lambda: slurm.account(["1"])):
        with pytest.raises(SlurmNotAnsweringError, match="commands are not found on cluster 'here'"):
            call()
    with pytest.raises(HtsError, match=r"commands are not found") as caught:
        slurm.submit("#!/bin/sh\n", str(tmp_path / "job"), "hts-x")
    assert isinstance(caught.value, SlurmNotAnsweringError)


def test_any_name_of_a_job_can_be_listed(here, slurm):
    odd = f"a{SEPARATOR}b\x1e\n|c end"
    job = slurm.output("sbatch", "--parsable", "--hold", f"--job-name={odd}", "--wrap=true")
    assert here.slurm.queue()[job].name == odd
    slurm.output("scancel", job)


@pytest.mark.parametrize("size", [1, 30, 80, 95])
def test_a_queue_that_is_cut_off_is_no_answer(here, program, size):
    for _ in range(2):
        here.submit(sbatch=["--hold"])
    program("squeue", f'all=$($REAL "$@"; echo x); printf %s "${{all%x}}" | head -c $(( ${{#all}} * {size} / 100 ))')
    with pytest.raises(IncompleteAnswerError, match="answer of squeue is not whole"):
        here.slurm.queue()


@pytest.mark.parametrize(
    "text",
    [
        '$REAL "$@"; exit 1',
        '$REAL "$@"; echo "squeue: error: slurm_load_jobs: Zero Bytes were transmitted or received" >&2',
        '$REAL "$@"; kill -9 $PPID',
    ],
)
def test_an_error_with_an_answer_is_no_answer(here, program, text):
    here.submit(sbatch=["--hold"])
    program("squeue", text)
    with pytest.raises(SlurmNotAnsweringError):
        here.slurm.queue()


def test_accounts_that_are_cut_off_are_no_answer(here, program, slurm):
    job = here.submit()
    slurm.wait_finished(int(job))
    program("sacct", '$REAL "$@" | head -c 30')
    with pytest.raises(IncompleteAnswerError, match="answer of sacct is not whole"):
        here.slurm.account([job])


def test_thousands_of_jobs_are_asked_for_in_few_calls(here, slurm):
    job = here.submit()
    slurm.wait_finished(int(job))
    before = here.slurm.connection.calls
    found = here.slurm.account([*(str(number) for number in range(30_000_000, 30_020_000)), job])
    assert list(found) == [job]
    assert here.slurm.connection.calls - before == 2


def test_everything_works_over_ssh(slurm):
    if reason := missing_for(PACKAGES):
        pytest.skip(f"sshd {reason}")
    folder = Path(tempfile.mkdtemp(prefix="hts-sshd-"))
    server = LocalSshd(folder, slurm.environment)
    server.start()
    content = {"name": "far", "host": server.host, "ssh_options": server.options, "scratch": "/s", "python": "p"}
    far = Here(Cluster.model_validate(content), folder)
    try:
        job = far.submit("sh -c 'echo done'")
        assert far.slurm.queue()[job].name == "hts-1"
        slurm.wait_finished(int(job))
        assert far.slurm.account([job])[job].state == "COMPLETED"
        assert far.slurm.connection.read_tails([f"{folder}/hts-1/queue.out"]) == {f"{folder}/hts-1/queue.out": "done\n"}
        with pytest.raises(RejectedError, match="unrecognized option") as caught:
            far.submit(sbatch=["--nosuch"])  # sbatch ends with 255, as ssh does when it fails
        assert caught.value.concerns == "options"
    finally:
        far.slurm.connection.close()
        server.stop()
        shutil.rmtree(folder)


def test_a_controller_that_is_gone_is_not_a_refusal(here, slurm):
    job = here.submit("sleep 1")
    slurm.stop_controller()
    calls = (here.submit, here.slurm.queue, lambda: here.slurm.cancel([job]))
    with ThreadPoolExecutor() as pool:  # each takes 9 s to give up
        answers = [pool.submit(call) for call in calls]
    for answer in answers:
        with pytest.raises(
            SlurmNotAnsweringError, match=r"'here' does not answer: .*Unable to contact slurm controller"
        ):
            answer.result()
    slurm.start_controller()
    assert job in here.slurm.queue()


def test_a_controller_that_hangs_is_waited_for_no_longer_than_said(here, slurm):
    hurried = Slurm(here.slurm.cluster.model_copy(update={"timeout": 1.0}))
    slurm.hang_controller()
    try:
        begun = time.monotonic()
        with pytest.raises(HtsError, match=r"no answer within|does not answer") as caught:
            hurried.submit("#!/bin/sh\ntrue\n", str(here.folder / "x"), "hts-x")
        assert not isinstance(caught.value, RejectedError)
        assert time.monotonic() - begun < 8
    finally:
        slurm.continue_controller()


def test_accounting_that_is_gone_is_not_a_cluster_without(here, slurm, monkeypatch, tmp_path):
    slurm.stop_accounting()
    with pytest.raises(SlurmNotAnsweringError, match=r"does not answer: .*database"):
        here.slurm.account(["1"])
    slurm.start_accounting()
    assert here.slurm.account(["1"]) == {}
    without = [line for line in slurm.conf.read_text().splitlines() if not line.startswith("AccountingStorage")]
    (tmp_path / "slurm.conf").write_text("\n".join(without))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert here.slurm.account(["1"]) is None


# What the SLURM of the tests cannot be made to say


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNLIMITED", None),
        ("Partition_Limit", None),
        ("INVALID", None),
        ("N/A", None),
        ("0:05", 5),
        ("1:02:03", 3723),
        ("2-00:00:00", 172_800),
    ],
)
def test_times_of_the_queue(text, expected):
    assert clock_seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3332K", 3332 / 1024), ("2.50G", 2560), ("200Mc", 200), ("4Gn", 4096), ("1048576", 1), ("", None)],
)
def test_sizes_of_the_accounts(text, expected):
    assert megabytes(text) == expected


def queued(state="RUNNING", **changes):
    fields = {
        "id": "7",
        "state": state,
        "exit_code": "0",
        "reason": "None",
        "nodes": "n[1-2]",
        "submitted": "1795248324",
        "started": "1795248324",
        "ended": "1795248924",
        "used": "0:03",
        "limit": "10:00",
        "tres": "cpu=4,mem=8G,node=2,billing=4",
        "node_count": "2",
        "restarts": "0",
        "name": "hts-x",
    } | changes
    return job_of_queue(SEPARATOR.join(fields.values()))


def test_odd_words_of_the_queue():
    odd = {
        "limit": "UNLIMITED",
        "used": "INVALID",
        "submitted": "N/A",
        "tres": "N/A",
        "started": "Unknown",
        "nodes": "",
    }
    job = queued("PENDING", **odd)
    assert (job.walltime, job.elapsed, job.submitted, job.memory_asked, job.started) == (None,) * 5
    assert queued().memory_asked == 4096
    assert queued(node_count="2-4").memory_asked == 4096


@pytest.mark.parametrize(
    ("text", "expected"),
    [("768", (3, None)), ("9", (0, 9)), ("3:0", (3, None)), ("0:15", (0, 15)), ("0:125", (0, None))],
)
def test_exit_codes_of_any_version(text, expected):
    job = queued("FAILED", exit_code=text)
    assert (job.exit_code, job.signal) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("PENDING", "waiting"),
        ("REQUEUE_HOLD", "waiting"),
        ("SPECIAL_EXIT", "waiting"),
        ("CONFIGURING", "running"),
        ("COMPLETING", "running"),
        ("SUSPENDED", "running"),
        ("A_STATE_OF_TOMORROW", "running"),
        ("PREEMPTED", "ended"),
        ("BOOT_FAIL", "ended"),
        ("DEADLINE", "ended"),
    ],
)
def test_every_state_is_one_of_three(state, expected):
    job = queued(state)
    assert {"waiting": job.is_waiting, "running": job.is_running, "ended": job.has_ended} == {
        name: name == expected for name in ("waiting", "running", "ended")
    }


def accounted(job_id, state, memory="", **changes):
    fields = {
        "id": job_id,
        "state": state,
        "code": "0:0",
        "reason": "None",
        "nodes": "n1",
        "submitted": "1795248324",
        "started": "1795248324",
        "ended": "Unknown",
        "elapsed": "100",
        "limit": "10",
        "asked": "billing=4,cpu=4,mem=8G,node=2",
        "given": "",
        "node_count": "2",
        "memory": memory,
        "restarts": "2",
        "name": "hts-x",
    } | changes
    return SEPARATOR.join(fields.values())


def test_steps_tell_of_memory():
    records = [
        accounted("7", "FAILED"),
        accounted("7.batch", "FAILED", "10000K"),
        accounted("7.0", "OUT_OF_MEMORY", "2G"),
        accounted("7.1", "CANCELLED", "1G"),
        accounted("8", "COMPLETED"),
        accounted("8.0", "OUT_OF_MEMORY", "1G"),
        accounted("9", "CANCELLED by 1000", limit="UNLIMITED", elapsed=""),
    ]
    jobs = jobs_of_accounting(records, with_restarts=True)
    assert (jobs["7"].state, jobs["7"].memory_used, jobs["7"].memory_asked) == ("OUT_OF_MEMORY", 2048, 4096)
    assert jobs["8"].state == "COMPLETED"  # its script went on, and ended well
    assert (jobs["9"].cancelled_by, jobs["9"].walltime, jobs["9"].elapsed, jobs["9"].restarts) == (
        "1000",
        None,
        None,
        2,
    )


@pytest.mark.parametrize("records", [["7"], [accounted("7.batch", "FAILED")], [accounted("7", "")]])
def test_records_that_are_no_jobs_are_refused(records):
    with pytest.raises(ValueError, match=r"fields|without its job"):
        jobs_of_accounting(records, with_restarts=True)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Job violates accounting/QOS policy",
            QueueFullError,
        ),
        ("sbatch: error: Reached QoS-Limit for jobs in queue", QueueFullError),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", QueueFullError),
        ("sbatch: error: Required partition not available (inactive or drain)", QueueFullError),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", SlurmNotAnsweringError),
        ("sbatch: error: Munge encode failed: Failed to connect to socket", SlurmNotAnsweringError),
        ("sbatch: error: Batch job submission failed: Protocol authentication error", SlurmNotAnsweringError),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "qos"),
        ("sbatch: error: Batch job submission failed: User's group not permitted to use this partition", "partition"),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit", "walltime"),
        ("sbatch: error: QOSMaxMemoryPerJob", "memory"),
        ("sbatch: error: our site's own words", None),
    ],
)
def test_words_of_other_clusters(words, kind):
    error = error_of(words, 1, "here")
    if isinstance(kind, type):
        assert type(error) is kind
    else:
        assert isinstance(error, RejectedError)
        assert error.concerns == kind
    assert error.hint
