"""Jobs: the list, one job with its workflow, and the ends of its output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from hts_flows.dashboard.api.jobs import JobId, Jobs, job_named, read_jobs
from hts_flows.dashboard.dependencies import Db, Running
from hts_flows.dashboard.templating import WORDS, duration, megabytes, page
from hts_flows.engines import engine_names
from hts_flows.launch.evidence import LINES, read_evidence
from hts_flows.stores.campaigns import campaign_names
from hts_flows.stores.job_detail import RESOURCES, AttemptColumn, JobDetail
from hts_flows.stores.job_graph import GraphNode, JobGraph
from hts_flows.stores.job_rows import JobRow
from hts_flows.stores.jobs import STATES, JobFilter

router = APIRouter()

#: States of jobs that have not ended, whose results can be paused, resumed, cancelled and put first.
LIVE = frozenset({"PAUSED", "WAITING", "READY", "RESERVED", "RUNNING"})
#: Sizes of the drawing of a workflow, in its own units: a box, and from the corner of one to that of the next.
BOX = (264, 40)
PITCH = (330, 52)
_MARGIN = 6
_LONGEST_NAME, _BEGINNING = 35, 13
_WORKER_PARTS = 3


class DrawnNode(NamedTuple):
    """A job of the drawing, and where its box is."""

    node: GraphNode
    x: float
    y: float
    name: str
    parents: list[int]


class Drawing(NamedTuple):
    """A workflow as boxes and arrows."""

    width: float
    height: float
    nodes: list[DrawnNode]
    arrows: list[tuple[int, int, str]]


class Used(NamedTuple):
    """How much of what was asked for was used."""

    name: str
    asked: str
    used: str
    share: float | None


class Compared(NamedTuple):
    """A row of the table of runs: what it is, and each run's value with whether it is another one than before."""

    name: str
    differs: bool
    cells: list[tuple[Any, bool]]


@router.get("/jobs")
def jobs(request: Request, dashboard: Running, database: Db, wanted: Jobs) -> Response:
    """List jobs."""
    found = read_jobs(dashboard, database, wanted)
    context = {
        "found": found,
        "wanted": wanted,
        "sort": wanted.sort or "-fw_id",
        "states": [state for state in reversed(STATES) if state in found.counts or state == wanted.state],
        "every_state": list(reversed(STATES)),
        "words": WORDS,
        "filtered": wanted.filter != JobFilter(),
        "campaigns": campaign_names(database),
        "engines": engine_names(),
        "worker_of": worker_of,
    }
    return page(request, "jobs.html", context)


@router.get("/jobs/{fw_id}")
def job(request: Request, fw_id: JobId, database: Db) -> Response:
    """Show one job."""
    detail = job_named(database, fw_id)
    settings = dict(flat(detail.settings))
    context = {
        "job": detail,
        "drawing": draw(detail.graph),
        "box": BOX,
        "used": used_of(detail),
        "asked": dict(flat(detail.asked or detail.resources)),
        "settings": settings,
        "inputs": dict(flat(detail.inputs.settings)),
        "arguments": dict(flat(detail.inputs.arguments)),
        "compared": compare(detail.attempts),
        "latest": next((run.fw_ids for run in detail.attempts if run.current), []),
        "live": detail.result_state == "queued" and detail.state in LIVE and not detail.earlier,
        "paused": any(node.state == "PAUSED" for node in detail.graph.nodes),
    }
    return page(request, "job.html", context)


@router.get("/jobs/{fw_id}/output")
def output(
    request: Request,
    fw_id: JobId,
    dashboard: Running,
    database: Db,
    alone: Annotated[bool, Query(description="Only the ends, for the page of the job")] = False,  # noqa: FBT002
) -> Response:
    """Show the last lines of what a job wrote.

    A page that is open asks for itself again whenever something changes; then no file is read, since that may mean to
    reach a cluster.
    """
    detail = job_named(database, fw_id)
    again = request.headers.get("x-live") is not None and not alone
    ends = [] if again else read_evidence(dashboard.settings, database, fw_id)
    template = "job_output_ends.html" if alone else "job_output.html"
    return page(request, template, {"job": detail, "ends": ends, "lines": LINES, "level": 3 if alone else 2})


