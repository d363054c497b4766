"""Small problems with a known answer, and the published compounds where they are at hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hts_flows.screening import Screener

#: Reference data that is not part of this repository; it lies beside a clone that has it.
DATA = Path(__file__).parents[3] / "shared" / "data"
#: The recipe of the published search: ln κ, ℓ² = 200, noise 0.1.
PUBLISHED = {"length_scale": 200**0.5, "noise": 0.1, "transform": "log"}


def valley(n, seed=0, width=3):
    """Points in a unit cube and a smooth positive function of them."""
    x = np.random.default_rng(seed).uniform(size=(n, width))
    return x, 0.1 + ((x - 0.4) ** 2).sum(axis=1)


def trials(screener, values, target, fails=(), limit=10_000):
    """Number of evaluations until the target was observed."""
    count = 0
    while target not in screener.observed:
        (one,) = screener.ask(1)
        count += 1
        assert count <= limit
        screener.tell([], [], failed=[one]) if one in fails else screener.tell([one], [values[one]])
    return count


def told(x, y, ids, *, failed=(), **options):
    """A screener that knows some values."""
    screener = Screener(x, **options)
    screener.tell(ids, y[ids], failed=failed)
    return screener


class Compounds:
    """101 compounds AB with first-principles conductivity: rocksalt AgBr and AgCl are left out, as published."""

    def __init__(self, without=()):
        path = DATA / "ltc_phonondb_pbe_103.csv"
        if not path.exists():
            pytest.skip("no reference data: ltc_phonondb_pbe_103.csv is not beside this clone")
        table = pd.read_csv(path)
        left_out = (table["prototype"] == "rocksalt") & table["formula"].isin(["AgBr", "AgCl"])
        table = table[~left_out & ~table["formula"].isin(without)].reset_index(drop=True)
        self.table = table
        self.kappa = table["kappa300_NAC_W_mK"].to_numpy()
        self.cell = table[["volume_per_atom_A3", "density_g_cm3"]].to_numpy()
        pairs = table["formula"].str.findall("[A-Z][a-z]?")
        self.elements = sorted({element for pair in pairs for element in pair})
        self.flags = np.array([[float(element in pair) for element in self.elements] for pair in pairs])

    def descriptors(self, *, elements):
        return np.hstack([self.cell, self.flags]) if elements else self.cell

    def index(self, formula, prototype="rocksalt"):
        table = self.table
        (found,) = table.index[(table["formula"] == formula) & (table["prototype"] == prototype)]
        return int(found)

    def mean_trials(self, target, seeds, *, elements, failing=0.0, **options):
        """Mean number of evaluations until the target is observed, where some share of the others fail."""
        x = self.descriptors(elements=elements)
        counts = []
        for seed in seeds:
            # PbSe is the table's first row: in this order equal scores would find it.
            order = np.random.default_rng([seed, 1]).permutation(len(x))
            place = int(np.flatnonzero(order == target)[0])
            lost = np.random.default_rng([seed, 2]).choice(len(x), round(failing * len(x)), replace=False)
            fails = set(lost.tolist()) - {place}
            counts.append(trials(Screener(x[order], seed=seed, **options), self.kappa[order], place, fails))
        return np.mean(counts)
