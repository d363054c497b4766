"""The engines: one module each, holding one subclass of :class:`~hts_flows.engines.base.Engine`.

A module is found by its name: ``engine: sevennet`` in a campaign is ``hts_flows/engines/sevennet.py``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from hts_flows.engines.base import Calculation, Engine
from hts_flows.errors import InputError, nearest

__all__ = ["Calculation", "Engine", "engine_class", "engine_from_dict", "engine_names"]


def engine_names() -> list[str]:
    """Names that ``engine:`` may have."""
    return sorted(
        module.name for module in iter_modules(__path__) if module.name != "base" and not module.name.startswith("_")
    )


@cache
def engine_class(name: str) -> type[Engine]:
    """Find an engine by its name.

    Raises
    ------
    InputError
        There is no such engine; the message names the nearest.
    """
    if name not in engine_names():
        raise InputError(f"unknown engine {name!r}; {nearest(name, engine_names())}")
    module = import_module(f"{__name__}.{name}")
    for item in vars(module).values():
        if isinstance(item, type) and issubclass(item, Engine) and item.__module__ == module.__name__:
            return item
    raise ImportError(f"{module.__name__} holds no subclass of Engine")


def engine_from_dict(settings: dict[str, Any]) -> Engine:
    """Make an engine from stored settings.

    Raises
    ------
    InputError
        The key "engine" is missing or names no engine.
    """
    if "engine" not in settings:
        raise InputError(f"engine settings without the key 'engine'; {nearest('', engine_names())}")
    return engine_class(settings["engine"]).model_validate(settings)