def worker_of(row: JobRow) -> str:
    """Write where a job is or was in a few words; FireWorks' name of the worker holds the host and the process id."""
    parts = (row.worker or "").split(":")
    process = parts[-2] if len(parts) >= _WORKER_PARTS else ""
    return " ".join(text for text in (row.host or (parts[-3] if process else row.worker or ""), process) if text)


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Give the values of nested settings, each with the names that lead to it, as in ``relax_kwargs.fmax``."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", None if value in ({}, []) else value


def used_of(detail: JobDetail) -> list[Used]:
    """Say how much of the time and the memory that its SLURM job asked for was used."""
    usage = detail.used
    if usage is None:
        return []
    pairs = [
        ("Time", usage.walltime_asked, usage.time_used, duration),
        ("Memory", usage.memory_asked, usage.memory_used, megabytes),
    ]
    return [
        Used(name, write(asked), write(used), used / asked if asked and used is not None else None)
        for name, asked, used, write in pairs
        if asked is not None or used is not None
    ]


def compare(attempts: list[AttemptColumn]) -> list[Compared]:
    """Put the runs of a result beside each other, row by row, and mark what each has otherwise than the one before."""
    values: dict[str, list[Any]] = {}
    for name in sorted({name for run in attempts for name in run.resources}):
        values[RESOURCES + name] = [run.resources.get(name) for run in attempts]
    for name in sorted({name for run in attempts for name in run.settings if not name.startswith(RESOURCES)}):
        values[name] = [run.settings.get(name) for run in attempts]
    # A run that has not failed has no cause, which is no difference of the kind that is looked for.
    causes = [Compared("Cause", *_marked([run.cause for run in attempts], none=False))]
    return causes + [Compared(name, *_marked(row)) for name, row in values.items()]


def _marked(row: list[Any], *, none: bool = True) -> tuple[bool, list[tuple[Any, bool]]]:
    """Mark what is another value than the one before; ``none`` says whether None is a value."""
    changed = [now != before and (none or None not in (now, before)) for before, now in pairwise(row)]
    # A job that is none of ours has no runs at all.
    return any(changed), list(zip(row, [False, *changed][: len(row)], strict=True))


def draw(graph: JobGraph) -> Drawing:
    """Place the boxes and arrows of a workflow; short columns are beside the middle of long ones."""
    sizes = [sum(node.x == column for node in graph.nodes) for column in range(graph.columns)]
    parents: dict[int, list[int]] = {node.fw_id: [] for node in graph.nodes}
    for link in graph.links:
        parents[link.child].append(link.parent)
    nodes = {
        node.fw_id: DrawnNode(
            node=node,
            x=_MARGIN + node.x * PITCH[0],
            y=_MARGIN + (node.y + (graph.rows - sizes[node.x]) / 2) * PITCH[1],
            name=_short(node.name),
            parents=parents[node.fw_id],
        )
        for node in graph.nodes
    }
    return Drawing(
        width=2 * _MARGIN + max(0, graph.columns - 1) * PITCH[0] + BOX[0],
        height=2 * _MARGIN + max(0, graph.rows - 1) * PITCH[1] + BOX[1],
        nodes=list(nodes.values()),
        arrows=[(link.parent, link.child, _curve(nodes[link.parent], nodes[link.child])) for link in graph.links],
    )


def _short(name: str) -> str:
    """Cut a long name in the middle: jobs of a workflow often differ at its end."""
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_BEGINNING].rstrip()}…{name[-(_LONGEST_NAME - _BEGINNING - 1) :].lstrip()}"


def _curve(parent: DrawnNode, child: DrawnNode) -> str:
    """Give the path of an arrow from the right of one box to the left of another."""
    begin, end, middle = parent.x + BOX[0], child.x - 2, BOX[1] / 2
    bend = (PITCH[0] - BOX[0]) / 2
    above, below = parent.y + middle, child.y + middle
    return f"M{begin:g} {above:g}C{begin + bend:g} {above:g} {end - bend:g} {below:g} {end:g} {below:g}"
