"""Properties of layered intercalation compounds: energies against the host and elements, and what became of the layers.

Energies as in Kawaguchi, Shibata, Mizoguchi: Sci. Data 11, 1244 (2024). All of them refer to the same engine and
settings: the empty host and the elemental phases.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hts_flows.errors import InputError
from hts_flows.flows.base import Column
from hts_flows.inventories import Inventories
from hts_flows.properties.base import CompositionError, MissingReferenceError, PropertyDoc, PropertyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core import Structure

    from hts_flows.candidates import Candidate
    from hts_flows.engines.base import Calculation


class IntercalationDoc(PropertyDoc):
    """Properties of one intercalation compound."""

    intercalation_energy: float = Field(
        description="[E(host + n M) − E(host) − n E(bulk M)] / n, eV per intercalant; negative: takes it up"
    )
    formation_energy: float = Field(description="Energy against the elemental phases, eV/atom")
    average_voltage: float | None = Field(
        default=None,
        description="Mean voltage of the reaction host → compound against M/M^z+, V; None unless a working ion",
    )
    n_intercalants: int = Field(description="Number of intercalants in the cell")
    interlayer_distance: float | None = Field(
        default=None,
        description="Distance of the layers on either side of a filled gap, middle to middle along their normal, mean "
        "over the filled gaps, Å; None where no layers are left",
    )
    empty_interlayer_distance: float | None = Field(
        default=None, description="The same across the gaps left empty, Å; None where there are none"
    )
    identity_period: float | None = Field(
        default=None,
        description="Mean distance from one filled gap to the next along the normal (I_c of stage-n graphite), Å",
    )
    interlayer_expansion: float | None = Field(
        default=None, description="interlayer_distance less that of the host by the same engine, Å"
    )
    stays_layered: bool = Field(
        description="Whether, intercalants aside, the layers are the host's: parallel, as many, of the same "
        "composition each, and none of their bonds broken"
    )
    dimensionality: int = Field(
        ge=0, le=3, description="In how many directions the bonds of the host's atoms go on without end"
    )
    stage_kept: bool = Field(description="Whether the gaps that the stage says, and no others, are filled")
    intercalant_coordination_number: float = Field(
        description="Number of atoms of the layers' surfaces in the first shell of an intercalant, mean over all"
    )
    coordination_geometry: str = Field(
        description="Shape of that shell: octahedral, trigonal-prismatic, hollow, tetrahedral, …; all that occur, the "
        "most frequent first"
    )
    nearest_distance: float = Field(description="Shortest distance from an intercalant to an atom of the host, Å")
    volume_change: float = Field(description="Change of volume against the empty host, %")
    magnetic_moment: float | None = Field(
        default=None, description="Sum of the sites' moments, Bohr magnetons per cell; None where the engine has none"
    )
    band_gap: float | None = Field(default=None, description="Kohn–Sham gap, eV; None where the engine has no bands")


#: What tables of this domain show, in this order.
COLUMNS = (
    Column("intercalation_energy", "E_int", "eV/M", "+.3f", good="low"),
    Column("formation_energy", "E_form", "eV/atom", "+.3f"),
    Column("average_voltage", "Voltage", "V", ".2f"),
    Column("interlayer_distance", "d", "Å", ".2f"),
    Column("interlayer_expansion", "Δd", "Å", "+.2f"),
    Column("identity_period", "I_c", "Å", ".2f"),
    Column("volume_change", "ΔV", "%", "+.1f"),
    Column("stays_layered", "Layered"),
    Column("stage_kept", "Stage kept"),
    Column("coordination_geometry", "Site"),
    Column("intercalant_coordination_number", "CN", "", ".1f"),
    Column("nearest_distance", "M–host", "Å", ".2f"),
    Column("band_gap", "Gap", "eV", ".2f"),
    Column("magnetic_moment", "Moment", "μ_B", ".2f"),
)


def derive(candidate: Candidate, calculation: Calculation, references: Mapping[str, Calculation]) -> IntercalationDoc:
    """Compute the properties of an intercalation compound.

    Parameters
    ----------
    candidate
        Its inputs give the intercalant, the concentration (intercalants per host formula unit in a filled gap) and
        the stage, and so how many atoms of the intercalant's element were put in and how many are the host's.
    calculation
        Of the compound. The intercalants are the last of their element, as the generator places them.
    references
        "host": the empty host, any cell; "element:X": the elemental phase of each element X of the compound.

    Returns
    -------
    IntercalationDoc
        Energies in eV, lengths in Å.

    Raises
    ------
    MissingReferenceError
        A reference is missing, or is of another composition.
    CompositionError
        The compound is not the host with that many intercalants.
    PropertyError
        The candidate's inputs are incomplete.
    """
    structure = calculation.structure
    element, charge = _ion(candidate)
    host = _reference(references, "host", candidate)
    n = count_intercalants(candidate, structure, host.structure)
    copies = (len(structure) - n) / len(host.structure)
    energies = {symbol: _element_energy(references, symbol, candidate) for symbol in _amounts(structure)}

    intercalation_energy = (calculation.energy - copies * host.energy - n * energies[element]) / n
    elemental = sum(number * energies[symbol] for symbol, number in _amounts(structure).items())
    moments = calculation.magnetic_moments
    return IntercalationDoc(
        intercalation_energy=intercalation_energy,
        formation_energy=(calculation.energy - elemental) / len(structure),
        average_voltage=-intercalation_energy / charge if charge else None,
        n_intercalants=n,
        volume_change=100 * (structure.volume / (copies * host.structure.volume) - 1),
        magnetic_moment=float(sum(moments)) if moments is not None else None,
        band_gap=calculation.band_gap,
        **_geometry(
            structure, host.structure, intercalant_sites(structure, element, n), int(_input(candidate, "stage"))
        ),
    )


def count_intercalants(candidate: Candidate, structure: Structure, host: Structure) -> int:
    """Count the intercalants of a compound from its candidate's concentration and stage.

    The host may hold the intercalant's element itself: the concentration, not the element, tells them apart.

    Parameters
    ----------
    candidate
        Says c intercalants per host formula unit in a filled gap and stage m: c/m per host formula unit in all.
    structure
        The compound.
    host
        The host, any cell.

    Raises
    ------
    CompositionError
        The compound's atoms are not those of the host with that many intercalants.
    """
    element, _ = _ion(candidate)
    unit = _formula_unit(host)
    try:
        ratio = Fraction(str(_input(candidate, "concentration"))).limit_denominator(1000) / int(
            _input(candidate, "stage")
        )
    except (ValueError, ZeroDivisionError) as error:
        raise PropertyError(
            f"candidate {candidate.candidate_id}: concentration or stage is no number: {error}"
        ) from error
    units = Fraction(len(structure)) / (sum(unit.values()) + ratio)
    expected = {symbol: units * number for symbol, number in unit.items()}
    expected[element] = expected.get(element, Fraction(0)) + units * ratio
    found = _amounts(structure)
    if expected != found or units.denominator != 1:
        raise CompositionError(
            f"{candidate.label}: {_text(found)} is not {_text(unit)} with {ratio} {element} per formula unit",
            "the calculation's structure, the candidate and the host reference do not belong together",
        )
    return int(units * ratio)


def intercalant_sites(structure: Structure, element: str, number: int) -> list[int]:
    """Find the intercalants among the sites of their element: they are the last ones.

    Sorting by element, as engines do, and building supercells keep this order.
    """
    return [index for index, site in enumerate(structure) if site.specie.symbol == element][-number:]


def _geometry(structure: Structure, host: Structure, guests: list[int], stage: int) -> dict[str, Any]:
    """Fields of the document that follow from the atoms' positions."""
    import numpy as np

    from hts_flows.properties.coordination import coordination, nearest_distance
    from hts_flows.properties.layering import HostLayers, LayerStack

    before = HostLayers.of(host)
    stack = LayerStack.of(structure, before.cutoffs, guests)
    fields: dict[str, Any] = {"dimensionality": stack.dimensionality, "stays_layered": before.is_intact(stack)}
    fields["stage_kept"] = stack.is_layered and stack.stage() == stage
    normal = stack.normal if stack.is_layered else None
    shells = [coordination(stack.host, position, normal, before.surface) for position in stack.guests]
    fields["intercalant_coordination_number"] = float(np.mean([shell.number for shell in shells]))
    fields["coordination_geometry"] = ", ".join(name for name, _ in Counter(s.geometry for s in shells).most_common())
    fields["nearest_distance"] = min(nearest_distance(stack.host, position) for position in stack.guests)
    if not stack.is_layered:
        return fields
    filled = stack.occupations > 0
    fields["interlayer_distance"] = float(stack.distances[filled].mean())
    fields["identity_period"] = float(stack.period / filled.sum())
    if not filled.all():
        fields["empty_interlayer_distance"] = float(stack.distances[~filled].mean())
    if before.distance is not None:
        fields["interlayer_expansion"] = fields["interlayer_distance"] - before.distance
    return fields


