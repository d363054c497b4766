"""Every page of the dashboard on a large database, and FireWorks' own web pages on the same one.

python benchmarks/dashboard.py [--evaluations 50000] [--requests 20] [--home FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import yaml
from pymongo import monitoring
from surroundings import TESTS, describe_machine, use_home

from hts_flows.cli.output import console, print_json, print_table, stderr, table
from hts_flows.flows import Column
from hts_flows.launch.mongod import PrivateMongod, free_port
from hts_flows.settings import load_settings
from hts_flows.stores import Database, connect
from hts_flows.stores.database import open_database, prepare

from dashboard_pages import OK, PATIENCE, Browser, Row, far_cursor, pages, peer_pages  # isort: skip
from many_campaigns import Filler, real_evaluations  # isort: skip
from many_jobs import CallCounter  # isort: skip  (tests/, see surroundings)

sys.path.insert(0, str(TESTS / "dashboard"))
from serving import serve_in_thread

#: What a page may take, ms.
ALLOWED = 200.0
#: FireWorks' pages are asked for so often: they are slow.
PEER_REQUESTS = 5
MISSING = 404
COLUMNS = [
    Column("name", "page"),
    Column("status", "status"),
    Column("calls", "MongoDB commands"),
    Column("size", "size", "kB", ".0f"),
    Column("first", "first", "ms", ".0f"),
    Column("median", "median", "ms", ".0f"),
    Column("worst", "worst", "ms", ".0f"),
    Column("cpu", "CPU time", "ms", ".0f"),
    Column("unchanged", "nothing written", "ms", ".0f"),
]
PEER_COLUMNS = [*(column for column in COLUMNS if column.name not in {"calls", "unchanged"})]
PEER_COLUMNS += [
    Column("indexes", "indexes"),
    Column("ratio", "ratio to hts", "", ".1f"),
    Column("unchanged_ratio", "nothing written", "", ".1f"),
    Column("cpu_ratio", "CPU ratio", "", ".1f"),
]


def processes_of(pid: int) -> list[psutil.Process]:
    """Give a process, then those that it has started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@contextmanager
def running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the context ends."""
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield process
        finally:
            children = processes_of(process.pid)[1:]
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for child in children:
                if child.is_running():
                    child.kill()


def login_link(process: subprocess.Popen[str]) -> str:
    """Read what ``hts dashboard --json`` prints when it answers requests."""
    text = ""
    for line in process.stdout or ():
        text += line
        try:
            return str(json.loads(text)["login"])
        except ValueError:
            continue
    raise RuntimeError(f"hts dashboard ended: {text}")


def peak_memory(pid: int) -> float:
    """Most memory that a process ever held, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def fill(database: Database, evaluations: int, folder: Path) -> None:
    """Fill an empty database, and make its indexes afterwards, which is faster."""
    stderr.print("running and failing real evaluations …")
    os.environ["HTS_DATABASE"] = "real"
    real = connect(load_settings())
    templates = real_evaluations(real, folder)
    audit = real.audit.find_one({"action": "resubmit"}) or {}
    real.mongo.client.drop_database("real")
    stderr.print(f"writing {evaluations} evaluations …")
    Filler(database, templates, evaluations, audit).fill()
    stderr.print("making the indexes …")
    prepare(database)


def contents(database: Database) -> dict[str, int]:
    """Count what is stored."""
    names = ("fireworks", "workflows", "launches", "results", "campaigns", "allocations", "audit", "rankings")
    counts = {name: database.mongo[name].estimated_document_count() for name in names}
    return counts | {"data_mb": round(database.mongo.command("dbStats")["dataSize"] / 1e6)}


def count_calls(database: Database, rows: list[Row]) -> None:
    """Count the commands that a page sends to MongoDB, in a server in this process that has been asked for it once."""
    counter = CallCounter()
    # Clients take over the listeners that are known when they are made.
    monitoring.register(counter)
    with serve_in_thread(load_settings()) as site, site.client() as client:
        for row in rows:
            if row.status == OK:
                client.get(site.address + row.path[1:], timeout=PATIENCE)
                time.sleep(1.1)  # tables in memory are looked after once a second: that is counted too
                write_something(database)
                counter.names.clear()
                client.get(site.address + row.path[1:], timeout=PATIENCE)
                row.calls = len(counter.names)


def measure_dashboard(
    database: Database, folder: Path, mongod: psutil.Process, requests: int
) -> tuple[list[Row], dict[str, float]]:
    """Ask ``hts dashboard`` for every page; gives also its peak memory, MB, and the time to reach a far page, s."""
    command = [sys.executable, "-m", "hts_flows.cli.main", "dashboard", "--json", "--port", str(free_port())]
    with running(command, folder) as process:
        link = urlsplit(login_link(process))
        browser = Browser(link.port or 80, [*processes_of(process.pid), mongod])
        browser.get(f"{link.path}?{link.query}")
        began = time.perf_counter()
        far = far_cursor(browser)
        more = {"pages_passed": far[1], "passed_in": time.perf_counter() - began}
        rows = []
        for name, path in pages(database, far).items():
            stderr.print(f"{name} …")
            rows.append(browser.row(name, path, requests, lambda: write_something(database)))
        return rows, more | {"memory_mb": peak_memory(process.pid)}


