from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from ranking_documents import synthetic

from hts_flows.errors import InputError
from hts_flows.figures.interactive import (
    figure_json,
    histogram,
    periodic_table,
    ranking_parity,
    ranking_predictions,
    ranking_progress,
    scatter,
    structure_view,
)
from hts_flows.flows import get_domain
from hts_flows.stores.ranking_queries import history
from hts_flows.stores.result_columns import columns_of

COLUMNS = columns_of(get_domain("intercalation"), {"host": "text", "intercalant": "text", "stage": "integer"})


def results(n):
    random = np.random.default_rng(0)
    symbols = random.choice(["Li", "Na", "Mg"], n)
    frame = pd.DataFrame(
        {
            "candidate_id": [f"intercalation-{number:012x}" for number in random.integers(16**12, size=n)],
            "label": [f"2H-MoS2 {symbol}(MoS2)8 stage 1" for symbol in symbols],
            "formula": [f"{symbol}(MoS2)8" for symbol in symbols],
            "intercalant": symbols,
            "host": random.choice(["graphite", "2H-MoS2"], n),
            "stage": pd.array(random.integers(1, 4, n), dtype="Int64"),
            "intercalation_energy": random.normal(size=n),
            "interlayer_distance": random.normal(6, 1, n),
        }
    )
    frame.loc[0, "intercalation_energy"] = np.nan
    return frame


@pytest.fixture(scope="module")
def search():
    made = synthetic()
    made.run(4, batch=2)
    made.rank(2)
    table, left_out = made.tables[-1]
    table = table.assign(rank=range(1, len(table) + 1), cause=None, why=None)
    return history(None, None, made.rankings, made.outcomes()), table, left_out, made.rankings[-1]


