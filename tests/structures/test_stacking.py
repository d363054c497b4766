"""Which layers and gaps a stage-n cell has."""

from __future__ import annotations

import numpy as np
import pytest

from hts_flows.inventories import Inventories
from hts_flows.structures.layers import find_layers
from hts_flows.structures.stacking import NOMINAL_WIDENING, mapping_gap, stage_host, symmetry_operations

INVENTORIES = Inventories()


def staged(name, stage, stacking):
    return stage_host(find_layers(INVENTORIES.hosts[name].structure()), stage, stacking)


@pytest.mark.parametrize(
    ("name", "stacking", "layers"),
    [
        ("graphite", "eclipsed", [1, 2, 3, 4]),
        ("graphite", "host", [2, 2, 6, 4]),
        ("1T-TiS2", "host", [1, 2, 3, 4]),
        ("2H-MoS2", "host", [2, 2, 6, 4]),
        ("h-BN", "eclipsed", [1, 4, 3, 8]),
        ("Bi2Se3", "host", [1, 2, 3, 4]),
    ],
)
def test_number_of_layers_in_the_smallest_cell_of_stages_1_to_4(name, stacking, layers):
    assert [len(staged(name, stage, stacking).layers) for stage in (1, 2, 3, 4)] == layers


@pytest.mark.parametrize("name", INVENTORIES.hosts)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_one_gap_in_n_is_filled_and_widened_and_the_others_keep_the_hosts_height(name, stage):
    host = INVENTORIES.hosts[name]
    crystal = find_layers(host.structure())
    stack = stage_host(crystal, stage, host.filled_stacking)
    assert len(stack.filled) * stage == len(stack.layers)
    native = [gap.height for gap in crystal.gaps]
    for index, layer in enumerate(stack.layers):
        height = stack.above(index).bottom - layer.top
        expected = [value + NOMINAL_WIDENING if index in stack.filled else value for value in native]
        assert min(abs(height - value) for value in expected) < 1e-6


def overlaps(stack, gap):
    """Number of atoms straight above one of the layer below the gap."""
    offsets = (stack.above(gap).positions[:, None] - stack.layers[gap].positions[None])[..., :2]
    offsets = offsets @ np.linalg.inv(stack.plane)
    offsets -= np.round(offsets)
    return int((np.linalg.norm(offsets @ stack.plane, axis=2) < 1e-3).sum())


def test_layers_around_a_filled_gap_of_graphite_are_eclipsed_and_around_an_empty_one_staggered():
    stack = staged("graphite", 2, "eclipsed")
    (filled,) = stack.filled
    assert overlaps(stack, filled) == 2
    empty = 1 - filled
    assert overlaps(stack, empty) == 1  # one atom in two lies above another


def test_host_stacking_keeps_every_layer_where_it_was():
    crystal = find_layers(INVENTORIES.hosts["2H-MoS2"].structure())
    stack = stage_host(crystal, 3, "host")
    in_plane = [layer.positions[:, :2] for layer in stack.layers]
    originals = [crystal.layer(index).positions[:, :2] for index in range(8)]
    assert any(np.allclose(in_plane, originals[start : start + 6], atol=1e-6) for start in (0, 1))
    assert not np.allclose(originals[0], originals[1], atol=0.1)


def test_symmetry_of_the_stack_takes_the_two_gaps_of_2h_into_each_other():
    stack = staged("2H-MoS2", 1, "host")
    operations = symmetry_operations(stack)
    assert len(operations) == 24
    assert len(mapping_gap(stack, operations, 0, 0)) == len(mapping_gap(stack, operations, 0, 1)) == 12
