"""Limit of wrong logins: each further one makes the next wait longer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

#: Wrong logins that cost nothing, since people mistype: of one name, and of all names from one address.
FREE_OF_NAME, FREE_OF_ADDRESS = 5, 50
FIRST_WAIT, LONGEST_WAIT = 2.0, 900.0
#: Wrong logins are forgotten after so long, s.
FORGET_SECONDS = 3600.0
_MOST_KEPT = 10_000


class LoginLimit:
    """Counts wrong logins by what is given, e.g. by the address they come from.

    Parameters
    ----------
    free
        Wrong logins that cost nothing.
    clock
        Gives the time, s.
    """

    def __init__(self, free: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = free
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, key: str) -> float:
        """Begin a login, which counts as wrong until :meth:`succeeded` is called, so that many at once count too.

        Returns
        -------
        float
            0 where it may be tried now; else how long it has to wait, s, and then it is not counted.
        """
        now = self._clock()
        with self._lock:
            count, last = self._wrong.get(key, (0, now))
            if now - last > FORGET_SECONDS:
                count = 0
            if count >= self._free:
                left = last + min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(count - self._free, 20)) - now
                if left > 0:
                    return left
            self._wrong.pop(key, None)
            self._wrong[key] = (count + 1, now)
            while len(self._wrong) > _MOST_KEPT:
                self._wrong.popitem(last=False)
        return 0.0

    def succeeded(self, key: str) -> None:
        """Forget the wrong logins before a right one."""
        with self._lock:
            self._wrong.pop(key, None)
