"""Videos as objects: the live form while it is encoded, the stored form once it is whole.

    outputs/<id>/<epoch>.live/...   the fragmented form (see `live_form`)
    outputs/<id>/<epoch>.mp4        the stored form, the result once the row says so

A stored form is checked by reading it back: of what a store's own checksum
tells, nothing is the SHA-256 of a whole object on every store, and it says
nothing of what is served.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from gateway import metrics
from gateway.jobs.frames import OWN
from gateway.jobs.live_feeds import LiveVideo, watch_parts
from gateway.jobs.live_form import END, Ending, LiveForm, content_changed
from gateway.jobs.objects import RETRY_AFTER, MissingObjectError, Objects, ObjectWriter
from rpckit.errors import GatorError, Reason
from rpckit.telemetry import logger
from rpckit.video import VideoForm

log = logger(__name__)

OUTPUTS = "outputs"
"""Folder of all videos."""


def video_key(render_id: str, epoch: int) -> str:
    """Object of the stored form."""
    return f"{OUTPUTS}/{render_id}/{epoch}.mp4"


def live_folder(render_id: str, epoch: int) -> str:
    """Folder of the live form."""
    return f"{OUTPUTS}/{render_id}/{epoch}.live"


@dataclass(frozen=True)
class ContentTag:
    """Identifies the bytes of a video: the render, the attempt that made them, the form.

    `str` of it is what clients are given.
    """

    render_id: str
    epoch: int
    form: VideoForm

    def __str__(self) -> str:
        return f"{self.render_id}.{self.epoch}.{self.form.name.lower()}"

    @classmethod
    def parse(cls, text: str) -> ContentTag | None:
        """The tag in a text from a client; None if it is none of ours."""
        try:
            render_id, epoch, form = text.rsplit(".", 2)
            tag = cls(render_id, int(epoch), VideoForm[form.upper()])
        except (ValueError, KeyError):
            return None
        return tag if str(tag) == text else None


@dataclass(frozen=True)
class StoredVideo:
    """A stored form."""

    key: str
    """Of the object."""
    ending: Ending


class VideoUpload:
    """The stored form, while it is written. It is not there before `finish`."""

    def __init__(self, writer: ObjectWriter, key: str) -> None:
        self._writer = writer
        self._key = key
        self._size = 0
        self._hash = hashlib.sha256()

    async def write(self, data: bytes) -> None:
        """Takes the next bytes. Waits while the store is slower: some 24 MiB are in memory.

        Raises:
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL, perhaps from bytes before.
        """
        self._size += len(data)
        self._hash.update(data)
        await self._writer.write(data)

    async def finish(self) -> StoredVideo:
        """Makes the object of what was written, durable. Call `Videos.verify` before it is told."""
        await self._writer.finish()
        return StoredVideo(self._key, Ending(self._size, self._hash.digest()))


class _SharedForm:
    """A live form with all who use it in this process."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self.form = LiveForm(objects, folder)
        self.users = 0
        self.watching: asyncio.Task[None] | None = None
        """Looks for parts that another process stores."""

    async def stop_watching(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.wait([self.watching])
            self.watching = None


class Follower:
    """Reads a live form from an offset on, as it comes."""

    def __init__(self, videos: Videos, folder: str, offset: int) -> None:
        self.ending: Ending | None = None
        """Set once `chunks` has ended."""
        self._videos = videos
        self._folder = folder
        self._offset = offset

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, 1 to 1 MiB at a time, until all have been read.

        Waits for the writer as long as it takes: who knows that the attempt has
        been given up closes the generator.

        Raises:
            GatorError: CONTENT_CHANGED if it was given up, OFFSET_OUT_OF_RANGE if
                it has ended before the offset, STORAGE_UNAVAILABLE.
        """
        async with self._videos.using(self._folder) as form:
            while await form.reaches(self._offset):
                data = await form.piece(self._offset)
                self._offset += len(data)
                metrics.VIDEO_SENT.inc(len(data))
                yield data
            check_offset(self._offset, form.size)
            self.ending = form.ending


class Videos:
    """The videos of renders. An epoch has one writer, by its lease."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._forms: dict[str, _SharedForm] = {}
        self._reading: Counter[str] = Counter()

    @asynccontextmanager
    async def live(self, render_id: str, epoch: int) -> AsyncIterator[LiveVideo]:
        """Begins the live form. Aborted at the end of the block unless it was finished."""
        async with self.using(live_folder(render_id, epoch), written_here=True) as form:
            live = LiveVideo(self._objects, form)
            try:
                yield live
            finally:
                await live.abort()

    @asynccontextmanager
    async def upload(self, render_id: str, epoch: int) -> AsyncIterator[VideoUpload]:
        """Begins the stored form. The block leaves nothing unless it was finished."""
        key = video_key(render_id, epoch)
        async with self._objects.writer(key) as writer:
            yield VideoUpload(writer, key)

    async def verify(self, video: StoredVideo) -> None:
        """Reads a stored form back and compares size and SHA-256.

        Raises:
            GatorError: STORAGE_UNAVAILABLE if it is other than what was written; it is
                deleted then.
        """
        size, digest = 0, hashlib.sha256()
        try:
            async with aclosing(self._objects.read(video.key)) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    digest.update(piece)
        except MissingObjectError:
            size = -1
        if (size, digest.digest()) == (video.ending.size, video.ending.sha256):
            return
        log.error("the store has other bytes than it was given", key=video.key, size=size)
        await self._objects.delete(video.key)
        raise GatorError(
            Reason.STORAGE_UNAVAILABLE,
            "the object store does not return the video as it was given it",
            retry_after=RETRY_AFTER,
            metadata={"storage": "objects"},
        )

    def follow(self, render_id: str, epoch: int, offset: int = 0) -> Follower:
        """Reads the live form of an attempt, here or at any replica, as it comes."""
        return Follower(self, live_folder(render_id, epoch), offset)

    async def live_ending(self, render_id: str, epoch: int) -> Ending | None:
        """Size and checksum of a live form that is whole and still there; None otherwise."""
        try:
            content = await self._objects.get(f"{live_folder(render_id, epoch)}/{END}")
        except MissingObjectError:
            return None
        return Ending.of_json(content)

    async def read(self, video: StoredVideo, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The stored form from an offset on, 1 to 1 MiB at a time.

        Raises:
            GatorError: OFFSET_OUT_OF_RANGE past its end (at its end there is
                nothing to read), CONTENT_CHANGED if it is not there any more,
                STORAGE_UNAVAILABLE.
        """
        size = video.ending.size
        check_offset(offset, size)
        self._reading[video.key] += 1
        try:
            async with aclosing(self._objects.read(video.key, offset, size)) as pieces:
                async for piece in pieces:
                    offset += len(piece)
                    metrics.VIDEO_SENT.inc(len(piece))
                    yield piece
        except MissingObjectError:
            raise content_changed() from None
        finally:
            self._reading[video.key] -= 1
            self._reading += Counter()  # drops those that nobody reads
        if offset < size:
            raise content_changed()

    async def delete(self, render_id: str) -> None:
        """Deletes every form of every attempt of a render, and the frames that are its own."""
        await self._objects.delete_below(f"{OUTPUTS}/{render_id}")
        await self._objects.delete_below(f"{OWN}/{render_id}")

    @property
    def in_use(self) -> frozenset[str]:
        """Objects and folders of live forms that are being read or written in this process."""
        return frozenset((*self._reading, *self._forms))

    @asynccontextmanager
    async def using(self, folder: str, *, written_here: bool = False) -> AsyncIterator[LiveForm]:
        """The live form in a folder, one object for all in this process.

        It learns of parts that others store, unless it is or was written here.
        """
        shared = self._forms.get(folder)
        if shared is None or shared.form.failure is not None:
            shared = self._forms[folder] = _SharedForm(self._objects, folder)
            if not written_here:
                shared.watching = asyncio.create_task(
                    watch_parts(self._objects, shared.form), name=f"watch {folder}"
                )
        shared.users += 1
        try:
            if written_here:
                await shared.stop_watching()
            yield shared.form
        finally:
            shared.users -= 1
            if not shared.users:
                if self._forms.get(folder) is shared:
                    del self._forms[folder]
                await shared.stop_watching()


def check_offset(offset: int, size: int) -> None:
    """OFFSET_OUT_OF_RANGE past the end of a form; at its end there is nothing more to send."""
    if offset > size:
        raise GatorError(
            Reason.OFFSET_OUT_OF_RANGE,
            f"the offset {offset} lies past the end of the video, which has {size} bytes",
            metadata={"size_bytes": str(size)},
        )
