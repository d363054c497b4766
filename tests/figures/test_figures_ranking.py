"""What figures of rankings draw, from the tables of real searches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from ranking_documents import Search, synthetic

from hts_flows.errors import InputError
from hts_flows.figures import save
from hts_flows.figures.labels import place_labels
from hts_flows.figures.ranking import (
    element_figure,
    parity_figure,
    progress_figure,
    ranking_figure,
    score_figure,
)
from hts_flows.figures.ranking_panels import element_scores
from hts_flows.figures.style import new_figure
from hts_flows.stores import ranking_queries
from hts_flows.stores.ranking_queries import current_table, history


@pytest.fixture
def tables(monkeypatch):
    """Tables of a search that is not in a database: scores, history, leave-one-out predictions, document."""

    def give(search: Search):
        monkeypatch.setattr(ranking_queries, "ranking_tables", lambda _, one: search.tables[one.number])
        last, known = search.rankings[-1], search.outcomes()
        table = current_table(None, None, last, search.rankings, known)
        return table, history(None, None, search.rankings, known), search.tables[-1][1], last

    return give


def searched(rounds=3, batch=2, asked=3, **more):
    search = synthetic(**more)
    search.run(rounds, batch)
    search.rank(asked)
    return search


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def points(axes, colour):
    """Places of the points of a colour in scatter plots."""
    found = [one.get_offsets() for one in axes.collections if len(one.get_offsets()) and has_colour(one, colour)]
    return np.concatenate([np.asarray(one) for one in found]) if found else np.empty((0, 2))


def has_colour(collection, colour):
    faces = collection.get_facecolor()
    return len(faces) > 0 and to_hex(faces[0]) == colour.lower()


def overlaps(figure):
    """Pairs of texts of the figure that overlap when drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.findobj(lambda one: hasattr(one, "get_xticklabels")):
        texts += [tick.label1 for axis in (axes.xaxis, axes.yaxis) for tick in axis._update_ticks()]
        texts += axes.texts
        texts += [axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]
    texts = list({id(text): text for text in texts if text.get_text().strip() and text.get_visible()}.values())
    # That of an annotation would hold its line too.
    boxes = [(text.get_text(), Text.get_window_extent(text, canvas.get_renderer())) for text in texts]
    inside = figure.bbox
    assert all(inside.contains(*corner) for _, box in boxes for corner in (box.min, box.max) if box.width)
    return [
        (one, other)
        for number, (one, box) in enumerate(boxes)
        for other, next_box in boxes[number + 1 :]
        if box.overlaps(next_box)
    ]


def test_every_candidate_is_a_point_with_the_mark_of_its_status(tables):
    search = searched(failing=12)
    table, *_, ranking = tables(search)
    figure = score_figure(table, ranking)
    (axes,) = figure.axes
    assert legend_texts(figure)[:4] == ["not asked", "queued", "verified", "failed"]
    states = table["status"].value_counts()
    for state, colour in (
        ("not asked", "#A0A0A0"),
        ("queued", "#E69F00"),
        ("verified", "#0072B2"),
        ("failed", "#000000"),
    ):
        assert len(points(axes, colour)) == states[state], state
    queued = table[table["status"] == "queued"]
    drawn = points(axes, "#E69F00")
    assert sorted(drawn[:, 0]) == pytest.approx(sorted(queued["x_volume_per_atom"]))
    assert sorted(drawn[:, 1]) == pytest.approx(sorted(queued["z_score"]))
    assert axes.get_xlabel() == "Volume per atom (Å³)"
    assert axes.get_ylabel() == "Z-score, (best − mean) / std. dev."


def test_those_asked_for_are_named_beside_their_points(tables):
    search = searched()
    table, *_, ranking = tables(search)
    (axes,) = score_figure(table, ranking).axes
    rows = table.set_index("label")
    assert {text.get_text() for text in axes.texts} == {choice.label for choice in ranking.asked}
    for text in axes.texts:
        row = rows.loc[text.get_text()]
        assert text.xy == pytest.approx((row["x_volume_per_atom"], row["z_score"]))


def test_another_descriptor_can_be_chosen_and_an_unknown_one_is_explained(tables):
    table, *_, ranking = tables(searched())
    assert score_figure(table, ranking, descriptor="density").axes[0].get_xlabel() == "Density (g/cm³)"
    with pytest.raises(InputError, match="did you mean 'density'"):
        score_figure(table, ranking, descriptor="densty")
    plain = table.drop(columns=["x_volume_per_atom", "x_density"])
    assert score_figure(plain, ranking).axes[0].get_xlabel() == "Predicted thermal conductivity (W/(m K))"


