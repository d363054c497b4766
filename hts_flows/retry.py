"""The ``retry:`` section of a campaign: which failures are resubmitted without asking, with what, how often."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from hts_flows.engines import Engine
from hts_flows.errors import InputError, nearest
from hts_flows.launch.resource_edits import Quantity, read_amount
from hts_flows.launch.setting_edits import adjustable_settings, edited_settings


def _text_of(quantity: Quantity) -> BeforeValidator:
    def check(value: Any) -> str:
        return read_amount(quantity, value).text

    return BeforeValidator(check, json_schema_input_type=str)


class RetryRule(BaseModel):
    """What is done about one cause of failure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_most: int = Field(ge=1, le=20, strict=True, description="How often a result is resubmitted for this cause")
    walltime: Annotated[str, _text_of("walltime")] | None = Field(
        default=None, description="New walltime, of what the failed job asked for: x2, +1h, or 8h"
    )
    memory: Annotated[str, _text_of("memory")] | None = Field(
        default=None, description="New memory on each node, of what the failed job asked for: x2, +4G, or 16G"
    )
    partition: str | None = Field(default=None, min_length=1, description="Another partition")
    qos: str | None = Field(default=None, min_length=1, description="Another quality of service")
    set: dict[str, Any] = Field(default={}, description="New engine settings, e.g. {scf_steps: 400}")

    @property
    def resources(self) -> dict[str, Any]:
        """New resources by name, as :func:`~hts_flows.launch.resource_edits.read_resource_edits` takes them."""
        return self.model_dump(include={"walltime", "memory", "partition", "qos"}, exclude_none=True)

    def stored(self) -> dict[str, Any]:
        """Give the rule as it could stand in a file."""
        return self.model_dump(mode="json", exclude_defaults=True)


def check_cause(cause: Any) -> str | None:
    """Say why a key is no cause that can be retried; None where it is one."""
    from hts_flows.launch.failures import FailureCause

    allowed = [item.value for item in FailureCause if item is not FailureCause.REFERENCE_FAILED]
    if cause == FailureCause.REFERENCE_FAILED:
        return (
            "such a result waits for its reference, and is completed when that is there: retry what the reference had"
        )
    if cause not in allowed:
        return f"{cause!r} is no cause of failure; {nearest(str(cause), allowed)}"
    return None


def check_settings(
    retry: Mapping[str, RetryRule], engines: Iterable[Engine]
) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Find settings in rules that no engine of the ladder has, or cannot have with that value.

    Yields
    ------
    tuple
        Place, what is wrong, and the value.
    """
    ladder = list(engines)
    for cause, rule in retry.items():
        for name, value in rule.set.items():
            place = ("retry", cause, "set", name)
            having = [engine for engine in ladder if name in adjustable_settings(type(engine))]
            if not having:
                allowed = {setting for engine in ladder for setting in adjustable_settings(type(engine))}
                names = ", ".join(dict.fromkeys(engine.engine for engine in ladder))
                message = f"{name!r} is no setting that a retry may change in {names}; {nearest(name, allowed)}"
                yield place, message, value
            for engine in having:
                try:
                    edited_settings(engine.model_dump(mode="json"), {name: value})
                except InputError as error:
                    yield place, error.message.removeprefix(f"--set {name}={value}: ") + f" (found {value!r})", value
                    break
