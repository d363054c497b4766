"""Settings: ``HTS_`` environment variables, then one YAML file, then defaults."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from hts_flows.campaign_file import YamlDocument, parse_yaml
from hts_flows.dashboard.configuration import DashboardSettings
from hts_flows.errors import InputError, nearest
from hts_flows.slurm.cluster import DEFAULT, Cluster

ENV_PREFIX = "HTS_"
#: Names the settings file itself, so it is no setting.
CONFIG_VARIABLE = "HTS_CONFIG_FILE"
#: Settings that only the file can hold: they do not fit into a variable.
FILE_ONLY = frozenset({"clusters", "dashboard"})
_CLUSTER_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")


class SettingOrigin(NamedTuple):
    """One setting in force, as ``hts settings`` shows it."""

    name: str
    value: str
    origin: str
    description: str


def default_home() -> Path:
    """Folder of everything that ``hts`` keeps on this machine: ``HTS_HOME`` or ``~/.hts_flows``."""
    return Path(os.environ.get("HTS_HOME", "~/.hts_flows")).expanduser()


def config_file() -> Path:
    """Path of the settings file, which need not exist: ``HTS_CONFIG_FILE`` or ``settings.yaml`` in the home folder."""
    return Path(os.environ.get(CONFIG_VARIABLE, default_home() / "settings.yaml")).expanduser()


def available_cores() -> int:
    """Count the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """What is in force on this machine; read once by :func:`load_settings`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    home: Path = Field(
        default_factory=default_home, description="Folder for the private MongoDB, launch folders and backups"
    )
    mongodb_uri: SecretStr | None = Field(
        default=None, description="MongoDB to use, mongodb://…; without it hts starts a private one in the home folder"
    )
    database: str = Field(
        default="hts_flows",
        pattern=r"^[A-Za-z0-9_-]{1,38}$",
        description="Name of the MongoDB database that holds everything",
    )
    mongod: Path | None = Field(
        default=None, description="mongod program for the private MongoDB; else PATH, else the 'local' extra"
    )
    mongodb_timeout: float = Field(default=5.0, gt=0, description="Longest wait for MongoDB to answer, s")
    mongod_cache: float = Field(default=0.5, ge=0.25, description="Cache of the private MongoDB, GB")
    workers: int = Field(
        default_factory=available_cores, ge=1, description="Workers that 'hts run' starts, one thread each"
    )
    inventories: Path | None = Field(
        default=None, description="Folder of inventories; else those that come with hts_flows"
    )
    clusters: Annotated[dict[str, Cluster], NoDecode] = Field(
        default={}, description="SLURM clusters that 'hts launch' can send jobs to, each under its name"
    )
    dashboard: Annotated[DashboardSettings, NoDecode] = Field(
        default=DashboardSettings(), description="Where 'hts dashboard' listens, and for how long a login lasts"
    )

    @field_validator("dashboard", mode="before")
    @classmethod
    def _in_file(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"the dashboard is described in the settings file, {config_file()}")  # noqa: TRY004
        return value

    @field_validator("clusters", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"clusters are described in the settings file, {config_file()}")  # noqa: TRY004 (pydantic)
        if not isinstance(value, dict):
            return value
        return {
            name: {**content, "name": name} if isinstance(content, dict) else content for name, content in value.items()
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 (signature of pydantic-settings)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments and the environment only; the file's values are given as arguments of lower rank."""
        return init_settings, env_settings

    @property
    def launches(self) -> Path:
        """Folder in which every calculation gets a folder of its own."""
        return self.home / "launches"

    def origins(self) -> list[SettingOrigin]:
        """Say for every setting what is in force and where it came from; passwords are masked."""
        in_file = _read_file(config_file())
        rows = []
        for name, field in type(self).model_fields.items():
            variable = ENV_PREFIX + name.upper()
            if variable in os.environ:
                origin = f"environment {variable}"
            elif name in in_file:
                origin = f"file {config_file()}"
            else:
                origin = "default"
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                shown = mask_password(value.get_secret_value())
            else:
                shown = ", ".join(value) if isinstance(value, dict) else str(value)
                if isinstance(value, DashboardSettings):
                    shown = f"{value.host}:{value.port}"
            rows.append(SettingOrigin(name, "" if value is None else shown, origin, field.description or ""))
        return rows


def mask_password(uri: str) -> str:
    """Hide the password of a ``scheme://user:password@host`` address."""
    scheme, slashes, rest = uri.partition("://")
    credentials, at, host = rest.rpartition("@")
    if not at:
        return uri
    return f"{scheme}{slashes}{credentials.partition(':')[0]}:***@{host}"


