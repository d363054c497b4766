"""Sessions: who is logged in, known by a random cookie of which only the hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from hts_flows.dashboard.access.users import Role

#: More than this many at once, and the one that was unused longest ends.
MOST_SESSIONS = 2000


@dataclass
class Session:
    """One login.

    Attributes
    ----------
    user, role
        Who, and what they may do.
    password_hash
        Of the password that it was started with; None where the token was, which is printed at the start.
    csrf
        What every form and request that changes something has to bring along.
    seen
        When it was last used, s.
    """

    user: str
    role: Role
    password_hash: str | None = field(repr=False)
    seen: float
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    _said: list[str] = field(default_factory=list, repr=False)

    def say(self, message: str) -> None:
        """Have the next page say what came of an action."""
        self._said = [*self._said, message][-5:]

    def said(self) -> list[str]:
        """Give what the next page is to say, once."""
        messages, self._said = self._said, []
        return messages

    def allows(self, role: Role) -> bool:
        """Tell whether somebody with this session may do what a role may do."""
        return role == "viewer" or self.role == "operator"

    def confirmed_by(self, token: str | None) -> bool:
        """Tell whether a request brought the CSRF token of this session."""
        return token is not None and hmac.compare_digest(self.csrf.encode(), token.encode())


class Sessions:
    """All sessions of this process.

    Parameters
    ----------
    hours
        A session ends after so long unused, h.
    clock
        Gives the time, s.
    """

    def __init__(self, hours: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = hours * 3600
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, user: str, role: Role, password_hash: str | None = None) -> str:
        """Start a session and give its cookie."""
        cookie = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_hash(cookie)] = Session(user, role, password_hash, self._clock())
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return cookie

    def find(self, cookie: str | None) -> Session | None:
        """Find the session of a cookie; None where there is none, or it has ended."""
        if not cookie:
            return None
        key = _hash(cookie)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if self._clock() - session.seen > self._seconds:
                del self._sessions[key]
                return None
            session.seen = self._clock()
            self._sessions.move_to_end(key)
            return session

    def end(self, cookie: str | None) -> None:
        """End the session of a cookie."""
        if cookie:
            with self._lock:
                self._sessions.pop(_hash(cookie), None)


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
