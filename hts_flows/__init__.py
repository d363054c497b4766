"""High-throughput screening of materials: one campaign file to stored, queryable results.

The names below are loaded on first use, so that ``import hts_flows`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Campaign": "hts_flows.campaign",
    "Candidate": "hts_flows.candidates",
    "Settings": "hts_flows.settings",
    "connect": "hts_flows.stores",
}

__all__ = ["Campaign", "Candidate", "Settings", "__version__", "connect"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hts_flows' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
