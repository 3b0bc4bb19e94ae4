"""SQLite: one writer that commits for many, readers beside it.

A commit waits for the disk, some milliseconds. Whatever was asked for meanwhile goes into the
next transaction together, each operation within a savepoint of its own.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event

from gateway.jobs.store.clock import SQLITE_CLOCK
from gateway.jobs.store.failures import translated
from gateway.jobs.store.hints import Hints
from gateway.jobs.store.work import Operation, Work
from rpckit.errors import Reason

T = TypeVar("T")

GROUP = 64
"""Most operations of a transaction."""
READERS = 4
BUSY_TIMEOUT = 5.0
"""Seconds that another process may hold the file's lock. No operation waits for longer."""


@dataclass
class _Asked(Generic[T]):
    """An operation that waits for the writer, and what became of it."""

    operation: Operation[T]
    future: asyncio.Future[T]
    result: T | None = None
    error: BaseException | None = None
    work: Work | None = None


class SqliteDatabase:
    """A file. Other processes may use it at the same time."""

    writers = 1

    def __init__(self, path: str, hints: Hints) -> None:
        self._loop = asyncio.get_running_loop()
        self._hints = hints
        self._writing = _engine(path, begin="BEGIN IMMEDIATE", pool_size=1)
        self._reading = _engine(path, begin="BEGIN", pool_size=READERS)
        self._asked: queue.SimpleQueue[_Asked[Any] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-read")
        # A daemon: a process that ends without closing has nothing to lose here.
        self._writer = threading.Thread(target=self._write_all, name="sqlite-write", daemon=True)
        self._writer.start()

    async def write(self, operation: Operation[T]) -> T:
        """As `Database.write`. Runs to its end even if the caller is cancelled meanwhile."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._asked.put(_Asked(operation, future))
        return await future

    async def read(self, operation: Operation[T]) -> T:
        """As `Database.read`."""
        return await self._loop.run_in_executor(self._readers, self._look, operation)

    def _look(self, operation: Operation[T]) -> T:
        with self._reading.begin() as connection:
            return operation(Work(connection))

    async def exclusively(self, change: Callable[[Connection], T]) -> T:
        """As `Database.exclusively`: BEGIN IMMEDIATE keeps others out."""
        return await self._loop.run_in_executor(self._readers, self._change, change)

    def _change(self, change: Callable[[Connection], T]) -> T:
        with self._writing.begin() as connection:
            return change(connection)

    def share_hints(self) -> None:
        """SQLite tells other processes nothing: they look by themselves."""

    async def close(self) -> None:
        """As `Database.close`. What was asked for before is still done."""
        self._asked.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        self._writing.dispose()
        self._reading.dispose()

    # --- the writer's thread -----------------------------------------------------------------

    def _write_all(self) -> None:
        ended = False
        while not ended:
            group, ended = self._next_group()
            if group:
                if (away := self._commit(group)) is not None:
                    # What came meanwhile would wait for the same lock, one group after another.
                    late = self._all_waiting()
                    _refuse(late, away)
                    group += late
                self._loop.call_soon_threadsafe(self._tell, group)

    def _next_group(self) -> tuple[list[_Asked[Any]], bool]:
        """What waits, at most `GROUP`, and whether that was all."""
        group: list[_Asked[Any]] = []
        asked = self._asked.get()
        while asked is not None:
            group.append(asked)
            if len(group) == GROUP:
                return group, False
            try:
                asked = self._asked.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Asked[Any]]) -> Exception | None:
        """Runs a group in one transaction; where that fails as a whole, each one in its own.

        Returns why the file cannot be used, if it cannot.
        """
        try:
            self._together(group)
        except Exception as error:  # noqa: BLE001 - told to whom it concerns
            told = translated(error)
            is_away = told is not None and told.reason is Reason.STORAGE_UNAVAILABLE
            if is_away or len(group) == 1:
                _refuse(group, error)
                return error if is_away else None
            for number, asked in enumerate(group):
                if (away := self._commit([asked])) is not None:
                    _refuse(group[number + 1 :], away)
                    return away
        return None

    def _all_waiting(self) -> list[_Asked[Any]]:
        """What waits, but for the word that nothing more will come."""
        waiting: list[_Asked[Any]] = []
        for _ in range(self._asked.qsize()):
            asked = self._asked.get()
            if asked is None:
                self._asked.put(None)
            else:
                waiting.append(asked)
        return waiting

    def _together(self, group: list[_Asked[Any]]) -> None:
        with self._writing.begin() as connection:
            driver = cast("sqlite3.Connection", connection.connection.driver_connection)
            counts: dict[str | None, int] = {}
            for asked in group:
                asked.work = Work(connection, counts)
                asked.result, asked.error = None, None
                driver.execute("SAVEPOINT operation")
                try:
                    asked.result = asked.operation(asked.work)
                except Exception as error:
                    asked.error = error
                    if not driver.in_transaction:
                        # A full disk, say: SQLite has undone the whole transaction.
                        raise
                    driver.execute("ROLLBACK TO operation")
                driver.execute("RELEASE operation")

    # --- the event loop ------------------------------------------------------------------------

    def _tell(self, group: list[_Asked[Any]]) -> None:
        for asked in group:
            if asked.error is None and asked.work is not None:
                self._hints.committed(asked.work)
            if asked.future.done():  # its caller was cancelled
                continue
            if asked.error is not None:
                asked.future.set_exception(asked.error)
            else:
                asked.future.set_result(asked.result)


def _refuse(group: list[_Asked[Any]], error: Exception) -> None:
    for asked in group:
        asked.error = error


def _engine(path: str, *, begin: str, pool_size: int) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,  # they are prompts
        connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        # The driver would begin transactions by itself, and too late.
        connection.isolation_level = None
        connection.create_function(SQLITE_CLOCK, 0, lambda: time.time_ns() // 1_000)
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit has returned: it is on the disk.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
