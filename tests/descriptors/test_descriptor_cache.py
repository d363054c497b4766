import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from crystals import FAMILIES, fluorite, lead_selenide, wurtzite

from hts_flows.descriptors import Entry, describe_entries, local_order, structural
from hts_flows.descriptors.cache import MOST_FILES, DescriptorCache
from hts_flows.errors import InputError
from hts_flows.pools.cells import structure_to_text


def _shifted(file):
    """Change the numbers of a cache file, so that one can see where numbers came from."""
    table = pq.read_table(file)
    values = table.column("values").combine_chunks()
    moved = pa.FixedSizeListArray.from_arrays(pa.array(values.flatten().to_numpy() + 1), values.type.list_size)
    pq.write_table(table.set_column(1, "values", moved), file)


@pytest.mark.parametrize("family", FAMILIES)
def test_second_call_reads_what_the_first_stored(family, tmp_path):
    entries = [Entry("PbSe", structure_to_text(lead_selenide())), Entry("CaF2", fluorite())]
    plain = describe_entries(entries, [family]).values
    first = describe_entries(entries, [family], cache=tmp_path).values
    assert first.tobytes() == plain.tobytes()
    assert describe_entries(entries, [family], cache=tmp_path).values.tobytes() == plain.tobytes()
    (file,) = tmp_path.glob("*/*.parquet")
    _shifted(file)
    np.testing.assert_array_equal(describe_entries(entries, [family], cache=tmp_path).values, plain + 1)


def test_a_key_finds_what_is_stored_without_building_the_structure(tmp_path):
    def never():
        raise InputError("built")

    stored = describe_entries([Entry("PbSe", lead_selenide, key="one")], ["local_order"], cache=tmp_path)
    again = describe_entries([Entry("PbSe", never, key="one")], ["local_order"], cache=tmp_path)
    assert again.values.tobytes() == stored.values.tobytes()
    with pytest.raises(InputError, match="built"):
        describe_entries([Entry("PbSe", never, key="another")], ["local_order"], cache=tmp_path)


def test_other_options_do_not_read_what_is_stored(tmp_path, monkeypatch):
    entries = [Entry("PbSe", lead_selenide())]
    stored = describe_entries(entries, ["local_order"], cache=tmp_path).values
    _shifted(next(tmp_path.glob("*/*.parquet")))
    monkeypatch.setattr(local_order, "VERSION", local_order.VERSION + 1)
    assert describe_entries(entries, ["local_order"], cache=tmp_path).values.tobytes() == stored.tobytes()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "bit", "text"])
def test_damaged_file_is_computed_again(damage, tmp_path):
    entries = [Entry("PbSe", lead_selenide()), Entry("ZnO", wurtzite())]
    whole = describe_entries(entries, ["local_order"], cache=tmp_path).values
    (file,) = tmp_path.glob("*/*.parquet")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "bit":
        content[pq.read_metadata(file).row_group(0).column(1).data_page_offset + 60] ^= 1
    else:
        content = b"key,values"
    file.write_bytes(content)
    assert describe_entries(entries, ["local_order"], cache=tmp_path).values.tobytes() == whole.tobytes()
    assert describe_entries(entries, ["local_order"], cache=tmp_path).values.tobytes() == whole.tobytes()
    assert pq.read_table(file).num_rows == 2


def test_what_is_computed_is_stored_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(structural, "FLUSH_EVERY", 1)
    describe_entries([Entry("PbSe", lead_selenide()), Entry("ZnO", wurtzite())], ["local_order"], cache=tmp_path)
    assert len(list(tmp_path.glob("*/*.parquet"))) == 2


def test_many_small_files_become_one(tmp_path):
    cache = DescriptorCache(tmp_path, "family", {}, 3)
    vectors = {f"key{number}": np.arange(3.0) + number for number in range(2 * MOST_FILES)}
    for key, vector in vectors.items():
        cache.write({key: vector})
        assert len(list(cache.folder.iterdir())) <= MOST_FILES
    found = cache.read(vectors)
    assert {key: vector.tolist() for key, vector in found.items()} == {
        key: vector.tolist() for key, vector in vectors.items()
    }
    assert set(cache.read(["key3", "other"])) == {"key3"}


def test_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be stored in .*file"):
        describe_entries([Entry("PbSe", lead_selenide())], ["volume_per_atom"], cache=tmp_path / "file")


WRITER = """
import sys
from pathlib import Path
import numpy as np
from hts_flows.descriptors.cache import DescriptorCache
cache = DescriptorCache(Path(sys.argv[1]), "family", {}, 4)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    cache.write({f"key{number}": np.full(4, float(number))})
    found = cache.read([f"key{one}" for one in range(number + 1)])
    assert all((vector == float(key[3:])).all() for key, vector in found.items())
"""


def test_two_processes_may_write_at_once(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for limits in (("0", "45"), ("35", "80"))
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    cache = DescriptorCache(tmp_path, "family", {}, 4)
    found = cache.read([f"key{number}" for number in range(80)])
    assert {key: vector.tolist() for key, vector in found.items()} == {
        f"key{number}": [float(number)] * 4 for number in range(80)
    }
    assert not list(cache.folder.glob(".*"))
