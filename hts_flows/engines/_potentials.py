"""ASE calculators of the interatomic potentials, loaded once in a process."""

from __future__ import annotations

import contextlib
import io
import warnings
from functools import lru_cache
from typing import Any


def with_dispersion(calculator: Any) -> Any:
    """Add the D3(BJ) dispersion energy for PBE to an ASE calculator, giving their sum."""
    from ase.calculators.mixing import SumCalculator
    from dftd3.ase import DFTD3

    return SumCalculator([calculator, DFTD3(method="PBE", damping="d3bj")])


@lru_cache(maxsize=4)
def sevennet_calculator(model: str, *, dispersion: bool, threads: int, device: str) -> Any:
    """Load a SevenNet potential; the next call with the same settings gives the same object.

    Parameters
    ----------
    model
        "7net-0" or "7net-l3i5": their weights are in the wheel.
    dispersion
        Add D3(BJ) for PBE.
    threads
        Threads of PyTorch, for the whole process.
    device
        "cpu" or "cuda".
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about accelerators that only GPUs have
        from sevenn.calculator import SevenNetCalculator

        torch.set_num_threads(threads)
        calculator = SevenNetCalculator(model, device=device)
    return with_dispersion(calculator) if dispersion else calculator


@lru_cache(maxsize=4)
def chgnet_calculator(*, dispersion: bool, threads: int, device: str) -> Any:
    """Load CHGNet through atomate2; parameters as for :func:`sevennet_calculator`."""
    import torch
    from atomate2.forcefields.utils import MLFF, ase_calculator

    torch.set_num_threads(threads)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its device
        calculator = ase_calculator(MLFF.CHGNet, stress_unit="eV/A3", use_device=device)
    return with_dispersion(calculator) if dispersion else calculator
