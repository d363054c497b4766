"""The ``dashboard:`` section of the settings file."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEFAULT_PORT = 8642


class DashboardSettings(BaseModel):
    """Where ``hts dashboard`` listens, and for how long a login lasts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; any other than this machine's own (127.0.0.1) needs users",
    )
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535, description="Port to listen on")
    names: list[str] = Field(
        default=[], description="Further host names under which browsers reach it, e.g. those of a proxy"
    )
    certificate: Path | None = Field(default=None, description="TLS certificate, PEM; then it is served as https")
    key: Path | None = Field(default=None, description="Private key of the certificate, PEM")
    behind_https: bool = Field(
        default=False, description="A proxy in front of it speaks https with browsers, so cookies are for https alone"
    )
    session_hours: float = Field(default=12.0, gt=0, le=24 * 365, description="A login ends after so long unused, h")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both or none")
        return self

    @property
    def https(self) -> bool:
        """Whether browsers reach it by https."""
        return self.certificate is not None or self.behind_https

    @property
    def only_here(self) -> bool:
        """Whether it can be reached from this machine alone."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
