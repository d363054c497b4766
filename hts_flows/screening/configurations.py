"""Prediction of the relaxed energies of a grain boundary's configurations from those of other boundaries.

After Kiyohara, Oda, Miyata, Mizoguchi: Sci. Adv. 2, e1600746 (2016): a regression on geometric descriptors of all
unrelaxed configurations (translations and removed atoms) of a few boundaries predicts the energies of others, so that
one relaxation is enough where a search would need all. Here the regression is a linear one with a ridge penalty on
:func:`hts_flows.structures.boundary_descriptors.describe`, in which the configurations of little lost cohesion count
most: among them the stable one is looked for, and the energies of overlapping atoms say nothing about it.

Numbers that are set (:data:`RIDGE`, :data:`DECAY`, :data:`CAP`, the descriptors) were chosen on boundaries of copper
that are not among the twelve which benchmarks/across_boundaries.py reports on. On those twelve, under free sliding, it
chooses a configuration within 10 mJ/m² of the lowest energy in six, much better than chance, but no better than the
configuration of least lost cohesion without learning. Most of those it misses lie within about 20° of a perfect
crystal, where relaxation changes most: such a boundary needs a search. Predicted energies order configurations; there
their absolute values are too high.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hts_flows.errors import InputError
from hts_flows.structures.boundary_descriptors import DESCRIPTORS, describe
from hts_flows.structures.boundary_specs import BicrystalCell, GrainBoundary

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from hts_flows.structures.bicrystals import Bicrystal

    Floats = NDArray[np.float64]

__all__ = ["Regression", "TrainingTable", "predict_energies", "regression"]

#: Penalty on the squared coefficients of standardised descriptors.
RIDGE = 0.1
#: Weights of configurations fall by e for every so much more lost cohesion than the least of their boundary; its unit
#: is that of the first descriptor.
DECAY = 0.3
#: Energies further above the lowest of their boundary count as this far above it, J/m².
CAP = 0.3
#: Standardised descriptors are cut off here: a straight line leads nowhere far from what it was fitted to.
_CUT = 6.0
_TRANSLATION = 3


class TrainingTable(BaseModel):
    """Relaxed energies of one boundary's configurations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="Name of the boundary, for people")
    grain_boundary: dict[str, Any] = Field(description="Its `boundary` and `cell`, as in a starting structure")
    lattice_constant: float = Field(gt=0, description="Lattice constant of the grains, Å")
    translations: list[tuple[float, float, float]] = Field(
        description="Starting translations of grain 2 from the coincidence position, the third the opening, Å"
    )
    removal: list[float | None] = Field(description="Distance below which atoms were removed, Å; one a translation")
    energies: list[float | None] = Field(description="Relaxed energies, J/m²; nothing where the relaxation failed")

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        counts = len(self.translations), len(self.removal), len(self.energies)
        if len(set(counts)) > 1:
            raise InputError(
                f"The table of {self.label} has {counts[0]} translations, {counts[1]} removals, {counts[2]} energies",
                "Give one removal (or null) and one energy (or null) for each translation",
            )
        for name in ("boundary", "cell"):
            if name not in self.grain_boundary:
                raise InputError(
                    f"grain_boundary of the table of {self.label} has no {name!r}",
                    "Give what a starting structure has under properties['grain_boundary']",
                )
        return self

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Which configurations have an energy, shape (n,)."""
        return np.array([one is not None and math.isfinite(one) for one in self.energies], dtype=bool)

    @property
    def bicrystal(self) -> Bicrystal:
        """The bicrystal in the coincidence position, with the table's lattice constant."""
        spec = GrainBoundary.model_validate(self.grain_boundary["boundary"])
        cell = BicrystalCell.model_validate(self.grain_boundary["cell"])
        factor = self.lattice_constant / spec.crystal.constant
        return cell.scaled(factor).bicrystal(spec.with_lattice_constant(self.lattice_constant))


class Regression(NamedTuple):
    """What was learned.

    Attributes
    ----------
    formula
        Of the crystal.
    means, deviations
        Weighted, of the descriptors, shape (n_descriptors,).
    coefficients
        Of the standardised descriptors, J/m², shape (n_descriptors,).
    level
        Weighted mean energy, J/m².
    error
        Weighted root mean square of the residuals, J/m².
    errors
        The same without weights of each table, J/m², by its label.
    """

    formula: str
    means: Floats
    deviations: Floats
    coefficients: Floats
    level: float
    error: float
    errors: dict[str, float]

    def energies(self, descriptors: Floats) -> Floats:
        """Energies of configurations, J/m², shape (n,).

        Parameters
        ----------
        descriptors
            As :func:`~hts_flows.structures.boundary_descriptors.describe` gives them, shape (n, n_descriptors).
        """
        standard = np.clip((descriptors - self.means) / self.deviations, -_CUT, _CUT)
        return np.asarray(standard @ self.coefficients + self.level)


