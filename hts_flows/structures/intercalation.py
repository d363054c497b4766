"""Layered intercalation compounds: which ones a campaign asks for, and their structures.

For each host, intercalant, concentration and stage: the gaps, the sites in them, the stacking and the orderings are
found from the host's structure (:mod:`~hts_flows.structures.layers`, :mod:`~hts_flows.structures.sites`,
:mod:`~hts_flows.structures.stacking`, :mod:`~hts_flows.structures.orderings`).
"""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from hts_flows.candidates import Candidate, CandidateSpace
from hts_flows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymatgen.core import Structure

    from hts_flows.inventories import Host, Intercalant, Inventories

#: Raised when the same inputs give another structure than before; part of every id.
GENERATOR_VERSION = 1
#: Largest denominator of a concentration.
MAX_DENOMINATOR = 24
#: Highest stage.
MAX_STAGE = 12
_MOST = 2
#: A decimal may be this far from the fraction it is rounded from.
_ROUNDING = Fraction(1, 1000)
#: What a list of each kind looks like.
_EXAMPLES = {
    "hosts": "[graphite]",
    "intercalants": "[Li, K]",
    "concentrations": "[1/6, 1/3]",
    "stages": "[1, 2]",
}


def parse_concentration(value: Any) -> str:
    """Bring a concentration to its form in lowest terms, e.g. "1/6".

    A decimal stands for the fraction it was rounded from (0.333 is 1/3); a fraction or whole number is taken as it is.

    Raises
    ------
    ValueError
        Not a fraction with a denominator up to 24, not above 0, or above 2.
    """
    text = str(value).strip()
    try:
        # By way of float: an exponent such as 1e-999999999 must not be written out in digits.
        is_decimal = "/" not in text and not text.lstrip("+-").isdecimal()
        exact = Fraction(repr(float(text))) if is_decimal else Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text[:40]!r} is not a concentration; write a fraction such as 1/6 or 0.25") from None
    if exact <= 0:
        raise ValueError(f"concentration {value} must be above 0 (the empty host is computed anyway)")
    if exact > _MOST:
        raise ValueError(
            f"concentration {value} is above {_MOST} intercalants per host formula unit, the most there is"
        )
    fraction = exact.limit_denominator(MAX_DENOMINATOR)
    if fraction <= 0 or abs(fraction - exact) > (_ROUNDING if is_decimal else 0):
        near = max(fraction, Fraction(1, MAX_DENOMINATOR))
        raise ValueError(
            f"concentration {value} is no fraction with a denominator up to {MAX_DENOMINATOR}; did you mean {near}?"
        )
    return str(fraction)


Concentration = Annotated[
    str,
    BeforeValidator(parse_concentration),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}], "examples": ["1/6", 0.25, 1]}),
]


