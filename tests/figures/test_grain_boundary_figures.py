"""What the figures of grain boundaries draw, of energies that the second-moment potential really gives."""

from __future__ import annotations

import json
import math
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from hts_flows.errors import InputError
from hts_flows.figures import save
from hts_flows.figures.grain_boundaries import (
    MOST_MAPS,
    angle_figure,
    campaign_figure,
    search_figure,
    translation_figure,
)
from hts_flows.figures.grain_boundary_tables import map_of_search, perfect_angles, prepared, trials_of
from hts_flows.figures.interactive import boundary_energies, figure_json
from hts_flows.screening.grain_boundaries import EvaluationError, TranslationSpace, search_translations
from hts_flows.structures.bicrystal_translation import translated
from hts_flows.structures.bicrystals import build_bicrystal
from hts_flows.structures.grain_boundaries import GrainBoundary

pytest.importorskip("numba", reason="numba is not installed: pip install --editable '.[tight-binding]'")

J_PER_M2 = 16.02176634  # eV/Å²
FCC = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
PERIODIC = (True, True, True)


def energy_of(bicrystal, metal, bulk):
    """Energy of a boundary as a function of the translation, J/m²: the atoms and the expansion relax."""
    from hts_flows.engines._second_moment_relaxation import relax

    def evaluate(translation):
        try:
            moved = translated(bicrystal, *translation)
        except InputError as error:
            raise EvaluationError(str(error)) from error
        positions, length = moved.positions.copy(), moved.lattice[2, 2]
        positions[(moved.grain == 1) & (positions[:, 2] > 0.75 * length), 2] -= length
        positions[(moved.grain == 2) & (positions[:, 2] < 0.25 * length), 2] += length
        end = relax(positions, moved.lattice, PERIODIC, metal, groups=moved.grain - 1, protocol="fixed translation")
        if not end.converged:
            return math.nan
        return (end.energy - len(positions) * bulk) / (2 * moved.area) * J_PER_M2

    return evaluate


