"""A dashboard in a thread of the test, and a client that logs in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from hts_flows.dashboard.access.users import Users, users_file
from hts_flows.dashboard.server import address, prepare_dashboard, server_for
from hts_flows.dashboard.state import Dashboard
from hts_flows.settings import Settings

PASSWORD = "correct horse battery"


@dataclass
class Site:
    """A dashboard that is served.

    Attributes
    ----------
    dashboard
        What it holds.
    address
        For browsers, with a slash at the end.
    """

    dashboard: Dashboard
    address: str

    @property
    def login(self) -> str:
        """The link that is printed."""
        return f"{self.address}login?token={self.dashboard.token}"

    def add_user(self, name: str, role: str) -> None:
        """Add a user with the password of the tests."""
        users = Users(users_file(self.dashboard.settings))
        users.add(name, role, PASSWORD)

    def client(self, user: str | None = None) -> requests.Session:
        """A client that is logged in, and brings the CSRF token along: with the link, or as a user."""
        client = requests.Session()
        if user is None:
            client.get(self.login, timeout=30)
        else:
            data = {"user": user, "password": PASSWORD}
            assert client.post(f"{self.address}login", data=data, timeout=30).status_code == 200
        client.headers["X-CSRF-Token"] = self.get(client, "api/session").json()["csrf_token"]
        return client

    def forget(self) -> None:
        """Let the dashboard read everything anew."""
        self.dashboard.__dict__.pop("readings", None)

    def get(self, client: requests.Session, path: str) -> requests.Response:
        """Get a path; redirections are not followed."""
        return client.get(self.address + path, timeout=60, allow_redirects=False)

    def post(self, client: requests.Session, path: str, content: object = None) -> requests.Response:
        """Send JSON to a path."""
        return client.post(self.address + path, json=content, timeout=60, allow_redirects=False)


@contextmanager
def serve_in_thread(settings: Settings) -> Iterator[Site]:
    """Serve until the context ends."""
    dashboard, bound = prepare_dashboard(settings.model_copy(update={"dashboard": _free_port(settings)}))
    ready = threading.Event()
    server = server_for(dashboard, ready.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield Site(dashboard, address(dashboard))
    finally:
        server.should_exit = True
        thread.join(15)
        bound.close()


def _free_port(settings: Settings) -> object:
    from hts_flows.launch.mongod import free_port

    return settings.dashboard.model_copy(update={"port": free_port()})
