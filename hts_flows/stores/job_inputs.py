"""What a job is given, in a form for people: functions and settings as they are, structures by their formula."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

#: Longer texts are cut, longer lists and deeper levels are only described.
LONGEST_TEXT, LONGEST_LIST, DEEPEST = 300, 12, 6


class JobInputs(BaseModel):
    """What a jobflow job calls, and with what."""

    function: str | None = Field(default=None, description="Function that it calls; None: it is no job of jobflow")
    maker: str | None = Field(default=None, description="Class of the Maker whose function that is")
    settings: dict[str, Any] = Field(default={}, description="Settings of the Maker")
    arguments: dict[str, Any] = Field(default={}, description="Arguments by name, or by number from 1")
    uuid: str | None = Field(default=None, description="jobflow's id, by which the job's output is found")


def job_inputs(spec: Mapping[str, Any]) -> JobInputs:
    """Read what a job is given.

    Parameters
    ----------
    spec
        Its ``spec`` in FireWorks.
    """
    tasks = spec.get("_tasks")
    task = tasks[0] if isinstance(tasks, list) and tasks and isinstance(tasks[0], dict) else {}
    job = task.get("job")
    if not isinstance(job, dict) or not isinstance(job.get("function"), dict):
        return JobInputs()
    function = job["function"]
    bound = function.get("@bound") if isinstance(function.get("@bound"), dict) else {}
    given = {str(number): value for number, value in enumerate(job.get("function_args") or [], 1)}
    given |= job.get("function_kwargs") or {}
    return JobInputs(
        function=".".join(str(function[part]) for part in ("@module", "@callable") if function.get(part)) or None,
        maker=bound.get("@class"),
        settings={name: plain(value) for name, value in bound.items() if not name.startswith("@")},
        arguments={name: plain(value) for name, value in given.items()},
        uuid=job.get("uuid"),
    )


def plain(value: Any, depth: int = 0) -> Any:
    """Write a value for people.

    Parameters
    ----------
    value
        As MongoDB stores it.
    depth
        How many levels it is inside another one.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Structures and molecules are their formula and number of sites, outputs of other jobs say of which job.
    """
    if isinstance(value, Mapping):
        return _plain_mapping(value, depth)
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]}… ({len(value)} characters)"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        if len(value) > LONGEST_LIST or depth >= DEEPEST:
            return f"list of {len(value)}"
        return [plain(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)[:LONGEST_TEXT]


def formula_of(structure: Mapping[str, Any]) -> str | None:
    """Write the reduced formula of a stored structure or molecule with its number of sites: ``LiC6 (14 sites)``.

    Parameters
    ----------
    structure
        pymatgen's dict.

    Returns
    -------
    str or None
        None where it has no sites.
    """
    from pymatgen.core import Composition

    sites = structure.get("sites")
    if not isinstance(sites, list) or not sites:
        return None
    amounts: Counter[str] = Counter()
    for site in sites:
        for species in site.get("species") or [] if isinstance(site, Mapping) else []:
            amounts[str(species.get("element", "?"))] += species.get("occu", 1)
    try:
        formula = Composition(amounts).reduced_formula
    except ValueError:  # sites of something that is no element
        formula = "-".join(sorted(amounts))
    return f"{formula} ({len(sites)} site{'s' if len(sites) > 1 else ''})"


def _plain_mapping(value: Mapping[str, Any], depth: int) -> Any:
    kind = value.get("@class")
    if "sites" in value and (formula := formula_of(value)):
        return formula
    if kind == "OutputReference":
        path = "".join(f".{part[-1]}" for part in value.get("attributes") or [] if isinstance(part, list) and part)
        return f"output{path} of job {value.get('uuid')}"
    content = {str(name): item for name, item in value.items() if not str(name).startswith("@")}
    if depth >= DEEPEST:
        return f"{kind or 'mapping'} of {len(content)}"
    shown = {name: plain(item, depth + 1) for name, item in content.items()}
    return {"class": kind, **shown} if kind else shown
