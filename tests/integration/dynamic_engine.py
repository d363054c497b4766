"""An engine whose jobs add jobs while they run, in each of jobflow's ways; one step fails or stops unconverged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jobflow import Flow, Job, Maker, Response, job
from pydantic import Field
from pymatgen.core import Structure

from hts_flows.engines.base import Calculation, Engine


@job
def last(structure: Structure, steps: int) -> dict[str, Any]:
    if steps == 1 and "K" in structure.symbol_set:
        raise ValueError("broken on purpose")
    return {"structure": structure, "energy": -float(len(structure)), "converged": True}


@job
def first(structure: Structure, way: str, steps: int) -> Response:
    added = last(structure, steps)
    added.name = f"dynamic added: {structure.formula}"
    converged = steps > 1 or "K" not in structure.symbol_set
    output = {"structure": structure, "energy": -float(len(structure)), "converged": converged}
    if way == "replace":
        return Response(replace=added)
    if way == "detour":
        return Response(output=output, detour=added)
    return Response(output=output, addition=added)


@job
def end(document: dict[str, Any]) -> dict[str, Any]:
    return document


@dataclass
class DynamicMaker(Maker):
    way: str = "replace"
    steps: int = 2
    name: str = "dynamic"

    def make(self, structure: Structure) -> Job | Flow:
        begun = first(structure, self.way, self.steps)
        if self.way != "detour":
            return begun
        # What follows waits for the job that was added, and for nothing of its output.
        ended = end(begun.output)
        return Flow([begun, ended], output=ended.output)


class Dynamic(Engine):
    """Counts atoms, and calls that an energy."""

    adjustable: ClassVar[frozenset[str]] = frozenset({"steps"})

    engine: Literal["dynamic"] = Field(default="dynamic", description="Name of the engine")
    way: Literal["replace", "detour", "addition"] = Field(default="replace", description="How a job is added")
    steps: int = Field(default=1, ge=1, description="With one the candidates that hold potassium fail")

    def check(self) -> None:
        """It is always there."""

    def versions(self) -> dict[str, str]:
        return {}

    def maker(self) -> DynamicMaker:
        return DynamicMaker(way=self.way, steps=self.steps)

    def parse(self, task_doc: Any) -> Calculation:
        return Calculation.model_validate(task_doc)
