"""What figures of intercalation campaigns draw."""

from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from hts_flows.errors import InputError
from hts_flows.figures.frames import element_order, prepared
from hts_flows.figures.intercalation import campaign_figure, energy_bars, energy_heat_map, host_intercalant_map

ALKALI = ["Li", "Na", "K", "Rb", "Cs"]
# fmt: off
MANY = [
    "Li", "Na", "K", "Rb", "Cs", "Be", "Mg", "Ca", "Sr", "Ba", "Sc", "Y", "La", "Ti", "Zr", "Hf",
    "V", "Nb", "Ta", "Cr", "Mo", "W", "Mn", "Re", "Fe", "Ru", "Os", "Co", "Rh", "Ir", "Ni", "Pd",
    "Pt", "Cu", "Ag", "Au", "Zn", "Cd", "Hg", "Al", "Ga", "In", "Tl", "Sn", "Pb", "Sb", "Bi", "Yb",
]
# fmt: on


def results(hosts, intercalants, series=((1 / 6, 1),), failed=(), *, engine="sevennet", offset=0.0):
    """Rows of a table of results; energies are distinct and known: -0.5 + 0.1 i + j for intercalant i, series j."""
    rows = []
    for host in hosts:
        for number, element in enumerate(intercalants):
            for index, (concentration, stage) in enumerate(series):
                lost = (host, element) in failed or (host, element, index) in failed
                rows.append(
                    {
                        "candidate_id": f"{host}-{element}-{index}",
                        "host": host,
                        "intercalant": element,
                        "concentration": concentration,
                        "stage": stage,
                        "engine": engine,
                        "state": "failed" if lost else "done",
                        "intercalation_energy": None if lost else offset - 0.5 + 0.1 * number + index,
                    }
                )
    return pd.DataFrame(rows)


def bars(axes):
    return [patch for container in axes.containers for patch in container]


def failed_marks(axes):
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "x")


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def cells(axes):
    return {
        patch.get_gid().removeprefix("cell-"): patch
        for patch in axes.patches
        if str(patch.get_gid()).startswith("cell-")
    }


