"""What a DownloadVideo call sends: one form of a video, from an offset on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from gateway import metrics
from gateway.events import DownloadPart, Video, VideoHeader, VideoTrailer
from gateway.jobs.following import Following
from gateway.jobs.live_form import Ending, content_changed
from gateway.jobs.records import RenderRecord, VideoRecord
from gateway.jobs.states import RenderState
from gateway.jobs.store import Store
from gateway.jobs.videos import ContentTag, StoredVideo, Videos, check_offset
from gateway.jobs.watch import WatchHub
from rpckit.errors import FieldViolation, GatorError, Reason, invalid
from rpckit.video import VideoForm


@dataclass(frozen=True)
class DownloadAsked:
    """Which bytes a client wants."""

    render_id: str
    offset: int = 0
    content_tag: str = ""
    """Of the download that is continued; empty for a new one."""
    form: int = 0
    """Number in video.proto."""


class Downloads:
    """Sends the videos of renders."""

    def __init__(self, store: Store, videos: Videos, hub: WatchHub) -> None:
        self._store = store
        self._videos = videos
        self._hub = hub

    async def download(
        self, owner: str, asked: DownloadAsked
    ) -> AsyncGenerator[DownloadPart, None]:
        """A header, the bytes, a trailer. Waits for a render that has not begun or not ended.

        Raises:
            GatorError: INVALID_ARGUMENT; RENDER_NOT_FOUND; WRONG_STATE for a render that
                has ended without a video; CONTENT_CHANGED if what is continued, or what
                was begun, is not there any more; OFFSET_OUT_OF_RANGE.
        """
        form, tag = _checked(asked)
        with metrics.DOWNLOADS.track_inprogress():
            async with aclosing(self._parts(owner, asked, form, tag)) as parts:
                async for part in parts:
                    yield part

    async def _parts(
        self, owner: str, asked: DownloadAsked, form: VideoForm | None, tag: ContentTag | None
    ) -> AsyncGenerator[DownloadPart, None]:
        render = await self._store.get(owner, asked.render_id)
        if tag is not None and tag.render_id != render.render_id:
            raise content_changed()
        following = Following(self._hub, owner, asked.render_id)
        async with following.running():
            if form is None:
                render = await following.until(_has_begun)
                form = _best(render)
            if form is VideoForm.FASTSTART:
                parts = self._stored(following, tag, asked.offset)
            else:
                parts = self._live(following, tag, asked.offset)
            async with aclosing(parts):
                async for part in parts:
                    yield part

    async def _stored(
        self, following: Following, tag: ContentTag | None, offset: int
    ) -> AsyncGenerator[DownloadPart, None]:
        render = await following.until(lambda render: render.state.ended)
        video = _video_of(render)
        if tag is not None and tag.epoch != video.epoch:
            raise content_changed()
        ending = Ending(video.size, video.sha256)
        check_offset(offset, ending.size)
        whole = ContentTag(render.render_id, video.epoch, VideoForm.FASTSTART)
        yield VideoHeader(str(whole), whole.form, offset, ending.size, ending.sha256)
        stored = StoredVideo(video.location, ending)
        async with aclosing(self._videos.read(stored, offset)) as chunks:
            async for chunk in chunks:
                yield Video(chunk)
        yield VideoTrailer(ending.size, ending.sha256)

    async def _live(
        self, following: Following, tag: ContentTag | None, offset: int
    ) -> AsyncGenerator[DownloadPart, None]:
        render = await following.until(_has_begun)
        if tag is not None and tag.epoch != render.epoch:
            raise content_changed()
        if render.state.ended:
            _video_of(render)  # or it has none
        ending = await self._videos.live_ending(render.render_id, render.epoch)
        if render.state.ended and ending is None:
            raise content_changed()
        if ending is not None:
            check_offset(offset, ending.size)
        part = ContentTag(render.render_id, render.epoch, VideoForm.FRAGMENTED)
        size, sha256 = (None, b"") if ending is None else (ending.size, ending.sha256)
        yield VideoHeader(str(part), part.form, offset, size, sha256)
        follower = self._videos.follow(render.render_id, render.epoch, offset)
        async with aclosing(following.while_made(render.epoch, follower.chunks())) as chunks:
            async for chunk in chunks:
                yield Video(chunk)
        if follower.ending is None:
            raise AssertionError("a live form that was read to its end has one")
        yield VideoTrailer(follower.ending.size, follower.ending.sha256)


def _checked(asked: DownloadAsked) -> tuple[VideoForm | None, ContentTag | None]:
    """The form that is wanted (None: the best there is) and what is continued."""
    known: dict[int, VideoForm] = {form.value: form for form in VideoForm}
    form = known.get(asked.form)
    if asked.form and form is None:
        names = ", ".join(f"{member.value} {member.name}" for member in VideoForm)
        raise invalid(FieldViolation("form", f"is {asked.form}; must be one of {names}"))
    if not asked.content_tag:
        if asked.offset:
            raise invalid(
                FieldViolation("content_tag", "is empty; a download is continued with its tag")
            )
        return form, None
    tag = ContentTag.parse(asked.content_tag)
    if tag is None:
        raise content_changed()
    if form is not None and form is not tag.form:
        raise invalid(FieldViolation("form", "is not that of the content_tag; leave it out"))
    return tag.form, tag


def _has_begun(render: RenderRecord) -> bool:
    return render.state is not RenderState.QUEUED


def _best(render: RenderRecord) -> VideoForm:
    """The stored form of a video that is complete, the live one before."""
    return VideoForm.FASTSTART if render.state.ended else VideoForm.FRAGMENTED


def _video_of(render: RenderRecord) -> VideoRecord:
    """The video of a render that has ended, or WRONG_STATE."""
    if render.video is not None:
        return render.video
    if render.state is RenderState.SUCCEEDED:
        state, what = "EXPIRED", "its video has expired"
    else:
        state, what = render.state.name, f"it has {render.state.name}"
    raise GatorError(
        Reason.WRONG_STATE,
        f"render {render.render_id} has no video: {what}; retry it to have one made",
        metadata={"render_id": render.render_id, "state": state},
    )
