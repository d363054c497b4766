"""Leases: one process at a time does a thing, however many try, and a dead one does not block the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pymongo.errors import DuplicateKeyError

from hts_flows.launch.owner import owner_name
from hts_flows.stores.campaigns import claim_is_free, now

if TYPE_CHECKING:
    from hts_flows.stores.database import Database


@dataclass(frozen=True)
class Lease:
    """What asking for a lease gave.

    Attributes
    ----------
    held
        Whether this process holds it.
    owner
        Who holds it, ``host:pid:start``.
    renew
        Call it now and then in long work, so that other machines do not take the lease for given up.
    """

    held: bool
    owner: str
    renew: Callable[[], None]


@contextmanager
def lease(database: Database, name: str) -> Iterator[Lease]:
    """Hold a lease while the block runs, if nobody else does.

    A lease whose process has ended is taken over at once on the same machine, on another after
    :data:`hts_flows.launch.owner.FOREIGN_CLAIM_SECONDS`.

    Parameters
    ----------
    database
        Where leases are kept.
    name
        What is done by one at a time.
    """
    leases, mine = database.leases, owner_name()
    holder = leases.find_one({"_id": name})
    held = False
    try:
        if holder is None:
            leases.insert_one({"_id": name, "owner": mine, "at": now()})
            held = True
        elif claim_is_free(holder["owner"], holder["at"]):
            taken = leases.update_one(
                {"_id": name, "owner": holder["owner"], "at": holder["at"]}, {"$set": {"owner": mine, "at": now()}}
            )
            held = taken.modified_count == 1
    except DuplicateKeyError:
        pass  # somebody was faster

    def renew() -> None:
        leases.update_one({"_id": name, "owner": mine}, {"$set": {"at": now()}})

    try:
        yield Lease(held, mine if held else (holder or {}).get("owner", "another process"), renew)
    finally:
        if held:
            leases.delete_one({"_id": name, "owner": mine})
