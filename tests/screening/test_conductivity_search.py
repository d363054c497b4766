"""The search of Seko et al., Phys. Rev. Lett. 115, 205901 (2015), on a table of computed conductivities."""

import numpy as np
import pandas as pd
import pytest
from problems import DATA, PUBLISHED, Compounds, trials
from pymatgen.core import Composition

from hts_flows.screening import Screener

SEEDS = range(12)
#: g/cm³ of one u/Å³.
DENSITY = 1.66053907


@pytest.mark.parametrize(
    ("elements", "options", "limit"),
    [(False, PUBLISHED, 10), (True, PUBLISHED, 20), (False, {}, 12.5), (True, {}, 21)],
)
def test_lead_selenide_is_found(elements, options, limit):
    # Published: 11 without and 19 with element flags, against about 50 at random; over 100 seeds it is 8.9, 17.4, 10.8
    # and 17.7 here (benchmarks/screening.py); a dozen seeds scatter by 2.
    compounds = Compounds()
    assert compounds.mean_trials(compounds.index("PbSe"), SEEDS, elements=elements, **options) < limit


@pytest.mark.parametrize("options", [PUBLISHED, {}])
def test_lithium_iodide_is_found_without_its_rivals(options):
    # Published: 65 without and 19 with element flags, PbSe and PbTe removed.
    compounds = Compounds(without=("PbSe", "PbTe"))
    assert compounds.mean_trials(compounds.index("LiI"), SEEDS, elements=True, **options) < 20


def test_lead_selenide_is_found_though_a_fifth_fails():
    compounds = Compounds()
    x, target = compounds.descriptors(elements=True), compounds.index("PbSe")
    counts = []
    for seed in SEEDS:
        fails = set(np.random.default_rng(seed).choice(len(x), 20, replace=False).tolist()) - {target}
        counts.append(trials(Screener(x, seed=seed), compounds.kappa, target, fails))
    assert np.mean(counts) < 30


def test_published_compounds_lead_the_pool():
    compounds = Compounds()
    pool = pd.concat([pd.read_csv(DATA / f"oqmd_vpa_{part}.csv") for part in ("val", "test")]).drop_duplicates(
        "formula"
    )
    published = {Composition(formula).reduced_formula for formula in ("PbIBr", "PbICl", "PbRb4Br6")}
    elements = set(compounds.elements)
    compositions = [Composition(formula) for formula in pool["formula"]]
    inside = np.array([{element.symbol for element in one} <= elements for one in compositions])
    compositions = [one for one, kept in zip(compositions, inside, strict=True) if kept]
    volume = pool["target"].to_numpy()[inside]
    density = np.array([one.weight / one.num_atoms for one in compositions]) * DENSITY / volume
    flags = np.array([[float(element in one) for element in compounds.elements] for one in compositions])
    x = np.vstack([compounds.descriptors(elements=True), np.column_stack([volume, density, flags])])
    known = range(len(compounds.kappa))
    screener = Screener(x, standardise_on=known, **PUBLISHED)
    screener.tell(known, compounds.kappa)
    first = screener.rank(5, statuses=["not asked"])
    assert published <= {compositions[one - len(known)].reduced_formula for one in first.index}
    assert (first["z_score"] > 0).all()
