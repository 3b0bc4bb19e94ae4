"""Keeps the leases of this process, and stops the work on those that it may have lost.

A lease holds for 30 s by the database's clock. All of them are renewed together every
10 s, and every second where that failed. A process that could not renew one for 20 s, by
its own clock, gives it up: 10 s before another may claim the render. Every write is guarded
by the lease's epoch besides, so a process that was halted for longer changes nothing when it
goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from gateway import metrics
from gateway.jobs.records import Lease, LeaseLost
from gateway.jobs.store import Store
from rpckit.errors import GatorError
from rpckit.telemetry import logger

log = logger(__name__)

LOOK = 0.5
"""Seconds between two looks at whether leases are still there."""
RETRY = 1.0
"""Seconds after which leases are renewed again that could not be."""


@dataclass(frozen=True)
class Rhythm:
    """When leases are renewed, when they are given up, and how long they hold, in seconds."""

    renew: float = 10.0
    give_up: float = 20.0
    """Since the last renewal that succeeded."""
    lease: float = 30.0
    """Since then by the database's clock: longer than it takes to give up."""


class LeaseKeeper:
    """Keeps leases from `add` to `remove`."""

    def __init__(
        self, store: Store, lost: Callable[[Lease], None], rhythm: Rhythm | None = None
    ) -> None:
        """`lost` is called once for a lease that is over: the work on it must end."""
        self._store = store
        self._lost = lost
        self._rhythm = rhythm or Rhythm()
        self._renewed: dict[Lease, float] = {}
        self._wanted = asyncio.Event()

    def add(self, lease: Lease, claimed_at: float) -> None:
        """Keeps a lease. `claimed_at` is when its claim was sent, by time.monotonic()."""
        self._renewed[lease] = claimed_at

    def remove(self, lease: Lease) -> None:
        """Keeps a lease no longer; it may be lost already."""
        self._renewed.pop(lease, None)

    def check(self, lease: Lease) -> None:
        """Whether a lease is still held, as far as this process can tell without asking.

        A process that was halted goes on wherever it was: it should begin nothing that is
        dear before it has looked at the clock.

        Raises:
            LeaseLost: it was lost, or is about to be given up.
        """
        renewed = self._renewed.get(lease)
        if renewed is None or self._overdue(renewed):
            raise LeaseLost(lease)

    def _overdue(self, renewed: float) -> bool:
        return renewed < time.monotonic() - self._rhythm.give_up

    def look_now(self) -> None:
        """Looks at once whether all leases are still there."""
        self._wanted.set()

    async def run(self) -> None:
        """Keeps leases until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew(), name="lease renewal")
            group.create_task(self._watch(), name="lease watch")
            group.create_task(self._give_up(), name="lease giving up")

    async def _renew(self) -> None:
        wait = self._rhythm.renew
        while True:
            await asyncio.sleep(wait)
            wait = self._rhythm.renew
            leases = list(self._renewed)
            if not leases:
                continue
            sent = time.monotonic()
            try:
                # The store gives up by itself. To do so earlier would cost the connection too.
                held = await self._store.heartbeat(leases)
            except GatorError as error:
                log.warning("leases could not be renewed", error=error.message)
                wait = min(wait, RETRY)
                continue
            for lease in held & self._renewed.keys():
                self._renewed[lease] = sent
            self._lose(set(leases) - held, "over")

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            leases = list(self._renewed)
            if not leases:
                continue
            try:
                held = await self._store.still_held(leases)
            except GatorError:
                continue  # the renewal tells, and gives up
            self._lose(set(leases) - held, "over")

    async def _give_up(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK, self._rhythm.give_up / 4))
            given_up = {lease for lease, at in self._renewed.items() if self._overdue(at)}
            if given_up:
                log.warning("leases given up: the database did not answer", count=len(given_up))
            self._lose(given_up, "given_up")

    def _lose(self, leases: Collection[Lease], how: str) -> None:
        for lease in leases:
            if self._renewed.pop(lease, None) is not None:
                metrics.LEASES_LOST.labels(how).inc()
                self._lost(lease)
