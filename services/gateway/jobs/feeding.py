"""Bytes that are pushed into a transfer that pulls them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MAX_WAITING = 2
"""Pieces that wait to be pulled."""
ABORT_SECONDS = 2.0
"""That a transfer which is given up has to clean up after itself."""


class FeedAborted(Exception):  # noqa: N818 - an order to stop is no error
    """What a transfer is told that is to leave nothing behind."""


class Feed:
    """The pieces of one transfer, in order: an asynchronous iterator for whoever pulls."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._aborted = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces and not self._aborted:
            if self._ended:
                raise StopAsyncIteration
            self._readable.clear()
            await self._readable.wait()
        if self._aborted:
            raise FeedAborted
        self._writable.set()
        return self._pieces.popleft()

    async def give(self, piece: bytes) -> None:
        """Adds the next piece once there is room."""
        while len(self._pieces) >= MAX_WAITING and not self._aborted:
            self._writable.clear()
            await self._writable.wait()
        if self._aborted:
            raise FeedAborted
        self._pieces.append(piece)
        self._readable.set()

    def end(self) -> None:
        """Says that nothing more comes."""
        self._ended = True
        self._readable.set()

    def abort(self) -> None:
        """Ends both sides with FeedAborted."""
        self._aborted = True
        self._readable.set()
        self._writable.set()


class Transfer:
    """Feeds a transfer that runs in the background. Call `abort` in the end, whatever happened."""

    def __init__(self, start: Callable[[Feed], asyncio.Future[object]]) -> None:
        """`start` begins to pull from a feed; its future ends once all is transferred."""
        self._feed = Feed()
        self._transfer = start(self._feed)
        # One that fails gives up its feed, so that nobody goes on waiting for it.
        self._transfer.add_done_callback(lambda _: self._feed.abort())

    async def write(self, piece: bytes) -> None:
        """Hands over the next piece; raises what the transfer raised."""
        try:
            await self._feed.give(piece)
        except FeedAborted:
            if self._transfer.done():
                await self._transfer
            raise

    async def finish(self) -> None:
        """Waits until all is transferred; raises what the transfer raised."""
        self._feed.end()
        await asyncio.shield(self._transfer)

    async def abort(self) -> None:
        """Gives it up unless it has ended. Waits a little for it to clean up after itself."""
        self._feed.abort()
        await asyncio.wait([self._transfer], timeout=ABORT_SECONDS)
        self._transfer.cancel()
        await asyncio.wait([self._transfer])
        if not self._transfer.cancelled():
            self._transfer.exception()  # it was raised above, or nobody asks any more
