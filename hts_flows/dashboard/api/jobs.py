"""Jobs: lists of them, and everything about one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field, field_validator

from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.problems import NAMED, NotFoundError
from hts_flows.dashboard.state import Dashboard
from hts_flows.errors import InputError
from hts_flows.launch.evidence import OutputEnd, read_evidence
from hts_flows.stores.database import Database
from hts_flows.stores.job_detail import JobDetail, job_detail
from hts_flows.stores.job_rows import JobRow
from hts_flows.stores.jobs import JobFilter, JobSort, JobState, count_jobs, list_jobs
from hts_flows.stores.known_jobs import KnownJobs
from hts_flows.stores.paging import MOST_ROWS, Page

router = APIRouter(tags=["jobs"])

#: FireWorks id in an address; MongoDB's integers have 64 bits.
JobId = Annotated[int, Path(ge=-(2**63), lt=2**63, description="FireWorks id of the job")]
_LONGEST_CURSOR = 4000


class JobQuery(JobFilter):
    """Which jobs, in which order, and which page of them."""

    sort: str | None = Field(
        default=None,
        max_length=50,
        description="fw_id, updated or priority; from high to low with a leading '-'. Left out: the newest first",
    )
    cursor: str | None = Field(
        default=None, max_length=_LONGEST_CURSOR, description="'next' or 'previous' of another page; none: the first"
    )
    limit: int = Field(default=100, ge=1, le=MOST_ROWS, description="Most rows of a page")

    @field_validator("*")
    @classmethod
    def _printable(cls, value: Any) -> Any:
        """Take the place of the filter's, for which every field is a text."""
        if isinstance(value, str) and not value.isprintable():
            raise ValueError("must not hold control characters")
        return value

    @property
    def order(self) -> JobSort:
        """The order asked for.

        Raises
        ------
        InputError
            Jobs cannot be sorted by it.
        """
        return JobSort.read(self.sort) if self.sort else JobSort()

    @property
    def filter(self) -> JobFilter:
        """Which jobs, whatever page of them."""
        return JobFilter(**{name: getattr(self, name) for name in JobFilter.model_fields})


Jobs = Annotated[JobQuery, Query()]


class JobPage(Page[JobRow]):
    """One page of jobs, and how many there are."""

    counts: dict[JobState, int] = Field(
        description="How many jobs there are in each state, of all that the other filters leave"
    )


def read_jobs(dashboard: Dashboard, database: Database, wanted: JobQuery) -> JobPage:
    """Read a page of jobs; the number of calls depends on the filters and the order alone.

    Raises
    ------
    InputError
        The sorting or the cursor cannot be used.
    """
    key = ("jobs", wanted.model_dump_json())
    return dashboard.readings.get(database, key, lambda: _read_jobs(dashboard.jobs, database, wanted))


def _read_jobs(known: KnownJobs, database: Database, wanted: JobQuery) -> JobPage:
    in_all_states = wanted.filter.model_copy(update={"state": None})
    among = known.among(database, in_all_states)
    # MongoDB looks for a name twice, and can do both at once.
    with ThreadPoolExecutor(1) as pool:
        counting = pool.submit(count_jobs, database, in_all_states, among)
        page = list_jobs(database, wanted.filter, wanted.order, wanted.cursor, wanted.limit, among=among)
        counts = counting.result()
    return JobPage(rows=page.rows, next=page.next, previous=page.previous, limit=page.limit, counts=counts)


def job_named(database: Database, fw_id: int) -> JobDetail:
    """Read everything about a job.

    Raises
    ------
    NotFoundError
        There is none with this id.
    """
    try:
        return job_detail(database, fw_id)
    except InputError as error:
        raise NotFoundError(error.message, error.hint) from error


@router.get("/jobs")
def jobs(dashboard: Running, database: Db, wanted: Jobs) -> JobPage:
    """List jobs, one page of them."""
    return read_jobs(dashboard, database, wanted)


@router.get("/jobs/{fw_id}", responses=NAMED)
def job(fw_id: JobId, database: Db) -> JobDetail:
    """Say everything that is known of one job."""
    return job_named(database, fw_id)


@router.get("/jobs/{fw_id}/output", responses=NAMED)
def output(fw_id: JobId, dashboard: Running, database: Db) -> list[OutputEnd]:
    """Read the last lines of what a job wrote, and of what SLURM kept of it; a cluster may take some seconds."""
    job_named(database, fw_id)
    return read_evidence(dashboard.settings, database, fw_id)
