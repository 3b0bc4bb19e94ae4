"""A render's row, followed by one who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from gateway.jobs.live_form import content_changed
from gateway.jobs.persistence import persistently
from gateway.jobs.records import RenderRecord, RenderSnapshot
from gateway.jobs.states import RenderState
from gateway.jobs.watch import WatchedEvent, WatchedSnapshot, WatchHub

OnEvent = Callable[[bytes], None]
OnSnapshot = Callable[[RenderSnapshot], None]


class Following:
    """The newest that is known of a render's row, also while the database is away."""

    def __init__(self, hub: WatchHub, owner: str, render_id: str) -> None:
        self._hub = hub
        self._owner = owner
        self._render_id = render_id
        self._record: RenderRecord | None = None
        self._failure: BaseException | None = None
        self._moved = asyncio.Condition()
        self.on_snapshot: OnSnapshot = lambda _: None
        """Called with each snapshot."""
        self.on_event: OnEvent = lambda _: None
        """Called with the payload of each event."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows until the end of the block."""
        task = asyncio.create_task(self._follow(), name=f"following {self._render_id}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self) -> None:
        failure: BaseException | None = None
        try:
            await persistently(self._watch)
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            failure = error
        async with self._moved:
            self._failure = failure
            self._moved.notify_all()

    async def _watch(self) -> None:
        watching = self._hub.watch(self._owner, self._render_id, to_the_end=True)
        async with aclosing(watching) as events:
            async for event in events:
                match event:
                    case WatchedSnapshot(_, snapshot):
                        self.on_snapshot(snapshot)
                        async with self._moved:
                            self._record = snapshot.render
                            self._moved.notify_all()
                    case WatchedEvent(_, payload):
                        self.on_event(payload)

    async def until(self, wanted: Callable[[RenderRecord], bool]) -> RenderRecord:
        """The render as soon as it is as `wanted`; GatorError once it cannot be watched."""
        async with self._moved:
            while self._record is None or not wanted(self._record):
                if self._failure is not None:
                    raise self._failure
                await self._moved.wait()
            return self._record

    async def while_made(
        self, epoch: int, chunks: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """`chunks` of the attempt with that epoch; CONTENT_CHANGED once it is given up."""
        given_up = asyncio.create_task(self.until(lambda render: is_given_up(render, epoch)))
        reading: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                reading = asyncio.ensure_future(anext(chunks, None))
                await asyncio.wait({reading, given_up}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    given_up.result()
                    raise content_changed()
                if (chunk := reading.result()) is None:
                    return
                yield chunk
        finally:
            tasks = {given_up} if reading is None else {given_up, reading}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.exception()  # it was raised above, or came too late
            await chunks.aclose()


def is_given_up(render: RenderRecord, epoch: int) -> bool:
    """Whether the attempt with that epoch brings no video any more."""
    if render.epoch != epoch:
        return render.epoch > epoch
    return render.state in (RenderState.QUEUED, RenderState.FAILED, RenderState.CANCELLED)
