"""How many streams one owner may hold open: each keeps memory for as long as it lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rpckit.errors import GatorError, Reason

RETRY_AFTER = 5.0
"""Seconds after which a caller that was refused may try again."""


class StreamQuota:
    """Counts the streams that this process serves, by owner."""

    def __init__(self, most: int | None) -> None:
        """`most` of one owner at a time; None is no bound."""
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, owner: str) -> Iterator[None]:
        """Around a stream. GatorError QUOTA_EXCEEDED if the owner has as many as may be."""
        if self._most is not None and self._open[owner] >= self._most:
            raise GatorError(
                Reason.QUOTA_EXCEEDED,
                f"{self._most} streams of this owner are open, as many as may be; end some",
                retry_after=RETRY_AFTER,
                metadata={"quota": "streams_per_owner", "limit": str(self._most)},
            )
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
