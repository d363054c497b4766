"""Geometries of relaxations that are still under way, and what a cut-off one left: the start of its continuation."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from ase.optimize.optimize import Optimizer
    from pymatgen.core import Structure

#: File of the geometries in the run folder: one JSON object a line, {"energy": eV, "structure": pymatgen's dict}.
GEOMETRIES = "relaxation.jsonl"

#: So many geometries are kept at most; then the file starts again with the newest.
KEPT = 50

#: Errors of parsers that meet a file cut at any place, or one that is something else.
UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError)


class GeometryRecorder:
    """Put the geometry of every step of an ASE relaxation on disk while it runs.

    A line is written with one call and the file is closed again, so a process that is killed loses the line it was
    writing at most; the file is replaced as a whole where it starts. A line that is cut is no JSON.

    Parameters
    ----------
    folder
        Folder the relaxation runs in.
    moments
        Write the calculator's magnetic moments as the site property "magmom".
    """

    def __init__(self, folder: Path, *, moments: bool) -> None:
        self.path = folder / GEOMETRIES
        self.part = self.path.with_suffix(".part")
        self.moments = moments
        self.count = 0

    def attached(self, optimizer: str | type[Optimizer]) -> Callable[..., Optimizer]:
        """Give what makes the optimizer, with this recorder attached to it.

        Parameters
        ----------
        optimizer
            ASE's class, or atomate2's name of it.
        """
        from atomate2.ase.utils import OPTIMIZERS

        chosen: Callable[..., Optimizer] = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer

        def make(atoms: Any, **options: Any) -> Optimizer:
            made = chosen(atoms, **options)
            # a filter of the cell holds the atoms that have the cell of this step
            made.attach(self.write, interval=1, atoms=getattr(atoms, "atoms", atoms))
            return made

        return make

    def write(self, atoms: Atoms) -> None:
        """Append the geometry, unless its energy (eV) or a coordinate (Å) is not a finite number.

        It reads what the calculator has and computes nothing. A disk that refuses is a warning: the relaxation goes on.
        """
        energy = float(atoms.calc.results.get("energy", np.nan))
        if not all(np.isfinite(part).all() for part in (energy, atoms.positions, atoms.cell.array)):
            return
        line = json.dumps({"energy": energy, "structure": self._as_dict(atoms)}) + "\n"
        try:
            if self.count % KEPT:
                with self.path.open("ab", buffering=0) as file:
                    file.write(line.encode())
            else:
                self.part.write_bytes(line.encode())
                self.part.replace(self.path)
        except OSError as error:
            warnings.warn(f"the geometry of this step is not kept: {error}", stacklevel=2)
        self.count += 1

    def _as_dict(self, atoms: Atoms) -> dict[str, Any]:
        from monty.json import jsanitize
        from pymatgen.io.ase import AseAtomsAdaptor

        structure = AseAtomsAdaptor.get_structure(atoms)
        if self.moments and (values := calculator_moments(atoms.calc, len(structure))) is not None:
            structure.add_site_property("magmom", values)
        return cast("dict[str, Any]", jsanitize(structure.as_dict()))  # as the JobStore does

    def remove(self) -> None:
        """Remove the file: the relaxation has ended, and its document holds the result."""
        for path in (self.path, self.part):
            path.unlink(missing_ok=True)


def calculator_moments(calculator: Calculator, n_atoms: int) -> list[float] | None:
    """Magnetic moments (Bohr magnetons) that a calculator, or a part of a sum of them, has; None without.

    Parameters
    ----------
    calculator
        After a calculation.
    n_atoms
        Number of atoms; moments of another number are none.
    """
    for part in (calculator, *getattr(getattr(calculator, "mixer", None), "calcs", ())):
        moments = getattr(part, "results", {}).get("magmoms")
        if moments is not None and len(moments) == n_atoms:
            return [float(value) for value in moments.ravel()]
    return None


def last_recorded(folder: Path) -> Structure | None:
    """Last whole geometry that :class:`GeometryRecorder` wrote; None where there is none.

    Parameters
    ----------
    folder
        Folder the relaxation ran in.
    """
    try:
        lines = (folder / GEOMETRIES).read_bytes().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        structure = _from_line(line)
        if structure is not None:
            return structure
    return None


def _from_line(line: bytes) -> Structure | None:
    from pymatgen.core import Structure

    try:
        return _sound(Structure.from_dict(json.loads(line)["structure"]))
    except UNREADABLE:
        return None


def last_of_vasp(folder: Path) -> Structure | None:
    """Last geometry of a VASP relaxation: CONTCAR, or the last whole one in XDATCAR where CONTCAR is cut or empty.

    Only the files as VASP writes them are read, not compressed ones: those are of runs that ended, or failed before.
    A geometry of another composition than POSCAR is left out. Moments (μB) are those of the last whole table in OUTCAR.

    Parameters
    ----------
    folder
        Folder VASP ran in.
    """
    start = _from_poscar(_lines(folder / "POSCAR"))
    for structure in (_from_poscar(_lines(folder / "CONTCAR")), _from_xdatcar(_lines(folder / "XDATCAR"))):
        if structure is None or (start is not None and start.composition != structure.composition):
            continue
        moments = _moments_in_outcar(folder / "OUTCAR", len(structure))
        if moments is not None:
            structure.add_site_property("magmom", moments)
        return structure
    return None


def _lines(path: Path) -> list[str]:
    """Lines that end as lines do; a last one that was cut is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def _from_poscar(lines: Sequence[str]) -> Structure | None:
    """Read header and coordinates; velocities and what else follows are left out."""
    ends = (number for number, line in enumerate(lines) if line.strip().lower() in {"direct", "cartesian"})
    end = next(ends, None)
    return None if end is None else _from_parts(lines[:end], lines[end], lines[end + 1 :])


