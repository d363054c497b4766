"""JSON from files that others wrote."""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

#: Values may stand this deep inside one another.
DEEPEST = 2000


def load_json(text: str) -> Any:
    """Read JSON without the search for reference cycles, of which it has none: large files take a third of the time.

    Some packages raise the limit of recursion for the whole process, beyond what the stack holds: it is lowered here.
    """
    enabled, limit = gc.isenabled(), sys.getrecursionlimit()
    gc.disable()
    sys.setrecursionlimit(min(limit, DEEPEST))
    try:
        return json.loads(text)
    finally:
        sys.setrecursionlimit(limit)
        if enabled:
            gc.enable()
