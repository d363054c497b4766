"""The script that the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

from failed_results import fail, submitted

from hts_flows.launch.failures import FailureCause

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dashboard.md"


def test_the_shown_script_logs_in_reads_the_failures_and_plans(site, database):
    fail(database, next(iter(submitted(database).values())), FailureCause.WALLTIME)
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    code = code.replace("http://127.0.0.1:8642/", site.address).replace('"hW4…"', repr(site.dashboard.token))
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 (our own page)
    assert [one["cause"] for one in names["failures"]] == ["walltime"]
    assert [one["new"] for one in names["plan"]["diff"]] == ["08:00:00"]
