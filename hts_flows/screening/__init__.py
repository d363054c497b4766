"""Virtual screening: Gaussian-process scores of candidates that were not evaluated yet, by asking and telling.

A pure library: arrays in, arrays and tables out. It knows no database, no campaign and no engine.

The name below is loaded on first use, so that ``import hts_flows.screening`` stays fast.

Examples
--------
>>> import numpy as np
>>> from hts_flows.screening import Screener
>>> x = np.linspace(-2, 2, 50)[:, None]
>>> screener = Screener(x, seed=1)
>>> for _ in range(15):
...     ids = screener.ask(1)
...     screener.tell(ids, (x[ids, 0] - 0.5) ** 2)
>>> float(x[screener.best[0], 0].round(1))
0.5
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {"Screener": "hts_flows.screening.screener"}

__all__ = ["Screener"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hts_flows.screening' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
