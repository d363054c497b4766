"""When a search ends: rules on what was asked for and what came out."""

from __future__ import annotations

from collections.abc import Sequence

#: Names of the rules, with what they mean in a sentence.
RULES = {
    "budget": "as many candidates were asked for as the budget allows",
    "patience": "the last evaluations brought no gain",
    "z_below": "the largest Z-score of what is left is too small",
    "exhausted": "every candidate that may be computed was asked for",
}


def evaluations_without_gain(
    before: float | None, values: Sequence[float | None], *, minimize: bool, minimal_gain: float = 0.0
) -> int:
    """Count the last evaluations in a row that brought no gain.

    Parameters
    ----------
    before
        Best value before the first of them; None where nothing was known.
    values
        What came out, in the order in which it was asked for; None: failed.
    minimize
        Whether low values are wanted.
    minimal_gain
        Gains up to this do not count; in the unit of the values.

    Returns
    -------
    int
        0 where the last one was a gain. Small gains add up: each value is compared with the best at the last gain.
    """
    sign = 1.0 if minimize else -1.0
    best = None if before is None else sign * before
    without = 0
    for value in values:
        if value is not None and (best is None or best - sign * value > minimal_gain):
            best, without = sign * value, 0
        else:
            without += 1
    return without
