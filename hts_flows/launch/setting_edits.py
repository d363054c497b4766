"""Edits of an engine's settings, as a person writes them: ``steps=1000``, ``relax_maker.steps=1000``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hts_flows.campaign_file import parse_yaml
from hts_flows.engines import Engine, engine_class
from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Before the name of a resource in an edit.
RESOURCES = "resources."
#: Resources whose text is read as it stands: YAML takes 02:00:00 for a number.
_AS_TEXT = ("walltime", "memory")


def read_edits(texts: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read edits such as ``steps=1000`` or ``resources.modules=[vasp/6]``.

    atomate2's way of naming a setting of a Maker, ``relax_maker.steps``, means the engine's setting of that name.

    Returns
    -------
    dict
        New engine settings.
    dict
        New resources.

    Raises
    ------
    InputError
        It is no edit, is given twice, or its value is no YAML.
    """
    settings: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    for edit in texts:
        name, equals, text = (part.strip() for part in edit.partition("="))
        if not equals or not name:
            raise InputError(f"--set {edit!r}: expected NAME=VALUE", "e.g. --set steps=1000")
        place = f"--set {name}={text}"
        target = settings
        if name.startswith(RESOURCES):
            name, target = name.removeprefix(RESOURCES), resources
        elif "." in name:
            before, _, last = name.rpartition(".")
            if not before.lower().endswith("maker"):
                raise InputError(
                    f"{place}: {before!r} has no settings that can be changed",
                    "write NAME=VALUE, resources.NAME=VALUE, or as atomate2 does relax_maker.NAME=VALUE",
                )
            name = last
        if name in target:
            raise InputError(f"{place}: {name} is given twice", "keep one of the two")
        target[name] = text if target is resources and name in _AS_TEXT else parse_yaml(text, place)[1]
    return settings, resources


def adjustable_settings(kind: type[Engine]) -> set[str]:
    """Names of the settings that a resubmission may change: how a result is reached, not what it is."""
    return set(kind.adjustable | kind.not_hashed) & set(kind.model_fields)


def edited_settings(settings: dict[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """Apply edits to stored settings of an engine.

    Raises
    ------
    InputError
        The engine has no such setting, it may not be changed, or cannot have that value.
    """
    if not edits:
        return settings
    engine = settings["engine"]
    kind = engine_class(engine)
    adjustable = adjustable_settings(kind)
    for name in edits:
        if name in set(kind.model_fields) - adjustable:
            raise InputError(
                f"--set {name}: changes what {engine} computes, so the result could not be compared with its "
                f"references; may be changed: {', '.join(sorted(adjustable))}",
                "to compute with other settings change the campaign file, and run it with another name or --update",
            )
        if name not in kind.model_fields:
            raise InputError(f"--set {name}: {engine} has no such setting; {nearest(name, adjustable)}")
    try:
        return kind.model_validate(settings | dict(edits)).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else next(iter(edits), "")
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise InputError(
            f"--set {name}={edits.get(name, first['input'])}: {message}",
            "give a value that the setting can have, e.g. --set steps=1000",
        ) from error
