"""Candidates from a provider of the OPTIMADE API (https://www.optimade.org, specification 1.2).

A screening needs all of an answer or an error. pymatgen's client (2026.10) logs errors and gives back what came before
them; that of the package optimade (1.5.0) repeats a request without end while the provider is busy.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from hts_flows.errors import InputError
from hts_flows.pools.cells import OPTIMADE_KEYS
from hts_flows.pools.source import DEFAULT_LIMIT, PoolSource
from hts_flows.pools.table import Table
from hts_flows.pools.web import get_json

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

#: What a candidate needs, under OPTIMADE's names.
RESPONSE_FIELDS = (
    *OPTIMADE_KEYS,
    "species",
    "nsites",
    "dimension_types",
    "structure_features",
)
#: Entries of one page; providers may give fewer.
PAGE = 100
_VERSION = re.compile(r"/v\d+(\.\d+)*$")
_NO_OTHER_UNIT = {"å", "angstrom", "ångström", "angstroms", "inapplicable"}


def read_optimade(url: str, source: PoolSource) -> Table:
    """Fetch the entries that match a filter.

    Parameters
    ----------
    url
        Base URL of the provider, with or without the version.
    source
        With filter, limit, columns and timeout.

    Returns
    -------
    Table
        Columns ``name``, ``structure`` and what ``columns`` asks for.

    Raises
    ------
    InputError
        The provider cannot be reached, refuses the filter, or answers something else than the specification says.
    """
    import requests

    from hts_flows import __version__

    base = url.rstrip("/").removesuffix("/structures")
    base = base if _VERSION.search(base) else f"{base}/v1"
    limit = source.limit or DEFAULT_LIMIT
    with requests.Session() as session:
        session.headers.update({"User-Agent": f"hts_flows/{__version__}", "Accept": "application/json"})
        entries, meta = _entries(session, base, source, limit)
        _check_units(session, base, source.timeout)
    return _table(entries, meta, source, base)


def _check_units(session: requests.Session, base: str, timeout: float) -> None:
    """Refuse a provider that says itself that its lattices are not in Å; most say nothing, as Å is the rule."""
    try:
        data = get_json(session, f"{base}/info/structures", None, timeout).get("data")
    except InputError as error:
        logger.info("%s does not say what its units are: %s", base, error.message)
        return
    properties = data.get("properties") if isinstance(data, dict) else None
    for key in ("lattice_vectors", "cartesian_site_positions"):
        said = properties.get(key) if isinstance(properties, dict) else None
        unit = (said.get("x-optimade-unit") or said.get("unit")) if isinstance(said, dict) else None
        if isinstance(unit, str) and unit.lower() not in _NO_OTHER_UNIT:
            raise InputError(
                f"{base}: {key} is in {unit!r}, and the specification says Å", "the provider should be told"
            )


def _entries(
    session: requests.Session, base: str, source: PoolSource, limit: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    fields = [*RESPONSE_FIELDS, *(theirs for theirs in source.columns.values() if theirs not in {"id", "type"})]
    parameters: dict[str, Any] | None = {
        "response_format": "json",
        "response_fields": ",".join(dict.fromkeys(fields)),
        "page_limit": min(PAGE, limit),
    }
    if source.filter and parameters is not None:
        parameters["filter"] = source.filter
    url: str | None = f"{base}/structures"
    entries: list[dict[str, Any]] = []
    asked: set[str] = set()
    meta: dict[str, Any] = {}
    while url is not None:
        if url in asked:
            raise InputError(f"{url} names itself as the next page", "the provider should be told")
        asked.add(url)
        content = get_json(session, url, parameters, source.timeout)
        page = content.get("data")
        if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
            raise InputError(f"the answer of {url} is not OPTIMADE's: it has no list 'data'", "check the base URL")
        entries += page
        said = content.get("meta")
        meta = said if isinstance(said, dict) else {}
        following, parameters = _next(url, content), None
        if following is None and meta.get("more_data_available") is True and len(entries) < limit:
            raise InputError(
                f"{url} says that there is more and not where: the answer is not whole", "the provider should be told"
            )
        if len(entries) >= limit:
            meta = meta | {"more": following is not None or len(entries) > limit}
            break
        url = following
    return entries[:limit], meta


def _next(url: str, content: dict[str, Any]) -> str | None:
    """Address of the next page: a string or an object with ``href``, whole or relative."""
    links = content.get("links")
    following = links.get("next") if isinstance(links, dict) else None
    if isinstance(following, dict):
        following = following.get("href")
    if not following:
        return None
    if not isinstance(following, str):
        raise InputError(f"{url}: the address of the next page is {following!r}", "the provider should be told")
    return urljoin(url, following)


def _table(entries: list[dict[str, Any]], meta: dict[str, Any], source: PoolSource, base: str) -> Table:
    columns: dict[str, list[Any]] = {"id": [], "structure": []}
    own = {theirs for theirs in source.columns.values() if theirs not in columns}
    columns |= {theirs: [] for theirs in own}
    for entry in entries:
        attributes = entry.get("attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        columns["id"].append(entry.get("id"))
        columns["structure"].append(attributes)
        for theirs in own:
            columns[theirs].append(attributes.get(theirs))
    provider = meta.get("provider")
    origin = {
        "optimade": base,
        "filter": source.filter,
        "api_version": meta.get("api_version"),
        "provider": provider.get("name") if isinstance(provider, dict) else None,
        "more_available": bool(meta.get("more", False)),
    }
    places = [f"entry {entry.get('id')!r}" for entry in entries]
    return Table(base, columns, places, origin, mapped=dict(source.columns))
