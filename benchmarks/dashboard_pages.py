"""The pages that are asked for, and how long each takes."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import psutil
from many_campaigns import CAUSES, SEARCH, SHARED, SHARES

from hts_flows.stores import Database

#: Page of the list of jobs that is reached by cursors, and its rows.
FAR_PAGE, ROWS = 500, 100
#: Longest wait for a page, s.
PATIENCE = 300.0
OK, NO_ANSWER = 200, 0


@dataclass
class Row:
    """How long a page takes.

    Attributes
    ----------
    name, path
        What it shows, and its address.
    status
        HTTP status.
    size
        Length of its content, kB.
    first, median, worst
        Time of the first request, and of those after it, ms.
    cpu
        CPU time of the server and of MongoDB for one request, mean of those after the first, ms.
    unchanged
        Median where nothing was written to the database since the request before, ms.
    calls
        Commands that are sent to MongoDB for it, once it was asked for and something was written since.
    indexes, like, ratio, unchanged_ratio, cpu_ratio
        Of FireWorks' pages: the database's indexes, name of the dashboard's page that shows the like, median in units
        of that page's (after something was written, and where nothing was), and CPU time in units of that page's.
    """

    name: str
    path: str
    status: int
    size: float
    first: float
    median: float
    worst: float
    cpu: float
    unchanged: float | None = None
    calls: int | None = None
    indexes: str = ""
    like: str = ""
    ratio: float | None = None
    unchanged_ratio: float | None = None
    cpu_ratio: float | None = None


class Browser:
    """Asks one server for pages, through one connection.

    Parameters
    ----------
    port
        Of the server, on loopback.
    processes
        Those that work for it: the server's, and MongoDB.
    """

    def __init__(self, port: int, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._headers: dict[str, str] = {}

    def get(self, path: str) -> tuple[int, bytes]:
        """Get a page: its status and content."""
        try:
            self._connection.request("GET", path, headers=self._headers)
            answer = self._connection.getresponse()
        except (http.client.HTTPException, ConnectionError):
            # gunicorn ends a worker that needs more than 30 s.
            self._connection.close()
            return NO_ANSWER, b""
        if cookies := answer.headers.get_all("Set-Cookie"):
            self._headers["Cookie"] = "; ".join(cookie.partition(";")[0] for cookie in cookies)
        return answer.status, answer.read()

    def timed(self, path: str) -> tuple[float, int, bytes]:
        """Get a page; gives the time that it took, ms, its status and content."""
        began = time.perf_counter()
        status, content = self.get(path)
        return (time.perf_counter() - began) * 1000, status, content

    def row(self, name: str, path: str, requests: int, write: Callable[[], object] | None = None) -> Row:
        """Get a page once to warm it, then so many times; where ``write`` is given, after a call of it, and without."""
        first, status, content = self.timed(path)
        if status != OK:
            return Row(name, path, status, len(content) / 1000, first, first, first, 0)
        before = self._cpu()
        times = []
        for _ in range(requests):
            if write:
                write()
            times.append(self.timed(path)[0])
        cpu = (self._cpu() - before) / requests
        row = Row(name, path, status, len(content) / 1000, first, statistics.median(times), max(times), cpu)
        if write:
            row.unchanged = statistics.median(self.timed(path)[0] for _ in range(requests))
        return row

    def _cpu(self) -> float:
        """CPU time of all processes so far, ms."""
        spent = [process.cpu_times() for process in self._processes]
        return sum(one.user + one.system for one in spent) * 1000


def far_cursor(browser: Browser) -> tuple[str, int]:
    """Go from page to page of the list of jobs; gives the cursor of the last, and its number."""
    cursor, number = "", 1
    while number < FAR_PAGE:
        status, content = browser.get("/api/jobs?" + urlencode({"limit": ROWS, "cursor": cursor}))
        following = json.loads(content).get("next") if status == OK else None
        if following is None:
            break
        cursor, number = following, number + 1
    return cursor, number


def pages(database: Database, far: tuple[str, int]) -> dict[str, str]:
    """Name every page, with an address that shows much."""
    large, two, cause = SHARES[0].name, SHARES[1].name, CAUSES[0].value
    fireworks, results = database.mongo["fireworks"], database.results
    tried = results.find_one({"campaigns": large, "attempts.0": {"$exists": True}, "state": "done"}) or {}
    steps = results.find_one({"campaigns": two, "engine": "sevennet", "previous_hash": {"$ne": None}}) or tried
    runs = fireworks.find_one({"state": "RUNNING"}) or {}
    failed = fireworks.find_one({"state": "FIZZLED", "spec.hts.campaigns": large}, sort=[("fw_id", -1)]) or {}
    longest = next(database.audit.aggregate([{"$set": {"n": {"$size": "$results"}}}, {"$sort": {"n": -1}}]))
    some = database.audit.find_one({}, sort=[("at", -1)]) or longest
    cursor, _ = far
    one, row = f"/campaigns/{large}", {"row": "sevennet"}
    search, results_of = f"/campaigns/{SEARCH.name}", f"/api/campaigns/{large}/results"
    figures = f"/api/campaigns/{large}/figures/"

    def at(path: str, **query: Any) -> str:
        return f"{path}?{urlencode(query, doseq=True)}"

    return {
        "overview": "/",
        f"campaign of {results.count_documents({'campaigns': large})} results": one,
        "campaign, sorted": at(one, sort="-volume_change"),
        "campaign, filtered": at(one, where=["intercalation_energy < -0.02", "stage == 1"], choice="state:done"),
        "campaign, text": at(one, text="LiC"),
        "campaign, page 400": at(one, offset=20_000),
        "campaign, 500 rows": at(one, limit=500),
        "campaign, figures": at(one, tab="figures"),
        "campaign, file": at(one, tab="file"),
        "campaign, two rows": f"/campaigns/{two}",
        "campaign, shared results": f"/campaigns/{SHARED.name}",
        "search": search,
        "search, ranking": at(search, tab="ranking"),
        "search, ranking of a trial": at(search, tab="ranking", number=3),
        "candidate with attempts": f"/candidates/{tried['candidate_id']}",
        "candidate on two rows": f"/candidates/{steps['candidate_id']}",
        "jobs": "/jobs",
        "jobs, failed": at("/jobs", state="FIZZLED"),
        "jobs of a campaign": at("/jobs", campaign=large),
        "jobs of a campaign, waiting": at("/jobs", campaign=large, state="READY", job="calculate"),
        "jobs, latest change first": at("/jobs", sort="-updated"),
        "jobs, most urgent first": at("/jobs", sort="-priority"),
        "jobs, part of a name": at("/jobs", text="graphite KC"),
        "jobs, name that none has": at("/jobs", text="no such name"),
        "jobs of a campaign, part of a name": at("/jobs", campaign=large, text="graphite"),
        "jobs, far page": at("/jobs", limit=ROWS, cursor=cursor) if cursor else "/jobs",
        "job that runs": f"/jobs/{runs['fw_id']}",
        "job that failed": f"/jobs/{failed['fw_id']}",
        "job, output": f"/jobs/{failed['fw_id']}/output",
        "failures": "/failures",
        "failures of a campaign": at("/failures", campaign=large),
        "failures of a cause": at("/failures", cause=cause),
        "failures, text": at("/failures", text="KC8"),
        "audit": "/audit",
        "audit of a campaign": at("/audit", campaign=large),
        "audit, one change": f"/audit/{some['_id']}",
        f"audit, change of {longest['n']} results": f"/audit/{longest['_id']}",
        "resubmit a cause": at("/resubmit", cause=cause),
        "resubmit a cause of a campaign": at("/resubmit", cause=cause, campaign=two),
        "API overview": "/api/overview",
        "API queue": "/api/queue",
        "API campaign": f"/api/campaigns/{large}",
        "API results": at(results_of, sort="intercalation_energy"),
        "API results, 5,000 rows": at(results_of, limit=5000),
        "API rankings": f"/api/campaigns/{SEARCH.name}/rankings",
        "API ranking": f"/api/campaigns/{SEARCH.name}/rankings/5",
        "API periodic table": at(figures + "periodic-table", **row),
        "API scatter": at(figures + "scatter", **row),
        "API histogram": at(figures + "histogram", **row),
        "API progress": f"/api/campaigns/{SEARCH.name}/figures/progress",
        "API candidate": f"/api/candidates/{tried['candidate_id']}",
        "API structure": f"/api/candidates/{tried['candidate_id']}/structure",
        "API structure drawn": f"/api/candidates/{tried['candidate_id']}/figure",
        "API jobs": "/api/jobs",
        "API jobs, far page": at("/api/jobs", limit=ROWS, cursor=cursor) if cursor else "/api/jobs",
        "API job": f"/api/jobs/{failed['fw_id']}",
        "API failures": "/api/failures",
        "API failures of a cause": f"/api/failures/{cause}",
        "API audit": "/api/audit",
        "API audit, one change": f"/api/audit/{longest['_id']}",
    }


def peer_pages(database: Database) -> dict[str, tuple[str, str]]:
    """Name FireWorks' pages, each with its address and the name of our page that shows the like.

    Filters hold for all pages that are asked for after the first page with a filter, so that comes last.
    """
    fw_id = (database.mongo["fireworks"].find_one({"state": "FIZZLED"}, sort=[("fw_id", -1)]) or {})["fw_id"]
    far = database.mongo["fireworks"].estimated_document_count() // 2 // 20
    mine = json.dumps({"metadata.campaigns": SHARES[0].name})
    return {
        "home": ("/", "overview"),
        "workflows": ("/wf/", "jobs"),
        "fireworks": ("/fw/", "jobs"),
        "fireworks, fizzled": ("/fw/FIZZLED/", "jobs, failed"),
        "fireworks, latest change first": ("/fw/total/updated_on/DESCENDING/", "jobs, latest change first"),
        f"fireworks, page {far}": (f"/fw/?page={far}", "jobs, far page"),
        "firework": (f"/fw/{fw_id}", "job that failed"),
        "workflow": (f"/wf/{fw_id}", "job that failed"),
        "home of a campaign": ("/?" + urlencode({"wf_query": mine}), "overview"),
        "fireworks of a campaign": ("/fw/", "jobs of a campaign"),
    }
