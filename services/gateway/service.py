"""What the gateway does for its clients: renders are created, watched, stopped and fetched."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import grpc

from gateway import metrics
from gateway.convert import stored
from gateway.downstream import CallContext, Compositor, FrameGen
from gateway.events import Accepted, DownloadPart, RenderEvent
from gateway.jobs.attached import Remaining
from gateway.jobs.downloads import DownloadAsked
from gateway.jobs.failpoints import Point, passing
from gateway.jobs.handling import Handling, check_labels, check_request_id
from gateway.jobs.hosting import RuntimeHost
from gateway.jobs.persistence import persistently
from gateway.jobs.records import NewRender, Page, Priority, RenderRecord, RenderSnapshot
from gateway.jobs.scenes import FrameMaker
from gateway.jobs.states import RenderState
from gateway.jobs.streaming import RenderStream
from gateway.jobs.watch import WatchEvent
from gateway.pipeline import Composer
from gateway.request import Render, RenderAsked
from gateway.rules import Rules
from gateway.settings import Settings
from gateway.validation import accepted
from rpckit.client import hop_timeout, open_channel
from rpckit.errors import GatorError, Reason, invalid
from rpckit.settings import ChannelSettings
from rpckit.telemetry import logger
from rpckit.tracing import current_origin

log = logger(__name__)

DEFAULT_PAGE = 50
LARGEST_PAGE = 1_000
PAGE_BYTES = 3 << 20
"""Most bytes of a page's requests: a message may have 4 MiB."""
PATIENCE = 10.0
"""Seconds for which the cancellation of a render whose client left waits for the database."""