def _from_xdatcar(lines: Sequence[str]) -> Structure | None:
    """Read the last whole geometry; the header stands before each where the cell relaxes, else before the first."""
    numbers = [number for number, line in enumerate(lines) if line.startswith("Direct configuration")]
    if not numbers:
        return None
    length = numbers[0]
    for number in reversed(numbers):
        own = lines[number - length : number]
        header = own if own[5:] == lines[5:length] else lines[:length]
        structure = _from_parts(header, "Direct", lines[number + 1 :])
        if structure is not None:
            return structure
    return None


def _from_parts(header: Sequence[str], mode: str, rest: Sequence[str]) -> Structure | None:
    """Make a structure from the parts of a POSCAR; None when a coordinate is missing or is no number."""
    from pymatgen.io.vasp import Poscar

    n_atoms = sum(int(word) for line in header[5:] for word in line.split() if word.isdecimal())
    coordinates = rest[:n_atoms]
    if not n_atoms or len(coordinates) < n_atoms:
        return None
    try:
        return _sound(Poscar.from_str("\n".join([*header, mode, *coordinates])).structure)
    except UNREADABLE:
        return None


def _sound(structure: Structure) -> Structure | None:
    """Give the structure back when it has atoms, a cell with a volume, and finite numbers only."""
    numbers = np.concatenate([structure.lattice.matrix, structure.frac_coords])
    return structure if len(structure) and np.isfinite(numbers).all() and structure.volume > 0 else None


def _moments_in_outcar(path: Path, n_atoms: int) -> list[float] | None:
    """Moments of the last whole table of an OUTCAR, μB; between two rulers it has a row an atom, the total last."""
    for table in reversed("\n".join(_lines(path)).split("magnetization (x)")[1:]):
        parts = re.split(r"^ *-{5,} *$", table, maxsplit=2, flags=re.MULTILINE)
        rows = [line.split() for line in parts[1].splitlines() if line.strip()] if len(parts) == 3 else []  # noqa: PLR2004
        try:
            moments = [float(row[-1]) for row in rows]
        except ValueError:
            continue
        if len(moments) == n_atoms:
            return moments
    return None
