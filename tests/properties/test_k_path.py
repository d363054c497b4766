"""Paths of a host in the cells of its compounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from hts_flows.properties.base import PropertyError
from hts_flows.properties.k_path import host_k_path, match_plane


def graphite():
    return Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(2.4612, 6.7079), ["C", "C"], [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)]
    )


def graphene_stack(transformation, period=3.7):
    """AA-stacked graphite of one layer, in a supercell, with a lithium atom in the gap."""
    layer = Structure(Lattice.hexagonal(2.4612, period), ["C", "C"], [(0, 0, 0), (1 / 3, 2 / 3, 0)])
    layer.make_supercell(transformation, to_unit_cell=True)
    layer.append("Li", layer[0].coords + np.array([0, 1.42, period / 2]), coords_are_cartesian=True)
    return layer


ROOT3 = [[2, 1, 0], [-1, 1, 0], [0, 0, 1]]
TWO = [[2, 0, 0], [0, 2, 0], [0, 0, 1]]


def cartesian(path):
    return {label: point @ path.reciprocal for label, point in path.points.items()}


def in_plane(vector):
    return np.array([vector[0], vector[1]])


def test_host_path_has_the_textbook_points_of_a_hexagonal_layer():
    path = host_k_path(graphite(), graphite())
    points = cartesian(path)
    assert {"Γ", "M", "K", "A", "L", "H"} <= set(points)
    assert np.linalg.norm(points["Γ"]) == pytest.approx(0)
    assert np.linalg.norm(points["M"]) == pytest.approx(2 * np.pi / (np.sqrt(3) * 2.4612))
    assert np.linalg.norm(points["K"]) == pytest.approx(4 * np.pi / (3 * 2.4612))
    assert points["A"] == pytest.approx([0, 0, np.pi / 6.7079])
    assert path.segments[:3] == (("Γ", "M"), ("M", "K"), ("K", "Γ"))


@pytest.mark.parametrize("transformation", [ROOT3, TWO, [[3, 0, 0], [0, 1, 0], [0, 0, 2]]])
def test_points_of_a_supercell_are_the_same_cartesian_vectors_in_the_plane(transformation):
    compound = graphene_stack(transformation)
    host = cartesian(host_k_path(graphite(), graphite()))
    found = cartesian(host_k_path(graphite(), compound, [len(compound) - 1]))
    assert set(found) == set(host)
    for label, vector in host.items():
        assert in_plane(found[label]) == pytest.approx(in_plane(vector), abs=1e-6), label


def test_dirac_point_folds_to_the_zone_centre_of_the_root3_cell_and_not_of_the_2x2_cell():
    for transformation, folded in ((ROOT3, True), (TWO, False)):
        compound = graphene_stack(transformation)
        k_point = host_k_path(graphite(), compound, [len(compound) - 1]).points["K"]
        assert bool(np.allclose(k_point[:2], np.round(k_point[:2]), atol=1e-9)) is folded


def test_points_along_the_normal_end_at_the_zone_of_the_compounds_own_period():
    compound = graphene_stack(ROOT3, period=3.7)
    path = host_k_path(graphite(), compound, [len(compound) - 1])
    assert cartesian(path)["A"][2] == pytest.approx(np.pi / 3.7)


def test_a_strained_compound_keeps_the_exact_fractions():
    relaxed = graphene_stack(TWO)
    strained = relaxed.copy()
    strained.apply_strain([0.02, 0.02, 0.1])
    wanted = host_k_path(graphite(), relaxed, [len(relaxed) - 1]).points
    found = host_k_path(graphite(), strained, [len(relaxed) - 1]).points
    for label, point in wanted.items():
        assert found[label] == pytest.approx(point, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.floats(0, 2 * np.pi), st.floats(0, np.pi))
def test_lengths_of_the_points_do_not_depend_on_the_orientation(turn, tilt):
    from pymatgen.core.operations import SymmOp

    compound = graphene_stack(ROOT3)
    wanted = cartesian(host_k_path(graphite(), compound, [len(compound) - 1]))
    for axis, angle in (((0, 0, 1), turn), ((1, 0, 0), tilt)):
        operation = SymmOp.from_axis_angle_and_translation(axis, angle, angle_in_radians=True)
        compound.apply_operation(operation)
    found = cartesian(host_k_path(graphite(), compound, [len(compound) - 1]))
    for label, vector in wanted.items():
        assert np.linalg.norm(found[label]) == pytest.approx(np.linalg.norm(vector), abs=1e-6)


def test_in_plane_path_leaves_out_what_is_above_the_plane():
    path = host_k_path(graphite(), graphite(), out_of_plane=False)
    assert set(path.points) == {"Γ", "M", "K"}
    assert path.segments == (("Γ", "M"), ("M", "K"), ("K", "Γ"))


def test_rhombohedral_host_has_the_points_of_its_layer():
    host = Structure.from_spacegroup(
        "R-3m",
        Lattice.hexagonal(4.143, 28.636),
        ["Bi", "Se", "Se"],
        [(0, 0, 0.4008), (0, 0, 0), (0, 0, 0.2117)],
    )
    path = host_k_path(host, host.get_primitive_structure(), out_of_plane=False)
    points = cartesian(path)
    assert set(points) == {"Γ", "M", "K"}
    assert np.linalg.norm(points["K"]) == pytest.approx(4 * np.pi / (3 * 4.143), rel=1e-4)


def test_sampled_points_are_no_further_apart_than_asked_and_labelled_at_corners():
    path = host_k_path(graphite(), graphite(), out_of_plane=False)
    points, labels = path.sample(0.05)
    steps = np.linalg.norm(np.diff(points, axis=0) @ path.reciprocal, axis=1)
    assert steps.max() <= 0.05 + 1e-9
    assert [label for label in labels if label] == ["Γ", "M", "K", "Γ"]
    assert len(points) == len(labels)


def test_matching_finds_the_supercell_and_refuses_what_is_none():
    plane = np.array([[2.46, 0, 0], [-1.23, 2.1304, 0]])
    supercell = np.array([[2, 1], [-1, 1]])
    assert (match_plane(plane, supercell @ plane) == supercell).all()
    with pytest.raises(PropertyError, match="no supercell"):
        match_plane(plane, np.array([[2.46, 0, 0], [0, 3.2, 0]]))


def test_a_structure_without_layers_has_no_path():
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.567), ["C"], [(0, 0, 0)])
    with pytest.raises(PropertyError, match="not layered"):
        host_k_path(graphite(), diamond)
