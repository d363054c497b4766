"""``hts settings`` and ``hts inventory``: what is in force, and what there is to choose from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hts_flows.cli.output import console, print_json, print_table, table


class InventoryKind(StrEnum):
    """The inventories."""

    HOSTS = "hosts"
    INTERCALANTS = "intercalants"
    ELEMENTS = "elements"
    COMPOUNDS = "compounds"
    BOUNDARIES = "boundaries"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command(epilog="Example: HTS_WORKERS=4 hts settings")(settings)
    app.command(epilog="Example: hts inventory hosts")(inventory)


def settings(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Show every setting in force and where its value came from."""
    from hts_flows.flows import Column
    from hts_flows.settings import config_file, load_settings

    rows = [row._asdict() for row in load_settings().origins()]
    if as_json:
        print_json(rows)
        return
    print_table(table([Column("name", "setting"), Column("value", "value"), Column("origin", "from")], rows))
    console.print(f"\nset them as HTS_NAME=value in the environment, or as 'name: value' in {config_file()}")


def inventory(
    kind: Annotated[InventoryKind, typer.Argument(help="Which inventory.")] = InventoryKind.HOSTS,
    folder: Annotated[Path | None, typer.Option(help="Folder of inventories; that of hts_flows when left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List what campaign files can name: hosts, intercalants, elements, compounds, boundaries, with their sources."""
    from hts_flows.flows import Column
    from hts_flows.inventories import Inventories
    from hts_flows.settings import load_settings

    entries = getattr(Inventories(folder or load_settings().inventories), kind.value)
    rows = [entry.model_dump(mode="json") for entry in entries.values()]
    if as_json:
        print_json(rows)
        return
    shown = {
        InventoryKind.HOSTS: ("id", "name", "family", "spacegroup", "source"),
        InventoryKind.INTERCALANTS: ("element", "charge", "ionic_radius", "working_ion", "source"),
        InventoryKind.ELEMENTS: ("element", "name", "spacegroup", "source"),
        InventoryKind.COMPOUNDS: ("id", "prototype", "spacegroup", "band_gap", "source"),
        InventoryKind.BOUNDARIES: ("id", "name", "angle", "termination", "collection", "source"),
    }[kind]
    units = {"ionic_radius": "Å", "charge": "e", "band_gap": "eV", "angle": "degrees"}
    print_table(table([Column(name, name.replace("_", " "), units.get(name, "")) for name in shown], rows))
