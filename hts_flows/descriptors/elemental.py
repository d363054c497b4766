"""Statistics of the elements' properties over a composition."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hts_flows.descriptors.compositions import symbols
from hts_flows.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hts_flows.descriptors.compositions import Compositions

    Floats = NDArray[np.float64]

# Where the numbers come from: pymatgen's table of the elements, which the package needs anyway, is maintained and adds
# nothing to install, with ASE's covalent radii. matminer 0.10.1 (preset "magpie") cannot be installed beside pandas 3
# and takes 4 ms a formula; mendeleev would bring a database layer and a unit library for the same numbers.

#: Pairs of name and meaning, with the unit, of the elements' properties.
PROPERTIES = {
    "atomic_number": "atomic number",
    "mass": "atomic mass, u",
    "electronegativity": "electronegativity, Pauling's scale",
    "covalent_radius": "covalent radius, Å (Cordero et al., Dalton Trans. 2008, 2832)",
    "group": "group of the periodic table; 3 for all lanthanides and actinides",
    "period": "period of the periodic table",
    "mendeleev_number": "Mendeleev number (Pettifor's chemical scale)",
    "s_electrons": "s electrons outside the noble-gas core of the free atom",
    "p_electrons": "p electrons outside it",
    "d_electrons": "d electrons outside it",
    "f_electrons": "f electrons outside it",
    "valence_electrons": "the sum of these four",
    "melting_point": "melting point of the element, K",
    "ionization_energy": "first ionisation energy, eV",
    "electron_affinity": "electron affinity, eV",
}
#: What is taken of each property over the atoms of a formula unit.
STATISTICS = ("mean", "std", "min", "max", "range")
_PYMATGEN = {
    "atomic_number": "Z",
    "mass": "atomic_mass",
    "electronegativity": "X",
    "group": "group",
    "period": "row",
    "mendeleev_number": "mendeleev_no",
    "melting_point": "melting_point",
    "ionization_energy": "ionization_energy",
    "electron_affinity": "electron_affinity",
}
_SHELLS = "spdf"
#: ASE's covalent radius of elements of which none is known.
_NO_RADIUS = 0.2
_N_ELEMENTS = 118


@lru_cache(maxsize=1)
def property_table() -> Floats:
    """Properties by atomic number, shape (119, n_properties); NaN where a number is not known, and for 0."""
    from ase.data import covalent_radii
    from pymatgen.core import Element

    names = list(PROPERTIES)
    table = np.full((_N_ELEMENTS + 1, len(names)), np.nan)
    with warnings.catch_warnings():
        # pymatgen warns of each number that it does not have; here that is NaN, and told when it is needed.
        warnings.simplefilter("ignore")
        for number in range(1, _N_ELEMENTS + 1):
            element = Element.from_Z(number)
            for name, attribute in _PYMATGEN.items():
                table[number, names.index(name)] = _number(element, attribute)
            electrons = _outer_electrons(element)
            for shell in _SHELLS:
                table[number, names.index(f"{shell}_electrons")] = electrons[shell]
            table[number, names.index("valence_electrons")] = sum(electrons.values())
            if number < len(covalent_radii) and covalent_radii[number] != _NO_RADIUS:
                table[number, names.index("covalent_radius")] = covalent_radii[number]
    table.flags.writeable = False
    return table


def property_column(name: str) -> Floats:
    """One property by atomic number, shape (119,); NaN where it is not known.

    Parameters
    ----------
    name
        One of :data:`PROPERTIES`.
    """
    return property_table()[:, list(PROPERTIES).index(name)]


def property_statistics(compositions: Compositions) -> tuple[Floats, tuple[str, ...]]:
    """Mean, standard deviation, minimum, maximum and range of each property over the atoms of a formula unit.

    Mean and standard deviation are weighted with the atomic fractions; the others are over the elements. As in
    Ward et al., npj Comput. Mater. 2, 16028 (2016), and Seko et al., Phys. Rev. B 95, 144110 (2017).

    Parameters
    ----------
    compositions
        Of the entries.

    Returns
    -------
    tuple
        Values, shape (n_entries, 5 n_properties), and names, e.g. "mean_mass".

    Raises
    ------
    InputError
        A property of an element is not known.
    """
    table = property_table()
    _refuse_unknown(compositions, table)
    numbers, fractions = compositions.numbers, compositions.fractions
    slots = range(numbers.shape[1])
    here = [(numbers[:, slot] > 0)[:, None] for slot in slots]
    values = [np.where(here[slot], table[numbers[:, slot]], 0.0) for slot in slots]
    # Slot by slot, so that an entry's numbers do not depend on the other entries to the last bit.
    mean = np.zeros_like(values[0])
    variance = np.zeros_like(mean)
    low, high = np.full_like(mean, np.inf), np.full_like(mean, -np.inf)
    for slot in slots:
        mean += fractions[:, slot, None] * values[slot]
        low = np.where(here[slot], np.minimum(low, values[slot]), low)
        high = np.where(here[slot], np.maximum(high, values[slot]), high)
    # Rounding must not put the mean of equal numbers beside them.
    mean = np.clip(mean, low, high)
    for slot in slots:
        variance += fractions[:, slot, None] * (values[slot] - mean) ** 2
    stacked = np.stack([mean, np.sqrt(variance), low, high, high - low], axis=2)
    names = tuple(f"{statistic}_{name}" for name in PROPERTIES for statistic in STATISTICS)
    return stacked.reshape(len(numbers), -1), names


def mean_masses(compositions: Compositions) -> Floats:
    """Mean mass of an atom of each entry, u, shape (n_entries,)."""
    masses = np.nan_to_num(property_column("mass"))
    total = np.zeros(len(compositions.numbers))
    for slot in range(compositions.numbers.shape[1]):
        total += compositions.fractions[:, slot] * masses[compositions.numbers[:, slot]]
    return total


def _refuse_unknown(compositions: Compositions, table: Floats) -> None:
    missing = {number: np.flatnonzero(np.isnan(table[number])) for number in compositions.present}
    missing = {number: which for number, which in missing.items() if len(which)}
    if not missing:
        return
    affected = np.flatnonzero(np.isin(compositions.numbers, list(missing)).any(axis=1))
    names = list(PROPERTIES)
    told = "; ".join(
        f"{symbols()[number]} without {', '.join(names[one] for one in which[:3])}{', …' if len(which) > 3 else ''}"  # noqa: PLR2004
        for number, which in missing.items()
    )
    raise InputError(
        f"descriptor 'properties': {len(affected)} of {len(compositions.entries)} entries, e.g. "
        f"{compositions.entries[affected[0]].label}, have elements without a known value ({told})",
        "leave out these entries (exclude_elements), or use elements or fractions in place of properties",
    )


def _number(element: object, attribute: str) -> float:
    """An attribute of pymatgen's element; NaN where the table has none."""
    try:
        value = getattr(element, attribute)
    except (KeyError, AttributeError):
        return np.nan
    return np.nan if value is None else float(value)


def _outer_electrons(element: object) -> dict[str, float]:
    """Electrons of the free atom outside the noble-gas core, by shell; NaN where the configuration is not known."""
    try:
        text = str(element.electronic_structure)  # type: ignore[attr-defined]
    except (KeyError, AttributeError):
        text = ""
    counts = re.findall(r"\d([spdf])(\d+)", text)
    if not counts:
        return dict.fromkeys(_SHELLS, np.nan)
    return {shell: float(sum(int(count) for name, count in counts if name == shell)) for shell in _SHELLS}
