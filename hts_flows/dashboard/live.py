"""Live updates: the server watches the database and tells open pages that something has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field
from pymongo.errors import PyMongoError

from hts_flows.errors import StoreUnavailableError
from hts_flows.stores.changes import write_counts

if TYPE_CHECKING:
    from hts_flows.dashboard.connection import Connection

#: The database is looked at this often while a page is open, s.
LOOK_SECONDS = 1.0
#: Pages are told to draw themselves anew at least this often, so that "3 minutes ago" stays true, s.
REFRESH_SECONDS = 30.0
#: And this often where MongoDB does not tell whether anything has changed, s.
BLIND_SECONDS = 5.0


class Pulse(BaseModel):
    """What open pages are told."""

    number: int = Field(description="Another number: something has changed since")
    database: Literal["up", "down"] = Field(description="Whether MongoDB answers")


class Watcher:
    """Looks at the database for all open pages together, and only while there are any.

    Parameters
    ----------
    connection
        To the database.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pulse = Pulse(number=0, database="up")
        self._marks: tuple[int, ...] | None = None
        self._drawn = time.monotonic()
        self._changed = asyncio.Condition()
        self._watchers = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def pulses(self) -> AsyncIterator[Pulse]:
        """Give the state now, then each change of it, until the dashboard stops."""
        self._watchers += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            seen = self._pulse
            yield seen
            while not self._closed:
                async with self._changed:
                    while self._pulse is seen and not self._closed:
                        await self._changed.wait()
                seen = self._pulse
                if not self._closed:
                    yield seen
        finally:
            self._watchers -= 1

    async def close(self) -> None:
        """End all streams."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    async def _watch(self) -> None:
        while self._watchers and not self._closed:
            begin = time.monotonic()
            pulse = await asyncio.to_thread(self._look)
            if pulse != self._pulse:
                self._pulse = pulse
                async with self._changed:
                    self._changed.notify_all()
            # A slow database is looked at less often.
            await asyncio.sleep(max(LOOK_SECONDS, 5 * (time.monotonic() - begin)))

    def _look(self) -> Pulse:
        try:
            if self._pulse.database == "down":
                self._connection.check()
            marks = write_counts(self._connection.database)
        except (PyMongoError, StoreUnavailableError):
            return self._pulse.model_copy(update={"database": "down"})
        stale = time.monotonic() - self._drawn > (BLIND_SECONDS if marks is None else REFRESH_SECONDS)
        if marks == self._marks and not stale and self._pulse.database == "up":
            return self._pulse
        first = self._pulse.number == 0 and self._marks is None and marks is not None
        self._marks, self._drawn = marks, time.monotonic()
        return Pulse(number=self._pulse.number + (0 if first else 1), database="up")
