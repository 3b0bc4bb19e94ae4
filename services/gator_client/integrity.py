"""Checks a video's bytes against the result that comes after them."""

from __future__ import annotations

import hashlib

from gator_client.errors import RenderError
from gator_client.result import RenderResult


class VideoCheck:
    """Counts and hashes a video's bytes while they come, keeping none of them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._hash.update(data)
        self._size += len(data)

    def finish(self, result: RenderResult) -> None:
        """RenderError (DATA_LOSS) if the bytes are not those of `result`."""
        if self._size != result.size_bytes:
            raise _damaged(
                "VIDEO_INCOMPLETE",
                f"{self._size} bytes of the video came; the server sent {result.size_bytes}",
            )
        if self._hash.hexdigest() != result.sha256:
            raise _damaged("VIDEO_CORRUPT", "the video's bytes do not have the SHA-256 they had")


def no_result() -> RenderError:
    """The error for a render that ended without its result."""
    return _damaged("VIDEO_INCOMPLETE", "the render ended without a result")


def _damaged(reason: str, message: str) -> RenderError:
    return RenderError(message, code="DATA_LOSS", reason=reason, advice="Render it again.")
