"""One attempt at a render: from a claim to a published video, or to why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from gateway.convert.stored import error_bytes, render_of, result_bytes
from gateway.events import (
    Accepted,
    Content,
    RenderProgress,
    Result,
    ScenePreview,
    SceneProgress,
    SceneState,
    StoredBytes,
    Video,
)
from gateway.groups import first_error
from gateway.jobs.failpoints import Point, passing
from gateway.jobs.frames import FrameStore
from gateway.jobs.journal import Journal
from gateway.jobs.live_feeds import LiveVideo
from gateway.jobs.live_form import Ending
from gateway.jobs.persistence import conclusively
from gateway.jobs.records import Claim, LeaseLost, VideoRecord
from gateway.jobs.scenes import FrameMaker, Scenes
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store import Store
from gateway.jobs.videos import StoredVideo, Videos, VideoUpload
from gateway.jobs.watch import WatchHub
from gateway.pipeline import Composer, Pipeline, PipelineSettings
from rpckit import tracing
from rpckit.errors import GatorError, Reason, fault
from rpckit.telemetry import logger

log = logger(__name__)

ELSEWHERE = {Reason.OVERLOADED, Reason.SHUTTING_DOWN, Reason.STORAGE_UNAVAILABLE}
"""What another says of itself. If it says when to come back too, a render is tried again for as
long as that lasts. A disk may be full of this very render."""
TRANSIENT = ELSEWHERE | {Reason.DOWNSTREAM_UNAVAILABLE, Reason.STORAGE_FULL}
"""Reasons for which a render is tried again later. What a scene was tried again for without
success, such as a frame that is corrupt each time, is none."""


class Outcome(Enum):
    """What became of an attempt."""

    SUCCEEDED = "succeeded"
    """The video is published."""
    WAITS = "waits"
    """An error that may pass: the render is queued again."""
    FAILED = "failed"
    """The render has failed."""
    LOST = "lost"
    """The render was cancelled, or is another worker's by now."""
    RELEASED = "released"
    """The process ends: another worker goes on."""


@dataclass(frozen=True)
class Stores:
    """Where a render's things are kept."""

    renders: Store
    frames: FrameStore
    videos: Videos


