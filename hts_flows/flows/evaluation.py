"""One evaluation: a structure through one engine, then recorded. A small workflow of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, Maker, OnMissing, job

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from hts_flows.engines import Engine


@job
def record(result: str, task_doc: Any) -> dict[str, Any]:
    """Parse what the engine gave, store the result, and let its campaigns go on.

    Parameters
    ----------
    result
        Key of the result.
    task_doc
        Output of the engine's Maker; None when that failed.

    Returns
    -------
    dict
        The result's key and the state it was stored with.
    """
    from hts_flows.launch.advance import advance
    from hts_flows.launch.recording import record_result
    from hts_flows.stores import connect

    database = connect()
    stored = record_result(database, result, task_doc)
    for campaign in stored.campaigns:
        advance(database, campaign)
    return {"result": result, "state": stored.state}


@dataclass
class EvaluationMaker(Maker):
    """Run one structure through one engine and record what comes out.

    Parameters
    ----------
    engine
        The engine with its settings.
    name
        Name of the flow.
    """

    engine: Engine
    name: str = "evaluate"

    def make(self, structure: Structure, result: str, label: str) -> Flow:
        """Chain the engine's job or flow and the recording.

        Parameters
        ----------
        structure
            Starting structure.
        result
            Key under which the result is stored.
        label
            Name of the candidate, for people.

        Returns
        -------
        Flow
            Its last job records, also when the engine failed.
        """
        calculation: Job | Flow = self.engine.maker().make(structure)
        calculation.name = f"{self.engine.engine} {self.engine.task}: {label}"
        recording = record(result, calculation.output)
        recording.name = f"record: {label}"
        recording.config.on_missing_references = OnMissing.NONE
        return Flow([calculation, recording], name=f"{self.engine.engine}: {label}")
