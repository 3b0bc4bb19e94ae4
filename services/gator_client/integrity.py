"""Checks a video's bytes against what the server says of them at the end."""

from __future__ import annotations

import hashlib

from gator_client.errors import RenderError


class VideoCheck:
    """Counts and hashes a video's bytes while they come, keeping none of them."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0
        """Bytes so far."""

    def add(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._hash.update(data)
        self.size += len(data)

    def sha256(self) -> str:
        """SHA-256 of the bytes so far, in hexadecimal."""
        return self._hash.hexdigest()

    def finish(self, size: int, sha256: str) -> None:
        """RenderError (VIDEO_INCOMPLETE, VIDEO_CORRUPT) if the bytes are not those that were sent.

        Those have so many bytes and that SHA-256, in hexadecimal.
        """
        if self.size != size:
            raise incomplete(f"{self.size} bytes of the video came; the server sent {size}")
        if self.sha256() != sha256:
            raise _damaged("VIDEO_CORRUPT", "the video's bytes do not have the SHA-256 they had")


def incomplete(message: str) -> RenderError:
    """The error for a video of which a part is missing."""
    return _damaged("VIDEO_INCOMPLETE", message)


def restarted() -> RenderError:
    """The error for a video that begins anew where its first bytes have been passed on."""
    return RenderError(
        "the service that made the video died and another makes it anew, but its first bytes "
        "have been passed on already",
        code="ABORTED",
        reason="VIDEO_RESTARTED",
        advice="Ask for it again; scenes that were finished are not made again. Into a file, a "
        "video begins anew by itself.",
    )


def _damaged(reason: str, message: str) -> RenderError:
    return RenderError(message, code="DATA_LOSS", reason=reason, advice="Ask for it again.")
