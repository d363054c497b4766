"""Who holds a claim: a process named so that others can tell whether it still lives."""

from __future__ import annotations

import getpass
import os
import socket
from functools import cache

import psutil

#: A claim of another machine, whose processes cannot be seen, counts as given up after this time, s.
FOREIGN_CLAIM_SECONDS = 300.0
#: A claim of a living process counts as given up after this time, s: what it claims takes seconds, and one that lives
#: for long, such as the dashboard, may have been kept from finishing by a database that went away.
LIVING_CLAIM_SECONDS = 900.0


@cache
def _name_of(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{psutil.Process(pid).create_time():.2f}"


def owner_name() -> str:
    """Name this process as ``host:pid:start time``, which no later process shares."""
    return _name_of(os.getpid())


def is_gone(owner: str) -> bool | None:
    """Tell whether a named process has ended.

    Parameters
    ----------
    owner
        A name made by :func:`owner_name`.

    Returns
    -------
    bool or None
        None when the process is another machine's, or the name is not one of ours.
    """
    parts = owner.rsplit(":", 2)
    if len(parts) != 3 or parts[0] != socket.gethostname():  # noqa: PLR2004
        return None
    try:
        process = psutil.Process(int(parts[1]))
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - float(parts[2])) < 1.0
    except (psutil.NoSuchProcess, ValueError):
        return True
    return not alive


def user_name() -> str:
    """Name of the person whose process this is, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return "unknown"
