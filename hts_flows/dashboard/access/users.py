"""Users of the dashboard: names, roles and password hashes in a file that only its owner reads."""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hts_flows.campaign_file import parse_yaml
from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from hts_flows.settings import Settings

logger = logging.getLogger("hts_flows.dashboard")

#: A viewer sees everything; an operator also changes things.
Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "operator")
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 1000
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
#: A hash of nobody's password: an unknown name takes as long to refuse as a wrong password.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$+aeotJ4rH7rjsZqATjOVkQ$onc135fT9eZj3j5hDZCUAokBBv369yZKrDbsqR3jnLo"


class User(BaseModel):
    """One user."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role = Field(description="viewer or operator")
    password: str = Field(pattern=r"^\$argon2id\$", description="Hash of the password (argon2id)", repr=False)


class Users:
    """The users in a file; a change of the file holds at once.

    Parameters
    ----------
    file
        YAML, ``name: {role: …, password: hash}``; it need not exist.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read: tuple[tuple[int, ...], dict[str, User]] | None = None
        self._logged: tuple[int, ...] | None = None

    def all(self) -> dict[str, User]:
        """Read all users by name.

        Raises
        ------
        InputError
            The file cannot be used, or others than its owner can read it.
        """
        try:
            stamp = self._stamp()
            if stamp is None:
                return {}
            if self._read is None or self._read[0] != stamp:
                if stat.S_IMODE(stamp[0]) & 0o077:
                    raise InputError(f"{self.file} can be read by others than its owner", f"chmod 600 {self.file}")
                self._read = (stamp, self._parse())
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.file} cannot be read: {error}", "see that it is the file of users") from error
        return self._read[1]

    def usable(self) -> dict[str, User] | None:
        """Read all users by name; None where the file cannot be used, for which the log has the reason once."""
        try:
            return self.all()
        except InputError as error:
            try:
                stamp = self._stamp() or ()
            except OSError:
                stamp = ()
            if self._logged != stamp:
                self._logged = stamp
                logger.error("users cannot log in: %s", error)  # noqa: TRY400 (the message says it all)
            return None

    def _stamp(self) -> tuple[int, ...] | None:
        """Tell one state of the file from another; None where there is none."""
        try:
            state = self.file.stat()
        except FileNotFoundError:
            return None
        return (state.st_mode, state.st_mtime_ns, state.st_ino, state.st_size)

    def _parse(self) -> dict[str, User]:
        _, data = parse_yaml(self.file.read_text(encoding="utf-8"), str(self.file))
        if not isinstance(data or {}, dict):
            raise InputError(f"{self.file} does not hold users by name", "make them with 'hts dashboard user add NAME'")
        users = {}
        for name, content in (data or {}).items():
            try:
                users[str(name)] = User.model_validate(content)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join([str(name), *map(str, first["loc"])])
                raise InputError(
                    f"{self.file}: {place}: {first['msg']}", "make users with 'hts dashboard user add NAME'"
                ) from error
        return users

    def check(self, name: str, role: str) -> None:
        """See that a user can have this name and role.

        Raises
        ------
        InputError
            They cannot.
        """
        if not _NAME.match(name):
            raise InputError(f"user name {name!r}: letters, digits and . _ @ - are allowed, at most 64")
        if role not in ROLES:
            raise InputError(f"--role {role!r}: {nearest(role, ROLES)}")

    def add(self, name: str, role: str, password: str) -> None:
        """Add a user, or give one another role and password.

        Raises
        ------
        InputError
            A name, role or password that cannot be.
        """
        self.check(name, role)
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise InputError(f"the password has {len(password)} characters; {SHORTEST_PASSWORD} are the least")
        self._write(self.all() | {name: User.model_validate({"role": role, "password": hash_password(password)})})

    def remove(self, name: str) -> None:
        """Remove a user; their sessions end with their next request.

        Raises
        ------
        InputError
            There is none of that name.
        """
        users = dict(self.all())
        if users.pop(name, None) is None:
            raise InputError(f"no user {name!r} in {self.file}; {nearest(name, users)}")
        self._write(users)

    def _write(self, users: dict[str, User]) -> None:
        text = yaml.safe_dump({name: user.model_dump() for name, user in sorted(users.items())}, sort_keys=False)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_name(f"{self.file.name}.{os.getpid()}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
            handle.write(text)
        new.replace(self.file)

    def login(self, name: str, password: str) -> User | None:
        """Find the user of a name and a password; None where one of them is wrong.

        Parameters
        ----------
        name, password
            As typed.
        """
        user = (self.usable() or {}).get(name)
        right = check_password(user.password if user else _NOBODY, password)
        return user if right else None


def users_file(settings: Settings) -> Path:
    """Path of the users' file, which need not exist."""
    return settings.home / "dashboard_users.yaml"


def hash_password(password: str) -> str:
    """Hash a password with argon2id."""
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)


def check_password(hashed: str, password: str) -> bool:
    """Tell whether a password is that of a hash."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > LONGEST_PASSWORD:
        return False
    try:
        return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
