"""The workflow around a job as a drawing: jobs in columns from parents to children, and the links between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

#: Jobs of a workflow that are drawn; the others are counted.
MOST_NODES = 60


class GraphNode(BaseModel):
    """One job of the drawing."""

    fw_id: int = Field(description="FireWorks id")
    name: str = Field(description="Name of the job")
    state: str = Field(description="FireWorks' state")
    x: int = Field(description="Column: jobs without parents are in column 0")
    y: int = Field(description="Row in its column, from 0")
    here: bool = Field(default=False, description="Whether it is the job that was asked for")


class GraphLink(BaseModel):
    """One link of the drawing: the child waits for the parent."""

    parent: int = Field(description="FireWorks id")
    child: int = Field(description="FireWorks id")


class JobGraph(BaseModel):
    """A workflow, or the part of it that is nearest to a job."""

    nodes: list[GraphNode] = Field(default=[], description="Jobs, column after column")
    links: list[GraphLink] = Field(default=[], description="Links among these jobs")
    columns: int = Field(default=0, description="How many columns there are")
    rows: int = Field(default=0, description="How many rows the longest column has")
    left_out: int = Field(default=0, description="Jobs of the workflow that are too far away to be drawn")


def read_links(stored: Mapping[str, Any]) -> dict[int, list[int]]:
    """Read the links of a workflow's document: the children of each job."""
    return {int(parent): [int(child) for child in children] for parent, children in stored.items()}


def nearest_nodes(links: Mapping[int, Sequence[int]], fw_id: int, most: int = MOST_NODES) -> list[int]:
    """Choose the jobs with the fewest links between them and one job, whichever way the links go.

    Parameters
    ----------
    links
        Children of each job.
    fw_id
        That job; it is always chosen.
    most
        Most jobs.
    """
    beside: dict[int, set[int]] = {}
    for parent, children in links.items():
        beside.setdefault(parent, set()).update(children)
        for child in children:
            beside.setdefault(child, set()).add(parent)
    found, ring = {fw_id: None}, [fw_id]
    while ring and len(found) < most:
        ring = sorted({other for node in ring for other in beside.get(node, ())} - found.keys())
        found |= dict.fromkeys(ring[: most - len(found)])
    return list(found)


def lay_out(links: Mapping[int, Sequence[int]], jobs: Mapping[int, Mapping[str, Any]], fw_id: int) -> JobGraph:
    """Place jobs so that each is in a column behind all its parents, near them.

    Parameters
    ----------
    links
        Children of each job of the workflow.
    jobs
        Documents of the jobs to draw, by id, with ``name`` and ``state``.
    fw_id
        The job that was asked for.
    """
    children = {node: sorted({child for child in links.get(node, ()) if child in jobs}) for node in sorted(jobs)}
    parents: dict[int, list[int]] = {node: [] for node in children}
    for node, below in children.items():
        for child in below:
            parents[child].append(node)
    columns: list[list[int]] = []
    for node, number in _columns(children, parents).items():
        columns += [[] for _ in range(number + 1 - len(columns))]
        columns[number].append(node)
    rows: dict[int, int] = {}
    for column in columns:
        column.sort(key=lambda node: (_mean([rows[parent] for parent in parents[node] if parent in rows]), node))
        rows |= {node: row for row, node in enumerate(column)}
    return JobGraph(
        nodes=[
            GraphNode(
                fw_id=node, name=jobs[node]["name"], state=jobs[node]["state"], x=x, y=rows[node], here=node == fw_id
            )
            for x, column in enumerate(columns)
            for node in column
        ],
        links=[GraphLink(parent=node, child=child) for node, below in children.items() for child in below],
        columns=len(columns),
        rows=max(map(len, columns), default=0),
        left_out=max(0, len({*links, *(child for below in links.values() for child in below)}) - len(jobs)),
    )


def _columns(children: Mapping[int, Sequence[int]], parents: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Find the column of each job: one behind the last of its parents."""
    columns = dict.fromkeys(children, 0)
    waits_for = {node: len(above) for node, above in parents.items()}
    ready = [node for node, number in waits_for.items() if not number]
    while ready:
        node = ready.pop()
        for child in children[node]:
            columns[child] = max(columns[child], columns[node] + 1)
            waits_for[child] -= 1
            if not waits_for[child]:
                ready.append(child)
    return columns


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values) if values else 0.0
