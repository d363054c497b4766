"""Band structures and gaps from a finished GPAW calculation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: Fewer points than this for each piece of a path are not taken.
POINTS_A_SEGMENT = 5


def band_path(dft: Any, n_points: int, log: Path, k_path: dict[str, Any] | None = None) -> dict[str, Any]:
    """Compute bands along a high-symmetry path, at the density of a finished calculation.

    Path of the cell by W. Setyawan, S. Curtarolo, Comput. Mater. Sci. 49, 299 (2010), as ASE has it.

    Parameters
    ----------
    dft
        GPAW calculator that has converged.
    n_points
        Number of k-points.
    log
        File of GPAW's text output.
    k_path
        Path to take instead of the cell's own: ``points``, fractional coordinates by label, and ``path``.

    Returns
    -------
    dict
        ``kpoints`` (n, 3) in fractions of the reciprocal vectors; ``distances`` (n,) along the path, 1/Å;
        ``labels``: [[name, distance], …]; ``eigenvalues`` (spins, n, bands) in eV; ``fermi_level`` in eV;
        ``path``: the points' names in order, "," where it jumps.
    """
    chosen = {"path": k_path["path"], "special_points": k_path["points"]} if k_path else {}
    cell = dft.atoms.cell
    # With few points ASE leaves high-symmetry points out.
    corners = len(chosen.get("path") or cell.bandpath(npoints=0).path)
    path = cell.bandpath(npoints=max(n_points, POINTS_A_SEGMENT * corners), **chosen)
    eigenvalues = fixed_density_eigenvalues(dft, path.kpts, log)
    distances, ticks, names = path.get_linear_kpoint_axis()
    return {
        "kpoints": np.round(path.kpts, 8).tolist(),
        "distances": np.round(np.asarray(distances) * 2 * np.pi, 6).tolist(),
        "labels": [[name, round(float(tick) * 2 * np.pi, 6)] for name, tick in zip(names, ticks, strict=True)],
        "eigenvalues": np.round(eigenvalues, 5).tolist(),
        "fermi_level": float(dft.get_fermi_level()),
        "path": path.path,
    }


def fixed_density_eigenvalues(dft: Any, kpoints: np.ndarray, log: Path) -> np.ndarray:
    """Eigenvalues of occupied bands and some above them, at a fixed density.

    Parameters
    ----------
    dft
        GPAW calculator that has converged.
    kpoints
        Shape (n, 3), fractions of the reciprocal vectors.
    log
        File of GPAW's text output.

    Returns
    -------
    numpy.ndarray
        Shape (spins, n, bands), eV.
    """
    occupied = int(np.ceil(dft.get_number_of_electrons() / 2))
    wanted = occupied + max(4, occupied // 4)
    fixed = dft.fixed_density(
        kpts=kpoints, symmetry="off", nbands=wanted + 4, convergence={"bands": wanted}, txt=str(log)
    )
    return _eigenvalues(fixed)[:, :, :wanted]


def _eigenvalues(dft: Any) -> np.ndarray:
    n_kpoints = len(dft.get_ibz_k_points())
    spins = range(dft.get_number_of_spins())
    return np.array([[dft.get_eigenvalues(kpt=k, spin=s) for k in range(n_kpoints)] for s in spins])


def band_gap(dft: Any, bands: dict[str, Any]) -> float:
    """Kohn–Sham gap on the k-points of the calculation and of its band structure, eV; 0 for a metal.

    Parameters
    ----------
    dft
        GPAW calculator that has converged.
    bands
        What :func:`band_path` gave.
    """
    return gap_of([_eigenvalues(dft), np.asarray(bands["eigenvalues"])], float(dft.get_fermi_level()))


def gap_of(blocks: list[np.ndarray], fermi_level: float) -> float:
    """Gap of eigenvalues on several sets of k-points.

    Parameters
    ----------
    blocks
        Each of shape (spins, k-points, bands), eV, bands in ascending order; the number of bands may differ.
    fermi_level
        eV.

    Returns
    -------
    float
        Lowest empty minus highest filled eigenvalue, eV; 0 when a band crosses the Fermi level.
    """
    n_bands = min(block.shape[2] for block in blocks)
    levels = np.concatenate([block[:, :, :n_bands] for block in blocks], axis=1)
    below = levels <= fermi_level
    crosses = below.any(axis=1) & ~below.all(axis=1)
    if crosses.any() or below.all() or not below.any():
        return 0.0
    return float(levels[~below].min() - levels[below].max())
