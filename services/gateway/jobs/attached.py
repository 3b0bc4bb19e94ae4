"""The clients whose Render calls this process holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.jobs.store import Store
from rpckit.errors import GatorError
from rpckit.telemetry import logger

log = logger(__name__)

TOUCH = 5.0
"""Seconds between two notes of who is there."""

Remaining = Callable[[], float | None]
"""Seconds that are left of a client's deadline; None is no deadline."""


def no_deadline() -> None:
    """What is left of a deadline that there is not."""
    return


class AttachedClients:
    """Notes in the store, again and again, for which renders a client is there."""

    def __init__(self, store: Store, worker: str) -> None:
        """`worker` is the name of this process's worker."""
        self._store = store
        self._worker = worker
        self._present: Counter[str] = Counter()
        self._deadlines: dict[str, Remaining] = {}

    @contextmanager
    def present(self, render_id: str, remaining: Remaining = no_deadline) -> Iterator[None]:
        """A client is there until the end of the block; the render may take what `remaining` is."""
        self._present[render_id] += 1
        self._deadlines.setdefault(render_id, remaining)
        try:
            yield
        finally:
            self._present[render_id] -= 1
            if not self._present[render_id]:
                del self._present[render_id]
                del self._deadlines[render_id]

    def remaining(self, render_id: str) -> Remaining:
        """What is left of the deadline of a render's client."""
        return self._deadlines.get(render_id, no_deadline)

    async def touch(self, render_id: str) -> None:
        """Notes that the client of one render is there."""
        await self._store.touch_attached([render_id], self._worker)

    async def run(self) -> None:
        """Notes who is there until it is cancelled."""
        while True:
            await asyncio.sleep(TOUCH)
            if not self._present:
                continue
            try:
                await self._store.touch_attached(list(self._present), self._worker)
            except GatorError as error:
                log.warning("attached clients could not be noted", reason=error.reason.name)
