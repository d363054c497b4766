from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from bson import ObjectId
from gridfs import GridFSBucket

from hts_flows.errors import InputError
from hts_flows.pools import PoolSource, frame_to_parquet, read_pool
from hts_flows.stores import connect
from hts_flows.stores.backup import read_backup, write_backup
from hts_flows.stores.pools import POOL_INDEXES, fetch_pool, pool_frame, pool_path, store_pool


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """A pool of more than one piece of GridFS (255 kB)."""
    folder = tmp_path_factory.mktemp("pool")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(5, 30, (2000, 30)), columns=[f"x{number}" for number in range(30)])
    table.assign(formula=["NaCl", "MgO"] * 1000).to_csv(folder / "pool.csv", index=False)
    return read_pool(PoolSource(file="pool.csv"), folder)


@pytest.fixture
def cold(settings, tmp_path):
    """With a cache of the test's own."""
    return settings.model_copy(update={"home": tmp_path / "home"})


@pytest.fixture
def small(frame):
    return frame.head(3)


def files(database):
    return database.mongo["pools.files"].count_documents({})


def pieces(database):
    return database.mongo["pools.chunks"].count_documents({})


def test_a_pool_comes_back_from_its_hash(database, cold, frame):
    sha256 = store_pool(database, frame)
    path = fetch_pool(database, sha256, cold)
    assert path == cold.home / "pools" / f"{sha256}.parquet" == pool_path(sha256, cold)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    pd.testing.assert_frame_equal(pool_frame(path), frame, check_exact=True)
    assert pool_frame(path)["structure"].tolist() == [None] * len(frame)
    assert pieces(database) > 1


def test_equal_pools_are_stored_once_and_others_beside_them(database, frame, small):
    again = frame.copy()
    again.attrs = {"pool": "of another name"}
    assert frame_to_parquet(frame) == frame_to_parquet(again)
    assert store_pool(database, frame) == store_pool(database, again)
    count = pieces(database)
    assert files(database) == 1
    assert store_pool(database, small) != store_pool(database, frame)
    assert (files(database), pieces(database)) == (2, count + 1)


def test_many_callers_at_once_leave_one_whole_pool(database, cold, settings, frame):
    with ThreadPoolExecutor(6) as threads:
        hashes = set(threads.map(lambda _: store_pool(connect(settings), frame), range(6)))
    (sha256,) = hashes
    assert files(database) == 1
    length = len(frame_to_parquet(frame))
    assert pieces(database) == -(-length // GridFSBucket(database.mongo, "pools")._chunk_size_bytes)
    assert len(pool_frame(fetch_pool(database, sha256, cold))) == len(frame)


def _killed(settings, frame):
    """Store a pool, and die after its pieces and before the document that names them."""
    from pymongo.collection import Collection

    # The pieces are inserted in groups (insert_many), the document by itself.
    Collection.insert_one = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    store_pool(connect(settings), frame)


def test_a_writer_that_is_killed_leaves_nothing_in_the_way(database, cold, settings, frame, small):
    process = multiprocessing.get_context("spawn").Process(target=_killed, args=(settings, frame))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert files(database) == 0
    assert pieces(database) > 1
    sha256 = store_pool(database, frame)
    assert len(pool_frame(fetch_pool(database, sha256, cold))) == len(frame)
    # Pieces of a young upload may belong to a writer that is alive; those of an old one are removed.
    young = pieces(database)
    old = ObjectId.from_datetime(datetime.now(UTC) - timedelta(days=2))
    database.mongo["pools.chunks"].insert_one({"files_id": old, "n": 0, "data": b"left behind"})
    store_pool(database, small)
    assert pieces(database) == young + 1


def test_a_pool_with_lost_pieces_is_noticed_and_stored_again(database, cold, frame):
    sha256 = store_pool(database, frame)
    database.mongo["pools.chunks"].delete_one({"n": 0})
    with pytest.raises(InputError, match="not whole"):
        fetch_pool(database, sha256, cold)
    assert store_pool(database, frame) == sha256
    assert fetch_pool(database, sha256, cold).exists()


def test_a_damaged_pool_is_never_given_out(database, cold, small):
    sha256 = store_pool(database, small)
    database.mongo["pools.chunks"].update_one(
        {}, [{"$set": {"data": {"$literal": b"x" * len(frame_to_parquet(small))}}}]
    )
    with pytest.raises(InputError, match="damaged"):
        fetch_pool(database, sha256, cold)
    assert not pool_path(sha256, cold).exists()


@pytest.mark.parametrize("damage", [b"", b"something else"])
def test_a_damaged_cache_is_fetched_again(database, cold, small, damage):
    sha256 = store_pool(database, small)
    path = fetch_pool(database, sha256, cold)
    good = path.read_bytes()
    path.write_bytes(damage)
    assert fetch_pool(database, sha256, cold).read_bytes() == good
    assert list(path.parent.glob("*.part")) == []


def test_an_unknown_pool_is_named(database, cold):
    with pytest.raises(InputError, match="no pool aaaaaaaaaaaa"):
        fetch_pool(database, "a" * 64, cold)
    with pytest.raises(InputError, match="no SHA-256"):
        fetch_pool(database, "../../etc/passwd", cold)


def test_a_backup_holds_the_pools(database, cold, frame, tmp_path):
    sha256 = store_pool(database, frame)
    write_backup(database, tmp_path / "backup.tar.gz")
    for name in ("pools.files", "pools.chunks"):
        database.mongo[name].drop()
    read_backup(database, tmp_path / "backup.tar.gz", replace=True)
    assert len(pool_frame(fetch_pool(database, sha256, cold))) == len(frame)
    assert store_pool(database, frame) == sha256
    assert files(database) == 1
    for name, indexes in POOL_INDEXES.items():
        there = database.mongo[name].index_information()
        assert {index.document["name"] for index in indexes} <= there.keys()


def test_a_file_that_is_no_pool_is_refused(tmp_path):
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="is no pool: without density"):
        pool_frame(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="cannot read the pool"):
        pool_frame(tmp_path / "missing.parquet")
