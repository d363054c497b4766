"""What the figure of a campaign on compounds draws."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from hts_flows.errors import InputError
from hts_flows.figures import save
from hts_flows.figures.compounds import campaign_figure
from hts_flows.inventories import Inventories
from hts_flows.structures.compounds import CompoundSpace

COLUMNS = ["label", "formula", "prototype", "engine", "state", "volume_per_atom", "density", "thermal_conductivity"]
UNSTABLE_TYPES = ["half_heusler", "caesium_chloride"]


@pytest.fixture(scope="module")
def inventory():
    """Every compound of the inventory with a conductivity that falls with mass and volume, noise of a fixed seed."""
    space = CompoundSpace(domain="compounds", compounds="all")
    rows = [{"candidate_id": one.candidate_id, "label": one.label, "formula": one.formula} | one.data
            for one in space.candidates(Inventories())]  # fmt: skip
    frame = pd.DataFrame(rows).assign(engine="phono3py", state="done")
    noise = np.exp(np.random.default_rng(3).normal(0, 0.45, len(frame)))
    mass = 0.6022 * frame["density"] * frame["volume_per_atom"]  # u per atom
    tetrahedral = frame["prototype"].isin(["zincblende", "wurtzite"])
    factor = noise * np.where(tetrahedral, 3.0, 1.0)
    frame["thermal_conductivity"] = 14e3 / mass / frame["volume_per_atom"] ** 1.4 * factor
    frame["dynamically_stable"] = (~frame["prototype"].isin(UNSTABLE_TYPES)).astype(object)
    frame.loc[::20, ["state", "thermal_conductivity", "dynamically_stable"]] = ["failed", None, None]
    return frame


@pytest.fixture
def compounds(inventory):
    return inventory.copy()


def points(axes, gid=None):
    """Places of symbols, of one prototype or all, shape (n, 2)."""
    found = [one for one in axes.collections if isinstance(one, PathCollection) and gid in (None, one.get_gid())]
    return np.concatenate([np.zeros((0, 2)), *(np.asarray(one.get_offsets()) for one in found)])


def faces(axes, gid):
    """Colours that the symbols of a prototype are filled with, and how many of each."""
    return {to_hex(one.get_facecolor()[0]): len(one.get_offsets()) for one in axes.collections if one.get_gid() == gid}


def failed_ticks(axes):
    """Places of the ticks of failed compounds, with where each begins as a fraction of the axis."""
    (line,) = [line for line in axes.lines if line.get_gid() == "failed"]
    low = axes.transAxes.inverted().transform(axes.transData.transform(line.get_xydata()[::3]))[:, 1]
    return np.asarray(line.get_xdata())[::3], low


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def overlaps(figure):
    """Pairs of texts that overlap each other, and texts that are not within the figure, when it is drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for legend in figure.legends for text in legend.get_texts()] + [figure._suptitle]
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes._left_title]
        low, high = axes.get_ylim()
        texts += [label for label, place in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
                  if min(low, high) <= place <= max(low, high)]  # fmt: skip
        low, high = axes.get_xlim()
        texts += [label for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
                  if low <= place <= high]  # fmt: skip
    boxes = [(one.get_text(), mpl.text.Text.get_window_extent(one, renderer)) for one in texts if one.get_text()]
    found = [(name, other) for number, (name, box) in enumerate(boxes)
             for other, other_box in boxes[:number] if box.overlaps(other_box)]  # fmt: skip
    width, height = figure.bbox.size
    return found + [name for name, box in boxes
                    if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]  # fmt: skip


def test_conductivities_are_drawn_against_volumes_on_a_logarithmic_axis(compounds):
    left, _right = campaign_figure(compounds).axes
    done = compounds[compounds["state"] == "done"]
    drawn = sorted(map(tuple, points(left)))
    assert left.get_yscale() == "log"
    expected = sorted(map(tuple, done[["volume_per_atom", "thermal_conductivity"]].to_numpy(dtype=float)))
    np.testing.assert_allclose(drawn, expected)
    assert "Å³" in left.get_xlabel()
    assert "W/(m·K)" in left.get_ylabel()
    assert left.get_ylim()[0] < done["thermal_conductivity"].min()
    assert left.get_ylim()[1] > done["thermal_conductivity"].max()


