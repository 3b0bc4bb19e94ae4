"""FFmpeg's errors as the one error of the services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av

from rpckit.errors import GatorError, Reason
from rpckit.telemetry import logger

log = logger(__name__)


@contextmanager
def failures() -> Iterator[None]:
    """Turns what FFmpeg raises into GatorError(ENCODING_FAILED), and logs it."""
    try:
        yield
    except av.error.FFmpegError as error:
        log.exception("a coder or the muxer failed")
        raise GatorError(
            Reason.ENCODING_FAILED,
            "the video could not be encoded; the compositor's log has the details",
        ) from error
