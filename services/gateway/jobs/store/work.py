"""What an operation is given: a connection within a transaction, and room to say what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


@dataclass
class Work:
    """One operation's part of a transaction."""

    connection: Connection
    counts: dict[str | None, int] = field(default_factory=dict)
    """Counts that admission took earlier in this transaction: of an owner's renders, and of
    all that wait under None."""
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