def predict_energies(
    training: Sequence[TrainingTable],
    bicrystal: Bicrystal,
    translations: ArrayLike,
    removal: Sequence[float | None],
) -> Floats:
    """Predict relaxed energies without relaxing anything, J/m², shape (n,); the same for the same arguments.

    They order the configurations of one boundary; the energy of the one that they choose is what a relaxation of it
    gives.

    Parameters
    ----------
    training
        Tables of other boundaries of the same crystal. What is learned is kept in memory, by their content.
    bicrystal
        The new boundary in the coincidence position, with no atoms removed.
    translations, removal
        Its configurations: starting translations, Å, shape (n, 3), and the distance below which atoms are removed, Å,
        or None, one for each.

    Raises
    ------
    InputError
        No table, no energy in any of them, another crystal than theirs, or lengths that differ.

    References
    ----------
    S. Kiyohara, H. Oda, T. Miyata, T. Mizoguchi, Sci. Adv. 2, e1600746 (2016).
    """
    learned = regression(training)
    formula = bicrystal.spec.formula
    if formula != learned.formula:
        raise InputError(
            f"{bicrystal.spec} is a boundary of {formula}, but the training is of {learned.formula}",
            f"Energies of one crystal say nothing about another's: train on boundaries of {formula}",
        )
    return learned.energies(describe(bicrystal, translations, removal))


def regression(training: Sequence[TrainingTable]) -> Regression:
    """Learn from tables; kept in memory by their content.

    Parameters
    ----------
    training
        Tables of boundaries of one crystal.

    Raises
    ------
    InputError
        As :func:`predict_energies`.
    """
    return _learned(tuple(table.model_dump_json() for table in training))


@lru_cache(maxsize=8)
def _learned(contents: tuple[str, ...]) -> Regression:
    tables = [TrainingTable.model_validate_json(content) for content in contents]
    if not tables:
        raise InputError("training has no table", "Give the energies of at least one boundary")
    usable = [table for table in tables if table.finite.any()]
    if not usable:
        raise InputError(
            f"none of the tables ({', '.join(table.label for table in tables)}) has an energy",
            "All their relaxations failed: relax one configuration by hand to see why",
        )
    bicrystals = [table.bicrystal for table in usable]
    formulas = list(dict.fromkeys(one.spec.formula for one in bicrystals))
    if len(formulas) > 1:
        raise InputError(f"training has tables of {' and '.join(formulas)}", "Give tables of one crystal")
    points, values, weights = [], [], []
    for table, bicrystal in zip(usable, bicrystals, strict=True):
        kept = np.flatnonzero(table.finite)
        found = describe(
            bicrystal, np.array(table.translations)[kept], [table.removal[number] for number in kept.tolist()]
        )
        energies = np.array([table.energies[number] for number in kept.tolist()], dtype=float)
        weight = np.exp((found[:, 0].min() - found[:, 0]) / DECAY)
        points.append(found)
        values.append(np.minimum(energies, energies.min() + CAP))
        weights.append(weight / weight.sum() / len(usable))
    together, goal, shares = np.concatenate(points), np.concatenate(values), np.concatenate(weights)
    means = shares @ together
    deviations = np.sqrt(shares @ (together - means) ** 2) + 1e-9
    level = float(shares @ goal)
    standard = np.clip((together - means) / deviations, -_CUT, _CUT)
    matrix = (standard * shares[:, None]).T @ standard + RIDGE * np.eye(len(DESCRIPTORS))
    coefficients = np.linalg.solve(matrix, (standard * shares[:, None]).T @ (goal - level))
    result = Regression(formulas[0], means, deviations, coefficients, level, 0.0, {})
    misses = [result.energies(one) - two for one, two in zip(points, values, strict=True)]
    error = math.sqrt(sum(float(w @ miss**2) for w, miss in zip(weights, misses, strict=True)))
    errors = {table.label: float(np.sqrt((miss**2).mean())) for table, miss in zip(usable, misses, strict=True)}
    return result._replace(error=error, errors=errors)
