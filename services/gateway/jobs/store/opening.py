"""Opening the database that a URL names."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

import tenacity

from gateway.jobs.store import schema
from gateway.jobs.store.database import Database
from gateway.jobs.store.failures import may_pass
from gateway.jobs.store.hints import Hints
from gateway.jobs.store.sqlite import SqliteDatabase

START_TIMEOUT = 10.0
"""Seconds that a database may take to come up, or to be left alone by another process."""

_migrating = threading.Lock()

_SQLITE = "sqlite:///"
_POSTGRESQL = ("postgresql://", "postgres://")


def named(url: str, hints: Hints) -> Database:
    """The database at `url`, not yet asked for anything. ValueError if the URL names none."""
    if url.startswith(_SQLITE) and url != _SQLITE:
        return SqliteDatabase(url.removeprefix(_SQLITE), hints)
    if url.startswith(_POSTGRESQL):
        # Late: a command that renders once, into a file, need not wait for what it never uses.
        from gateway.jobs.store.postgresql import PostgresqlDatabase  # noqa: PLC0415

        return PostgresqlDatabase(url, hints)
    raise ValueError("the database's URL must be sqlite:///path/of/file or postgresql://host/name")


async def prepare(database: Database, migrate: Literal["auto", "check"]) -> None:
    """Brings the tables up to date, or checks them. Waits for a database that just starts.

    Raises:
        SchemaError: the tables are not those of this version, and may not be changed.
    """
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(may_pass),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=1),
        stop=tenacity.stop_after_delay(START_TIMEOUT),
        reraise=True,
    ):
        with attempt:
            try:
                await database.read(lambda work: schema.check(work.connection))
            except schema.SchemaError:
                if migrate == "check":
                    raise
                async with _one_at_a_time():
                    await database.exclusively(schema.bring_up_to_date)


@asynccontextmanager
async def _one_at_a_time() -> AsyncGenerator[None, None]:
    """Alembic's migrations speak to what is global to the process, whatever the database."""
    while not _migrating.acquire(blocking=False):  # noqa: ASYNC110 - held on any thread
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        _migrating.release()
