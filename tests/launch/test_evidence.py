"""Ends of output: what is read, and what is never read whatever lies in the folder."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from daemons import missing_for
from failed_results import calculation_of, fail, start, submitted
from fireworks import FWorker
from local_sshd import PACKAGES, LocalSshd
from many_jobs import new_allocation

from hts_flows.launch.evidence import MOST_FILES, read_evidence
from hts_flows.launch.failures import FailureCause
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.connection import LONGEST_TAIL, Connection
from hts_flows.stores.allocations import worker_name
from hts_flows.stores.results import Result


@pytest.fixture
def key(database):
    """Key of a result whose jobs are in the queue."""
    return submitted(database, intercalants=("Li",))["graphite LiC6 stage 1"]


def fill(folder):
    """Leave in a folder what an engine leaves, and what must not be read."""
    folder.mkdir(parents=True)
    secret = folder.parent / "secret.txt"
    secret.write_text("password\n")
    (folder / "gpaw.txt").write_text("".join(f"iter: {number}\n" for number in range(100)))
    (folder / "OUTCAR").write_text("TOTEN = -1.0 eV\n")
    (folder / "POTCAR").write_text("licensed\n")
    (folder / "FW.json").write_text('{"spec": 1}\n')
    (folder / "wave.out").write_bytes(b"\0\1\2" * 1000)
    (folder / "link.txt").symlink_to(secret)
    (folder / "inside.txt").mkdir()
    (folder / "inside.txt" / "deep.txt").write_text("password\n")
    os.mkfifo(folder / "pipe.txt")


def in_slurm(database, key, folder, cluster="far", **fields):
    """Let a worker of an allocation take the engine's job."""
    allocation = new_allocation(str(folder), cluster=cluster, job_id="815", state="queued", **fields)
    database.allocations.insert_one(allocation.document())
    job = calculation_of(database, key)["fw_id"]
    worker = FWorker(name=worker_name(allocation.token, 0, "node:1:1.00"))
    database.launchpad.checkout_fw(worker, str(folder / "run"), fw_id=job, host="node")
    return job


def test_the_ends_of_outputs_are_read_and_nothing_else(database, settings, key, tmp_path):
    fill(tmp_path / "run")
    start(database, key, tmp_path / "run")
    job = calculation_of(database, key)["fw_id"]
    ends = {end.name: end for end in read_evidence(settings, database, job)}
    assert set(ends) == {"gpaw.txt", "OUTCAR"}
    assert ends["gpaw.txt"].text.splitlines() == [f"iter: {number}" for number in range(60, 100)]
    assert (ends["gpaw.txt"].folder, ends["gpaw.txt"].problem) == (str(tmp_path / "run"), None)
    assert read_evidence(settings, database, job, 1)[0].text in ("iter: 99", "TOTEN = -1.0 eV")
    # The same by the result.
    result = Result.model_validate(database.results.find_one({"_id": key}))
    assert {end.name for end in read_evidence(settings, database, result)} == {"gpaw.txt", "OUTCAR"}


def test_of_a_long_file_only_the_end_is_read_and_long_lines_are_cut(database, settings, key, tmp_path):
    (tmp_path / "long.log").write_text("first\n" + "x" * 5000 + "\n" + "y" * (3 * LONGEST_TAIL) + "\nlast\n")
    start(database, key, tmp_path)
    end = read_evidence(settings, database, calculation_of(database, key)["fw_id"])[0]
    assert end.text.endswith("last")
    assert "first" not in end.text
    assert len(end.text) < 2000


def test_the_latest_files_are_read_where_there_are_many(database, settings, key, tmp_path):
    for number in range(MOST_FILES + 5):
        file = tmp_path / f"{number}.out"
        file.write_text("text\n")
        os.utime(file, (time.time() - number * 60,) * 2)
    start(database, key, tmp_path)
    ends = read_evidence(settings, database, calculation_of(database, key)["fw_id"])
    assert [end.name for end in ends] == [f"{number}.out" for number in range(MOST_FILES)]


def test_a_file_that_cannot_be_read_says_why_and_the_others_are_read(database, settings, key, tmp_path, monkeypatch):
    (tmp_path / "a.out").write_text("text\n")
    (tmp_path / "b.out").write_text("text\n")
    start(database, key, tmp_path)
    real = os.open

    def refuse(path, *arguments, **options):
        # Tests may run as root, who may read every file.
        if path == "b.out":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    ends = {end.name: end for end in read_evidence(settings, database, calculation_of(database, key)["fw_id"])}
    assert ends["a.out"].text == "text"
    assert ends["b.out"].problem == "it cannot be read: Permission denied"


