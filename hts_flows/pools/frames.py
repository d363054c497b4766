"""From the rows of a source to the frame of candidates: checked, named, without duplicates; and its parquet file."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError
from hts_flows.pools.cells import (
    DENSITY_UNIT,
    LARGEST_VOLUME,
    PARSER_ERRORS,
    SMALLEST_VOLUME,
    Cell,
    cell_from_mapping,
    cell_from_text,
    mean_mass,
)

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray
    from pymatgen.core import Composition

    from hts_flows.pools.table import Table

    Floats = NDArray[np.float64]

#: Columns of every pool, in this order; the source's other numbers follow.
TEXT_COLUMNS = ("name", "formula", "structure")
COLUMNS = (*TEXT_COLUMNS, "n_atoms", "volume_per_atom", "density")
#: Numbers that a source may give where it gives no structure, Å³ and g/cm³.
_PER_ATOM = ("volume_per_atom", "density")
#: Rows of the source that a message names.
_NAMED = 5
_MISSING = frozenset({"", "-", "na", "n/a", "nan", "none", "null", "<na>"})


def frame_of(table: Table, title: str) -> pd.DataFrame:
    """Turn the rows of a source into candidates.

    Parameters
    ----------
    table
        What the source holds.
    title
        Name of the pool.

    Returns
    -------
    pandas.DataFrame
        As :func:`hts_flows.pools.read_pool` describes it.

    Raises
    ------
    InputError
        There is no row, or none that can be used.
    """
    import pandas as pd

    columns = table.named()
    asked = {ours for ours in table.mapped if ours not in TEXT_COLUMNS} | set(_PER_ATOM)
    numbers, bad, left_out = _numbers(columns, asked)
    rows: list[tuple[str | None, str, str | None, float, float, float]] = []
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    seen: set[tuple[Any, ...]] = set()
    extra = [name for name in numbers if name not in COLUMNS]
    values = np.array([numbers[name] for name in extra]).reshape(len(extra), len(table.places))
    duplicates = 0
    for number, place in enumerate(table.places):
        name = _name(columns["name"][number]) if "name" in columns else None
        try:
            if number in bad:
                raise ValueError(bad[number])  # noqa: TRY301 (one place that writes down why a row is left out)
            given = [numbers[key][number] if key in numbers else math.nan for key in _PER_ATOM]
            candidate = _candidate(columns, number, given)
        except ValueError as error:
            skipped.append((name or place, f"{table.where}, {place}: {error}"))
            continue
        key = (*map(str, candidate), values[:, number].tobytes())
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        rows.append((name, *candidate))
        kept.append(number)
    _refuse_empty(table, skipped, len(rows))
    data = list(zip(*rows, strict=True))
    frame = pd.DataFrame(
        {
            "name": pd.Series(_unique([name or formula for name, formula, *_ in rows])),
            "formula": pd.Series(data[1]),
            "structure": pd.Series(data[2], dtype=object),
            "n_atoms": np.array(data[3], dtype=float),
            "volume_per_atom": np.array(data[4], dtype=float),
            "density": np.array(data[5], dtype=float),
            **dict(zip(extra, values[:, kept], strict=True)),
        }
    )
    frame.attrs = {
        "pool": title,
        "origin": table.origin,
        "skipped": skipped,
        "duplicates": duplicates,
        "left_out": left_out,
    }
    return frame


def _refuse_empty(table: Table, skipped: list[tuple[str, str]], n_rows: int) -> None:
    if n_rows:
        return
    if not skipped:
        raise InputError(f"{table.where}: no candidates in it", "check the file, or the filter")
    more = f"\n… and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    raise InputError(
        f"{table.where}: none of its {len(skipped)} rows can be used:\n"
        + "\n".join(reason for _, reason in skipped[:_NAMED])
        + more,
        "correct the file, or say under 'columns' which column is what",
    )


def _candidate(
    columns: dict[str, list[Any]], number: int, given: list[float]
) -> tuple[str, str | None, float, float, float]:
    """Formula, structure, atoms, volume per atom and density of a row."""
    cell = _cell(columns["structure"][number]) if "structure" in columns else None
    said = columns["formula"][number] if "formula" in columns else None
    # NaN is sodium nitride here.
    composition = None if _is_missing(said) and said != "NaN" else _composition(said)
    if cell is None:
        if composition is None:
            raise ValueError("neither a formula nor a structure")
        return (composition.reduced_formula, None, math.nan, *_volume_and_density(composition, *given))
    formula, mass = _formula_and_mass(tuple(sorted(Counter(cell.species).items())))
    if composition is not None and composition.reduced_formula != formula:
        raise ValueError(f"the formula says {composition.reduced_formula}, the structure {formula}")
    n_atoms = len(cell.species)
    volume = cell.volume / n_atoms
    return formula, cell.text(), n_atoms, volume, mass / volume * DENSITY_UNIT


def _volume_and_density(composition: Composition, volume: float, density: float) -> tuple[float, float]:
    mass = mean_mass(composition)
    if math.isnan(volume):
        volume = mass / density * DENSITY_UNIT
    if volume < SMALLEST_VOLUME or volume > LARGEST_VOLUME:
        raise ValueError(f"{volume:.3g} Å³ per atom: volume_per_atom is not in Å³, or density not in g/cm³")
    return volume, mass / volume * DENSITY_UNIT if math.isnan(density) else density


def _cell(value: Any) -> Cell | None:
    if isinstance(value, ValueError):
        raise value
    if isinstance(value, Cell):
        return value.checked()
    if isinstance(value, Mapping):
        return cell_from_mapping(value).checked()
    if isinstance(value, str) and not _is_missing(value):
        return cell_from_text(value).checked()
    if _is_missing(value):
        return None
    raise ValueError(f"column 'structure': {str(value)[:40]!r} is no structure")


def _composition(value: Any) -> Composition:
    from pymatgen.core import Composition

    try:
        composition = Composition(value, strict=True)
    except PARSER_ERRORS as error:
        raise ValueError(f"column 'formula': {value!r} is no formula ({error})") from error
    if not composition:
        raise ValueError(f"column 'formula': {value!r} has no elements")
    return composition


@lru_cache(maxsize=100_000)
def _formula_and_mass(counts: tuple[tuple[str, int], ...]) -> tuple[str, float]:
    """Reduced formula, and mean mass of an atom, u."""
    from pymatgen.core import Composition

    composition = Composition(dict(counts))
    return composition.reduced_formula, mean_mass(composition)


def _numbers(
    columns: dict[str, list[Any]], asked: set[str]
) -> tuple[dict[str, list[float]], dict[int, str], list[str]]:
    """Columns that are numbers; rows where one that was asked for is none, and why; columns that are no numbers."""
    numbers: dict[str, list[float]] = {}
    bad: dict[int, str] = {}
    left_out: list[str] = []
    for name, values in columns.items():
        if name in TEXT_COLUMNS or not name or name.startswith("Unnamed: "):
            continue
        found = [_number(value) for value in values]
        wrong = [row for row, value in enumerate(found) if value is None]
        if name in _PER_ATOM:
            wrong += [row for row, value in enumerate(found) if value is not None and value <= 0]
        if wrong and name not in asked:
            left_out.append(name)
            continue
        for row in wrong:
            needed = "a number above 0" if name in _PER_ATOM else "a finite number"
            bad.setdefault(row, f"column {name!r}: {values[row]!r} is not {needed}")
        clean = [math.nan if value is None else value for value in found]
        if name in asked or not all(map(math.isnan, clean)):
            numbers[name] = clean
    return numbers, bad, left_out


def _number(value: Any) -> float | None:
    """Finite number; NaN where the value is missing, None where it is no number."""
    if isinstance(value, float) and math.isfinite(value):
        return value
    if _is_missing(value):
        return math.nan
    if not isinstance(value, str | int | float | np.number | np.bool_):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in _MISSING


def _name(value: Any) -> str | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None or value != value else str(value).strip() or None  # noqa: PLR0124 (NaN)


def _unique(names: list[str]) -> list[str]:
    """Tell equal names apart by -2, -3, …; the first stays as it is."""
    taken, following = set(names), Counter[str]()
    seen: set[str] = set()
    given = []
    for name in names:
        unique = name
        while unique in seen or (unique != name and unique in taken):
            following[name] = max(following[name], 1) + 1
            unique = f"{name}-{following[name]}"
        seen.add(unique)
        given.append(unique)
    return given


def frame_to_parquet(frame: pd.DataFrame) -> bytes:
    """Write a pool as a parquet file; the same candidates give the same bytes with the same version of pyarrow.

    What ``frame.attrs`` says about the source is no part of the candidates and left out.

    Parameters
    ----------
    frame
        From :func:`hts_flows.pools.read_pool`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = []
    for name in frame.columns:
        values = frame[name]
        if name in TEXT_COLUMNS:
            arrays.append(pa.array(values.to_list(), type=pa.string(), from_pandas=True))
        else:
            arrays.append(pa.array(values.to_numpy(dtype=float, na_value=np.nan), type=pa.float64(), from_pandas=True))
    buffer = io.BytesIO()
    # Without pandas' notes in the file, which name its version.
    pq.write_table(pa.table(arrays, names=list(map(str, frame.columns))), buffer, compression="zstd")
    return buffer.getvalue()


def frame_from_parquet(path: Path) -> pd.DataFrame:
    """Read what :func:`frame_to_parquet` wrote, with the same types.

    Raises
    ------
    InputError
        The file cannot be read, or lacks a column of a pool.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot read the pool {path}: {error}", "delete the file; it is fetched again") from error
    if missing := set(COLUMNS) - set(table.column_names):
        raise InputError(f"{path} is no pool: without {', '.join(sorted(missing))}", "read it with 'file: …' instead")
    frame = pd.DataFrame({name: table[name].to_numpy() for name in table.column_names if name not in TEXT_COLUMNS})
    for place, name in enumerate(TEXT_COLUMNS):
        values = table[name].to_pylist()
        frame.insert(place, name, pd.Series(values, dtype=object if name == "structure" else None))
    return frame
