"""The audit: who changed what and why, what became of it, and taking it back."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from hts_flows.dashboard.api.audit import Action, AuditId, Campaign, CursorText, User, entry_named
from hts_flows.dashboard.dependencies import Db
from hts_flows.dashboard.templating import page
from hts_flows.launch.queued import Action as QueueAction
from hts_flows.stores.audit import Now, audit_trail
from hts_flows.stores.campaigns import campaign_names

router = APIRouter()

ACTIONS = ("resubmit", "undo", *get_args(QueueAction))
#: Results of one change that are listed; the others can be asked for by what they do now.
_MOST = 300


@router.get("/audit")
def trail(
    request: Request,
    database: Db,
    campaign: Campaign = None,
    user: User = None,
    action: Action = None,
    cursor: CursorText = None,
) -> Response:
    """Show who changed what, the latest first."""
    rows = audit_trail(database, campaign or None, user=user or None, action=action or None, cursor=cursor or None)
    filters = {"campaign": campaign or "", "user": user or "", "action": action or ""}
    context = {"rows": rows, "campaigns": campaign_names(database), "actions": ACTIONS, "filters": filters}
    return page(request, "audit.html", context)


@router.get("/audit/{audit}")
def entry(request: Request, audit: AuditId, database: Db, now: Annotated[Now | None, Query()] = None) -> Response:
    """Show one change, with the results that it was made to as they are now."""
    found = entry_named(database, audit)
    waiting = [one for one in found.results if one.now == "queued" and not one.resubmitted_since]
    chosen = [one for one in found.results if now is None or one.now == now]
    context = {
        "entry": found,
        "row": found.row,
        "to_take_back": len(waiting),
        "states": Counter(one.now for one in found.results),
        "now": now,
        "results": chosen[:_MOST],
        "more": max(0, len(chosen) - _MOST),
    }
    return page(request, "audit_entry.html", context)
