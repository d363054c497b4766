"""Entries of the inventory of grain boundaries: crystal, rotation, plane, and where the numbers are from."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hts_flows.errors import InputError
from hts_flows.inventories import Symbol, crystal
from hts_flows.structures.boundary_specs import GrainBoundary
from hts_flows.structures.coincidence import Vector
from hts_flows.structures.coincidence_boundaries import CoincidenceBoundary, Kind, boundary

if TYPE_CHECKING:
    from hts_flows.inventories import Inventories


class Boundary(BaseModel):
    """A symmetric tilt or twist boundary of an element or of a cubic compound; what is given twice must agree."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(
        description="Name used in campaign files: crystal, sigma, axis and plane without signs, as in Cu-S5-001-210",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
    )
    name: str = Field(description="Name for people")
    element: Symbol | None = Field(default=None, description="Fcc, bcc or diamond element, in place of `compound`")
    lattice_constant: float | None = Field(
        default=None, gt=0, description="Of the element, Å; without it the experimental one that ASE tabulates"
    )
    compound: str | None = Field(
        default=None, description="Id in compounds.yaml of a cubic crystal of class m-3m, in place of `element`"
    )
    kind: Kind = Field(default="symmetric_tilt", description="Symmetric tilt boundary, or twist boundary")
    axis: Vector = Field(description="Rotation axis [u, v, w]")
    sigma: int | None = Field(default=None, ge=1, description="Volume of the coincidence-site lattice's cell")
    plane: Vector | None = Field(
        default=None, description="Miller indices of the boundary plane; that of a tilt boundary contains the axis"
    )
    angle: float | None = Field(
        default=None,
        gt=0,
        le=180,
        description="Misorientation, degrees: of a tilt twice the plane's angle to {100} (else {110})",
    )
    termination: int = Field(
        default=0, ge=0, description="Atomic plane in the boundary: 0 is the first site's, 1 the next above it, …"
    )
    collection: str | None = Field(
        default=None, description="Published set that it is one of, e.g. kiyohara-2016-training; nothing for others"
    )
    source: str = Field(min_length=8, description="Where the numbers are from")

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.element is None) == (self.compound is None):
            raise ValueError("give either element (e.g. Cu) or compound (an id in compounds.yaml)")
        if self.compound is not None and self.lattice_constant is not None:
            raise ValueError("lattice_constant is for element; the cell of a compound is in compounds.yaml")
        try:
            _ = self.geometry
        except InputError as error:
            raise ValueError(f"{error.message}; {error.hint}" if error.hint else error.message) from error
        return self

    @property
    def geometry(self) -> CoincidenceBoundary:
        """Axis, plane, sigma and angle, all of them."""
        return boundary(self.kind, self.axis, sigma=self.sigma, plane=self.plane, angle=self.angle)

    def content(self, inventories: Inventories) -> dict[str, Any]:
        """Give what determines the boundary, and nothing else: this is what ids are made from.

        Parameters
        ----------
        inventories
            Where the compound is looked up.

        Returns
        -------
        dict
            ``crystal`` (``element`` and ``lattice_constant`` in Å, or ``spacegroup``, ``lattice`` and ``sites``) and
            ``geometry``, as :func:`specification` takes them.

        Raises
        ------
        InputError
            There is no such compound, the crystal is none that boundaries are built of, or the termination does not
            exist; the message names the entry.
        """
        if self.compound is not None:
            try:
                inventories.pick("compounds", self.compound)
            except InputError as error:
                raise InputError(f"boundary {self.id}: compound {error.message}", error.hint) from error
            made: dict[str, Any] = inventories.compounds[self.compound].content()
        else:
            made = {"element": self.element, "lattice_constant": self.lattice_constant}
        found = self.geometry
        geometry: dict[str, Any] = {
            "kind": self.kind,
            "axis": list(found.axis),
            "plane": list(found.plane),
            "sigma": found.sigma,
            "angle": round(found.angle, 6),
            "termination": self.termination,
        }
        try:
            spec = specification({"crystal": made, "geometry": geometry})
        except InputError as error:
            raise InputError(f"boundary {self.id}: {error.message}", error.hint) from error
        if self.element is not None:
            made["lattice_constant"] = round(spec.crystal.constant, 6)
        return {"crystal": made, "geometry": geometry}


def specification(content: dict[str, Any]) -> GrainBoundary:
    """Make the boundary from what :meth:`Boundary.content` gave.

    Raises
    ------
    InputError
        Crystal, rotation and plane do not belong together.
    """
    return _specification(json.dumps([content["crystal"], content["geometry"]], sort_keys=True))


@lru_cache(maxsize=512)
def _specification(text: str) -> GrainBoundary:
    made, geometry = json.loads(text)
    if "element" not in made:
        made = {"structure": crystal(made)}
    return GrainBoundary.model_validate(made | geometry)
