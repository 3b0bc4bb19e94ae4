"""The way to the database: what it raises is told as callers can use it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import metrics
from gateway.jobs.records import LeaseLost
from gateway.jobs.store.database import Database
from gateway.jobs.store.failures import cause, translated
from gateway.jobs.store.schema import SchemaError
from gateway.jobs.store.work import Operation, named
from rpckit.errors import GatorError, Reason
from rpckit.telemetry import logger

log = logger(__name__)

A = TypeVar("A")
T = TypeVar("T")


class Access:
    """Runs operations; remembers when the database was away."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._away: float | None = None

    async def write(self, operation: Operation[T]) -> T:
        """As `Database.write`. GatorError STORAGE_UNAVAILABLE, STORAGE_FULL."""
        with metrics.store_operation(named(operation)):
            return await self.told(self._database.write, operation)

    async def read(self, operation: Operation[T]) -> T:
        """As `Database.read`. GatorError STORAGE_UNAVAILABLE."""
        with metrics.store_operation(named(operation)):
            return await self.told(self._database.read, operation)

    async def told(self, run: Callable[[A], Awaitable[T]], argument: A) -> T:
        """Runs anything that asks the database, in the same way."""
        try:
            return await run(argument)
        except (GatorError, LeaseLost, SchemaError):
            raise
        except Exception as error:
            told = translated(error)
            if told is None:
                raise
            if told.reason is Reason.STORAGE_UNAVAILABLE:
                self._away = time.monotonic()
            log.warning("database", error=cause(error))
            raise told from error

    def was_away(self, seconds: float) -> bool:
        """Whether a call failed for want of the database in the last `seconds`."""
        return self._away is not None and time.monotonic() < self._away + seconds
