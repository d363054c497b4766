"""All campaigns at a glance."""

from __future__ import annotations

from fastapi import APIRouter

from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.naming import campaign_named
from hts_flows.dashboard.problems import NAMED
from hts_flows.dashboard.state import Dashboard
from hts_flows.stores.campaign_cards import CampaignCard
from hts_flows.stores.database import Database
from hts_flows.stores.overview import Overview, campaign_card
from hts_flows.stores.overview import overview as read_overview
from hts_flows.stores.queue_summary import MOST_WORKERS, QueueSummary, queue_summary

router = APIRouter(tags=["overview"])


@router.get("/overview")
def overview(dashboard: Running, database: Db) -> Overview:
    """Say where every campaign stands, what failed and why, and what a person should look at."""
    return dashboard.readings.get(database, "overview", lambda: read_overview(database))


def read_queue(dashboard: Dashboard, database: Database, most_workers: int = MOST_WORKERS) -> QueueSummary:
    """Look at the queue, and list so many workers."""

    def read() -> QueueSummary:
        return queue_summary(database, dashboard.jobs.total(database), most_workers)

    return dashboard.readings.get(database, ("queue", most_workers), read)


@router.get("/queue")
def queue(dashboard: Running, database: Db) -> QueueSummary:
    """Say what waits, what runs, and which workers and SLURM jobs there are."""
    return read_queue(dashboard, database)


@router.get("/campaigns/{campaign}", responses=NAMED)
def campaign(campaign: str, dashboard: Running, database: Db) -> CampaignCard:
    """Say where one campaign stands."""
    campaign_named(database, campaign)
    return dashboard.readings.get(database, ("campaign", campaign), lambda: campaign_card(database, campaign))
