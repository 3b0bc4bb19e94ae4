"""What the store needs of a database. SQLite and PostgreSQL each have a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from gateway.jobs.store.work import Operation

T = TypeVar("T")


class Database(Protocol):
    """Runs operations, each in a transaction or a part of one that is undone alone."""

    writers: int
    """How many transactions that write are worth having at a time."""

    async def write(self, operation: Operation[T]) -> T:
        """Runs `operation` and commits it. What it raises undoes it and is raised here."""
        ...

    async def read(self, operation: Operation[T]) -> T:
        """Runs an operation that only looks."""
        ...

    async def exclusively(self, change: Callable[[Connection], T]) -> T:
        """Runs `change` in a transaction of its own, one at a time in all processes."""
        ...

    def share_hints(self) -> None:
        """Begins to tell other processes what is committed here, and to hear them, if it can."""
        ...

    async def close(self) -> None:
        """Ends what runs and frees what is held."""
        ...
