"""Who may work now: a bounded number of requests at a time, and a bounded queue before them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rpckit.errors import GatorError, Reason

_FIRST_GUESS = 1.0
"""Seconds that a request is taken to need before one has ended."""


class Admission:
    """First come, first served."""

    def __init__(self, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._running = 0
        self._waiting: deque[tuple[asyncio.Future[None], Callable[[int], None]]] = deque()
        self._typical = _FIRST_GUESS

    @asynccontextmanager
    async def turn(self, on_position: Callable[[int], None]) -> AsyncIterator[None]:
        """Waits for a turn and keeps it to the end of the block.

        `on_position` hears how many are before it, again whenever that falls.
        OVERLOADED, with a time after which to try again, if too many wait.
        """
        await self._acquire(on_position)
        started = time.monotonic()
        try:
            yield
        finally:
            self._typical += (time.monotonic() - started - self._typical) / 8
            self._release()

    async def _acquire(self, on_position: Callable[[int], None]) -> None:
        if self._running < self._max_running:
            self._running += 1
            return
        if len(self._waiting) >= self._max_waiting:
            wait = self._typical * (len(self._waiting) + 1) / self._max_running
            raise GatorError(
                Reason.OVERLOADED,
                f"{self._running} frames are being made and {len(self._waiting)} wait; "
                "try again later",
                retry_after=round(max(0.1, wait), 3),
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (turn, on_position)
        self._waiting.append(place)
        on_position(len(self._waiting) - 1)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(place)
                self._tell_positions()
            else:
                self._release()
            raise

    def _release(self) -> None:
        """Hands the turn on to the next in the queue."""
        if self._waiting:
            turn, _ = self._waiting.popleft()
            turn.set_result(None)
            self._tell_positions()
        else:
            self._running -= 1

    def _tell_positions(self) -> None:
        for position, (_, on_position) in enumerate(self._waiting):
            on_position(position)
