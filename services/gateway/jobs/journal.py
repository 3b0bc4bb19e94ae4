"""What happens in an attempt, on its way into the store: a few times a second."""

from __future__ import annotations

import asyncio

from gateway.convert.stored import event_bytes, scene_bytes, warnings_bytes
from gateway.events import RenderProgress, SceneProgress, SceneState
from gateway.jobs.persistence import persistently
from gateway.jobs.records import Lease, SceneRecord
from gateway.jobs.states import Phase
from gateway.jobs.store import Store
from gateway.pipeline import MadeScene

INTERVAL = 0.1
"""Seconds between two writes of progress."""


class Journal:
    """Writes for one lease. Progress that is overtaken before it is written is left out.

    Every method that writes raises LeaseLost once the lease is over, and waits while the
    database is away.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._scenes: dict[int, SceneProgress] = {}
        self._progress: RenderProgress | None = None
        self._noted = asyncio.Event()
        self._writing = asyncio.Lock()

    def note(self, event: RenderProgress | SceneProgress) -> None:
        """Takes how far the render or a scene is, to be written soon."""
        if isinstance(event, RenderProgress):
            self._progress = event
        else:
            self._scenes[event.index] = event
        self._noted.set()

    async def run(self) -> None:
        """Writes what is noted until it is cancelled."""
        while True:
            await self._noted.wait()
            await self.flush()
            await asyncio.sleep(INTERVAL)

    async def flush(self) -> None:
        """Writes what is noted now."""
        async with self._writing:
            self._noted.clear()
            scenes, self._scenes = self._scenes, {}
            progress, self._progress = self._progress, None
            events = [event_bytes(scene) for scene in scenes.values()]
            if progress is not None:
                events.append(event_bytes(progress))
            if not events:
                return
            records = [SceneRecord(i, scene_bytes(scene)) for i, scene in scenes.items()]
            await persistently(
                lambda: self._store.append_events(
                    self._lease, events, scenes=records, progress=progress
                )
            )

    async def finish_scene(self, index: int, made: MadeScene, folder: str) -> None:
        """Writes that the frame of a scene is stored in `folder`."""
        progress = SceneProgress(index, SceneState.FINISHED, provenance=made.provenance)
        record = SceneRecord(
            index,
            scene_bytes(progress),
            frame=folder,
            warnings=warnings_bytes(made.warnings),
        )
        async with self._writing:
            self._scenes.pop(index, None)
            await persistently(
                lambda: self._store.finish_scene(self._lease, record, [event_bytes(progress)])
            )

    async def enter(self, phase: Phase) -> None:
        """Writes how far the attempt has come."""
        await persistently(lambda: self._store.enter_phase(self._lease, phase))
