"""What the dashboard holds while it runs."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pymongo import DESCENDING
from pymongo.errors import PyMongoError

from hts_flows.dashboard.access.login_limit import FREE_OF_ADDRESS, FREE_OF_NAME, LoginLimit
from hts_flows.dashboard.access.sessions import Session, Sessions
from hts_flows.dashboard.access.users import Users, users_file
from hts_flows.dashboard.readings import Readings
from hts_flows.launch.owner import user_name

if TYPE_CHECKING:
    from starlette.requests import Request

    from hts_flows.dashboard.configuration import DashboardSettings
    from hts_flows.dashboard.connection import Connection
    from hts_flows.settings import Settings
    from hts_flows.stores.known_jobs import KnownJobs
    from hts_flows.stores.result_tables import ResultTables

#: Campaigns whose tables are read when the dashboard starts.
_READ_FIRST = 5
#: Names of this machine itself.
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass
class Dashboard:
    """One running dashboard.

    Attributes
    ----------
    settings
        Those in force.
    configuration
        Their section ``dashboard:``, with what the command line changed.
    connection
        To the database.
    token
        Secret that whoever started it logs in with; None where only users with a password may.
    """

    settings: Settings
    configuration: DashboardSettings
    connection: Connection
    token: str | None = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @cached_property
    def readings(self) -> Readings:
        """What pages share as long as nothing is written."""
        return Readings()

    @cached_property
    def tables(self) -> ResultTables:
        """Tables of results, kept from one page to the next."""
        from hts_flows.stores.result_tables import ResultTables

        return ResultTables()

    @cached_property
    def jobs(self) -> KnownJobs:
        """What is known of all jobs."""
        from hts_flows.stores.known_jobs import KnownJobs

        return KnownJobs()

    @cached_property
    def users(self) -> Users:
        """Users with a password."""
        return Users(users_file(self.settings))

    @cached_property
    def sessions(self) -> Sessions:
        """Who is logged in."""
        return Sessions(self.configuration.session_hours)

    @cached_property
    def limit_by_name(self) -> LoginLimit:
        """Wrong logins with one name from one address."""
        return LoginLimit(FREE_OF_NAME)

    @cached_property
    def limit_by_address(self) -> LoginLimit:
        """Wrong logins from one address."""
        return LoginLimit(FREE_OF_ADDRESS)

    @property
    def cookie(self) -> str:
        """Name of the cookie: browsers share cookies between the ports of a host."""
        return f"hts_session_{self.configuration.port}"

    def read_tables(self) -> None:
        """Read the tables of the latest campaigns and the names of jobs, so that nobody waits who is the first."""
        database = self.connection.database
        with contextlib.suppress(PyMongoError):
            for document in database.campaigns.find({}, {"_id": 1}).sort("updated_at", DESCENDING).limit(_READ_FIRST):
                name = document["_id"]
                for settings_hash in database.results.distinct("settings_hash", {"campaigns": name}):
                    self.tables.snapshot(database, name, settings_hash)
            self.jobs.read(database)

    def session_of(self, request: Request) -> Session | None:
        """Find who sent a request; a user who was removed, or has another role or password now, is nobody."""
        cookie = request.cookies.get(self.cookie)
        session = self.sessions.find(cookie)
        if session is None or session.password_hash is None:
            return session
        user = (self.users.usable() or {}).get(session.user)
        if user is None or user.role != session.role or user.password != session.password_hash:
            self.sessions.end(cookie)
            return None
        return session

    def is_token(self, text: str) -> bool:
        """Tell whether a text is the secret that was printed at the start."""
        return self.token is not None and hmac.compare_digest(self.token.encode(), text.encode())

    def goes_by(self, name: str) -> bool:
        """Tell whether browsers may reach this server by a name.

        On an address of this machine alone, another name means that a page of another site had a name server send its
        requests here.
        """
        if not self.configuration.only_here:
            return True
        return name in {*_HERE, self.configuration.host, socket.gethostname().lower(), *self.configuration.names}

    @property
    def owner(self) -> str:
        """Name of whoever started the dashboard, for the audit of what is done with the token."""
        return user_name()
