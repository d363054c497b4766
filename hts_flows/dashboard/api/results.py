"""Results of a campaign's rows: filtered, sorted, paged, and to download."""

from __future__ import annotations

import io
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.naming import campaign_named
from hts_flows.dashboard.problems import NAMED, NotFoundError
from hts_flows.errors import InputError, nearest
from hts_flows.ladder import Level
from hts_flows.stores.campaigns import stored_content
from hts_flows.stores.database import Database
from hts_flows.stores.result_columns import ColumnInfo
from hts_flows.stores.result_pages import PAGE, ResultPage, ResultQuery

if TYPE_CHECKING:
    import pandas as pd

router = APIRouter(tags=["results"])

MEDIA = {"csv": "text/csv", "json": "application/json", "parquet": "application/vnd.apache.parquet"}
#: Longest names, texts and conditions in an address, and most of them.
LONGEST, MOST = 300, 50
_DIGITS = 15
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows as a file; `format` says which",
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in MEDIA.values()},
    }
}

CampaignName = Annotated[str, Path(max_length=LONGEST, description="Name of the campaign")]
_Text = Annotated[str, Field(max_length=LONGEST)]


class Filters(BaseModel):
    """Which results of a campaign: all of those for which everything that is given holds."""

    row: str | None = Field(
        default=None, max_length=LONGEST, description="Name of the row of the ladder; the first when left out"
    )
    where: list[_Text] = Field(
        default=[], max_length=MOST, description="Conditions NAME OPERATOR VALUE, e.g. intercalation_energy < 0"
    )
    choice: list[_Text] = Field(
        default=[],
        max_length=MOST,
        description="NAME:VALUE of a facet, of state or of cause, e.g. state:failed; of several values of one name one",
    )
    text: str = Field(default="", max_length=200, description="Part of the label or formula")
    references: bool = Field(default=False, description="The references (hosts, elements) instead of the candidates")

    def query(self, **more: Any) -> ResultQuery:
        """Give what :class:`hts_flows.stores.result_tables.ResultTables` is asked.

        Parameters
        ----------
        more
            Its other fields: order and paging.

        Raises
        ------
        InputError
            A choice without a colon.
        """
        choices: dict[str, list[str | float | bool]] = {}
        for one in filter(None, self.choice):
            name, colon, value = one.partition(":")
            if not colon:
                raise InputError(f"choice {one!r}: no value", "write NAME:VALUE, e.g. state:failed")
            choices.setdefault(name, []).append(value)
        where = [one for one in self.where if one.strip()]
        return ResultQuery(where=where, choices=choices, text=self.text.strip(), references=self.references, **more)


class TableQuery(Filters):
    """Which results, in which order, and which of them."""

    sort: str = Field(
        default="label", max_length=LONGEST, description="Column to sort by, with a leading - from high to low"
    )
    offset: int = Field(default=0, ge=0, le=10_000_000, description="Rows to leave out at the beginning")
    limit: int = Field(default=PAGE, ge=1, le=5000, description="Most rows to give")


class DownloadQuery(Filters):
    """Which results, in which order, as which file."""

    sort: str = Field(
        default="label", max_length=LONGEST, description="Column to sort by, with a leading - from high to low"
    )
    columns: list[_Text] = Field(default=[], max_length=500, description="Columns of the file; all when left out")
    format: Literal["csv", "json", "parquet"] = Field(default="csv", description="Kind of file")


def read_levels(database: Database, campaign: str) -> tuple[Level, ...]:
    """Read the rows of a campaign's ladder, in one call of the database.

    Raises
    ------
    NotFoundError
        There is no such campaign; the message names the nearest.
    InputError
        This version cannot read the stored campaign.
    """
    document = database.campaigns.find_one({"_id": campaign}, {"content": 1})
    if document is None:
        campaign_named(database, campaign)
        raise NotFoundError(f"no campaign named {campaign!r} in the database", "the overview lists the campaigns")
    return _levels(json.dumps(stored_content(document), sort_keys=True))


@lru_cache(maxsize=256)
def _levels(content: str) -> tuple[Level, ...]:
    from hts_flows.campaign import Campaign

    return tuple(Campaign.from_dict(json.loads(content), "stored campaign").ladder())


def level_named(levels: tuple[Level, ...], row: str | None) -> Level:
    """Find a row of a ladder by its name; the first when left out.

    Raises
    ------
    NotFoundError
        There is no such row; the message names the nearest.
    """
    if row is None:
        return levels[0]
    for level in levels:
        if level.name == row:
            return level
    raise no_row(row, [level.name for level in levels])


def no_row(row: str, names: list[str]) -> NotFoundError:
    """Say that a ladder has no row of a name."""
    return NotFoundError(f"the campaign has no row {row!r}; {nearest(row, names)}", "rows are named as in its file")


def file_of(frame: pd.DataFrame, columns: tuple[ColumnInfo, ...], kind: str) -> bytes:
    """Write a table as a file.

    Parameters
    ----------
    frame
        Rows.
    columns
        What its columns are; a parquet file says their units.
    kind
        csv, json (a list of rows) or parquet.
    """
    if kind == "csv":
        return frame.to_csv(index=False).encode()
    if kind == "json":
        return str(frame.to_json(orient="records", double_precision=_DIGITS, force_ascii=False)).encode()
    frame.attrs = {"units": {column.name: column.unit for column in columns if column.unit and column.name in frame}}
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


@router.get("/campaigns/{campaign}/results", responses=NAMED)
def results(
    campaign: CampaignName, query: Annotated[TableQuery, Query()], dashboard: Running, database: Db
) -> ResultPage:
    """List results of one row of a campaign's ladder, with counts of what can be chosen."""
    level = level_named(read_levels(database, campaign), query.row)
    wanted = query.query(sort=query.sort, offset=query.offset, limit=query.limit)
    return dashboard.tables.page(database, campaign, level.settings_hash, wanted)


@router.get("/campaigns/{campaign}/results/download", response_class=Response, responses={**NAMED, **_FILES})
def download(
    campaign: CampaignName, query: Annotated[DownloadQuery, Query()], dashboard: Running, database: Db
) -> Response:
    """Give all results that are chosen as a file: columns by their names, units as the table of results lists them."""
    level = level_named(read_levels(database, campaign), query.row)
    snapshot = dashboard.tables.snapshot(database, campaign, level.settings_hash)
    frame = snapshot.selected(query.query(sort=query.sort))
    wanted = list(dict.fromkeys(filter(None, query.columns)))
    for name in wanted:
        if name not in frame.columns:
            raise InputError(f"columns: unknown column {name!r}; {nearest(name, map(str, frame.columns))}")
    content = file_of(frame[wanted] if wanted else frame, snapshot.columns, query.format)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{campaign}_{level.name}.{query.format}")
    return Response(
        content, media_type=MEDIA[query.format], headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
