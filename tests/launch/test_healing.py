"""Jobs whose worker died are made ready again: once, however many look, and not for ever."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fireworks import FWorker
from jobflow.managers.fireworks import flow_to_workflow

from hts_flows.flows.evaluation import record
from hts_flows.launch import healing
from hts_flows.launch.healing import MAX_LOST, Healer
from hts_flows.launch.owner import is_gone, owner_name

GONE = f"{socket.gethostname()}:999999999:1.00"


@pytest.fixture
def queued(database):
    """A campaign with one job in the queue."""
    database.campaigns.insert_one({"_id": "small"})
    mark = {"result": "r", "campaigns": ["small"]}
    recording = record("r", None)
    recording.config.manager_config["hts"] = mark
    database.launchpad.add_wf(flow_to_workflow(recording, metadata=mark))
    return database


def take(database, worker):
    """Let a worker take the job and get no further."""
    return database.launchpad.checkout_fw(FWorker(name=worker), str(Path.cwd()))[1]


def job(database):
    return database.mongo["fireworks"].find_one({})


def test_owners_are_told_apart_from_the_dead_and_from_strangers():
    assert is_gone(owner_name()) is False
    assert is_gone(GONE) is True
    assert is_gone("elsewhere:1:1.00") is None
    assert is_gone("no owner at all") is None


def test_a_dead_workers_job_is_made_ready_once_however_many_healers_see_it(queued):
    take(queued, GONE)
    with ThreadPoolExecutor(8) as pool:
        healed = list(pool.map(lambda _: Healer(queued, "small").heal(), range(16)))
    assert sum(healed) == 1
    assert (job(queued)["state"], len(job(queued)["archived_launches"])) == ("READY", 1)
    assert job(queued)["spec"]["hts"]["lost"] == 1
    assert queued.leases.find_one({}) is None


@pytest.mark.parametrize("worker", ["this process", "another machine"])
def test_a_job_of_a_worker_that_may_live_is_left_alone(worker, queued):
    take(queued, owner_name() if worker == "this process" else "elsewhere:1:1.00")
    assert Healer(queued, "small").heal() == 0
    assert job(queued)["state"] == "RUNNING"


def test_a_job_that_takes_its_workers_with_it_fails_in_the_end(queued):
    healer = Healer(queued, "small")
    for _ in range(MAX_LOST):
        take(queued, GONE)
        assert healer.heal() == 1
    assert job(queued)["state"] == "FIZZLED"
    assert queued.mongo["workflows"].find_one({})["state"] == "FIZZLED"


def reserve(queued, taken, ago=timedelta(0)):
    changes = {"state": "RESERVED", "spec.hts.taken": taken, "updated_on": datetime.now(UTC) - ago}
    queued.mongo["fireworks"].update_one({}, {"$set": changes})


def test_a_job_whose_worker_died_before_it_began_is_made_ready_at_once(queued):
    reserve(queued, owner_name())
    assert Healer(queued, "small").heal() == 0
    reserve(queued, GONE)
    assert Healer(queued, "small").heal() == 1
    assert job(queued)["state"] == "READY"
    assert "lost" not in job(queued)["spec"]["hts"]


def test_a_job_that_another_machine_took_and_never_began_is_made_ready_after_a_while(queued):
    reserve(queued, "elsewhere:1:1.00", timedelta(minutes=5))
    assert Healer(queued, "small").heal() == 0
    reserve(queued, "elsewhere:1:1.00", timedelta(minutes=11))
    assert Healer(queued, "small").heal() == 1
    assert job(queued)["state"] == "READY"


def test_a_lock_is_broken_only_after_it_was_seen_for_long(queued, monkeypatch):
    queued.mongo["workflows"].update_one({}, {"$set": {"locked": True}})
    healer = Healer(queued, "small")
    assert healer.heal() == 0
    monkeypatch.setattr(healing, "STALE_LOCK_SECONDS", 0.0)
    assert healer.heal() == 1
    assert "locked" not in queued.mongo["workflows"].find_one({})


def test_a_healer_that_died_is_replaced(queued):
    take(queued, GONE)
    queued.campaigns.update_one({}, {"$set": {"healer": {"owner": GONE, "at": datetime.now(UTC)}}})
    assert Healer(queued, "small").heal() == 1
