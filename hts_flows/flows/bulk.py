"""Bulk crystals as they stand in an inventory: the references of the other domains."""

from __future__ import annotations

from hts_flows.flows.base import Domain
from hts_flows.structures.bulk import build, is_molecule

DOMAIN = Domain(name="bulk", build=build, fixed_cell=is_molecule)
