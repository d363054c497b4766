"""Properties of crystalline compounds of any kind: size, energy, gap, and how well they conduct heat."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from hts_flows.flows.base import Column
from hts_flows.properties.base import PropertyDoc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hts_flows.candidates import Candidate
    from hts_flows.engines.base import Calculation, Conductivity

#: Temperature of the conductivity that is compared; the nearest one is taken where it was not computed, K.
ROOM_TEMPERATURE = 300.0
#: Relaxed structures are symmetric to within this, Å.
SYMMETRY_TOLERANCE = 1e-2


class CompoundDoc(PropertyDoc):
    """Properties of one compound."""

    needs: ClassVar[dict[str, str]] = {
        "band_gap": "band_gap",
        "thermal_conductivity": "thermal_conductivity",
        "conductivity_temperature": "thermal_conductivity",
        "lowest_frequency": "thermal_conductivity",
        "dynamically_stable": "thermal_conductivity",
    }

    volume_per_atom: float = Field(description="Å³/atom")
    density: float = Field(description="g/cm³")
    energy_per_atom: float = Field(description="Total energy, eV/atom; comparable within one engine and its settings")
    band_gap: float | None = Field(default=None, description="Kohn–Sham gap, eV; None where the engine has no bands")
    spacegroup: str = Field(description="Space group of the relaxed structure, to within 0.01 Å")
    thermal_conductivity: float | None = Field(
        default=None,
        description="Lattice thermal conductivity, mean over the axes, at conductivity_temperature, W/(m·K); None "
        "where the engine computes none",
    )
    conductivity_temperature: float | None = Field(
        default=None, description="Temperature of thermal_conductivity: 300 K, or the nearest that was computed, K"
    )
    lowest_frequency: float | None = Field(
        default=None, description="Lowest phonon frequency, THz, negative when imaginary; None without phonons"
    )
    dynamically_stable: bool | None = Field(
        default=None,
        description="Whether no mode is imaginary; where one is, thermal_conductivity leaves it out. None without "
        "phonons",
    )


#: What tables of this domain show, in this order.
COLUMNS = (
    Column("thermal_conductivity", "κ", "W/(m·K)", ".2f", good="low"),
    Column("conductivity_temperature", "T", "K", ".0f"),
    Column("lowest_frequency", "Lowest mode", "THz", "+.2f"),
    Column("dynamically_stable", "Stable"),
    Column("volume_per_atom", "V", "Å³/atom", ".2f"),
    Column("density", "Density", "g/cm³", ".2f"),
    Column("energy_per_atom", "E", "eV/atom", ".3f"),
    Column("band_gap", "Gap", "eV", ".2f"),
    Column("spacegroup", "Space group"),
)


def derive(candidate: Candidate, calculation: Calculation, references: Mapping[str, Calculation]) -> CompoundDoc:
    """Compute the properties of a compound.

    Parameters
    ----------
    candidate
        What was computed; nothing of it is needed.
    calculation
        Of the compound.
    references
        None are needed.

    Returns
    -------
    CompoundDoc
        Energies in eV, lengths in Å, conductivities in W/(m·K).
    """
    del candidate, references
    structure = calculation.structure
    return CompoundDoc(
        volume_per_atom=structure.volume / len(structure),
        density=float(structure.density),
        energy_per_atom=calculation.energy / len(structure),
        band_gap=calculation.band_gap,
        spacegroup=structure.get_space_group_info(symprec=SYMMETRY_TOLERANCE)[0],
        **_heat(calculation.thermal_conductivity),
    )


def _heat(conductivity: Conductivity | None) -> dict[str, float | bool]:
    if conductivity is None:
        return {}
    temperatures = conductivity.temperatures
    nearest = min(range(len(temperatures)), key=lambda number: abs(temperatures[number] - ROOM_TEMPERATURE))
    return {
        "thermal_conductivity": conductivity.average[nearest],
        "conductivity_temperature": temperatures[nearest],
        "lowest_frequency": conductivity.lowest_frequency,
        "dynamically_stable": not conductivity.has_imaginary_modes,
    }