def test_scores_of_known_candidates_far_below_are_marked_at_the_edge(tables):
    table, *_, ranking = tables(searched())
    known = table.index[table["status"] == "verified"][:2]
    table.loc[known, "z_score"] = -5000.0
    figure = score_figure(table, ranking)
    (axes,) = figure.axes
    assert axes.get_ylim()[0] > -100
    assert "below the axis" in legend_texts(figure)
    assert len(points(axes, "#0072B2")) == (table["status"] == "verified").sum()


def test_thousands_of_candidates_are_a_density_and_the_marked_ones_stay(tables, tmp_path):
    table, *rest, ranking = tables(searched(n=4000, rounds=2))
    (axes,) = score_figure(table, ranking).axes
    density = [one for one in axes.collections if one.get_rasterized()]
    assert density
    assert len(points(axes, "#E69F00")) == 3
    assert len(points(axes, "#A0A0A0")) == 0
    saved = save(ranking_figure(table, *rest, ranking), tmp_path / "many.pdf")
    assert saved.stat().st_size < 500_000


def test_progress_has_every_value_the_best_line_and_the_training_shaded(tables):
    search = searched(failing=12)
    _, trials, _, ranking = tables(search)
    figure = progress_figure(trials, ranking)
    (axes,) = figure.axes
    verified = trials[trials["status"] == "verified"]
    np.testing.assert_allclose(points(axes, "#0072B2"), verified[["trial", "value"]].to_numpy(dtype=float))
    failed = trials.loc[trials["status"] == "failed", "trial"]
    assert list(points(axes, "#000000")[:, 0]) == list(failed)
    line = next(one for one in axes.lines if to_hex(one.get_color()) == "#d55e00")
    assert line.get_ydata()[-1] == np.nanmin(trials["value"])
    assert (np.diff(line.get_ydata()) <= 0).all()
    shade = next(patch for patch in axes.patches if to_hex(patch.get_facecolor()) == "#f2f2f2")
    assert (shade.get_x(), shade.get_width()) == (0.5, 8)
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "Thermal conductivity (W/(m K))"
    best = trials.loc[trials["value"].idxmin()]
    assert axes.get_title(loc="left") == f"Best: {best['label']}, {best['value']:.3g} W/(m K)"
    assert legend_texts(figure) == ["queued", "verified", "failed", "best so far", "training"]


def test_values_that_were_modelled_as_they_are_have_linear_axes(tables):
    _, trials, left_out, ranking = tables(searched(transform="none"))
    assert progress_figure(trials, ranking).axes[0].get_yscale() == "linear"
    assert parity_figure(left_out, ranking).axes[0].get_xscale() == "linear"


def test_a_maximised_search_goes_up(tables):
    search = searched(minimize=False)
    table, trials, left_out, ranking = tables(search)
    (axes,) = progress_figure(trials, ranking).axes
    line = next(one for one in axes.lines if to_hex(one.get_color()) == "#d55e00")
    assert (np.diff(line.get_ydata()) >= 0).all()
    assert line.get_ydata()[-1] == np.nanmax(trials["value"])
    assert score_figure(table, ranking).axes[0].get_ylabel() == "Z-score, (mean − best) / std. dev."
    assert overlaps(ranking_figure(table, trials, left_out, ranking)) == []


def test_parity_has_all_points_and_their_error_and_explained_variance(tables):
    *_, left_out, ranking = tables(searched(rounds=6))
    (axes,) = parity_figure(left_out, ranking).axes
    np.testing.assert_allclose(points(axes, "#0072B2"), left_out[["value", "mean"]].to_numpy())
    x, y = np.log10(left_out["value"]), np.log10(left_out["mean"])
    rmse = np.sqrt(np.mean((x - y) ** 2))
    explained = 1 - np.sum((x - y) ** 2) / np.sum((x - x.mean()) ** 2)
    (text,) = [text.get_text() for text in axes.texts]
    assert text == f"RMSE {rmse:.2g} (log₁₀)\nR² {explained:.2f}, n = {len(x)}"
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_xlim() == axes.get_ylim()


def test_error_bars_of_logarithms_are_one_deviation_of_the_logarithm_to_both_sides(tables):
    search = searched(rounds=6)
    *_, left_out, ranking = tables(search)
    (axes,) = parity_figure(left_out, ranking).axes
    bars = next(one for one in axes.collections if hasattr(one, "get_segments") and len(one.get_segments()))
    low, high = np.array([segment[:, 1] for segment in bars.get_segments()]).T
    mean = left_out["mean"].to_numpy()
    np.testing.assert_allclose(np.sqrt(low * high), mean)
    # The screener's number is half the width of the interval.
    np.testing.assert_allclose((high - low) / 2, left_out["standard_deviation"])


