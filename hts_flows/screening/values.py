"""Values as the Gaussian process sees them: transformed, of mean 0 and variance 1, and the lower the better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: What a user may ask for.
TRANSFORMS = ("auto", "log", "none")
#: "auto" needs this many values to tell the two apart.
_ENOUGH = 3
#: Largest absolute value of what is given; squares and exponentials of more would not be finite.
LARGEST = 1e100


def real(name: str, values: Any, hint: str) -> Floats:
    """An array of real numbers, copied only if it is none yet.

    Parameters
    ----------
    name
        Of the argument, for messages.
    values
        What was given.
    hint
        What is needed.

    Raises
    ------
    InputError
        Where these are no real numbers.
    """
    try:
        if np.iscomplexobj(values):
            raise InputError(f"{name} are complex", hint)
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers: {error}", hint) from None


def _deviation(values: Floats) -> float:
    """Standard deviation, also of numbers whose squares are too small for a double."""
    shifted = values - values.mean()
    unit = float(np.abs(shifted).max())
    return unit * float(np.sqrt(np.mean((shifted / unit) ** 2))) if unit else 0.0


def choose_transform(values: Floats) -> str:
    """Say under which of "log" and "none" the values are more likely a normal sample.

    Both normal distributions have two parameters, so their maximal likelihoods compare as they are, with the Jacobian
    of the logarithm (Box, Cox: J. R. Stat. Soc. B 26, 211 (1964), for λ = 0 and 1).

    Parameters
    ----------
    values
        Observed values, shape (n,).
    """
    if len(values) < _ENOUGH or values.min() <= 0 or values.min() == values.max():
        return "none"
    logs = np.log(values)
    return "log" if np.log(_deviation(logs)) + logs.mean() < np.log(_deviation(values)) else "none"


@dataclass(frozen=True)
class ValueScale:
    """The way from values to internal ones and back.

    Attributes
    ----------
    transform
        "log" or "none".
    minimize
        Whether lower values are better; else the sign is turned.
    mean, deviation
        Of the transformed values.
    """

    transform: str
    minimize: bool
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Floats, *, transform: str, minimize: bool) -> ValueScale:
        """Scale of observed values.

        Parameters
        ----------
        values
            Observed values, shape (n,).
        transform
            "log" or "none".
        minimize
            Whether lower values are better.
        """
        transformed = np.log(values) if transform == "log" else values
        # Equal values have no deviation; any unit then does.
        deviation = _deviation(transformed)
        scale = deviation if deviation > 1e-12 * float(np.abs(transformed).max()) else 1.0
        return cls(transform, minimize, float(transformed.mean()), scale)

    @property
    def sign(self) -> float:
        """1 or −1."""
        return 1.0 if self.minimize else -1.0

    def internal(self, values: Floats) -> Floats:
        """Values as the Gaussian process sees them.

        Parameters
        ----------
        values
            In the user's unit, any shape.
        """
        transformed = np.log(values) if self.transform == "log" else values
        return self.sign * (transformed - self.mean) / self.deviation

    def transformed(self, internal: Floats) -> Floats:
        """Transformed values (logarithms where there is a logarithm).

        Parameters
        ----------
        internal
            Any shape.
        """
        return self.mean + self.sign * self.deviation * internal

    def original(self, internal: Floats) -> Floats:
        """Values in the user's unit: of a mean of logarithms, the median.

        Parameters
        ----------
        internal
            Any shape.
        """
        transformed = self.transformed(internal)
        return np.exp(transformed) if self.transform == "log" else transformed

    def original_deviation(self, mean: Floats, deviation: Floats) -> Floats:
        """Standard deviations in the user's unit: of logarithms, half the width of the interval mean ± deviation.

        Parameters
        ----------
        mean, deviation
            Internal, same shape.
        """
        if self.transform == "log":
            return np.exp(self.transformed(mean)) * np.sinh(self.deviation * deviation)
        return self.deviation * deviation