def write_something(database: Database) -> None:
    """Write a document that no page shows, so that the dashboard has to read everything anew."""
    database.mongo["benchmark"].update_one({"_id": 0}, {"$inc": {"written": 1}}, upsert=True)


def measure_fireworks(database: Database, folder: Path, mongod: psutil.Process, indexes: str) -> list[Row]:
    """Ask FireWorks' own web pages, as its command serves them with gunicorn."""
    port = free_port()
    file = folder / "launchpad.yaml"
    pad = {"host": database.uri, "name": database.mongo.name, "uri_mode": True, "logdir": None, "strm_lvl": "ERROR"}
    file.touch(mode=0o600)  # it holds the password
    file.write_text(yaml.safe_dump(pad))
    command = [str(Path(sys.executable).with_name("lpad")), "-l", str(file), "webgui", "-s"]
    rows = []
    with running([*command, "--host", "127.0.0.1", "--port", str(port)], folder) as process:
        _wait_until(lambda: _answers(port) and len(processes_of(process.pid)) > 1)
        browser = Browser(port, [*processes_of(process.pid), mongod])
        for name, (path, like) in peer_pages(database).items():
            stderr.print(f"lpad webgui, {name}, {indexes} …")
            row = browser.row(name, path, PEER_REQUESTS)
            row.indexes, row.like = indexes, like
            rows.append(row)
    return rows


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.connect()
    except OSError:
        return False
    connection.close()
    return True


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("lpad webgui does not answer")
        time.sleep(0.1)


def compare(rows: list[Row], peers: list[Row]) -> None:
    """Give the ratios of FireWorks' pages to those of ours that show the like."""
    ours = {row.name: row for row in rows}
    for peer in peers:
        other = ours[peer.like]
        if peer.status == OK == other.status:
            peer.ratio, peer.cpu_ratio = peer.median / other.median, peer.cpu / other.cpu
            peer.unchanged_ratio = peer.median / other.unchanged if other.unchanged else None


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fill a database, ask for all pages of both, and stop MongoDB."""
    before = os.getloadavg()[0]
    settings = use_home(folder / "home")
    server = PrivateMongod(settings)
    try:
        database = open_database(server.uri(), "many", settings.mongodb_timeout)
        if database.results.estimated_document_count() < arguments.evaluations:
            database.mongo.client.drop_database("many")
            fill(database, arguments.evaluations, folder)
        else:
            for name in ("fireworks", "workflows", "launches"):  # FireWorks' own are from an earlier run
                database.mongo[name].drop_indexes()
            prepare(database)
        os.environ["HTS_DATABASE"] = "many"
        stored = contents(database)
        mongod = psutil.Process(server.status().pid)
        rows, more = measure_dashboard(database, folder, mongod, arguments.requests)
        peers = measure_fireworks(database, folder, mongod, "those of hts")
        # FireWorks makes these when a database is set up with its own commands.
        database.launchpad.tuneup(bkground=True)
        peers += measure_fireworks(database, folder, mongod, "with its own")
        count_calls(database, rows)
        compare(rows, peers)
        machine = describe_machine() | {"load_average_before": round(before, 2)}
    finally:
        server.stop()
    return {"machine": machine, "stored": stored, "pages": rows, "fireworks": peers, **more}


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description="the dashboard's pages on a large database, and FireWorks' own")
    parser.add_argument("--evaluations", type=int, default=50_000, help="results, two jobs each (50000)")
    parser.add_argument("--requests", type=int, default=20, help="requests for each page, after the first (20)")
    parser.add_argument("--home", type=Path, help="keep the database in this folder, or measure the one kept there")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    arguments = parser.parse_args()
    if arguments.evaluations < 1000 or arguments.requests < 1:  # noqa: PLR2004 (fewer have not every kind)
        parser.error("--evaluations must be at least 1000, --requests at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, as Ctrl-C does
    with tempfile.TemporaryDirectory(prefix="hts-bench-", ignore_cleanup_errors=True) as name:
        if arguments.home:
            arguments.home.mkdir(parents=True, exist_ok=True)
        found = measure(arguments, (arguments.home or Path(name)).resolve())
    ours, peers = ([asdict(row) for row in found[kind]] for kind in ("pages", "fireworks"))
    if arguments.json:
        print_json(found | {"pages": ours, "fireworks": peers})
        return
    for part in ("machine", "stored"):
        console.print(", ".join(f"{name} {value}" for name, value in found[part].items()))
    print_table(table(COLUMNS, ours, "hts dashboard"))
    print_table(table(PEER_COLUMNS, peers, "lpad webgui"))
    console.print(f"page {found['pages_passed']} of the jobs was reached in {found['passed_in']:.1f} s")
    console.print(f"most memory of the dashboard's process: {found['memory_mb']:.0f} MB")
    missing = [row.name for row in found["pages"] if row.status == MISSING]
    other = [f"{row.name} ({row.status})" for row in found["pages"] if row.status not in (OK, MISSING)]
    slow = [f"{row.name} ({row.median:.0f})" for row in found["pages"] if row.status == OK and row.median > ALLOWED]
    for words, names in (("missing", missing), ("answered otherwise", other), (f"above {ALLOWED:g} ms", slow)):
        console.print(f"{words}: {', '.join(names) or 'none'}")


if __name__ == "__main__":
    main()
