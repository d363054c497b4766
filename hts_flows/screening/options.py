"""Options of a screener, checked before anything is computed."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError, nearest
from hts_flows.screening.acquisition import ACQUISITIONS
from hts_flows.screening.hyperparameters import Given
from hts_flows.screening.values import TRANSFORMS, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Less noise than this makes covariance matrices of near-duplicates singular.
SMALLEST_NOISE = 1e-8


@dataclass(frozen=True)
class Options:
    """What a user sets; see :class:`hts_flows.screening.screener.Screener`.

    Attributes
    ----------
    minimize, acquisition, seed, n_initial, transform, length_scale, groups, noise, signal_variance, kappa, starts,
    standardise_on, tolerance
        As there, with sequences as tuples.
    """

    minimize: bool
    acquisition: str
    seed: int
    n_initial: int
    transform: str
    length_scale: float | tuple[float, ...] | None
    groups: tuple[tuple[int, ...], ...] | None
    noise: float | None
    signal_variance: float | None
    kappa: float
    starts: tuple[int, ...]
    standardise_on: tuple[int, ...] | None
    tolerance: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # JSON knows no numpy
                object.__setattr__(self, field.name, value.item())
        self._check_choices()
        self._check_numbers()

    def _check_choices(self) -> None:
        for name, value, allowed in (
            ("acquisition", self.acquisition, ACQUISITIONS),
            ("transform", self.transform, TRANSFORMS),
        ):
            if value not in allowed:
                raise InputError(f"{name}: {value!r} is unknown", nearest(str(value), allowed))
        if not isinstance(self.minimize, bool):
            raise InputError(f"minimize: {self.minimize!r} is not allowed", "allowed: True, False")
        if self.standardise_on == ():
            raise InputError("standardise_on: no candidate is named", "name some, or leave it out for all of them")

    def _check_numbers(self) -> None:
        for name, number, lowest in (("seed", self.seed, 0), ("n_initial", self.n_initial, 1)):
            if not isinstance(number, int) or isinstance(number, bool) or number < lowest:
                raise InputError(f"{name}: {number!r} is not allowed", f"allowed: integers from {lowest}")
        scales = self.length_scale if isinstance(self.length_scale, tuple) else (self.length_scale,)
        given = [("length_scale", scale, 0.0) for scale in scales]
        given += [("noise", self.noise, SMALLEST_NOISE), ("signal_variance", self.signal_variance, 0.0)]
        for name, one, least in [*given, ("kappa", self.kappa, 0.0)]:
            if one is not None and not (_is_number(one) and math.isfinite(one) and one >= least and one > 0):
                hint = f"allowed: numbers from {least:g}" if least else "allowed: positive numbers"
                raise InputError(f"{name}: {one!r} is not allowed", hint)
        if not (_is_number(self.tolerance) and 0 <= self.tolerance < 1):
            raise InputError(f"tolerance: {self.tolerance!r} is not allowed", "allowed: numbers from 0, below 1")

    def active_groups(self, constant: NDArray[np.bool_]) -> list[NDArray[np.int_]]:
        """For each length scale the columns that vary; groups without one drop out.

        Parameters
        ----------
        constant
            Which columns are constant, shape (n_descriptors,).

        Raises
        ------
        InputError
            Where the groups are no partition of the columns, or do not match the length scales.
        """
        width = len(constant)
        groups = self.groups or (tuple(range(width)),)
        if sorted(column for group in groups for column in group) != list(range(width)):
            message = f"groups: {[list(group) for group in groups]} do not hold each of the {width} descriptors once"
            raise InputError(message, f"share the columns 0 to {width - 1} out among the groups")
        if isinstance(self.length_scale, tuple) and len(self.length_scale) != len(groups):
            message = f"length_scale: {len(self.length_scale)} numbers for {len(groups)} groups"
            raise InputError(message, "give one number, or one for each group")
        return [np.array([column for column in group if not constant[column]], dtype=int) for group in groups]

    def given(self) -> Given:
        """Hyper-parameters that are not fitted."""
        scales = self.length_scale
        if scales is not None and not isinstance(scales, tuple):
            scales = (float(scales),) * len(self.groups or ((),))
        return Given(scales, self.noise, self.signal_variance)

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible copy."""
        return asdict(self)


def count(name: str, value: Any) -> int:
    """A number of candidates.

    Parameters
    ----------
    name
        Of the argument, for messages.
    value
        What was given.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name}: {value!r} is no number of candidates", "allowed: integers from 1")
    return int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole(value: float | Sequence[float] | None) -> float | tuple[float, ...] | None:
    """A number as it is, a sequence as a tuple.

    Parameters
    ----------
    value
        Length scale or length scales.
    """
    if value is None or np.ndim(value) == 0:
        return value  # type: ignore[return-value]
    return tuple(real("length_scale", value, "give one number, or one for each group").ravel().tolist())


def partition(groups: Sequence[Sequence[int]] | None) -> tuple[tuple[int, ...], ...] | None:
    """Groups of columns as tuples.

    Parameters
    ----------
    groups
        Numbers of columns, or None.
    """
    if groups is None:
        return None
    try:
        return tuple(tuple(operator.index(column) for column in group) for group in groups)
    except TypeError:
        raise InputError(
            f"groups: {groups!r} is not allowed", "allowed: lists of columns, as in [[0, 1], [2]]"
        ) from None
