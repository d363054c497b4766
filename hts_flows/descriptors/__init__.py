"""Descriptors of compounds: numbers that a property is predicted from, made from formula, structure and data.

A pure library: entries in, one table out. It knows no database, no campaign and no engine.

The names below are loaded on first use, so that ``import hts_flows.descriptors`` stays fast.

Examples
--------
>>> from hts_flows.descriptors import Entry, describe_entries
>>> table = describe_entries([Entry("PbSe"), Entry("CaF2")], ["fractions"])
>>> table.names
('fraction_F', 'fraction_Ca', 'fraction_Se', 'fraction_Pb')
>>> table.values[0]
array([0. , 0. , 0.5, 0.5])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hts_flows.descriptors.entries import Entry
    from hts_flows.descriptors.families import Family, descriptor_names
    from hts_flows.descriptors.table import DescriptorTable, describe_entries

_PUBLIC = {
    "DescriptorTable": "hts_flows.descriptors.table",
    "Entry": "hts_flows.descriptors.entries",
    "Family": "hts_flows.descriptors.families",
    "describe_entries": "hts_flows.descriptors.table",
    "descriptor_names": "hts_flows.descriptors.families",
}

__all__ = ["DescriptorTable", "Entry", "Family", "describe_entries", "descriptor_names"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hts_flows.descriptors' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
