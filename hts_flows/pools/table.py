"""What a source holds, in its own words, before it becomes candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hts_flows.errors import InputError, nearest
from hts_flows.pools.cells import OPTIMADE_KEYS

#: Where names, formulas and structures are looked for when ``columns`` does not say it: the first that there is.
USUAL_NAMES = {
    "name": ("name", "id", "material_id", "mp_id", "entry_id", "label"),
    "formula": ("formula", "formula_pretty", "pretty_formula", "reduced_formula", "composition"),
    "structure": ("structure", "atoms", "cif", "poscar"),
}


@dataclass
class Table:
    """Rows of a source.

    Attributes
    ----------
    where
        File or address, for messages.
    columns
        Values of each column, one a row. A structure is text, a dictionary, a :class:`~hts_flows.pools.cells.Cell`, or
        a ``ValueError`` that says why it could not be read.
    places
        Where each row stands in the source, e.g. "line 7".
    origin
        What to remember of where it came from.
    mapped
        Our name: theirs.
    """

    where: str
    columns: dict[str, list[Any]]
    places: list[str]
    origin: dict[str, Any] = field(default_factory=dict)
    mapped: dict[str, str] = field(default_factory=dict)

    def named(self) -> dict[str, list[Any]]:
        """Give the columns under our names; others keep theirs.

        Raises
        ------
        InputError
            ``columns`` names one that is not there, or there is neither a formula nor a structure.
        """
        for ours, theirs in self.mapped.items():
            if theirs not in self.columns:
                raise InputError(
                    f"{self.where}: no column {theirs!r} (columns: {{{ours}: {theirs}}}); "
                    f"{nearest(theirs, self.columns)}",
                    "correct 'columns', or the file",
                )
        taken = set(self.mapped.values())
        found = {ours: self.columns[theirs] for ours, theirs in self.mapped.items()}
        for ours, usual in USUAL_NAMES.items():
            present = [name for name in usual if name in self.columns and name not in taken]
            if ours not in found and present:
                found[ours] = self.columns[present[0]]
                taken.add(present[0])
        if "structure" not in found and set(OPTIMADE_KEYS) <= self.columns.keys():
            keys = [key for key in (*OPTIMADE_KEYS, "species") if key in self.columns]
            rows = zip(*(self.columns[key] for key in keys), strict=True)
            found["structure"] = [dict(zip(keys, row, strict=True)) for row in rows]
            taken |= set(keys)
        if not {"formula", "structure"} & found.keys():
            names = ", ".join(map(repr, self.columns))
            raise InputError(
                f"{self.where}: neither a formula nor a structure among the columns {names}",
                "say which it is under 'columns', e.g. columns: {formula: Composition}",
            )
        rest = {theirs: values for theirs, values in self.columns.items() if theirs not in taken | found.keys()}
        return found | rest
