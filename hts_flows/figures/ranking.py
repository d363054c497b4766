"""Pictures of a search by ranking: the scores, the progress, how well the model predicts, and which elements promise.

They take the tables of :mod:`hts_flows.stores.ranking_queries` and the ranking's document, and need no database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hts_flows.errors import InputError
from hts_flows.figures.drawing import table_height, table_rows
from hts_flows.figures.labels import place_labels
from hts_flows.figures.ranking_panels import (
    BELOW,
    BEST,
    SHAPES,
    draw_elements,
    draw_parity,
    draw_progress,
    draw_scores,
    symbols_of,
)
from hts_flows.figures.style import EDGE, EMPTY, FAILED_MARK, new_figure, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hts_flows.stores.rankings import Ranking

#: Widest a figure gets, inches: two columns of a journal are 7.
WIDTH = 7.2


def score_figure(table: pd.DataFrame, ranking: Ranking, *, descriptor: str | None = None) -> Figure:
    """Draw the Z-score of all candidates against a descriptor, with marks for what became of them.

    Parameters
    ----------
    table
        As :func:`hts_flows.stores.ranking_queries.current_table` gives it.
    ranking
        Its document; the candidates that it asked for are named.
    descriptor
        A plain descriptor, without its "x"; the first that varies when left out, or the predicted mean where none
        does.

    Raises
    ------
    InputError
        There are no predictions, or no such descriptor.
    """
    _check(table)
    with styled():
        figure = new_figure(WIDTH, 3.6)
        axes = figure.subplots()
        names = draw_scores(axes, table, ranking, descriptor)
        _legend(figure, [*_marks(set(table["status"])), *_below(axes)])
        place_labels(axes, *names)
    return figure


def progress_figure(history: pd.DataFrame, ranking: Ranking) -> Figure:
    """Draw what each trial gave, and the best value so far.

    Parameters
    ----------
    history
        As :func:`hts_flows.stores.ranking_queries.history` gives it.
    ranking
        Document of the last ranking.

    Raises
    ------
    InputError
        Nothing was asked for yet.
    """
    _check_history(history)
    with styled():
        figure = new_figure(WIDTH, 3.2)
        axes = figure.subplots()
        draw_progress(axes, history, ranking)
        _legend(figure, [*_marks(set(history["status"]) - {"not asked"}), *_lines(history)])
    return figure


def parity_figure(left_out: pd.DataFrame, ranking: Ranking) -> Figure:
    """Draw what the model predicts for each computed candidate from all others, against what was computed.

    Parameters
    ----------
    left_out
        Leave-one-out predictions, as :func:`hts_flows.stores.rankings.ranking_tables` gives them.
    ranking
        Document of the ranking.

    Raises
    ------
    InputError
        There are no predictions.
    """
    if left_out.empty:
        raise InputError("there are no values to compare predictions with", "see 'hts status' for how far it is")
    with styled():
        figure = new_figure(3.6, 3.4)
        draw_parity(figure.subplots(), left_out, ranking)
    return figure


def element_figure(table: pd.DataFrame, ranking: Ranking, *, score: str = "max") -> Figure:
    """Draw on a periodic table how promising the candidates with each element are that were not computed yet.

    Parameters
    ----------
    table
        As :func:`hts_flows.stores.ranking_queries.current_table` gives it.
    ranking
        Its document.
    score
        "max": the best Z-score of a candidate with the element; "mean": the mean of all.

    Raises
    ------
    InputError
        There are no predictions, or no such score.
    """
    _check(table)
    with styled():
        figure = new_figure(WIDTH, WIDTH * 0.97 * table_height(table_rows(symbols_of(table))) / 18.1 + 0.25)
        draw_elements(figure.subplots(), table, score, WIDTH * 0.97)
        figure.suptitle(f"Ranking {ranking.number}", fontsize=7, x=0.99, ha="right")
    return figure


def ranking_figure(
    table: pd.DataFrame,
    history: pd.DataFrame,
    left_out: pd.DataFrame,
    ranking: Ranking,
    *,
    element_score: str = "max",
    descriptor: str | None = None,
) -> Figure:
    """Draw the four pictures of a ranking on one page.

    Parameters
    ----------
    table, history, left_out, ranking, descriptor
        As for :func:`score_figure`, :func:`progress_figure` and :func:`parity_figure`.
    element_score
        As ``score`` of :func:`element_figure`.

    Raises
    ------
    InputError
        There are no predictions.
    """
    _check(table)
    _check_history(history)
    with styled():
        figure = new_figure(WIDTH, 5.3)
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.3, 1.0], squeeze=False)[:, 0]
        left, right = upper.subplots(1, 2)
        names = draw_scores(left, table, ranking, descriptor)
        draw_progress(right, history, ranking)
        statuses = set(table["status"]) | set(history["status"])
        _legend(upper, [*_marks(statuses), *_below(left), *_lines(history)])
        parity, elements = lower.subplots(1, 2, width_ratios=[1.0, 1.6])
        draw_parity(parity, left_out, ranking)
        draw_elements(elements, table, element_score, WIDTH * 0.58)
        for letter, axes in zip("abcd", (left, right, parity, elements), strict=True):
            title = f"({letter})  {axes.get_title(loc='left')}".rstrip()
            axes.set_title(title, loc="left")
        place_labels(left, *names)
    return figure


def _check(table: pd.DataFrame) -> None:
    if "z_score" not in table or not table["z_score"].notna().any():
        raise InputError("this ranking has no predictions to draw", "the training set is computed first")


def _check_history(history: pd.DataFrame) -> None:
    if history.empty:
        raise InputError("nothing was asked for yet, there is no progress to draw", "see 'hts status'")


def _below(axes: Axes) -> list[Any]:
    """Entry of the legend for scores below the axis, where there are any."""
    marker = Line2D([], [], color=EDGE, marker=BELOW, ms=4, mew=0, ls="none", label="below the axis")
    return [marker] if any(np.size(one.get_offsets()) and one.get_gid() == BELOW for one in axes.collections) else []


def _marks(statuses: set[str]) -> list[Any]:
    return [
        Line2D([], [], color=colour, marker=marker, ms=4, mew=1 if marker == FAILED_MARK else 0, ls="none", label=name)
        for name, (marker, colour) in SHAPES.items()
        if name in statuses
    ]


def _lines(history: pd.DataFrame) -> list[Any]:
    found: list[Any] = [Line2D([], [], color=BEST, lw=1.2, label="best so far")]
    return [*found, Patch(facecolor=EMPTY, label="training")] if history["training"].any() else found


def _legend(figure: Any, handles: list[Any]) -> None:
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
