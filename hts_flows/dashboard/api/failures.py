"""Failures: groups by cause with what to do, and the results of one cause."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.naming import campaign_named
from hts_flows.dashboard.problems import NAMED, NotFoundError
from hts_flows.dashboard.state import Dashboard
from hts_flows.engines import engine_names
from hts_flows.errors import nearest
from hts_flows.launch.failures import FailureCause
from hts_flows.stores.database import Database
from hts_flows.stores.failure_groups import FailedResult, FailureGroup, failed_results, failure_groups
from hts_flows.stores.paging import MOST_ROWS, Page

router = APIRouter(tags=["failures"])

Campaign = Annotated[str | None, Query(max_length=300, description="Only those of this campaign")]
Engine = Annotated[str | None, Query(max_length=300, description="Only those of this engine")]
Text = Annotated[
    str | None, Query(max_length=300, description="Only those with this in label, id, message or evidence, in any case")
]
CursorText = Annotated[str | None, Query(max_length=4000, description="From the page before or after")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Most rows of a page")]


def named_groups(
    dashboard: Dashboard, database: Database, campaign: str | None, engine: str | None
) -> list[FailureGroup]:
    """Group the failures of a campaign or an engine that an address names.

    Raises
    ------
    NotFoundError
        There is no such campaign or engine; the message names the nearest.
    """
    if campaign:
        campaign_named(database, campaign)
    key = ("failures", campaign, engine)
    groups = dashboard.readings.get(database, key, lambda: failure_groups(database, campaign, engine))
    # What a removed engine has left is still looked at.
    if engine and not groups and engine not in engine_names():
        raise NotFoundError(f"no engine {engine!r}; {nearest(engine, engine_names())}")
    return groups


def cause_named(database: Database, cause: str) -> None:
    """See that something can fail for a cause that an address names, or has done so with another version.

    Raises
    ------
    NotFoundError
        Neither; the message names the nearest.
    """
    known = [item.value for item in FailureCause]
    if cause not in known and not failed_results(database, cause, limit=1).rows:
        raise NotFoundError(f"no cause of failure {cause!r}; {nearest(cause, known)}", "/failures shows all failures")


@router.get("/failures", responses=NAMED)
def groups(dashboard: Running, database: Db, campaign: Campaign = None, engine: Engine = None) -> list[FailureGroup]:
    """Group failed results by cause, with what a person can do, the most frequent first."""
    return named_groups(dashboard, database, campaign, engine)


@router.get("/failures/{cause}", responses=NAMED)
def rows(
    database: Db,
    cause: Annotated[str, Path(max_length=100, description="Why they failed")],
    campaign: Campaign = None,
    engine: Engine = None,
    text: Text = None,
    cursor: CursorText = None,
    limit: Limit = 50,
) -> Page[FailedResult]:
    """List the results that failed for a cause, by label, a page at a time."""
    cause_named(database, cause)
    if campaign:
        campaign_named(database, campaign)
    return failed_results(
        database, cause, campaign=campaign, engine=engine, text=text or None, cursor=cursor or None, limit=limit
    )
