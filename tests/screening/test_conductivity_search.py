"""The search of Seko et al., Phys. Rev. Lett. 115, 205901 (2015), on a table of computed conductivities."""

import numpy as np
import pandas as pd
import pytest
from problems import DATA, PUBLISHED, Compounds
from pymatgen.core import Composition

from hts_flows.screening import Screener

SEEDS = range(100)
#: g/cm³ of one u/Å³.
DENSITY = 1.66053907


@pytest.mark.parametrize(
    ("elements", "options", "limit"),
    [(False, PUBLISHED, 10), (True, PUBLISHED, 18), (False, {}, 12), (True, {}, 19)],
)
def test_lead_selenide_is_found(elements, options, limit):
    # Published: 11 without and 19 with element flags, against about 50 at random. Means over 1,000 seeds are 8.9, 17.0,
    # 10.6 and 17.5 here.
    compounds = Compounds()
    assert compounds.mean_trials(compounds.index("PbSe"), SEEDS, elements=elements, **options) <= limit


@pytest.mark.parametrize(
    ("elements", "options", "limit"), [(False, PUBLISHED, 64), (True, PUBLISHED, 18), (True, {}, 20)]
)
def test_lithium_iodide_is_found_without_its_rivals(elements, options, limit):
    # Published: 65 without and 19 with element flags, PbSe and PbTe removed. Means over 1,000 seeds are 63.8 ± 0.4,
    # 17.4 and 17.7 here. Without flags nearly every search takes 66 ± 1 trials, unless LiI is among the five random
    # starts. How often this happens decides the mean: 63.1 is expected, 100 seeds scatter by 1.3.
    compounds = Compounds(without=("PbSe", "PbTe"))
    assert compounds.mean_trials(compounds.index("LiI"), SEEDS, elements=elements, **options) <= limit


def test_search_is_that_of_the_published_method_step_by_step():
    # The method in a dozen lines, without the package: where it goes, the screener goes.
    compounds = Compounds()
    x, y = compounds.descriptors(elements=True), np.log(compounds.kappa)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    correlation = np.exp(-((scaled[:, None] - scaled) ** 2).sum(axis=-1) / (2 * 200))
    for seed in range(5):
        screener = Screener(x, seed=seed, **PUBLISHED)
        known = screener.ask(5)
        screener.tell(known, compounds.kappa[known])
        for _ in range(20):
            values = (y[known] - y[known].mean()) / y[known].std()
            cross = correlation[:, known]
            inverse = np.linalg.inv(cross[known] + 0.1 * np.eye(len(known)))
            deviation = np.sqrt(1 - np.einsum("ij,jk,ik->i", cross, inverse, cross))
            z_score = (values.min() - cross @ inverse @ values) / deviation
            z_score[known] = -np.inf
            (one,) = screener.ask(1)
            assert one == z_score.argmax()
            screener.tell([one], [compounds.kappa[one]])
            known = [*known, one]


def test_lead_selenide_is_found_though_a_fifth_fails():
    # 17.7 trials where nothing fails, 22.1 here. Where failures are chance, the caution about their neighbours costs 4:
    # what it is for, test_region_that_fails_throughout_is_left shows.
    compounds = Compounds()
    assert compounds.mean_trials(compounds.index("PbSe"), SEEDS, elements=True, failing=0.2) <= 24


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
