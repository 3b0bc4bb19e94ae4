"""What a Render call sends: how far the render is, its video as it is encoded, its result.

It does not matter where the render runs. From one in this process, progress and previews
come at once and the video's bytes from memory; from one elsewhere, they come by way of
the database and the object store.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from gateway.convert.stored import error_of, event_value, scene_value
from gateway.events import (
    Finished,
    PassingEvent,
    RenderEvent,
    RenderProgress,
    ScenePreview,
    SceneProgress,
    SceneState,
    Video,
    VideoHeader,
)
from gateway.jobs.following import Following
from gateway.jobs.live_form import Ending
from gateway.jobs.records import RenderRecord, RenderSnapshot, VideoRecord
from gateway.jobs.states import RenderState
from gateway.jobs.videos import ContentTag, StoredVideo, Videos
from gateway.jobs.watch import WatchHub
from gateway.outbox import Outbox
from rpckit.errors import GatorError, Reason
from rpckit.video import VideoForm

CAPACITY = 8
"""Pieces of the video, of up to 1 MiB, that wait for the client."""


class RenderStream:
    """The events of one Render call after the first. `events` may be iterated once."""

    def __init__(self, hub: WatchHub, videos: Videos, owner: str, render_id: str) -> None:
        self._hub = hub
        self._videos = videos
        self._render_id = render_id
        self._outbox: Outbox[RenderEvent] = Outbox(CAPACITY)
        self._following = Following(hub, owner, render_id)
        self._following.on_snapshot = self._snapshot
        self._following.on_event = self._from_afar
        self._epoch = 0
        self._runs_here = False
        self._fraction = -1.0
        self._finished: set[int] = set()

    async def events(self) -> AsyncGenerator[RenderEvent, None]:
        """The events, the result last. GatorError if the render ends without one."""
        with self._hub.listening(self._render_id, self._from_here):
            work = self._outbox.filled_by(self._run(), f"stream {self._render_id}")
            async with aclosing(work) as events:
                async for event in events:
                    yield event

    async def _run(self) -> None:
        try:
            async with self._following.running():
                await self._send_video()
        finally:
            self._outbox.close()

    # --- progress ---------------------------------------------------------------------------

    def _from_here(self, event: PassingEvent) -> None:
        """The render runs in this process: what the database says of it is older."""
        self._runs_here = True
        self._post(event)

    def _from_afar(self, payload: bytes) -> None:
        if not self._runs_here:
            self._post(event_value(payload))

    def _snapshot(self, snapshot: RenderSnapshot) -> None:
        if snapshot.render.epoch != self._epoch:
            self._epoch = snapshot.render.epoch
            self._runs_here = False
        if not self._runs_here:
            for scene in snapshot.scenes:
                self._post(scene_value(scene.progress))
            if snapshot.render.progress.fraction > 0:
                self._post(snapshot.render.progress)

    def _post(self, event: PassingEvent) -> None:
        match event:
            case RenderProgress():
                if event.fraction >= self._fraction:
                    self._fraction = event.fraction
                    self._outbox.post("progress", event)
            case SceneProgress() if event.index in self._finished:
                return
            case SceneProgress(index, SceneState.FINISHED):
                self._finished.add(index)
                self._outbox.retract(("scene", index))
                self._outbox.retract(("preview", index))
                self._outbox.post(("finished", index), event)
            case SceneProgress(index):
                self._outbox.post(("scene", index), event)
            case ScenePreview(index):
                self._outbox.post(("preview", index), event)

    # --- video ------------------------------------------------------------------------------

    async def _send_video(self) -> None:
        """Sends the video of the attempt that makes it, and again of another if it breaks off."""
        sent: Ending | None = None
        tried = 0
        while True:
            render = await self._following.until(_goes_on_after(tried))
            if render.state is RenderState.RUNNING:
                tried = render.epoch
                sent = await self._send_live(tried)
            elif render.state is RenderState.SUCCEEDED and render.video is not None:
                await self._finish(render, render.video, sent if render.epoch == tried else None)
                return
            else:
                raise ended_without_video(render)

    async def _send_live(self, epoch: int) -> Ending | None:
        """Sends the live form of an attempt; None if it was given up on the way."""
        follower = self._videos.follow(self._render_id, epoch)
        tag = ContentTag(self._render_id, epoch, VideoForm.FRAGMENTED)
        begun = False
        try:
            async with aclosing(self._following.while_made(epoch, follower.chunks())) as chunks:
                async for chunk in chunks:
                    if not begun:
                        await self._outbox.put(VideoHeader(str(tag), tag.form))
                        begun = True
                    await self._outbox.put(Video(chunk))
        except GatorError as error:
            if error.reason is not Reason.CONTENT_CHANGED:
                raise
            return None
        return follower.ending

    async def _finish(self, render: RenderRecord, video: VideoRecord, sent: Ending | None) -> None:
        """Sends the result, and before it the video if not all of it was sent."""
        if sent is None and await self._videos.live_ending(self._render_id, video.epoch):
            sent = await self._send_live(video.epoch)
        if sent is not None:
            form, ending = VideoForm.FRAGMENTED, sent
        else:
            form, ending = VideoForm.FASTSTART, Ending(video.size, video.sha256)
            await self._send_stored(StoredVideo(video.location, ending), video.epoch)
        await self._outbox.put(Finished(render.result, form, ending.size, ending.sha256))

    async def _send_stored(self, stored: StoredVideo, epoch: int) -> None:
        tag = ContentTag(self._render_id, epoch, VideoForm.FASTSTART)
        ending = stored.ending
        await self._outbox.put(
            VideoHeader(str(tag), tag.form, size=ending.size, sha256=ending.sha256)
        )
        async with aclosing(self._videos.read(stored)) as chunks:
            async for chunk in chunks:
                await self._outbox.put(Video(chunk))


def _goes_on_after(epoch: int) -> Callable[[RenderRecord], bool]:
    """Whether a render has ended, or is made by a later attempt than that of `epoch`."""
    return lambda render: (
        render.state.ended or (render.state is RenderState.RUNNING and render.epoch > epoch)
    )


def ended_without_video(render: RenderRecord) -> GatorError:
    """Why a render that has ended has no video."""
    if render.state is RenderState.FAILED:
        return error_of(render.error)
    if render.state is RenderState.SUCCEEDED:
        return GatorError(
            Reason.WRONG_STATE,
            "the video has expired; retry the render to have it made again",
            metadata={"render_id": render.render_id, "state": "EXPIRED"},
        )
    return GatorError(
        Reason.CANCELLED, "the render was cancelled", metadata={"render_id": render.render_id}
    )
