"""Makers of the engine ``vasp``: atomate2's, with this project's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from atomate2.vasp.flows.core import DoubleRelaxMaker
from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker
from atomate2.vasp.sets.core import RelaxSetGenerator, StaticSetGenerator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobflow import Maker

    from hts_flows.engines._vasp_functionals import Scalar


def vasp_maker(
    *,
    task: Literal["relax", "static"],
    double: bool,
    tags: Mapping[str, Scalar | None],
    potcar: str,
    command: str | None,
) -> Maker:
    """Make a relaxation, double relaxation or static.

    Parameters
    ----------
    task
        What it computes.
    double
        Relax twice, the second time with the basis set of the relaxed cell.
    tags
        INCAR tags; None removes one of atomate2's.
    potcar
        Release of the PAW potentials, e.g. PBE_54.
    command
        Command that runs VASP; None for atomate2's setting.
    """
    options: dict[str, Any] = {
        "user_incar_settings": dict(tags),
        "user_potcar_functional": potcar,
        "auto_ismear": False,
    }
    run: dict[str, Any] = {"vasp_cmd": command} if command else {}
    if task == "static":
        return StaticMaker(input_set_generator=StaticSetGenerator(**options), run_vasp_kwargs=run)
    relax = RelaxMaker(input_set_generator=RelaxSetGenerator(**options), run_vasp_kwargs=run)
    return DoubleRelaxMaker.from_relax_maker(relax) if double else relax
