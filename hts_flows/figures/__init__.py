"""Pictures of results: each function takes a table of results and gives a matplotlib figure."""

from __future__ import annotations

from hts_flows.figures.style import save

__all__ = ["save"]
