"""The columns of a table of results: what each is called, its unit, what it means, and what kind of values it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from hts_flows.stores.results import CALCULATION_FIELDS, Result

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.flows.base import Domain

Kind = Literal["text", "number", "integer", "truth"]
Group = Literal["identity", "facet", "state", "property", "calculation"]

_IDENTITY = ("candidate_id", "label", "formula")
_STATE = ("engine", "state", "cause")
_DTYPES: dict[Kind, str] = {"text": "str", "number": "float64", "integer": "Int64", "truth": "boolean"}
_PYTHON: dict[type, Kind] = {str: "text", float: "number", int: "integer", bool: "truth"}
_SYMBOL = r"(?:m?eV|Å|GPa|THz|MB|K|V|W|s|g|%|c?m|kg|J|atoms?|mol|µB|μ_B)[²³]?"
_UNIT = re.compile(rf"{_SYMBOL}(?:[/·]\(?{_SYMBOL}(?:·{_SYMBOL})*\)?)*(?: per \w+)?")
_MAGNETONS = "Bohr magnetons"


class ColumnInfo(BaseModel):
    """One column of a table of results."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name in conditions, for sorting and in exports")
    header: str = Field(description="Name for people")
    unit: str = Field(default="", description="Unit of its values; empty for none")
    format: str = Field(default="", description="Python format of its numbers, e.g. '+.3f'")
    description: str = Field(default="", description="What it is")
    kind: Kind = Field(description="What its values are: text, number, integer or truth; None is missing")
    group: Group = Field(description="Where it is from: identity, facet, state, property or calculation")
    shown: bool = Field(default=False, description="Whether tables show it without being asked")


def unit_of(description: str) -> str:
    """Find the unit at the end of the first part of a field's description; empty where there is none.

    >>> unit_of("Kohn–Sham gap, eV; None where the engine has no bands")
    'eV'
    """
    for part in description.split(";"):
        text = part.strip().rstrip(".")
        if _MAGNETONS in text:
            return "μ_B"
        last = text.split(", ")[-1]
        if _UNIT.fullmatch(last):
            return last
    return ""


def columns_of(domain: Domain | None, facets: Mapping[str, Kind | None]) -> list[ColumnInfo]:
    """Describe the columns of a table of results, in the order of :func:`hts_flows.stores.results.result_row`.

    Parameters
    ----------
    domain
        Whose property document describes the properties; None where there are no results yet.
    facets
        Facets that occur, with the kind of their values; None where no candidate has one.
    """
    from hts_flows.engines.base import Calculation

    written = {column.name: column for column in domain.columns} if domain else {}
    found: dict[str, ColumnInfo] = {}

    def add(name: str, kind: Kind, group: Group, description: str = "", *, shown: bool = False) -> None:
        column = written.get(name)
        unit = (column.unit if column else "") or unit_of(description)
        usual = "" if kind != "number" else ".3f" if unit.startswith("eV") else ".4g"
        found[name] = ColumnInfo(
            name=name,
            header=column.header if column else _header(name),
            unit=unit,
            format=(column.format if column else "") or usual,
            description=description,
            kind=kind,
            group=group,
            shown=shown or column is not None,
        )

    for name in _IDENTITY:
        add(name, "text", "identity", _described(Result, name), shown=name == "label")
    for name, kind in facets.items():
        if name not in found:
            add(name, kind or "text", "facet", f"{_header(name)}: what the candidate is")
    for name in _STATE:
        text = "Why it failed" if name == "cause" else _described(Result, name)
        add(name, "text", "state", text, shown=name != "engine")
    properties = domain.properties.model_fields if domain and domain.properties else {}
    for name, field in properties.items():
        if name != "schema_version":
            add(name, _kind_of_annotation(field.annotation), "property", field.description or "")
    for name in CALCULATION_FIELDS:
        annotation = Calculation.model_fields[name].annotation
        add(name, _kind_of_annotation(annotation), "calculation", _described(Calculation, name))
    add("settings_hash", "text", "identity", _described(Result, "settings_hash"))
    return list(found.values())


def kind_of(values: Iterable[Any]) -> Kind | None:
    """Kind of some values, of which None is missing; None where all are. What is mixed, or no number, is text."""
    kinds = {_PYTHON.get(type(value), "text") for value in values if value is not None}
    return joined_kind(*kinds) if kinds else None


def joined_kind(first: Kind, *others: Kind) -> Kind:
    """Kind of the values of several kinds together."""
    kinds: set[Kind] = {first, *others}
    if len(kinds) == 1:
        return first
    return "number" if kinds == {"integer", "number"} else "text"


def converted(values: Iterable[Any], kind: Kind) -> pd.Series:
    """Make a column of values of one kind; what is of no such kind is missing, in text it is spelled out."""
    import pandas as pd

    items = list(values)
    if kind == "text":
        items = [value if value is None or isinstance(value, str) else str(value) for value in items]
    elif kind == "truth":
        items = [value if isinstance(value, bool) else None for value in items]
    else:
        items = [value if isinstance(value, int | float) and not isinstance(value, bool) else None for value in items]
        if kind == "integer":
            items = [None if value is None or value != value // 1 else int(value) for value in items]
    return pd.Series(items, dtype=_DTYPES[kind])


def recast(column: pd.Series, before: Kind, after: Kind) -> pd.Series:
    """Turn a column of one kind into another."""
    if before == after:
        return column
    if (before, after) == ("integer", "number"):
        return column.astype("float64")
    missing = column.isna().to_list()
    texts = [None if gone else str(value) for value, gone in zip(column.to_list(), missing, strict=True)]
    return converted(texts, after).set_axis(column.index)


def _kind_of_annotation(annotation: Any) -> Kind:
    kinds = [_PYTHON[one] for one in (get_args(annotation) or (annotation,)) if one in _PYTHON]
    return joined_kind(kinds[0], *kinds[1:]) if kinds else "text"


def _described(model: type[BaseModel], name: str) -> str:
    return model.model_fields[name].description or ""


def _header(name: str) -> str:
    text = re.sub(r"^n_", "number of ", name).replace("_", " ")
    return text[:1].upper() + text[1:]
