"""Whole campaigns through a real SLURM: by several launchers, over ssh; and what is said when one cannot be run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from daemons import missing_for
from local_sshd import PACKAGES as SSH_PACKAGES
from local_sshd import LocalSshd
from screening_campaign import history, write_campaign
from slurm_campaign import hts_json, write_settings
from slurm_cluster import EXPIRED_ACCOUNT
from small_campaign import CAMPAIGN, engine_launches, states, wait_for

#: Small cells of many kinds: each a static calculation of a fraction of a second.
MANY = """\
name: many
candidates:
  domain: intercalation
  hosts: [graphite, 1T-TiS2, 2H-MoS2, 1T-TaS2, 2H-NbSe2, 1T-VSe2, 1T-ZrS2]
  intercalants: [Li, Na, K, Rb, Cs, Mg, Ca, Sr, Ba]
  concentrations: [1, 1/2, 1/3, 1/4, 1/6]
calculate:
  - engine: sevennet
    task: static
"""


def start_launcher(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "hts_flows.cli.main", "launch", "--watch", "--interval", "1", *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def submit(hts, folder, text):
    (folder / "campaign.yaml").write_text(text)
    answer = hts("submit", "campaign.yaml")
    assert answer.returncode == 0, answer.stderr


def test_a_campaign_completes_through_slurm(hts, database, slurm, tmp_path, monkeypatch):
    write_settings(monkeypatch, tmp_path, slurm, resources={"sevennet": {"tasks": 2, "memory": "2500M"}})
    submit(hts, tmp_path, CAMPAIGN.format(intercalants="Li, K"))
    answer = hts("launch", "--watch", "--interval", "1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "finished" in answer.stdout
    assert set(states(database)) == {"done"}
    assert set(engine_launches(database).values()) == {1}
    allocations = list(database.allocations.find({}))
    assert {item["state"] for item in allocations} == {"ended"}
    for item in allocations:
        accounts = slurm.sacct(int(item["job_id"]))
        assert (accounts["State"], accounts["JobName"]) == ("COMPLETED", f"hts-{item['_id']}")
    # Engine and recording of every result, and all of it in allocations.
    assert sum(item["done"] for item in allocations) == 2 * database.results.count_documents({})
    again = hts_json(hts("launch", "--json"))
    assert (again["finished"], again["submitted"]) == (True, 0)


@pytest.mark.timeout(900)
def test_a_search_asks_and_learns_through_slurm(hts, database, slurm, tmp_path, monkeypatch):
    write_settings(monkeypatch, tmp_path, slurm, resources={"sevennet": {"tasks": 2, "memory": "2500M"}})
    write_campaign(tmp_path, more=["n_initial: 3", "batch: 2", "stop: {budget: 5}"])
    assert hts("submit", "search.yaml").returncode == 0
    answer = hts("launch", "--watch", "--interval", "1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert set(states(database)) == {"done"}
    asked = [one for entry in history(database) for one in entry[1]]
    assert len(asked) == len(set(asked)) == 5
    assert history(database)[-1][6] == "budget"
    assert set(engine_launches(database).values()) == {1}
    allocations = list(database.allocations.find({}))
    assert sum(item["done"] for item in allocations) == 2 * 5


@pytest.mark.timeout(900)
def test_two_launchers_one_killed_do_each_of_many_jobs_once(hts, database, slurm, tmp_path, monkeypatch):
    limits = {"max_pilots": 3, "pilot_work": "20s"}
    resources = {"sevennet": {"tasks": 2, "nodes": 1, "memory": "2500M", "walltime": "00:10:00"}}
    write_settings(monkeypatch, tmp_path, slurm, limits=limits, resources=resources)
    submit(hts, tmp_path, MANY)
    total = database.results.count_documents({})
    assert total >= 300
    launchers = [start_launcher(tmp_path), start_launcher(tmp_path)]
    try:
        wait_for(lambda: states(database)["done"] > total // 2, 400)
        holder = database.leases.find_one({"_id": "launch on tiny"})
        pids = [str(launcher.pid) for launcher in launchers]
        victim = pids.index(holder["owner"].split(":")[1]) if holder else 0
        launchers[victim].kill()
        survivor = launchers[1 - victim]
        output, _ = survivor.communicate(timeout=400)
    finally:
        for launcher in launchers:
            launcher.kill()
            launcher.wait()
    assert survivor.returncode == 0, output
    assert states(database) == {"done": total}
    assert set(engine_launches(database).values()) == {1}
    assert len(engine_launches(database)) == total
    unfinished = {"state": {"$in": ["RUNNING", "RESERVED", "READY", "WAITING"]}}
    assert database.mongo["fireworks"].count_documents(unfinished) == 0
    nodes = {item["slurm"]["nodes"] for item in database.allocations.find({})}
    assert len(nodes) > 1


def test_a_pilot_over_several_nodes(hts, database, slurm, tmp_path, monkeypatch):
    resources = {"sevennet": {"tasks": 2, "nodes": 2, "memory": "2500M"}}
    write_settings(monkeypatch, tmp_path, slurm, resources=resources)
    submit(hts, tmp_path, CAMPAIGN.format(intercalants="Li"))
    answer = hts("launch", "--watch", "--interval", "1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert states(database) == {"done": database.results.count_documents({})}
    assert database.allocations.find_one({})["slurm"]["nodes"] == "n[1-2]"


def test_launching_over_ssh(hts, database, slurm, tmp_path, monkeypatch):
    if reason := missing_for(SSH_PACKAGES):
        pytest.skip(f"sshd {reason}")
    sshd = LocalSshd(tmp_path / "sshd", slurm.environment)
    sshd.start()
    try:
        monkeypatch.delenv("SLURM_CONF")
        ssh = {"host": sshd.host, "ssh_options": list(sshd.options), "python": sys.executable}
        write_settings(monkeypatch, tmp_path, slurm, **ssh)
        submit(hts, tmp_path, CAMPAIGN.format(intercalants="Li"))
        answer = hts("launch", "--watch", "--interval", "1")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert states(database) == {"done": database.results.count_documents({})}
    finally:
        sshd.stop()


@pytest.fixture
def submitted(hts, database, slurm, tmp_path, monkeypatch):
    """A small campaign in the database, and a function that changes the cluster's settings."""

    def describe(**cluster):
        write_settings(monkeypatch, tmp_path, slurm, **cluster)

    describe()
    submit(hts, tmp_path, CAMPAIGN.format(intercalants="Li"))
    return describe


