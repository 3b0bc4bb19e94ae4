"""Deletes, in the background, the objects that nobody needs any more (`retention` says which).

A store of objects belongs to one database: what has no row there is deleted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Protocol

from gateway.jobs.frames import MANIFEST, OWN, SHARED
from gateway.jobs.objects import MissingObjectError, ObjectInfo, Objects
from gateway.jobs.retention import (
    Keeping,
    RenderView,
    is_unused,
    render_of,
    useless_frames,
    useless_outputs,
    without_held,
)
from gateway.jobs.videos import OUTPUTS, Videos
from rpckit.errors import GatorError
from rpckit.telemetry import logger

log = logger(__name__)

ROWS_EVERY = 60.0
"""Seconds between two looks at rows."""
OUTPUTS_EVERY = 600.0
"""Seconds between two looks at videos and frames of single renders."""
FRAMES_EVERY = 3600.0
"""Seconds between two looks at shared frames."""
FIRST_WITHIN = 60.0
"""Seconds within which the first look comes: not at once, when many replicas start together."""
AT_A_TIME = 500
"""Rows that are asked for at a time."""


class Rows(Protocol):
    """What the sweeper asks of the store of renders."""

    async def now(self) -> datetime:
        """The database's time."""

    async def retention(self, render_ids: Sequence[str]) -> Mapping[str, RenderView]:
        """What rows tell about objects, by id; ids without a row are left out."""

    async def frames_in_use(self, folders: Sequence[str]) -> set[str]:
        """Those of the folders to which a scene of a render refers that has not ended."""

    async def prune(self, *, renders_after: timedelta | None) -> None:
        """Drops rows that nobody needs any more, not too many at a time."""


class Sweeper:
    """Sweeps a store of objects. Any number of replicas may do so at a time."""

    def __init__(self, objects: Objects, videos: Videos, rows: Rows, keeping: Keeping) -> None:
        """What `videos` reads or writes at the time stays."""
        self._objects = objects
        self._videos = videos
        self._rows = rows
        self._keeping = keeping

    async def run(self) -> None:
        """Sweeps now and then until it is cancelled; logs what fails and goes on."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(self._prune, ROWS_EVERY), name="prune rows")
            group.create_task(_repeat(self.sweep_outputs, OUTPUTS_EVERY), name="sweep outputs")
            group.create_task(_repeat(self.sweep_frames, FRAMES_EVERY), name="sweep frames")

    async def _prune(self) -> None:
        await self._rows.prune(renders_after=self._keeping.render_ttl)

    async def sweep(self) -> int:
        """Sweeps all objects once; how many were deleted. GatorError if a store is away."""
        return await self.sweep_outputs() + await self.sweep_frames()

    async def sweep_outputs(self) -> int:
        """Deletes strays of old attempts, live forms, expired videos, and frames of one render.

        Also what writers left that have died. Returns how many objects were
        deleted. GatorError if a store is away.
        """
        await self._objects.clean()
        now = await self._rows.now()
        count = 0
        for folder in (OUTPUTS, OWN):
            async with aclosing(self._objects.listing(folder)) as batches:
                async for batch in batches:
                    count += await self._sweep_outputs(batch, now)
        _tell("outputs", count)
        return count

    async def _sweep_outputs(self, batch: Sequence[ObjectInfo], now: datetime) -> int:
        ids = sorted({render_of(info.key) for info in batch} - {""})
        views: dict[str, RenderView] = {}
        for start in range(0, len(ids), AT_A_TIME):
            views |= await self._rows.retention(ids[start : start + AT_A_TIME])
        useless = useless_outputs(batch, views, now, self._keeping)
        keys = without_held(useless, self._videos.in_use)
        await self._objects.delete(*keys)
        return len(keys)

    async def sweep_frames(self) -> int:
        """Deletes shared frames that were not used for long, and what is left of unfinished ones.

        Returns how many objects were deleted. GatorError if a store is away.
        """
        now = await self._rows.now()
        count = 0
        for shard in range(256):
            listed: list[ObjectInfo] = []
            async with aclosing(self._objects.listing(f"{SHARED}/{shard:02x}")) as batches:
                async for batch in batches:
                    listed += batch
            if listed:
                count += await self._sweep_frames(listed, now)
        _tell("frames", count)
        return count

    async def _sweep_frames(self, listed: Sequence[ObjectInfo], now: datetime) -> int:
        useless = useless_frames(listed, now, self._keeping)
        folders = list(useless.unused)
        in_use: set[str] = set()
        for start in range(0, len(folders), AT_A_TIME):
            in_use |= await self._rows.frames_in_use(folders[start : start + AT_A_TIME])
        count = 0
        for folder, keys in useless.unused.items():
            if folder not in in_use and not await self._was_used(folder, now):
                await self._objects.delete(*keys)
                count += len(keys)
        for folder, keys in useless.doubtful.items():
            count += await self._delete_unnamed(folder, keys)
        return count

    async def _was_used(self, folder: str, now: datetime) -> bool:
        """Whether the frame was used since the listing was made."""
        manifest = await self._objects.head(f"{folder}/{MANIFEST}")
        return manifest is not None and not is_unused(manifest, now, self._keeping)

    async def _delete_unnamed(self, folder: str, keys: Sequence[str]) -> int:
        """Deletes bytes that are not those of the manifest."""
        try:
            manifest = (await self._objects.get(f"{folder}/{MANIFEST}")).decode(errors="replace")
        except MissingObjectError:
            return 0
        unnamed = [key for key in keys if key.rpartition("/")[2].partition(".")[0] not in manifest]
        await self._objects.delete(*unnamed)
        return len(unnamed)


async def _repeat(sweep: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Sweeps about every so many seconds."""
    wait = random.uniform(0, FIRST_WITHIN)  # noqa: S311 - spreads replicas, guards nothing
    while True:
        await asyncio.sleep(wait)
        try:
            await sweep()
        except GatorError as error:
            log.warning("sweeping broke off", reason=error.reason.name, message=error.message)
        wait = seconds * random.uniform(0.9, 1.1)  # noqa: S311 - as above


def _tell(what: str, count: int) -> None:
    if count:
        log.info("swept", what=what, deleted=count)
