"""What a SLURM job asks for: walltime, memory, cores, and how these are written."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator

_CLOCK = re.compile(r"^(?:(?P<days>\d+)-)?(?P<hours>\d{1,4}):(?P<minutes>\d{2}):(?P<seconds>\d{2})$")
_UNITS = re.compile(r"^(?:(?P<d>\d+)\s*d)?\s*(?:(?P<h>\d+)\s*h)?\s*(?:(?P<min>\d+)\s*min)?\s*(?:(?P<s>\d+)\s*s)?$")
_SIZE = re.compile(r"^(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[MGT])(?:i?B)?$", re.IGNORECASE)
_MEGABYTES = {"M": 1, "G": 1024, "T": 1024**2}
MINUTE, HOUR, DAY = 60, 3600, 86400
#: No job asks for more nodes, tasks, cores or GPUs; for a longer time (s), or for more memory (MB).
MOST, LONGEST, LARGEST = 10_000_000, 10 * 365 * DAY, 10**9
_MOST_CHARACTERS = 40


def parse_walltime(value: Any) -> int:
    """Read a time such as ``90min``, ``2h``, ``1d12h``, ``"01:30:00"`` or ``"1-12:00:00"``.

    Returns
    -------
    int
        Seconds.

    Raises
    ------
    ValueError
        It is none of these; a plain number has no unit, so it is none either.
    """
    text = value.strip() if isinstance(value, str) and len(value) <= _MOST_CHARACTERS else ""
    if clock := _CLOCK.match(text):
        parts = {name: int(number or 0) for name, number in clock.groupdict().items()}
        seconds = parts["days"] * DAY + parts["hours"] * HOUR + parts["minutes"] * MINUTE + parts["seconds"]
    elif text and (units := _UNITS.match(text)):
        found = {name: int(number or 0) for name, number in units.groupdict().items()}
        seconds = found["d"] * DAY + found["h"] * HOUR + found["min"] * MINUTE + found["s"]
    else:
        raise ValueError('not a time; write e.g. 90min, 2h, 1d12h or, in quotes, "01:30:00"')
    if seconds <= 0:
        raise ValueError("must be longer than no time at all")
    if seconds > LONGEST:
        raise ValueError("is longer than ten years")
    return seconds


def format_walltime(seconds: float) -> str:
    """Write seconds as SLURM does: ``HH:MM:SS`` or ``D-HH:MM:SS``."""
    days, rest = divmod(round(seconds), DAY)
    hours, rest = divmod(rest, HOUR)
    minutes, left = divmod(rest, MINUTE)
    return f"{f'{days}-' if days else ''}{hours:02d}:{minutes:02d}:{left:02d}"


def parse_memory(value: Any) -> int:
    """Read an amount of memory such as ``800M``, ``8G`` or ``1.5T``, in SLURM's units (1 G = 1024 M).

    Returns
    -------
    int
        MB.

    Raises
    ------
    ValueError
        It is none; a plain number has no unit, so it is none either.
    """
    match = _SIZE.match(value.strip()) if isinstance(value, str) and len(value) <= _MOST_CHARACTERS else None
    if match is None:
        raise ValueError("not an amount of memory; write e.g. 800M or 8G")
    megabytes = round(float(match["number"]) * _MEGABYTES[match["unit"].upper()])
    if megabytes <= 0:
        raise ValueError("must be more than nothing")
    if megabytes > LARGEST:
        raise ValueError("is more than any machine has")
    return megabytes


def format_memory(megabytes: float) -> str:
    """Write MB as SLURM does, in G where that is exact."""
    whole = round(megabytes)
    return f"{whole // 1024}G" if whole % 1024 == 0 else f"{whole}M"


#: Seconds in Python, text in files and documents.
Walltime = Annotated[
    int,
    BeforeValidator(parse_walltime, json_schema_input_type=str),
    PlainSerializer(format_walltime, return_type=str),
]
#: MB in Python, text in files and documents.
Memory = Annotated[
    int, BeforeValidator(parse_memory, json_schema_input_type=str), PlainSerializer(format_memory, return_type=str)
]


class Resources(BaseModel):
    """What one SLURM job asks for. What is left out comes from the next wider place, at last from SLURM."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    walltime: Walltime | None = Field(default=None, description="Time limit: 90min, 2h, 1d12h or, quoted, 'HH:MM:SS'")
    memory: Memory | None = Field(default=None, description="Memory on each node: 800M, 8G")
    nodes: int | None = Field(default=None, ge=1, le=MOST, description="Nodes")
    tasks: int | None = Field(
        default=None, ge=1, le=MOST, description="MPI tasks in all; in a pilot the number of workers"
    )
    cpus: int | None = Field(default=None, ge=1, le=MOST, description="Cores of each task")
    gpus: int | None = Field(default=None, ge=0, le=MOST, description="GPUs of the job")
    partition: str | None = Field(default=None, min_length=1, max_length=255, description="Partition (queue)")
    account: str | None = Field(default=None, min_length=1, max_length=255, description="Account that is charged")
    qos: str | None = Field(default=None, min_length=1, max_length=255, description="Quality of service")
    modules: list[str] = Field(default=[], description="Modules to load, after those of the wider places")
    pre_commands: list[str] = Field(
        default=[], description="Shell commands before the work, after those of the wider places"
    )
    sbatch: list[str] = Field(
        default=[], description="Further options of sbatch, e.g. --constraint=haswell, after those of the wider places"
    )
    requeue: bool | None = Field(
        default=None,
        description="Let SLURM itself start the job again after a node failure; else it fails and is resubmitted",
    )
    pilot: bool | None = Field(
        default=None, description="Work through many calculations in one allocation; else one calculation each"
    )

    @field_validator("partition", "account", "qos")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or not value.strip()):
            raise ValueError("must be a name in one line")
        return value

    def overridden_by(self, other: Resources) -> Resources:
        """Combine with a narrower place, which wins; its modules, commands and options are added at the end."""
        values = self.model_dump(exclude_none=True) | other.model_dump(exclude_none=True)
        for name in ("modules", "pre_commands", "sbatch"):
            values[name] = [*getattr(self, name), *getattr(other, name)]
        return Resources.model_validate(values)

    def stored(self) -> dict[str, Any]:
        """Give what is set, as it is stored in documents and could stand in a file."""
        return self.model_dump(mode="json", exclude_defaults=True)
