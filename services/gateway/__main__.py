"""`python -m gateway`: runs the gateway until SIGTERM.

`python -m gateway migrate` brings the database's tables up to date and ends.
"""

from __future__ import annotations

import asyncio
import sys

from rpckit.termination import note_signals


def serve() -> None:
    """Runs the gateway."""
    note_signals()
    # Late: they take a second, in which a signal may come.
    from gateway.garbage import collect_less_often  # noqa: PLC0415
    from gateway.servicer import build  # noqa: PLC0415
    from gateway.settings import Settings  # noqa: PLC0415
    from rpckit.server import run  # noqa: PLC0415

    collect_less_often()
    run(Settings, build)


def migrate() -> None:
    """Brings the database's tables up to date."""
    from gateway.jobs.store import SchemaError, Store  # noqa: PLC0415 - as above
    from gateway.settings import Settings  # noqa: PLC0415
    from rpckit.errors import GatorError  # noqa: PLC0415
    from rpckit.secrets import read_secrets  # noqa: PLC0415
    from rpckit.settings import SettingsError, load  # noqa: PLC0415
    from rpckit.telemetry import configure_logging  # noqa: PLC0415

    async def bring_up_to_date() -> None:
        async with Store.open(load(Settings).database):
            return

    try:
        read_secrets()
        configure_logging()
        asyncio.run(bring_up_to_date())
    except (SettingsError, SchemaError, GatorError, ValueError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    if sys.argv[1:] == ["migrate"]:
        migrate()
    else:
        serve()
