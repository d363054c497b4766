"""Filling a host: its staged geometry, and the orderings it allows at a concentration.

All that does not depend on the intercalant is done once for a host, stacking, stage and concentration, and kept.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import chain, islice
from math import gcd
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np

from hts_flows.inventories import crystal
from hts_flows.structures.layers import LayeredCrystal, find_layers
from hts_flows.structures.orderings import MAX_PATTERNS, Ordering, SiteMap, count_patterns, ranked_orderings
from hts_flows.structures.sites import GapSite, gap_sites
from hts_flows.structures.stacking import Operation, StagedHost, mapping_gap, stage_host, symmetry_operations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

#: Largest difference of fractional coordinates of one site.
_SAME_SITE = 0.02


class Impossible(Exception):  # noqa: N818 - a reason to leave a combination out, shown by `hts check`, not a failure
    """A combination has no structure; the message says why."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A staged host with its symmetry and the sites of its first filled gap."""

    crystal: LayeredCrystal
    staged: StagedHost
    operations: list[Operation]
    sites: list[GapSite]

    @cached_property
    def composition(self) -> Counter[str]:
        """Atoms of one plane cell of the whole stack."""
        return Counter(chain.from_iterable(layer.symbols for layer in self.staged.layers))

    @cached_property
    def formula_units(self) -> Fraction:
        """Host formula units of one layer's plane cell, averaged over the layers."""
        atoms = Counter(chain.from_iterable(layer.symbols for layer in self.crystal.layers))
        return Fraction(gcd(*atoms.values()), len(self.crystal.layers))

    def site(self, label: str) -> GapSite:
        """Site with a label."""
        return next(site for site in self.sites if site.label == label)

    @cached_property
    def site_maps(self) -> dict[str, list[SiteMap]]:
        """How the symmetry of the first filled gap permutes the sites of each kind."""
        gap = self.staged.filled[0]
        stabilizer = mapping_gap(self.staged, self.operations, gap, gap)
        maps = {}
        for site in self.sites:
            found = {_site_map(operation, site.positions) for operation in stabilizer}
            maps[site.label] = sorted((item for item in found if item), key=lambda item: (item.rotation, item.images))
        return maps


def _site_map(operation: Operation, positions: NDArray[np.float64]) -> SiteMap | None:
    """Action of an operation on sites; None if it does not take them to each other."""
    images = []
    for image in operation(positions):
        offsets = image - positions
        rests = np.abs(offsets - np.round(offsets)).max(axis=1)
        target = int(rests.argmin())
        if rests[target] > _SAME_SITE:
            return None
        one, two = (round(float(offset)) for offset in offsets[target, :2])
        images.append((one, two, target))
    (a, b), (c, d) = operation.in_plane.tolist()
    return SiteMap(((a, b), (c, d)), tuple(images))


@lru_cache(maxsize=512)
def host_layers(content: str) -> LayeredCrystal:
    """Layers of a host, from the JSON text of its content."""
    return find_layers(crystal(json.loads(content)))


@lru_cache(maxsize=2048)
def geometry(content: str, stacking: Literal["host", "eclipsed"], stage: int) -> Geometry:
    """Staged host and its sites, from the JSON text of the host's content."""
    crystal = host_layers(content)
    staged = stage_host(crystal, stage, stacking)
    operations = symmetry_operations(staged)
    return Geometry(crystal, staged, operations, gap_sites(staged, operations, staged.filled[0]))


class Orderings:
    """The orderings of one site at one concentration; found when first asked for."""

    def __init__(self, found: Iterator[Ordering]) -> None:
        self._rest = found
        self._known: list[Ordering] = []
        self._lock = Lock()

    def first(self, number: int | None) -> list[Ordering]:
        """Give the most uniform ones; all when ``number`` is None."""
        with self._lock:  # kept for all threads of a process
            missing = None if number is None else max(0, number - len(self._known))
            self._known += islice(self._rest, missing)
            return self._known[:number]


@dataclass(frozen=True)
class Occupation:
    """How many intercalants and atoms a cell has at one concentration."""

    index: int
    occupied: int
    atoms: int


def occupation(host: Geometry, concentration: Fraction, max_atoms: int) -> Occupation:
    """Find the smallest superlattice cell that holds a whole number of intercalants.

    Raises
    ------
    Impossible
        The cell is larger than ``max_atoms``.
    """
    per_cell = concentration * host.formula_units
    index, occupied = per_cell.denominator, per_cell.numerator
    atoms = index * host.composition.total() + occupied * len(host.staged.filled)
    if atoms > max_atoms:
        raise Impossible(f"its cell has {atoms} atoms, more than max_atoms: {max_atoms}")
    return Occupation(index, occupied, atoms)


@lru_cache(maxsize=8192)
def orderings(
    content: str, stacking: Literal["host", "eclipsed"], stage: int, site: str, concentration: Fraction
) -> Orderings:
    """Orderings of the intercalants over one kind of site.

    Raises
    ------
    Impossible
        More intercalants than sites, or more patterns than can be compared.
    """
    host = geometry(content, stacking, stage)
    positions = host.site(site).positions
    cell = occupation(host, concentration, max_atoms=10**9)
    if cell.occupied > cell.index * len(positions):
        most = len(positions) / host.formula_units
        raise Impossible(f"concentration {concentration} is more than its {site} sites hold (at most {most})")
    if (patterns := count_patterns(cell.index, len(positions), cell.occupied)) > MAX_PATTERNS:
        raise Impossible(
            f"concentration {concentration} has {patterns:,} patterns to compare, more than {MAX_PATTERNS:,}; "
            "use a fraction with a smaller denominator"
        )
    staged = host.staged
    return Orderings(
        ranked_orderings(staged.plane, positions @ staged.lattice, host.site_maps[site], cell.index, cell.occupied)
    )
