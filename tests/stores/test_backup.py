from __future__ import annotations

import random

import pytest

from hts_flows.errors import InputError
from hts_flows.stores.backup import read_backup, write_backup


def test_a_backup_put_back_holds_the_same_documents(database, tmp_path):
    documents = [{"_id": f"r{number}", "x": number, "big": "y" * 1000} for number in range(1200)]
    database.results.insert_many(documents)
    file = tmp_path / "folder" / "backup.tar.gz"
    count = write_backup(database, file)
    assert count == 1200 + 1  # and the counter FireWorks takes its ids from
    database.results.delete_many({"x": {"$gte": 600}})
    database.results.update_one({"_id": "r1"}, {"$set": {"x": -1}})
    with pytest.raises(InputError, match="not empty"):
        read_backup(database, file)
    assert read_backup(database, file, replace=True) == count
    assert list(database.results.find({}).sort("x", 1)) == documents
    assert database.mongo["fw_id_assigner"].count_documents({}) == 1


@pytest.mark.parametrize("content", [b"", b"not a backup"])
def test_a_file_that_is_no_backup_changes_nothing(database, tmp_path, content):
    database.results.insert_one({"_id": "kept"})
    file = tmp_path / "other.tar.gz"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.tar\.gz"):
        read_backup(database, file, replace=True)
    assert database.results.count_documents({}) == 1


def test_a_backup_that_is_damaged_in_the_middle_is_refused_before_anything_is_dropped(database, tmp_path):
    database.results.insert_many(
        [{"_id": number, "text": random.Random(number).randbytes(200)} for number in range(500)]
    )
    file = tmp_path / "backup.tar.gz"
    write_backup(database, file)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(byte ^ 0xFF for byte in content[middle : middle + 40])
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"backup\.tar\.gz"):
        read_backup(database, file, replace=True)
    assert database.results.count_documents({}) == 500


def test_an_unwritable_place_is_named(database, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_backup(database, tmp_path / "file" / "backup.tar.gz")
