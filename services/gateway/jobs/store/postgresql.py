"""PostgreSQL: a pool of connections, a transaction for each operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar, cast
from weakref import WeakSet

import asyncpg
import tenacity
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.jobs.store.failures import is_undone
from gateway.jobs.store.hints import Hints
from gateway.jobs.store.notify import Notifier
from gateway.jobs.store.work import Operation, Work

T = TypeVar("T")

POOL_SIZE = 16
"""Connections for operations; hints have one more."""
RECYCLE = 300
"""Seconds after which a connection is made anew: to the server that is the primary by then."""
ANSWER_WITHIN = 8.0
"""Seconds for all of an operation: for a free connection, or a new one, and for every answer. So
short that leases are still held when their renewal is tried a second time."""
CLOSE_WITHIN = 2.0
"""Seconds for saying goodbye to a server."""

_SESSION = {
    "application_name": "gator-gateway",
    # The server's own word comes first where it has one: the connection stays.
    "statement_timeout": "6s",
    # A process that was halted in a transaction must not keep a render from the others: who waits
    # for it goes on before the time for its own statement is over.
    "idle_in_transaction_session_timeout": "4s",
}
_CHANGING = {**_SESSION, "statement_timeout": "0", "idle_in_transaction_session_timeout": "60s"}
"""A change of the tables takes as long as it takes, but not while its process is halted."""
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
        self._connections: WeakSet[asyncpg.Connection] = WeakSet()
        """All that operations have used."""
        self._busy: set[asyncpg.Connection] = set()
        """Those among them that one uses now."""
        self._engine = _engine(
            lambda: _connect(dsn, _SESSION),
            pool_size=POOL_SIZE,
            max_overflow=0,
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
        async with self._connection(self._engine) as connection, connection.begin():
            work, result = await connection.run_sync(_run, operation)
        self._hints.committed(work)
        return result

    async def read(self, operation: Operation[T]) -> T:
        """As `Database.read`. Several statements may see several moments."""
        async with self._connection(self._looking) as connection:
            return (await connection.run_sync(_run, operation))[1]

    async def exclusively(self, change: Callable[[Connection], T]) -> T:
        """As `Database.exclusively`, by an advisory lock; it may take its time."""
        engine = _engine(lambda: _connect(self._dsn, _CHANGING), poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHANGE_LOCK}
                )
                return await connection.run_sync(change)
        finally:
            await engine.dispose()

    # --- connections ---------------------------------------------------------------------------

    @asynccontextmanager
    async def _connection(self, engine: AsyncEngine) -> AsyncGenerator[AsyncConnection, None]:
        """A connection for one operation; it breaks where the server does not answer in time."""
        until = asyncio.get_running_loop().time() + ANSWER_WITHIN
        async with AsyncExitStack() as held:
            async with asyncio.timeout_at(until):
                connection, driver = await _living(engine, held)
            with self._used(driver, until):
                yield connection

    @contextmanager
    def _used(self, connection: asyncpg.Connection, until: float) -> Generator[None, None, None]:
        self._connections.add(connection)
        self._busy.add(connection)
        hanging = asyncio.get_running_loop().call_at(until, self._give_up, connection)
        try:
            yield
        finally:
            hanging.cancel()
            self._busy.discard(connection)

    def _give_up(self, hung: asyncpg.Connection) -> None:
        """Breaks a connection whose server has not answered, and those that nobody uses now.

        To ask for a cancellation, as the driver's own time-out does, would wait for the same
        server. What lies behind one silent connection most likely lies behind all of that time:
        without this, each would have to be found out by an operation of its own.
        """
        for connection in {hung, *self._connections} - (self._busy - {hung}):
            connection.terminate()

    def share_hints(self) -> None:
        """As `Database.share_hints`, by NOTIFY."""
        self._notifier = Notifier(
            lambda: _connect(self._dsn, _SESSION, command_timeout=ANSWER_WITHIN), self._hints.tell
        )
        self._hints.outgoing = self._notifier.send

    async def close(self) -> None:
        """As `Database.close`. A server that does not answer is not waited for."""
        if self._notifier is not None:
            await self._notifier.close()
        try:
            async with asyncio.timeout(CLOSE_WITHIN):
                await self._engine.dispose()
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.terminate()


async def _living(
    engine: AsyncEngine, held: AsyncExitStack
) -> tuple[AsyncConnection, asyncpg.Connection]:
    """A connection of the pool that is not known to be broken, and the driver's."""
    while True:
        connection = await held.enter_async_context(engine.connect())
        driver = cast(
            "asyncpg.Connection", (await connection.get_raw_connection()).driver_connection
        )
        if not driver.is_closed():
            return connection, driver
        await connection.invalidate()


async def _connect(
    dsn: str, session: dict[str, str], command_timeout: float | None = None
) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(
            dsn, timeout=ANSWER_WITHIN, command_timeout=command_timeout, server_settings=session
        )
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
