"""What was read of the database, kept for as long as nothing has been written to it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from hts_flows.stores.changes import write_counts

if TYPE_CHECKING:
    from hts_flows.stores.database import Database

T = TypeVar("T")
#: Readings that are kept, and for how long at most, s: run times and "the last hour" go on without anything written.
MOST, LONGEST = 200, 10.0
#: And where MongoDB does not tell whether anything was written, s.
BLIND = 0.5


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: tuple[int, ...] | None = None
    at: float | None = None
    value: Any = None


class Readings:
    """Readings that many open pages share: each is made again once anything was written to the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()

    def get(self, database: Database, key: Hashable, read: Callable[[], T]) -> T:
        """Give what was read, or read it.

        Parameters
        ----------
        database
            Where from.
        key
            Names what is read, with all that it depends on.
        read
            Reads it; what it gives is shared, so nobody changes it.
        """
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            while len(self._slots) > MOST:
                self._slots.popitem(last=False)
        with slot.lock:
            # Before reading: what is written meanwhile makes the next one read again.
            counts, now = write_counts(database), time.monotonic()
            if slot.at is not None:
                same = counts is not None and counts == slot.counts
                if now - slot.at < (LONGEST if same else BLIND if counts is None else 0.0):
                    value: T = slot.value
                    return value
            slot.value = read()
            slot.counts, slot.at = counts, now
            made: T = slot.value
            return made
