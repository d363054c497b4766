"""The recipes: one module a domain, holding its :class:`~hts_flows.flows.base.Domain`.

A module is found by its name: ``domain: intercalation`` in a campaign is ``hts_flows/flows/intercalation.py``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from hts_flows.errors import InputError, nearest
from hts_flows.flows.base import Column, Domain

__all__ = ["Column", "Domain", "domain_names", "get_domain"]

#: Modules of this package that are no domain.
_NOT_DOMAINS = frozenset({"base", "evaluation"})


def domain_names() -> list[str]:
    """Names of all domains."""
    return sorted(module.name for module in iter_modules(__path__) if module.name not in _NOT_DOMAINS)


@cache
def get_domain(name: str) -> Domain:
    """Find a domain by its name.

    Raises
    ------
    InputError
        There is no such domain; the message names the nearest.
    """
    if name not in domain_names():
        raise InputError(f"unknown domain {name!r}; {nearest(str(name), domain_names())}")
    domain: Domain = import_module(f"{__name__}.{name}").DOMAIN
    return domain
