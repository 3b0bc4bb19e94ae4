"""The `gator` command."""

from __future__ import annotations

import sys

_NEEDED = ("typer", "rich", "yaml")


def main() -> None:
    """Runs the command line of this process."""
    try:
        _run()
    except KeyboardInterrupt:  # before a command could take care of it
        sys.exit(130)


def _run() -> None:
    try:
        from gator_client.cli.app import app  # noqa: PLC0415 - it may be missing
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        sys.exit("The gator command is not installed: pip install 'gator-video[standalone]'")
    app()
