"""One table of the descriptors that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows import __version__
from hts_flows.descriptors.compositions import Compositions, read_compositions, symbols
from hts_flows.descriptors.elemental import PROPERTIES, STATISTICS, mean_masses, property_statistics
from hts_flows.descriptors.entries import Crystals, Entry
from hts_flows.descriptors.families import descriptor_names, structure_family
from hts_flows.descriptors.structural import require_package, structure_vectors
from hts_flows.errors import InputError, nearest
from hts_flows.pools.cells import DENSITY_UNIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Packages whose numbers may be in any table.
PACKAGES = ("ase", "numpy", "pymatgen", "pymatgen-core")


@dataclass(frozen=True)
class DescriptorTable:
    """Descriptors of entries.

    Attributes
    ----------
    values
        Shape (n_entries, n_descriptors), all finite.
    names
        Of the columns.
    groups
        Numbers of the columns of each family, in the order asked for: for one length scale a family.
    plain
        Names of the columns that are one number of the compound with a unit of its own: volume_per_atom, density, and
        numbers that came with the entries.
    provenance
        Families, options and package versions; compatible with JSON.
    """

    values: Floats
    names: tuple[str, ...]
    groups: list[list[int]]
    plain: tuple[str, ...]
    provenance: dict[str, Any]


def describe_entries(
    entries: Sequence[Entry],
    names: Sequence[str],
    *,
    cache: Path | None = None,
    elements: Sequence[str] | None = None,
) -> DescriptorTable:
    """Compute descriptors of entries. The same entries give the same table, to the last bit.

    Parameters
    ----------
    entries
        Compounds, at least one.
    names
        Families (:func:`hts_flows.descriptors.descriptor_names`) and names of numbers that came with the entries.
    cache
        Folder in which descriptors of structures are kept, so that a later call reads them; None: none is kept.
    elements
        Elements that get a column in "elements" and "fractions"; those that occur in the entries when left out.

    Returns
    -------
    DescriptorTable
        The table.

    Raises
    ------
    InputError
        An unknown descriptor, an optional package that is not installed, entries without what a descriptor needs, a
        formula that cannot be read, an element without known properties. It says which entry, and how many there are.
    """
    entries = list(entries)
    if not entries:
        raise InputError("there is no entry to describe", "give at least one")
    _refuse_names(entries, names)
    for name in names:
        require_package(name)
    work = _Work(entries, cache, elements)
    blocks = [work.block(name) for name in names]
    ends = np.cumsum([values.shape[1] for values, _ in blocks])
    groups = [list(range(end - values.shape[1], end)) for (values, _), end in zip(blocks, ends.tolist(), strict=True)]
    families = {family.name for family in descriptor_names()}
    plain = tuple(name for name in names if name not in families or name in {"volume_per_atom", "density"})
    provenance = {
        "n_entries": len(entries),
        "descriptors": {
            name: {"columns": len(group), **work.options.get(name, {})}
            for name, group in zip(names, groups, strict=True)
        },
        "versions": {"hts_flows": __version__, **{one: version(one) for one in PACKAGES}, **work.versions},
    }
    columns = tuple(column for _, block in blocks for column in block)
    return DescriptorTable(np.hstack([values for values, _ in blocks]), columns, groups, plain, provenance)


class _Work:
    """What the families share while one table is made."""

    def __init__(self, entries: list[Entry], cache: Path | None, elements: Sequence[str] | None) -> None:
        self.entries = entries
        self.cache = cache
        self.elements = elements
        self.crystals = Crystals(entries)
        self.options: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, str] = {}

    @cached_property
    def compositions(self) -> Compositions:
        return read_compositions(self.entries)

    def block(self, name: str) -> tuple[Floats, tuple[str, ...]]:
        """Values and names of the columns of one descriptor."""
        blocks: dict[str, Callable[[], tuple[Floats, tuple[str, ...]]]] = {
            "elements": lambda: self._amounts("elements", "has"),
            "fractions": lambda: self._amounts("fractions", "fraction"),
            "properties": self._properties,
            "volume_per_atom": lambda: (self._volume_per_atom()[:, None], ("volume_per_atom",)),
            "density": lambda: (self._density()[:, None], ("density",)),
            "soap": lambda: self._structural("soap"),
            "local_order": lambda: self._structural("local_order"),
        }
        if name in blocks:
            return blocks[name]()
        self.options[name] = {"source": "data"}
        return self._column(name)[:, None], (name,)

    def _amounts(self, name: str, prefix: str) -> tuple[Floats, tuple[str, ...]]:
        columns = self.compositions.columns(self.elements)
        present = [symbols()[number] for number in columns]
        self.options[name] = {"elements": present}
        amounts = self.compositions.amounts(columns)
        values = (amounts > 0).astype(float) if name == "elements" else amounts
        return values, tuple(f"{prefix}_{symbol}" for symbol in present)

    def _properties(self) -> tuple[Floats, tuple[str, ...]]:
        self.options["properties"] = {"properties": list(PROPERTIES), "statistics": list(STATISTICS)}
        return property_statistics(self.compositions)

    def _structural(self, name: str) -> tuple[Floats, tuple[str, ...]]:
        family = structure_family(name)
        self.options[name] = {"options": family.options}
        self.versions.update(family.versions())
        return structure_vectors(family, self.crystals, range(len(self.entries)), self.cache), family.columns

    def _volume_per_atom(self) -> Floats:
        """From the data, else from the structure, else from the density in the data; Å³."""
        values = self._positive("volume_per_atom")
        self._fill_from_structures(values)
        if np.isnan(values).any():
            density = self._positive("density")
            values = np.where(np.isnan(values), DENSITY_UNIT * mean_masses(self.compositions) / density, values)
        self._refuse_missing("volume_per_atom", values)
        return values

    def _density(self) -> Floats:
        """From the data, else from the volume in the data, else from the structure; g/cm³."""
        values = self._positive("density")
        if np.isnan(values).any():
            volumes = self._positive("volume_per_atom")
            volumes[~np.isnan(values)] = 1.0  # of these no structure is needed
            self._fill_from_structures(volumes)
            values = np.where(np.isnan(values), DENSITY_UNIT * mean_masses(self.compositions) / volumes, values)
        self._refuse_missing("density", values)
        return values

    def _fill_from_structures(self, volumes: Floats) -> None:
        missing = np.flatnonzero(np.isnan(volumes)).tolist()
        numbers = [number for number in missing if self.entries[number].structure is not None]
        if numbers:
            family = structure_family("volume_per_atom")
            volumes[numbers] = structure_vectors(family, self.crystals, numbers, self.cache)[:, 0]

    def _refuse_missing(self, name: str, values: Floats) -> None:
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            labels = ", ".join(self.entries[number].label for number in missing[:3])
            raise InputError(
                f"descriptor {name!r}: {len(missing)} of {len(values)} entries have neither a structure nor "
                f"volume_per_atom or density, e.g. {labels}",
                "add one of these, leave out these entries, or choose descriptors of the formula (elements, "
                "fractions, properties)",
            )

    def _positive(self, name: str) -> Floats:
        """A column of the data, NaN where there is none; it must be positive."""
        values = np.array([float(entry.data.get(name, np.nan)) for entry in self.entries])
        wrong = np.flatnonzero((values <= 0) | np.isinf(values))
        if len(wrong):
            raise InputError(
                f"{name} of {self.entries[wrong[0]].label} is {values[wrong[0]]:g}, and {len(wrong)} of {len(values)} "
                "entries have such a number",
                "it must be above 0 and finite: correct these entries or leave them out",
            )
        return values

    def _column(self, name: str) -> Floats:
        values = np.array([float(entry.data.get(name, np.nan)) for entry in self.entries])
        missing = np.flatnonzero(~np.isfinite(values))
        if len(missing):
            labels = ", ".join(self.entries[number].label for number in missing[:3])
            raise InputError(
                f"descriptor {name!r}: {len(missing)} of {len(values)} entries have no finite number of that name, "
                f"e.g. {labels}",
                f"leave out these entries or {name}",
            )
        return values


def _refuse_names(entries: list[Entry], names: Sequence[str]) -> None:
    if not names:
        raise InputError("no descriptor is named", "e.g. [volume_per_atom, density, elements]")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"descriptor {twice[0]!r} is written twice", "write it once")
    known = {family.name for family in descriptor_names()}.union(*(entry.data for entry in entries))
    for name in names:
        if name not in known:
            raise InputError(
                f"unknown descriptor {name!r}: neither a family nor a number that comes with the entries",
                nearest(name, known, limit=30),
            )
