"""What addresses name: that it is stored is seen here, so that every route answers 404 in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hts_flows.dashboard.problems import NotFoundError
from hts_flows.errors import InputError
from hts_flows.stores.campaigns import check_names

if TYPE_CHECKING:
    from hts_flows.stores.database import Database


def campaign_named(database: Database, name: str) -> None:
    """See that a campaign is stored.

    Raises
    ------
    NotFoundError
        It is not; the message names the nearest.
    """
    try:
        check_names(database, [name])
    except InputError as error:
        raise NotFoundError(error.message, "the overview lists the campaigns") from error
