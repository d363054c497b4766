"""The kernel's count of processes that it killed for want of memory in this job's control group."""

from __future__ import annotations

from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")


def oom_kills(process: Path = Path("/proc/self/cgroup"), root: Path = _CGROUP_ROOT) -> int:
    """Count the out-of-memory kills in this process's control group and those above it, within the SLURM job.

    Works with control groups of version 1 (``memory.oom_control``) and 2 (``memory.events``); 0 where there are none.

    Parameters
    ----------
    process
        Table of the process's control groups.
    root
        Where they are mounted.
    """
    try:
        lines = process.read_text().splitlines()
    except OSError:
        return 0
    count = 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            base, file = root / "memory", "memory.oom_control"
        elif not controllers:
            base, file = root, "memory.events"
        else:
            continue
        for part in _within_job(path):
            count = max(count, _read_count(base / part / file))
    return count


def _within_job(path: str) -> list[str]:
    """List a group and those above it, up to that of the SLURM job."""
    parts = [part for part in path.split("/") if part]
    job = next((number for number, part in enumerate(parts) if part.startswith("job_")), None)
    if job is None:
        return ["/".join(parts)]
    return ["/".join(parts[:end]) for end in range(job + 1, len(parts) + 1)]


def _read_count(file: Path) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
