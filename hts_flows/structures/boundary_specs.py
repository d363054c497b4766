"""What a grain boundary is: the crystal, the rotation and plane of a symmetric tilt or twist boundary, and its cell."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from hts_flows.errors import InputError
from hts_flows.structures.coincidence import Vector
from hts_flows.structures.coincidence_boundaries import CoincidenceBoundary, Kind, boundary
from hts_flows.structures.cubic_crystals import CubicCrystal, cubic_crystal, element_structure

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from hts_flows.structures.bicrystals import Bicrystal


class GrainBoundary(BaseModel):
    """A symmetric tilt or twist boundary of a cubic crystal; what is given must belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    element: str | None = Field(None, description="Symbol of an fcc, bcc or diamond element, in place of `structure`")
    lattice_constant: float | None = Field(
        None, gt=0, description="Its lattice constant, Å; without it the experimental one that ASE tabulates"
    )
    structure: Any = Field(
        None,
        description="Conventional cubic cell (rocksalt, perovskite …) in place of `element`: Structure or document",
    )
    kind: Kind = Field("symmetric_tilt", description="Symmetric tilt boundary, or twist boundary")
    axis: Vector = Field(description="Rotation axis [u, v, w]")
    sigma: int | None = Field(None, ge=1, description="Sigma, where the plane or the angle does not say it")
    plane: Vector | None = Field(
        None, description="Miller indices of the boundary plane: a tilt boundary's contains the axis"
    )
    angle: float | None = Field(
        None,
        gt=0,
        le=180,
        description="Misorientation, degrees: for a tilt twice the plane's angle to {100} (else {110})",
    )
    termination: int = Field(
        0, ge=0, description="Atomic plane that lies in the boundary: 0 is the first site's, 1 the next above it, …"
    )

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.element is None) == (self.structure is None):
            raise InputError("A grain boundary needs either `element` or `structure`", "Give one of the two")
        if self.structure is not None and self.lattice_constant is not None:
            raise InputError("`lattice_constant` is for `element`; a `structure` has its own", "Leave it out")
        number = len(self.crystal.planes(self.geometry.plane))
        if self.termination >= number:
            raise InputError(
                f"{miller_of(self)} has {number} different atomic planes: there is no termination {self.termination}",
                f"Allowed: 0 to {number - 1}",
            )
        return self

    @field_validator("structure")
    @classmethod
    def _from_document(cls, value: Any) -> Structure | None:
        from pymatgen.core import Structure

        if isinstance(value, dict) and {"lattice", "sites"} <= value.keys():
            return Structure.from_dict(value)
        if value is not None and not isinstance(value, Structure):
            raise InputError(
                f"`structure` is a {type(value).__name__}, not a structure",
                "Give a pymatgen Structure, or what its as_dict() gives",
            )
        return value

    @field_serializer("structure")
    def _as_document(self, structure: Structure | None) -> dict[str, Any] | None:
        return None if structure is None else structure.as_dict()

    @cached_property
    def geometry(self) -> CoincidenceBoundary:
        """Axis, plane, sigma and angle, all of them."""
        return boundary(self.kind, self.axis, sigma=self.sigma, plane=self.plane, angle=self.angle)

    @cached_property
    def crystal(self) -> CubicCrystal:
        """The crystal of both grains."""
        if self.structure is not None:
            return cubic_crystal(self.structure)
        return cubic_crystal(element_structure(self.element or "", self.lattice_constant))

    @property
    def formula(self) -> str:
        """Reduced formula of the crystal."""
        from pymatgen.core import Composition

        return str(Composition("".join(self.crystal.symbols)).reduced_formula)

    def with_lattice_constant(self, constant: float) -> GrainBoundary:
        """Give the same boundary of a crystal with another lattice constant, Å; a ``structure`` is scaled."""
        given: dict[str, Any] = {"lattice_constant": constant}
        if self.structure is not None:
            scaled = self.structure.copy()
            scaled.scale_lattice(constant**3)
            given = {"structure": scaled}
        return GrainBoundary.model_validate({name: getattr(self, name) for name in self.model_fields_set} | given)

    def __str__(self) -> str:
        return miller_of(self)


def miller_of(spec: GrainBoundary) -> str:
    """Name of a boundary: Cu Σ5[001](210)."""
    return f"{spec.formula} {spec.geometry}"


class BicrystalCell(BaseModel):
    """The cell that a boundary is computed in; the keys of ``cell:`` in a campaign."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thickness: float = Field(
        20.0, gt=0, description="Least thickness of each grain, Å; rounded up to whole lattice planes"
    )
    boundaries: Literal[1, 2] = Field(
        2, description="2: periodic, a second boundary at the cell's border. 1: one, and surfaces that face vacuum"
    )
    vacuum: float = Field(12.0, ge=0, description="Thickness of the vacuum with one boundary, Å")
    rigid: float | None = Field(
        None,
        ge=0,
        description="Thickness of each grain's block that is kept rigid, Å; without it 6 with one boundary, else 0",
    )
    shape: Literal["rectangular", "smallest"] = Field(
        "rectangular", description="In the plane: the smallest rectangular cell, or the smallest of all"
    )
    max_atoms: int = Field(2000, ge=1, description="Largest number of atoms")

    def scaled(self, factor: float) -> BicrystalCell:
        """Give the cell of a crystal that is larger by a factor: the same number of lattice planes in each grain."""
        lengths = {"thickness": self.thickness * factor}
        if self.rigid is not None:
            lengths["rigid"] = self.rigid * factor
        return self.model_copy(update=lengths)

    def bicrystal(self, spec: GrainBoundary) -> Bicrystal:
        """Build the bicrystal of a boundary in this cell, in the coincidence position.

        Raises
        ------
        InputError
            As :func:`~hts_flows.structures.bicrystals.build_bicrystal`.
        """
        from hts_flows.structures.bicrystals import build_bicrystal

        try:
            return build_bicrystal(
                spec,
                thickness=self.thickness,
                boundaries=self.boundaries,
                vacuum=self.vacuum,
                rigid=self.rigid,
                cell=self.shape,
                max_atoms=self.max_atoms,
            )
        except InputError as error:
            # The hint is for people who write a campaign, where the option has the name of this field.
            hint = error.hint.replace('cell="smallest"', "shape: smallest") if error.hint else None
            raise InputError(error.message, hint) from error
