"""What this process knows of one render that somebody watches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.events import ScenePreview
from gateway.jobs.records import RenderEventRecord, RenderSnapshot
from gateway.jobs.store import Store

RECENT = 256
"""Events of a render that are kept for those who watch it."""


class Watcher:
    """One who watches: what wakes it, and the previews that it has not seen."""

    def __init__(self, *, previews: bool) -> None:
        self.woken = asyncio.Event()
        """Something may have happened."""
        self._wants_previews = previews
        self._previews: dict[int, ScenePreview] = {}

    def show(self, preview: ScenePreview) -> None:
        """Takes a preview in the place of the one before it of the same scene."""
        if self._wants_previews:
            self._previews[preview.index] = preview
            self.woken.set()

    def take_previews(self) -> list[ScenePreview]:
        """The previews since the last call."""
        previews = list(self._previews.values())
        self._previews.clear()
        return previews


class Topic:
    """A render that is watched."""

    def __init__(self, store: Store, owner: str, render_id: str, sequence: int) -> None:
        self.sequence = sequence
        """Of the newest event that is known to be there."""
        self.gone = False
        """Whether the render was deleted."""
        self._store = store
        self._owner = owner
        self._render_id = render_id
        self._watchers: set[Watcher] = set()
        self._recent: deque[RenderEventRecord] = deque(maxlen=RECENT)
        self._snapshot: RenderSnapshot | None = None
        self._reading = asyncio.Lock()

    @contextmanager
    def watcher(self, previews: bool) -> Iterator[Watcher]:
        """Somebody watches until the end of the block."""
        watcher = Watcher(previews=previews)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    @property
    def unwatched(self) -> bool:
        """Whether nobody watches."""
        return not self._watchers

    def wake(self) -> None:
        """Wakes all who watch."""
        for watcher in self._watchers:
            watcher.woken.set()

    def advance(self, sequence: int) -> None:
        """There are events up to `sequence`."""
        if sequence > self.sequence:
            self.sequence = sequence
            self.wake()

    def end(self) -> None:
        """The render was deleted."""
        self.gone = True
        self.wake()

    def show(self, preview: ScenePreview) -> None:
        """Gives a preview to those who want it."""
        for watcher in self._watchers:
            watcher.show(preview)

    async def events_after(self, cursor: int) -> list[RenderEventRecord] | None:
        """Events that follow `cursor` without a gap, at least one; None if they were dropped.

        Call it only while `sequence` is above `cursor`.
        """
        if cached := self._cached_after(cursor):
            return cached
        async with self._reading:
            if cached := self._cached_after(cursor):
                return cached
            events = await self._store.events(self._render_id, cursor)
            if not events or events[0].sequence != cursor + 1:
                return None
            self.keep(events)
            return events

    def keep(self, events: list[RenderEventRecord]) -> None:
        """Keeps the newest events for those who watch, in one run without a gap."""
        if events and self._recent:
            newest = self._recent[-1].sequence
            if events[-1].sequence <= newest:
                return
            if events[0].sequence != newest + 1:
                self._recent.clear()
        self._recent.extend(events)

    def _cached_after(self, cursor: int) -> list[RenderEventRecord]:
        if not self._recent or self._recent[0].sequence > cursor + 1:
            return []
        # By index from the end, where most who watch are.
        first = cursor + 1 - self._recent[0].sequence
        return [self._recent[i] for i in range(first, len(self._recent))]

    async def snapshot(self, at_least: int) -> RenderSnapshot:
        """The render as it stands, with the event `at_least`, read once for all who ask."""
        async with self._reading:
            if self._snapshot is None or self._snapshot.render.sequence < at_least:
                self._snapshot = await self._store.snapshot(self._owner, self._render_id)
            return self._snapshot
