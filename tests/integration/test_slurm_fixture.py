from __future__ import annotations

import pytest
from daemons import missing_for
from local_sshd import PACKAGES, LocalSshd
from slurm_cluster import ACCOUNT, EXPIRED_ACCOUNT

BIG = 'exec python3 -c "import time; block = bytearray(400 * 2**20); time.sleep(4)"'
MODULES = """#!/bin/bash -l
module use {folder}
module load hts-test/1.0 || exit 3
[ "$HTS_TEST_MODULE" = 1 ] || exit 4
module load nonexistent && exit 5
sleep 1.5
"""


def test_jobs_run_and_the_accounts_say_how_they_ended(slurm):
    good = slurm.submit(MODULES.format(folder=slurm.modulefiles))
    failing = slurm.submit("exit 97")
    big = slurm.submit(BIG, "--mem=60")
    accounts = slurm.wait_finished(good)
    assert accounts["State"] == "COMPLETED", (slurm.folder / f"jobs/{good}.out").read_text()
    assert (accounts["ExitCode"], accounts["Account"]) == ("0:0", ACCOUNT)
    assert accounts["NodeList"] in slurm.nodes()
    assert accounts["MaxRSS"].endswith("K")
    assert "Unable to locate a modulefile for 'nonexistent'" in (slurm.folder / f"jobs/{good}.out").read_text()
    assert slurm.wait_finished(failing)["ExitCode"] == "97:0"
    accounts = slurm.wait_finished(big)
    if slurm.limits_memory_by_cgroup:
        assert accounts["State"] == "OUT_OF_MEMORY"
    else:
        assert (accounts["State"], accounts["ExitCode"]) == ("FAILED", "0:9")
        assert "exceeded memory limit" in (slurm.folder / f"jobs/{big}.out").read_text()


def test_a_job_is_preempted(slurm):
    low = slurm.submit("sleep 60", "--partition=low", "--nodelist=n3", "--exclusive")
    slurm.wait_state(low, "RUNNING")
    slurm.submit("true", "--partition=urgent", "--nodelist=n3", "--exclusive")
    assert slurm.wait_finished(low)["State"] == "PREEMPTED"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--partition=nosuch", "Invalid partition name specified"),
        ("--account=nosuch", "Invalid account or account/partition combination specified"),
        (f"--account={EXPIRED_ACCOUNT}", "Job violates accounting/QOS policy"),
        ("--time=100", "Requested time limit is invalid"),
        ("--mem=5000", "Requested node configuration is not available"),
    ],
)
def test_sbatch_refuses(slurm, option, message):
    refused = slurm.run("sbatch", option, "--wrap=true")
    assert refused.returncode == 1
    assert message in refused.stderr


def test_what_a_test_breaks_is_mended(slurm):
    job = slurm.submit("sleep 60", "--nodelist=n2", "--no-requeue")
    slurm.wait_state(job, "RUNNING")
    slurm.kill_slurmd("n2")
    slurm.set_down("n2")
    assert slurm.wait_finished(job)["State"] == "NODE_FAIL"
    slurm.drain("n1")
    slurm.stop_controller()
    slurm.stop_accounting()
    assert slurm.run("sacct").returncode == 1
    slurm.restore()
    assert set(slurm.nodes().values()) == {"idle"}
    assert slurm.output("squeue", "-h") == ""


def test_sessions_over_ssh_see_that_slurm(slurm, tmp_path):
    if reason := missing_for(PACKAGES):
        pytest.skip(f"sshd {reason}")
    sshd = LocalSshd(tmp_path / "sshd", slurm.environment)
    sshd.start()
    try:
        seen = sshd.run("sinfo -h -N -p debug -o %N")
        assert seen.stdout.split() == ["n1", "n2", "n3"], seen.stderr
    finally:
        sshd.stop()
    assert sshd.run("true").returncode == 255
