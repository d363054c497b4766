"""``hts dashboard``: serve it, and keep its users."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hts_flows.cli.output import console, print_json, print_table, table

if TYPE_CHECKING:
    from hts_flows.dashboard.access.users import Users

app = typer.Typer(help="The dashboard: everything at a glance in a browser; fix and resubmit what failed.")
user_app = typer.Typer(no_args_is_help=True, help="Users who log in with a password: add, list, remove.")
app.add_typer(user_app, name="user")


@app.callback(invoke_without_command=True, epilog="Example: hts dashboard --port 9000")
def dashboard(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; any but this machine's own needs users. [127.0.0.1]")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to listen on. [8642, or a free one]")] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser of this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Serve the dashboard until Ctrl-C. On this machine's own address whoever has the printed link may log in."""
    if context.invoked_subcommand is not None:
        return
    from hts_flows.dashboard.server import address, is_unprotected, prepare_dashboard, serve
    from hts_flows.settings import load_settings

    with console.status("starting"):
        prepared, bound = prepare_dashboard(load_settings(), host, port)
    plain = address(prepared)
    login = f"{plain}login?token={prepared.token}" if prepared.token else plain

    def ready() -> None:
        if as_json:
            print_json({"address": plain, "login": login, "database": prepared.connection.database.address})
        else:
            console.print(f"[bold]dashboard[/] of {prepared.connection.database.address}")
            console.print(f"  open   {login}", markup=False)
            if prepared.token:
                console.print("  the link logs you in; whoever has it can change things. Ctrl-C stops")
            else:
                console.print("  users of 'hts dashboard user list' log in with their passwords. Ctrl-C stops")
            if is_unprotected(prepared):
                console.print(
                    "  [yellow]passwords cross the network unprotected:[/] give a certificate in the settings file"
                )
        if open_browser:
            import webbrowser

            webbrowser.open(login)

    serve(prepared, bound, ready)


def _users() -> Users:
    from hts_flows.dashboard.access.users import Users, users_file
    from hts_flows.settings import load_settings

    return Users(users_file(load_settings()))


def _new_password() -> str:
    """Ask for a password twice; a program gives it in one line."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
    return password


@user_app.command(epilog="Example: hts dashboard user add anna --role operator")
def add(
    name: Annotated[str, typer.Argument(help="Letters, digits and . _ @ - are allowed.")],
    role: Annotated[str, typer.Option(help="viewer: sees everything; operator: also changes things.")] = "viewer",
) -> None:
    """Add a user, or give one another role and password. The password is asked for, or read from standard input."""
    users = _users()
    users.check(name, role)
    users.add(name, role, _new_password())
    console.print(f"{name} is {role} now; {users.file}", markup=False)


@user_app.command("list", epilog="Example: hts dashboard user list")
def list_users(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """List the users and their roles."""
    from hts_flows.flows import Column

    rows = [{"user": name, "role": user.role} for name, user in sorted(_users().all().items())]
    if as_json:
        print_json(rows)
    elif rows:
        print_table(table([Column("user", "user"), Column("role", "role")], rows))
    else:
        console.print("no user is set up; next: hts dashboard user add NAME --role operator")


@user_app.command(epilog="Example: hts dashboard user remove anna")
def remove(name: Annotated[str, typer.Argument(help="As 'hts dashboard user list' shows it.")]) -> None:
    """Remove a user; their sessions end with their next click."""
    _users().remove(name)
    console.print(f"{name} is removed")
