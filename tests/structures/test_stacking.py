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


def test_layers_around_a_filled_gap_of_graphite_are_eclipsed_and_around_an_empty_one_staggered():
    stack = staged("graphite", 2, "eclipsed")
    (filled,) = stack.filled
    across = stack.above(filled).positions - stack.layers[filled].positions
    assert across[:, :2] == pytest.approx(np.zeros((2, 2)), abs=1e-6)
    empty = 1 - filled
    lower, upper = stack.layers[empty].positions, stack.above(empty).positions
    offsets = (upper[:, None] - lower[None])[..., :2] @ np.linalg.inv(stack.plane)
    offsets -= np.round(offsets)
    distances = np.linalg.norm(offsets @ stack.plane, axis=2)
    assert (distances < 1e-3).sum() == 1  # one atom in two lies above another


def test_host_stacking_keeps_every_layer_where_it_was():
    crystal = find_layers(INVENTORIES.hosts["2H-MoS2"].structure())
    stack = stage_host(crystal, 3, "host")
    first = stack.filled[0] + 1 - 3
    start = (
        next(index for index in (0, 1) if np.allclose(crystal.layer(index).positions, stack.layers[0].positions))
        if (
            first == 0
            and any(np.allclose(crystal.layer(index).positions, stack.layers[0].positions) for index in (0, 1))
        )
        else None
    )
    offset = stack.layers[0].positions[0, :2]
    originals = [crystal.layer(index) for index in range(-4, 8)]
    begin = (
        start + 4
        if start is not None
        else next(index for index, layer in enumerate(originals) if np.allclose(layer.positions[0, :2], offset))
    )
    for index, layer in enumerate(stack.layers):
        assert layer.positions[:, :2] == pytest.approx(originals[begin + index].positions[:, :2], abs=1e-6)


def test_symmetry_of_the_stack_takes_the_two_gaps_of_2h_into_each_other():
    stack = staged("2H-MoS2", 1, "host")
    operations = symmetry_operations(stack)
    assert len(operations) == 24
    assert len(mapping_gap(stack, operations, 0, 0)) == len(mapping_gap(stack, operations, 0, 1)) == 12
