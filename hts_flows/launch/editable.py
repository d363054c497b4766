"""What a resubmission may change, for a form: settings and resources, their values of today, what is proposed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field

from hts_flows.engines import engine_class, engine_from_dict
from hts_flows.launch.failures import proposed_change
from hts_flows.launch.resource_edits import OPTIONS, asked_amount
from hts_flows.launch.setting_edits import adjustable_settings
from hts_flows.slurm.resources import Resources, format_memory, format_walltime

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hts_flows.slurm.cluster import Cluster
    from hts_flows.stores.results import Result

#: Settings that are commands which the cluster's shell runs: they are changed by who can type there.
COMMANDS = frozenset({"command"})
_EXAMPLES = {"walltime": "x2, +30min, 4h", "memory": "x2, +4G, 8G"}
#: Present values that are listed; the others are counted.
_SHOWN = 4


class Present(BaseModel):
    """A value that some of the results have now."""

    value: str = Field(description="As it is written; empty where none is set")
    count: int = Field(description="How many results have it")


class EditableField(BaseModel):
    """Something that a resubmission may change."""

    name: str = Field(description="Name of the setting or resource")
    kind: Literal["resource", "setting"] = Field(description="What SLURM is asked for, or an input of a Maker")
    description: str = Field(description="What it is, with its unit")
    present: list[Present] = Field(description="Values of today, the most frequent first")
    further: int = Field(default=0, description="How many results have a value that is not listed")
    proposed: str | None = Field(default=None, description="What the cause of the failures proposes")
    example: str = Field(default="", description="How values are written")
    choices: list[str] = Field(default=[], description="The values it can have, where they are few")


def editable_fields(results: Sequence[Result], clusters: Mapping[str, Cluster]) -> list[EditableField]:
    """List what a resubmission of some failed results may change.

    Parameters
    ----------
    results
        The chosen. Settings are listed where all are of one engine.
    clusters
        Those of the settings, by name. Without one, and without a SLURM job in the past, no resource is listed.

    Returns
    -------
    list of EditableField
        Resources, then settings. Commands that a shell runs (modules, pre_commands, sbatch, command) are not among
        them: they are changed with ``hts resubmit --set``.
    """
    proposed = _proposed(results)
    fields = []
    alike = _alike(results)
    if clusters or any(result.failure and result.failure.job for result in results):
        for name in OPTIONS:
            values = _counted((_asked(result, name, clusters), count) for result, count in alike)
            fields.append(
                EditableField(
                    name=name,
                    kind="resource",
                    description=Resources.model_fields[name].description or "",
                    proposed=proposed.get(("resource", name)),
                    example=_EXAMPLES.get(name, ""),
                    **_present(values),
                )
            )
    engines = {result.engine for result in results}
    if len(engines) == 1:
        kind = engine_class(engines.pop())
        for name in sorted(adjustable_settings(kind) - COMMANDS):
            values = _counted((_text(result.settings.get(name)), count) for result, count in alike)
            fields.append(
                EditableField(
                    name=name,
                    kind="setting",
                    description=kind.model_fields[name].description or "",
                    proposed=proposed.get(("setting", name)),
                    choices=_choices(kind.model_fields[name].annotation),
                    **_present(values),
                )
            )
    return fields


def _alike(results: Sequence[Result]) -> list[tuple[Result, int]]:
    """One of the results of each kind that ask for the same and run with the same settings, and how many there are."""
    kinds: dict[str, list[Result]] = {}
    for result in results:
        job = result.failure.job if result.failure else None
        asked = (job.cluster, job.walltime_asked, job.memory_asked) if job else None
        kinds.setdefault(repr((result.engine, result.settings, result.resources, asked)), []).append(result)
    return [(members[0], len(members)) for members in kinds.values()]


def _counted(values: Iterable[tuple[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for value, count in values:
        total[value] += count
    return total


def _proposed(results: Sequence[Result]) -> dict[tuple[str, str], str]:
    """What the causes propose, where they agree."""
    changes = {proposed_change(result.failure, result.engine) for result in results if result.failure}
    if len(changes) != 1 or not (change := changes.pop()):
        return {}
    option, _, value = change.partition(" ")
    if option == "--set":
        name, _, value = value.partition("=")
        return {("setting", name): value}
    # "--partition NAME" proposes to think of one.
    return {} if value.isupper() else {("resource", option.removeprefix("--")): value}


def _asked(result: Result, name: str, clusters: Mapping[str, Cluster]) -> str:
    own = Resources.model_validate(result.resources)
    if name == "walltime":
        seconds = asked_amount(result, own, "walltime", clusters)
        return "" if seconds is None else format_walltime(seconds)
    if name == "memory":
        amount = asked_amount(result, own, "memory", clusters)
        return "" if amount is None else format_memory(amount)
    if getattr(own, name) is None and len(clusters) == 1:
        engine = engine_from_dict({"engine": result.engine} | result.settings)
        own = next(iter(clusters.values())).resolve(engine.runs_as, result.resources)
    return _text(getattr(own, name))


def _present(values: Counter[str]) -> dict[str, Any]:
    most = values.most_common(_SHOWN)
    return {
        "present": [Present(value=value, count=count) for value, count in most],
        "further": values.total() - sum(count for _, count in most),
    }


def _text(value: Any) -> str:
    """Write a value as it is written in a campaign file."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choices(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    return [_text(value) for value in get_args(annotation)] if get_origin(annotation) is Literal else []
