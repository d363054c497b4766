"""The ``hts`` command: its groups, and how errors reach a person."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

import hts_flows
from hts_flows.cli import campaigns, clusters, dashboard, data, database, failures, holding, launching, ranking, setup
from hts_flows.cli.output import console, print_error
from hts_flows.errors import HtsError, InputError

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2

app = typer.Typer(
    name="hts",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="High-throughput screening: one campaign file to stored, queryable results.\n\n"
    "Start with: hts check workflows/graphite_alkali.yaml",
    epilog="Exit codes: 0 done, 1 something failed, 2 bad input.",
)
campaigns.add_to(app)
launching.add_to(app)
data.add_to(app)
ranking.add_to(app)
failures.add_to(app)
holding.add_to(app)
setup.add_to(app)
app.add_typer(dashboard.app, name="dashboard")
app.add_typer(clusters.app, name="cluster")
app.add_typer(database.app, name="db")


def _show_version(value: bool) -> None:
    if value:
        console.print(f"hts_flows {hts_flows.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command; errors a person can act on are printed without a traceback."""
    from pymongo.errors import ConnectionFailure, PyMongoError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Å still shows the rest
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except InputError as error:
        print_error(error)
        sys.exit(EXIT_BAD_INPUT)
    except HtsError as error:
        print_error(error)
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except PyMongoError as error:
        what = "stopped answering" if isinstance(error, ConnectionFailure) else "refused the request"
        print_error(
            HtsError(
                f"MongoDB {what}: {str(error).split(',')[0].split(' (')[0]}",
                "nothing stored is lost; see 'hts db status', then type the same command again",
            )
        )
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
