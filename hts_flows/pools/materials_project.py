"""Candidates from the Materials Project: the summary endpoint of its API (https://api.materialsproject.org/docs).

One request a page, without the package mp-api, which would bring a database engine (deltalake) and the client of a
cloud (boto3) with it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hts_flows.errors import InputError
from hts_flows.pools.source import MaterialsProjectQuery
from hts_flows.pools.table import Table
from hts_flows.pools.web import RefusedError, get_json

if TYPE_CHECKING:
    import requests

#: Holds the key; it is sent to the Materials Project and written nowhere.
KEY_VARIABLE = "MP_API_KEY"
#: Names another server with the same API; the variable of the package mp-api.
ENDPOINT_VARIABLE = "MP_API_ENDPOINT"
ENDPOINT = "https://api.materialsproject.org/"
#: What is fetched of each entry, and becomes a column: Å³, g/cm³, eV, eV/atom.
FIELDS = (
    "material_id",
    "formula_pretty",
    "structure",
    "volume",
    "density",
    "band_gap",
    "energy_above_hull",
    "formation_energy_per_atom",
    "is_stable",
    "theoretical",
)
#: Entries of one page.
PAGE = 500
#: Names of the API where they are not ours.
_THEIRS = {"num_sites": "nsites"}
_ACCOUNT = "copy your key from https://materialsproject.org/dashboard and type: export MP_API_KEY=…"


def read_materials_project(query: MaterialsProjectQuery, timeout: float) -> Table:
    """Fetch the entries that meet the conditions.

    Parameters
    ----------
    query
        The conditions.
    timeout
        Longest wait for a part of the answer, s.

    Returns
    -------
    Table
        Columns :data:`FIELDS`.

    Raises
    ------
    InputError
        There is no key or it is refused, the service cannot be reached, or its answer is not whole.
    """
    import requests

    from hts_flows import __version__

    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise InputError(f"the Materials Project asks for a key, and {KEY_VARIABLE} is not set", _ACCOUNT)
    url = os.environ.get(ENDPOINT_VARIABLE, ENDPOINT).rstrip("/") + "/materials/summary/"
    with requests.Session() as session:
        session.headers.update({"X-API-KEY": key, "User-Agent": f"hts_flows/{__version__}"})
        try:
            entries, meta = _entries(session, url, query, timeout)
        except RefusedError as error:
            raise InputError(f"{error.message} (key of {KEY_VARIABLE})", _ACCOUNT) from error
    columns = {field: [entry.get(field) for entry in entries] for field in FIELDS}
    places = [f"entry {entry.get('material_id')!r}" for entry in entries]
    origin = {
        "materials_project": query.model_dump(mode="json", exclude_unset=True),
        "database_version": meta.get("db_version") or meta.get("api_version"),
        "more_available": meta["total_doc"] > len(entries),
    }
    return Table(url, columns, places, origin)


def parameters_of(query: MaterialsProjectQuery) -> dict[str, Any]:
    """Put conditions into the words of the API: ``band_gap_min``, ``nsites_max``, lists with commas."""
    parameters: dict[str, Any] = {"deprecated": "false", "_fields": ",".join(FIELDS), "_sort_fields": "material_id"}
    for name in query.model_fields_set - {"limit"}:
        value, theirs = getattr(query, name), _THEIRS.get(name, name)
        if value is None:
            continue
        if isinstance(value, tuple):
            bounds = zip(("min", "max"), value, strict=True)
            parameters |= {f"{theirs}_{end}": bound for end, bound in bounds if bound is not None}
        elif isinstance(value, bool):
            parameters[theirs] = str(value).lower()
        else:
            parameters[theirs] = ",".join(value) if isinstance(value, list) else value
    return parameters


def _entries(
    session: requests.Session, url: str, query: MaterialsProjectQuery, timeout: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    parameters = parameters_of(query)
    entries: list[dict[str, Any]] = []
    while True:
        page_limit = min(PAGE, query.limit - len(entries))
        # No redirects: the key would go to wherever they lead.
        content = get_json(
            session, url, parameters | {"_limit": page_limit, "_skip": len(entries)}, timeout, redirects=False
        )
        page, meta = content.get("data"), content.get("meta")
        total = meta.get("total_doc") if isinstance(meta, dict) else None
        if (
            not isinstance(page, list)
            or not all(isinstance(entry, dict) for entry in page)
            or not isinstance(meta, dict)
            or not isinstance(total, int)
        ):
            raise InputError(
                f"the answer of {url} is not the Materials Project's: without 'data' and 'meta.total_doc'",
                f"check {ENDPOINT_VARIABLE}, or leave it unset",
            )
        entries += page
        if len(entries) >= min(total, query.limit):
            return entries[: query.limit], meta
        if not page:
            raise InputError(
                f"{url} has {total} entries and gave {len(entries)}: the answer is not whole", "try again later"
            )
