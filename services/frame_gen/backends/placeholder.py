"""The backend that always works: the prompt, set in type on a gradient."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

from frame_gen.backends.base import (
    Availability,
    FrameWarning,
    Generated,
    GenerationEvent,
    GenerationRequest,
    Plan,
    Progress,
    Queued,
)
from frame_gen.drawing.card import SUBSTITUTE, Card, draw_card, plan_card
from rpckit.frame import Frame
from rpckit.provenance import Backend as Kind

GENERATION_VERSION = "placeholder 1"
"""Grows when the same request is drawn in another way."""


class PlaceholderBackend:
    """See `base.Backend`. Draws in threads of its own, at the size of the video."""

    def __init__(self, max_concurrent: int) -> None:
        """At most `max_concurrent` placeholders are drawn at a time; others wait."""
        self._slots = asyncio.Semaphore(max_concurrent)
        self._waiting = 0
        self._threads = ThreadPoolExecutor(max_concurrent, thread_name_prefix="placeholder")

    @property
    def kind(self) -> Kind:
        """See `base.Backend`."""
        return Kind.PLACEHOLDER

    def availability(self) -> Availability:
        """See `base.Backend`."""
        return Availability(available=True)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """See `base.Backend`."""
        self._waiting += 1
        try:
            if self._slots.locked():
                yield Queued(self._waiting - 1)
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield Progress(0, 0)
            generated = await self._draw(request)
        finally:
            self._slots.release()
        yield generated

    async def _draw(self, request: GenerationRequest) -> Generated:
        abandoned = threading.Event()
        drawing = self._threads.submit(_draw, request, abandoned)
        try:
            return await asyncio.wrap_future(drawing)
        finally:
            abandoned.set()

    async def plan(self, request: GenerationRequest) -> Plan:
        """See `base.Backend`. Drawn again sooner than fetched, so it is not shared."""
        return Plan(self.kind, request.video_width, request.video_height, GENERATION_VERSION)

    async def close(self) -> None:
        """See `base.Backend`."""
        await asyncio.to_thread(self._threads.shutdown)


class _Abandoned(Exception):  # noqa: N818 - an order to stop is no error
    """Nobody waits for the drawing any more."""


def _draw(request: GenerationRequest, abandoned: threading.Event) -> Generated:
    def checkpoint() -> None:
        if abandoned.is_set():
            raise _Abandoned

    width, height = request.video_width, request.video_height
    card = plan_card(request.prompt, width, height)
    checkpoint()
    picture = draw_card(card, request.prompt, request.scene_index, request.scene_count, checkpoint)
    frame = Frame.of(width, height, picture.data.cast("B"))
    return Generated(frame, warnings=tuple(_warnings(card)))


def _warnings(card: Card) -> Iterator[FrameWarning]:
    if card.missing:
        shown = ", ".join(f"{c} (U+{ord(c):04X})" for c in card.missing[:20])
        yield FrameWarning(
            "prompt", shown, SUBSTITUTE, "the placeholder's typefaces do not have these characters"
        )
    if card.shown < card.length:
        yield FrameWarning(
            "prompt",
            f"{card.length} characters",
            f"{card.shown} characters",
            "the picture is too small to show the whole prompt in letters that can be read",
        )
