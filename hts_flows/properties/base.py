"""What every property document has, and the errors that say why one cannot be derived."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from hts_flows.errors import HtsError


class PropertyError(HtsError, ValueError):
    """Properties cannot be derived from these calculations."""


class MissingReferenceError(PropertyError):
    """A calculation that the properties refer to was not given, or is of something else."""


class CompositionError(PropertyError):
    """A calculation's composition is not the host plus the intercalants that the candidate says."""


class PropertyDoc(BaseModel):
    """Properties of one candidate, derived from its calculation and those of its references.

    A subclass adds one field a property, each with its unit in the description.
    """

    model_config = ConfigDict(extra="forbid")

    #: Of properties that not every engine gives: the field of the Calculation that each follows from.
    needs: ClassVar[dict[str, str]] = {}

    schema_version: int = Field(default=1, description="Version of this document's layout")