class RenderService:
    """Renders, for the owners who asked for them."""

    def __init__(self, settings: Settings, channel_settings: ChannelSettings) -> None:
        self._limits = settings.limits
        self._reserve = channel_settings.deadline_reserve
        self._reached: set[str] = set()
        self._host = RuntimeHost(settings, self._services)
        self._leaving: set[asyncio.Task[None]] = set()
        self.frame_gen = open_channel(settings.frame_gen_target, channel_settings)
        """Channel to the frame generation service."""
        self.compositor = open_channel(settings.compositor_target, channel_settings)
        """Channel to the compositor."""

    # --- one owner's renders -----------------------------------------------------------------

    async def create(self, owner: str, asked: RenderAsked) -> RenderSnapshot:
        """Stores a render, or finds the one that its request_id created before.

        GatorError INVALID_ARGUMENT, REQUEST_ID_REUSED, OVERLOADED, QUOTA_EXCEEDED.
        """
        render, handling = accepted(asked, self._limits, Priority.BATCH)
        new = _new_render(owner, render, handling, asked.fingerprint)
        return await self._create(new)

    async def _create(self, new: NewRender) -> RenderSnapshot:
        passing(Point.BEFORE_COMMIT)
        record, created = await self._host.runtime.store.create(new)
        passing(Point.AFTER_COMMIT)
        if created:
            return RenderSnapshot(record, ())
        return await self.get(new.owner, record.render_id)

    async def get(self, owner: str, render_id: str) -> RenderSnapshot:
        """The render as it stands; RENDER_NOT_FOUND."""
        return await self._host.runtime.store.snapshot(owner, render_id)

    async def list_renders(
        self,
        owner: str,
        *,
        states: tuple[RenderState, ...],
        labels: Mapping[str, str],
        page_size: int,
        page_token: str,
    ) -> Page:
        """A page of the owner's renders, newest first. `page_size` 0 means 50."""
        rules = Rules(strict=False)
        check_labels(rules, labels)
        if page_size < 0:
            rules.refuse("page_size", f"is {page_size}; must be 0 to {LARGEST_PAGE}")
        if rules.violations:
            raise invalid(*rules.violations)
        return await self._host.runtime.store.list_renders(
            owner,
            states=states,
            labels=labels,
            page_size=min(page_size, LARGEST_PAGE) or DEFAULT_PAGE,
            page_token=page_token,
            max_bytes=PAGE_BYTES,
        )

    def watch(
        self, owner: str, render_id: str, after: int, *, previews: bool
    ) -> AsyncGenerator[WatchEvent, None]:
        """The render as it stands, then what happens to it, until it has ended."""
        return self._host.runtime.hub.watch(owner, render_id, after, previews=previews)

    async def cancel(self, owner: str, render_id: str) -> RenderSnapshot:
        """Stops a render; one that has ended stays as it is."""
        runtime = self._host.runtime
        await runtime.store.cancel(owner, render_id)
        runtime.worker.look_now()
        return await runtime.store.snapshot(owner, render_id)

    async def delete(self, owner: str, render_id: str) -> None:
        """Deletes a render that has ended; WRONG_STATE for another."""
        runtime = self._host.runtime
        await runtime.store.delete(owner, render_id)
        try:
            await runtime.videos.delete(render_id)
        except GatorError as error:  # the sweeper does it later
            log.info("objects stay for now", render_id=render_id, reason=error.reason.name)

    def download(self, owner: str, asked: DownloadAsked) -> AsyncGenerator[DownloadPart, None]:
        """The bytes of a render's video."""
        return self._host.runtime.downloads.download(owner, asked)

    async def retry(self, owner: str, render_id: str, request_id: str) -> RenderSnapshot:
        """A new render with the request of one that has ended; WRONG_STATE for another."""
        rules = Rules(strict=False)
        check_request_id(rules, request_id)
        if rules.violations:
            raise invalid(*rules.violations)
        source = await self._host.runtime.store.get(owner, render_id)
        if not source.state.ended:
            raise GatorError(
                Reason.WRONG_STATE,
                f"render {render_id} is {source.state.name}; only one that has ended is retried",
                metadata={"render_id": render_id, "state": source.state.name},
            )
        return await self._create(_retry(source, request_id))

    # --- a client that stays -------------------------------------------------------------------

    async def render(
        self, owner: str, asked: RenderAsked, remaining: float | None
    ) -> AsyncGenerator[RenderEvent, None]:
        """Creates a render, or comes back to it by its request_id, and tells what happens.

        It may take `remaining` seconds (None: any time). GatorError as `create`, and
        why the render has no video if it has none.
        """
        runtime = self._host.runtime
        render, handling = accepted(asked, self._limits, Priority.INTERACTIVE)
        new = _new_render(owner, render, handling, asked.fingerprint, runtime.worker.name)
        # The render of a client that can come back outlives the deadline of its call.
        deadline = _countdown(None if handling.request_id else remaining)
        with runtime.clients.present(new.render_id, deadline):
            record = (await self._create(new)).render
            if record.render_id == new.render_id:
                frame_count = new.frame_count
            else:
                await runtime.clients.touch(record.render_id)
                render = stored.render_of(record.request, record.warnings)
                frame_count = record.progress.frame_count
            yield Accepted(record.render_id, render, frame_count)
            async with aclosing(self._stream(record)) as events:
                async for event in events:
                    yield event

    async def _stream(self, record: RenderRecord) -> AsyncGenerator[RenderEvent, None]:
        """What happens to a render while its client stays."""
        runtime = self._host.runtime
        stream = RenderStream(runtime.hub, runtime.videos, record.owner, record.render_id)
        ended = False
        try:
            with runtime.clients.present(record.render_id):
                async with aclosing(stream.events()) as events:
                    async for event in events:
                        yield event
            ended = True
        finally:
            if not (ended or record.request_id or runtime.draining):
                # It has no name under which its client could come back.
                self._leaving.add(task := asyncio.create_task(self._leave(record)))
                task.add_done_callback(self._leaving.discard)

    async def _leave(self, record: RenderRecord) -> None:
        """The client is gone: what it asked for is cancelled."""
        runtime = self._host.runtime
        try:
            await persistently(
                lambda: runtime.store.cancel(record.owner, record.render_id), PATIENCE
            )
        except GatorError as error:  # cancelled later, when it is noticed that nobody is there
            log.warning("not cancelled", render_id=record.render_id, reason=error.reason.name)
        runtime.worker.look_now()

    # --- the process ---------------------------------------------------------------------------

    def _services(self, render_id: str, remaining: Remaining) -> tuple[FrameMaker, Composer]:
        """The services below, for one render."""

        # The compositor waits for frames, so it is given more time than they are:
        # what runs out first is then what was really waited for.
        def composing() -> float | None:
            return hop_timeout(remaining(), self._reserve)

        def making() -> float | None:
            return hop_timeout(composing(), self._reserve)

        return (
            FrameGen(self.frame_gen, CallContext(render_id, making)),
            Compositor(self.compositor, CallContext(render_id, composing)),
        )

    async def start(self) -> None:
        """Opens the stores and begins to run renders; ServerStartError."""
        await self._host.start()

    def drain(self) -> None:
        """The process ends: no render is begun, those that run may go on for the grace."""
        self._host.drain()

    def dismiss(self) -> None:
        """Watchers end: they have had time to find another gateway."""
        self._host.dismiss()

    async def ready(self) -> bool:
        """Whether the stores and both services below can be reached."""
        states = {
            "database": await self._host.ready(),
            "frame_gen": self._reachable("frame_gen", self.frame_gen),
            "compositor": self._reachable("compositor", self.compositor),
        }
        for name, reached in states.items():
            metrics.show_reached(name, reached=reached)
        return all(states.values())

    def _reachable(self, name: str, channel: grpc.aio.Channel) -> bool:
        state = channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            self._reached.add(name)
        elif state is not grpc.ChannelConnectivity.IDLE:
            self._reached.discard(name)
        # A channel that has been reached falls idle when nothing is asked of it.
        return name in self._reached

    async def close(self) -> None:
        """Hands back what still runs, and closes the stores and both channels."""
        if self._leaving:
            await asyncio.wait(self._leaving)
        await self._host.close()
        await self.frame_gen.close(grace=None)
        await self.compositor.close(grace=None)


def _new_render(
    owner: str, render: Render, handling: Handling, fingerprint: bytes, attached_to: str = ""
) -> NewRender:
    return NewRender(
        render_id=str(uuid.uuid4()),
        owner=owner,
        request=stored.request_bytes(render, handling),
        scene_count=len(render.scenes),
        frame_count=render.frame_count,
        fingerprint=fingerprint,
        request_id=handling.request_id,
        warnings=stored.warnings_bytes(render.warnings),
        priority=handling.priority,
        labels=handling.labels,
        attached_to=attached_to,
        origin=current_origin(),
    )


def _retry(source: RenderRecord, request_id: str) -> NewRender:
    return NewRender(
        render_id=str(uuid.uuid4()),
        owner=source.owner,
        request=stored.retried(source.request, request_id),
        scene_count=source.progress.scene_count,
        frame_count=source.progress.frame_count,
        fingerprint=stored.retry_fingerprint(source.render_id),
        request_id=request_id,
        warnings=source.warnings,
        priority=source.priority,
        labels=stored.labels_of(source.request),
        retry_of=source.render_id,
        origin=current_origin(),
    )


def _countdown(remaining: float | None) -> Callable[[], float | None]:
    """Seconds that are left, counted from each time it is asked."""
    if remaining is None:
        return lambda: None
    deadline = time.monotonic() + remaining
    return lambda: max(deadline - time.monotonic(), 0.0)