def test_a_folder_that_cannot_be_read_says_why(database, settings, key, tmp_path):
    start(database, key, "/nowhere/at/all")
    job = calculation_of(database, key)["fw_id"]
    (tmp_path / "file").write_text("text\n")
    for change, why in (
        ({}, "the folder is not there"),
        ({"launch_dir": str(tmp_path / "file")}, "the folder cannot be read: Not a directory"),
        ({"launch_dir": "relative/folder"}, "no absolute path"),
        ({"launch_dir": f"{tmp_path}/../{tmp_path.name}"}, "no absolute path"),
        ({"launch_dir": "/scratch/a\nb"}, "no absolute path"),
        ({"launch_dir": "/scratch/run", "host": "elsewhere"}, "it is on elsewhere, and this machine is"),
    ):
        if change:
            database.mongo["launches"].update_one({"fw_id": job}, {"$set": change})
        (end,) = read_evidence(settings, database, job)
        assert (end.name, end.text) == ("", ""), change
        assert why in end.problem


def test_a_job_without_launches_or_that_is_not_there_has_no_evidence(database, settings, key):
    assert read_evidence(settings, database, calculation_of(database, key)["fw_id"]) == []
    assert read_evidence(settings, database, 10**6) == []


def test_a_job_that_slurm_ended_shows_the_error_output_of_its_batch_script(database, settings, key, tmp_path):
    fail(database, key, FailureCause.WALLTIME, folder=str(tmp_path))
    (tmp_path / "queue.err").write_text("slurmstepd: error: *** JOB 4711 CANCELLED DUE TO TIME LIMIT ***\n")
    (end,) = read_evidence(settings, database, calculation_of(database, key)["fw_id"])
    assert "TIME LIMIT" in end.text


def test_in_the_folder_of_an_allocation_only_slurms_files_are_read(database, settings, key, tmp_path):
    fill(tmp_path / "pilot" / "run")
    for name in ("queue.err", "queue.out", "environment.txt"):
        (tmp_path / "pilot" / name).write_text(f"{name}\n")
    job = in_slurm(database, key, tmp_path / "pilot")
    here = settings.model_copy(update={"clusters": {"far": Cluster(name="far")}})
    names = [end.name for end in read_evidence(here, database, job)]
    assert set(names[:2]) == {"queue.err", "queue.out"}
    assert set(names[2:]) == {"gpaw.txt", "OUTCAR"}


def far(**fields):
    content = {"name": "far", "host": "127.0.0.1", "scratch": "/tmp", "python": "python3"}  # noqa: S108
    return {"clusters": {"far": Cluster.model_validate(content | fields)}}


def test_a_cluster_that_is_not_reached_or_not_known_is_told(database, settings, key, tmp_path):
    job = in_slurm(database, key, tmp_path / "pilot")
    nowhere = ["-F", "/dev/null", "-p", "1", "-o", "BatchMode=yes"]
    ends = read_evidence(settings.model_copy(update=far(ssh_options=nowhere, timeout=5)), database, job)
    assert {end.folder for end in ends} == {str(tmp_path / "pilot"), str(tmp_path / "pilot" / "run")}
    assert all("cluster 'far'" in end.problem and not end.text for end in ends)
    assert "cluster 'far' is not in the settings of this machine" in read_evidence(settings, database, job)[0].problem


def test_a_cluster_is_asked_over_ssh_with_two_commands_and_gives_the_same(database, settings, key, monkeypatch):
    if reason := missing_for(PACKAGES):
        pytest.skip(f"sshd {reason}")
    with tempfile.TemporaryDirectory(prefix="hts-") as folder:
        monkeypatch.setenv("HTS_HOME", folder)  # a short path, for ssh's socket
        pilot = Path(folder) / "it's a pilot"
        fill(pilot / "run")
        (pilot / "queue.err").write_text("slurmstepd: error\n")
        (pilot / "run" / "a\nb.txt").write_text("text\n")
        job = in_slurm(database, key, pilot)
        database.mongo["launches"].update_one({"fw_id": job}, {"$set": {"launch_dir": str(pilot / "run")}})
        gone = new_allocation("/nowhere/pilot", cluster="far")
        server = LocalSshd(Path(tempfile.mkdtemp(prefix="hts-sshd-")))
        server.start()
        calls, real = [], Connection.run
        monkeypatch.setattr(Connection, "run", lambda self, *a, **k: calls.append(a) or real(self, *a, **k))
        there = settings.model_copy(update=far(ssh_options=server.options))
        try:
            ends = read_evidence(there, database, job)
            assert len(calls) == 2
            database.allocations.update_one({"job_id": "815"}, {"$set": {"folder": gone.folder}})
            missing = read_evidence(there, database, job)
        finally:
            Connection(there.clusters["far"]).close()
            server.stop()
            shutil.rmtree(server.folder)
    assert ends[0].name == "queue.err"
    assert {end.name: end.text.splitlines()[-1] for end in ends} == {
        "queue.err": "slurmstepd: error",
        "gpaw.txt": "iter: 99",
        "OUTCAR": "TOTEN = -1.0 eV",
    }
    assert {end.host for end in ends} == {"far"}
    assert [end.problem for end in missing if end.problem] == ["the folder is not there, or cannot be read"]
