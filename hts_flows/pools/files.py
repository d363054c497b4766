"""Candidates from files: tables, lists of records, structures."""

from __future__ import annotations

import csv
import gzip
import json
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows.errors import InputError
from hts_flows.pools.cells import PARSER_ERRORS, Cell, cell_from_ase, cell_from_mapping, cell_from_pymatgen
from hts_flows.pools.json_text import load_json
from hts_flows.pools.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

#: Endings of structure files in a folder, and beginnings of their names; .json: one structure a file.
_STRUCTURE_ENDINGS = (".cif", ".vasp", ".json")
_STRUCTURE_BEGINNINGS = ("POSCAR", "CONTCAR")
_SPLIT = {"columns", "data"}
_LIST_KEYS = ("data", "entries", "records")


def read_file(path: Path, mapped: Mapping[str, str]) -> Table:
    """Read a file or a folder.

    Parameters
    ----------
    path
        Where it is.
    mapped
        Our name: theirs.

    Raises
    ------
    InputError
        It is missing, of no kind that can be read, or broken.
    """
    if path.is_dir():
        return _folder(path, dict(mapped))
    if not path.is_file():
        near = sorted(file.name for file in path.parent.iterdir())[:12] if path.parent.is_dir() else []
        there = f"; in {path.parent} there are: {', '.join(near)}" if near else ""
        raise InputError(f"pool not found: {path}{there}", "give a path relative to the campaign file")
    name = path.name.lower()
    for endings, reader in _READERS.items():
        if name.endswith(endings):
            try:
                columns, places = reader(path)
            except (OSError, EOFError, UnicodeDecodeError) as error:
                raise InputError(
                    f"cannot read {path}: {error}", "check that the file is whole, and UTF-8 text"
                ) from error
            return Table(str(path), columns, places, {"file": str(path)}, dict(mapped))
    known = ", ".join(ending for endings in _READERS for ending in endings)
    raise InputError(f"{path}: a file of this kind cannot be read; allowed: {known}, or a folder", None)