def searched(plane, *, axis=(0, 0, 1), metal="Cu", step=0.4, enumerate_all=False, max_trials=12, collection=""):
    """Row of a table of results: a search over the translations of a boundary."""
    from hts_flows.engines._second_moment_parameters import PARAMETERS
    from hts_flows.engines._second_moment_relaxation import evaluate
    from hts_flows.structures.coincidence import direction, miller

    a = PARAMETERS[metal].lattice_constant
    spec = GrainBoundary(element=metal, lattice_constant=a, axis=axis, plane=plane)
    bicrystal = build_bicrystal(spec, thickness=12.0)
    space = TranslationSpace.of_bicrystal(bicrystal, step=step, openings=[0.3])
    bulk = evaluate(np.zeros((1, 3)), FCC * a, PERIODIC, metal).energy
    function = energy_of(bicrystal, metal, bulk)
    limit = len(space.representatives) if enumerate_all else max_trials
    found = search_translations(space, function, max_trials=limit, patience=limit, seed=3)
    energies = [None if math.isnan(energy) else energy for _, energy in found.trials]
    geometry = spec.geometry
    return {
        "candidate_id": f"grain_boundaries-{metal.lower()}{''.join(map(str, plane))}",
        "label": str(spec), "formula": metal, "boundary": f"{metal}-{miller(geometry.plane)}", "crystal": metal,
        "sigma": geometry.sigma, "axis": direction(geometry.axis), "plane": miller(geometry.plane),
        "kind": geometry.kind, "angle": geometry.angle, "collection": collection, "engine": "translation_search",
        "state": "done", "boundary_energy": found.best_energy, "relaxed": "fixed translation",
        "method": "enumeration" if enumerate_all else "kriging", "stop_reason": found.stop_reason,
        "n_trials": len(found.trials), "n_candidates": found.n_candidates, "predicted_energy": None,
        "trials": {
            "translations": [list(one) for one, _ in found.trials], "energies": energies,
            "periods": list(space.periods), "step": list(space.steps),
            "operations": [{"matrix": one.matrix.tolist(), "shift": one.shift.tolist()} for one in space.operations],
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def kriged():
    return searched((2, 1, 0), max_trials=14)


@pytest.fixture(scope="module")
def enumerated():
    return searched((2, 1, 0), step=0.6, enumerate_all=True)


@pytest.fixture(scope="module")
def boundaries():
    """Eight [001] boundaries of copper, half of them in a training set."""
    training = [(2, 1, 0), (3, 1, 0), (5, 3, 0), (4, 1, 0)]
    others = [(4, 3, 0), (7, 1, 0), (5, 2, 0), (7, 3, 0)]
    return [searched(one, max_trials=6, step=0.6, collection="cu_training") for one in training] + [
        searched(one, max_trials=6, step=0.6, collection="cu_test") for one in others
    ]


@pytest.fixture(scope="module")
def diagonal():
    """Boundaries of two metals about [110]."""
    return [searched(plane, axis=(1, -1, 0), metal=metal, max_trials=6, step=0.6) for metal in ("Cu", "Al")
            for plane in ((1, 1, 1), (1, 1, 3), (3, 3, 1))]  # fmt: skip


@pytest.fixture(scope="module")
def searches(kriged, enumerated):
    return [kriged, enumerated]


def candidates(row):
    """The trials of a search as candidates of their own."""
    shared = {name: value for name, value in row.items() if name != "trials"}
    lx, ly = row["trials"]["periods"]
    rows = []
    for number, ((x, y, z), energy) in enumerate(
        zip(row["trials"]["translations"], row["trials"]["energies"], strict=True)
    ):
        circles = {f"{name}_{part}": period / (2 * np.pi) * getattr(np, part)(2 * np.pi * value / period)
                   for name, value, period in (("x", x, lx), ("y", y, ly)) for part in ("cos", "sin")}  # fmt: skip
        rows.append(
            shared | circles | {"candidate_id": f"{row['candidate_id']}-{number}", "x": x, "y": y, "z": z,
                                "boundary_energy": energy, "state": "failed" if energy is None else "done"}
        )  # fmt: skip
    return rows


def marked(axes, gid):
    """Places of the symbols with a mark, shape (n, 2)."""
    found = [np.asarray(one.get_offsets()) for one in axes.collections if one.get_gid() == gid]
    found += [one.get_xydata() for one in axes.lines if one.get_gid() == gid]
    return np.concatenate([np.zeros((0, 2)), *found])


def legend_texts(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def annotations(axes):
    return [text.get_text() for text in axes.texts]


def image(axes):
    (one,) = [one for one in axes.images if one.get_gid() == "map"]
    return np.ma.filled(one.get_array(), np.nan)


def overlaps(figure):
    """Pairs of texts that overlap each other, and texts that are not within the figure, when it is drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for legend in figure.legends for text in legend.get_texts()] + [figure._suptitle]
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes._left_title]
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            texts += [tick.label1 for tick in axis.get_major_ticks()
                      if low <= tick.get_loc() <= high and tick.label1.get_visible()]  # fmt: skip
            texts += [tick.label2 for tick in axis.get_major_ticks()
                      if low <= tick.get_loc() <= high and tick.label2.get_visible()]  # fmt: skip
    boxes = [(one.get_text(), mpl.text.Text.get_window_extent(one, renderer)) for one in texts if one.get_text()]
    found = [(name, other) for number, (name, box) in enumerate(boxes)
             for other, other_box in boxes[:number] if box.overlaps(other_box)]  # fmt: skip
    width, height = figure.bbox.size
    return found + [name for name, box in boxes
                    if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height]  # fmt: skip


def test_a_search_is_a_map_with_numbered_trials_and_the_energies_of_the_trials(kriged):
    figure = campaign_figure(pd.DataFrame([kriged]))
    left, right = figure.axes[:2]
    asked = np.array(kriged["trials"]["translations"])[:, :2]
    energies = np.array(kriged["trials"]["energies"], dtype=float)
    best = int(np.nanargmin(energies))
    assert left.get_xlabel() == "Translation x (Å)"
    assert (left.get_xlim(), left.get_ylim()) == tuple((0, period) for period in kriged["trials"]["periods"])
    np.testing.assert_allclose(marked(left, "best"), asked[[best]], atol=1e-6)
    numbers = {text.get_text(): text.xy for text in left.texts}
    assert numbers[str(best + 1)] == pytest.approx(asked[best])
    for number, place in numbers.items():
        assert place == pytest.approx(asked[int(number) - 1])
    n_done = np.isfinite(energies).sum()
    assert len(marked(left, "trial")) + 1 + len(marked(left, "bare")) == n_done
    drawn = marked(right, "trials")
    for trial, energy in drawn:
        assert energy == pytest.approx(energies[int(trial) - 1])
    assert len(drawn) + len(marked(right, "beyond")) == n_done
    (steps,) = [line for line in right.lines if line.get_gid() == "best"]
    np.testing.assert_allclose(steps.get_ydata()[:-1], np.fmin.accumulate(energies), rtol=1e-9)
    assert f"{kriged['boundary_energy']:.3f} J/m²" in left.get_title(loc="left")
    assert "14 of" in right.get_title(loc="left")
    assert "budget" in right.get_title(loc="left")
    assert "fixed translation" in figure._suptitle.get_text()
    assert right.get_ylabel() == "Boundary energy (J/m²)"


def test_a_map_knows_what_was_computed_with_its_symmetry_and_nothing_else(kriged):
    row = prepared(pd.DataFrame([kriged])).iloc[0]
    one = map_of_search(row)
    assert not one.complete
    raster = one.raster()
    share = np.isnan(raster).mean()
    assert 0.2 < share < 0.95
    assert "not computed" in legend_texts(search_figure(pd.DataFrame([kriged])))
    # Every operation takes the map onto itself: values at the images of a trial are the trial's or a lower neighbour's.
    pixel = np.array(one.size) / raster.shape[::-1]
    lowest = dict(zip(map(tuple, one.asked.round(6)), one.energies, strict=True))
    for operation in kriged["trials"]["operations"]:
        image_of = (one.asked @ np.array(operation["matrix"]).T + operation["shift"]) % one.periods
        for place, trial in zip(image_of, one.asked.round(6), strict=True):
            column, line = np.minimum(place // pixel, np.array(raster.shape[::-1]) - 1).astype(int)
            assert raster[line, column] == pytest.approx(lowest[tuple(trial)], abs=1e-6)


def test_several_openings_and_removals_of_a_translation_show_the_lowest(kriged):
    trials = kriged["trials"]
    first, energy = trials["translations"][0], kriged["boundary_energy"]
    again = trials | {
        "translations": [*trials["translations"], [*first[:2], first[2] + 0.5]],
        "energies": [*trials["energies"], energy - 0.05],
    }
    one = map_of_search(prepared(pd.DataFrame([kriged | {"trials": again}])).iloc[0])
    assert one.best == len(trials["energies"])
    assert np.nanmin(one.at_points) == pytest.approx(energy - 0.05)
    assert np.nanmin(one.raster()) == pytest.approx(energy - 0.05)


def test_a_grid_that_was_enumerated_is_drawn_whole_and_without_numbers(enumerated):
    figure = campaign_figure(pd.DataFrame([enumerated]))
    left = figure.axes[0]
    drawn = image(left)
    failed = None in enumerated["trials"]["energies"]
    assert failed or np.isfinite(drawn).all()
    assert len(annotations(left)) == 1
    assert len(marked(left, "best")) == 1
    assert not {"not computed", "trial, numbered as asked"} & set(legend_texts(figure))
    assert "none left" in figure.axes[1].get_title(loc="left")
    known = [energy for energy in enumerated["trials"]["energies"] if energy is not None]
    assert np.nanmin(drawn) == pytest.approx(min(known))
    assert set(np.unique(drawn[np.isfinite(drawn)]).round(9)) <= set(np.round(known, 9))


def test_failed_trials_are_crosses_in_both_panels(kriged):
    trials = kriged["trials"] | {"energies": [None, *kriged["trials"]["energies"][1:]]}
    figure = campaign_figure(pd.DataFrame([kriged | {"trials": trials}]))
    left, right = figure.axes[:2]
    np.testing.assert_allclose(marked(left, "failed"), [trials["translations"][0][:2]])
    assert list(marked(right, "failed")[:, 0]) == [1]
    assert "failed" in legend_texts(figure)
    assert np.isnan(right.lines[0].get_ydata()).sum() == 0


def test_a_translation_failed_where_all_its_trials_did(kriged):
    trials = kriged["trials"]
    first = trials["translations"][0]
    again = trials | {"translations": [*trials["translations"], first], "energies": [*trials["energies"], None]}
    left, right = search_figure(pd.DataFrame([kriged | {"trials": again}])).axes[:2]
    assert len(marked(left, "failed")) == 0
    assert list(marked(right, "failed")[:, 0]) == [len(again["energies"])]


def test_the_best_of_very_many_trials_is_marked_with_its_number(kriged):
    trials = kriged["trials"]
    n = len(trials["energies"])
    many = {"translations": trials["translations"] * 10, "energies": [one + 0.01 for one in trials["energies"]] * 10}
    many["energies"][8 * n + 2] = 0.5
    left = search_figure(pd.DataFrame([kriged | {"trials": trials | many}])).axes[0]
    np.testing.assert_allclose(marked(left, "best"), [trials["translations"][2][:2]])
    assert str(8 * n + 3) in annotations(left)


def test_energies_that_hardly_differ_are_not_stretched_over_all_colours(kriged):
    energies = [0.95 + 1e-4 * number for number in range(len(kriged["trials"]["energies"]))]
    figure = campaign_figure(pd.DataFrame([kriged | {"trials": kriged["trials"] | {"energies": energies}}]))
    norm = figure.axes[0].images[0].norm
    assert norm.vmax - norm.vmin >= 0.02
    assert np.ptp(figure.axes[1].get_ylim()) >= 0.02


def test_boundaries_are_points_against_misorientations_with_the_perfect_crystal_as_limit(boundaries):
    figure = campaign_figure(pd.DataFrame(boundaries))
    (axes,) = figure.axes
    expected = sorted((row["angle"], row["boundary_energy"]) for row in boundaries)
    np.testing.assert_allclose(sorted(map(tuple, marked(axes, "computed"))), expected)
    np.testing.assert_allclose(marked(axes, "curve"), expected)
    assert marked(axes, "limit").tolist() == [[0, 0], [90, 0]]
    assert len([line for line in axes.lines if line.get_gid() == "to limit"]) == 2
    assert axes.get_xlim() == (0, 90)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Misorientation angle (°)", "Boundary energy (J/m²)")
    assert legend_texts(figure) == ["cu training", "cu test", "perfect crystal"]
    assert axes.get_title(loc="left") == "Cu [001] symmetric tilt boundaries"
    assert set(annotations(axes)) == {f"Σ{row['sigma']}{row['plane']}" for row in boundaries}


def test_training_and_predicted_boundaries_differ_in_shape_and_colour(boundaries):
    (axes,) = campaign_figure(pd.DataFrame(boundaries)).axes
    training, test = [one for one in axes.collections if one.get_gid() == "computed"]
    assert len(training.get_offsets()) == len(test.get_offsets()) == 4
    assert to_hex(training.get_facecolor()[0]) != to_hex(test.get_facecolor()[0])
    assert training.get_paths()[0].vertices.shape != test.get_paths()[0].vertices.shape


def test_failed_boundaries_and_predicted_energies_are_told_apart(boundaries):
    frame = pd.DataFrame(boundaries)
    frame["predicted_energy"] = [None] * 4 + [energy + 0.02 for energy in frame["boundary_energy"][4:]]
    frame.loc[0, ["state", "boundary_energy"]] = ["failed", None]
    figure = campaign_figure(frame)
    (axes,) = figure.axes
    ((angle, height),) = marked(axes, "failed")
    assert angle == pytest.approx(frame["angle"][0])
    assert axes.get_ylim()[0] < height < 0
    assert len(marked(axes, "computed")) == 7
    np.testing.assert_allclose(marked(axes, "predicted")[:, 1], frame["predicted_energy"][4:].astype(float))
    assert {"failed", "predicted energy"} <= set(legend_texts(figure))
    assert "7 done, 1 failed" in figure._suptitle.get_text()


def test_axes_have_panels_and_crystals_have_colours(boundaries, diagonal):
    figure = angle_figure(pd.DataFrame(boundaries + diagonal))
    left, right = figure.axes
    assert "[001]" in left.get_title(loc="left")
    assert "[1-10]" in right.get_title(loc="left")
    assert marked(right, "limit").tolist() == [[0, 0], [180, 0]]
    assert len(marked(right, "computed")) == 6
    curves = {to_hex(line.get_color()) for line in right.lines if line.get_gid() == "curve"}
    assert len(curves) == 2
    # One name for the boundaries of both crystals.
    assert sorted(annotations(right)) == ["Σ11(113)", "Σ19(331)", "Σ3(111)"]


@pytest.mark.parametrize(
    ("kind", "axis", "angles", "expected"),
    [
        ("symmetric_tilt", "[001]", [20, 60], [0, 90]),
        ("symmetric_tilt", "[100]", [20, 60], [0, 90]),
        ("symmetric_tilt", "[001]", [10, 30], [0]),
        ("symmetric_tilt", "[1-10]", [50, 109.5], [0, 180]),
        ("symmetric_tilt", "[111]", [60], [0]),
        ("twist", "[001]", [36.9], [0]),
        ("twist", "", [36.9], []),
    ],
)
def test_perfect_crystals_are_where_the_plane_is_a_mirror(kind, axis, angles, expected):
    assert perfect_angles(kind, axis, angles) == expected


def test_candidates_with_translations_have_a_map_for_each_boundary(enumerated, boundaries):
    frame = pd.DataFrame(candidates(enumerated) + candidates(boundaries[1]))
    frame.loc[2, ["state", "boundary_energy"]] = ["failed", None]
    frame.loc[3, ["state", "boundary_energy"]] = ["queued", None]
    figure = campaign_figure(frame)
    maps = [axes for axes in figure.axes if axes.images and axes.get_title(loc="left")]
    assert len(maps) == 2
    for axes, (name, part) in zip(maps, frame.groupby("boundary", sort=False), strict=True):
        lowest = part.loc[part["boundary_energy"].astype(float).idxmin()]
        np.testing.assert_allclose(marked(axes, "best"), [[lowest["x"], lowest["y"]]])
        assert f"{lowest['boundary_energy']:.3f} J/m²" in axes.get_title(loc="left"), name
    np.testing.assert_allclose(marked(maps[0], "failed"), [frame.loc[2, ["x", "y"]].astype(float)])
    np.testing.assert_allclose(marked(maps[0], "queued"), [frame.loc[3, ["x", "y"]].astype(float)])
    assert legend_texts(figure) == ["lowest energy", "not computed", "failed"]
    assert maps[0].get_ylabel() == "y (Å)"


def test_of_very_many_boundaries_the_lowest_are_drawn(kriged):
    rows = [one | {"boundary": f"b{number}", "plane": f"({number} 1 0)", "boundary_energy": 1 + 0.01 * number}
            for number in range(MOST_MAPS + 3) for one in candidates(kriged)[:3]]  # fmt: skip
    figure = translation_figure(pd.DataFrame(rows))
    assert sum(bool(axes.images and axes.get_title(loc="left")) for axes in figure.axes) == MOST_MAPS
    assert "3 boundaries not shown" in figure._suptitle.get_text()


@pytest.mark.parametrize("which", ["search", "grid", "long", "boundaries", "two axes", "translations"])
def test_texts_overlap_nothing_and_files_are_written(which, searches, boundaries, diagonal, tmp_path):
    frames = {
        "search": searches[:1],
        "grid": searches[1:],
        "long": [boundaries[6]],
        "boundaries": boundaries,
        "two axes": boundaries + diagonal,
        "translations": [one for row in boundaries[:5] for one in candidates(row)],
    }
    figure = campaign_figure(pd.DataFrame(frames[which]))
    assert overlaps(figure) == []
    for suffix in ("png", "pdf"):
        assert save(figure, tmp_path / f"figure.{suffix}").stat().st_size > 5000


@pytest.mark.parametrize("draw", [campaign_figure, boundary_energies])
def test_nothing_to_draw_is_explained(draw, kriged):
    with pytest.raises(InputError, match="no results to draw"):
        draw(pd.DataFrame())
    failed = pd.DataFrame([kriged | {"state": "failed", "boundary_energy": None, "trials": None}] * 3)
    with pytest.raises(
        InputError, match=r"none of 3 results has a boundary_energy, 3 of them failed(.|\n)*hts failures"
    ):
        draw(failed)
    queued = failed.assign(state="queued")
    with pytest.raises(InputError, match=r"none of 3 results(.|\n)*hts status"):
        draw(queued)
    with pytest.raises(InputError, match=r"no result has an angle"):
        draw(pd.DataFrame([kriged | {"angle": None, "trials": None}]))


def test_what_a_figure_needs_is_asked_for(kriged):
    with pytest.raises(InputError, match="did you mean 'translation_search'"):
        campaign_figure(pd.DataFrame([kriged]), engine="translation_serch")
    with pytest.raises(InputError, match="has trials"):
        search_figure(pd.DataFrame([kriged]).drop(columns="trials"))
    with pytest.raises(InputError, match=r"translation \(x, y\)"):
        translation_figure(pd.DataFrame([kriged]))


def test_trials_are_read_from_mappings_and_from_their_text(kriged):
    trials = kriged["trials"]
    assert trials_of(str(trials)) == trials_of(json.dumps(trials)) == trials
    for nothing in (None, float("nan"), "", "{", "[1]", {"translations": []}, trials | {"translations": []}):
        assert trials_of(nothing) is None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_interactive_figures_are_small_json_that_browsers_and_the_policy_accept(
    theme, kriged, enumerated, boundaries, diagonal
):
    frames = [[kriged], [enumerated], boundaries, boundaries + diagonal, candidates(kriged) + candidates(boundaries[1])]
    for rows in frames:
        text = figure_json(boundary_energies(pd.DataFrame(rows), theme=theme))
        content = json.loads(text, parse_constant=pytest.fail)
        assert len(text) < 200_000
        assert not re.search(r"<(b|i|a|sub|sup|span)\b", text)
        assert {trace["type"] for trace in content["data"]} == {"scatter"}


def test_interactive_points_are_the_results_and_lead_to_their_candidates(boundaries, kriged):
    figure = boundary_energies(pd.DataFrame(boundaries))
    traces = {trace.name: trace for trace in figure.data if trace.name}
    prefix = figure.layout.meta["prefix"]
    by_id = {row["candidate_id"]: row for row in boundaries}
    assert {"cu training", "cu test", "perfect crystal"} == set(traces)
    for name in ("cu training", "cu test"):
        assert len(traces[name].x) == 4
        for x, y, key in zip(traces[name].x, traces[name].y, traces[name].customdata, strict=True):
            row = by_id[prefix + key]
            assert (x, y) == pytest.approx((row["angle"], row["boundary_energy"]), rel=1e-4)
    assert list(traces["perfect crystal"].x) == [0, 90]
    frame = pd.DataFrame(candidates(kriged))
    translations = boundary_energies(frame)
    points = translations.data[0]
    found = {translations.layout.meta["prefix"] + key: value for key, value in
             zip(points.customdata, points.marker.color, strict=True)}  # fmt: skip
    done = frame[frame["state"] == "done"]
    assert found == pytest.approx(dict(zip(done["candidate_id"], done["boundary_energy"], strict=True)), rel=1e-4)


def test_the_interactive_map_has_the_trials_of_the_search(kriged):
    trials = kriged["trials"]
    figure = boundary_energies(pd.DataFrame([kriged | {"trials": str(trials)}]))
    traces = {trace.name: trace for trace in figure.data}
    best = int(np.nanargmin(np.array(trials["energies"], dtype=float)))
    assert (traces["lowest energy"].x[0], traces["lowest energy"].y[0]) == pytest.approx(
        tuple(trials["translations"][best][:2]), abs=1e-4
    )
    assert min(traces["lowest so far"].y) == pytest.approx(kriged["boundary_energy"], rel=1e-4)
    assert len(traces["trial, as asked"].x) == sum(energy is not None for energy in trials["energies"]) - 1
    assert len(traces["computed or equal"].x) > len(trials["energies"])
    for text in (f"{kriged['boundary_energy']:.3f} J/m²", "14 of", "fixed translation"):
        assert text in figure.layout.title.text


def test_the_dashboard_draws_the_curve_and_of_one_boundary_the_map(settings, database, kriged):
    from hts_flows.campaign import Campaign
    from hts_flows.dashboard.api.figures import FigureQuery, draw
    from hts_flows.dashboard.connection import Connection
    from hts_flows.dashboard.state import Dashboard
    from hts_flows.stores.campaigns import save_campaign
    from hts_flows.stores.results import Result

    space = {"domain": "grain_boundaries", "boundaries": ["Cu-S5-001-210", "Cu-S5-001-310"]}
    row = {"engine": "translation_search", "forces": {"engine": "tight_binding"}}
    campaign = Campaign.from_dict({"name": "copper", "candidates": space, "calculate": [row]})
    save_campaign(database, campaign)
    level = campaign.ladder()[0]
    for candidate, energy in zip(campaign.all_candidates(), (kriged["boundary_energy"], 0.9), strict=True):
        result = Result(
            candidate_id=candidate.candidate_id,
            candidate=candidate,
            label=candidate.label,
            formula=candidate.formula,
            engine="translation_search",
            settings=level.engine.model_dump(mode="json"),
            settings_hash=level.settings_hash,
            state="done",
            campaigns=["copper"],
            facets=campaign.domain.facets(candidate),
            properties={"boundary_energy": energy, "stop_reason": "budget", "n_candidates": kriged["n_candidates"]},
            calculation={"translation_search": kriged["trials"]},
        )
        database.results.insert_one(result.model_dump(mode="json") | {"_id": result.key})
    dashboard = Dashboard(settings, settings.dashboard, Connection(settings))
    both = draw(dashboard, database, "copper", "own", FigureQuery())
    angles = {x: y for trace in both.data if trace.customdata for x, y in zip(trace.x, trace.y, strict=True)}
    assert angles == pytest.approx({53.13: kriged["boundary_energy"], 36.87: 0.9}, rel=1e-3)
    one = draw(dashboard, database, "copper", "own", FigureQuery(text="(210)"))
    assert "lowest so far" in {trace.name for trace in one.data}
    assert "stopped: budget spent" in one.layout.title.text
    with pytest.raises(InputError, match="no results to draw"):
        draw(dashboard, database, "copper", "own", FigureQuery(text="nothing is called so"))


def test_reasons_of_several_searches_are_all_said(kriged):
    figure = campaign_figure(pd.DataFrame([kriged | {"stop_reason": "patience, exhausted"}]))
    assert "stopped: no further gain, none left" in figure.axes[1].get_title(loc="left")
    figure = campaign_figure(pd.DataFrame([kriged | {"stop_reason": ""}]))
    assert "stopped" not in figure.axes[1].get_title(loc="left")