def _read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        if os.environ.get(CONFIG_VARIABLE):
            raise InputError(
                f"settings file not found: {path} (from {CONFIG_VARIABLE})", f"create it or unset {CONFIG_VARIABLE}"
            )
        return {}
    root, data = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    data = data or {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected 'name: value' lines, found a {type(data).__name__}")
    for key in data:
        if key not in Settings.model_fields:
            raise InputError(f"{path}: unknown setting {key!r}; {nearest(str(key), Settings.model_fields)}")
    document = YamlDocument(path, data, root)
    if data.get("clusters") is not None:
        data["clusters"] = _read_clusters(document)
    if data.get("dashboard") is not None:
        data["dashboard"] = _read_dashboard(document)
    return {key: value for key, value in data.items() if key not in FILE_ONLY or value is not None}


def _read_dashboard(document: YamlDocument) -> DashboardSettings:
    """Read the dashboard's section of the settings file, gathering every problem.

    Raises
    ------
    InputError
        With file, line, key, value and what is allowed for each problem.
    """
    from hts_flows.campaign import problems_of

    try:
        return DashboardSettings.model_validate(document.data["dashboard"])
    except ValidationError as error:
        problems = problems_of(error, DashboardSettings, ("dashboard",))
        lines = [document.describe(problem.path, problem.message) for problem in problems]
        raise InputError("\n".join(lines), "correct the file; 'hts settings' lists what there is") from error


def _read_clusters(document: YamlDocument) -> dict[str, Cluster]:
    """Read the clusters of the settings file, gathering every problem.

    Raises
    ------
    InputError
        With file, line, key, value and what is allowed for each problem.
    """
    from hts_flows.campaign import Problem, problems_of
    from hts_flows.engines import engine_names

    section = document.data["clusters"]
    problems: list[Problem] = []
    clusters = {}
    if not isinstance(section, dict):
        problems.append(Problem(("clusters",), f"expected 'name:' lines, found a {type(section).__name__}"))
        section = {}
    for name, content in section.items():
        place = ("clusters", name)
        if not (isinstance(name, str) and _CLUSTER_NAME.match(name)):
            problems.append(Problem(place, "a name has letters, digits, _ and - (at most 32); put a number in quotes"))
            continue
        if content is not None and not isinstance(content, dict):
            problems.append(Problem(place, f"expected 'key: value' lines, found a {type(content).__name__}"))
            continue
        try:
            clusters[name] = Cluster.model_validate({**(content or {}), "name": name})
        except ValidationError:
            problems += problems_of(_error_without_password(name, content or {}), Cluster, place)
            continue
        problems += [
            Problem((*place, "resources", engine), f"no such engine; {nearest(engine, [DEFAULT, *engine_names()])}")
            for engine in clusters[name].resources
            if engine not in {DEFAULT, *engine_names()}
        ]
        if "name" in (content or {}):
            problems.append(Problem((*place, "name"), "leave it out: the name is the key above"))
    if problems:
        lines = [document.describe(problem.path, problem.message) for problem in problems]
        raise InputError("\n".join(lines), "correct the file; 'hts cluster show' shows what it says")
    return clusters


def _error_without_password(name: str, content: dict[str, Any]) -> ValidationError:
    """Validate what was refused once more, without its password, which messages would show."""
    uri = content.get("mongodb_uri")
    masked = {"mongodb_uri": mask_password(uri)} if isinstance(uri, str) else {}
    try:
        Cluster.model_validate({**content, **masked, "name": name})
    except ValidationError as error:
        return error
    raise AssertionError("the password alone was refused")


def pick_cluster(settings: Settings, name: str | None) -> Cluster:
    """Find a cluster by its name; the only one where no name is given.

    Raises
    ------
    InputError
        None is configured, there is no such one, or there are several and no name.
    """
    if not settings.clusters:
        raise InputError(
            f"no cluster is described in {config_file()}",
            "write there how to reach it, and see docs/clusters.md; where sbatch runs on this machine, at least:\n"
            "  clusters:\n    NAME:\n      scratch: /folder/that/every/node/sees",
        )
    if name is None and len(settings.clusters) == 1:
        return next(iter(settings.clusters.values()))
    if name is None:
        raise InputError(
            f"{config_file()} describes {len(settings.clusters)} clusters", f"name one: {', '.join(settings.clusters)}"
        )
    if name not in settings.clusters:
        raise InputError(f"unknown cluster {name!r}; {nearest(name, settings.clusters)}", f"see {config_file()}")
    return settings.clusters[name]


def load_settings() -> Settings:
    """Read the settings in force.

    Raises
    ------
    InputError
        The settings file or an ``HTS_`` variable cannot be used; the message names it.
    """
    path = config_file()
    in_file = {name: value for name, value in _read_file(path).items() if ENV_PREFIX + name.upper() not in os.environ}
    try:
        return Settings(**in_file)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        place = f"{path}: {name}" if name in in_file else ENV_PREFIX + name.upper()
        raise InputError(
            f"{place}: {first['msg']} (found {first['input']!r})", "'hts settings' lists every setting"
        ) from error