class IntercalationSpace(CandidateSpace):
    """The ``candidates:`` section of a campaign on layered intercalation compounds."""

    domain: Literal["intercalation"] = Field(description="This family of structures")
    hosts: list[str] | Literal["all"] = Field(description='Ids of hosts (hts inventory hosts), or "all"')
    intercalants: list[str] | Literal["all"] = Field(
        description='Elements to put into the gaps (hts inventory intercalants), or "all"'
    )
    concentrations: list[Concentration] = Field(
        description="Intercalants per host formula unit in a filled gap, above 0 and up to 2, as fractions: 1/6 is C6M "
        "in stage-1 graphite"
    )
    stages: list[int] = Field(
        default=[1], description="Stage n, from 1 to 12: every n-th gap is filled, the others are empty"
    )
    stacking: Literal["auto", "host", "eclipsed"] = Field(
        default="auto",
        description="How the two layers around a filled gap lie: as in the host, eclipsed (one straight above the "
        "other), or auto, which is the host's filled_stacking in the inventory",
    )
    sites: Literal["roomiest", "all"] = Field(
        default="roomiest", description="Fill the site furthest from the host's atoms, or each kind of site in turn"
    )
    orderings: int | Literal["all"] = Field(
        default=1,
        description="How many symmetry-distinct orderings in the plane to take, those with the intercalants furthest "
        'apart first, or "all"',
    )
    max_atoms: int = Field(default=200, ge=1, description="Leave out cells with more atoms than this")

    @field_validator("hosts", "intercalants", "concentrations", "stages", mode="before")
    @classmethod
    def _is_list(cls, value: Any, info: Any) -> Any:
        may_be_all = info.field_name in ("hosts", "intercalants")
        if value == "all" and may_be_all:
            return value
        if not isinstance(value, list | tuple):
            other = ' or "all"' if may_be_all else ""
            is_item = isinstance(value, str | int | float) and not isinstance(value, bool)
            example = f"[{value}]" if is_item else _EXAMPLES[info.field_name]
            raise ValueError(f"write a list{other}, e.g. {example}")  # noqa: TRY004 - pydantic reports ValueError
        if not value:
            raise ValueError("the list is empty; give at least one")
        if any(isinstance(item, bool) for item in value):
            raise ValueError("an entry reads as yes or no; put it in quotes if it is a name")
        if may_be_all and (wrong := [item for item in value if not isinstance(item, str)]):
            raise ValueError(f"{wrong[0]!r} is not a name; put it in quotes if it is one")
        return list(value)

    @field_validator("hosts", "intercalants", "concentrations", "stages")
    @classmethod
    def _no_duplicates(cls, value: Any) -> Any:
        if isinstance(value, list) and (twice := [item for item, count in Counter(value).items() if count > 1]):
            raise ValueError(f"{twice[0]} is given twice")
        return value

    @field_validator("stages", mode="after")
    @classmethod
    def _stages_from_one(cls, value: list[int]) -> list[int]:
        for stage in value:
            if stage < 1:
                raise ValueError(f"stage {stage}: stages count from 1 (stage 1: every gap is filled)")
            if stage > MAX_STAGE:
                raise ValueError(f"stage {stage} is above {MAX_STAGE}, the highest that is generated")
        return value

    @field_validator("orderings", mode="before")
    @classmethod
    def _orderings_from_one(cls, value: Any) -> Any:
        if value != "all" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f'{value!r} orderings; give a whole number from 1, or "all"')
        return value

    @field_validator("max_atoms", mode="before")
    @classmethod
    def _atoms_are_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("not a number of atoms; give a whole number from 1")  # noqa: TRY004 - pydantic reports it
        return value

    def candidates(self, inventories: Inventories) -> Iterator[Candidate]:
        """Yield every candidate that can be built, by host, intercalant, concentration, stage, site and ordering.

        Raises
        ------
        InputError
            An unknown host or intercalant, a host without layers, or no candidate at all.
        """
        reason = None
        none = True
        for item in self._walk(inventories):
            if isinstance(item, Candidate):
                none = False
                yield item
            else:
                reason = reason or item
        if none and reason:
            raise InputError(
                f"no candidate is left; the first: {reason[0]}: {reason[1]}",
                "change concentrations, stages or max_atoms of the candidates section",
            )

    def skipped(self, inventories: Inventories) -> list[tuple[str, str]]:
        """Combinations that have no candidate, as label and reason."""
        return [item for item in self._walk(inventories) if not isinstance(item, Candidate)]

    def _walk(self, inventories: Inventories) -> Iterator[Candidate | tuple[str, str]]:
        hosts: Sequence[Any] = _picked(inventories, "hosts", self.hosts)
        intercalants: Sequence[Any] = _picked(inventories, "intercalants", self.intercalants)
        for host in hosts:
            host.structure()  # refuses, by its name, a host that cannot be right
            series = [
                _Series(self, host, Fraction(concentration), stage)
                for concentration in self.concentrations
                for stage in self.stages
            ]
            for intercalant in intercalants:
                for one in series:
                    yield from one.candidates(intercalant)


def _picked(inventories: Inventories, kind: Literal["hosts", "intercalants"], names: list[str] | str) -> list[Any]:
    if isinstance(names, str):
        return list(getattr(inventories, kind).values())
    return [inventories.pick(kind, name) for name in names]


