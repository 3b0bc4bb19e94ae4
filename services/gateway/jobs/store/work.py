"""What an operation is given: a connection within a transaction, and room to say what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


@dataclass
class Work:
    """One operation's part of a transaction."""

    connection: Connection
    counts: dict[str | None, int] = field(default_factory=dict)
    """Counts that admission took earlier in this transaction: of an owner's renders, and of
    all that wait under None."""
    alone: bool = False
    """Whether no other transaction admits a render before this one ends."""
    changed: set[str] = field(default_factory=set)
    """Renders with new events."""
    queued: bool = False
    """Whether a render may have become claimable."""

    @property
    def dialect(self) -> str:
        """Name of the database: "sqlite" or "postgresql"."""
        return self.connection.dialect.name


Operation = Callable[[Work], T]
"""What happens within a transaction. It may be called again if the transaction was undone."""


def named(operation: Operation[Any]) -> str:
    """What an operation does, in a word, such as "create": for metrics.

    That is the function of a `partial`, or the method in which a lambda was written.
    """
    name: str = getattr(operation, "func", operation).__qualname__
    return name.partition(".<locals>")[0].rpartition(".")[-1]
