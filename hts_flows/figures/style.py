"""How all figures look, and how they are saved.

Figures are made without pyplot: there is no display, no window and no state shared between them. Categories take the
colours of Okabe and Ito (Color Universal Design, 2008); signed energies take ColorBrewer's red–blue scale, which people
with colour-vision deficiencies tell apart (Harrower and Brewer, Cartogr. J. 40, 27 (2003)), centred at zero.
"""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import ArrayLike

#: Formats that figures are saved in, by suffix.
SUFFIXES = (".pdf", ".png", ".svg")
#: Dots per inch of bitmaps.
DPI = 200
#: Negative (bound) blue, positive red.
DIVERGING = "RdBu_r"
#: Okabe and Ito's colours, black left for text and marks.
CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
#: Scale for more categories than those.
MANY_CATEGORIES = "viridis"
EMPTY = "#F2F2F2"
EDGE = "#666666"
FAILED = "#000000"
FAILED_MARK = "x"

_DARK = 0.45
_MAX_DENOMINATOR = 24
_FRACTION_ERROR = 1e-4

STYLE: dict[str, Any] = {
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


@contextmanager
def styled() -> Iterator[None]:
    """Make what is drawn inside look like all other figures, without changing matplotlib's settings outside."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def new_figure(width: float, height: float) -> Figure:
    """Give an empty figure whose parts make room for each other.

    Parameters
    ----------
    width, height
        Inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def energy_norm(values: ArrayLike) -> CenteredNorm:
    """Give the colour scale of signed energies: zero in the middle, the same reach to both sides.

    Parameters
    ----------
    values
        Energies, any shape; NaN is left out. The reach is the 95th percentile of their size, so that one outlier does
        not make all others pale.
    """
    sizes = np.abs(np.asarray(values, dtype=float))
    sizes = sizes[np.isfinite(sizes)]
    reach = float(np.percentile(sizes, 95)) if sizes.size else 1.0
    return CenteredNorm(0.0, max(reach, 1e-3))


def category_colours(number: int) -> list[Any]:
    """Colours for a number of categories, all different."""
    if number <= len(CATEGORIES):
        return list(CATEGORIES[:number])
    return list(mpl.colormaps[MANY_CATEGORIES](np.linspace(0.05, 0.95, number)))


def text_colour(rgba: Iterable[float]) -> str:
    """Black or white, whichever is readable on a colour (relative luminance, Rec. 709)."""
    red, green, blue = list(rgba)[:3]
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < _DARK else "black"


def fraction_text(value: float) -> str:
    """Write a concentration as a fraction where it is a simple one: 1/6, else 0.173."""
    fraction = Fraction(value).limit_denominator(_MAX_DENOMINATOR)
    return str(fraction) if abs(float(fraction) - value) < _FRACTION_ERROR else f"{value:.3g}"


def save(figure: Figure, path: Path | str) -> Path:
    """Write a figure to a file, in the format that its suffix says.

    Parameters
    ----------
    figure
        What to write.
    path
        A .png (200 dots per inch), .pdf or .svg file; missing folders are made.

    Raises
    ------
    InputError
        Another suffix.
    """
    from pathlib import Path as _Path

    target = _Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"cannot write a figure as {target.suffix or 'a file without suffix'!r} ({target}); "
            f"{nearest(suffix, SUFFIXES)}",
            f"end the name with one of {', '.join(SUFFIXES)}",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with styled():
        figure.savefig(target, dpi=DPI, format=suffix[1:])
    return target
