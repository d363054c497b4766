"""Rigid-body translations of one grain against the other: a periodic grid, its symmetry, and one point of each orbit.

x and y lie in the boundary plane and are periodic; z is the distance along the normal (an initial expansion, or a gap
between the terminal planes), which is not. Translations that a symmetry of the bicrystal maps onto each other have the
same energy, so one of them is enough. The cell of non-identical displacements (Pond, Bollmann: Phil. Trans. R. Soc. A
292, 449 (1979)) enters as operations that only shift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError, nearest
from hts_flows.screening.values import real

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from hts_flows.structures.bicrystals import Bicrystal

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int_]

#: Operations whose shifts differ by less are the same one, Å; so shifts may be rounded to two or three digits.
SAME_SHIFT = 0.02
#: Largest deviation of a matrix from an isometry, and of a lattice vector's image from a lattice vector, relative.
_ISOMETRY = 1e-3
#: A translation is on the grid when it is this close, Å.
_ON_GRID = 1e-4
#: Larger groups are those of shifts that are no fraction of the periods.
MAX_OPERATIONS = 1024
#: More points than this are a mistake in the unit or in the step.
MAX_POINTS = 500_000


@dataclass(frozen=True, eq=False)
class Operation:
    """A symmetry of the energy: (x, y) → matrix · (x, y) + shift.

    Attributes
    ----------
    matrix
        Orthogonal, on Cartesian coordinates, shape (2, 2).
    shift
        Å, shape (2,).
    """

    matrix: Floats
    shift: Floats

    def after(self, other: Operation) -> Operation:
        """The operation that applies ``other`` first.

        Parameters
        ----------
        other
            Another operation.
        """
        return Operation(self.matrix @ other.matrix, self.matrix @ other.shift + self.shift)


@dataclass(frozen=True, eq=False)
class TranslationSpace:
    """A grid of translations with its symmetry; made by :meth:`grid` or :meth:`of_bicrystal`.

    Attributes
    ----------
    periods
        In-plane periods of the energy along x and y, Å.
    steps
        Of the grid along x and y, Å.
    z
        Distances along the normal, ascending, Å, shape (n_z,).
    operations
        The whole group without the periods themselves, the identity first.
    """

    periods: tuple[float, float]
    steps: tuple[float, float]
    z: Floats
    operations: tuple[Operation, ...]

    @classmethod
    def grid(
        cls,
        *,
        lx: float,
        ly: float,
        z: ArrayLike = (0.0,),
        step: float | Sequence[float] = 0.1,
        symmetry: str | Iterable[tuple[ArrayLike, ArrayLike]] = "none",
    ) -> TranslationSpace:
        """Make a space from numbers.

        Parameters
        ----------
        lx, ly
            In-plane periods, Å.
        z
            Distances along the normal, Å, shape (n_z,).
        step
            Distance of grid points along x and y, Å; one number or two. The points are 0, step, 2·step … below the
            period; where the period is no multiple of the step, the last distance is shorter.
        symmetry
            "none", or operations (matrix of shape (2, 2), shift of shape (2,) in Å) on Cartesian (x, y). They may be
            generators: their products are added. Shifts may be rounded to 0.01 Å.

        Raises
        ------
        InputError
            For a number that is not positive and finite, too many points, an operation that is no isometry or does not
            map the periods onto themselves, or operations that generate no finite group.
        """
        periods = (_positive("lx", lx), _positive("ly", ly))
        steps = _steps(step, periods)
        heights = np.unique(real("z", z, "give distances along the normal in Å, such as z=[1.0, 1.2]").ravel())
        if not len(heights) or not np.isfinite(heights).all():
            raise InputError(f"z is {z!r}", "give at least one distance along the normal, all of them finite, in Å")
        n_points = math.prod(math.ceil(p / s) for p, s in zip(periods, steps, strict=True)) * len(heights)
        if n_points > MAX_POINTS:
            message = f"a step of {steps[0]:g} × {steps[1]:g} Å on {lx:g} × {ly:g} Å gives {n_points} translations"
            raise InputError(message, f"at most {MAX_POINTS} are allowed: use a larger step (0.1 Å is usual)")
        return cls(periods, steps, heights, _group(_operations(symmetry, periods), periods))

    @classmethod
    def of_bicrystal(cls, bicrystal: Bicrystal, *, step: float = 0.2, openings: ArrayLike = (0.0,)) -> TranslationSpace:
        """Make the space of a bicrystal, with the periods and the symmetry that its grains have.

        Parameters
        ----------
        bicrystal
            At any translation; the space's translations are counted from the coincidence position.
        step
            Largest distance of grid points along x and y, Å. It is made smaller, so that it divides the periods and the
            shifts of the symmetry are translations of the grid; but not to less than half, where the shifts do not
            count.
        openings
            Distances along the normal, Å, shape (n_z,).

        Raises
        ------
        InputError
            As :meth:`grid`.
        """
        from hts_flows.structures.bicrystal_symmetry import translation_periods, translation_symmetry

        periods = translation_periods(bicrystal)
        wanted = _positive("step", step)
        lattice = np.diag(periods)
        # Turns by 60°, and quarter turns of a cell that is no square, are none of a rectangular grid.
        symmetry = [
            operation
            for operation in translation_symmetry(bicrystal, periods)
            if _is_whole(np.linalg.solve(lattice, operation.matrix @ lattice))
        ]
        shifts = np.array([operation.shift for operation in symmetry]) / periods
        counts = [_count(length / wanted, parts) for length, parts in zip(periods, shifts.T, strict=True)]
        steps = [length / count for length, count in zip(periods, counts, strict=True)]
        return cls.grid(lx=periods[0], ly=periods[1], z=openings, step=steps, symmetry=symmetry)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Number of grid points along x, y, z."""
        counts = (math.ceil(p / s - 1e-6) for p, s in zip(self.periods, self.steps, strict=True))
        return (*counts, len(self.z))  # type: ignore[return-value]

    @property
    def n_points(self) -> int:
        """Number of grid points."""
        return math.prod(self.shape)

    def translations(self, numbers: ArrayLike) -> Floats:
        """Translations of grid points, Å, shape (n, 3).

        Parameters
        ----------
        numbers
            Of grid points, in the order of a C array of :attr:`shape`, shape (n,).
        """
        ix, iy, iz = np.unravel_index(np.asarray(numbers, dtype=int), self.shape)
        # Rounding gives 0.3 and not 0.30000000000000004, so that tables with decimal keys find their rows.
        plane = np.round(np.column_stack([ix * self.steps[0], iy * self.steps[1]]), 10)
        return np.column_stack([plane, self.z[iz]])

    def images(self, plane: Floats) -> Floats:
        """All that is equivalent to in-plane translations, folded into the periods, Å, shape (n, n_operations, 2).

        Parameters
        ----------
        plane
            (x, y), Å, shape (n, 2).
        """
        matrices = np.stack([one.matrix for one in self.operations])
        shifts = np.stack([one.shift for one in self.operations])
        moved: Floats = np.einsum("gij,nj->ngi", matrices, plane) + shifts
        return moved % np.array(self.periods)

    @cached_property
    def orbits(self) -> Integers:
        """For each grid point, the number of the grid point that represents it, shape (n_points,).

        Notes
        -----
        Where the grid does not have the symmetry (a period or a shift is no multiple of the step), an image stands for
        the grid point that it is nearest to.
        """
        nx, ny, nz = self.shape
        plane = self.translations(np.arange(0, self.n_points, nz))[:, :2]
        to = self._nearest(self.images(plane))
        found = np.full(nx * ny, -1)
        for number, orbit in enumerate(to):
            if found[number] < 0:
                found[number] = number
                found[orbit[found[orbit] < 0]] = number
        return np.asarray((found[:, None] * nz + np.arange(nz)).ravel())

    @cached_property
    def representatives(self) -> Integers:
        """Numbers of the grid points that represent an orbit each, ascending, shape (n_representatives,)."""
        return np.flatnonzero(self.orbits == np.arange(self.n_points))

    def number(self, translation: ArrayLike) -> int:
        """Number of the grid point of a translation; x and y are folded into the periods.

        Parameters
        ----------
        translation
            (x, y, z), Å, shape (3,).

        Raises
        ------
        InputError
            Where this is no point of the grid.
        """
        given = real("a translation", translation, "give (x, y, z) in Å")
        if given.shape != (3,) or not np.isfinite(given).all():
            raise InputError(f"a translation is {translation!r}", "give three finite numbers (x, y, z) in Å")
        iz = int(np.abs(self.z - given[2]).argmin())
        plane = int(self._nearest(given[None, :2])[0])
        number = plane * self.shape[2] + iz
        offset = self.translations([number])[0] - given
        offset[:2] -= np.round(offset[:2] / self.periods) * self.periods
        if np.abs(offset).max() > _ON_GRID:
            x, y, z = self.translations([number])[0]
            raise InputError(
                f"({given[0]:g}, {given[1]:g}, {given[2]:g}) Å is no point of the grid",
                f"the nearest point is ({x:g}, {y:g}, {z:g}) Å",
            )
        return number

    def _nearest(self, plane: Floats) -> Integers:
        """Numbers of the nearest in-plane grid points of (x, y), shape (...) for (..., 2)."""
        folded = plane % np.array(self.periods)
        indices = np.rint(folded / self.steps).astype(int)
        for axis, (period, step, count) in enumerate(zip(self.periods, self.steps, self.shape[:2], strict=True)):
            # Beyond the last point, 0 of the next period may be nearer.
            last = (count - 1) * step
            wrapped = folded[..., axis] - last > period - folded[..., axis]
            indices[..., axis] = np.where(wrapped, 0, np.minimum(indices[..., axis], count - 1))
        return np.asarray(indices[..., 0] * self.shape[1] + indices[..., 1])


