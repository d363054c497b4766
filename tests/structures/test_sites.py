"""Sites in the gaps are found and named from the geometry."""

from __future__ import annotations

import pytest

from hts_flows.inventories import Inventories
from hts_flows.structures.layers import find_layers, shortest_shift
from hts_flows.structures.sites import gap_sites
from hts_flows.structures.stacking import stage_host, symmetry_operations

INVENTORIES = Inventories()


def sites(name, stacking="host", stage=1):
    stack = stage_host(find_layers(INVENTORIES.hosts[name].structure()), stage, stacking)
    return gap_sites(stack, symmetry_operations(stack), stack.filled[0])


@pytest.mark.parametrize(
    ("name", "stacking", "expected"),
    [
        ("graphite", "eclipsed", [("hollow", 1, (6, 6))]),
        ("h-BN", "host", [("hollow", 1, (6, 6))]),
        ("1T-TiS2", "host", [("octahedral", 1, (3, 3)), ("tetrahedral", 2, (1, 3))]),
        ("1T-TiS2", "eclipsed", [("octahedral", 1, (3, 3)), ("tetrahedral", 2, (1, 3))]),
        ("2H-MoS2", "host", [("octahedral", 1, (3, 3)), ("tetrahedral", 2, (3, 1))]),
        ("2H-MoS2", "eclipsed", [("trigonal-prismatic", 1, (3, 3)), ("trigonal-prismatic 2", 1, (3, 3))]),
        ("Bi2Se3", "host", [("octahedral", 1, (3, 3)), ("tetrahedral", 2, (3, 1))]),
    ],
)
def test_sites_of_known_gaps(name, stacking, expected):
    found = [(site.label, len(site.positions), tuple(sorted(site.coordination))) for site in sites(name, stacking)]
    assert found == [(label, number, tuple(sorted(counts))) for label, number, counts in expected]


@pytest.mark.parametrize("name", INVENTORIES.hosts)
@pytest.mark.parametrize("stage", [1, 2])
def test_every_host_has_sites_with_distinct_labels_roomiest_first(name, stage):
    found = sites(name, INVENTORIES.hosts[name].filled_stacking, stage)
    assert found
    assert len({site.label for site in found}) == len(found)
    clearances = [round(site.clearance, 2) for site in found]
    assert clearances == sorted(clearances, reverse=True)
    assert all(min(site.coordination) >= 1 for site in found)


def test_octahedral_site_of_tis2_lies_on_the_axis_through_titanium():
    (octahedral, _) = sites("1T-TiS2")
    stack = stage_host(find_layers(INVENTORIES.hosts["1T-TiS2"].structure()), 1, "host")
    titanium = stack.layers[0].positions[stack.layers[0].symbols.index("Ti")]
    point = octahedral.positions[0] @ stack.lattice
    assert point[2] == pytest.approx(stack.middle(0), abs=1e-4)
    assert shortest_shift((point - titanium)[:2], stack.plane) == pytest.approx([0, 0], abs=1e-4)
