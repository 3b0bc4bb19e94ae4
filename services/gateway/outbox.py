"""What waits to be sent to one client: bounded, and with only the newest of what ages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Outbox(Generic[T]):
    """A queue for one reader in which some events must arrive and others may be overtaken.

    `put` waits while the queue is full: a slow reader slows the work down, and
    memory stays bounded. `post` never waits: an event takes the place of the
    one posted before under the same key that has not been read yet.
    """

    def __init__(self, capacity: int) -> None:
        """`capacity` bounds the events that were put and not yet read."""
        self._capacity = capacity
        self._events: dict[Hashable, T] = {}
        self._put: set[object] = set()
        self._closed = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    async def put(self, event: T) -> None:
        """Queues an event that must arrive, once there is room."""
        while len(self._put) >= self._capacity:
            self._writable.clear()
            await self._writable.wait()
        key = object()
        self._put.add(key)
        self.post(key, event)

    def post(self, key: Hashable, event: T) -> None:
        """Queues an event that a newer one of the same key may replace."""
        self._events[key] = event
        self._readable.set()

    def retract(self, key: Hashable) -> None:
        """Drops the event under `key`, if it has not been read: it is out of date."""
        self._events.pop(key, None)

    def close(self) -> None:
        """Says that nothing more comes."""
        self._closed = True
        self._readable.set()

    async def get(self) -> T | None:
        """The oldest event, or None once all is read and nothing more comes."""
        while not self._events:
            if self._closed:
                return None
            self._readable.clear()
            await self._readable.wait()
        key = next(iter(self._events))
        self._put.discard(key)
        self._writable.set()
        return self._events.pop(key)

    async def filled_by(
        self, work: Coroutine[Any, Any, None], name: str
    ) -> AsyncGenerator[T, None]:
        """What `work`, which closes the outbox in the end, puts and posts; then what it raises.

        It runs as a task called `name`. Closing the iterator ends it before it returns.
        """
        task = asyncio.create_task(work, name=name)
        try:
            while (event := await self.get()) is not None:
                yield event
            await task
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # it was raised above, or nobody listens any more
