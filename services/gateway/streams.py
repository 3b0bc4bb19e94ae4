"""How many streams one owner may hold open: each keeps memory for as long as it lasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.quotas import quota_exceeded


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
            used = f"{self._most} streams of this owner are open, as many as may be"
            raise quota_exceeded("streams_per_owner", self._most, owner, used, "end some")
        self._open[owner] += 1
        try:
            yield
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]
