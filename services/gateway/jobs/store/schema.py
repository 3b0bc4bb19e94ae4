"""The database's tables: brought up to date, or checked."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

import gateway.migrations
from rpckit.telemetry import logger

if TYPE_CHECKING:
    from alembic.config import Config

log = logger(__name__)
# It tells of every look at the tables, and of each of its parts when it is imported.
logging.getLogger("alembic").setLevel(logging.WARNING)

_one_at_a_time = threading.Lock()
"""Alembic keeps what it works on in module globals, and a process may open several stores."""

MIGRATE = "python -m gateway migrate"


class SchemaError(Exception):
    """The database's tables are not those of this version; the message says what to do."""


def bring_up_to_date(connection: Connection) -> None:
    """Makes the tables, or changes those of an older version, in the transaction that there is.

    Raises:
        SchemaError: they are of a newer version.
    """
    # Late: it takes its time, and a gateway whose tables are right never needs it.
    from alembic import command  # noqa: PLC0415

    with _one_at_a_time:
        revision, newest = _revision(connection), _newest(connection)
        if revision != newest:
            command.upgrade(_config(connection), "head")
            log.info("database tables", before=revision, now=newest)


def check(connection: Connection) -> None:
    """SchemaError unless the tables are those of this version."""
    revision = _revision(connection)
    if revision != _newest(connection):
        raise SchemaError(
            f"the database's tables are of revision {revision or 'none'}, this version needs "
            f"{_newest(connection)}: run {MIGRATE}"
        )


def _revision(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    return MigrationContext.configure(connection).get_current_revision()


def _newest(connection: Connection) -> str:
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    revisions = list(ScriptDirectory.from_config(_config(connection)).walk_revisions())
    revision = _revision(connection)
    if revision is not None and revision not in {known.revision for known in revisions}:
        raise SchemaError(
            f"the database's tables are of revision {revision}, which is newer than this "
            "version: update the gateway"
        )
    return revisions[0].revision


def _config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(gateway.migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config
