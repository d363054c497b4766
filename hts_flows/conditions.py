"""Conditions that people write: ``intercalation_energy < 0``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hts_flows.errors import InputError, nearest

_CONDITION = re.compile(r"^\s*([A-Za-z_][A-Za-z0-9_]*)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*$")
#: Operators with MongoDB's name for them, and what they do.
OPERATORS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "==": ("$eq", operator.eq),
    "=": ("$eq", operator.eq),
    "!=": ("$ne", operator.ne),
    "<=": ("$lte", operator.le),
    ">=": ("$gte", operator.ge),
    "<": ("$lt", operator.lt),
    ">": ("$gt", operator.gt),
}


_ORDERING = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True)
class Condition:
    """A name, an operator and a value.

    Attributes
    ----------
    name
        What is compared.
    operator
        As written, one of :data:`OPERATORS`.
    value
        Number, truth value, text or None.
    """

    name: str
    operator: str
    value: Any

    def query(self, path: str) -> dict[str, Any]:
        """Give the MongoDB filter for a field at some place in the documents."""
        return {path: {OPERATORS[self.operator][0]: self.value}}

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Tell whether it holds for some values; what cannot be compared, or is missing, only differs."""
        found = values.get(self.name)
        try:
            return bool(OPERATORS[self.operator][1](found, self.value))
        except TypeError:
            return False


def read_condition(text: str, names: Collection[str]) -> Condition:
    """Read a condition.

    Parameters
    ----------
    text
        As written.
    names
        Names that it may speak of.

    Raises
    ------
    InputError
        It is no condition, or names something else.
    """
    match = _CONDITION.match(text)
    if not match:
        raise InputError(
            f"cannot read the condition {text!r}",
            "write NAME OPERATOR VALUE with one of == != < <= > >=, e.g. 'intercalation_energy < 0'",
        )
    name, sign, raw = match.groups()
    if name not in names:
        raise InputError(f"{text!r}: unknown field {name!r}; {nearest(name, names)}")
    value = _value(raw)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not math.isfinite(value):
        raise InputError(f"{text!r}: {raw} is not a finite number", "compare with a number")
    if sign in _ORDERING and not number:
        raise InputError(
            f"{text!r}: {raw!r} is not a number", f"{sign} compares numbers; for others there are == and !="
        )
    return Condition(name, sign, value)


def _value(raw: str) -> Any:
    raw = raw.strip("'\"")
    named = {"true": True, "false": False, "none": None, "null": None}
    if raw.lower() in named:
        return named[raw.lower()]
    for kind in (int, float):
        try:
            return kind(raw)
        except ValueError:
            continue
    return raw
