"""Layers and gaps are found from bonds, whatever the cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from hts_flows.inventories import Inventories
from hts_flows.structures.layers import NotLayeredError, find_layers, reduce_plane, shortest_shift

INVENTORIES = Inventories()
#: Layers in the primitive cell and distance between them (half of, a third of, or c itself), Å.
KNOWN = {
    "graphite": (2, 6.7079 / 2),
    "h-BN": (2, 6.661 / 2),
    "1T-TiS2": (1, 5.695),
    "2H-MoS2": (2, 12.295 / 2),
    "3R-MoS2": (1, 18.37 / 3),
    "alpha-MoO3": (2, 13.855 / 2),
    "black-P": (1, 10.478 / 2),
    "FeOCl": (1, 7.917),
    "Bi2Se3": (1, 28.636 / 3),
}


def summary(crystal):
    """What does not depend on the choice of cell and orientation."""
    return (
        len(crystal.layers),
        round(crystal.area, 3),
        round(float(crystal.step[2]), 3),
        sorted(round(gap.height, 3) for gap in crystal.gaps),
        sorted("".join(sorted(layer.symbols)) for layer in crystal.layers),
    )


@pytest.mark.parametrize("name", KNOWN)
def test_layers_of_known_hosts(name):
    number, spacing = KNOWN[name]
    crystal = find_layers(INVENTORIES.hosts[name].structure())
    assert len(crystal.layers) == number
    assert crystal.step[2] / number == pytest.approx(spacing, rel=0.01)
    assert all(gap.height > 0 and not gap.guests for gap in crystal.gaps)


@pytest.mark.parametrize("name", INVENTORIES.hosts)
def test_layers_and_gaps_add_up_to_the_repeat_in_every_host(name):
    host = INVENTORIES.hosts[name]
    structure = host.structure()
    crystal = find_layers(structure)
    total = sum(layer.thickness for layer in crystal.layers) + sum(gap.height for gap in crystal.gaps)
    assert total == pytest.approx(crystal.step[2], abs=1e-6)
    atoms = sum(len(layer.symbols) for layer in crystal.layers)
    assert crystal.area * crystal.step[2] / atoms == pytest.approx(structure.volume / len(structure), rel=1e-3)


@pytest.mark.parametrize("name", ["graphite", "Bi2Se3", "alpha-MoO3", "2H-MoS2", "black-P"])
@settings(max_examples=12, deadline=None)
@given(
    shift=st.tuples(*[st.floats(0, 1)] * 3),
    axis=st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(0.1, 1)),
    angle=st.floats(0, 360),
    matrix=st.sampled_from(
        [
            [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
            [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
            [[1, 0, 1], [0, 1, 1], [0, 0, 1]],
            [[2, 0, 0], [0, 1, 0], [0, 0, 2]],
            [[1, 2, -1], [0, 1, 3], [0, 0, 1]],
        ]
    ),
)
def test_translation_rotation_and_choice_of_cell_change_nothing(name, shift, axis, angle, matrix):
    structure = INVENTORIES.hosts[name].structure()
    expected = summary(find_layers(structure))
    moved = structure.copy()
    moved.make_supercell(matrix)
    moved.translate_sites(range(len(moved)), shift, to_unit_cell=True)
    unit = np.array(axis) / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), unit)
    radians = np.radians(angle)
    rotation = np.eye(3) + np.sin(radians) * cross + (1 - np.cos(radians)) * cross @ cross
    turned = Structure(Lattice(moved.lattice.matrix @ rotation.T), moved.species, moved.frac_coords)
    found = summary(find_layers(turned))
    assert found[0] == expected[0]
    assert found[4] == expected[4]
    assert found[1:3] == pytest.approx(expected[1:3], abs=2e-3)
    assert found[3] == pytest.approx(expected[3], abs=2e-3)


def test_layers_need_not_be_stacked_along_c():
    graphite = INVENTORIES.hosts["graphite"].structure()
    matrix = graphite.lattice.matrix
    along_a = Structure(Lattice(matrix[[2, 0, 1]]), graphite.species, graphite.frac_coords[:, [2, 0, 1]])
    assert summary(find_layers(along_a)) == summary(find_layers(graphite))


def test_intercalants_are_assigned_to_their_gap():
    lattice = Lattice.hexagonal(4.305, 3.706)
    carbon = [
        [1 / 3, 0, 0.5],
        [0, 1 / 3, 0.5],
        [2 / 3, 2 / 3, 0.5],
        [2 / 3, 0, 0.5],
        [0, 2 / 3, 0.5],
        [1 / 3, 1 / 3, 0.5],
    ]
    lic6 = Structure(lattice, ["Li"] + ["C"] * 6, [[0, 0, 0], *carbon])
    by_symbol, by_index = find_layers(lic6, "Li"), find_layers(lic6, [0])
    assert [gap.guests for gap in by_symbol.gaps] == [("Li",)] == [gap.guests for gap in by_index.gaps]
    assert by_symbol.gaps[0].height == pytest.approx(3.706)


def test_intercalant_of_the_hosts_own_element_is_told_apart_by_its_index():
    tis2 = INVENTORIES.hosts["1T-TiS2"].structure()
    tis2.append("Ti", [0, 0, 0.5])
    crystal = find_layers(tis2, [3])
    assert crystal.layers[0].symbols.count("Ti") == 1
    assert crystal.gaps[0].guests == ("Ti",)


@pytest.mark.parametrize(
    ("structure", "dimension"),
    [
        (Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), "3-dim"),
        (Structure(Lattice.cubic(10), ["N", "N"], [[0, 0, 0], [0, 0, 0.11]]), "0-dim"),
    ],
)
def test_crystal_without_layers_is_refused(structure, dimension):
    with pytest.raises(NotLayeredError, match=dimension):
        find_layers(structure)


@given(
    st.floats(1, 9),
    st.floats(1, 9),
    st.floats(20, 160),
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), max_size=4),
)
def test_reduced_plane_is_the_same_lattice_with_shortest_vectors(a, b, gamma, shears):
    radians = np.radians(gamma)
    cell = np.array([[a, 0], [b * np.cos(radians), b * np.sin(radians)]])
    vectors = cell.copy()
    for swap, times in shears:
        vectors[1] += times * vectors[0]
        vectors = vectors[::-1] if swap else vectors
    matrix = reduce_plane(vectors)
    assert abs(round(float(np.linalg.det(matrix)))) == 1
    first, second = matrix @ vectors
    images = [i * cell[0] + j * cell[1] for i in range(-8, 9) for j in range(-8, 9) if (i, j) != (0, 0)]
    shortest = min(np.linalg.norm(image) for image in images)
    assert np.linalg.norm(first) <= np.linalg.norm(second) + 1e-3
    assert np.linalg.norm(first) == pytest.approx(shortest, abs=1e-3)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert -0.5 - 1e-3 <= cosine <= 1e-3


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_shortened_shift_is_equivalent_and_shortest(x, y):
    plane = np.array([[2.46, 0], [-1.23, 2.13]])
    short = shortest_shift(np.array([x, y, 7.0]), plane)
    cells = np.linalg.solve(plane.T, np.array([x, y]) - short[:2])
    assert cells == pytest.approx(np.round(cells), abs=1e-4)
    assert np.linalg.norm(short[:2]) <= 2.46 / np.sqrt(3) + 1e-3
    assert short[2] == 7.0