class _Series:
    """The candidates of one host, concentration and stage: the same for all intercalants but for contacts."""

    def __init__(self, space: IntercalationSpace, host: Host, concentration: Fraction, stage: int) -> None:
        from hts_flows.structures import filling
        from hts_flows.structures.layers import NotLayeredError

        self.host, self.concentration, self.stage = host, concentration, stage
        self.stacking = host.filled_stacking if space.stacking == "auto" else space.stacking
        self.content = host.content()
        self.number = None if space.orderings == "all" else int(space.orderings)
        self.all_sites = space.sites == "all"
        self.choices: list[tuple[str, filling.Orderings | str]] = []
        text = json.dumps(self.content, sort_keys=True)
        try:
            geometry = filling.geometry(text, self.stacking, stage)
        except NotLayeredError as error:
            raise InputError(
                f"host {host.id!r} cannot be intercalated: {error.message}", "hosts.yaml may hold layered crystals only"
            ) from error
        self.geometry = geometry
        self.amounts = {
            symbol: Fraction(number, len(geometry.staged.filled)) for symbol, number in geometry.composition.items()
        }
        self.per_cell = concentration * geometry.formula_units
        sites = geometry.sites if self.all_sites else geometry.sites[:1]
        for site in sites:
            try:
                filling.occupation(geometry, concentration, space.max_atoms)
                self.choices.append(
                    (site.label, filling.orderings(text, self.stacking, stage, site.label, concentration))
                )
            except filling.Impossible as error:
                self.choices.append((site.label, str(error)))

    def candidates(self, intercalant: Intercalant) -> Iterator[Candidate | tuple[str, str]]:
        """Candidates, or label and reason where there is none, for one intercalant."""
        from hts_flows.structures import assembly, filling

        element = intercalant.element
        formula = self._formula(element)
        name = f"{self.host.id} {formula} stage {self.stage}"
        if not self.choices:
            yield name, "no site was found in its gap"
        for site, found in self.choices:
            label = f"{name} {site}" if self.all_sites else name
            if isinstance(found, str):
                yield label, found
                continue
            kind = self.geometry.site(site)
            for index, ordering in enumerate(found.first(self.number)):
                full = label if self.number == 1 else f"{label} ordering {index + 1}"
                try:
                    assembly.check_contacts(self.geometry, kind, ordering, element, intercalant.ionic_radius)
                except filling.Impossible as error:
                    yield full, str(error)
                    continue
                yield Candidate(
                    domain="intercalation",
                    inputs=self._inputs(intercalant, site, index),
                    label=full,
                    formula=formula,
                )

    def _inputs(self, intercalant: Intercalant, site: str, ordering: int) -> dict[str, Any]:
        return {
            "generator": GENERATOR_VERSION,
            "host": self.host.id,
            "content": self.content,
            "intercalant": intercalant.element,
            "ionic_radius": intercalant.ionic_radius,
            "concentration": str(self.concentration),
            "stage": self.stage,
            "stacking": self.stacking,
            "site": site,
            "ordering": ordering,
        }

    def _formula(self, element: str) -> str:
        from pymatgen.core import Composition

        amounts = dict(self.amounts)
        amounts[element] = amounts.get(element, Fraction(0)) + self.per_cell
        scale = max(amount.denominator for amount in amounts.values())
        for amount in amounts.values():
            scale *= (amount * scale).denominator
        return Composition({symbol: int(amount * scale) for symbol, amount in amounts.items()}).reduced_formula


def build(candidate: Candidate) -> Structure:
    """Build a candidate's starting structure from its inputs alone.

    Returns
    -------
    Structure
        Host atoms first, intercalants last; ``properties["provenance"]`` says how it was made.
    """
    from hts_flows.structures import assembly, filling

    inputs = candidate.inputs
    if inputs["generator"] != GENERATOR_VERSION:
        raise InputError(
            f"candidate {candidate.candidate_id} was generated by version {inputs['generator']} of the intercalation "
            f"generator, this is version {GENERATOR_VERSION}",
            "submit the campaign again: its candidates get new ids",
        )
    text = json.dumps(inputs["content"], sort_keys=True)
    concentration = Fraction(inputs["concentration"])
    geometry = filling.geometry(text, inputs["stacking"], inputs["stage"])
    found = filling.orderings(text, inputs["stacking"], inputs["stage"], inputs["site"], concentration)
    ordering = found.first(inputs["ordering"] + 1)[inputs["ordering"]]
    site = geometry.site(inputs["site"])
    structure = assembly.assemble(geometry, site, ordering, inputs["intercalant"], inputs["ionic_radius"])
    described = ("host", "intercalant", "ionic_radius", "concentration", "stage", "stacking", "ordering")
    structure.properties["provenance"] |= {key: inputs[key] for key in described} | {"generator": GENERATOR_VERSION}
    return structure
