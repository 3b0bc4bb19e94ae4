"""The frames of one attempt: found among those that are stored, or made and then stored."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from gateway import metrics
from gateway.convert.stored import provenance_of, warnings_of
from gateway.events import FrameDone, FrameEvent
from gateway.jobs.failpoints import Point, passing
from gateway.jobs.frames import FramePlan, FrameStore, frame_key, own_folder, shared_folder
from gateway.jobs.journal import Journal
from gateway.jobs.persistence import persistently
from gateway.jobs.records import Lease, SceneRecord
from gateway.pipeline import MadeScene
from gateway.request import Render, RenderWarning
from rpckit.errors import GatorError
from rpckit.provenance import Provenance
from rpckit.tracing import span

PATIENCE = 30.0
"""Seconds for which a frame waits for a store of objects that is away."""


LAST_CHANCE = 0.5
"""Seconds in which a frame may still be stored whose render is stopped."""


class FrameMaker(Protocol):
    """What makes frames: the frame generation service."""

    async def plan(self, render: Render, index: int) -> FramePlan | None:
        """What would make the frame of scene `index`; None if that cannot be told."""
        ...

    def generate(self, render: Render, index: int) -> AsyncGenerator[FrameEvent, None]:
        """Makes the frame of scene `index`."""
        ...


@dataclass(frozen=True)
class _Origin:
    """What is known of a scene's frame before it is there."""

    plan: FramePlan | None = None
    folder: str = ""
    """Where it is stored already, or would be if it is made as planned."""
    stored: bool = False
    """Whether it is stored in `folder`."""
    known: bool = False
    """Whether the render's row says so."""


class Scenes:
    """The source of frames of one attempt (`gateway.pipeline.FrameSource`)."""

    def __init__(
        self,
        owner: str,
        lease: Lease,
        finished: Iterable[SceneRecord],
        maker: FrameMaker,
        frames: FrameStore,
        journal: Journal,
        check_lease: Callable[[], None],
    ) -> None:
        """`finished` are the scenes that earlier attempts finished.

        `check_lease` raises LeaseLost once another may have the render.
        """
        self._owner = owner
        self._lease = lease
        self._finished = {scene.index: scene for scene in finished if scene.finished}
        self._maker = maker
        self._frames = frames
        self._journal = journal
        self._check_lease = check_lease
        self._origins: dict[int, _Origin] = {}

    async def find(self, render: Render, index: int) -> MadeScene | None:
        """The frame that an earlier attempt stored, or another render of the owner."""
        return await self._resumed(index) or await self._shared(render, index)

    async def _resumed(self, index: int) -> MadeScene | None:
        record = self._finished.get(index)
        if record is None:
            return None
        stored = await self._frames.get(record.frame)
        if stored is None:
            return None
        self._origins[index] = _Origin(folder=record.frame, stored=True, known=True)
        return MadeScene(stored.frame, provenance_of(record.progress), warnings_of(record.warnings))

    async def _shared(self, render: Render, index: int) -> MadeScene | None:
        plan = await self._maker.plan(render, index)
        if plan is None or not plan.shareable:
            self._origins[index] = _Origin(plan)
            return None
        folder = shared_folder(frame_key(self._owner, plan, render.scenes[index]))
        stored = await self._frames.get(folder)
        self._origins[index] = _Origin(plan, folder, stored=stored is not None)
        if stored is None:
            return None
        metrics.FRAMES_REUSED.inc()
        return MadeScene(stored.frame, stored.reused, _of_scene(stored.warnings, index))

    async def generate(self, render: Render, index: int) -> AsyncGenerator[FrameEvent, None]:
        """Has the frame made. LeaseLost if that is another worker's by now."""
        self._check_lease()
        async with aclosing(self._maker.generate(render, index)) as events:
            async for event in events:
                if isinstance(event, bytes):
                    passing(Point.MID_SCENE)
                if isinstance(event, FrameDone):
                    await self._plan_again(render, index, event.provenance)
                yield event

    async def _plan_again(self, render: Render, index: int, made: Provenance) -> None:
        """Looks for the place of a frame that was made in another way than planned.

        Before a model is loaded, what would be used is told from files: the first
        frame shows it may be another model, or another revision of it.
        """
        before = self._origins[index].plan
        if before is None or not before.shareable or before.made(made):
            return
        with suppress(GatorError):  # then it serves this render alone
            plan = await self._maker.plan(render, index)
            if plan is not None and plan.shareable and plan.made(made):
                folder = shared_folder(frame_key(self._owner, plan, render.scenes[index]))
                self._origins[index] = _Origin(plan, folder)

    async def keep(self, index: int, made: MadeScene) -> None:
        """Stores a frame that was made, and tells the render's row where it is.

        If it is cancelled, because another scene failed, say, it has a little time to end:
        the frame may have been paid for.
        """
        keeping = asyncio.create_task(self._keep(index, made), name=f"keep scene {index}")
        try:
            await asyncio.shield(keeping)
        except asyncio.CancelledError:
            await asyncio.wait([keeping], timeout=LAST_CHANCE)
            keeping.cancel()
            await asyncio.wait([keeping])
            if not keeping.cancelled():
                keeping.exception()  # the attempt ends for another reason
            raise

    async def _keep(self, index: int, made: MadeScene) -> None:
        origin = self._origins[index]
        if origin.known:
            return
        folder = origin.folder
        if not origin.stored:
            metrics.FRAMES_GENERATED.inc()
            folder = self._folder(index, origin, made.provenance)
            with span("store frame", {"gator.frame.bytes": made.frame.header.size}):
                await persistently(
                    lambda: self._frames.put(folder, made.frame, made.provenance, made.warnings),
                    PATIENCE,
                )
            passing(Point.SCENE_STORED)
        await self._journal.finish_scene(index, made, folder)
        passing(Point.SCENE_FINISHED)

    def _folder(self, index: int, origin: _Origin, provenance: Provenance) -> str:
        """Where a frame belongs that was made: to its owner's renders, or to this one alone."""
        if origin.folder and origin.plan is not None and origin.plan.made(provenance):
            return origin.folder
        return own_folder(self._lease.render_id, index, self._lease.epoch)


def _of_scene(warnings: Iterable[RenderWarning], index: int) -> tuple[RenderWarning, ...]:
    """Warnings of a frame that was made for another scene."""
    return tuple(
        replace(w, field=re.sub(r"^scenes\[\d+\]", f"scenes[{index}]", w.field)) for w in warnings
    )
