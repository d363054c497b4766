"""Serving the dashboard: where it listens, who may log in, and what is printed when it starts."""

from __future__ import annotations

import errno
import socket
import threading
from typing import TYPE_CHECKING

from pydantic import ValidationError

from hts_flows.dashboard.access.users import Users, users_file
from hts_flows.dashboard.configuration import DEFAULT_PORT, DashboardSettings, is_loopback
from hts_flows.dashboard.state import Dashboard
from hts_flows.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import uvicorn

    from hts_flows.settings import Settings

#: When it is stopped, open pages are let go after so long, s.
STOP_SECONDS = 1
#: Where the usual port is taken, the next so many are tried.
_FURTHER_PORTS = 20
#: What the system says of an address that is not this machine's, whatever the port.
_NOT_OURS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def prepare_dashboard(
    settings: Settings, host: str | None = None, port: int | None = None
) -> tuple[Dashboard, socket.socket]:
    """Check who may log in, take the port, and connect to the database.

    Parameters
    ----------
    settings
        Those in force.
    host, port
        Instead of those of the settings. Where neither names a port and the usual one is taken, the next free is used.

    Returns
    -------
    Dashboard
        Ready to be served.
    socket.socket
        Bound to its address.

    Raises
    ------
    InputError
        Another address than this machine's own without users, an address that is none of this machine's, or a port
        that cannot be had.
    """
    from hts_flows.dashboard.connection import Connection

    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    try:
        configuration = DashboardSettings.model_validate(settings.dashboard.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]) if first["loc"] else "dashboard"
        raise InputError(
            f"--{place} {changes.get(place)!r}: {first['msg']}",
            "--host is an address of this machine, e.g. 127.0.0.1; --port a number from 1 to 65535",
        ) from error
    users = Users(users_file(settings))
    if not configuration.only_here and not users.all():
        raise InputError(
            f"--host {configuration.host}: others could reach this address, and no user is set up",
            "make users with 'hts dashboard user add NAME --role operator'; or leave --host out, and reach it through "
            f"'ssh -L {configuration.port}:127.0.0.1:{configuration.port} THIS-MACHINE'",
        )
    for file in (configuration.certificate, configuration.key):
        if file is not None and not file.is_file():
            raise InputError(f"dashboard: no such file: {file}", "correct 'certificate' and 'key' in the settings file")
    chosen = "port" in changes or "port" in settings.dashboard.model_fields_set
    bound = _bind(configuration, further=0 if chosen else _FURTHER_PORTS)
    configuration = configuration.model_copy(update={"port": bound.getsockname()[1]})
    try:
        dashboard = Dashboard(settings, configuration, Connection(settings))
    except BaseException:
        bound.close()
        raise
    if not configuration.only_here:
        dashboard.token = None
    return dashboard, bound


def _bind(configuration: DashboardSettings, further: int) -> socket.socket:
    host = configuration.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(configuration.port, configuration.port + further + 1):
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Else the last part of an answer waits for the browser to acknowledge the part before, 40 ms.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            bound.bind((host, port))
        except (OSError, ValueError) as error:
            bound.close()
            reason = getattr(error, "strerror", None) or str(error)
            if isinstance(error, socket.gaierror | ValueError) or error.errno in _NOT_OURS:
                raise InputError(
                    f"cannot listen on {configuration.host}: {reason}",
                    "--host is an address or a name of this machine, e.g. 127.0.0.1 or 0.0.0.0",
                ) from error
            continue
        bound.set_inheritable(True)
        return bound
    raise InputError(
        f"cannot listen on {configuration.host} port {configuration.port}: {reason}",
        "another dashboard may run there; give another port, e.g. "
        f"--port {configuration.port + 1 if configuration.port != DEFAULT_PORT else DEFAULT_PORT + 100}",
    )


def address(dashboard: Dashboard) -> str:
    """Address for the browser, without the token."""
    host = dashboard.configuration.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 (nothing is bound here)
        host = socket.gethostname()
    scheme = "https" if dashboard.configuration.certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{dashboard.configuration.port}/"


def is_unprotected(dashboard: Dashboard) -> bool:
    """Tell whether passwords would cross a network in the clear."""
    return not is_loopback(dashboard.configuration.host) and not dashboard.configuration.https


def server_for(dashboard: Dashboard, ready: Callable[[], None] | None = None) -> uvicorn.Server:
    """Make the server of a dashboard; its ``run`` takes the bound socket.

    Parameters
    ----------
    dashboard
        From :func:`prepare_dashboard`.
    ready
        Called once requests are answered.
    """
    import uvicorn

    from hts_flows.dashboard.app import create_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if ready is not None and self.started:
                ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Streams of live updates end by themselves, so that nothing needs to be cut off.
            await app.state.watcher.close()
            await super().shutdown(sockets)

    app = create_app(dashboard)
    configuration = dashboard.configuration
    return Server(
        uvicorn.Config(
            app,
            # Addresses hold the token once, so no line is written for a request.
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
            ssl_certfile=configuration.certificate,
            ssl_keyfile=configuration.key,
            # Addresses that others claim to come from are not believed.
            proxy_headers=False,
            lifespan="off",
        )
    )


def serve(dashboard: Dashboard, bound: socket.socket, ready: Callable[[], None] | None = None) -> None:
    """Serve until the process is asked to stop.

    Parameters
    ----------
    dashboard, bound
        From :func:`prepare_dashboard`.
    ready
        Called once requests are answered.
    """
    threading.Thread(target=dashboard.read_tables, daemon=True, name="tables").start()
    server_for(dashboard, ready).run(sockets=[bound])
