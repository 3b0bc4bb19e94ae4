"""The database's tables: brought up to date, or checked."""

from __future__ import annotations

import logging
import re
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
_SINCE = re.compile(r"\d{4}_since_(\d{4})")


class SchemaError(Exception):
    """The database's tables are not those of this version; the message says what to do."""


def bring_up_to_date(connection: Connection) -> None:
    """Makes the tables, or changes those of an older version, in the transaction that there is.

    Those of a newer version that serve this one too are left alone.

    Raises:
        SchemaError: they are of a newer version that this one cannot work with.
    """
    # Late: it takes its time, and a gateway whose tables are right never needs it.
    from alembic import command  # noqa: PLC0415

    with _one_at_a_time:
        revision, newest = _revision(connection), _newest(connection)
        if revision != newest and not _serves(revision, newest):
            command.upgrade(_config(connection), "head")
            log.info("database tables", before=revision, now=newest)


def check(connection: Connection) -> None:
    """SchemaError unless the tables are those of this version, or of a newer one and serve it."""
    revision, newest = _revision(connection), _newest(connection)
    if revision != newest and not _serves(revision, newest):
        raise SchemaError(
            f"the database's tables are of revision {revision or 'none'}, this version needs "
            f"{newest}: run {MIGRATE}"
        )


def _serves(revision: str | None, newest: str) -> bool:
    """Whether tables of a revision that is not known here serve a version whose own is `newest`.

    The revision itself says so: 0007_since_0005 only adds to what 0005 and 0006 work with.
    """
    since = _SINCE.fullmatch(revision or "")
    return since is not None and since[1] <= newest[:4] < since[0][:4]


def _revision(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    return MigrationContext.configure(connection).get_current_revision()


def _newest(connection: Connection) -> str:
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    revisions = list(ScriptDirectory.from_config(_config(connection)).walk_revisions())
    newest = revisions[0].revision
    revision = _revision(connection)
    known = revision is None or revision in {known.revision for known in revisions}
    if not known and not _serves(revision, newest):
        raise SchemaError(
            f"the database's tables are of revision {revision}, which is newer than this "
            "version: update the gateway"
        )
    return newest


def _config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(gateway.migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config
