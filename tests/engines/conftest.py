from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymatgen.core import Lattice, Structure

GRAPHENE = 2.46


@pytest.fixture(scope="session")
def lic6() -> Structure:
    return Structure.from_spacegroup(
        "P6/mmm", Lattice.hexagonal(GRAPHENE * 3**0.5, 3.7), ["Li", "C"], [[0, 0, 0.5], [1 / 3, 0, 0]]
    )


@pytest.fixture(scope="session")
def graphite() -> Structure:
    return Structure.from_spacegroup(
        "P6_3/mmc", Lattice.hexagonal(GRAPHENE, 6.9), ["C", "C"], [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]]
    )


@pytest.fixture(scope="session")
def silicon() -> Structure:
    cubic = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    return cubic.get_primitive_structure()


@pytest.fixture
def run_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run one job or flow with jobflow and a store like the real one; gives the stored document of the last job."""
    from jobflow import Flow, JobStore, run_locally
    from maggma.stores import MemoryStore

    monkeypatch.chdir(tmp_path)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})

    def run(job: Any, *, load: bool = True) -> dict[str, Any]:
        run_locally(job, store=store, log=False, create_folders=True, root_dir=tmp_path, ensure_success=True)
        last = job.jobs[-1] if isinstance(job, Flow) else job
        return store.get_output(last.uuid, load=load)

    return run
