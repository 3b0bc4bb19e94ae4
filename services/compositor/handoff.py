"""Between the event loop and the thread of an engine: stills one way, bytes the other.

Both ways are bounded. The loop side never blocks; the thread side waits for
stills, for a reader that is behind, and ends with `Cancelled` wherever it waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
import time

from compositor.engine import Cancelled
from compositor.planes import Planes

STILLS = 2
"""Stills of one video that are held at a time, the one that is being received included."""
OUTPUT_BYTES = 4 << 20
"""Bytes of a video that wait for their reader before the encoder waits."""
MAX_CHUNK = 1 << 20
"""Most bytes that are handed out at a time."""
PROGRESS_INTERVAL = 0.25
"""Seconds between two reports of progress."""


class StillQueue:
    """The stills of a video on their way to its engine; see `engine.Stills`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = asyncio.Semaphore(STILLS)
        self._ready: queue.SimpleQueue[Planes | None] = queue.SimpleQueue()

    async def room(self) -> None:
        """Waits until one more still may be held. From the loop."""
        await self._room.acquire()

    def put(self, planes: Planes) -> None:
        """Hands over the next still. From the loop."""
        self._ready.put(planes)

    def cancel(self) -> None:
        """Ends the engine's waiting. From the loop."""
        self._ready.put(None)

    def get(self, timeout: float | None = None) -> Planes | None:
        """See `engine.Stills`. From the engine's thread."""
        try:
            planes = self._ready.get(timeout=timeout)
        except queue.Empty:
            return None
        if planes is None:
            raise Cancelled
        return planes

    def release(self) -> None:
        """See `engine.Stills`. From the engine's thread."""
        self._loop.call_soon_threadsafe(self._room.release)


class Output:
    """The bytes and the progress of a video on their way to its reader; see `engine.Sink`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, wanted: bool = True) -> None:
        """`wanted` is whether there is a reader of the bytes, or of the progress alone."""
        self._loop = loop
        self._wanted = wanted
        self._changed = asyncio.Event()
        self._lock = threading.Condition()
        self._waiting = bytearray()
        self._cancelled = False
        self._hash = hashlib.sha256()
        self._reported = 0.0
        self.frames = 0
        """Pictures handed to the encoder so far."""
        self.size = 0
        """Bytes written so far."""

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the bytes written so far."""
        return self._hash.digest()

    def write(self, data: bytes) -> int:
        """See `engine.Sink`. From the engine's thread."""
        if not self._wanted:
            self.check()
            return len(data)
        with self._lock:
            while self._waiting and len(self._waiting) + len(data) > OUTPUT_BYTES:
                self.check()
                self._lock.wait()
            self.check()
            self._waiting += data
        self._hash.update(data)
        self.size += len(data)
        self._wake_from_thread()
        return len(data)

    def progress(self, frames: int) -> None:
        """See `engine.Sink`. From the engine's thread."""
        self.frames = frames
        now = time.monotonic()
        if now - self._reported >= PROGRESS_INTERVAL:
            self._reported = now
            self._wake_from_thread()

    def check(self) -> None:
        """See `engine.Sink`. From the engine's thread."""
        if self._cancelled:
            raise Cancelled

    def cancel(self) -> None:
        """Ends the engine at its next check, and its waiting. From the loop."""
        with self._lock:
            self._cancelled = True
            self._lock.notify_all()

    def wake(self) -> None:
        """Lets `changed` return. From the loop."""
        self._changed.set()

    async def changed(self) -> None:
        """Waits for bytes, progress or `wake`. From the loop."""
        await self._changed.wait()
        self._changed.clear()

    def take(self) -> bytes:
        """The next bytes, at most 1 MiB; empty if none wait. From the loop."""
        with self._lock:
            taken = bytes(self._waiting[:MAX_CHUNK])
            del self._waiting[:MAX_CHUNK]
            self._lock.notify_all()
        return taken

    def _wake_from_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)
