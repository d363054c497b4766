import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from problems import told, valley
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from hts_flows.errors import InputError
from hts_flows.screening import Screener
from hts_flows.screening.sources import CHUNK_ROWS

NAMES = ["volume", "density", "gap"]


def _write(path, x, **options):
    table = pa.table({name: x[:, column] for column, name in enumerate(NAMES)} | {"formula": ["X"] * len(x)})
    pq.write_table(table, path, **options)


def test_parquet_and_array_give_the_same(tmp_path):
    x, y = valley(2 * CHUNK_ROWS + 100)
    (tmp_path / "pool").mkdir()
    _write(tmp_path / "pool" / "b.parquet", x[50_000:], row_group_size=20_000)
    _write(tmp_path / "pool" / "a.parquet", x[:50_000])
    ids = [3, 49_999, 50_000, 131_000, 77_777, 9]
    memory = told(x, y, ids)
    for source in (tmp_path / "pool", ds.dataset(tmp_path / "pool", format="parquet")):
        files = told(source, y, ids, columns=NAMES)
        files.tell([], [], failed=[100_000])
        memory.tell([], [], failed=[100_000])
        one, other = memory.rank(50), files.rank(50)
        np.testing.assert_allclose(other["z_score"], one["z_score"], rtol=1e-9)
        assert list(one.index) == list(other.index)
    assert Screener(tmp_path / "pool").describe()["descriptors"] == NAMES
    assert files.ask(3) == memory.ask(3)
    again = Screener.from_state(files.state_dict(), tmp_path / "pool", columns=NAMES)
    assert again.ask(3) == memory.ask(3)


RANKING = """
import sys
from pathlib import Path
from hts_flows.screening import Screener
screener = Screener(sys.argv[1])
print(screener.ask(3), file=sys.stderr)
screener.tell(range(5), range(5))
screener.rank(5)
print(screener.ask(2), file=sys.stderr)
screener.leave_one_out()
screener.describe()
screener.state_dict()
# Not ru_maxrss: a process that another one starts begins with the peak of that one.
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read from /proc")
def test_files_are_not_held_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    peaks = []
    for n in (300_000, 6_300_000):
        path = tmp_path / f"{n}.parquet"
        table = pa.table({str(i): rng.normal(size=n) for i in range(4)})
        # A single row group: the reader must not take it as a whole.
        pq.write_table(table, path, row_group_size=n, use_dictionary=False)
        done = subprocess.run([sys.executable, "-c", RANKING, str(path)], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * 1024)
        path.unlink()
    # 192 MB of descriptors more; a single number for each candidate would be 48 MB.
    assert peaks[1] - peaks[0] < 32e6


def test_ranking_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40_000, 40))
    y = np.sin(x[:, :5]).sum(axis=1)
    screener = told(x, y, list(range(300)), length_scale=5.0, noise=0.05, transform="none", signal_variance=1.0)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    values = (y[:300] - y[:300].mean()) / y[:300].std()
    peer = GaussianProcessRegressor(RBF(5.0), alpha=0.05, optimizer=None).fit(scaled[:300], values)
    mean, deviation = peer.predict(scaled, return_std=True)
    table = screener.rank().sort_index()
    assert screener.prediction_method == "low rank"
    assert spearmanr(table["z_score"], (values.min() - mean) / deviation).statistic > 0.999


def test_shortlist_is_as_good_as_the_whole_pool():
    # More near-duplicates of the best than a shortlist holds.
    rng = np.random.default_rng(2)
    x = np.vstack([rng.uniform(size=(50, 2)), 0.4 + rng.normal(scale=1e-6, size=(4000, 2))])
    y = ((x - 0.4) ** 2).sum(axis=1)
    batch = told(x, y, list(range(10))).ask(4)
    assert sum(one >= 50 for one in batch) <= 1


def test_missing_numbers_and_names(tmp_path):
    path = tmp_path / "pool.parquet"
    pq.write_table(pa.table({"volume": [1.0, None, 3.0], "formula": ["A", "B", "C"]}), path)
    with pytest.raises(InputError, match="'volume' of candidate 1 is nan"):
        Screener(path)
    with pytest.raises(InputError, match="did you mean 'volume'"):
        Screener(path, columns=["volum"])
    with pytest.raises(InputError, match="'formula' is not a column of numbers"):
        Screener(path, columns=["formula"])
    with pytest.raises(InputError, match="no parquet file"):
        Screener(tmp_path / "pol.parquet")
