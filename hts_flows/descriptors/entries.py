"""What descriptors are made from: formula, structure, and numbers that are known already."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hts_flows.pools.cells import cell_from_mapping, cell_from_pymatgen, cell_from_text

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from hts_flows.pools.cells import Cell


@dataclass(frozen=True)
class Entry:
    """A compound.

    Attributes
    ----------
    formula
        Chemical formula, e.g. "PbSe" or "Ca(OH)2".
    structure
        Its crystal, if it is known: pymatgen's Structure or its dict, text (JSON of this package or of pymatgen, CIF,
        POSCAR), or a function that gives a Structure. Text and functions are read only when a descriptor needs the
        structure.
    data
        Numbers that came with it, e.g. band_gap (eV), volume_per_atom (Å³), density (g/cm³).
    name
        What messages call it; its formula where this is empty.
    key
        What tells its structure from every other one, e.g. the hash of what it is built from. With it, descriptors
        that are in the cache are found without building the structure.
    """

    formula: str
    structure: Structure | Mapping[str, Any] | str | Callable[[], Structure] | None = None
    data: Mapping[str, float] = field(default_factory=dict)
    name: str = ""
    key: str | None = None

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.name or self.formula


class Crystals:
    """The structures of some entries, each read at most once, and what the cache knows them by.

    Parameters
    ----------
    entries
        In the order in which they are numbered.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self._cells: dict[int, Cell] = {}

    def cell(self, number: int) -> Cell:
        """Lattice, elements and fractional coordinates of an entry's structure.

        Parameters
        ----------
        number
            Of the entry.

        Raises
        ------
        InputError, ValueError
            The structure cannot be built, is disordered, or is no crystal.
        """
        if number not in self._cells:
            source = self.entries[number].structure
            if source is None:
                raise ValueError("it has no structure")
            if isinstance(source, str):
                cell = cell_from_text(source)
            elif isinstance(source, Mapping):
                cell = cell_from_mapping(source)
            else:
                cell = cell_from_pymatgen(source() if callable(source) else source)
            self._cells[number] = cell.checked()
        return self._cells[number]

    def key(self, number: int) -> str:
        """SHA-256 by which the cache knows an entry's structure.

        Parameters
        ----------
        number
            Of the entry.

        Raises
        ------
        InputError, ValueError
            As for :meth:`cell`, where neither key nor text is given and the structure must be built.
        """
        entry = self.entries[number]
        if entry.key is not None:
            content = f"key {entry.key}"
        else:
            content = entry.structure if isinstance(entry.structure, str) else self.cell(number).text()
        return hashlib.sha256(content.encode()).hexdigest()
