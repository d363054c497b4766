from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import hts_flows

ROOT = Path(__file__).resolve().parent.parent
#: Packages that take long to import, or are not everybody's.
HEAVY = {"torch", "pymatgen", "ase", "atomate2", "jobflow", "fireworks", "pandas", "numpy", "matplotlib", "pymongo"}


def test_importing_the_package_loads_nothing_heavy():
    code = "import hts_flows, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & HEAVY


def test_public_names_are_there_and_unknown_ones_are_not():
    for name in hts_flows.__all__:
        assert getattr(hts_flows, name) is not None
    assert not hasattr(hts_flows, "nothing")


def test_no_module_is_longer_than_500_lines():
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "hts_flows").rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_no_path_of_a_machine_is_in_the_package():
    pattern = re.compile(r"['\"]/(home|root|work|opt)/")
    assert [str(path) for path in (ROOT / "hts_flows").rglob("*.py") if pattern.search(path.read_text())] == []