def test_scores_of_elements_are_those_of_candidates_nobody_asked_for():
    table = pd.DataFrame(
        {
            "formula": ["PbSe", "PbTe", "Ca(OH)2", "CsI"],
            "z_score": [1.0, -2.0, -3.0, 9.0],
            "status": ["not asked", "not asked", "not asked", "verified"],
        }
    )
    assert element_scores(table) == {"Pb": 1.0, "Se": 1.0, "Te": -2.0, "Ca": -3.0, "O": -3.0, "H": -3.0}
    assert element_scores(table, "mean")["Pb"] == -0.5
    with pytest.raises(InputError, match="did you mean 'mean'"):
        element_scores(table, "men")


def test_elements_are_the_darker_the_more_promising(tables):
    table, *_, ranking = tables(searched())
    axes = element_figure(table, ranking).axes[0]
    cells = {patch.get_gid().removeprefix("cell-"): patch for patch in axes.patches if patch.get_gid()}
    scores = element_scores(table)
    ordered = sorted(scores, key=scores.get)
    assert sum(cells[ordered[-1]].get_facecolor()[:3]) < sum(cells[ordered[0]].get_facecolor()[:3])
    red, _, blue, _ = cells[ordered[-2]].get_facecolor()
    assert red > blue
    assert to_hex(cells["Fe"].get_facecolor()) == "#f2f2f2"
    (scale,) = axes.child_axes
    assert scale.get_title() == "Best Z-score of candidates not asked for"


@pytest.mark.parametrize(
    "more",
    [
        {"failing": 12},
        {"n": 12, "training": 3, "rounds": 1},
        {"n": 2500, "rounds": 1, "asked": 8},
        {"n": 9, "training": 3, "rounds": 3, "asked": 0},
        {"training": 1, "rounds": 0, "asked": 1},
        {"rounds": 15, "transform": "none"},
    ],
    ids=["failures", "few", "thousands", "all computed", "one value", "many trials"],
)
def test_no_texts_overlap_on_the_page(more, tables):
    table, trials, left_out, ranking = tables(searched(**more))
    figure = ranking_figure(table, trials, left_out, ranking)
    assert figure.get_size_inches()[0] == 7.2
    assert overlaps(figure) == []


def test_when_nothing_is_left_no_scale_is_drawn(tables):
    table, *_, ranking = tables(searched(n=9, training=3, asked=0))
    axes = element_figure(table, ranking).axes[0]
    assert not axes.child_axes
    assert "no candidates are left" in {text.get_text() for text in axes.texts}


def test_equal_values_can_be_drawn(tables):
    search = synthetic()
    search.truth[:] = 2.5
    search.run(2)
    search.rank(1)
    table, trials, left_out, ranking = tables(search)
    figure = ranking_figure(table, trials, left_out, ranking)
    assert overlaps(figure) == []
    (axes,) = parity_figure(left_out, ranking).axes
    assert "R² –" in axes.texts[0].get_text()


def test_without_a_training_set_nothing_is_shaded(tables):
    _, trials, _, ranking = tables(searched())
    figure = progress_figure(trials.assign(training=False), ranking)
    assert "training" not in legend_texts(figure)
    assert not figure.axes[0].patches


def test_what_cannot_be_drawn_is_explained(tables):
    search = synthetic()
    search.train()
    known, (ranking,) = search.outcomes(), search.rankings
    trials, left_out = history(None, None, [ranking], known), search.tables[0][1]
    with pytest.raises(InputError, match="no predictions"):
        ranking_figure(search.tables[0][0], trials, left_out, ranking)
    with pytest.raises(InputError, match="nothing was asked for yet"):
        progress_figure(trials.iloc[:0], ranking)
    with pytest.raises(InputError, match="no values"):
        parity_figure(left_out, ranking)


def test_labels_keep_apart_and_off_the_points():
    figure = new_figure(6, 4)
    axes = figure.subplots()
    random = np.random.default_rng(0)
    cloud = random.normal(size=(40, 2))
    named = random.normal(scale=0.3, size=(6, 2)) + 1.5
    axes.scatter(*np.concatenate([cloud, named]).T)
    placed = place_labels(axes, named, [f"Compound{number}" for number in range(6)], np.concatenate([cloud, named]))
    assert len(placed) == 6
    assert overlaps(figure) == []
    boxes = [Text.get_window_extent(text) for text in axes.texts]
    pixels = axes.transData.transform(named)
    assert not any(box.count_contains(pixels) for box in boxes)
