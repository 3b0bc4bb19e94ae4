"""The `gator` command in this process, in a folder of its own."""

from pathlib import Path

from typer.testing import CliRunner

from gator_client.cli.app import app


def gator(*args, stdin=None):
    """What the command prints and exits with."""
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin)


def listing():
    """The names in the current folder."""
    return sorted(path.name for path in Path.cwd().iterdir())
