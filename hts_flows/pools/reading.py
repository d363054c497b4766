"""One entrance for all sources of candidates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hts_flows.pools.files import read_file
from hts_flows.pools.frames import frame_of
from hts_flows.pools.materials_project import read_materials_project
from hts_flows.pools.optimade import read_optimade

if TYPE_CHECKING:
    import pandas as pd

    from hts_flows.pools.source import PoolSource


def read_pool(source: PoolSource, folder: Path | None = None) -> pd.DataFrame:
    """Read candidates from where they come from.

    Parameters
    ----------
    source
        As it is written in a campaign file.
    folder
        What the path of a file is relative to: the campaign file's folder; the current one when left out.

    Returns
    -------
    pandas.DataFrame
        One row a candidate:

        - ``name``: the source's id, else the formula; unique in the pool (PbTe, PbTe-2, …);
        - ``formula``: reduced formula;
        - ``structure``: text for :func:`hts_flows.pools.structure_from_text`, None where there is only a formula;
        - ``n_atoms``: atoms in the cell, NaN without a structure;
        - ``volume_per_atom``: Å³, and ``density``: g/cm³; from the structure where there is one; NaN where unknown;
        - every other column of the source that holds numbers (float64).

        ``attrs`` has ``pool`` (its name), ``origin`` (where it came from), ``skipped`` (name or place, and reason, of
        each row that cannot be used), ``duplicates`` (how many equal rows were dropped) and ``left_out`` (columns that
        hold something else than numbers).

    Raises
    ------
    InputError
        The source cannot be read or reached, or none of its rows can be used.
    """
    if source.optimade is not None:
        table = read_optimade(source.optimade, source)
    elif source.materials_project is not None:
        table = read_materials_project(source.materials_project, source.timeout)
    else:
        table = read_file((folder or Path()) / Path(source.file or "").expanduser(), source.columns)
    return frame_of(table, source.title)
