"""The store of renders: what other modules call."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from gateway.events import RenderProgress
from gateway.jobs.records import (
    Admission,
    Changes,
    Claim,
    Hint,
    Lease,
    NewRender,
    Page,
    QueueDepth,
    RenderEventRecord,
    RenderRecord,
    RenderSnapshot,
    SceneRecord,
    VideoRecord,
)
from gateway.jobs.retention import RenderView
from gateway.jobs.states import Phase, RenderState
from gateway.jobs.store import (
    attempts,
    claiming,
    listing,
    opening,
    reading,
    retention,
    stopping,
)
from gateway.jobs.store.access import Access
from gateway.jobs.store.admission import Gate
from gateway.jobs.store.creations import Creations
from gateway.jobs.store.hints import Hints
from gateway.jobs.store.stopping import ATTACHED_GRACE
from rpckit.errors import FieldViolation, GatorError, invalid

LEASE = timedelta(seconds=30)
"""How long a claim or a heartbeat holds."""
EVENTS_KEPT = timedelta(minutes=10)
"""How long the events of a render are kept after its end."""


class Store:
    """Renders in a database. Each method is one transaction: all of it happens, or nothing.

    Every method raises GatorError STORAGE_UNAVAILABLE (with retry_after) while the database
    is away or locked, and STORAGE_FULL where its disk is full. After an error of a write,
    whether it happened is unknown only where the connection broke at its end; every write
    can be repeated.

    Methods that take a lease raise LeaseLost, and change nothing, once the lease is over.
    """

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        admission: Admission = Admission(),  # noqa: B008 - frozen
        migrate: Literal["auto", "check"] = "auto",
        lease: timedelta = LEASE,
    ) -> AsyncGenerator[Store, None]:
        """The store in the database at `url`, until the end of the block.

        Args:
            url: sqlite:///path/of/file (its folder must exist) or postgresql://..., as libpq
                takes it.
            admission: how many renders are taken in.
            migrate: `auto` brings the database's tables up to date, `check` only looks.
            lease: how long a claim or a heartbeat holds; shorter only in tests.

        Raises:
            ValueError: the URL is neither.
            SchemaError: the tables are not those of this version, and may not be changed.
        """
        hints = Hints()
        async with AsyncExitStack() as held:
            database = opening.named(url, hints)
            held.push_async_callback(database.close)
            access = Access(database)
            await access.told(partial(opening.prepare, database), migrate)
            database.share_hints()
            creations = Creations(access, Gate(admission), database.writers)
            held.push_async_callback(creations.close)
            yield cls(access, hints, creations, lease)

    def __init__(
        self, access: Access, hints: Hints, creations: Creations, lease: timedelta
    ) -> None:
        self._access = access
        self._hints = hints
        self._creations = creations
        self._lease = lease

    # --- owners: create, look, stop ------------------------------------------------------

    async def create(self, new: NewRender) -> tuple[RenderRecord, bool]:
        """Stores a render, durably, and says whether it is new.

        The same request_id and fingerprint (or the same render_id) return the render that
        there is. It begins QUEUED with sequence 1.

        Raises:
            GatorError: REQUEST_ID_REUSED for a request_id with another fingerprint;
                OVERLOADED with retry_after if too many renders wait; QUOTA_EXCEEDED if the
                owner has too many.
        """
        return await self._creations.create(new)

    async def get(self, owner: str, render_id: str) -> RenderRecord:
        """The render as it stands; GatorError RENDER_NOT_FOUND if the owner has no such one."""
        return await self._access.read(lambda work: reading.get(work, owner, render_id))

    async def snapshot(self, owner: str, render_id: str) -> RenderSnapshot:
        """The render and its scenes as they stand; GatorError RENDER_NOT_FOUND."""
        return await self._access.read(lambda work: reading.snapshot(work, owner, render_id))

    async def list_renders(
        self,
        owner: str,
        *,
        states: Collection[RenderState] = (),
        labels: Mapping[str, str] | None = None,
        page_size: int = 50,
        page_token: str = "",
        max_bytes: int | None = None,
    ) -> Page:
        """A page of the owner's renders, newest first.

        Args:
            owner: whose.
            states: only renders in one of these; none means any.
            labels: only renders that have all of these.
            page_size: most renders of the page, from 1.
            page_token: next_page_token of the page before, with the same filters.
            max_bytes: ends the page early, after at least one render, where requests and
                warnings would come to more.

        Raises:
            GatorError: INVALID_ARGUMENT for a token that no page gave.
        """
        if page_size < 1:
            raise invalid(FieldViolation("page_size", "must be at least 1"))
        return await self._access.read(
            lambda work: listing.list_renders(
                work, owner, states, labels or {}, page_size, page_token, max_bytes
            )
        )

    async def cancel(self, owner: str, render_id: str) -> RenderRecord:
        """Stops a render and ends its lease; one that has ended is returned as it is.

        GatorError RENDER_NOT_FOUND.
        """
        return await self._access.write(lambda work: stopping.cancel(work, owner, render_id))

    async def delete(self, owner: str, render_id: str) -> None:
        """Removes a render that has ended; the sweeper finds its objects without a row.

        GatorError RENDER_NOT_FOUND, or WRONG_STATE for one that has not ended.
        """
        await self._access.write(lambda work: stopping.delete_render(work, owner, render_id))

    async def touch_attached(self, render_ids: Collection[str], worker: str) -> None:
        """Notes that the clients of these renders are there, at the gateway of `worker`.

        To be called every 5 s. Renders that go on without a client stay so.
        """
        if render_ids:
            await self._access.write(lambda work: stopping.touch_attached(work, render_ids, worker))

    async def lapse_attached(self) -> list[str]:
        """Cancels attached renders whose client has been away for 30 s, and returns their ids.

        Does nothing for 30 s after the database was away: nobody could note who was there.
        """
        if self._access.was_away(ATTACHED_GRACE.total_seconds()):
            return []
        return await self._access.write(stopping.lapse_attached)

    # --- workers: claim, keep, hand back ---------------------------------------------------

    async def claim(self, worker: str, limit: int) -> list[Claim]:
        """Takes up to `limit` renders for `worker`, each under a new lease of 30 s.

        Interactive renders come before batch ones; among those, an owner with fewer running
        renders before one with more; then the one that is due longest. A render whose
        lease has run out counts as waiting. A render that is attached to another gateway
        is left to it for 2 s. One that is locked by another claim is skipped.
        """
        if limit < 1:
            return []
        return await self._access.write(
            lambda work: claiming.claim(work, worker, limit, self._lease)
        )

    async def heartbeat(self, leases: Collection[Lease]) -> set[Lease]:
        """Holds the leases for 30 s from now; returns those that are still there."""
        if not leases:
            return set()
        return await self._access.write(lambda work: claiming.heartbeat(work, leases, self._lease))

    async def still_held(self, leases: Collection[Lease]) -> set[Lease]:
        """Those of the leases that are still there. Only looks: to notice a cancellation."""
        if not leases:
            return set()
        return await self._access.read(lambda work: claiming.still_held(work, leases))

    async def enter_phase(self, lease: Lease, phase: Phase) -> None:
        """Notes that the attempt has come to `phase`. The highest one stays. LeaseLost."""
        await self._access.write(lambda work: attempts.enter_phase(work, lease, phase))

    async def finish_scene(
        self,
        lease: Lease,
        scene: SceneRecord,
        events: Sequence[bytes] = (),
        progress: RenderProgress | None = None,
    ) -> int:
        """Stores that a scene's frame is stored at `scene.frame`, with the events that tell so.

        A scene that was not finished before means that the attempt got further. `progress`
        and what is returned are as in `append_events`. LeaseLost.
        """
        return await self.append_events(lease, events, scenes=[scene], progress=progress)

    async def append_events(
        self,
        lease: Lease,
        events: Sequence[bytes],
        *,
        scenes: Iterable[SceneRecord] = (),
        progress: RenderProgress | None = None,
    ) -> int:
        """Appends events, with what a snapshot shows after them; returns the first's sequence.

        Args:
            lease: of the render.
            events: payloads. With none, the snapshot changes silently.
            scenes: how far these are; one that is finished stays so.
            progress: how far the render is. Its fraction never falls; its counts of scenes
                and of pictures in all are the store's own.

        Raises:
            LeaseLost: the lease is over.
        """
        stored = list(scenes)
        return await self._access.write(
            lambda work: attempts.append(work, lease, events, stored, progress)
        )

    async def succeed(
        self,
        lease: Lease,
        *,
        video: VideoRecord,
        result: bytes,
        keep_for: timedelta | None,
        warnings: bytes | None = None,
    ) -> RenderRecord:
        """Publishes the video: the render has SUCCEEDED. The video expires after `keep_for`.

        `warnings` replaces those of the render. Repeating it after a lost answer returns the
        render. LeaseLost.
        """
        return await self._access.write(
            lambda work: attempts.succeed(work, lease, video, result, keep_for, warnings)
        )

    async def fail(
        self,
        lease: Lease,
        error: bytes,
        *,
        transient: bool,
        counts: bool = True,
        retry_after: timedelta | None = None,
    ) -> RenderState:
        """Ends the attempt with an error: the render waits to be tried again, or has FAILED.

        `states.judge` decides. Returns QUEUED or FAILED. LeaseLost.
        """
        return await self._access.write(
            lambda work: attempts.fail(
                work, lease, error, transient=transient, counts=counts, retry_after=retry_after
            )
        )

    async def release(self, lease: Lease) -> None:
        """Hands the render back, at its old place in the queue; the attempt does not count.

        LeaseLost.
        """
        await self._access.write(lambda work: attempts.release(work, lease))

    # --- watchers --------------------------------------------------------------------------

    async def events(
        self, render_id: str, after_sequence: int, limit: int = 256
    ) -> list[RenderEventRecord]:
        """The render's events after a sequence number, in order, at most `limit`.

        Numbers have no gaps. If the first is not `after_sequence` + 1, or there is none
        though the render's sequence is higher, older events were dropped: show a new
        snapshot. Snapshots begin at 1, the creation, which is no stored event.
        """
        return await self._access.read(
            lambda work: reading.events_after(work, render_id, after_sequence, limit)
        )

    async def changed(self, known: Mapping[str, int]) -> Changes:
        """Which of the renders (by id, with the last sequence that is known) have newer events.

        With those events, unless they are many. Two queries for all.
        """
        if not known:
            return Changes({}, frozenset())
        return await self._access.read(lambda work: reading.changed(work, known))

    def listen(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        """Calls `listener` on the event loop when something changed; returns what ends that.

        After every commit of this store at once, and of others on PostgreSQL within about
        250 ms. Only a hint: one may be lost.
        """
        return self._hints.listen(listener)

    # --- retention -------------------------------------------------------------------------

    async def now(self) -> datetime:
        """The database's time."""
        return await self._access.read(retention.now)

    async def retention(self, render_ids: Sequence[str]) -> Mapping[str, RenderView]:
        """What rows tell about objects, by id; ids without a row are left out."""
        return await self._access.read(lambda work: retention.views(work, render_ids))

    async def frames_in_use(self, folders: Sequence[str]) -> set[str]:
        """Those of the places of frames to which a scene of a render refers that has not ended."""
        return await self._access.read(lambda work: retention.frames_in_use(work, folders))

    async def prune(
        self, *, events_after: timedelta = EVENTS_KEPT, renders_after: timedelta | None = None
    ) -> None:
        """Drops the events of renders that ended so long ago, and renders that did.

        A render with a video that is kept stays; None keeps all.
        To be called about every minute. Bounded: what is left over goes the next time.
        """
        await self._access.write(lambda work: retention.prune(work, events_after, renders_after))

    # --- health ----------------------------------------------------------------------------

    async def stats(self) -> list[QueueDepth]:
        """How many renders wait and run."""
        return await self._access.read(reading.stats)

    async def ready(self) -> bool:
        """Whether the database answers."""
        try:
            await self._access.read(reading.ping)
        except GatorError:
            return False
        return True
