"""Deletes, in the background, the objects that nobody needs any more (`retention` says which)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from gateway.jobs.objects import Objects
from gateway.jobs.retention import Keeping, RenderView
from gateway.jobs.videos import Videos


class Rows(Protocol):
    """What the sweeper asks of the store of renders."""

    async def now(self) -> datetime:
        """The database's time."""

    async def retention(self, render_ids: Sequence[str]) -> Mapping[str, RenderView]:
        """What rows tell about objects, by id; ids without a row are left out."""

    async def frames_in_use(self, folders: Sequence[str]) -> set[str]:
        """Those of the folders to which a scene of a render refers that has not ended."""


class Sweeper:
    """Sweeps a store of objects. Any number of replicas may do so at a time."""

    def __init__(self, objects: Objects, videos: Videos, rows: Rows, keeping: Keeping) -> None:
        raise NotImplementedError

    async def run(self, interval: float = 600.0) -> None:
        """Sweeps about every `interval` seconds until it is cancelled; logs what fails."""
        raise NotImplementedError

    async def sweep(self) -> int:
        """Sweeps once; how many objects were deleted."""
        raise NotImplementedError
