"""What renders leave behind that have ended: tasks, threads, objects and leases."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gateway.jobs.objects import Objects
from gateway.jobs.retention import Keeping
from gateway.jobs.store import Store
from gateway.jobs.sweeper import Sweeper
from gateway.jobs.videos import Videos
from rpckit.testing import other_tasks
from tests.support.databases import Database
from tests.support.processes import LOG_READING


async def nothing_left(before: set[asyncio.Task[object]], threads: set[threading.Thread]) -> None:
    """Waits until the tasks that a render started have ended, and its threads."""
    async with asyncio.timeout(100):
        while left := {t for t in other_tasks() - before if t.get_name() != LOG_READING}:
            await asyncio.wait(left, timeout=0.05)
        while _composing(threads):  # noqa: ASYNC110 - a thread tells no loop that it ends
            await asyncio.sleep(0.05)


def _composing(before: set[threading.Thread]) -> bool:
    return any("compose" in thread.name for thread in set(threading.enumerate()) - before)


_AT_ONCE = Keeping(live=timedelta(0), grace=timedelta(0))
_OF_A_FRAME = 2
"""Objects: its bytes and its manifest."""


@dataclass(frozen=True)
class Leftovers:
    """What a sweep found that waits for nothing, and what it did not."""

    swept: int
    """Objects that it deleted: live forms, and what attempts left that died."""
    strays: tuple[str, ...]
    """What is still there and belongs to no render that succeeded, in words."""


async def swept(database: Database, state: Path, url: str = "") -> Leftovers:
    """Sweeps the objects where all renders of `database` have ended, and looks what is left.

    They are in `state`/objects, or at `url`.

    A frame is no stray as long as all of it is there: others may use it.
    """
    objects = Objects.open(url or (state / "objects").as_uri())
    async with Store.open(database.url) as store:
        sweeper = Sweeper(objects, Videos(objects), store, _AT_ONCE)
        deleted = await sweeper.sweep()
    keys = {o.key async for batch in objects.listing("") for o in batch}
    frames = {key for key in keys if key.startswith("frames/")}
    rows = await database.sql("select id, state, lease_until, video_location from renders")
    videos = {video for _, _, _, video in rows if video}
    incomplete = [
        f"the frame {folder} has {count} objects"
        for folder, count in Counter(key.rpartition("/")[0] for key in frames).items()
        if count != _OF_A_FRAME
    ]
    strays = [
        *(f"{render} is {what}" for render, what, _, _ in rows if what in ("queued", "running")),
        *(f"{render} has a lease" for render, _, lease, _ in rows if lease is not None),
        *(f"{video} is lost" for video in videos - keys),
        *(f"{key} is no render's" for key in keys - frames - videos),
        *incomplete,
        *(f"{path.name} is half-written" for path in (state / "objects/.writing").glob("*")),
    ]
    return Leftovers(deleted, tuple(sorted(strays)))