def _is_whole(numbers: NDArray[np.floating[Any]]) -> bool:
    return bool(np.abs(numbers - np.round(numbers)).max() < _ISOMETRY)


def _count(least: float, shifts: Floats) -> int:
    """Number of grid points of a period: at least ``least``, and such that shifts, in periods, are on the grid."""
    fewest = max(1, math.ceil(least - 1e-6))
    fitting = (count for count in range(fewest, 2 * fewest + 1) if _is_whole(shifts * count))
    return next(fitting, fewest)


def _positive(name: str, value: Any) -> float:
    number = real(name, value, "give a length in Å")
    if number.shape != () or not np.isfinite(number) or number <= 0:
        raise InputError(f"{name} is {value!r}", "give a positive length in Å")
    return float(number)


def _steps(step: Any, periods: tuple[float, float]) -> tuple[float, float]:
    given = np.ravel(real("step", step, "give a length in Å, or one along x and one along y"))
    if len(given) not in {1, 2}:
        raise InputError(f"step has {len(given)} numbers", "give one length in Å, or one along x and one along y")
    steps = (_positive("step", given[0]), _positive("step", given[-1]))
    for name, length, one in zip(("lx", "ly"), periods, steps, strict=True):
        if one > length * (1 + 1e-9):
            raise InputError(f"step {one:g} Å is longer than {name} = {length:g} Å", "use a smaller step")
    return steps


