"""The commands of `gator`, and what stands before them on the command line.

Modules that take long to load (gRPC, the services) are loaded by the commands
that need them, so that `gator --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from gator_client.cli.capabilities import capabilities
from gator_client.cli.doctor import doctor
from gator_client.cli.download import download
from gator_client.cli.render import render
from gator_client.cli.renders import list_, show
from gator_client.cli.retry import retry
from gator_client.cli.serve import app as serve_app
from gator_client.cli.stopping import cancel, delete
from gator_client.cli.watch import watch

HELP = """
Turn scene prompts into a finished video.

  gator render "a quiet harbour at dawn" "a market in full swing" -o film.mp4

It works with no server: the services run inside the command. With --server
host:port, or GATOR_SERVER in the environment, a running one does the work,
and then a render may outlive the command:

  gator serve

  gator render "a quiet harbour at dawn" --detach --server localhost

  gator list --server localhost
"""
_ON_A_SERVER = "Renders on a server"

app = typer.Typer(
    name="gator",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(render)
app.command()(capabilities)
app.command()(doctor)
app.add_typer(serve_app, name="serve")
app.command(name="list", rich_help_panel=_ON_A_SERVER)(list_)
for command in (show, watch, download, retry, cancel, delete):
    app.command(rich_help_panel=_ON_A_SERVER)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - see the module's docstring

        typer.echo(f"gator {version('gator-video')}")
        raise typer.Exit


@app.callback()
def _before_commands(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    pass
