"""Edits of what a SLURM job asks for: twice the time, 4 G more memory, another partition."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from hts_flows.engines import engine_from_dict
from hts_flows.errors import InputError, nearest
from hts_flows.slurm.resources import Resources, format_memory, format_walltime, parse_memory, parse_walltime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hts_flows.slurm.cluster import Cluster
    from hts_flows.stores.results import Result

Quantity = Literal["walltime", "memory"]
#: How each quantity is read and written.
_READ = {"walltime": parse_walltime, "memory": parse_memory}
_WRITE = {"walltime": format_walltime, "memory": format_memory}
_EXAMPLES = {"walltime": 'x2, +30min, 4h or "02:00:00"', "memory": "x2, +4G or 8G"}
_FACTOR = re.compile(r"^[xX×]\s*(?P<number>\d+(?:\.\d+)?)$")
#: A larger factor is a mistyped one.
MAX_FACTOR = 1000.0
#: Resources that are given as an option of their own.
OPTIONS = ("walltime", "memory", "nodes", "tasks", "cpus", "gpus", "partition", "account", "qos")


@dataclass(frozen=True)
class Amount:
    """A new walltime (s) or memory (MB): so many times, so much more, or just so much."""

    quantity: Quantity
    operation: Literal["times", "plus", "set"]
    number: float
    text: str

    def applied(self, base: float | None) -> int:
        """Give the new amount, in s or MB, rounded up.

        Parameters
        ----------
        base
            Amount before; used by factors and additions only.
        """
        if self.operation == "set":
            return round(self.number)
        if base is None:
            raise ValueError("a factor needs something to multiply")
        # 1.1 × 100 is 110 and not 111, as it would be of 110.00000000000001.
        new = base * self.number if self.operation == "times" else base + self.number
        return max(1, math.ceil(round(new, 6)))


def read_amount(quantity: Quantity, value: Any) -> Amount:
    """Read ``x2``, ``x1.5``, ``+30min``, ``+4G``, or an amount such as ``4h`` or ``8G``.

    Raises
    ------
    ValueError
        It is none of these.
    """
    text = value.strip() if isinstance(value, str) else ""
    if match := _FACTOR.match(text):
        factor = float(match["number"])
        if not 0 < factor <= MAX_FACTOR:
            raise ValueError(f"a factor must be above 0 and at most {MAX_FACTOR:g}")
        return Amount(quantity, "times", factor, text)
    try:
        number = _READ[quantity](text.removeprefix("+").strip())
    except ValueError as error:
        reason = "must be more than nothing" if "than n" in str(error) else f"write e.g. {_EXAMPLES[quantity]}"
        reason = f"{text!r} {error}" if str(error).startswith("is ") else reason
        raise ValueError(f"cannot be read as {quantity}: {reason}") from error
    return Amount(quantity, "plus" if text.startswith("+") else "set", number, text)


@dataclass(frozen=True)
class ResourceEdits:
    """What is to change in what SLURM jobs ask for.

    Attributes
    ----------
    amounts
        New walltime and memory.
    values
        Everything else, as stored.
    """

    amounts: dict[Quantity, Amount] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.amounts or self.values)

    @property
    def names(self) -> list[str]:
        """Names of the resources that change."""
        return [*self.amounts, *self.values]


def read_resource_edits(edits: Mapping[str, Any]) -> ResourceEdits:
    """Check edits of resources before they are applied to anything.

    Parameters
    ----------
    edits
        New values by the name of the resource; walltime and memory as :func:`read_amount` reads them.

    Raises
    ------
    InputError
        An unknown resource, or a value that it cannot have.
    """
    amounts: dict[Quantity, Amount] = {}
    values: dict[str, Any] = {}
    for name, value in edits.items():
        shown = f"--{name} {value}" if name in OPTIONS else f"--set resources.{name}={value}"
        if name not in Resources.model_fields:
            raise InputError(f"{shown}: jobs have no such resource; {nearest(name, Resources.model_fields)}")
        quantity: Quantity | None = "walltime" if name == "walltime" else "memory" if name == "memory" else None
        if quantity:
            try:
                amounts[quantity] = read_amount(quantity, value)
            except ValueError as error:
                raise InputError(f"{shown}: {error}", f"give {_EXAMPLES[quantity]}") from error
            continue
        try:
            checked = Resources.model_validate({name: value})
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            description = Resources.model_fields[name].description
            raise InputError(f"{shown}: {message}", f"{name}: {description}") from error
        values[name] = checked.model_dump(mode="json")[name]
    return ResourceEdits(amounts, values)


def edited_resources(
    result: Result, edits: ResourceEdits, clusters: Mapping[str, Cluster]
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """Apply edits to what the jobs of one result ask for.

    Parameters
    ----------
    result
        Its failed job's walltime and memory are what a factor multiplies; else its own, else the cluster's.
    edits
        What is to change.
    clusters
        Those of the settings, by name.

    Returns
    -------
    dict
        The new resources, as stored.
    dict
        For each resource that changes, what was asked for before and what is now.

    Raises
    ------
    InputError
        There is nothing that a factor could multiply, or the new walltime is longer than the cluster allows.
    """
    own = Resources.model_validate(result.resources)
    values = dict(result.resources)
    changes: dict[str, tuple[Any, Any]] = {}
    for quantity, amount in edits.amounts.items():
        base = asked_amount(result, own, quantity, clusters)
        if base is None and amount.operation != "set":
            raise InputError(
                f"--{quantity} {amount.text}: it is not known how much {quantity} {result.label} ({result.engine}) "
                "asked for, so it cannot be multiplied or added to",
                f"give an amount, e.g. --{quantity} {'8h' if quantity == 'walltime' else '8G'}",
            )
        new = amount.applied(base)
        if quantity == "walltime":
            _check_longest(new, amount, result, clusters)
        values[quantity] = _WRITE[quantity](new)
        changes[quantity] = (None if base is None else _WRITE[quantity](base), values[quantity])
    for name, new_value in edits.values.items():
        changes[name] = (getattr(own, name), new_value)
        values[name] = new_value
    try:
        return Resources.model_validate(values).stored(), changes
    except ValidationError as error:
        first = error.errors()[0]
        place, message = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{place} of {result.label}: {values.get(place)} {message}", "give a smaller amount or factor"
        ) from error


def _candidates(result: Result, clusters: Mapping[str, Cluster]) -> list[Cluster]:
    """Clusters that the result's job may have been on: the one its failure names, else all that there are."""
    job = result.failure.job if result.failure else None
    if job is not None and job.cluster is not None:
        return [clusters[job.cluster]] if job.cluster in clusters else []
    return list(clusters.values())


