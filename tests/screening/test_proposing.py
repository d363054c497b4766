import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from hts_flows.screening.proposing import random_starts

SETTINGS = settings(max_examples=30, deadline=None)


@SETTINGS
@given(seed=st.integers(0, 10**6), size=st.integers(1, 300), length=st.integers(1, 300))
def test_random_starts_are_the_beginning_of_one_order(seed, size, length):
    none = np.array([], dtype=int)
    whole = random_starts(size, size, none, seed, ())
    assert sorted(whole) == list(range(size))
    assert random_starts(min(length, size), size, none, seed, ()) == whole[:length]
    taken = np.array(sorted(whole[: length // 2]), dtype=int)
    assert random_starts(size - len(taken), size, taken, seed, ()) == whole[len(taken) :]


def test_random_starts_are_spread_evenly():
    none = np.array([], dtype=int)
    counts = np.zeros((20, 3))
    for seed in range(4000):
        counts[random_starts(3, 20, none, seed, ()), np.arange(3)] += 1
    assert chisquare(counts).pvalue.min() > 0.001


def test_random_starts_from_a_huge_pool_take_no_memory():
    tracemalloc.start()
    chosen = random_starts(10, 10**12, np.arange(100), 0, [5, 10**11])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert chosen[0] == 10**11  # 5 is taken
    assert len(set(chosen) - set(range(100))) == 10
    assert peak < 1e6
