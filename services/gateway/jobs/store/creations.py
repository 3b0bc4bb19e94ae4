"""Creations that come at the same time share a transaction.

A transaction costs a wait for the disk, four messages to and from a server, and most of the
processor time of adding a row: all of that is paid once for many.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from gateway.jobs.records import NewRender, RenderRecord
from gateway.jobs.store.access import Access
from gateway.jobs.store.admission import Gate
from gateway.jobs.store.creating import create
from rpckit.errors import GatorError, Reason

TOGETHER = 64
"""Most renders of a transaction."""


@dataclass(frozen=True)
class _Asked:
    """A render that is to be created, and who waits for it."""

    new: NewRender
    future: asyncio.Future[tuple[RenderRecord, bool]]


class Creations:
    """Creates renders: those that wait while others are written are written together."""

    def __init__(self, access: Access, gate: Gate, at_once: int) -> None:
        """Writes in at most `at_once` transactions at a time."""
        self._access = access
        self._gate = gate
        self._at_once = at_once
        self._waiting: deque[_Asked] = deque()
        self._writing: set[asyncio.Task[None]] = set()

    async def create(self, new: NewRender) -> tuple[RenderRecord, bool]:
        """As `Store.create`. Runs to its end even if the caller is cancelled meanwhile."""
        asked = _Asked(new, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if len(self._writing) < self._at_once:
            self._writing.add(asyncio.create_task(self._write(), name="creations"))
        return await asked.future

    async def close(self) -> None:
        """Returns once all that was asked for is done."""
        if self._writing:
            await asyncio.wait(self._writing)

    async def _write(self) -> None:
        try:
            while self._waiting:
                count = min(len(self._waiting), TOGETHER)
                await self._together([self._waiting.popleft() for _ in range(count)])
        finally:
            # At once, not by a callback: who comes now must find that nobody writes for them.
            self._writing.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _together(self, batch: Sequence[_Asked]) -> None:
        news = [asked.new for asked in batch]
        try:
            outcomes = await self._access.write(partial(create, news=news, gate=self._gate))
        except GatorError as error:
            for asked in (*batch, *self._would_wait_for(error)):
                _fail(asked, error)
        except Exception as error:  # noqa: BLE001 - told to whom it concerns
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for asked in batch:  # one of them cannot be stored
                await self._together([asked])
        else:
            for asked, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, GatorError):
                    _fail(asked, outcome)
                elif not asked.future.done():
                    asked.future.set_result(outcome)

    def _would_wait_for(self, error: GatorError) -> list[_Asked]:
        """Those that wait for a place: with the database away, one batch after another would.

        Each batch may find that out only after some seconds.
        """
        if error.reason is not Reason.STORAGE_UNAVAILABLE:
            return []
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting


def _fail(asked: _Asked, error: Exception) -> None:
    if not asked.future.done():  # its caller may have been cancelled
        asked.future.set_exception(error)
