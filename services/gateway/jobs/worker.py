"""Claims renders and runs them, as many at a time as this process takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from gateway import metrics
from gateway.jobs.attempt import Outcome
from gateway.jobs.heartbeat import LeaseKeeper, Rhythm
from gateway.jobs.records import Claim, Hint, Lease, LeaseLost
from gateway.jobs.store import Store
from rpckit.errors import GatorError
from rpckit.telemetry import logger
from rpckit.tracing import RENDER_ID, Attributes, current, failed, of_origin, span

log = logger(__name__)

POLL = 0.5
"""Seconds between two looks for a render to claim without a hint."""
LAPSE_POLL = 1.0
"""Seconds between two looks for renders whose clients are gone."""

RunAttempt = Callable[[Claim], Awaitable[Outcome]]


class Worker:
    """One process's worker."""

    def __init__(
        self,
        name: str,
        store: Store,
        run_attempt: RunAttempt,
        capacity: int,
        rhythm: Rhythm | None = None,
    ) -> None:
        """`name` is this process's alone; `capacity` is in renders."""
        self.name = name
        self._store = store
        self._run_attempt = run_attempt
        self._capacity = capacity
        metrics.RUNNING_LIMIT.set(capacity)
        metrics.expect_outcomes(outcome.value for outcome in Outcome)
        self._keeper = LeaseKeeper(store, self._lost, rhythm)
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()
        self._claiming = True
        self._draining = False
        self._claims_ended = asyncio.Event()

    # --- while the process serves -------------------------------------------------------

    async def run(self) -> None:
        """Claims and runs renders until it is cancelled, which `drain` should go before."""
        unlisten = self._store.listen(self._hint)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._claim(), name="claims")
                group.create_task(self._keeper.run(), name="leases")
                group.create_task(self._lapse(), name="lapse of attached renders")
        finally:
            unlisten()

    def wake(self) -> None:
        """There may be a render to claim."""
        self._wanted.set()

    def check(self, lease: Lease) -> None:
        """As `LeaseKeeper.check`."""
        self._keeper.check(lease)

    def look_now(self) -> None:
        """A render of this process may have been cancelled."""
        self._keeper.look_now()

    def _hint(self, hint: Hint) -> None:
        if hint.queued:
            self._wanted.set()

    async def _claim(self) -> None:
        try:
            while self._claiming:
                self._wanted.clear()
                if not await self._claim_once():
                    try:
                        async with asyncio.timeout(POLL):
                            await self._wanted.wait()
                    except TimeoutError:
                        continue
        finally:
            self._claims_ended.set()

    async def _claim_once(self) -> bool:
        """Takes what there is and fits; whether there may be more that fits."""
        free = self._capacity - len(self._running)
        if free <= 0:
            return False
        sent = time.monotonic()
        try:
            claims = await self._store.claim(self.name, free)
        except GatorError as error:
            log.warning("no render could be claimed", reason=error.reason.name)
            return False
        for claim in claims:
            self._keeper.add(claim.lease, sent)
            task = asyncio.create_task(self._attempt(claim), name=f"render {claim.lease.render_id}")
            self._running[claim.lease] = task
        metrics.RUNNING.inc(len(claims))
        metrics.TAKEN_OVER.inc(sum(claim.taken_over for claim in claims))
        return len(claims) == free

    async def _lapse(self) -> None:
        while True:
            await asyncio.sleep(LAPSE_POLL)
            try:
                lapsed = await self._store.lapse_attached()
            except GatorError:
                continue  # nobody's absence can be told while the database is away
            for render_id in lapsed:
                log.info("cancelled: its client is gone", render_id=render_id)
            if lapsed:
                self.look_now()

    # --- one render -----------------------------------------------------------------------

    async def _attempt(self, claim: Claim) -> None:
        lease = claim.lease
        outcome = Outcome.LOST
        began = time.monotonic()
        try:
            with (
                structlog.contextvars.bound_contextvars(render_id=lease.render_id),
                span("render", _attributes(claim), parent=of_origin(claim.render.origin)) as around,
            ):
                log.info("attempt", epoch=lease.epoch, attempts=claim.render.attempts)
                outcome = await self._tried(claim)
                around.set_attribute("gator.render.outcome", outcome.value)
                log.info("attempt ended", outcome=outcome.value)
        finally:
            metrics.attempt_ended(outcome.value, time.monotonic() - began)
            metrics.RUNNING.dec()
            self._keeper.remove(lease)
            del self._running[lease]
            self._wanted.set()

    async def _tried(self, claim: Claim) -> Outcome:
        try:
            return await self._run_attempt(claim)
        except asyncio.CancelledError:
            return Outcome.RELEASED if self._draining else Outcome.LOST
        except Exception as error:
            # Not even its failure could be written: the lease runs out.
            log.exception("attempt broke off")
            failed(current(), type(error).__name__)
            return Outcome.LOST

    def _lost(self, lease: Lease) -> None:
        if task := self._running.get(lease):
            task.cancel()

    # --- when the process ends ------------------------------------------------------------

    def stop_claiming(self) -> None:
        """Takes no further render."""
        self._claiming = False
        self._wanted.set()

    async def drain(self, grace: float) -> None:
        """Lets renders run for `grace` seconds, then hands back those that still do.

        They are queued again at once, and the attempt does not count.
        """
        self.stop_claiming()
        await self._claims_ended.wait()
        if self._running:
            await asyncio.wait(set(self._running.values()), timeout=grace)
        leases = dict(self._running)
        self._draining = True
        for task in leases.values():
            task.cancel()
        if leases:
            await asyncio.wait(set(leases.values()))
        await asyncio.gather(*(self._release(lease) for lease in leases))

    async def _release(self, lease: Lease) -> None:
        try:
            await self._store.release(lease)
        except LeaseLost:
            return  # it ended just then
        except GatorError as error:  # the lease runs out
            log.warning("not handed back", render_id=lease.render_id, reason=error.reason.name)


def _attributes(claim: Claim) -> Attributes:
    """What the span of an attempt says of it."""
    render = claim.render
    return {
        RENDER_ID: render.render_id,
        "gator.render.epoch": claim.lease.epoch,
        "gator.render.attempt": render.attempts,
        "gator.render.scenes": render.progress.scene_count,
        "gator.render.scenes_stored": sum(scene.finished for scene in claim.scenes),
        "gator.render.pictures": render.progress.frame_count,
    }
