"""All campaigns at a glance."""

from __future__ import annotations

from fastapi import APIRouter

from hts_flows.dashboard.dependencies import Db
from hts_flows.dashboard.naming import campaign_named
from hts_flows.dashboard.problems import NAMED
from hts_flows.stores.campaign_cards import CampaignCard
from hts_flows.stores.overview import Overview, campaign_card
from hts_flows.stores.overview import overview as read_overview
from hts_flows.stores.queue_summary import QueueSummary, queue_summary

router = APIRouter(tags=["overview"])


@router.get("/overview")
def overview(database: Db) -> Overview:
    """Say where every campaign stands, what failed and why, and what a person should look at."""
    return read_overview(database)


@router.get("/queue")
def queue(database: Db) -> QueueSummary:
    """Say what waits, what runs, and which workers and SLURM jobs there are."""
    return queue_summary(database)


@router.get("/campaigns/{campaign}", responses=NAMED)
def campaign(campaign: str, database: Db) -> CampaignCard:
    """Say where one campaign stands."""
    campaign_named(database, campaign)
    return campaign_card(database, campaign)
