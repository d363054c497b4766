from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import hts_flows
from hts_flows.settings import load_settings
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.commands import Slurm
from hts_flows.slurm.environment import environment_file_text, put_environment_file
from hts_flows.slurm.probe import is_loopback


@pytest.fixture
def check(slurm, hts, settings, tmp_path):
    """Run ``hts cluster check`` with a cluster of these settings; gives its exit code and its steps."""

    def run(*options, variables=None, **content):
        cluster = {"scratch": str(tmp_path / "scratch"), "partition": "debug"} | content
        file = tmp_path / "settings.yaml"
        file.write_text(yaml.safe_dump({"clusters": {"here": cluster}}))
        done = hts("cluster", "check", "--json", *options, HTS_CONFIG_FILE=str(file), **(variables or {}))
        assert done.stderr == ""
        report = json.loads(done.stdout)
        assert report["ok"] == (done.returncode == 0)
        return done.returncode, {step["name"]: step for step in report["steps"]}

    return run


def test_a_good_cluster_passes_every_step(check, slurm, tmp_path):
    code, steps = check(
        pre_commands=[f"module use {slurm.modulefiles}", "module load hts-test"],
        resources={"default": {"walltime": "10min"}, "sevennet": {"tasks": 2, "memory": "1G"}},
    )
    assert [step["ok"] for step in steps.values()] == [True] * len(steps)
    assert code == 0
    assert list(steps) == [
        "reachable",
        "SLURM's commands",
        "controller",
        "accounting",
        "resources.default",
        "resources.sevennet",
        "probe job",
        "hts_flows on the node",
        "Python on the node",
        "scratch on the node",
        "MongoDB from the node",
        "sevennet on the node",
    ]
    assert hts_flows.__version__ in steps["hts_flows on the node"]["message"]
    assert steps["probe job"]["message"].split()[-1] in slurm.nodes()
    assert "--mem=1G" in steps["resources.sevennet"]["message"]
    [left] = (tmp_path / "scratch" / ".hts").iterdir()  # the probe's own folder is gone
    assert left.name.startswith("environment-")
    assert left.stat().st_mode & 0o777 == 0o600


def test_the_job_may_be_left_out(check, slurm):
    code, steps = check("--no-job", limits={"max_walltime": "1h"})
    assert code == 0
    assert list(steps)[-1] == "resources.default"
    assert slurm.output("squeue", "-h", "--states=all", "-o", "%j").count("hts-probe") <= 1


def test_each_preset_that_slurm_refuses_is_named(check):
    code, steps = check(
        "--no-job",
        resources={
            "gpaw": {"partition": "nosuch"},
            "vasp": {"account": "expired", "walltime": "10min"},
            "chgnet": {"walltime": "10d"},
            "sevennet": {"sbatch": ["haswell"]},
        },
    )
    assert code == 1
    assert steps["resources.default"]["ok"] is False  # 4 h, where the partition allows one
    assert "time limit" in steps["resources.default"]["message"]
    for engine, said, hint in (
        ("gpaw", "invalid partition", "sinfo"),
        ("vasp", "account 'expired' may submit no jobs", "sacctmgr show associations"),
        ("chgnet", "time limit is invalid", "clusters.here.resources.chgnet"),
        ("sevennet", "'haswell' is no option of sbatch", "--constraint=haswell"),
    ):
        step = steps[f"resources.{engine}"]
        assert step["ok"] is False
        assert said in step["message"]
        assert hint in step["hint"]


def test_a_database_that_nodes_cannot_reach_is_told_with_the_way_out(check):
    default = {"default": {"walltime": "10min"}}
    code, steps = check(resources=default, mongodb_uri="mongodb://group:secret@127.0.0.1:1/")
    step = steps["MongoDB from the node"]
    assert (code, step["ok"], steps["probe job"]["ok"], steps["scratch on the node"]["ok"]) == (1, False, True, True)
    assert "cannot reach mongodb://group:***@127.0.0.1:1/: that address is this machine's own" in step["message"]
    assert "docs/clusters.md" in step["hint"]
    assert "clusters.here.mongodb_uri" in step["hint"]
    assert "secret" not in json.dumps(steps)