def asked_amount(result: Result, own: Resources, quantity: Quantity, clusters: Mapping[str, Cluster]) -> float | None:
    """Tell how much walltime (s) or memory (MB) the job of a result asked for; None where that is not known.

    Parameters
    ----------
    result
        Its failed job says; else what it asks for beyond the cluster's settings, else those.
    own
        What it asks for beyond the cluster's settings.
    quantity
        Which.
    clusters
        Those of the settings, by name.
    """
    job = result.failure.job if result.failure else None
    asked = getattr(job, f"{quantity}_asked") if job else None
    if asked:
        return float(asked)
    if getattr(own, quantity):
        return float(getattr(own, quantity))
    known = _candidates(result, clusters)
    found = None
    if len(known) == 1:
        engine = engine_from_dict({"engine": result.engine} | result.settings)
        found = getattr(known[0].resolve(engine.runs_as, result.resources), quantity)
    return None if found is None else float(found)


def _check_longest(walltime: int, amount: Amount, result: Result, clusters: Mapping[str, Cluster]) -> None:
    known = _candidates(result, clusters)
    longest = [(cluster.limits.max_walltime, cluster.name) for cluster in known if cluster.limits.max_walltime]
    if known and len(longest) == len(known) and walltime > max(longest)[0]:
        most, name = max(longest)
        raise InputError(
            f"--walltime {amount.text}: {format_walltime(walltime)} for {result.label} ({result.engine}) is longer "
            f"than clusters.{name}.limits.max_walltime, {format_walltime(most)}",
            f"give at most --walltime {format_walltime(most)}, or correct the limit in the settings file",
        )


def shrinking(changes: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Name walltime and memory where less is asked for than before."""
    return [
        name
        for name, read in _READ.items()
        if name in changes and changes[name][0] is not None and read(changes[name][1]) < read(changes[name][0])
    ]
