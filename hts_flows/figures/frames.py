"""Picking from a table of results what one figure shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIRED = ("host", "intercalant", "concentration", "stage", "engine", "state")


def prepared(frame: pd.DataFrame, value: str, engine: str | None = None) -> pd.DataFrame:
    """Keep the rows of one engine and the columns that figures need.

    Parameters
    ----------
    frame
        Table of results with columns host, intercalant, concentration, stage, engine, state and ``value``.
    value
        Column that is drawn; a row without it counts as failed when its state is failed, else as not computed.
    engine
        Which engine's results; when left out, the one with the most finished results, of equals the last in the table.

    Returns
    -------
    DataFrame
        Copy; ``value`` is float, NaN unless the state is "done"; "failed" is bool.

    Raises
    ------
    InputError
        A column or the engine is missing, or there are no rows.
    """
    if missing := [name for name in REQUIRED if name not in frame.columns]:
        raise InputError(f"the table has no column {missing[0]!r}; {nearest(missing[0], map(str, frame.columns))}")
    if frame.empty:
        raise InputError("there are no results to draw", "see 'hts status' for how far the campaign is")
    engines = list(dict.fromkeys(frame["engine"]))
    if engine is None:
        done = frame[frame["state"] == "done"]["engine"].value_counts()
        engine = max(reversed(engines), key=lambda name: done.get(name, 0))
    elif engine not in engines:
        raise InputError(f"no results of engine {engine!r}; {nearest(engine, engines)}")
    rows = frame[frame["engine"] == engine].copy()
    if value not in rows.columns:  # nothing finished yet
        rows[value] = float("nan")
    rows[value] = pd.to_numeric(rows[value], errors="coerce").where(rows["state"] == "done")
    rows["failed"] = rows["state"] == "failed"
    return rows


def chosen_hosts(rows: pd.DataFrame, hosts: Sequence[str] | None = None) -> list[str]:
    """Hosts in the table's order, or those asked for.

    Raises
    ------
    InputError
        One asked for is not in the table.
    """
    present = list(dict.fromkeys(rows["host"]))
    if hosts is None:
        return present
    for host in hosts:
        if host not in present:
            raise InputError(f"no results for host {host!r}; {nearest(host, present)}")
    return list(hosts)


def element_order(symbols: Sequence[str]) -> list[str]:
    """Sort elements by group of the periodic table, then by row, each once; what is no element comes last."""
    from pymatgen.core import Element

    def key(symbol: str) -> tuple[int, int, str]:
        if not Element.is_valid_symbol(symbol):
            return 99, 0, symbol
        element = Element(symbol)
        return (3 if element.is_lanthanoid else element.group), element.Z, symbol

    return sorted(set(symbols), key=key)


def lowest(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Most stable result of each host and intercalant.

    Returns
    -------
    DataFrame
        Indexed by (host, intercalant), with ``value`` (NaN where none is finished) and "failed": whether nothing is
        finished and at least one failed.
    """
    groups = rows.groupby(["host", "intercalant"], sort=False)
    table = groups.agg(**{value: (value, "min"), "failed": ("failed", "any")})
    table["failed"] &= table[value].isna()
    return table
