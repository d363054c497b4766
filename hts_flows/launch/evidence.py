"""The ends of what a job wrote: its engine's output, and what SLURM kept of it.

Only files in folders that the database names for the job are read, only those whose names are names of output, never
through links, and never more than their ends.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from pymongo import DESCENDING

from hts_flows.slurm.connection import LONGEST_LINE, LONGEST_TAIL, ClusterUnreachableError, Connection, quote
from hts_flows.stores.allocations import Allocation, token_of
from hts_flows.stores.results import Result

if TYPE_CHECKING:
    from hts_flows.settings import Settings
    from hts_flows.stores.database import Database

#: What SLURM writes of the batch script, in the folder of the allocation.
SLURM_FILES = ("queue.err", "queue.out")
#: Endings and names of engines' outputs. Inputs are left out: potentials may not be shown, and settings are known.
OUTPUT_ENDINGS = (".out", ".err", ".log", ".txt", ".stdout", ".stderr")
OUTPUT_NAMES = ("OUTCAR", "OSZICAR")
#: Files of one folder that are read, the last to change first; and folders, the latest launch first.
MOST_FILES, MOST_FOLDERS = 8, 4
_SPACES = "\t\n\r\f\v\x1b"
#: Lines of each file.
LINES = 40


class OutputEnd(BaseModel):
    """The end of one file, or why it could not be read."""

    name: str = Field(description="Name of the file; empty where the whole folder could not be read")
    folder: str = Field(description="Folder it is in")
    host: str | None = Field(default=None, description="Machine or cluster it is on")
    text: str = Field(default="", description="Its last lines")
    problem: str | None = Field(default=None, description="Why it could not be read; None where it was")


@dataclass(frozen=True)
class _Place:
    """A folder, where it is, and which of its files may be read (None: those that look like output)."""

    folder: str
    host: str | None
    cluster: str | None = None
    names: tuple[str, ...] | None = None


def read_evidence(settings: Settings, database: Database, job: int | Result, lines: int = LINES) -> list[OutputEnd]:
    """Read the last lines of what a job or the jobs of a result wrote.

    Parameters
    ----------
    settings
        In force here: they say how clusters are reached.
    database
        Where the job is.
    job
        FireWorks id of the job, or a result: then the launches of its current run.
    lines
        Most lines of each file; at most 64 kB are read.

    Returns
    -------
    list of OutputEnd
        SLURM's files first. What cannot be read says why; that a cluster is not reached raises nothing.
    """
    lines = max(1, min(lines, LONGEST_TAIL))
    places = list(dict.fromkeys(_places(database, job)))
    ends: list[OutputEnd] = []
    remote: dict[str, list[_Place]] = {}
    for place in places:
        cluster = settings.clusters.get(place.cluster or "")
        if not _is_absolute(place.folder):
            ends.append(_problem(place, "the database names no absolute path"))
        elif place.cluster and cluster is None:
            ends.append(_problem(place, f"cluster {place.cluster!r} is not in the settings of this machine"))
        elif cluster is not None and cluster.host is not None:
            remote.setdefault(cluster.name, []).append(place)
        elif cluster is None and place.host not in (None, socket.gethostname()):
            ends.append(_problem(place, f"it is on {place.host}, and this machine is {socket.gethostname()}"))
        else:
            ends += _read_here(place, lines)
    for name, there in remote.items():
        ends += _read_there(Connection(settings.clusters[name]), there, lines)
    return sorted(ends, key=lambda end: end.name not in SLURM_FILES)


def _places(database: Database, job: int | Result) -> Iterator[_Place]:
    """Name the folders that the database knows for a job, latest first."""
    fw_ids = job.provenance.fw_ids if isinstance(job, Result) else [job]
    launches = list(
        database.mongo["launches"]
        .find({"fw_id": {"$in": fw_ids}}, {"launch_dir": 1, "host": 1, "fworker.name": 1})
        .sort("launch_id", DESCENDING)
        .limit(MOST_FOLDERS)
    )
    tokens = {token for launch in launches if (token := token_of(launch["fworker"]["name"]))}
    allocations = {
        document["_id"]: Allocation.from_document(document)
        for document in database.allocations.find({"_id": {"$in": sorted(tokens)}})
    }
    for launch in launches:
        allocation = allocations.get(token_of(launch["fworker"]["name"]) or "")
        cluster = allocation.cluster if allocation else None
        if allocation:
            # The other files there are of other jobs, or say how the job reaches the database.
            yield _Place(allocation.folder, None, cluster, SLURM_FILES)
        if launch.get("launch_dir") and not (allocation and allocation.folder == launch["launch_dir"]):
            yield _Place(launch["launch_dir"], None if cluster else launch.get("host"), cluster)


def _is_absolute(folder: str) -> bool:
    path = PurePosixPath(folder)
    return path.is_absolute() and ".." not in path.parts and folder.isprintable()


def _is_output(name: str, names: tuple[str, ...] | None) -> bool:
    """Tell whether a file of a folder may be read."""
    if names is not None:
        return name in names
    return name.isprintable() and (name in OUTPUT_NAMES or name.lower().endswith(OUTPUT_ENDINGS))


def _problem(place: _Place, why: str, name: str = "") -> OutputEnd:
    return OutputEnd(name=name, folder=place.folder, host=place.cluster or place.host, problem=why)


def _read_here(place: _Place, lines: int) -> list[OutputEnd]:
    """Read files of a folder of this machine."""
    try:
        folder = os.open(place.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return [_problem(place, "the folder is not there: it was empty when the job ended, or was deleted")]
    except (OSError, ValueError) as error:
        return [_problem(place, f"the folder cannot be read: {_reason(error)}")]
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if _is_output(entry.name, place.names)]
        plain = [entry for entry in found if entry.is_file(follow_symlinks=False)]
        plain.sort(key=lambda entry: -entry.stat(follow_symlinks=False).st_mtime)
        ends = (_end_of(place, folder, entry.name, lines) for entry in plain[:MOST_FILES])
        return [end for end in ends if end is not None]
    except OSError as error:
        return [_problem(place, f"the folder cannot be read: {_reason(error)}")]
    finally:
        os.close(folder)


def _end_of(place: _Place, folder: int, name: str, lines: int) -> OutputEnd | None:
    """Read the end of a file in an open folder; None where it is no text."""
    try:
        # Opened in that very folder and not through a link, whatever has taken its name meanwhile; a pipe is not
        # waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                return None
            cut = about.st_size > LONGEST_TAIL
            file.seek(-LONGEST_TAIL if cut else 0, os.SEEK_END if cut else os.SEEK_SET)
            content = file.read(LONGEST_TAIL)
    except OSError as error:
        return _problem(place, f"it cannot be read: {_reason(error)}", name)
    text = content.decode(errors="replace")
    if not _is_text(text):
        return None
    if cut:
        text = text.partition("\n")[2] or text
    return OutputEnd(name=name, folder=place.folder, host=place.host or place.cluster, text=_last(text, lines))


def _read_there(connection: Connection, places: Sequence[_Place], lines: int) -> list[OutputEnd]:
    """Read files of a cluster with two commands: which there are, and their ends."""
    cluster = connection.cluster.name
    try:
        found, missing = _listed(connection, places)
        texts = connection.read_tails([str(PurePosixPath(place.folder) / name) for place, name in found], lines)
    except ClusterUnreachableError as error:
        return [_problem(place, f"{error.message}; {error.hint}" if error.hint else error.message) for place in places]
    ends = [_problem(place, "the folder is not there, or cannot be read") for place in missing]
    for place, name in found:
        text = texts.get(str(PurePosixPath(place.folder) / name))
        if text is None:
            ends.append(_problem(place, "it cannot be read", name))
        elif _is_text(text):
            ends.append(OutputEnd(name=name, folder=place.folder, host=cluster, text=_last(text, lines)))
    return ends


def _listed(connection: Connection, places: Sequence[_Place]) -> tuple[list[tuple[_Place, str]], list[_Place]]:
    """List the files of folders on a cluster that may be read, and the folders that are not there."""
    parts = []
    for number, place in enumerate(places):
        folder = quote(place.folder)
        # find passes over links to files; the folder itself may be one, as scratch often is.
        look = f"find -H {folder} -maxdepth 1 -type f -printf '{number} %T@ %f\\n'"
        parts.append(f"if [ -d {folder} ] && [ -r {folder} ]; then {look}; else echo {number}; fi")
    answer = connection.run("; ".join(parts))
    files: dict[int, list[tuple[float, str]]] = {}
    missing = []
    for line in answer.stdout.splitlines():
        which, _, rest = line.partition(" ")
        time, _, name = rest.partition(" ")
        if not which.isdecimal() or int(which) >= len(places):
            continue
        if not rest:
            missing.append(places[int(which)])
        elif "/" not in name and _is_output(name, places[int(which)].names):
            files.setdefault(int(which), []).append((_seconds(time), name))
    latest = ((place, sorted(names, reverse=True)[:MOST_FILES]) for place, names in files.items())
    return [(places[place], name) for place, names in latest for _, name in names], missing


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _is_text(content: str) -> bool:
    """Tell whether something that was read is text: no zero bytes, and hardly any that are no characters."""
    # Colours of terminals begin with an escape.
    strange = sum(1 for character in content if character == "\ufffd" or (character < " " and character not in _SPACES))
    return "\0" not in content and strange * 20 <= len(content)


def _last(text: str, lines: int) -> str:
    return "\n".join(line[:LONGEST_LINE] for line in text.splitlines()[-lines:])


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
