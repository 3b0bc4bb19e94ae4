"""What a gateway does besides answering calls: it runs renders, watches them, and sweeps."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from gateway import metrics
from gateway.jobs.attached import AttachedClients, Remaining
from gateway.jobs.attempt import Attempt, Outcome, Stores
from gateway.jobs.downloads import Downloads
from gateway.jobs.frames import FrameStore
from gateway.jobs.heartbeat import Rhythm
from gateway.jobs.objects import Objects
from gateway.jobs.records import Claim
from gateway.jobs.retention import Keeping
from gateway.jobs.scenes import FrameMaker
from gateway.jobs.store import Store
from gateway.jobs.sweeper import Sweeper
from gateway.jobs.videos import Videos
from gateway.jobs.watch import WatchHub
from gateway.jobs.worker import Worker
from gateway.pipeline import Composer, PipelineSettings
from gateway.settings import Settings
from rpckit.errors import GatorError
from rpckit.telemetry import logger

log = logger(__name__)

DEPTH_POLL = 10.0
"""Seconds between two looks at how many renders wait."""

RHYTHM = Rhythm()
"""How leases are kept; only tests have a faster one."""

Services = Callable[[str, Remaining], tuple[FrameMaker, Composer]]
"""The services below, for a render by its id, and what is left of its client's deadline."""


@dataclass
class Runtime:
    """The stores of a gateway, and what works on them. Made by `running`."""

    store: Store
    videos: Videos
    hub: WatchHub
    worker: Worker
    clients: AttachedClients
    downloads: Downloads
    _grace: float
    _tasks: list[asyncio.Task[None]]
    _draining: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Whether all that should run does."""
        return not any(task.done() for task in self._tasks)

    @property
    def draining(self) -> bool:
        """Whether the process ends."""
        return self._draining is not None

    def drain(self) -> None:
        """Claims nothing more, and lets renders run for the grace."""
        if self._draining is None:
            self._draining = asyncio.create_task(self.worker.drain(self._grace), name="drain")

    def dismiss(self) -> None:
        """Ends watchers: another replica can tell them the rest."""
        self.hub.close()

    async def _end(self) -> None:
        self.drain()
        self.dismiss()
        if self._draining is not None:
            await self._draining
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


@asynccontextmanager
async def running(settings: Settings, services: Services) -> AsyncIterator[Runtime]:
    """A gateway's stores and work until the end of the block, which waits for the drain.

    Raises:
        GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL.
        SchemaError: the database's tables are not those of this version.
        ValueError: a URL of the settings cannot be used.
    """
    objects = Objects.open(settings.objects)
    async with Store.open(
        settings.database,
        admission=settings.admission,
        migrate=settings.migrate,
        lease=timedelta(seconds=RHYTHM.lease),
    ) as store:
        runtime = _runtime(settings, services, store, objects)
        try:
            yield runtime
        finally:
            await runtime._end()  # noqa: SLF001 - the other half of what begins here


def _runtime(settings: Settings, services: Services, store: Store, objects: Objects) -> Runtime:
    name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    frames = FrameStore(objects, spool_dir=settings.spool_dir, ttl=_ttl(settings.frame_ttl))
    videos = Videos(objects)
    hub = WatchHub(store)
    clients = AttachedClients(store, name)

    async def attempt(claim: Claim) -> Outcome:
        render_id = claim.lease.render_id
        return await Attempt(
            claim,
            Stores(store, frames, videos),
            hub,
            services(render_id, clients.remaining(render_id)),
            pipeline_settings(settings),
            _ttl(settings.video_ttl),
            lambda: worker.check(claim.lease),
        ).run()

    worker = Worker(name, store, attempt, settings.max_concurrent_renders, RHYTHM)
    sweeper = Sweeper(objects, videos, store, Keeping(frame_ttl=_ttl(settings.frame_ttl)))
    work: dict[str, Coroutine[Any, Any, None]] = {
        "worker": worker.run(),
        "watch hub": hub.run(),
        "attached clients": clients.run(),
        "sweeper": sweeper.run(),
        "queue depth": _show_depth(store),
    }
    tasks = [asyncio.create_task(_supervised(name, one), name=name) for name, one in work.items()]
    downloads = Downloads(store, videos, hub)
    return Runtime(store, videos, hub, worker, clients, downloads, settings.grace, tasks)


async def _supervised(name: str, work: Coroutine[Any, Any, None]) -> None:
    """`work` does not end by itself. If it does, that is a bug, and the log has it."""
    try:
        await work
    except Exception:
        log.exception("work of the gateway broke off", work=name)


async def _show_depth(store: Store) -> None:
    while True:
        try:
            metrics.show_depth(await store.stats())
        except GatorError as error:
            log.debug("queue depth unknown", reason=error.reason.name)
        await asyncio.sleep(DEPTH_POLL)


def _ttl(setting: timedelta) -> timedelta | None:
    return setting or None


def pipeline_settings(settings: Settings) -> PipelineSettings:
    """How much of a render happens at a time."""
    return PipelineSettings(
        max_concurrent_scenes=settings.max_concurrent_scenes,
        scenes_ahead=settings.scenes_ahead,
        scene_attempts=settings.scene_attempts,
        spool_dir=settings.spool_dir,
    )
