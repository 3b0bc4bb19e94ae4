"""The fragmented form of a video while it is encoded: parts in the store, its newest bytes here.

    outputs/<id>/<epoch>.live/<start>   parts, named by their first byte, 12 digits
    outputs/<id>/<epoch>.live/end       size and checksum: last

The service that encodes has the newest bytes in memory, so those who follow
there do not wait for the store; who is further behind reads the parts, and so
do other replicas, which look for new parts.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass

from gateway.jobs.objects import PIECE, MissingObjectError, Objects
from rpckit.errors import GatorError, Reason

END = "end"
RECENT = 4 << 20
"""Bytes that are kept in memory though they are stored."""


@dataclass(frozen=True)
class Ending:
    """What is known of a form once all of it is there."""

    size: int
    """Bytes."""
    sha256: bytes

    def to_json(self) -> bytes:
        """As it is stored."""
        return json.dumps({"size": self.size, "sha256": self.sha256.hex()}).encode()

    @classmethod
    def of_json(cls, content: bytes) -> Ending:
        """The ending in what was stored."""
        read = json.loads(content)
        return cls(read["size"], bytes.fromhex(read["sha256"]))


class LiveForm:
    """What is known here of one live form, for all who follow it in this process."""

    def __init__(self, objects: Objects, folder: str) -> None:
        self.folder = folder
        self.size = 0
        """Bytes that can be read by now."""
        self.ending: Ending | None = None
        """Set once all bytes are there."""
        self.failure: GatorError | None = None
        """Set once it is known that no more will come, though some are missing."""
        self._objects = objects
        self._starts: list[int] = []
        self._stored = 0
        self._recent: deque[tuple[int, bytes]] = deque()
        self._change = asyncio.Event()

    def part_key(self, start: int) -> str:
        """Object of the part whose first byte this is."""
        return f"{self.folder}/{start:012d}"

    @property
    def newest_keys(self) -> tuple[str, str]:
        """Objects of the newest part and of the one before; empty where there is none yet."""
        before, newest = ["", "", *map(self.part_key, self._starts[-2:])][-2:]
        return newest, before

    # --- what becomes known ------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """The next bytes, not stored yet."""
        self._recent.append((self.size, data))
        self.size += len(data)
        self._notify()

    def add_part(self, start: int, size: int) -> None:
        """A part is in the store."""
        self._starts.append(start)
        self._stored = start + size
        self.size = max(self.size, self._stored)
        # What is not stored yet stays, whatever its size.
        floor = min(self._stored, self.size - RECENT)
        while self._recent and self._recent[0][0] + len(self._recent[0][1]) <= floor:
            self._recent.popleft()
        self._notify()

    def end(self, ending: Ending) -> None:
        """All bytes are in the store."""
        self.ending = ending
        self._notify()

    def fail(self, error: GatorError) -> None:
        """No more will come. Does nothing after `end`."""
        if self.ending is None and self.failure is None:
            self.failure = error
            self._notify()

    def _notify(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    # --- reading -----------------------------------------------------------------------

    async def reaches(self, offset: int) -> bool:
        """Waits for the byte at `offset`; False if the form ends before it. Raises `failure`."""
        while self.size <= offset:
            if self.failure is not None:
                raise self.failure
            if self.ending is not None:
                return False
            await self._change.wait()
        return True

    async def piece(self, offset: int) -> bytes:
        """1 byte to 1 MiB from `offset` on, which must be there.

        Raises:
            GatorError: CONTENT_CHANGED if it is not there any more; STORAGE_UNAVAILABLE.
        """
        if self._recent and offset >= self._recent[0][0]:
            # Followers read close behind the writer: look from the new end.
            start, data = next(chunk for chunk in reversed(self._recent) if chunk[0] <= offset)
            return data[offset - start : offset - start + PIECE]
        start = self._starts[bisect_right(self._starts, offset) - 1]
        reading = self._objects.read(self.part_key(start), offset - start, offset - start + PIECE)
        try:
            async with aclosing(reading) as pieces:
                return await anext(pieces)
        except (MissingObjectError, StopAsyncIteration):
            raise content_changed() from None


def content_changed() -> GatorError:
    """The error for bytes that are not there any more, and will not come again."""
    return GatorError(
        Reason.CONTENT_CHANGED,
        "this content of the video is not there any more; start again at offset 0 without a tag",
    )