def drawings(search, theme):
    frame = results(50)
    trials, table, left_out, ranking = search
    rocksalt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0] * 3, [0.5] * 3])
    return {
        "elements": periodic_table(frame, "intercalation_energy", columns=COLUMNS, theme=theme),
        "count": periodic_table(frame, how="count", theme=theme),
        "numbers": scatter(frame, "interlayer_distance", "intercalation_energy", "stage", columns=COLUMNS, theme=theme),
        "categories": scatter(frame, "interlayer_distance", "intercalation_energy", "host", theme=theme),
        "histogram": histogram(frame, "intercalation_energy", columns=COLUMNS, theme=theme),
        "progress": ranking_progress(trials, ranking, theme=theme),
        "predictions": ranking_predictions(table, ranking, theme=theme),
        "parity": ranking_parity(left_out, ranking, theme=theme),
        "structure": structure_view(rocksalt, theme=theme),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_small_json_that_browsers_and_the_policy_accept(search, theme):
    for name, figure in drawings(search, theme).items():
        text = figure_json(figure)
        # Strict: Python's reader takes NaN and Infinity, browsers do not.
        content = json.loads(text, parse_constant=lambda word, name=name: pytest.fail(f"{name}: {word}"))
        assert set(content) == {"data", "layout"}, name
        assert len(text) < 200_000, name
        # Bold text and heat maps write style attributes, which a strict Content-Security-Policy refuses.
        assert not re.search(r"<(b|i|a|sub|sup|span)\b", text), name
        assert not {"heatmap", "scattergl"} & {trace["type"] for trace in content["data"]}, name


def test_elements_have_the_best_mean_and_number_of_their_candidates():
    frame = results(200)
    groups = frame.groupby("intercalant")["intercalation_energy"]
    for how, minimize, expected in (
        ("best", True, groups.min()),
        ("best", False, groups.max()),
        ("mean", True, groups.mean()),
    ):
        figure = periodic_table(frame, "intercalation_energy", how, minimize=minimize, columns=COLUMNS)
        cells = figure.data[1]
        assert set(cells.customdata) == {"Li", "Na", "Mg"}
        for symbol, text in zip(cells.customdata, cells.hovertext, strict=True):
            assert f"{expected[symbol]:.2f}".replace("-", "−") in text
    assert figure.layout.coloraxis.colorbar.title.text == "Mean intercalation energy (eV/M)"
    counts = periodic_table(frame.drop(columns="intercalant"), how="count")
    texts = dict(zip(counts.data[1].customdata, counts.data[1].hovertext, strict=True))
    assert "200 candidates" in texts["Mo"]
    assert f"{(frame['intercalant'] == 'Li').sum()} candidates" in texts["Li"]
    assert periodic_table(frame.head(0), "intercalation_energy").layout.coloraxis.cmin == 0


def test_points_link_to_their_candidates_and_many_are_thinned():
    frame = results(6000)
    figure = scatter(frame, "interlayer_distance", "intercalation_energy", "host", columns=COLUMNS)
    assert figure.layout.title.text == "5,000 of 5,999 points drawn; 1 without a value left out"
    assert len(figure_json(figure)) < 300_000
    by_id = frame.set_index("candidate_id")
    prefix = figure.layout.meta["prefix"]
    assert prefix.startswith("intercalation-")
    assert {trace.name for trace in figure.data} == {"graphite", "2H-MoS2"}
    for trace in figure.data:
        for number in (0, -1):
            row = by_id.loc[prefix + trace.customdata[number]]
            assert row["host"] == trace.name
            assert trace.y[number] == pytest.approx(row["intercalation_energy"], rel=1e-4)
    drawn = np.concatenate([trace.y for trace in figure.data])
    assert drawn.max() == pytest.approx(frame["intercalation_energy"].max(), rel=1e-4)
    assert figure.layout.yaxis.title.text == "Intercalation energy (eV/M)"


def test_a_histogram_counts_every_value_once():
    frame = results(500)
    bars = histogram(frame, "intercalation_energy").data[0]
    assert sum(bars.y) == 499
    low, high = bars.customdata[0]
    assert bars.y[0] == ((frame["intercalation_energy"] >= low - 1e-3) & (frame["intercalation_energy"] < high)).sum()


def test_progress_shows_predictions_values_and_the_best(search):
    trials, table, _, ranking = search
    traces = {trace.name: trace for trace in ranking_progress(trials, ranking).data}
    assert len(traces["computed"].x) == (trials["status"] == "verified").sum()
    assert len(traces["predicted ± sd"].x) == trials["mean"].notna().sum()
    assert traces["best so far"].y[-1] == pytest.approx(trials["best"].min(), rel=1e-5)
    scores = [trace for trace in ranking_predictions(table, ranking).data if trace.legendgroup]
    assert sum(len(trace.x) for trace in scores) == table["z_score"].notna().sum()


def test_layers_stay_whole_and_bonds_join_neighbours():
    # One MoS2-like layer, cut by the face of its cell.
    lattice = Lattice.hexagonal(3.16, 8.0)
    layer = Structure(lattice, ["Mo", "S", "S"], [[1 / 3, 2 / 3, 0.0], [2 / 3, 1 / 3, 0.195], [2 / 3, 1 / 3, 0.805]])
    figure = structure_view(layer)
    heights = np.concatenate([np.asarray(trace.z) for trace in figure.data if trace.type == "mesh3d"])
    assert heights.max() - heights.min() < 4.5
    bonds = [trace for trace in figure.data if trace.type == "scatter3d" and trace.legendgroup]
    for trace in bonds:
        points = np.array([trace.x, trace.y, trace.z], dtype=float).T
        halves = np.linalg.norm(points[0::3] - points[1::3], axis=1)
        assert np.allclose(2 * halves, 2.40, atol=0.05)
    assert {trace.legendgroup for trace in bonds} == {"Mo", "S"}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda frame: scatter(frame, "interlayer_distence", "stage"), "did you mean 'interlayer_distance'"),
        (lambda frame: scatter(frame, "stage", "stage", "hots"), "did you mean 'host'"),
        (lambda frame: histogram(frame, "host"), "holds no numbers"),
        (lambda frame: histogram(frame, "stage", theme="drak"), "did you mean 'dark'"),
        (lambda frame: periodic_table(frame, "stage", "bets"), "did you mean 'best'"),
        (lambda _: structure_view(Structure(Lattice.cubic(3), [{"Na": 0.5, "K": 0.5}], [[0] * 3])), "mixed occupation"),
    ],
)
def test_what_cannot_be_drawn_is_explained(draw, message):
    with pytest.raises(InputError, match=message):
        draw(results(5))


def test_candidates_that_nobody_asked_for_lead_nowhere(search):
    _, table, _, ranking = search
    traces = {trace.name: trace for trace in ranking_predictions(table, ranking).data}
    assert set(traces["not asked"].customdata) == {""}
    assert "" not in set(traces["verified"].customdata)
