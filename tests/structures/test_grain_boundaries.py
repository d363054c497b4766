"""Bicrystals are the boundaries asked for, of perfect grains, and their translations have the stated symmetry."""

from __future__ import annotations

from dataclasses import replace
from math import atan, ceil, degrees, sqrt

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from hts_flows.errors import InputError
from hts_flows.structures.bicrystal_check import check_built, cube_axes
from hts_flows.structures.bicrystal_symmetry import (
    boundaries_are_equivalent,
    translation_lattice,
    translation_periods,
    translation_symmetry,
)
from hts_flows.structures.bicrystal_translation import translated
from hts_flows.structures.bicrystals import build_bicrystal
from hts_flows.structures.boundary_specs import GrainBoundary
from hts_flows.structures.coincidence import cross, dot, misorientations, odd_part, primitive
from hts_flows.structures.cubic_crystals import cubic_crystal, element_structure

#: Sigma and larger and smaller index of the plane of the boundaries of Kiyohara et al., Sci. Adv. 2, e1600746 (2016).
COPPER = [
    *[(5, 2, 1), (5, 3, 1), (17, 5, 3), (17, 4, 1), (25, 4, 3), (25, 7, 1), (29, 5, 2), (29, 7, 3)],
    *[(37, 6, 1), (37, 7, 5), (41, 5, 4), (41, 9, 1), (53, 7, 2), (53, 9, 5), (61, 11, 1), (125, 11, 2)],
]
CONSTANT = 3.615
MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.212), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
STO = Structure.from_spacegroup("Pm-3m", Lattice.cubic(3.905), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]])
CASES = {
    "Cu 210": {"element": "Cu", "axis": (0, 0, 1), "plane": (2, 1, 0)},
    "Fe 111": {"element": "Fe", "lattice_constant": 2.83, "axis": (1, -1, 0), "sigma": 3, "plane": (1, 1, 1)},
    "MgO 210": {"structure": MGO, "axis": (0, 0, 1), "plane": (2, 1, 0)},
    "MgO 310": {"structure": MGO, "axis": (0, 0, 1), "angle": 36.87},
    "SrTiO3 310": {"structure": STO, "axis": (0, 0, 1), "plane": (3, 1, 0)},
    "SrTiO3 310 b": {"structure": STO, "axis": (0, 0, 1), "plane": (3, 1, 0), "termination": 1},
    "Si 210": {"element": "Si", "axis": (0, 0, 1), "plane": (2, 1, 0)},
    "Si 111": {"element": "Si", "axis": (1, -1, 0), "plane": (1, 1, 1)},
    "Cu 112": {"element": "Cu", "axis": (1, 1, 1), "plane": (1, 1, -2)},
    "Cu twist 5": {"element": "Cu", "axis": (0, 0, 1), "sigma": 5, "kind": "twist"},
    "Al twist 7": {"element": "Al", "axis": (1, 1, 1), "sigma": 7, "kind": "twist"},
    "Fe twist 3": {"element": "Fe", "axis": (1, 1, 0), "sigma": 3, "kind": "twist"},
}
BULK_NEIGHBOURS = {"Cu": 12, "Al": 12, "Fe": 8, "Si": 4, "Mg": 6, "O": 6}


def copper(h, k, **more):
    return GrainBoundary(element="Cu", lattice_constant=CONSTANT, axis=(0, 0, 1), plane=(h, k, 0), **more)


def energy(bicrystal, cutoff=5.2):
    """An embedded-atom energy with a pair term and a square root of the density, smooth at its cutoff; no unit."""
    structure = bicrystal.structure
    first, second, _, distances = structure.get_neighbor_list(cutoff)
    charge = np.array([site.specie.Z for site in structure]) / 10
    weights = (1 - (distances / cutoff) ** 2) ** 3
    pairs = 25 * np.sum(charge[first] * charge[second] * np.exp(-1.7 * distances) * weights)
    density = np.bincount(first, 10 * charge[second] * np.exp(-1.1 * distances) * weights, minlength=len(structure))
    return pairs - np.sum(np.sqrt(density))