def test_what_a_node_lacks_is_told(check, slurm, tmp_path):
    code, steps = check(
        resources={
            "default": {"walltime": "10min", "pre_commands": [f"module use {slurm.modulefiles}"]},
            "sevennet": {"modules": ["nosuch/1.0"]},
            "gpaw": {"pre_commands": ["export PATH=/nowhere", "cd /nowhere"]},
        }
    )
    assert code == 1
    assert steps["probe job"]["ok"] is True
    assert steps["sevennet on the node"]["message"] == "this command failed: module load nosuch/1.0"
    assert steps["gpaw on the node"]["message"] == "this command failed: cd /nowhere"
    assert "clusters.here.resources.gpaw" in steps["gpaw on the node"]["hint"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"python": "/nowhere/python"}, "exit code 127: .*/nowhere/python"),
        ({"pre_commands": ["module load nosuch"]}, "exit code 97: .*hts: this command failed: module load nosuch"),
    ],
)
def test_a_probe_that_cannot_begin_says_why(check, content, said):
    code, steps = check(resources={"default": {"walltime": "10min"}}, **content)
    assert (code, list(steps)[-1]) == (1, "probe job")
    step = steps["probe job"]
    assert step["ok"] is False
    assert re.search(said, step["message"])
    assert "clusters.here.python" in step["hint"]


def test_a_probe_that_waits_too_long_is_cancelled(check, slurm):
    code, steps = check("--wait", "2", resources={"default": {"walltime": "10min", "sbatch": ["--begin=now+1hour"]}})
    assert (code, steps["probe job"]["ok"]) == (1, False)
    assert "still waited after 2 s (SLURM's reason: BeginTime); cancelled" in steps["probe job"]["message"]
    assert "--wait" in steps["probe job"]["hint"]
    assert slurm.output("squeue", "-h") == ""


def test_a_cluster_that_cannot_be_reached_is_told_first(check):
    code, steps = check(host="nowhere.invalid", python="python3", ssh_options=["-F", "/dev/null"])
    assert (code, list(steps)) == (1, ["reachable"])
    assert "Could not resolve hostname" in steps["reachable"]["message"]


def test_without_accounting_the_check_goes_on_with_a_warning(check, slurm):
    slurm.stop_accounting()
    code, steps = check("--no-job", resources={"default": {"walltime": "10min"}})
    assert (code, steps["accounting"]["ok"], steps["resources.default"]["ok"]) == (0, None, True)
    assert "less exact" in steps["accounting"]["hint"]


def test_a_stopped_controller_ends_the_check(check, slurm):
    slurm.stop_controller()
    code, steps = check()
    assert (code, list(steps)[-1], steps["controller"]["ok"]) == (1, "controller", False)
    assert "is DOWN" in steps["controller"]["message"]
    assert "try again" in steps["controller"]["hint"]


def test_people_see_each_step_with_what_to_do(slurm, hts, settings, tmp_path):
    (tmp_path / "settings.yaml").write_text("clusters: {here: {partition: nosuch}}\n")
    done = hts("cluster", "check", "here", HTS_CONFIG_FILE=str(tmp_path / "settings.yaml"))
    assert done.returncode == 1
    assert "ok       SLURM's commands: slurm" in done.stdout
    assert "failed   resources.default: SLURM refuses the job: invalid partition specified: nosuch" in done.stdout
    assert "→ name one that 'sinfo -s' lists" in done.stdout


def test_without_a_home_of_its_own_a_job_finds_the_private_database(settings, mongod, tmp_path):
    cluster = Cluster(name="here", scratch=str(tmp_path))
    text = environment_file_text(settings, cluster)
    assert f"HTS_DATABASE={settings.database}\n" in text
    assert mongod.uri() in text
    slurm = Slurm(cluster)
    path = Path(put_environment_file(slurm.connection, settings, cluster))
    first = path.stat().st_mtime_ns
    assert put_environment_file(slurm.connection, settings, cluster) == str(path)
    assert (path.read_text(), path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (text, first, 0o600)
    other = Cluster.model_validate({"name": "here", "scratch": str(tmp_path), "mongodb_uri": "mongodb://u:it's@h/"})
    assert "mongodb://u:it'\"'\"'s@h/" in environment_file_text(settings, other)
    assert put_environment_file(slurm.connection, settings, other) != str(path)


def test_without_a_scratch_folder_the_launch_folder_is_used(settings, mongod):
    cluster = Cluster(name="here")
    path = Path(put_environment_file(Slurm(cluster).connection, settings, cluster))
    assert path.is_relative_to(load_settings().launches)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://u:p@127.0.0.1:27017/?authSource=admin", True),
        ("mongodb://localhost,127.0.0.1:2/", True),
        ("mongodb://[::1]:27017", True),
        ("mongodb://localhost.example.org/", False),
        ("mongodb://127.0.0.1:1,db.example.org/", False),
        ("mongodb+srv://u:p@db.example.org/x?y=127.0.0.1", False),
    ],
)
def test_addresses_that_lead_nowhere_else(uri, expected):
    assert is_loopback(uri) == expected