def jobs_untouched(database):
    return set(states(database)) == {"queued"} and not database.mongo["fireworks"].find_one(
        {"state": {"$in": ["RUNNING", "RESERVED", "FIZZLED"]}}
    )


def test_slurm_that_does_not_answer(submitted, hts, database, slurm):
    slurm.stop_controller()
    answer = hts("launch")
    assert answer.returncode == 1
    assert "problem" in answer.stdout
    assert "does not answer" in answer.stdout
    assert jobs_untouched(database)
    slurm.start_controller()
    wait_for(lambda: hts_json(hts("launch", "--json"))["submitted"] == 1, 240)


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"account": EXPIRED_ACCOUNT}, EXPIRED_ACCOUNT),
        ({"account": "nosuch"}, "account"),
        ({"partition": "nosuch"}, "partition"),
    ],
)
def test_what_the_settings_ask_for_is_refused(submitted, hts, database, cluster, words):
    submitted(**cluster)
    answer = hts("launch")
    assert answer.returncode == 1, answer.stdout
    assert words in answer.stdout
    assert "hts cluster check tiny" in answer.stdout
    assert jobs_untouched(database)


def test_a_full_queue_is_waited_for(submitted, hts, database, slurm):
    submitted(limits={"max_queued": 1}, resources={"sevennet": {"pilot": False, "sbatch": ["--begin=now+60"]}})
    first = hts_json(hts("launch", "--json"))
    assert first["submitted"] == 1
    second = hts_json(hts("launch", "--json"))
    assert (second["submitted"], second["waiting"]) == (0, 1)
    assert second["ready"] >= 1
    assert len(slurm.output("squeue", "-h").splitlines()) == 1


def test_a_database_that_nodes_do_not_reach(submitted, hts, database, slurm):
    submitted(mongodb_uri="mongodb://127.0.0.1:9/")
    assert hts_json(hts("launch", "--json"))["submitted"] == 1
    slurm.wait_idle()
    answer = hts("launch")
    assert answer.returncode == 1
    assert "MongoDB" in answer.stdout
    assert "127.0.0.1:9" in answer.stdout
    assert "hts cluster check tiny" in answer.stdout
    assert jobs_untouched(database)
    assert "held back" in hts("launch").stdout


def test_what_no_pilot_has_time_for_gets_an_allocation_of_its_own(submitted, hts, database):
    reference = {"spec.hts.role": "reference", "spec.hts.job": "calculate"}
    database.mongo["fireworks"].update_one(reference, {"$set": {"spec.hts.seconds": 100_000.0}})
    answer = hts("launch", "--watch", "--interval", "1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert set(states(database)) == {"done"}
    kinds = {item["kind"]: item for item in database.allocations.find({})}
    # Recording takes no time, so a pilot may do that.
    assert kinds["single"]["done"] >= 1
    assert kinds["single"]["done"] + kinds["pilot"]["done"] == 2 * database.results.count_documents({})
    assert kinds["single"]["resources"]["tasks"] == 1


def test_a_campaign_that_asks_for_what_cannot_be_fails_alone(hts, database, slurm, tmp_path, monkeypatch):
    write_settings(monkeypatch, tmp_path, slurm)
    asked = '    resources: {sbatch: ["--array=1-3"]}\n'
    submit(hts, tmp_path, CAMPAIGN.format(intercalants="Li") + asked)
    answer = hts("launch", "--json")
    assert answer.returncode == 1
    outcome = json.loads(answer.stdout)
    assert (outcome["submitted"], outcome["rejected"]) == (0, database.results.count_documents({}))
    failure = database.results.find_one({})["failure"]
    assert failure["cause"] == "rejected"
    assert "--array" in failure["message"]
    assert slurm.output("squeue", "-h") == ""
