"""The families of descriptors, as a user names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from hts_flows.descriptors.structural import StructureFamily

Needs = Literal["formula", "structure", "volume_per_atom or density, or structure"]
#: How optional packages of descriptors are installed.
INSTALL_HINT = "in a clone of hts_flows: pip install --editable '.[descriptors]'"


@dataclass(frozen=True)
class Family:
    """A family of descriptors.

    Attributes
    ----------
    name
        As it is written in a campaign.
    description
        What it is, with the unit.
    needs
        What an entry must have.
    package
        Python package that must be installed beside those of hts_flows; empty for none.
    """

    name: str
    description: str
    needs: Needs
    package: str = ""


_FAMILIES = (
    Family("elements", "for each element that occurs, 1 where it is in the compound, else 0", "formula"),
    Family("fractions", "for each element that occurs, its atomic fraction", "formula"),
    Family(
        "properties",
        "mean, standard deviation, minimum, maximum and range of 15 properties of the elements",
        "formula",
    ),
    Family("volume_per_atom", "volume of an atom, Å³", "volume_per_atom or density, or structure"),
    Family("density", "density, g/cm³", "volume_per_atom or density, or structure"),
    Family(
        "soap",
        "smooth overlap of atomic positions, averaged over the atoms: 210 numbers",
        "structure",
        package="dscribe",
    ),
    Family(
        "local_order",
        "coordination numbers, distances of neighbours (Å), order parameters q4 and q6: mean, standard deviation, "
        "minimum and maximum over the atoms",
        "structure",
    ),
)


def descriptor_names() -> tuple[Family, ...]:
    """List the families; beside them, the name of any number that comes with the entries is a descriptor."""
    return _FAMILIES


def structure_family(name: str) -> StructureFamily:
    """Give what computes a descriptor from a structure.

    Parameters
    ----------
    name
        "soap", "local_order", or "volume_per_atom".
    """
    from hts_flows.descriptors import local_order, soap
    from hts_flows.descriptors.structural import StructureFamily, volume

    if name == "soap":
        return StructureFamily(name, soap.soap, soap.COLUMNS, soap.describe_options(), ("dscribe",))
    if name == "local_order":
        order = local_order
        return StructureFamily(name, order.local_order, order.COLUMNS, order.describe_options(), ("pymatgen-core",))
    return StructureFamily(name, volume, (name,), {"version": 1}, ())