def test_the_six_most_frequent_prototypes_are_named_and_the_others_share_a_symbol(compounds):
    figure = campaign_figure(compounds)
    counts = compounds[compounds["state"] == "done"]["prototype"].value_counts()
    common = [name.replace("_", " ") for name in counts.index[:6]]
    texts = legend_texts(figure)
    assert set(texts[:6]) == set(common)
    assert texts[6:] == ["other", "open: imaginary modes", "failed"]
    left = figure.axes[0]
    for name, label in zip(counts.index[:6], common, strict=True):
        assert len(points(left, label)) == counts[name]
    assert len(points(left, "other")) == counts.iloc[6:].sum()
    styles = {(to_hex(handle.get_color()), handle.get_marker()) for handle in figure.legends[0].legend_handles[:7]}
    assert len({colour for colour, _ in styles}) == len({marker for _, marker in styles}) == 7


def test_compounds_with_imaginary_modes_are_open_symbols_and_open_bars(compounds):
    compounds.loc[compounds["label"] == "PbTe rocksalt", ["thermal_conductivity", "dynamically_stable"]] = [0.01, False]
    left, right = campaign_figure(compounds).axes
    assert faces(left, "rocksalt")["#ffffff"] == 1
    assert "#ffffff" not in faces(left, "zincblende")
    n_heuslers = ((compounds["prototype"] == "half_heusler") & (compounds["state"] == "done")).sum()
    assert faces(left, "half heusler") == {"#ffffff": n_heuslers}
    first = right.patches[0]
    assert (first.get_width(), to_hex(first.get_facecolor())) == (0.01, "#ffffff")


@pytest.mark.parametrize("stable", [None, np.nan, True])
def test_only_what_is_known_to_be_unstable_is_open(compounds, stable):
    figure = campaign_figure(compounds.assign(dynamically_stable=stable))
    assert all("#ffffff" not in faces(figure.axes[0], name) for name in ("half heusler", "other", "rocksalt"))
    assert "open: imaginary modes" not in legend_texts(figure)


def test_unstable_compounds_without_a_conductivity_stand_above_the_axis(compounds):
    unstable = compounds["prototype"].isin(UNSTABLE_TYPES) & (compounds["state"] == "done")
    compounds.loc[unstable, "thermal_conductivity"] = None
    left, right = campaign_figure(compounds).axes
    open_ = points(left, "half heusler")
    heuslers = compounds[unstable & (compounds["prototype"] == "half_heusler")]
    assert sorted(open_[:, 0]) == sorted(heuslers["volume_per_atom"])
    assert left.get_ylim()[0] < open_[:, 1].max() < compounds["thermal_conductivity"].min()
    assert not any("caesium" in label.get_text() for label in right.get_yticklabels())


def test_failed_compounds_are_ticks_on_the_axis_of_volumes(compounds):
    left = campaign_figure(compounds).axes[0]
    places, starts = failed_ticks(left)
    assert list(places) == list(compounds[compounds["state"] == "failed"]["volume_per_atom"])
    assert starts == pytest.approx(0, abs=1e-6)


def test_the_fifteen_lowest_are_bars_with_their_names_and_values(compounds):
    right = campaign_figure(compounds).axes[1]
    lowest = compounds.sort_values("thermal_conductivity")[:15]
    assert [bar.get_width() for bar in right.patches] == pytest.approx(list(lowest["thermal_conductivity"]))
    assert [label.get_text() for label in right.get_yticklabels()] == list(lowest["label"])
    assert [float(text.get_text()) for text in right.texts] == pytest.approx(lowest["thermal_conductivity"], rel=0.06)
    assert right.yaxis_inverted()
    assert right.get_xlim()[0] == 0


def test_the_lowest_are_named_in_the_plot_by_formula_and_by_label_where_two_have_the_same(compounds):
    by_value = compounds.sort_values("thermal_conductivity")
    left = campaign_figure(compounds).axes[0]
    assert {text.get_text() for text in left.texts} == set(by_value["formula"][:6])
    compounds.loc[by_value.index[1], "formula"] = by_value["formula"].iloc[0]
    left = campaign_figure(compounds).axes[0]
    assert {text.get_text() for text in left.texts} <= set(by_value["label"][:6])


def test_nothing_overlaps_or_is_cut_off(compounds):
    for frame in (compounds, compounds.drop(columns="thermal_conductivity"), compounds[:8], compounds[1:2]):
        assert overlaps(campaign_figure(frame)) == []
    compounds["label"] += " of a long name with $ and $ from elsewhere"
    assert overlaps(campaign_figure(compounds)) == []


def test_without_conductivities_densities_are_drawn_and_there_are_no_bars(compounds):
    for frame in (compounds.drop(columns="thermal_conductivity"), compounds.assign(thermal_conductivity=None)):
        figure = campaign_figure(frame)
        (axes,) = figure.axes
        assert len(points(axes)) == len(frame)
        lost = frame[frame["state"] == "failed"]
        assert points(axes, "failed").tolist() == lost[["volume_per_atom", "density"]].to_numpy().tolist()
        assert "g/cm³" in axes.get_ylabel()
        assert not axes.patches
        assert legend_texts(figure)[-1] == "failed"


