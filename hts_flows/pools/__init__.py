"""Candidates from elsewhere: what a campaign lists under ``candidates: pools:``."""

from __future__ import annotations

from hts_flows.pools.cells import structure_from_text, structure_to_text
from hts_flows.pools.frames import frame_to_parquet
from hts_flows.pools.reading import read_pool
from hts_flows.pools.source import MaterialsProjectQuery, PoolSource

__all__ = [
    "MaterialsProjectQuery",
    "PoolSource",
    "frame_to_parquet",
    "read_pool",
    "structure_from_text",
    "structure_to_text",
]
