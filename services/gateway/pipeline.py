"""One render's way: frames are made side by side, composed in order, and sent as they are.

    scene 0 ─ find or generate ─> spool ─┐
    scene 1 ─ find or generate ─> spool ─┼─ in order ─> compose ─> video bytes ─> outbox ─> reader
    scene 2 ─ find or generate ─> spool ─┘
                                    └─ kept, while it is composed

Nothing starts before the compositor has planned the video. Then a scene starts
when it is among the first `max_concurrent_scenes` that are not made yet and at
most `scenes_ahead` after the one whose frame the compositor is taking. The
compositor reads a frame only when it has room, so a slow encoder, or a slow
reader behind it, holds everything up, and nothing piles up in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import tenacity

from gateway import metrics
from gateway.events import (
    Accepted,
    ComposeEvent,
    ComposePlan,
    ComposeProgress,
    ComposeSummary,
    FrameDone,
    FrameEvent,
    FramePreview,
    FrameProgress,
    FrameQueued,
    PipelineEvent,
    Result,
    ScenePreview,
    SceneProgress,
    SceneState,
    StoredBytes,
    Video,
)
from gateway.groups import first_error
from gateway.outbox import Outbox
from gateway.progress import ProgressMeter
from gateway.request import Render, RenderWarning
from gateway.spool import SpooledFrame
from rpckit import tracing
from rpckit.errors import GatorError, Reason
from rpckit.frame import FrameHeader
from rpckit.provenance import Provenance

OUTBOX_CAPACITY = 8
"""Events that wait for the client; video chunks of up to 1 MiB are the large ones."""

_TRANSIENT = {
    Reason.DOWNSTREAM_UNAVAILABLE,
    Reason.FRAME_CORRUPT,
    Reason.OVERLOADED,
    Reason.SHUTTING_DOWN,
    Reason.STORAGE_UNAVAILABLE,
}
"""Reasons for which a scene is started again."""


@dataclass(frozen=True)
class MadeScene:
    """A scene's frame, and where it came from. Close the frame when it is not needed any more."""

    frame: SpooledFrame
    provenance: Provenance
    warnings: tuple[RenderWarning, ...] = ()


class FrameSource(Protocol):
    """Where the frames of scenes come from, and where they are kept."""

    async def find(self, render: Render, index: int) -> MadeScene | None:
        """The frame of scene `index`, if it was made before."""
        ...

    def generate(self, render: Render, index: int) -> AsyncGenerator[FrameEvent, None]:
        """Makes the frame of scene `index`, which was looked for and not found."""
        ...

    async def keep(self, index: int, made: MadeScene) -> None:
        """Sees to it that a frame, found or made, need not be made again."""
        ...


class Composer(Protocol):
    """Makes a video of frames."""

    def compose(
        self, render: Render, frames: AsyncGenerator[SpooledFrame, None]
    ) -> AsyncGenerator[ComposeEvent, None]:
        """Makes the video of `render` from its frames in order. Closes each frame it took."""
        ...


@dataclass(frozen=True)
class PipelineSettings:
    """How much of a render happens at a time."""

    max_concurrent_scenes: int = 4
    scenes_ahead: int = 4
    scene_attempts: int = 5
    spool_dir: Path | None = None


