"""Maker of the engine ``sevennet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hts_flows.engines._ase_makers import CheckedRelaxMaker
from hts_flows.engines._potentials import sevennet_calculator

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


@dataclass
class SevenNetMaker(CheckedRelaxMaker):
    """Relax with SevenNet, with or without D3(BJ).

    Parameters
    ----------
    name
        Name of the job.
    model
        "7net-0" or "7net-l3i5".
    dispersion
        Add D3(BJ) for PBE.
    threads
        Threads of PyTorch.
    device
        "cpu" or "cuda".
    """

    name: str = "SevenNet"
    model: str = "7net-0"
    dispersion: bool = False
    threads: int = 1
    device: str = "cpu"

    def _get_calculator(self) -> Calculator:
        return sevennet_calculator(self.model, dispersion=self.dispersion, threads=self.threads, device=self.device)
