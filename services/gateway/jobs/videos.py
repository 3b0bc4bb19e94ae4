"""Videos as objects: the live form while it is encoded, the stored form once it is whole.

outputs/<id>/<epoch>.live/<start>   parts of the fragmented form, named by their first byte
outputs/<id>/<epoch>.live/end       its size and checksum: last
outputs/<id>/<epoch>.mp4            the stored form, the result once the row says so
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gateway.jobs.objects import Objects
from rpckit.video import VideoForm


@dataclass(frozen=True)
class ContentTag:
    """Identifies the bytes of a video: the render, the attempt that made them, the form.

    `str` of it is what clients are given.
    """

    render_id: str
    epoch: int
    form: VideoForm

    @classmethod
    def parse(cls, text: str) -> ContentTag | None:
        """The tag in a text from a client; None if it is none of ours."""
        raise NotImplementedError


@dataclass(frozen=True)
class Ending:
    """What is known of a form once all of it is there."""

    size: int
    """Bytes."""
    sha256: bytes


@dataclass(frozen=True)
class StoredVideo:
    """A stored form."""

    key: str
    """Of the object."""
    ending: Ending


class LiveVideo:
    """The live form, while it is written. One writer; it ends with `finish` or `abort`."""

    async def write(self, data: bytes) -> None:
        """Takes the next bytes. Followers in this process have them at once.

        Waits while the store is slower than the encoder: at most some 8 MiB are
        in memory.

        Raises:
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL, perhaps from bytes before.
        """
        raise NotImplementedError

    async def finish(self) -> Ending:
        """Says that all bytes have come, once they are stored. Followers end."""
        raise NotImplementedError

    async def abort(self) -> None:
        """Gives it up: followers get CONTENT_CHANGED. Does nothing after `finish`."""
        raise NotImplementedError


class VideoUpload:
    """The stored form, while it is written. It is not there before `finish`."""

    async def write(self, data: bytes) -> None:
        """Takes the next bytes. Waits while the store is slower: some 24 MiB are in memory.

        Raises:
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL, perhaps from bytes before.
        """
        raise NotImplementedError

    async def finish(self) -> StoredVideo:
        """Makes the object of what was written, durable. Call `Videos.verify` before it is told."""
        raise NotImplementedError


class Follower:
    """Reads a live form from an offset on, as it comes."""

    ending: Ending | None = None
    """Set once `chunks` has ended."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes, 1 to 1 MiB at a time, until all have been read.

        Waits for the writer as long as it takes: who knows that the attempt has
        been given up closes the generator.

        Raises:
            GatorError: CONTENT_CHANGED if it was given up, OFFSET_OUT_OF_RANGE if
                it has ended before the offset, STORAGE_UNAVAILABLE.
        """
        raise NotImplementedError


class Videos:
    """The videos of renders. An epoch has one writer, by its lease."""

    def __init__(self, objects: Objects) -> None:
        raise NotImplementedError

    def live(self, render_id: str, epoch: int) -> AbstractAsyncContextManager[LiveVideo]:
        """Begins the live form. Aborted at the end of the block unless it was finished."""
        raise NotImplementedError

    def upload(self, render_id: str, epoch: int) -> AbstractAsyncContextManager[VideoUpload]:
        """Begins the stored form. The block leaves nothing unless it was finished."""
        raise NotImplementedError

    async def verify(self, video: StoredVideo) -> None:
        """Reads a stored form back and compares size and SHA-256.

        Raises:
            GatorError: STORAGE_UNAVAILABLE if it is other than what was written; it is
                deleted then.
        """
        raise NotImplementedError

    def follow(self, render_id: str, epoch: int, offset: int = 0) -> Follower:
        """Reads the live form of an attempt, here or at any replica, as it comes."""
        raise NotImplementedError

    async def live_ending(self, render_id: str, epoch: int) -> Ending | None:
        """Size and checksum of a live form that is whole and still there; None otherwise."""
        raise NotImplementedError

    def read(self, video: StoredVideo, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The stored form from an offset on, 1 to 1 MiB at a time.

        Raises:
            GatorError: OFFSET_OUT_OF_RANGE past its end (at its end there is
                nothing to read), CONTENT_CHANGED if it is not there any more,
                STORAGE_UNAVAILABLE.
        """
        raise NotImplementedError

    async def delete(self, render_id: str) -> None:
        """Deletes every form of every attempt of a render, and the frames that are its own."""
        raise NotImplementedError
