"""Descriptors that are computed from structures, entry by entry, through the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.descriptors.cache import DescriptorCache
from hts_flows.descriptors.families import INSTALL_HINT, descriptor_names
from hts_flows.errors import HtsError, InputError
from hts_flows.pools.cells import PARSER_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.descriptors.entries import Crystals
    from hts_flows.pools.cells import Cell

    Floats = NDArray[np.float64]

#: What is computed is stored whenever so many structures are done: a process that is killed loses no more.
FLUSH_EVERY = 500


@dataclass(frozen=True)
class StructureFamily:
    """How a family of descriptors is computed from a structure.

    Attributes
    ----------
    name
        Of the family.
    compute
        The function: a crystal in, a vector out.
    columns
        Names of the vector's numbers.
    options
        Everything that it was computed with; compatible with JSON.
    packages
        Distributions whose versions the numbers depend on.
    """

    name: str
    compute: Callable[[Cell], Floats]
    columns: tuple[str, ...]
    options: dict[str, Any]
    packages: tuple[str, ...]

    def versions(self) -> dict[str, str]:
        """Versions of those packages."""
        return {name: version(name) for name in self.packages}


def volume(cell: Cell) -> Floats:
    """Volume of an atom, Å³, shape (1,)."""
    return np.array([cell.volume / len(cell.species)])


def require_package(name: str) -> None:
    """Check that the optional package of a family is installed.

    Parameters
    ----------
    name
        Of the family.

    Raises
    ------
    InputError
        It is not.
    """
    package = next((family.package for family in descriptor_names() if family.name == name), "")
    if package and find_spec(package) is None:
        raise InputError(f"descriptor {name!r} needs the package {package}, which is not installed here", INSTALL_HINT)


def structure_vectors(
    family: StructureFamily, crystals: Crystals, numbers: Sequence[int], cache: Path | None
) -> Floats:
    """Compute a family's descriptors of some entries, or read them where they are stored.

    Parameters
    ----------
    family
        The family.
    crystals
        Structures of the entries.
    numbers
        Of the entries to describe.
    cache
        Folder of stored descriptors; None: nothing is stored.

    Returns
    -------
    Floats
        Shape (len(numbers), len(family.columns)).

    Raises
    ------
    InputError
        Entries without a structure, or with one that cannot be used: it says how many, and which is the first. What
        could be computed of the others is stored.
    """
    without = [crystals.entries[number].label for number in numbers if crystals.entries[number].structure is None]
    if without:
        raise InputError(
            f"descriptor {family.name!r} needs a structure: {len(without)} of {len(crystals.entries)} entries have "
            f"none, e.g. {', '.join(without[:3])}",
            "add their structures, leave them out, or choose descriptors of the formula (elements, fractions, "
            "properties)",
        )
    keys: dict[int, str] = {}
    problems: dict[int, str] = {}
    for number in numbers:
        with _noting(number, problems):
            keys[number] = crystals.key(number)
    recipe = {"options": family.options, "versions": family.versions()}
    store = None if cache is None else DescriptorCache(cache, family.name, recipe, len(family.columns))
    found: dict[str, Floats] = {} if store is None else store.read(keys.values())
    new: dict[str, Floats] = {}
    try:
        for number, key in keys.items():
            if key in found:
                continue
            with _noting(number, problems):
                found[key] = new[key] = _finite(family.compute(crystals.cell(number)))
            if store is not None and len(new) >= FLUSH_EVERY:
                store.write(new)
                new = {}
    finally:
        # Also when a person interrupts it: hours may be in there.
        if store is not None:
            store.write(new)
    if problems:
        first = next(iter(problems))
        raise InputError(
            f"descriptor {family.name!r}: {len(problems)} of {len(crystals.entries)} structures cannot be used, e.g. "
            f"{crystals.entries[first].label}: {problems[first]}",
            "correct these entries or leave them out",
        )
    return np.array([found[keys[number]] for number in numbers]).reshape(len(numbers), len(family.columns))


@contextmanager
def _noting(number: int, problems: dict[int, str]) -> Iterator[None]:
    """Where the body fails because of an entry's structure, note why, and go on behind it."""
    try:
        yield
    except HtsError as error:
        problems[number] = error.message
    except (*PARSER_ERRORS, RuntimeError) as error:
        problems[number] = f"{error}" or type(error).__name__


def _finite(vector: Floats) -> Floats:
    """Give the vector back if it is one of finite numbers."""
    if not np.isfinite(vector).all():
        raise ValueError("the descriptor is not a finite number")
    return vector
