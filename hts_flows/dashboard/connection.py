"""The dashboard's connection: it outlives a MongoDB that is stopped and started again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pymongo.errors import PyMongoError

from hts_flows.errors import StoreUnavailableError
from hts_flows.stores.database import Database, open_database, prepare

if TYPE_CHECKING:
    from hts_flows.settings import Settings

#: A page waits no longer than this for a MongoDB that does not answer, s.
PATIENCE = 2.0


class Connection:
    """A database that is opened again where its address has changed.

    Parameters
    ----------
    settings
        Say which MongoDB; a private one is started when the dashboard starts, and not again.
    """

    def __init__(self, settings: Settings) -> None:
        from hts_flows.stores.database import connect

        self._settings = settings.model_copy(update={"mongodb_timeout": min(PATIENCE, settings.mongodb_timeout)})
        # The first connection may take its time: it starts a private MongoDB and makes the indexes.
        self._database = open_database(connect(settings).uri, settings.database, self._settings.mongodb_timeout)
        self._lock = threading.Lock()

    @property
    def database(self) -> Database:
        """The open database; that it answers is not checked."""
        return self._database

    def check(self) -> None:
        """See that MongoDB answers, at the address of today.

        Raises
        ------
        PyMongoError, StoreUnavailableError
            It does not.
        """
        try:
            self._database.mongo.client.admin.command("ping")
        except PyMongoError:
            address = self._address()
            if address is None or address == self._database.uri:
                raise
            database = open_database(address, self._settings.database, self._settings.mongodb_timeout)
            prepare(database)
            with self._lock:
                self._database = database

    def _address(self) -> str | None:
        """Where MongoDB is now: a private one may have come back on another port; None while it is stopped."""
        if self._settings.mongodb_uri is not None:
            return self._settings.mongodb_uri.get_secret_value()
        from hts_flows.launch.mongod import PrivateMongod

        mongod = PrivateMongod(self._settings)
        try:
            return mongod.uri() if mongod.status().running else None
        except (OSError, StoreUnavailableError):
            return None
