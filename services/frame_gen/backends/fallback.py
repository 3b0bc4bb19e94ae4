"""The chain of backends: the best that can make a frame makes it, and the rest is told."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from fractions import Fraction

from frame_gen.backends.base import (
    NO_MODEL_ADVICE,
    Backend,
    BackendError,
    FrameWarning,
    Generated,
    GenerationEvent,
    GenerationRequest,
    Preview,
    Progress,
    Queued,
)
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame
from rpckit.provenance import Backend as Kind
from rpckit.provenance import PassedOver, Provenance
from rpckit.telemetry import logger

log = logger(__name__)

RESERVE = 2.0
"""Seconds of a call's time, at most a fifth, that models leave for the placeholder that may
have to stand in."""


@dataclass(frozen=True)
class Done:
    """A frame and where it came from. Always the last event."""

    frame: Frame
    provenance: Provenance
    warnings: tuple[FrameWarning, ...]


class FallbackChain:
    """Tries backends in order. A failure of one request touches no other."""

    def __init__(self, backends: Sequence[Backend], frame_timeout: float) -> None:
        """`backends` best first; each has `frame_timeout` seconds for a frame."""
        self.backends = tuple(backends)
        """Best first."""
        self._frame_timeout = frame_timeout

    async def generate(
        self, request: GenerationRequest, remaining: float | None = None
    ) -> AsyncGenerator[Queued | Progress | Preview | Done, None]:
        """Makes one frame within `remaining` seconds (None: any time); `Done` is the last event.

        Raises:
            GatorError: no backend that the request allows could make it.
        """
        started = time.monotonic()
        ends = _Ends(started, remaining)
        passed_over: list[PassedOver] = []
        for backend in self._candidates(request, passed_over):
            attempt = _Attempt(backend, self._frame_timeout, ends.of(backend))
            try:
                async with aclosing(attempt.events(request)) as events:
                    async for event in events:
                        if isinstance(event, Generated):
                            yield attempt.done(event, request, started, passed_over)
                            return
                        yield event
            except BackendError as error:
                log.info("passed over", backend=backend.kind.name, reason=error.reason.name)
                passed_over.append(PassedOver(backend.kind, error.reason.value, error.message))
        raise _nothing_left(request, passed_over)

    def _candidates(
        self, request: GenerationRequest, passed_over: list[PassedOver]
    ) -> list[Backend]:
        """The backends that are worth a try; the others are noted in `passed_over`."""
        candidates: list[Backend] = []
        models = [b for b in self.backends if b.kind is not Kind.PLACEHOLDER]
        if request.use_ai_generation:
            if not models:
                reason = Reason.NO_MODEL_AVAILABLE
                passed_over.append(PassedOver(Kind.DIFFUSERS, reason.value, NO_MODEL_ADVICE))
            for backend in models:
                state = backend.availability()
                if state.available:
                    candidates.append(backend)
                else:
                    over = PassedOver(backend.kind, state.reason.value, state.message)
                    passed_over.append(over)
        if request.may_fall_back or not request.use_ai_generation:
            candidates += [b for b in self.backends if b.kind is Kind.PLACEHOLDER]
        return candidates


class _Ends:
    """When the time of a call is over, on the monotonic clock."""

    def __init__(self, started: float, remaining: float | None) -> None:
        self._of_call = math.inf if remaining is None else started + remaining
        reserve = 0.0 if remaining is None else min(RESERVE, remaining / 5)
        self._of_models = self._of_call - reserve

    def of(self, backend: Backend) -> float:
        """When `backend` must have ended."""
        return self._of_call if backend.kind is Kind.PLACEHOLDER else self._of_models


class _Attempt:
    """One backend's try at one frame, with its times."""

    def __init__(self, backend: Backend, frame_timeout: float, end: float) -> None:
        """`frame_timeout` counts while the backend is not `Queued`; `end` is `_Ends.of` it."""
        self._backend = backend
        self._frame_timeout = frame_timeout
        self._end = end
        self._waiting = False
        self._working_since = time.monotonic()

    async def events(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """The backend's events until it has made the frame. BackendError if it has not."""
        async with aclosing(self._backend.generate(request)) as events:
            while True:
                try:
                    # The time limit must not span a yield: it would fire in the caller.
                    event = await _within(self._limit(), events)
                except StopAsyncIteration:
                    raise BackendError(
                        Reason.GENERATION_FAILED, "AI frame generation failed: no frame came"
                    ) from None
                if self._waiting:
                    self._working_since = time.monotonic()
                self._waiting = isinstance(event, Queued)
                yield event
                if isinstance(event, Generated):
                    return

    def _limit(self) -> float:
        if self._waiting:
            return self._end
        return min(self._working_since + self._frame_timeout, self._end)

    def done(
        self,
        made: Generated,
        request: GenerationRequest,
        asked_at: float,
        passed_over: Sequence[PassedOver],
    ) -> Done:
        """The frame with its provenance."""
        header = made.frame.header
        provenance = Provenance(
            backend=self._backend.kind,
            model=made.model,
            seed=request.seed,
            num_inference_steps=made.num_inference_steps,
            guidance_scale=made.guidance_scale,
            width=header.width,
            height=header.height,
            queue_time=Fraction(self._working_since - asked_at),
            generation_time=Fraction(time.monotonic() - self._working_since),
            frame_sha256=header.sha256,
            passed_over=tuple(passed_over),
        )
        return Done(made.frame, provenance, made.warnings)


async def _within(limit: float, events: AsyncGenerator[GenerationEvent, None]) -> GenerationEvent:
    """The next event, or BackendError when `limit` has passed on the monotonic clock."""
    try:
        async with asyncio.timeout(max(limit - time.monotonic(), 0.0)):
            return await anext(events)
    except TimeoutError:
        raise BackendError(
            Reason.DEADLINE_EXCEEDED,
            "AI frame generation failed: it took longer than a frame may take; use fewer steps, "
            "or raise GATOR_FRAME_GEN_FRAME_TIMEOUT",
        ) from None


def _nothing_left(request: GenerationRequest, passed_over: Sequence[PassedOver]) -> GatorError:
    """The error that names every attempt."""
    tried = "; ".join(f"{over.backend.name}: {over.message}" for over in passed_over)
    reasons = {over.reason for over in passed_over}
    unavailable = reasons <= {Reason.NO_MODEL_AVAILABLE.value}
    if unavailable:
        reason = Reason.NO_MODEL_AVAILABLE
        message = NO_MODEL_ADVICE if len(passed_over) < 2 else f"{NO_MODEL_ADVICE}. {tried}"
    else:
        reason = Reason.GENERATION_FAILED
        message = f"AI frame generation failed. {tried}"
    backends = ",".join(over.backend.name for over in passed_over)
    return GatorError(
        reason,
        f"scene {request.scene_index}: {message}",
        metadata={"backends": backends, "scene": str(request.scene_index)},
    )
