"""`python -m gateway`: runs the gateway until SIGTERM.

`python -m gateway migrate` brings the database's tables up to date and ends.
"""

from __future__ import annotations

import asyncio
import sys

from gateway.jobs.store import SchemaError, Store
from gateway.servicer import build
from gateway.settings import Settings
from rpckit.errors import GatorError
from rpckit.secrets import read_secrets
from rpckit.server import run
from rpckit.settings import SettingsError, load
from rpckit.telemetry import configure_logging


async def _migrate() -> None:
    async with Store.open(load(Settings).database):
        return


def migrate() -> None:
    """Brings the database's tables up to date."""
    try:
        read_secrets()
        configure_logging()
        asyncio.run(_migrate())
    except (SettingsError, SchemaError, GatorError, ValueError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    if sys.argv[1:] == ["migrate"]:
        migrate()
    else:
        run(Settings, build)
