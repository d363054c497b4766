from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from hts_flows.properties.coordination import coordination


@pytest.mark.parametrize("distance", [3.6, 4.5, 5.35, 5.94, 6.56])
def test_between_eclipsed_graphene_layers_the_first_shell_is_twelve_atoms_however_far_apart(distance):
    layers = Structure(Lattice.hexagonal(2.46, distance), ["C", "C"], [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]])
    found = coordination(layers, np.array([0, 0, distance / 2]), np.array([0.0, 0.0, 1.0]), {"C"})
    assert (found.number, found.geometry) == (12, "hollow")


@pytest.mark.parametrize(("upper", "geometry"), [(0.5, "octahedral"), (-0.5, "trigonal-prismatic")])
def test_six_anions_are_octahedral_when_twisted_and_prismatic_when_eclipsed(upper, geometry):
    cell = Lattice.hexagonal(3.4, 20)
    below, above = [1 / 3, 2 / 3, -1.45 / 20], [2 / 3, 1 / 3, 1.45 / 20] if upper > 0 else [1 / 3, 2 / 3, 1.45 / 20]
    anions = Structure(cell, ["S", "S"], [below, above])
    found = coordination(anions, np.zeros(3), np.array([0.0, 0.0, 1.0]), {"S"})
    assert (found.number, found.geometry) == (6, geometry)
