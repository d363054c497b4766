"""Makers of the engine ``cp2k``: atomate2's, with this project's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from atomate2.cp2k.jobs.core import CellOptMaker, RelaxMaker, StaticMaker
from atomate2.cp2k.sets.core import CellOptSetGenerator, RelaxSetGenerator, StaticSetGenerator

if TYPE_CHECKING:
    from atomate2.cp2k.jobs.base import BaseCp2kMaker

_KINDS: dict[str, tuple[type, type]] = {
    "static": (StaticMaker, StaticSetGenerator),
    "atoms": (RelaxMaker, RelaxSetGenerator),
    "cell": (CellOptMaker, CellOptSetGenerator),
}


def cp2k_maker(
    *,
    run_type: Literal["static", "atoms", "cell"],
    settings: Mapping[str, Any],
    pressure_tolerance: float,
    k_density: float,
    command: str | None,
) -> BaseCp2kMaker:
    """Make a static, a relaxation of the atoms, or of atoms and cell.

    Parameters
    ----------
    run_type
        What it computes.
    settings
        Updates of atomate2's base set.
    pressure_tolerance
        Pressure at which a relaxation of the cell stops, bar.
    k_density
        k-points per volume of reciprocal space, Å³.
    command
        Command that runs CP2K; None for atomate2's setting.
    """
    maker, generator = _KINDS[run_type]
    updates = dict(settings)
    if run_type == "cell":
        updates["override_default_params"] = {"MOTION": {"CELL_OPT": {"PRESSURE_TOLERANCE": pressure_tolerance}}}
    return maker(
        input_set_generator=generator(
            user_input_settings=updates, user_kpoints_settings={"reciprocal_density": k_density}, force_gamma=True
        ),
        run_cp2k_kwargs={"cp2k_cmd": command} if command else {},
    )