def depth(bicrystal):
    """Distance of each atom from the nearest boundary of a periodic cell, Å."""
    length = bicrystal.lattice[2, 2]
    away = bicrystal.positions[:, 2, None] - np.array(bicrystal.boundary_heights)
    return np.abs(away - np.round(away / length) * length).min(axis=1)


def neighbours(bicrystal, reach):
    first, _, _, _ = bicrystal.structure.get_neighbor_list(reach)
    return np.bincount(first, minlength=len(bicrystal.symbols))


@pytest.mark.parametrize(("sigma", "h", "k"), COPPER)
def test_the_sixteen_copper_boundaries_have_the_sizes_of_the_formulas(sigma, h, k):
    bicrystal = build_bicrystal(copper(h, k), thickness=20)
    square = h * h + k * k
    angle = 2 * degrees(atan(k / h))
    both_odd = h % 2 and k % 2
    spacing = CONSTANT / 2 / sqrt(square)
    assert bicrystal.built.sigma == sigma
    assert bicrystal.built.angle == pytest.approx(min(angle, 90 - angle) if angle > 90 else angle, abs=1e-6)
    assert bicrystal.built.planes == ((h, k, 0), (h, k, 0))
    assert bicrystal.lx == pytest.approx(CONSTANT * sqrt(square) / (2 if both_odd else 1))
    assert bicrystal.ly == pytest.approx(CONSTANT)
    assert bicrystal.area == pytest.approx(bicrystal.lx * bicrystal.ly)
    assert len(bicrystal.symbols) == 2 * ceil(20 / spacing) * (1 if both_odd else 2)
    assert bicrystal.built.shortest_contact == pytest.approx(2 * spacing)
    assert bicrystal.structure.volume / len(bicrystal.symbols) == pytest.approx(CONSTANT**3 / 4)
    smallest = build_bicrystal(copper(h, k), thickness=20, cell="smallest")
    assert bicrystal.area / smallest.area == pytest.approx(1 if both_odd else 2)
    assert len(bicrystal.symbols) / len(smallest.symbols) == pytest.approx(1 if both_odd else 2)
    assert (bicrystal.lx, bicrystal.ly) == (smallest.lx, smallest.ly)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cell", ["rectangular", "smallest"])
def test_grains_are_perfect_crystals_with_the_crystals_composition(name, cell):
    spec = GrainBoundary(**CASES[name])
    bicrystal = build_bicrystal(spec, thickness=18, cell=cell)
    inside = depth(bicrystal) > spec.crystal.contact * 1.2
    counts = neighbours(bicrystal, spec.crystal.contact * 1.1)
    symbols = np.array(bicrystal.symbols)
    assert inside.sum() > 10
    for symbol in set(symbols):
        if spec.formula != "SrTiO3":
            assert set(counts[inside & (symbols == symbol)]) == {BULK_NEIGHBOURS[symbol]}
    if spec.formula == "SrTiO3":
        assert set(counts[inside & (symbols == "Ti")]) == {6}
        assert set(counts[inside & (symbols == "O")]) == {2}
    for grain in (1, 2):
        composition = Structure(
            Lattice.cubic(1), symbols[bicrystal.grain == grain], bicrystal.positions[bicrystal.grain == grain]
        ).composition
        assert composition.reduced_formula == spec.formula
    volume = spec.crystal.constant**3 / {"P": 1, "F": 4, "I": 2}[spec.crystal.centring] / len(spec.crystal.symbols)
    assert bicrystal.structure.volume / len(symbols) == pytest.approx(volume)


