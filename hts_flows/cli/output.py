"""Printing: tables for people, JSON for programs, errors on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from hts_flows.errors import HtsError
    from hts_flows.flows import Column

#: Without a terminal nothing needs to fit: tables are as wide as their content.
_WIDE = 400
console = Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE
)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)

#: Texts longer than this are wrapped where the terminal is narrow.
LONG_TEXT = 40
SECONDS_IN_MINUTE, SECONDS_IN_HOUR = 60, 3600


def print_error(error: HtsError) -> None:
    """Print what is wrong and what to do, on standard error."""
    stderr.print(f"[bold red]error:[/] {escape(error.message)}")
    if error.hint:
        stderr.print(f"  [cyan]→[/] {escape(error.hint)}")


def print_json(value: Any) -> None:
    """Print JSON on standard output, unwrapped and uncoloured."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False, allow_nan=False))  # noqa: T201 (the CLI prints)


def without_nan(value: Any) -> Any:
    """Replace NaN and infinities by None, which JSON has."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return value


def cell(value: Any, spec: str = "") -> str:
    """Write a value for a table: an empty value as a dash, numbers in the column's format."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if spec and isinstance(value, int | float):
        return format(value, spec).replace("-", "−")
    return str(value)


def table(columns: Sequence[Column], rows: Sequence[dict[str, Any]], title: str | None = None) -> Table:
    """Lay rows out under columns, numbers to the right, units under the headers; long texts are the first to wrap."""
    shown = Table(title=title, header_style="bold", box=None, pad_edge=False, title_justify="left")
    for column in columns:
        values = [row.get(column.name) for row in rows]
        numeric = any(isinstance(value, int | float) for value in values)
        long = max((len(cell(value, column.format)) for value in values), default=0) > LONG_TEXT
        header = f"{column.header}\n[dim]{escape(column.unit)}[/]" if column.unit else column.header
        shown.add_column(header, justify="right" if numeric else "left", no_wrap=not long, overflow="fold")
    for row in rows:
        style = "red" if row.get("state") == "failed" else None
        shown.add_row(*(escape(cell(row.get(column.name), column.format)) for column in columns), style=style)
    return shown


def print_table(shown: Table) -> None:
    """Print a table within the width of the terminal."""
    console.print(shown, soft_wrap=False)


def duration(seconds: float | None) -> str:
    """Write a time for people."""
    if seconds is None:
        return "–"
    if seconds < SECONDS_IN_MINUTE:
        return f"{seconds:.0f} s"
    if seconds < SECONDS_IN_HOUR:
        return f"{seconds / SECONDS_IN_MINUTE:.0f} min"
    return f"{seconds / SECONDS_IN_HOUR:.1f} h"