class Attempt:
    """Runs one claim. `run` may be called once."""

    def __init__(
        self,
        claim: Claim,
        stores: Stores,
        hub: WatchHub,
        services: tuple[FrameMaker, Composer],
        pipeline_settings: PipelineSettings,
        keep_for: timedelta | None,
        check_lease: Callable[[], None],
    ) -> None:
        """`services` are those below the gateway; the video is kept for `keep_for`.

        `check_lease` raises LeaseLost once another may have the render.
        """
        self._claim = claim
        self._lease = claim.lease
        self._stores = stores
        self._hub = hub
        self._services = services
        self._pipeline_settings = pipeline_settings
        self._keep_for = keep_for
        self._check_lease = check_lease
        self._journal = Journal(stores.renders, claim.lease)
        self._phases: list[Phase] = []
        self._streamed: Ending | None = None

    async def run(self) -> Outcome:
        """Makes the video, publishes it, and writes what became of the render.

        Cancelled, it publishes nothing and writes nothing more, unless it was doing so.
        """
        passing(Point.AFTER_CLAIM)
        try:
            return await self._run()
        except LeaseLost:
            return Outcome.LOST

    async def _run(self) -> Outcome:
        try:
            await self._make()
        except GatorError as error:
            return await self._fail(error)
        except (LeaseLost, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the render ends with it
            return await self._fail(_fault(error))
        return Outcome.SUCCEEDED

    async def _fail(self, error: GatorError) -> Outcome:
        transient = error.reason in TRANSIENT
        wait = None if error.retry_after is None else timedelta(seconds=error.retry_after)
        state = await conclusively(
            lambda: self._stores.renders.fail(
                self._lease,
                error_bytes(error),
                transient=transient,
                counts=error.reason not in ELSEWHERE or wait is None,
                retry_after=wait,
            )
        )
        log.info("attempt failed", reason=error.reason.name, message=error.message, then=state.name)
        tracing.failed(tracing.current(), error.reason.name)
        return Outcome.WAITS if state is RenderState.QUEUED else Outcome.FAILED

    async def _make(self) -> None:
        if self._claim.exhausted:
            raise GatorError(
                Reason.INTERNAL,
                "each worker that tried to make this render died; the gateways' logs may say why",
            )
        render_id, epoch = self._lease.render_id, self._lease.epoch
        videos = self._stores.videos
        async with videos.live(render_id, epoch) as live, videos.upload(render_id, epoch) as upload:
            result = await self._compose(live, upload)
            _compare(self._streamed or await live.finish(), result.summary.fragmented)
            stored = await upload.finish()
        passing(Point.AFTER_UPLOAD)
        _compare(stored.ending, result.summary.stored)
        with tracing.span("publish", {"gator.video.bytes": stored.ending.size}):
            with first_error():
                async with asyncio.TaskGroup() as group:
                    group.create_task(videos.verify(stored))
                    group.create_task(self._journal.flush())
            await self._journal.enter(Phase.PUBLISHING)
            passing(Point.BEFORE_PUBLISH)
            await self._publish(result, stored)
        passing(Point.AFTER_PUBLISH)

    async def _publish(self, result: Result, stored: StoredVideo) -> None:
        video = VideoRecord(stored.key, stored.ending.size, stored.ending.sha256, self._lease.epoch)
        await conclusively(
            lambda: self._stores.renders.succeed(
                self._lease, video=video, result=result_bytes(result), keep_for=self._keep_for
            )
        )

    async def _compose(self, live: LiveVideo, upload: VideoUpload) -> Result:
        """Runs the pipeline, and writes what happens as it happens."""
        with first_error():
            async with asyncio.TaskGroup() as group:
                journal = group.create_task(self._journal.run(), name="journal")
                composing = group.create_task(self._relay(live, upload, group))
                composing.add_done_callback(lambda _: journal.cancel())
        return composing.result()

    async def _relay(
        self, live: LiveVideo, upload: VideoUpload, group: asyncio.TaskGroup
    ) -> Result:
        result: Result | None = None
        async with aclosing(self._pipeline().events()) as events:
            async for event in events:
                match event:
                    case Video(data):
                        self._enter(Phase.ENCODING, group)
                        await live.write(data)
                        passing(Point.MID_ENCODE)
                    case StoredBytes(data):
                        self._enter(Phase.STORING, group)
                        if self._streamed is None:  # who follows need not wait any longer
                            self._streamed = await live.finish()
                        await upload.write(data)
                    case Accepted():
                        self._enter(Phase.GENERATING, group)
                    case Result():
                        result = event
                    case _:
                        self._tell(event)
        if result is None:
            raise AssertionError("a pipeline ends with a result or an error")
        return result

    def _pipeline(self) -> Pipeline:
        record = self._claim.render
        maker, composer = self._services
        scenes = Scenes(
            record.owner,
            self._lease,
            self._claim.scenes,
            maker,
            self._stores.frames,
            self._journal,
            self._check_lease,
        )
        return Pipeline(
            record.render_id,
            render_of(record.request, record.warnings),
            scenes,
            composer,
            self._pipeline_settings,
            record.progress.fraction,
        )

    def _enter(self, phase: Phase, group: asyncio.TaskGroup) -> None:
        """Writes that `phase` is reached, once, while the work goes on."""
        if phase not in self._phases:
            self._phases.append(phase)
            group.create_task(self._journal.enter(phase))

    def _tell(self, event: RenderProgress | SceneProgress | ScenePreview) -> None:
        self._hub.tell(self._lease.render_id, event)
        if isinstance(event, ScenePreview):
            return  # never stored
        if isinstance(event, SceneProgress) and event.state is SceneState.FINISHED:
            return  # written with the frame's place
        self._journal.note(event)


def _compare(ending: Ending, sent: Content) -> None:
    """Whether what was stored is what the compositor says it sent."""
    if (ending.size, ending.sha256) != (sent.size, sent.sha256):
        raise GatorError(
            Reason.DOWNSTREAM_UNAVAILABLE,
            "the compositor sent another video than it says it did",
            metadata={"downstream": "compositor"},
        )


def _fault(error: Exception) -> GatorError:
    """What is told of an unforeseen `error`; its traceback goes to the log."""
    told = fault("gateway")
    log.error("attempt failed by a fault of the gateway", exc_info=error, **told.metadata)
    return told