def overlapping_labels(figure):
    """Pairs of tick labels of one axis whose boxes overlap when drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    found = []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label for label in axis.get_ticklabels() if label.get_text() and label.get_visible()]
            boxes = [label.get_window_extent() for label in labels]
            found += [
                (one.get_text(), other.get_text())
                for one, other, box, next_box in zip(labels, labels[1:], boxes, boxes[1:], strict=False)
                if box.overlaps(next_box)
            ]
    return found


def test_bars_are_one_for_each_finished_result_with_its_height():
    figure = energy_bars(results(["graphite"], ALKALI, [(1 / 6, 1), (1 / 6, 2)]))
    (axes,) = figure.axes
    heights = sorted(patch.get_height() for patch in bars(axes))
    assert heights == pytest.approx(sorted([-0.5 + 0.1 * i + j for i in range(5) for j in range(2)]))
    assert [label.get_text() for label in axes.get_xticklabels()] == ALKALI
    assert "eV per intercalant" in axes.get_ylabel()
    assert legend_texts(figure) == ["x = 1/6, stage 1", "x = 1/6, stage 2"]


def test_failed_results_are_marked_and_in_the_legend():
    figure = energy_bars(results(["graphite"], ALKALI, failed=[("graphite", "Na"), ("graphite", "Cs")]))
    (axes,) = figure.axes
    assert len(bars(axes)) == 3
    assert failed_marks(axes) == 2
    assert "failed" in legend_texts(figure)
    mark = next(line for line in axes.lines if line.get_marker() == "x")
    assert list(mark.get_xdata()) == pytest.approx([4, 1]) or list(mark.get_xdata()) == pytest.approx([1, 4])


def test_what_is_only_queued_is_neither_a_bar_nor_a_failure():
    frame = results(["graphite"], ALKALI)
    frame.loc[frame["intercalant"] == "K", ["state", "intercalation_energy"]] = ["queued", None]
    (axes,) = energy_bars(frame).axes
    assert len(bars(axes)) == 4
    assert failed_marks(axes) == 0


def test_of_several_orderings_the_lowest_is_drawn_and_a_failed_one_beside_it_is_no_failure():
    frame = results(["graphite"], ["Li"])
    worse = frame.assign(candidate_id="worse", intercalation_energy=0.7)
    lost = frame.assign(candidate_id="lost", intercalation_energy=None, state="failed")
    (axes,) = energy_bars(pd.concat([frame, worse, lost])).axes
    assert [patch.get_height() for patch in bars(axes)] == pytest.approx([-0.5])
    assert failed_marks(axes) == 0


def test_bars_do_not_overlap_within_a_group_or_between_groups():
    figure = energy_bars(results(["graphite"], ALKALI, [(1 / 8, 1), (1 / 6, 1), (1 / 2, 1)]))
    edges = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in bars(figure.axes[0]))
    assert all(left[1] <= right[0] + 1e-9 for left, right in pairwise(edges))


def test_one_panel_for_each_host_with_its_own_results():
    frame = pd.concat([results(["graphite"], ALKALI), results(["h-BN"], ALKALI[:2])])
    figure = energy_bars(frame)
    assert {axes.get_title(loc="left"): len(bars(axes)) for axes in figure.axes} == {"graphite": 5, "h-BN": 2}
    assert [axes.get_title(loc="left") for axes in energy_bars(frame, hosts=["h-BN"]).axes] == ["h-BN"]


def test_heat_map_colours_are_blue_for_bound_red_for_unbound_and_white_at_zero():
    figure = energy_heat_map(results(["graphite"], ["Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Al", "Zn"]))
    axes = figure.axes[0]
    drawn = cells(axes)
    red, _, blue, _ = drawn["Li"].get_facecolor()
    assert blue > red
    red, _, blue, _ = drawn["Zn"].get_facecolor()
    assert red > blue
    assert min(drawn["Mg"].get_facecolor()) > 0.95  # energy 0
    assert to_hex(drawn["Fe"].get_facecolor()) == "#f2f2f2"
    assert "eV per intercalant" in figure.axes[-1].get_xlabel()


def test_heat_map_takes_the_lowest_and_writes_it():
    figure = energy_heat_map(results(["graphite"], ["K"], [(1 / 8, 1), (1 / 6, 1)]))
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert "−0.50" in texts
    assert "0.50" not in texts
    assert "lowest of all" in figure.get_suptitle()


def test_heat_map_marks_elements_of_which_nothing_was_finished():
    frame = results(["graphite"], ALKALI, [(1 / 8, 1), (1 / 6, 1)], failed=[("graphite", "Na"), ("graphite", "K", 0)])
    figure = energy_heat_map(frame)
    assert failed_marks(figure.axes[0]) == 1
    assert legend_texts(figure) == ["failed"]


def test_heat_map_shows_lanthanoids_when_they_are_asked_for():
    assert "La" not in cells(energy_heat_map(results(["graphite"], ALKALI)).axes[0])
    assert {"La", "Eu", "Yb"} <= set(cells(energy_heat_map(results(["graphite"], ["Eu"])).axes[0]))


def test_matrix_has_the_value_of_each_host_and_intercalant_in_its_cell():
    hosts = ["graphite", "h-BN", "1T-TiS2"]
    figure = host_intercalant_map(results(hosts, ["K", "Li"], failed=[("h-BN", "K")]))
    axes = figure.axes[0]
    image = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["Li", "K"]
    assert [label.get_text() for label in axes.get_yticklabels()] == hosts
    assert image == pytest.approx(np.array([[-0.4, -0.5], [-0.4, np.nan], [-0.4, -0.5]]), nan_ok=True)
    mark = next(line for line in axes.lines if line.get_marker() == "x")
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([1], [1])
    assert axes.images[0].norm.vcenter == 0


@pytest.mark.parametrize("draw", [energy_bars, energy_heat_map, host_intercalant_map, campaign_figure])
@pytest.mark.parametrize(("n_hosts", "intercalants"), [(1, MANY[:9]), (1, MANY), (2, MANY[:9]), (40, MANY)])
def test_labels_do_not_overlap(draw, n_hosts, intercalants):
    hosts = [f"host-{number}" for number in range(n_hosts)]
    figure = draw(results(hosts, intercalants, failed=[("host-0", "Na")]))
    assert overlapping_labels(figure) == []


def test_campaign_of_few_hosts_has_a_table_and_bars_for_each():
    figure = campaign_figure(results(["graphite", "h-BN"], ALKALI))
    assert sum(bool(cells(axes)) for axes in figure.axes) == 2
    assert sum(bool(bars(axes)) for axes in figure.axes) == 2


def test_campaign_of_many_hosts_has_the_matrix_and_one_table():
    figure = campaign_figure(results([f"host-{number}" for number in range(5)], ALKALI))
    assert sum(bool(axes.images) for axes in figure.axes) == 1
    assert sum(bool(cells(axes)) for axes in figure.axes) == 1


def test_a_campaign_of_which_everything_failed_is_drawn_with_marks():
    frame = results(["graphite"], ALKALI, failed=[("graphite", name) for name in ALKALI])
    del frame["intercalation_energy"]  # no result has properties: the table has no such column
    assert sum(failed_marks(axes) for axes in campaign_figure(frame).axes) == 10


def test_only_one_engine_is_drawn_and_named():
    frame = pd.concat(
        [
            results(["graphite"], ALKALI, engine="sevennet"),
            results(["graphite"], ALKALI[:2], engine="gpaw", offset=1.0),
        ]
    )
    (axes,) = energy_bars(frame).axes
    assert len(bars(axes)) == 5
    assert axes.figure.get_suptitle() == "Engine: sevennet"
    (axes,) = energy_bars(frame, engine="gpaw").axes
    assert sorted(patch.get_height() for patch in bars(axes)) == pytest.approx([0.5, 0.6])


def test_wrong_engine_host_column_and_empty_table_are_explained():
    frame = results(["graphite"], ALKALI)
    with pytest.raises(InputError, match="did you mean 'sevennet'"):
        energy_bars(frame, engine="sevenet")
    with pytest.raises(InputError, match="did you mean 'graphite'"):
        energy_bars(frame, hosts=["grafite"])
    with pytest.raises(InputError, match="no column 'stage'"):
        energy_bars(frame.drop(columns="stage"))
    with pytest.raises(InputError, match="no results"):
        energy_bars(frame.iloc[:0])


def test_elements_are_sorted_by_group_then_row():
    assert element_order(["Zn", "Ca", "Li", "La", "K", "Mg", "Li"]) == ["Li", "K", "Mg", "Ca", "La", "Zn"]


def test_energies_of_failed_rows_are_not_used():
    frame = results(["graphite"], ["Li"]).assign(state="failed")
    assert prepared(frame, "intercalation_energy")["intercalation_energy"].isna().all()


def test_figures_leave_matplotlibs_settings_alone():
    before = dict(mpl.rcParams)
    campaign_figure(results(["graphite"], ALKALI))
    assert dict(mpl.rcParams) == before
