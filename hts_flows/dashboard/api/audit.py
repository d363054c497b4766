"""The audit: who changed what and why, and what became of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from hts_flows.dashboard.dependencies import Db
from hts_flows.dashboard.problems import NAMED, NotFoundError
from hts_flows.errors import InputError, nearest
from hts_flows.stores.audit import AuditEntry, AuditRow, audit_entry, audit_trail
from hts_flows.stores.database import Database
from hts_flows.stores.paging import MOST_ROWS, Page

router = APIRouter(tags=["audit"])

Campaign = Annotated[str | None, Query(max_length=300, description="Only what concerns this campaign")]
User = Annotated[str | None, Query(max_length=300, description="Only what this user did")]
Action = Annotated[
    str | None, Query(max_length=100, description="Only this action: resubmit, undo, pause, resume, cancel, priority")
]
CursorText = Annotated[str | None, Query(max_length=4000, description="From the page before or after")]
AuditId = Annotated[str, Path(max_length=100, description="Key in the audit")]


def entry_named(database: Database, audit: str) -> AuditEntry:
    """Read the change that an address names, with what became of it.

    Raises
    ------
    NotFoundError
        There is none; the message names the nearest of the latest.
    """
    try:
        return audit_entry(database, audit)
    except InputError as error:
        near = nearest(audit, [row.id for row in audit_trail(database, limit=MOST_ROWS).rows], limit=3)
        raise NotFoundError(f"no entry {audit!r} in the audit; {near}", "the page 'Audit' lists them") from error


@router.get("/audit")
def trail(
    database: Db,
    campaign: Campaign = None,
    user: User = None,
    action: Action = None,
    cursor: CursorText = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="Most rows of a page")] = 50,
) -> Page[AuditRow]:
    """List who changed what, the latest first, a page at a time."""
    return audit_trail(
        database, campaign or None, user=user or None, action=action or None, cursor=cursor or None, limit=limit
    )


@router.get("/audit/{audit}", responses=NAMED)
def entry(database: Db, audit: AuditId) -> AuditEntry:
    """Read one change, with the results that it was made to as they are now."""
    return entry_named(database, audit)
