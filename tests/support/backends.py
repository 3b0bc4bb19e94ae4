"""A backend of frame generation that follows a script."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator

from frame_gen.backends.base import (
    Availability,
    Generated,
    GenerationEvent,
    GenerationRequest,
    Plan,
)
from rpckit.frame import Frame
from rpckit.provenance import Backend as Kind

AVAILABLE = Availability(available=True)


def generated(colour: bytes = b"\x10\x20\x30", width: int = 3, height: int = 2) -> Generated:
    """A frame of one colour."""
    frame = Frame.of(width, height, colour * (width * height))
    return Generated(frame, model="model@1", num_inference_steps=7, guidance_scale=2.5)


class ScriptedBackend:
    """Goes through its steps: yields events, raises errors, waits for asyncio.Events, calls.

    A step that can be called is, with the request; what it returns is awaited
    if it can be, and yielded if it is not None.
    """

    def __init__(self, kind: Kind, *steps: object, state: object = AVAILABLE) -> None:
        self.steps = steps
        self.state = state
        self.planned: Plan | Exception | None = None
        self.asked: list[GenerationRequest] = []
        self.running = 0
        self.waits = asyncio.Event()
        """Set once a step has been reached that waits."""
        self.closed = False
        self._kind = kind

    @property
    def kind(self) -> Kind:
        return self._kind

    def availability(self) -> Availability:
        if isinstance(self.state, Exception):
            raise self.state
        assert isinstance(self.state, Availability)
        return self.state

    async def plan(self, request: GenerationRequest) -> Plan:
        if isinstance(self.planned, Exception):
            raise self.planned
        return self.planned or Plan(self.kind, 3, 2, "1", model="model@1", shareable=True)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.asked.append(request)
        self.running += 1
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, asyncio.Event):
                    self.waits.set()
                    await step.wait()
                    continue
                event = step(request) if callable(step) else step
                if inspect.isawaitable(event):
                    event = await event
                if event is not None:
                    yield event
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed = True