class Pipeline:
    """Runs one render. `events` may be iterated once."""

    def __init__(
        self,
        render_id: str,
        render: Render,
        frame_source: FrameSource,
        composer: Composer,
        settings: PipelineSettings,
        fraction: float = 0.0,
    ) -> None:
        """`fraction` of the work is said to be done from the start: by attempts before."""
        self._render_id = render_id
        self._render = render
        self._frame_source = frame_source
        self._composer = composer
        self._settings = settings
        self._outbox: Outbox[PipelineEvent] = Outbox(OUTBOX_CAPACITY)
        self._meter = ProgressMeter(len(render.scenes), fraction)
        self._making = asyncio.Semaphore(settings.max_concurrent_scenes)
        self._accepted = asyncio.Event()
        self._composing = 0
        self._advanced = asyncio.Condition()
        self._made: list[asyncio.Future[MadeScene]] = []

    async def events(self) -> AsyncGenerator[PipelineEvent, None]:
        """The render's events. Closing the iterator ends all work before it returns."""
        loop = asyncio.get_running_loop()
        self._made = [loop.create_future() for _ in self._render.scenes]
        work = self._outbox.filled_by(self._run(), f"render {self._render_id}")
        try:
            async with aclosing(work) as events:
                async for event in events:
                    yield event
        finally:
            self._discard()

    def _discard(self) -> None:
        for made in self._made:
            if made.done() and not made.cancelled() and made.exception() is None:
                made.result().frame.close()

    async def _run(self) -> None:
        try:
            with first_error():
                async with asyncio.TaskGroup() as group:
                    for index in range(len(self._render.scenes)):
                        group.create_task(self._make(index))
                    group.create_task(self._compose())
                    group.create_task(self._await_compositor())
        finally:
            self._outbox.close()

    # --- scenes ------------------------------------------------------------------------

    async def _make(self, index: int) -> None:
        await self._accepted.wait()
        async with self._advanced:
            await self._advanced.wait_for(
                lambda: index <= self._composing + self._settings.scenes_ahead
            )
        async with self._making:
            with tracing.span("scene", {"gator.scene.index": index}) as scene:
                made = await self._make_with_retries(index)
                scene.set_attributes(made.provenance.span_attributes)
                with made.frame.kept_open():
                    self._made[index].set_result(made)
                    await self._frame_source.keep(index, made)
        key = ("scene", index)
        self._outbox.retract(key)
        self._outbox.retract(("preview", index))
        self._outbox.post(
            ("finished", index),
            SceneProgress(index, SceneState.FINISHED, provenance=made.provenance),
        )
        self._meter.scene_finished(index)
        self._post_progress()

    async def _make_with_retries(self, index: int) -> MadeScene:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_transient),
            stop=tenacity.stop_after_attempt(self._settings.scene_attempts),
            wait=_wait_as_told,
            reraise=True,
        )
        made: MadeScene = await retrying(self._make_once, index)
        return made

    async def _make_once(self, index: int) -> MadeScene:
        if found := await self._frame_source.find(self._render, index):
            tracing.current().set_attribute("gator.scene.found", True)
            return found
        spooled: SpooledFrame | None = None
        try:
            async with aclosing(self._frame_source.generate(self._render, index)) as events:
                async for event in events:
                    if isinstance(event, FrameHeader) and spooled is None:
                        spooled = SpooledFrame(event, self._settings.spool_dir)
                    elif isinstance(event, bytes) and spooled is not None:
                        await spooled.write(event)
                    elif isinstance(event, FrameDone) and spooled is not None:
                        spooled.finish()
                        made = MadeScene(spooled, event.provenance, event.warnings)
                        spooled = None
                        return made
                    else:
                        self._relay(index, event)
        finally:
            if spooled is not None:
                spooled.close()
        raise GatorError(
            Reason.DOWNSTREAM_UNAVAILABLE,
            f"the frame generation service ended the stream of scene {index} too early",
            metadata={"downstream": "frame_gen"},
        )

    def _relay(self, index: int, event: FrameEvent) -> None:
        key = ("scene", index)
        if isinstance(event, FrameQueued):
            self._outbox.post(
                key, SceneProgress(index, SceneState.QUEUED, time_left=event.time_left)
            )
        elif isinstance(event, FrameProgress):
            state = SceneState.GENERATING
            self._outbox.post(
                key, SceneProgress(index, state, event.step, event.steps, event.time_left)
            )
            self._meter.scene_stepped(index, event.step, event.steps)
            self._post_progress()
        elif isinstance(event, FramePreview):
            self._outbox.post(("preview", index), ScenePreview(index, event.jpeg, event.step))

    # --- video -------------------------------------------------------------------------

    async def _frames(self) -> AsyncGenerator[SpooledFrame, None]:
        for index, made in enumerate(self._made):
            async with self._advanced:
                self._composing = index
                self._advanced.notify_all()
            # Shielded: a caller that is refused gives up waiting, the scene goes on.
            yield (await asyncio.shield(made)).frame

    async def _compose(self) -> None:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._is_waiting_for_compositor),
            wait=_wait_as_told,
            reraise=True,
        )
        quality = self._render.quality.name.lower()
        with tracing.span("compose", {"gator.video.quality": quality}):
            await retrying(self._compose_once)

    def _is_waiting_for_compositor(self, error: BaseException) -> bool:
        """Whether it had no room; the render then waits, for as long as its client does."""
        return (
            isinstance(error, GatorError)
            and error.reason is Reason.OVERLOADED
            and not self._accepted.is_set()
        )

    async def _await_compositor(self) -> None:
        with metrics.AWAITING_COMPOSITOR.track_inprogress():
            await self._accepted.wait()

    async def _compose_once(self) -> None:
        plan: ComposePlan | None = None
        async with aclosing(self._composer.compose(self._render, self._frames())) as events:
            async for event in events:
                if isinstance(event, bytes):
                    await self._outbox.put(Video(event))
                elif isinstance(event, StoredBytes):
                    await self._outbox.put(event)
                elif isinstance(event, ComposePlan):
                    plan = event
                    self._meter.frame_count = plan.frame_count
                    accepted = Accepted(self._render_id, self._render, plan.frame_count)
                    await self._outbox.put(accepted)
                    self._accepted.set()
                elif isinstance(event, ComposeProgress):
                    self._meter.frames_encoded = event.frames_encoded
                    self._post_progress()
                elif isinstance(event, ComposeSummary) and plan is not None:
                    await self._finish(plan, event)
                    return
        raise GatorError(
            Reason.DOWNSTREAM_UNAVAILABLE,
            "the compositor ended the video too early",
            metadata={"downstream": "compositor"},
        )

    async def _finish(self, plan: ComposePlan, summary: ComposeSummary) -> None:
        self._meter.frames_encoded = summary.frame_count
        self._post_progress()
        tracing.current().set_attributes(
            {
                "gator.video.pictures": summary.frame_count,
                "gator.video.bytes": summary.stored.size,
                "gator.video.encoder": summary.encoder,
            }
        )
        scenes = [made.result() for made in self._made]
        warnings = self._render.warnings + tuple(w for scene in scenes for w in scene.warnings)
        provenances = tuple(scene.provenance for scene in scenes)
        await self._outbox.put(
            Result(self._render_id, self._render, summary, plan.slots, provenances, warnings)
        )

    def _post_progress(self) -> None:
        self._outbox.post("progress", self._meter.progress())


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, GatorError) and error.reason in _TRANSIENT


_backoff = tenacity.wait_exponential_jitter(multiplier=0.2, max=5.0)


def _wait_as_told(state: tenacity.RetryCallState) -> float:
    """Seconds until the next try: what the service asked for, or exponential backoff."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, GatorError) else None
    return _backoff(state) if asked is None else asked
