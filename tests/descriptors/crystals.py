"""Crystals of the tests, with lattice parameters from experiment."""

import importlib.util

import pytest
from pymatgen.core import Lattice, Structure

has_dscribe = pytest.mark.skipif(importlib.util.find_spec("dscribe") is None, reason="dscribe is not installed")
#: The families that are computed from structures.
FAMILIES = [pytest.param("soap", marks=has_dscribe), "local_order"]

FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def _on_fcc(a, sites):
    species, coords = [], []
    for symbol, at in sites:
        for shift in FCC:
            species.append(symbol)
            coords.append([one + two for one, two in zip(at, shift, strict=True)])
    return Structure(Lattice.cubic(a), species, coords, to_unit_cell=True)


def lead_selenide():
    """Rocksalt, a = 6.124 Å."""
    return _on_fcc(6.124, [("Pb", (0, 0, 0)), ("Se", (0.5, 0.5, 0.5))])


def fluorite():
    """CaF2, a = 5.463 Å."""
    quarter = (0.25, 0.25, 0.25)
    return _on_fcc(5.463, [("Ca", (0, 0, 0)), ("F", quarter), ("F", (0.75, 0.75, 0.75))])


def half_heusler():
    """LiMgP, a = 6.005 Å."""
    return _on_fcc(6.005, [("Li", (0.5, 0.5, 0.5)), ("Mg", (0.25, 0.25, 0.25)), ("P", (0, 0, 0))])


def wurtzite():
    """ZnO, a = 3.25 Å, c = 5.207 Å, u = 0.382."""
    third = [(1 / 3, 2 / 3, 0.0), (2 / 3, 1 / 3, 0.5)]
    coords = [*third, *[(x, y, z + 0.382) for x, y, z in third]]
    return Structure(Lattice.hexagonal(3.25, 5.207), ["Zn", "Zn", "O", "O"], coords)
