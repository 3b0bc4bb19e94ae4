"""What watchers of renders are told, wherever the renders run.

A process asks the database about all renders that it watches, and for what is new of them,
at once: when the store hints at a change, and every 500 ms. A watcher has no queue. It has a
place in the numbered events of its render and reads on from there when it has time, so a
slow one loses nothing and costs nothing. The newest events of a render are kept here for all
who watch it; an older place is read from the store.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway import metrics
from gateway.events import PassingEvent, ScenePreview
from gateway.jobs.records import EventKind, Hint, RenderEventRecord, RenderSnapshot
from gateway.jobs.store import Store
from gateway.jobs.store.reading import not_found
from gateway.jobs.topic import Topic
from rpckit.errors import GatorError, Reason
from rpckit.telemetry import logger

log = logger(__name__)

POLL = 0.5
"""Seconds between two looks at the database without a hint."""
SHORTEST_POLL = 0.025
"""Seconds between two looks, however many hints come."""


@dataclass(frozen=True)
class WatchedSnapshot:
    """The render as it stands."""

    sequence: int
    snapshot: RenderSnapshot


@dataclass(frozen=True)
class WatchedEvent:
    """Something happened."""

    sequence: int
    payload: bytes


@dataclass(frozen=True)
class WatchedPreview:
    """A small picture of a scene's frame, from a render that runs in this process."""

    sequence: int
    """Of the event before it."""
    preview: ScenePreview


WatchEvent = WatchedSnapshot | WatchedEvent | WatchedPreview

Listener = Callable[[PassingEvent], None]


class WatchHub:
    """Shares what is known of renders among those in this process who watch them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topics: dict[str, Topic] = {}
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        self._hinted = asyncio.Event()
        self._closed = False

    # --- from the renders of this process ----------------------------------------------

    def tell(self, render_id: str, event: PassingEvent) -> None:
        """Something happened in a render of this process; no watcher is waited for."""
        for listener in tuple(self._listeners.get(render_id, ())):
            listener(event)
        if isinstance(event, ScenePreview) and (topic := self._topics.get(render_id)):
            topic.show(event)

    @contextmanager
    def listening(self, render_id: str, listener: Listener) -> Iterator[None]:
        """Calls `listener` with what `tell` is told of a render, until the end of the block."""
        listeners = self._listeners[render_id]
        listeners.add(listener)
        try:
            yield
        finally:
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(render_id, None)

    # --- from the database --------------------------------------------------------------

    async def run(self) -> None:
        """Looks at the database until it is cancelled."""
        unlisten = self._store.listen(self._hint)
        try:
            while True:
                self._hinted.clear()
                await self._look()
                await asyncio.sleep(SHORTEST_POLL)
                try:
                    async with asyncio.timeout(POLL):
                        await self._hinted.wait()
                except TimeoutError:
                    continue
        finally:
            unlisten()

    def _hint(self, hint: Hint) -> None:
        if hint.render_ids is None or not hint.render_ids.isdisjoint(self._topics):
            self._hinted.set()

    async def _look(self) -> None:
        if not self._topics:
            return
        try:
            changes = await self._store.changed({i: t.sequence for i, t in self._topics.items()})
        except GatorError as error:  # watchers wait until it is back
            log.warning("watched renders could not be looked at", reason=error.reason.name)
            return
        for render_id, sequence in changes.advanced.items():
            if topic := self._topics.get(render_id):
                topic.keep(changes.events.get(render_id, []))
                topic.advance(sequence)
        for render_id in changes.gone:
            if topic := self._topics.get(render_id):
                topic.end()

    def close(self) -> None:
        """Ends every watcher with SHUTTING_DOWN: another replica can tell it the rest."""
        self._closed = True
        for topic in self._topics.values():
            topic.wake()

    # --- to watchers ----------------------------------------------------------------------

    async def watch(
        self,
        owner: str,
        render_id: str,
        after: int = 0,
        *,
        previews: bool = False,
        to_the_end: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """The render as it stands, then its events, and last how it ended.

        Where `after` is not 0, every event after that one comes, also those that
        the first snapshot shows already. `to_the_end` goes on after `close`.

        Raises:
            GatorError: RENDER_NOT_FOUND, also when it is deleted meanwhile;
                SHUTTING_DOWN; STORAGE_UNAVAILABLE.
        """
        snapshot = await self._store.snapshot(owner, render_id)
        newest = snapshot.render.sequence
        cursor = after if 0 < after < newest else newest
        with self._joined(owner, render_id, newest) as topic, topic.watcher(previews) as watcher:
            yield WatchedSnapshot(cursor, snapshot)
            if snapshot.render.state.ended and cursor == newest:
                return
            while True:
                watcher.woken.clear()
                if self._closed and not to_the_end:
                    raise _shutting_down()
                if topic.gone:
                    raise not_found(render_id)
                for preview in watcher.take_previews():
                    yield WatchedPreview(cursor, preview)
                if topic.sequence <= cursor:
                    await watcher.woken.wait()
                    continue
                cursor, events = await self._since(topic, cursor)
                for event in events:
                    yield event
                    if isinstance(event, WatchedSnapshot) and event.snapshot.render.state.ended:
                        return

    async def _since(
        self, topic: Topic, cursor: int
    ) -> tuple[int, list[WatchedSnapshot | WatchedEvent]]:
        """The next place after `cursor`, and what is told up to there."""
        events = await topic.events_after(cursor)
        if events is None:
            snapshot = await topic.snapshot(topic.sequence)
            newest = snapshot.render.sequence
            return newest, [WatchedSnapshot(newest, snapshot)]
        shown = [await self._shown(topic, event) for event in events]
        return events[-1].sequence, [event for event in shown if event is not None]

    async def _shown(
        self, topic: Topic, event: RenderEventRecord
    ) -> WatchedSnapshot | WatchedEvent | None:
        """What an event shows; None for a state that the end, which comes last, shows too."""
        if event.kind is EventKind.PROGRESS:
            return WatchedEvent(event.sequence, event.payload)
        snapshot = await topic.snapshot(event.sequence)
        if snapshot.render.state.ended and event.sequence < snapshot.render.sequence:
            return None
        return WatchedSnapshot(event.sequence, snapshot)

    @contextmanager
    def _joined(self, owner: str, render_id: str, sequence: int) -> Iterator[Topic]:
        topic = self._topics.get(render_id)
        if topic is None or topic.gone:
            topic = self._topics[render_id] = Topic(self._store, owner, render_id, sequence)
        topic.advance(sequence)
        metrics.WATCHERS.inc()
        try:
            yield topic
        finally:
            metrics.WATCHERS.dec()
            if topic.unwatched and self._topics.get(render_id) is topic:
                del self._topics[render_id]


def _shutting_down() -> GatorError:
    return GatorError(
        Reason.SHUTTING_DOWN,
        "the gateway shuts down; watch on with after_sequence",
        retry_after=0.1,
    )