@pytest.mark.parametrize("name", CASES)
def test_grains_are_related_by_the_rotation_and_share_the_periods(name):
    spec = GrainBoundary(**CASES[name])
    bicrystal = build_bicrystal(spec)
    symbols = np.array(bicrystal.symbols)
    rarest = min(set(symbols), key=list(symbols).count)
    angle = np.radians(spec.geometry.angle)
    about_y = spec.geometry.kind == "symmetric_tilt"
    turns = []
    for sign in (1, -1):
        c, s = np.cos(angle), sign * np.sin(angle)
        turns.append(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]] if about_y else [[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    one, two = (
        cube_axes(
            bicrystal.positions[(bicrystal.grain == grain) & (symbols == rarest)],
            bicrystal.lattice,
            spec.crystal.constant,
        )
        for grain in (1, 2)
    )
    related = [abs(two @ turn @ one.T) for turn in turns]
    assert any(np.allclose(matrix, np.round(matrix), atol=1e-6) for matrix in related)
    for period in ([bicrystal.lx, 0, 0], [0, bicrystal.ly, 0]):
        for axes in (one, two):
            halves = axes @ np.array(period) / spec.crystal.constant * 2
            assert np.allclose(halves, np.round(halves), atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_smallest_cell_is_no_larger_and_has_the_same_energy_per_area(name):
    spec = GrainBoundary(**CASES[name])
    both = [translated(build_bicrystal(spec, cell=cell), 0.4, 0.3, 0.6) for cell in ("rectangular", "smallest")]
    ratio = both[0].area / both[1].area
    assert ratio == pytest.approx(round(ratio))
    assert energy(both[0]) == pytest.approx(ratio * energy(both[1]), rel=1e-9)


@pytest.mark.parametrize("boundaries", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_symmetric_translations_have_the_same_energy(name, boundaries):
    bicrystal = build_bicrystal(GrainBoundary(**CASES[name]), thickness=11, boundaries=boundaries, rigid=0)
    operations = translation_symmetry(bicrystal)
    random = np.random.default_rng(7)
    point = random.random(2) * (bicrystal.lx, bicrystal.ly)
    expected = energy(translated(bicrystal, *point, 0.5, overlap=0))
    assert np.allclose(operations[0](point), point)
    chosen = {0, *random.permutation(len(operations))[:8].tolist()}
    for index in chosen:
        image = operations[index](point)
        assert energy(translated(bicrystal, *image, 0.5, overlap=0)) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_operations_are_a_group_and_hold_the_lattice(name):
    bicrystal = build_bicrystal(GrainBoundary(**CASES[name]), thickness=11)
    operations = translation_symmetry(bicrystal)
    periods = np.array([bicrystal.lx, bicrystal.ly])
    point = np.array([0.1234, 0.4321])

    def orbit(start):
        images = np.array([operation(start) for operation in operations]) / periods
        return {tuple(row) for row in (np.round(images - np.floor(images + 1e-6), 4) + 0.0).tolist()}

    whole = orbit(point)
    assert len(whole) == len(operations)
    assert all(orbit(operation(point)) == whole for operation in operations[:: max(1, len(operations) // 10)])
    shifts = orbit(np.zeros(2))
    cells = translation_lattice(bicrystal) / periods
    assert {tuple(row) for row in (np.round(cells - np.floor(cells + 1e-6), 4) + 0.0).tolist()} <= shifts


def test_symmetry_operations_that_are_known():
    # Two mirrors of the plane and the lattice's centring: 4 × 2 for (210); without the centring for (310).
    assert len(translation_symmetry(build_bicrystal(copper(2, 1)))) == 8
    assert len(translation_symmetry(build_bicrystal(copper(3, 1)))) == 4
    twist = build_bicrystal(GrainBoundary(**CASES["Cu twist 5"]))
    # Translations of a coincidence lattice's dual: a square of side a/√(2·5).
    assert abs(np.linalg.det(translation_lattice(twist))) == pytest.approx(twist.spec.crystal.constant**2 / 10)
    assert all(boundaries_are_equivalent(build_bicrystal(copper(h, k))) for _, h, k in COPPER[:4])
    assert not boundaries_are_equivalent(build_bicrystal(GrainBoundary(**CASES["Si 111"])))


@pytest.mark.parametrize("name", ["Cu twist 5", "Al twist 7", "Fe twist 3", "Si 210"])
def test_the_shortest_periods_hold_every_translation(name):
    bicrystal = build_bicrystal(GrainBoundary(**CASES[name]), thickness=11)
    periods = translation_periods(bicrystal)
    assert bicrystal.lx / periods[0] == pytest.approx(round(bicrystal.lx / periods[0]))
    whole, fewer = translation_symmetry(bicrystal), translation_symmetry(bicrystal, periods)
    cells = bicrystal.lx * bicrystal.ly / (periods[0] * periods[1])
    assert len(fewer) * cells == pytest.approx(len(whole))
    assert name == "Si 210" or cells > 2
    point = np.array([0.31, 0.77])
    expected = energy(translated(bicrystal, *point, 0.5, overlap=0))
    for operation in fewer[:: max(1, len(fewer) // 5)]:
        image = operation(point) % periods
        assert energy(translated(bicrystal, *image, 0.5, overlap=0)) == pytest.approx(expected, abs=1e-8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    st.sampled_from([{"element": "Cu"}, {"element": "W"}, {"element": "Ge"}, {"structure": STO}, {"structure": MGO}]),
    st.sampled_from([(0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 1, 1), (1, 1, 2), (0, 1, 2), (2, 2, 1)]),
    st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.integers(-4, 4)),
    st.booleans(),
    st.sampled_from(["rectangular", "smallest"]),
)
def test_any_boundary_is_built_as_asked_or_refused(crystal, axis, other, twist, cell):
    plane = cross(axis, other)
    assume(any(plane) and odd_part(dot(primitive(plane), primitive(plane))) > 1)
    values = {"kind": "twist", "angle": misorientations(axis, 29)[other[0]].angle} if twist else {"plane": plane}
    try:
        bicrystal = build_bicrystal(GrainBoundary(axis=axis, **values, **crystal), cell=cell)
    except InputError as error:
        assert "more than max_atoms" in error.message  # noqa: PT017
        return
    constants = bicrystal.spec.crystal
    volume = constants.constant**3 / {"P": 1, "I": 2, "F": 4}[constants.centring] / len(constants.symbols)
    assert bicrystal.structure.volume / len(bicrystal.symbols) == pytest.approx(volume)
    assert bicrystal.structure.volume == pytest.approx(2 * bicrystal.height * bicrystal.area)
    assert bicrystal.lx * bicrystal.ly / bicrystal.area == pytest.approx(
        round(bicrystal.lx * bicrystal.ly / bicrystal.area)
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["Cu 210", "Fe 111", "MgO 210", "SrTiO3 310 b", "Cu twist 5"]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_both_boundaries_of_a_cell_are_the_same(name, x, y, opening):
    spec = GrainBoundary(**CASES[name])
    bicrystal = translated(build_bicrystal(spec), x, y, opening, fractional=True, overlap=0)
    assert boundaries_are_equivalent(bicrystal)
    counts = neighbours(bicrystal, spec.crystal.contact * 1.25)
    length = bicrystal.lattice[2, 2]
    near = []
    for height in bicrystal.boundary_heights:
        away = np.abs((bicrystal.positions[:, 2] - height + length / 2) % length - length / 2)
        near.append(sorted(counts[away < 6].tolist()))
    assert near[0] == near[1]


def test_one_boundary_has_vacuum_and_rigid_blocks():
    bicrystal = build_bicrystal(copper(2, 1), thickness=20, boundaries=1, vacuum=10, rigid=5)
    heights = bicrystal.positions[:, 2] - bicrystal.boundary_heights[0]
    assert bicrystal.lattice[2, 2] == pytest.approx(2 * bicrystal.height + 10)
    assert np.array_equal(bicrystal.rigid, np.abs(heights) > bicrystal.height - 5)
    assert 0 < bicrystal.rigid.sum() < len(heights) / 3
    assert heights[bicrystal.grain == 1].max() == pytest.approx(0, abs=1e-9)
    assert heights[bicrystal.grain == 2].min() > 0.5
    assert bicrystal.structure.site_properties["rigid"] == bicrystal.rigid.tolist()
    middle = build_bicrystal(copper(2, 1), thickness=20, rigid=5)
    assert np.array_equal(middle.rigid, depth(middle) > (middle.height - 5) / 2)
    assert not build_bicrystal(copper(2, 1)).rigid.any()


@pytest.mark.parametrize("boundaries", [1, 2])
def test_a_translation_moves_grain_2_alone_and_opens_every_boundary(boundaries):
    start = build_bicrystal(copper(2, 1), boundaries=boundaries)
    moved = translated(start, 0.4, 0.25, 0.3, fractional=True)
    assert moved.translation == pytest.approx((0.4 * start.lx, 0.25 * start.ly, 0.3))
    assert moved.structure.volume - start.structure.volume == pytest.approx(boundaries * 0.3 * start.area)
    fixed = start.grain == 1
    assert np.allclose(moved.positions[fixed], start.positions[fixed])
    twice = translated(translated(start, 0.2 * start.lx, 0.25 * start.ly, 0.1), 0.2 * start.lx, 0, 0.2)
    assert energy(twice) == pytest.approx(energy(moved), abs=1e-9)
    around = translated(moved, start.lx, -start.ly)
    assert energy(around) == pytest.approx(energy(moved), abs=1e-9)
    assert moved.boundary_heights[0] == pytest.approx(start.boundary_heights[0] + 0.15)


def test_atoms_too_close_are_removed_and_counted():
    start = build_bicrystal(copper(2, 1))
    thinned = translated(start, 0, 0, remove_closer=1.7)
    # One atom a boundary and period: the plane next to the shared one is 1.617 Å from its mirror image.
    assert thinned.removed == len(start.symbols) - len(thinned.symbols) == 4
    assert (thinned.grain == 1).sum() == (start.grain == 1).sum()
    assert thinned.built.shortest_contact > 1.7
    assert thinned.built.formula == f"Cu{len(start.symbols) - 4}"
    assert translated(thinned, 0, 0, 0.1).removed == 4


def test_overlapping_atoms_are_named_with_their_distance():
    start = build_bicrystal(copper(2, 1))
    with pytest.raises(InputError, match=r"Cu and Cu of the two grains are 1\.617 Å apart, less than 1\.789") as caught:
        translated(start, 0, 0, overlap=0.7)
    assert "remove_closer" in caught.value.hint
    with pytest.raises(InputError, match="apart"):
        translated(build_bicrystal(copper(11, 2)), 0, 0)
    assert translated(start, 0, 0, -1, overlap=0).built.shortest_contact < 1


def test_too_many_atoms_says_how_many_and_what_helps():
    with pytest.raises(InputError, match="would have 100 atoms, more than max_atoms = 60") as caught:
        build_bicrystal(copper(2, 1), max_atoms=60)
    fits = float(caught.value.hint.split("thickness up to ")[1].split()[0])
    assert len(build_bicrystal(copper(2, 1), thickness=fits, max_atoms=60).symbols) <= 60
    assert 'cell="smallest" has 50' in caught.value.hint
    assert len(build_bicrystal(copper(2, 1), cell="smallest", max_atoms=60).symbols) == 50


def test_another_boundary_is_never_handed_over():
    other = build_bicrystal(copper(3, 1))
    cell = other.symbols, other.positions, other.lattice, other.grain
    with pytest.raises(InputError, match=r"another boundary: planes \(310\) and \(310\) instead of \(210\)"):
        check_built(copper(2, 1), *cell)
    with pytest.raises(InputError, match="sigma 5 instead of 17"):
        check_built(copper(4, 1), *cell)
    missing = replace(other, symbols=other.symbols[1:], positions=other.positions[1:], grain=other.grain[1:])
    with pytest.raises(InputError, match="composition Cu"):
        check_built(copper(3, 1), missing.symbols, missing.positions, missing.lattice, missing.grain)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"element": "Zn"}, "crystallises as hcp"),
        ({"element": "cu"}, "is no element"),
        ({"structure": STO * (2, 1, 1)}, "not a conventional cubic one"),
        ({"structure": STO * (2, 2, 2)}, "several conventional cells"),
        (
            {"structure": Structure.from_spacegroup("F-43m", Lattice.cubic(5.4), ["Zn", "S"], [[0] * 3, [0.25] * 3])},
            "F-43m",
        ),
        ({"structure": element_structure("Cu").get_primitive_structure()}, "not a conventional cubic one"),
        ({"structure": {"a": 1}}, "is a dict, not a structure"),
        ({"element": "Cu", "structure": STO}, "either"),
        ({}, "either"),
        ({"element": "Cu", "termination": 1}, "no termination 1"),
        ({"structure": STO, "lattice_constant": 4.0}, "has its own"),
    ],
)
def test_crystals_that_cannot_be_used_say_why(values, says):
    with pytest.raises(InputError) as caught:
        GrainBoundary(axis=(0, 0, 1), plane=(2, 1, 0), **values)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"thickness": 0},
        {"vacuum": -1},
        {"rigid": 30, "boundaries": 1},
        {"thickness": 1},
        {"boundaries": 3},
        {"cell": "round"},
    ],
)
def test_sizes_that_make_no_sense_are_refused(values):
    with pytest.raises(InputError, match=r"thickness|Grain 1|make no bicrystal"):
        build_bicrystal(copper(2, 1), **values)


def test_a_boundary_survives_being_written_down():
    spec = GrainBoundary(**CASES["SrTiO3 310"])
    again = GrainBoundary.model_validate_json(spec.model_dump_json())
    assert str(again) == "SrTiO3 Σ5[001](310)"
    assert np.allclose(build_bicrystal(again).positions, build_bicrystal(spec).positions)


def test_terminations_are_the_atomic_planes_of_the_crystal():
    crystal = cubic_crystal(STO)
    assert np.allclose(crystal.planes((3, 1, 0)), [0, crystal.spacing((3, 1, 0)) / 2])
    for termination, expected in enumerate(({"Sr", "Ti", "O"}, {"O"})):
        bicrystal = build_bicrystal(
            GrainBoundary(structure=STO, axis=(0, 0, 1), plane=(3, 1, 0), termination=termination), boundaries=1
        )
        at_plane = np.abs(bicrystal.positions[:, 2] - bicrystal.boundary_heights[0]) < 0.01
        assert set(np.array(bicrystal.symbols)[at_plane]) == expected


@pytest.mark.parametrize(
    ("spec", "angle"),
    [
        (copper(3, 1), 36.86989764584402),
        (copper(4, 1), 28.072486935852957),
        (GrainBoundary(**CASES["Fe 111"]), 109.47122063449069),
    ],
)
def test_sizes_agree_with_the_generator_of_pymatgen(spec, angle):
    from pymatgen.core.interface import GrainBoundaryGenerator

    ours = build_bicrystal(spec, cell="smallest")
    generator = GrainBoundaryGenerator(element_structure(spec.element, spec.crystal.constant))
    theirs = generator.gb_from_parameters(
        list(spec.axis), angle, expand_times=1, plane=list(spec.geometry.plane), rm_ratio=0.0
    )
    area = np.linalg.norm(np.cross(*theirs.lattice.matrix[:2]))
    assert theirs.sigma == ours.built.sigma
    assert area / ours.area == pytest.approx(round(area / ours.area))
    assert theirs.volume / len(theirs) == pytest.approx(ours.structure.volume / len(ours.symbols))