def _input(candidate: Candidate, name: str) -> Any:
    if name not in candidate.inputs:
        raise PropertyError(f"candidate {candidate.candidate_id} does not say its {name}")
    return candidate.inputs[name]


def _ion(candidate: Candidate) -> tuple[str, int | None]:
    """Element of the intercalant, and the charge that a voltage refers to (None: no voltage is given)."""
    given = _input(candidate, "intercalant")
    known = dict(given) if isinstance(given, dict) else {"element": given}
    element = str(known["element"])
    known = {name: candidate.inputs[name] for name in ("charge", "working_ion") if name in candidate.inputs} | known
    if not {"charge", "working_ion"} <= set(known):
        try:
            entry = Inventories().pick("intercalants", element).model_dump()
        except InputError:  # an element of the user's own inventory: energies are defined, a voltage is not known to be
            entry = {"charge": 0, "working_ion": False}
        known = entry | known
    charge = int(known["charge"])
    return element, charge if known["working_ion"] and charge > 0 else None


def _reference(references: Mapping[str, Calculation], role: str, candidate: Candidate) -> Calculation:
    if role not in references:
        raise MissingReferenceError(
            f"{candidate.label}: no calculation was given for the reference {role!r}; "
            f"given: {', '.join(sorted(references)) or 'none'}"
        )
    return references[role]


def _element_energy(references: Mapping[str, Calculation], symbol: str, candidate: Candidate) -> float:
    """Energy of an elemental phase, eV/atom."""
    calculation = _reference(references, f"element:{symbol}", candidate)
    amounts = _amounts(calculation.structure)
    if set(amounts) != {symbol}:
        raise MissingReferenceError(f"the calculation given as 'element:{symbol}' is one of {_text(amounts)}")
    return calculation.energy / len(calculation.structure)


def _amounts(structure: Structure) -> dict[str, int]:
    return dict(Counter(site.specie.symbol for site in structure))


def _formula_unit(host: Structure) -> dict[str, int]:
    """Amounts in lowest terms; one atom for an element."""
    from math import gcd

    amounts = _amounts(host)
    return {symbol: number // gcd(*amounts.values()) for symbol, number in amounts.items()}


def _text(amounts: Mapping[str, int]) -> str:
    return "".join(f"{symbol}{number if number > 1 else ''}" for symbol, number in amounts.items())