def test_when_all_failed_they_are_drawn_where_they_started(compounds):
    figure = campaign_figure(compounds.assign(state="failed"))
    (axes,) = figure.axes
    assert len(points(axes, "failed")) == len(points(axes)) == len(compounds)
    assert legend_texts(figure) == ["failed"]
    assert f"{len(compounds)} failed" in figure._suptitle.get_text()


def test_a_few_compounds_are_all_named_where_only_densities_are_known(compounds):
    chosen = compounds[1:9].drop(columns="thermal_conductivity")
    (axes,) = campaign_figure(chosen).axes
    assert {text.get_text() for text in axes.texts} == set(chosen["formula"])


def test_what_is_queued_is_counted_and_has_no_conductivity(compounds):
    compounds["state"] = compounds["state"].mask(compounds.index < 10, "queued")
    figure = campaign_figure(compounds)
    n_done = (compounds["state"] == "done").sum()
    assert len(points(figure.axes[0])) == n_done
    assert f"{n_done} done, 8 failed, 10 queued" in figure._suptitle.get_text()


def test_the_temperature_of_the_conductivities_is_given(compounds):
    compounds["conductivity_temperature"] = np.where(compounds["state"] == "done", 300.0, np.nan)
    assert "; 300 K; " in campaign_figure(compounds)._suptitle.get_text()
    compounds.loc[1, "conductivity_temperature"] = 200.0
    assert "; 200–300 K; " in campaign_figure(compounds)._suptitle.get_text()
    nothing = compounds.assign(thermal_conductivity=None)
    assert " K" not in campaign_figure(nothing)._suptitle.get_text()


def test_one_compound_is_enough(compounds):
    left, right = campaign_figure(compounds[compounds["label"] == "PbSe rocksalt"]).axes
    assert len(points(left)) == len(right.patches) == 1
    assert [label.get_text() for label in right.get_yticklabels()] == ["PbSe rocksalt"]


@pytest.mark.parametrize("column", COLUMNS)
def test_any_column_may_be_missing(compounds, column, tmp_path):
    figure = campaign_figure(compounds.drop(columns=column))
    path = save(figure, tmp_path / "figure.png")
    assert path.stat().st_size > 10_000
    if column == "volume_per_atom":
        assert figure.axes[0].get_xlabel() == "Density (g/cm³)"
    if column == "prototype":
        assert legend_texts(figure) == ["open: imaginary modes", "failed"]


def test_conductivities_alone_are_bars(compounds):
    (axes,) = campaign_figure(compounds[["label", "thermal_conductivity"]]).axes
    assert len(axes.patches) == 15


def test_values_that_a_logarithm_cannot_show_are_left_out(compounds):
    compounds.loc[1:3, "thermal_conductivity"] = [0.0, -1.0, np.inf]
    left, right = campaign_figure(compounds).axes
    assert len(points(left)) == (compounds["state"] == "done").sum() - 3
    assert right.patches[0].get_width() > 0


def test_five_thousand_compounds_are_a_bitmap_in_a_small_file(compounds, tmp_path):
    many = compounds.sample(5000, replace=True, random_state=0).reset_index(drop=True)
    many["thermal_conductivity"] *= np.exp(np.random.default_rng(0).normal(0, 0.5, 5000))
    many["prototype"] = many["prototype"].where(many.index % 2 == 0)
    figure = campaign_figure(many)
    assert len(points(figure.axes[0])) == (many["state"] == "done").sum()
    assert len(points(figure.axes[0], "other")) > 2000
    assert save(figure, tmp_path / "figure.pdf").stat().st_size < 1_000_000


def test_of_several_engines_the_one_with_the_most_results_is_drawn_or_the_one_asked_for(compounds):
    other = compounds[:5].assign(engine="vasp")
    both = pd.concat([compounds, other])
    assert "phono3py" in campaign_figure(both)._suptitle.get_text()
    assert len(points(campaign_figure(both, engine="vasp").axes[0])) == 4
    with pytest.raises(InputError, match=r"'vaps'.*vasp"):
        campaign_figure(both, engine="vaps")


def test_a_table_with_nothing_to_draw_is_refused_with_what_is_missing(compounds):
    with pytest.raises(InputError, match="no results"):
        campaign_figure(compounds[:0])
    with pytest.raises(InputError, match=r"thermal_conductivity.*volume_per_atom.*density"):
        campaign_figure(compounds[["label", "state"]])


def test_the_table_given_is_left_as_it_was(compounds):
    before = compounds.copy()
    campaign_figure(compounds)
    pd.testing.assert_frame_equal(compounds, before)
