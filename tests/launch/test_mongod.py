from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from hts_flows.errors import StoreUnavailableError
from hts_flows.launch.mongod import PrivateMongod
from hts_flows.settings import Settings


@pytest.fixture
def own(tmp_path):
    """A private MongoDB that this test alone uses."""
    server = PrivateMongod(Settings(home=tmp_path))
    yield server
    server.stop()


def test_it_asks_for_a_password_and_listens_on_loopback_only(own):
    uri = own.uri()
    port = own.status().port
    with MongoClient(uri) as client:
        client.proof.things.insert_one({"x": 1})
    with MongoClient("127.0.0.1", port) as stranger, pytest.raises(OperationFailure, match="requires authentication"):
        stranger.proof.things.find_one()
    listening = {c.laddr.ip for c in psutil.Process(own.status().pid).net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    assert stat.S_IMODE(own.credentials_file.stat().st_mode) == 0o600
    assert json.loads(own.credentials_file.read_text())["password"] not in " ".join(
        psutil.Process(own.status().pid).cmdline()
    )
    assert "journal=true" in uri


def test_the_next_command_finds_it_again_and_data_outlive_a_restart(own):
    with MongoClient(own.uri()) as client:
        client.proof.things.insert_one({"x": 41})
    pid = own.status().pid
    assert PrivateMongod(own.settings).uri() == own.uri()
    assert own.status().pid == pid
    assert own.stop()
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not own.status().running
    assert not own.stop()
    with MongoClient(own.uri()) as client:
        assert client.proof.things.find_one()["x"] == 41


def test_acknowledged_writes_survive_kill_9(own):
    with MongoClient(own.uri()) as client:
        for number in range(50):
            client.proof.things.insert_one({"x": number})
        psutil.Process(own.status().pid).kill()
    with MongoClient(own.uri()) as client:
        assert client.proof.things.count_documents({}) == 50


def test_a_start_that_was_cut_short_before_there_was_a_user_is_finished_by_the_next_command(own):
    with own._lock():
        own._start()
    uri = PrivateMongod(own.settings).uri()
    with MongoClient(uri) as client:
        assert client.proof.things.insert_one({"x": 1}).acknowledged


def test_many_first_callers_start_one(own):
    with ThreadPoolExecutor(8) as pool:
        uris = set(pool.map(lambda _: PrivateMongod(own.settings).uri(), range(8)))
    assert len(uris) == 1
    running = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(own.data) in (process.info["cmdline"] or []) and process.status() != psutil.STATUS_ZOMBIE
    ]
    assert running == [own.status().pid]


def test_a_taken_port_is_replaced(own):
    own.uri()
    port = own.status().port
    own.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        own.uri()
        assert own.status().port != port


def test_a_reused_pid_is_not_taken_for_mongod(own):
    own.folder.mkdir(parents=True)
    own.pid_file.write_text(str(os.getpid()))
    assert not own.status().running
    assert not own.stop()


def test_a_broken_data_folder_is_explained(own):
    own.data.mkdir(parents=True)
    (own.data / "storage.bson").write_text("not a database")
    with pytest.raises(StoreUnavailableError, match="did not start") as caught:
        own.uri()
    assert str(own.log) in caught.value.hint


def test_a_missing_program_says_how_to_get_one(tmp_path):
    with pytest.raises(StoreUnavailableError, match="no such file") as caught:
        PrivateMongod(Settings(home=tmp_path, mongod=tmp_path / "nowhere")).uri()
    assert ".[local]" in caught.value.hint


def test_it_outlives_the_command_that_started_it(own):
    code = (
        "from pathlib import Path; from hts_flows.settings import Settings; "
        "from hts_flows.launch.mongod import PrivateMongod; "
        f"PrivateMongod(Settings(home=Path({str(own.settings.home)!r}))).uri()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert own.status().running
