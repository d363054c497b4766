"""``hts db``: the private MongoDB, and backups of whichever is in use."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from hts_flows.cli.output import console, duration, print_json

app = typer.Typer(no_args_is_help=True, help="The database: start, stop, status, backup, restore.")

MEGABYTE = 1_000_000


@app.command(epilog="Example: hts db start")
def start() -> None:
    """Start the private MongoDB; other commands start it by themselves."""
    from hts_flows.stores import connect

    console.print(f"running: {connect().address}")


@app.command(epilog="Example: hts db stop")
def stop() -> None:
    """Stop the private MongoDB; what it holds stays on disk."""
    from hts_flows.launch.mongod import PrivateMongod
    from hts_flows.settings import load_settings

    stopped = PrivateMongod(load_settings()).stop()
    console.print("stopped" if stopped else "the private MongoDB was not running")


@app.command(epilog="Example: hts db status --json")
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Show which MongoDB is in use, whether it runs, and how much it holds."""
    from hts_flows.launch.mongod import PrivateMongod
    from hts_flows.settings import load_settings
    from hts_flows.stores import open_database

    settings = load_settings()
    if settings.mongodb_uri is not None:
        database = open_database(settings.mongodb_uri.get_secret_value(), settings.database, settings.mongodb_timeout)
        stats = database.mongo.command("dbStats")
        report = {"kind": "HTS_MONGODB_URI", "address": database.address, "running": True, "size": stats["storageSize"]}
    else:
        found = PrivateMongod(settings).status()
        report = {
            "kind": "private",
            "running": found.running,
            "pid": found.pid,
            "port": found.port,
            "uptime": found.uptime,
            "folder": str(found.folder),
            "size": found.size,
        }
    if as_json:
        print_json(report)
        return
    if report["kind"] == "private":
        state = f"running, pid {report['pid']}, 127.0.0.1:{report['port']}, up {duration(report['uptime'])}"
        console.print(f"private MongoDB: {state if report['running'] else 'not running'}")
        console.print(f"  folder {report['folder']}, {report['size'] / MEGABYTE:.0f} MB")
    else:
        console.print(f"MongoDB of HTS_MONGODB_URI: {report['address']}, {report['size'] / MEGABYTE:.0f} MB")


@app.command(epilog="Example: hts db backup campaigns.tar.gz")
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="File to write; a dated one in the home folder when left out.")
    ] = None,
) -> None:
    """Write everything in the database to one file, in mongodump's format."""
    from hts_flows.settings import load_settings
    from hts_flows.stores import connect
    from hts_flows.stores.backup import write_backup

    settings = load_settings()
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
    target = file or settings.home / "backups" / f"{settings.database}-{stamp}.tar.gz"
    count = write_backup(connect(settings), target)
    console.print(f"{count} documents written: {target} ({target.stat().st_size / MEGABYTE:.1f} MB)")


@app.command(epilog="Example: hts db restore campaigns.tar.gz")
def restore(
    file: Annotated[Path, typer.Argument(help="File that 'hts db backup' wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace what the database holds.")] = False,
) -> None:
    """Put a backup back; refuses to touch a database that holds something unless told to replace it."""
    from hts_flows.stores import connect
    from hts_flows.stores.backup import read_backup

    count = read_backup(connect(), file, replace=replace)
    console.print(f"{count} documents restored from {file}")
