"""PostgreSQL: a pool of connections, a transaction for each operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
import tenacity
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.jobs.store.failures import is_undone
from gateway.jobs.store.hints import Hints
from gateway.jobs.store.notify import Notifier
from gateway.jobs.store.work import Operation, Work

T = TypeVar("T")

POOL_SIZE = 16
"""Connections for operations; hints have one more."""
CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection, of the server or of the pool."""
RECYCLE = 300
"""Seconds after which a connection is made anew: to the server that is the primary by then."""
ANSWER_TIMEOUT = 15.0
"""Seconds to wait for an answer: of a server that the network has cut off, say."""

_SESSION = {
    "application_name": "gator-gateway",
    "statement_timeout": "10s",
    # A process that was halted in a transaction must not keep a render from the others.
    "idle_in_transaction_session_timeout": "10s",
}
_LIMITS = {
    "timeout": CONNECT_TIMEOUT,
    "command_timeout": ANSWER_TIMEOUT,
    "server_settings": _SESSION,
}
_CHANGE_LOCK = 0x6761746F73
"""Key of the advisory lock for changes of the tables: "gator" and one."""

_again = tenacity.AsyncRetrying(
    retry=tenacity.retry_if_exception(is_undone),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_random(0, 0.05),
    reraise=True,
)


class PostgresqlDatabase:
    """A server, by a libpq connection string."""

    # One may wait long for a row that another process holds.
    writers = 4

    def __init__(self, dsn: str, hints: Hints) -> None:
        self._dsn = dsn
        self._hints = hints
        self._notifier: Notifier | None = None
        self._engine = _engine(
            lambda: _connect(dsn, **_LIMITS),
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=CONNECT_TIMEOUT,
            pool_recycle=RECYCLE,
        )
        # A statement that only looks needs no transaction around it.
        self._looking = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    async def write(self, operation: Operation[T]) -> T:
        """As `Database.write`. Run again where a deadlock undid it."""
        try:
            return await self._write(operation)
        except Exception as error:
            if not is_undone(error):
                raise
        return await _again.copy()(self._write, operation)

    async def _write(self, operation: Operation[T]) -> T:
        async with self._engine.begin() as connection:
            work, result = await connection.run_sync(_run, operation)
        self._hints.committed(work)
        return result

    async def read(self, operation: Operation[T]) -> T:
        """As `Database.read`. Several statements may see several moments."""
        async with self._looking.connect() as connection:
            return (await connection.run_sync(_run, operation))[1]

    async def exclusively(self, change: Callable[[Connection], T]) -> T:
        """As `Database.exclusively`, by an advisory lock; it may take its time."""
        engine = _engine(lambda: _connect(self._dsn), poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHANGE_LOCK}
                )
                return await connection.run_sync(change)
        finally:
            await engine.dispose()

    def share_hints(self) -> None:
        """As `Database.share_hints`, by NOTIFY."""
        self._notifier = Notifier(lambda: _connect(self._dsn, **_LIMITS), self._hints.tell)
        self._hints.outgoing = self._notifier.send

    async def close(self) -> None:
        """As `Database.close`."""
        if self._notifier is not None:
            await self._notifier.close()
        await self._engine.dispose()


async def _connect(dsn: str, **limits: Any) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, **limits)
    except asyncpg.InterfaceError as error:  # the connection broke while it was made
        raise ConnectionError(str(error)) from error


def _run(connection: Connection, operation: Operation[T]) -> tuple[Work, T]:
    work = Work(connection)
    return work, operation(work)


def _engine(creator: Callable[[], object], **pool: object) -> AsyncEngine:
    # The string goes to asyncpg as it is: it knows what libpq's mean, SQLAlchemy does not.
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=creator,
        isolation_level="READ COMMITTED",
        hide_parameters=True,  # they are prompts
        **pool,
    )
