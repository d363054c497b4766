"""``hts cluster``: whether a cluster is described rightly, and what jobs ask for there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from hts_flows.cli.output import console, print_json, print_table, table

if TYPE_CHECKING:
    from hts_flows.slurm.check import CheckStep
    from hts_flows.slurm.cluster import Cluster

app = typer.Typer(no_args_is_help=True, help="SLURM clusters: check, show.")

_MARKS = {True: "[green]ok[/]     ", None: "[yellow]warning[/]", False: "[bold red]failed[/] "}
Name = Annotated[str | None, typer.Argument(help="Cluster of the settings file; may be left out when there is one.")]


@app.command(epilog="Example: hts cluster check")
def check(
    name: Name = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Longest wait for the probe job, s.")] = 120.0,
    no_job: Annotated[bool, typer.Option("--no-job", help="Submit no probe job.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Go all the way from here to a job on a node that reaches MongoDB and its engines, and say what is wrong."""
    from hts_flows.settings import load_settings, pick_cluster
    from hts_flows.slurm.check import check_cluster

    settings = load_settings()
    cluster = pick_cluster(settings, name)
    if not as_json:
        console.print(f"[bold]{cluster.name}[/]")
    steps = []
    for step in check_cluster(settings, cluster, wait=wait, job=not no_job):
        steps.append(step)
        if not as_json:
            _print_step(step)
    failed = sum(step.ok is False for step in steps)
    if as_json:
        print_json({"cluster": cluster.name, "ok": not failed, "steps": [step._asdict() for step in steps]})
    elif not failed:
        console.print("next: hts launch")
    if failed:
        raise typer.Exit(1)


def _print_step(step: CheckStep) -> None:
    console.print(f"  {_MARKS[step.ok]}  [bold]{escape(step.name)}[/]: {escape(step.message)}")
    if step.hint:
        console.print(f"           [cyan]→[/] {escape(step.hint)}")


@app.command(epilog="Example: hts cluster show --json")
def show(
    name: Name = None, as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False
) -> None:
    """Show the clusters of the settings file, and what the jobs of each engine ask for there."""
    from hts_flows.settings import load_settings, pick_cluster

    settings = load_settings()
    first = pick_cluster(settings, name or next(iter(settings.clusters), None))
    chosen = [first] if name else list(settings.clusters.values())
    described = [_describe(cluster) for cluster in chosen]
    if as_json:
        print_json(described)
        return
    for number, about in enumerate(described):
        if number:
            console.print()
        _print_cluster(about)


def _describe(cluster: Cluster) -> dict[str, Any]:
    """Everything about a cluster, with what its jobs ask for worked out; the password is masked."""
    from hts_flows.settings import mask_password
    from hts_flows.slurm.cluster import DEFAULT

    about = {"name": cluster.name} | cluster.model_dump(mode="json", exclude={"resources", "mongodb_uri"})
    uri = cluster.mongodb_uri
    about["mongodb_uri"] = mask_password(uri.get_secret_value()) if uri else None
    about["python"] = cluster.interpreter
    engines = dict.fromkeys((DEFAULT, *cluster.resources))
    about["resources"] = {engine: cluster.resolve(engine).model_dump(mode="json") for engine in engines}
    return about


def _print_cluster(about: dict[str, Any]) -> None:
    from hts_flows.flows import Column

    limits = ", ".join(f"{key} {value}" for key, value in about["limits"].items() if value is not None)
    lines = {
        "reached": f"ssh {about['host']}" if about["host"] else "on this machine",
        "scratch": about["scratch"] or "launches/ in the home folder",
        "python": about["python"],
        "MongoDB": about["mongodb_uri"] or "that of the settings",
        "limits": limits,
    }
    console.print(f"[bold]{about['name']}[/]")
    for key, value in lines.items():
        console.print(f"  {key}: {escape(value)}")
    rows = [{"engine": engine} | _texts(asked) for engine, asked in about["resources"].items()]
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)
    print_table(table([Column(key, key.replace("_", " ")) for key in keys], rows))


def _texts(asked: dict[str, Any]) -> dict[str, Any]:
    return {key: (", ".join(value) or None) if isinstance(value, list) else value for key, value in asked.items()}