def _operations(symmetry: Any, periods: tuple[float, float]) -> list[Operation]:
    """Operations as they were given, checked."""
    hint = "give pairs of a 2 × 2 matrix and a shift of two lengths in Å, or symmetry='none'"
    if isinstance(symmetry, str):
        if symmetry != "none":
            raise InputError(f"symmetry is {symmetry!r}", f"{nearest(symmetry, ['none'])}; or {hint}")
        return []
    try:
        pairs = [(matrix, shift) for matrix, shift in symmetry]
    except (TypeError, ValueError):
        raise InputError(f"symmetry is {symmetry!r}", hint) from None
    lattice = np.diag(periods)
    operations = []
    for place, (matrix, shift) in enumerate(pairs, start=1):
        where = f"operation {place} of symmetry"
        one = Operation(real(f"the matrix of {where}", matrix, hint), real(f"the shift of {where}", shift, hint))
        if one.matrix.shape != (2, 2) or one.shift.shape != (2,):
            raise InputError(f"{where} has shapes {one.matrix.shape} and {one.shift.shape}", hint)
        if not (np.isfinite(one.matrix).all() and np.isfinite(one.shift).all()):
            raise InputError(f"{where} has a number that is not finite", hint)
        if np.abs(one.matrix @ one.matrix.T - np.eye(2)).max() > _ISOMETRY:
            message = f"the matrix of {where} is {one.matrix.tolist()}, which does not keep lengths"
            raise InputError(message, "it acts on Cartesian x and y: a mirror or a rotation is meant")
        inside = np.linalg.solve(lattice, one.matrix @ lattice)
        if not _is_whole(inside):
            message = f"{where} does not map the periods {periods[0]:g} and {periods[1]:g} Å onto themselves"
            raise InputError(message, "give operations of the rectangular cell; a quarter turn needs lx = ly")
        operations.append(one)
    return operations


def _group(generators: list[Operation], periods: tuple[float, float]) -> tuple[Operation, ...]:
    """All products of the generators, the identity first."""
    lengths = np.array(periods)

    def key(one: Operation) -> tuple[int, ...]:
        return tuple(np.rint(one.matrix.ravel()).astype(int).tolist())

    group = [Operation(np.eye(2), np.zeros(2))]
    known: dict[tuple[int, ...], list[Floats]] = {key(group[0]): [group[0].shift]}
    for member in group:
        for generator in generators:
            product = generator.after(member)
            shift = product.shift % lengths
            same = known.setdefault(key(product), [])
            apart = np.array(same).reshape(-1, 2) - shift
            apart -= np.round(apart / lengths) * lengths
            if len(same) and np.abs(apart).max(axis=1).min() < SAME_SHIFT:
                continue
            if len(group) == MAX_OPERATIONS:
                message = f"the operations of symmetry generate more than {MAX_OPERATIONS}"
                hint = "a shift must be a fraction of the periods: give it with at least three digits behind the point"
                raise InputError(message, hint)
            same.append(shift)
            group.append(Operation(product.matrix, shift))
    return tuple(group)
