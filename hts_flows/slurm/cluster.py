"""A cluster, as the settings file describes it."""

from __future__ import annotations

import sys
from pathlib import PurePosixPath
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from hts_flows.slurm.resources import Resources, Walltime, format_walltime

DEFAULT = "default"
#: What a job asks for where nothing is said.
FALLBACK = Resources.model_validate({"walltime": "4h", "nodes": 1, "cpus": 1, "requeue": False})


class Limits(BaseModel):
    """How much of a cluster is used at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_queued: int = Field(default=100, ge=1, description="SLURM jobs in the queue at once, waiting and running")
    max_pilots: int = Field(default=10, ge=1, description="Pilots among them, for each kind of work")
    pilot_work: Walltime = Field(
        default=900, description="Work for each worker of a pilot before another pilot is worth its start"
    )
    max_walltime: Walltime | None = Field(default=None, description="Longest walltime the cluster allows")


class Cluster(BaseModel):
    """A SLURM cluster: how to reach it, where to work on it, and what jobs ask for there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name, the key in the settings file", exclude=True)
    host: str | None = Field(
        default=None, description="Login node for ssh, user@host; left out where sbatch runs on this machine"
    )
    ssh_options: list[str] = Field(default=[], description="Options of ssh, e.g. [-p, '2222', -i, ~/.ssh/cluster]")
    scratch: str | None = Field(
        default=None,
        description="Folder that every node sees, for calculations and SLURM's output; else launches/ in the home",
    )
    python: str | None = Field(
        default=None, description="Python with hts_flows on the cluster; left out, the one that runs this command"
    )
    mongodb_uri: SecretStr | None = Field(
        default=None, description="Address of the MongoDB as compute nodes see it, where it differs"
    )
    partition: str | None = Field(
        default=None, min_length=1, description="Partition of all jobs; several with commas, as for sbatch"
    )
    account: str | None = Field(default=None, min_length=1, description="Account of all jobs")
    qos: str | None = Field(default=None, min_length=1, description="Quality of service of all jobs")
    modules: list[str] = Field(default=[], description="Modules that all jobs load")
    pre_commands: list[str] = Field(default=[], description="Shell commands of all jobs before the work")
    limits: Limits = Field(default=Limits(), description="How much of the cluster is used at once")
    resources: dict[str, Resources] = Field(
        default={}, description="What jobs ask for: 'default', then one entry an engine"
    )
    timeout: float = Field(default=30.0, gt=0, description="Longest wait for an answer of SLURM or ssh, s")

    @field_validator("scratch")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is not None and not PurePosixPath(value).is_absolute():
            raise ValueError("must be an absolute path: jobs start in other folders")
        return value

    @field_validator("host")
    @classmethod
    def _no_option(cls, value: str | None) -> str | None:
        if value is not None and (value.startswith("-") or not value.strip()):
            raise ValueError("must be a host, e.g. alice@login.example.org; options go to ssh_options")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.host is not None:
            missing = [name for name in ("scratch", "python") if getattr(self, name) is None]
            if missing:
                raise ValueError(f"with 'host' give also {' and '.join(missing)}, as they are on the cluster")
        longest = self.limits.max_walltime
        for engine, resources in self.resources.items():
            if longest and resources.walltime and resources.walltime > longest:
                raise ValueError(
                    f"resources.{engine}: walltime {format_walltime(resources.walltime)} is longer than "
                    f"limits.max_walltime {format_walltime(longest)}"
                )
        return self

    def resolve(self, engine: str, own: dict[str, Any] | None = None) -> Resources:
        """Find what a job of an engine asks for.

        Parameters
        ----------
        engine
            Name of the engine.
        own
            What the campaign or a resubmission asks for beyond that.

        Returns
        -------
        Resources
            The cluster's, overridden by its "default", by those of the engine, and by the job's own. Walltime and
            tasks are always set, at least one task for each node.
        """
        wide = FALLBACK.overridden_by(
            Resources(
                partition=self.partition,
                account=self.account,
                qos=self.qos,
                modules=self.modules,
                pre_commands=self.pre_commands,
            )
        )
        longest = self.limits.max_walltime
        if longest and wide.walltime and wide.walltime > longest:
            wide = wide.model_copy(update={"walltime": longest})
        for preset in (DEFAULT, engine):
            wide = wide.overridden_by(self.resources.get(preset, Resources()))
        asked = wide.overridden_by(Resources.model_validate(own or {}))
        # SLURM would quietly use fewer nodes than there are tasks for.
        return asked.model_copy(update={"tasks": max(asked.tasks or 1, asked.nodes or 1)})

    @property
    def interpreter(self) -> str:
        """Python of the jobs."""
        return self.python or sys.executable
