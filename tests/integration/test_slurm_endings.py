"""Every way in which SLURM ends a job, produced for real: noticed, explained, resubmitted, completed once."""

from __future__ import annotations

import os
import signal

import pytest
from slurm_campaign import allocations_of, hts_json, write_settings
from small_campaign import CAMPAIGN, wait_for

from hts_flows.launch.launching import Launcher
from hts_flows.launch.submission import pool_of
from hts_flows.settings import load_settings, pick_cluster

#: What is asked for beyond the cluster's settings, so that SLURM ends the job in that way.
ASKED = {
    "requeued": {"requeue": True},
    "timeout": {"walltime": "00:04:00"},
    "out_of_memory": {"memory": "250M"},
    "cancelled_waiting": {"sbatch": ["--begin=now+25"]},
    "cancelled_running": {},
    "node_down": {"sbatch": ["--nodelist=n2"]},
    "slurmd_killed": {"sbatch": ["--nodelist=n3"]},
    "preempted": {"partition": "low", "sbatch": ["--nodelist=n1"]},
    "rejected": {"partition": "nosuch"},
    "environment": {"modules": ["nonexistent"]},
}
#: Cause, a part of the message or evidence, and the change that the remedy proposes or the test makes.
EXPECTED = {
    "timeout": ("walltime", "time limit", ["--walltime", "x2"]),
    "out_of_memory": ("out_of_memory", "want of memory", ["--memory", "x8"]),
    "cancelled_waiting": ("cancelled", "while it waited", []),
    "cancelled_running": ("cancelled", "was cancelled", []),
    "node_down": ("node_failure", "node failed", []),
    "slurmd_killed": ("node_failure", "node failed", []),
    "preempted": ("preempted", "more urgent", ["--partition", "debug"]),
    "rejected": ("rejected", "nvalid partition", ["--partition", "debug"]),
    "environment": ("environment", "module load nonexistent", ["--set", "resources.modules=[]"]),
}


@pytest.fixture
def launcher(tmp_path, hts, database, slurm, monkeypatch):
    """A campaign whose ten evaluations each ask for what makes SLURM end them in another way."""
    write_settings(monkeypatch, tmp_path, slurm, resources={"sevennet": {"pilot": False, "memory": "2G"}})
    (tmp_path / "small.yaml").write_text(CAMPAIGN.format(intercalants="Li, K, Na"))
    assert hts("submit", "small.yaml").returncode == 0
    keys = [document["_id"] for document in database.results.find({}).sort([("role", -1), ("label", 1)])]
    assert len(keys) == len(ASKED)
    for key, own in zip(keys, ASKED.values(), strict=True):
        database.results.update_one({"_id": key}, {"$set": {"resources": own}})
        mark = {"spec.hts.resources": own, "spec.hts.pool": pool_of("sevennet", own)}
        database.mongo["fireworks"].update_many({"spec.hts.result": key}, {"$set": mark})
    settings = load_settings()
    launcher = Launcher(database, settings, pick_cluster(settings, None))
    launcher.by_ending = dict(zip(ASKED, keys, strict=True))
    return launcher


@pytest.mark.timeout(900)
def test_every_ending_is_explained_resubmitted_and_completed_once(launcher, database, slurm, hts):
    keys = launcher.by_ending
    first = launcher.one_pass()
    assert not first.problems, [str(problem) for problem in first.problems]
    assert first.placed.submitted == len(ASKED) - 1
    assert first.placed.rejected == 1

    jobs = {name: allocations_of(database, key)[-1] for name, key in keys.items() if name != "rejected"}
    slurm.output("scancel", jobs["cancelled_waiting"]["job_id"])
    end_running(database, slurm, keys, jobs)
    ended = {"timeout": "TIMEOUT", "out_of_memory": "OUT_OF_MEMORY", "cancelled_waiting": "CANCELLED"}
    ended |= {"cancelled_running": "CANCELLED", "node_down": "NODE_FAIL", "slurmd_killed": "NODE_FAIL"}
    ended |= {"preempted": "PREEMPTED", "environment": "FAILED", "requeued": "COMPLETED"}
    for name, state in ended.items():
        assert slurm.wait_finished(int(jobs[name]["job_id"]), 150)["State"].split()[0] == state, name

    launcher.one_pass()
    results = {name: database.results.find_one({"_id": key}) for name, key in keys.items()}
    for name, (cause, words, _) in EXPECTED.items():
        failure = results[name]["failure"]
        assert failure, name
        assert failure["cause"] == cause, (name, failure)
        assert words in failure["message"] + failure["evidence"], (name, failure)
        assert failure["remedy"]
        if name != "rejected":
            assert failure["job"]["job_id"] == jobs[name]["job_id"]
            assert failure["job"]["walltime_asked"] == (240 if name == "timeout" else 300)
    assert results["timeout"]["failure"]["job"]["time_used"] >= 3
    assert results["timeout"]["failure"]["job"]["node"]
    assert results["out_of_memory"]["failure"]["job"]["memory_asked"] == 250
    assert results["requeued"]["state"] == "done"
    assert results["requeued"]["attempts"] == []
    groups = hts("failures", "small").stdout
    for cause in {expected[0] for expected in EXPECTED.values()}:
        assert cause in groups

    slurm.restore()
    for name in EXPECTED:
        answer = hts("resubmit", "small", "--id", results[name]["candidate_id"], *EXPECTED[name][2], "--yes")
        assert answer.returncode == 0, (name, answer.stdout, answer.stderr)
    wait_for(lambda: launcher.one_pass().finished, 400)
    for name, key in keys.items():
        result = database.results.find_one({"_id": key})
        assert result["state"] == "done", (name, result["failure"])
        earlier = [attempt["failure"]["cause"] for attempt in result["attempts"]]
        assert earlier == ([EXPECTED[name][0]] if name in EXPECTED else []), name
    assert database.results.count_documents({}) == len(ASKED)
    assert database.audit.count_documents({"action": "resubmit"}) == len(EXPECTED)
    history = hts_json(hts("results", "small", "--format", "json"))
    assert all(len(item["attempts"]) <= 1 for item in history)


def end_running(database, slurm, keys, jobs):
    """Do to the running jobs what each is to suffer; the others end by themselves."""
    waiting = {"timeout", "cancelled_running", "node_down", "slurmd_killed", "preempted", "requeued"}

    def act_on_running():
        for name in sorted(waiting):
            running = database.mongo["fireworks"].find_one(
                {"spec.hts.result": keys[name], "spec.hts.job": "calculate", "state": "RUNNING"}
            )
            if running is None:
                continue
            waiting.remove(name)
            job_id = jobs[name]["job_id"]
            if name == "timeout":
                # As when a file system hangs: the calculation stands still.
                launch = database.mongo["launches"].find_one({"launch_id": running["launches"][-1]})
                os.kill(int(launch["fworker"]["name"].split(":")[4]), signal.SIGSTOP)
                slurm.output("scontrol", "update", f"jobid={job_id}", "EndTime=now+3seconds")
            elif name == "cancelled_running":
                slurm.output("scancel", job_id)
            elif name == "node_down":
                slurm.set_down("n2")
            elif name == "slurmd_killed":
                slurm.kill_slurmd("n3")
            elif name == "preempted":
                slurm.submit("sleep 1", "--partition=urgent", "--nodelist=n1", "--exclusive")
            elif name == "requeued":
                slurm.output("scontrol", "requeue", job_id)
        return not waiting

    wait_for(act_on_running, 240)
