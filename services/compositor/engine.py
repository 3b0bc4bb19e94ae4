"""What an engine is: it turns a timeline and its stills into the bytes of a video.

An engine runs in a thread of its own and knows nothing of streams or event
loops. The reference engine codes every picture; another may write the syntax
of pictures that can be synthesized from the stills.
"""

from __future__ import annotations

from typing import Protocol

from compositor.planes import Planes
from compositor.spool import Spool
from compositor.timeline import Timeline
from rpckit.video import Preset


class Cancelled(Exception):  # noqa: N818 - an order to stop is no error
    """The video is not wanted any more."""


class Stills(Protocol):
    """The stills of a video, in order, as they come."""

    def get(self, timeout: float | None = None) -> Planes | None:
        """The next still, at the preset's size; None if it is not there after `timeout` seconds.

        Raises:
            Cancelled: the video is not wanted any more.
        """

    def release(self) -> None:
        """Says that the engine has let go of its oldest still, so that another may come."""


class Sink(Protocol):
    """Takes the bytes of a video."""

    def write(self, data: bytes) -> int:
        """Takes all of `data` and returns its length; waits while the reader is behind.

        Raises:
            Cancelled: the video is not wanted any more.
        """

    def progress(self, frames: int) -> None:
        """Takes note of how many pictures have been handed to the encoder."""

    def check(self) -> None:
        """Called at least once a picture.

        Raises:
            Cancelled: the video is not wanted any more.
        """


class Engine(Protocol):
    """Makes videos. It keeps at most two stills of each at a time."""

    @property
    def description(self) -> str:
        """What codes the pictures, such as "x264 veryfast crf 18"."""

    def compose(
        self,
        preset: Preset,
        timeline: Timeline,
        stills: Stills,
        sink: Sink,
        stored: Spool | None = None,
    ) -> None:
        """Makes one video and returns when its last byte is written. Blocks.

        `sink` gets it as a fragmented file while it is made, and `stored`, where
        there is one, as a file with its index in front.

        Raises:
            GatorError: ENCODING_FAILED, STORAGE_FULL.
            Cancelled: the video is not wanted any more.
        """