def _csv(path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    places: list[str] = []
    with opened(path, "rt", encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        try:
            header = [name.strip() for name in next(reader, [])]
            twice = sorted({name for name in header if name and header.count(name) > 1})
            if not any(header) or twice:
                problem = f"the columns {', '.join(twice)} are there twice" if twice else "no names of columns"
                raise InputError(f"{path}, line 1: {problem}", "the first line names the columns, separated by commas")
            lists: list[list[Any]] = [[] for _ in header]
            line = reader.line_num
            for row in reader:
                first, line = line + 1, reader.line_num
                if not any(row):
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{path}, line {first}: {len(row)} values, and line 1 names {len(header)} columns",
                        "put values with a comma in them in quotes",
                    )
                for values, value in zip(lists, row, strict=True):
                    values.append(value)
                places.append(f"line {first}")
        except csv.Error as error:
            raise InputError(
                f"{path}, line {reader.line_num}: {error}", "the values are separated by commas"
            ) from error
    return dict(zip(header, lists, strict=True)), places


def _parquet(path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise InputError(f"{path} is no parquet file that can be read: {error}", "write it again") from error
    return table.to_pydict(), _rows(table.num_rows)


def _json(path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    try:
        content = load_json(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON: {error.msg}", "give a list of records") from error
    except RecursionError as error:
        raise InputError(f"{path}: values stand too deep inside one another", "give a list of records") from error
    if isinstance(content, Mapping) and content.get("@class") == "DataFrame":  # monty's layout of a pandas frame
        content = load_json(content["data"]) if isinstance(content.get("data"), str) else content.get("data")
    if isinstance(content, Mapping) and content.keys() >= _SPLIT and isinstance(content["columns"], list):
        return _split(path, content)
    if isinstance(content, Mapping):
        if _is_structure(content):
            content = [content]
        else:
            inside = next((content[key] for key in _LIST_KEYS if isinstance(content.get(key), list)), None)
            if inside is None:
                return _by_column(path, content)
            content = inside
    if not isinstance(content, list):
        raise InputError(f"{path}: found a {type(content).__name__}, expected a list of records", None)
    return _records(path, content, _rows(len(content)))


def _split(path: Path, content: Mapping[str, Any]) -> tuple[dict[str, list[Any]], list[str]]:
    """Lay out what pandas writes with orient="split"."""
    names, rows = content["columns"], content["data"]
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise InputError(f"{path}: 'data' must hold lists of {len(names)} values, as 'columns' names them", None)
    return {str(name): [row[place] for row in rows] for place, name in enumerate(names)}, _rows(len(rows))


def _by_column(path: Path, content: Mapping[str, Any]) -> tuple[dict[str, list[Any]], list[str]]:
    """Lay out what pandas writes by default: {column: {row: value}}."""
    if not content or not all(isinstance(values, Mapping) for values in content.values()):
        raise InputError(
            f"{path}: found keys {', '.join(map(repr, list(content)[:8]))}, expected a list of records",
            "write it with orient='records'",
        )
    keys = list(dict.fromkeys(key for values in content.values() for key in values))
    columns = {str(name): [values.get(key) for key in keys] for name, values in content.items()}
    return columns, [f"row {key}" for key in keys]


def _jsonl(path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    records, places = [], []
    with path.open(encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                records.append(load_json(line))
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: not JSON: {error.msg}", "one record a line") from error
            places.append(f"line {number}")
    return _records(path, records, places)


def _records(path: Path, records: list[Any], places: list[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """Turn records into columns. A structure alone is a record; an OPTIMADE entry's attributes are its structure."""
    rows: list[Mapping[Any, Any]] = []
    for record, place in zip(records, places, strict=True):
        if not isinstance(record, Mapping):
            raise InputError(f"{path}, {place}: found {str(record)[:40]!r}, expected a record {{name: value}}", None)
        if _is_structure(record):
            rows.append({"structure": record})
        elif isinstance(record.get("attributes"), Mapping) and "structure" not in record:
            attributes = record["attributes"]
            rows.append({"id": record.get("id"), **attributes, "structure": attributes})
        else:
            rows.append(record)
    names = list(dict.fromkeys(str(name) for row in rows for name in row if not str(name).startswith("@")))
    return {name: [row.get(name) for row in rows] for name in names}, places


def _is_structure(record: Mapping[str, Any]) -> bool:
    return "sites" in record and "lattice" in record


def _extxyz(path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    import ase.io

    kinds = (str, int, float, np.number, np.bool_)
    records: list[dict[str, Any]] = []
    try:
        for atoms in ase.io.iread(path, index=":", format="extxyz"):
            found = {str(key): value for key, value in atoms.info.items() if isinstance(value, kinds)}
            results = atoms.calc.results if atoms.calc else {}
            found |= {key: float(value) for key, value in results.items() if isinstance(value, int | float)}
            records.append(found | {"structure": _attempt(partial(cell_from_ase, atoms))})
    except PARSER_ERRORS as error:
        raise InputError(f"{path}, frame {len(records) + 1}: {error}", "give extended XYZ, as ASE writes it") from error
    return _records(path, records, [f"frame {number + 1}" for number in range(len(records))])


def _folder(folder: Path, mapped: dict[str, str]) -> Table:
    files = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and (file.suffix.lower() in _STRUCTURE_ENDINGS or file.name.startswith(_STRUCTURE_BEGINNINGS))
    )
    if not files:
        raise InputError(
            f"no structure files in {folder}", f"give files named *{', *'.join(_STRUCTURE_ENDINGS)} or POSCAR*"
        )
    columns: dict[str, list[Any]] = {
        "name": [_stem(file) for file in files],
        "structure": [_attempt(partial(_one_structure, file)) for file in files],
    }
    return Table(str(folder), columns, [f"file {file.name}" for file in files], {"file": str(folder)}, mapped)


def _stem(file: Path) -> str:
    """Name of a candidate: POSCAR_NaCl and NaCl.cif are NaCl; a bare POSCAR is named by its formula."""
    if file.name.startswith(_STRUCTURE_BEGINNINGS):
        rest = file.name.removesuffix(".vasp").removeprefix("POSCAR").removeprefix("CONTCAR")
        return rest.strip("_-. ")
    return file.stem


def _one_structure(file: Path) -> Cell:
    if file.suffix.lower() == ".json":
        content = load_json(file.read_text(encoding="utf-8-sig"))
        inside = content.get("structure") if isinstance(content, Mapping) else None
        return cell_from_mapping(inside if isinstance(inside, Mapping) else content)
    from pymatgen.io.cif import CifParser
    from pymatgen.io.vasp import Poscar

    if file.suffix.lower() == ".cif":
        (structure, *others) = CifParser(file).parse_structures(primitive=False)
        if others:
            raise ValueError(f"{len(others) + 1} structures in one file; write each into a file of its own")
        return cell_from_pymatgen(structure)
    return cell_from_pymatgen(Poscar.from_file(file, check_for_potcar=False).structure)


def _attempt(read: Callable[[], Cell]) -> Cell | ValueError:
    """Read a structure, or say why it cannot be read; what parsers warn of is no news to the user."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except PARSER_ERRORS as error:
        return error if isinstance(error, ValueError) else ValueError(f"{type(error).__name__}: {error}")


def _rows(count: int) -> list[str]:
    return [f"row {number + 1}" for number in range(count)]


_READERS: dict[tuple[str, ...], Callable[[Path], tuple[dict[str, list[Any]], list[str]]]] = {
    (".csv", ".csv.gz"): _csv,
    (".parquet",): _parquet,
    (".json",): _json,
    (".jsonl",): _jsonl,
    (".extxyz", ".xyz"): _extxyz,
}
