from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice, Structure

from hts_flows.pools import structure_from_text, structure_to_text
from hts_flows.pools.cells import Cell, cell_from_mapping, cell_from_text

ELEMENTS = [Element.from_Z(number).symbol for number in range(1, 95)]
ANGLES = st.floats(60, 120)
LENGTHS = st.floats(6, 12)
#: Places on a grid, moved by up to 0.05 of a lattice vector: never on top of each other.
GRID = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)]


@st.composite
def structures(draw):
    lattice = Lattice.from_parameters(draw(LENGTHS), draw(LENGTHS), draw(LENGTHS), 90, draw(ANGLES), draw(ANGLES))
    places = draw(st.lists(st.sampled_from(GRID), min_size=1, max_size=6, unique=True))
    moves = draw(st.lists(st.floats(-0.05, 0.05), min_size=3 * len(places), max_size=3 * len(places)))
    fractions = np.array(places) / 3 + np.array(moves).reshape(-1, 3) + draw(st.integers(-2, 2))
    species = draw(st.lists(st.sampled_from(ELEMENTS), min_size=len(places), max_size=len(places)))
    return Structure(lattice, species, fractions)


@settings(max_examples=60, deadline=None)
@given(structures())
def test_a_structure_comes_back_from_its_text(structure):
    text = structure_to_text(structure)
    back = structure_from_text(text)
    assert [site.specie for site in back] == [site.specie for site in structure]
    assert np.allclose(back.lattice.matrix, structure.lattice.matrix, atol=6e-7)
    apart = back.frac_coords - structure.frac_coords
    assert np.allclose(apart, np.round(apart), atol=6e-9)
    assert (back.frac_coords >= 0).all()
    assert (back.frac_coords < 1).all()
    assert structure_to_text(back) == text


@settings(max_examples=30, deadline=None)
@given(structures())
def test_every_layout_of_a_structure_gives_the_same_text(structure):
    text = structure_to_text(structure)
    attributes = {
        "lattice_vectors": structure.lattice.matrix.tolist(),
        "cartesian_site_positions": structure.cart_coords.tolist(),
        "species_at_sites": [site.specie.symbol for site in structure],
    }
    assert cell_from_mapping(structure.as_dict()).checked().text() == text
    assert cell_from_text(structure.to_json()).checked().text() == text
    same = cell_from_mapping(attributes).checked()
    assert np.allclose(same.lattice, cell_from_text(text).lattice)
    apart = same.fractions - cell_from_text(text).fractions
    assert np.allclose(apart, np.round(apart), atol=2e-8)


def test_the_text_is_the_documented_one():
    structure = Structure(Lattice.cubic(4.12345678), {"Cs+": 1, "Cl-": 1}, [[-1e-12, 0, 0], [1 / 2, 1 / 2, 1 / 3]])
    assert json.loads(structure_to_text(structure)) == {
        "lattice": [[4.123457, 0, 0], [0, 4.123457, 0], [0, 0, 4.123457]],
        "species": ["Cs", "Cl"],
        "coords": [[0, 0, 0], [0.5, 0.5, 0.33333333]],
    }
    assert "-0.0" not in structure_to_text(structure)


def test_cif_and_poscar_are_read_too():
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for kind in ("cif", "poscar"):
        cell = cell_from_text(structure.to(fmt=kind)).checked()
        assert sorted(cell.species) == ["Cl"] * 4 + ["Na"] * 4
        assert cell.volume == pytest.approx(5.64**3, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("{}", "not a structure"),
        ('{"sites": 3, "lattice": {}}', "not a structure"),
        ('{"lattice": [[1]], "species": [], "coords": []}', "0 atoms"),
        ('{"lattice": [[3,0,0],[0,3,0],[0,0,3]], "species": ["Xx"], "coords": [[0,0,0]]}', "unknown element 'Xx'"),
        ('{"lattice": [[3,0,0],[0,3,0],[0,0,NaN]], "species": ["Na"], "coords": [[0,0,0]]}', "not a finite"),
        ('{"lattice": [[3,0,0],[0,3,0],[3,3,0]], "species": ["Na"], "coords": [[0,0,0]]}', "not in Å, or wrong"),
        ('{"lattice": [[3,0,0],[0,3,0],[0,0,3]], "species": ["Na"], "coords": [[0,0,0],[0,0,0.5]]}', "1 atoms"),
        ('{"lattice": [[3,0,0],[0,3,0],[0,0,3]], "species": ["Na"], "coords": "abc"}', "could not convert"),
        ("PbTe\n1.0\nnonsense", "not a structure"),
    ],
)
def test_a_text_that_is_no_crystal_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        cell_from_text(text).checked()


def test_partial_occupancies_layers_and_molecules_are_refused():
    from pymatgen.core import Molecule

    structure = Structure(Lattice.cubic(4), [{"Mg": 0.5, "Zn": 0.5}, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for read in (structure_to_text, lambda one: cell_from_mapping(one.as_dict())):
        with pytest.raises(ValueError, match="site 1 is partially occupied"):
            read(structure)
    slab = Structure(Lattice(np.eye(3) * 4, pbc=(True, True, False)), ["Mg"], [[0, 0, 0]])
    for read in (structure_to_text, lambda one: cell_from_mapping(one.as_dict())):
        with pytest.raises(ValueError, match="not periodic"):
            read(slab)
    with pytest.raises(ValueError, match="molecule"):
        cell_from_mapping(Molecule(["H"], [[0, 0, 0]]).as_dict())


def test_deuterium_is_hydrogen():
    cell = Cell(np.eye(3) * 4, ("D", "Li"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    assert cell.checked().species == ("H", "Li")
