"""Properties of compounds, against values worked out by hand."""

import pytest
from pymatgen.core import Lattice, Structure

from hts_flows.candidates import Candidate
from hts_flows.engines.base import Calculation, Conductivity
from hts_flows.properties.compounds import COLUMNS, CompoundDoc, derive

CANDIDATE = Candidate(domain="compounds", inputs={}, label="PbSe", formula="PbSe")


def conductivity(**changed):
    values = {
        "temperatures": [200.0, 310.0, 500.0],
        "kappa": [[3, 3, 3, 0, 0, 0], [2, 2, 2, 0, 0, 0], [1, 1, 1, 0, 0, 0]],
        "average": [3.0, 2.0, 1.0],
        "mesh": [9, 9, 9],
        "supercell": [2, 2, 2],
        "n_atoms": 64,
        "n_displaced": 9,
        "n_parameters": 789,
        "distance": 0.03,
        "cutoff": None,
        "lowest_frequency": 0.0,
        "imaginary_tolerance": 0.05,
        "has_imaginary_modes": False,
        "fit_residual": 0.002,
        "residual_force": 0.0,
        "volume": 57.0,
        "spacegroup": 225,
    }
    return Conductivity(**values | changed)


def calculation(**more):
    """Rocksalt PbSe, a = 6.12 Å, made-up energy."""
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(6.12), ["Pb", "Se"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return Calculation(structure=structure, energy=-32.0, converged=True, **more)


def test_size_energy_and_symmetry_per_atom():
    doc = derive(CANDIDATE, calculation(band_gap=0.3), {})
    assert doc.volume_per_atom == pytest.approx(6.12**3 / 8)
    # (207.2 + 78.971) u in a quarter of the cell; 1 u/Å³ = 1.66054 g/cm³
    assert doc.density == pytest.approx(4 * 286.171 * 1.66054 / 6.12**3, rel=1e-4)
    assert doc.energy_per_atom == pytest.approx(-4.0)
    assert doc.spacegroup == "Fm-3m"
    assert doc.band_gap == pytest.approx(0.3)


def test_without_phonons_nothing_is_said_about_heat():
    doc = derive(CANDIDATE, calculation(), {})
    assert doc.thermal_conductivity is doc.conductivity_temperature is None
    assert doc.lowest_frequency is doc.dynamically_stable is None


@pytest.mark.parametrize(
    ("temperatures", "expected"), [([200, 310, 500], (2, 310)), ([300, 310, 500], (3, 300)), ([20, 30, 200], (1, 200))]
)
def test_conductivity_is_that_of_the_temperature_nearest_to_room_temperature(temperatures, expected):
    doc = derive(CANDIDATE, calculation(thermal_conductivity=conductivity(temperatures=temperatures)), {})
    assert (doc.thermal_conductivity, doc.conductivity_temperature) == expected
    assert doc.dynamically_stable is True


def test_imaginary_modes_are_told():
    unstable = conductivity(lowest_frequency=-1.2, has_imaginary_modes=True)
    doc = derive(CANDIDATE, calculation(thermal_conductivity=unstable), {})
    assert doc.dynamically_stable is False
    assert doc.lowest_frequency == pytest.approx(-1.2)


def test_every_column_is_a_property_and_every_property_a_column():
    assert {column.name for column in COLUMNS} == set(CompoundDoc.model_fields) - {"schema_version"}


def test_conductivity_survives_the_way_to_the_database_and_back():
    before = calculation(thermal_conductivity=conductivity())
    assert Calculation.model_validate_json(before.model_dump_json()) == before
