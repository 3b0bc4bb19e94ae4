"""The chain of backends: the best that can make a frame makes it, and the rest is told."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from fractions import Fraction

from frame_gen.backends.base import (
    NO_MODEL_ADVICE,
    Availability,
    Backend,
    BackendError,
    FrameWarning,
    Generated,
    GenerationEvent,
    GenerationRequest,
    Plan,
    Preview,
    Progress,
    Queued,
)
from frame_gen.metrics import backends_passed_over, frame_made
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame
from rpckit.provenance import Backend as Kind
from rpckit.provenance import PassedOver, Provenance
from rpckit.telemetry import logger
from rpckit.tracing import RENDER_ID, Attributes, begun

log = logger(__name__)

RESERVE = 2.0
"""Seconds of a call's time, at most a fifth, that models leave for the placeholder that may
have to stand in."""

_FAULT = "AI frame generation failed: a fault of the service; its log has the details"


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
        ends = _Ends(time.monotonic(), remaining)
        backends, passed_over = self._candidates(request)
        for backend in backends:
            state = availability_of(backend)
            if not state.available:
                passed_over.append(PassedOver(backend.kind, state.reason.value, state.message))
                continue
            attempt = _Attempt(backend, self._frame_timeout, ends.of(backend))
            done: Done | None = None
            try:
                with begun("make frame", _attributes(backend, request)) as making:
                    async with aclosing(attempt.events(request)) as events:
                        async for event in events:
                            if isinstance(event, Generated):
                                done = attempt.done(event, request, passed_over)
                                making.set_attributes(done.provenance.span_attributes)
                            else:
                                yield event
            except Exception as error:  # noqa: BLE001 - one backend's bug is no other's
                failure = _failure(backend, error)
                over = PassedOver(backend.kind, failure.reason.value, failure.message)
                # A backend that fails only after its frame has made it all the same.
                passed_over += [over] if done is None else []
            if done is not None:
                frame_made(done.provenance)
                yield done
                return
        backends_passed_over(passed_over)
        raise _nothing_left(request, passed_over, call_ended=ends.no_time_for_models())

    async def plan(self, request: GenerationRequest) -> Plan:
        """What would make a frame as things stand: the first backend that can.

        Raises:
            GatorError: none that the request allows could.
        """
        backends, passed_over = self._candidates(request)
        for backend in backends:
            state = availability_of(backend)
            if not state.available:
                passed_over.append(PassedOver(backend.kind, state.reason.value, state.message))
                continue
            try:
                return await backend.plan(request)
            except Exception as error:  # noqa: BLE001 - one backend's bug is no other's
                failure = _failure(backend, error)
                passed_over.append(PassedOver(backend.kind, failure.reason.value, failure.message))
        raise _nothing_left(request, passed_over, call_ended=False)

    def _candidates(self, request: GenerationRequest) -> tuple[list[Backend], list[PassedOver]]:
        """The backends that the request allows, best first, and what is known to be missing."""
        models = [b for b in self.backends if b.kind is not Kind.PLACEHOLDER]
        placeholders = [b for b in self.backends if b.kind is Kind.PLACEHOLDER]
        if not request.use_ai_generation:
            return placeholders, []
        missing = PassedOver(Kind.DIFFUSERS, Reason.NO_MODEL_AVAILABLE.value, NO_MODEL_ADVICE)
        return (
            models + (placeholders if request.may_fall_back else []),
            [] if models else [missing],
        )


def _attributes(backend: Backend, request: GenerationRequest) -> Attributes:
    """What the span of a backend's try says of it at first."""
    return {
        RENDER_ID: request.render_id,
        "gator.scene.index": request.scene_index,
        "gator.frame.backend": backend.kind.name.lower(),
    }


def availability_of(backend: Backend) -> Availability:
    """What a backend says of itself; one that fails to say is not available."""
    try:
        return backend.availability()
    except Exception as error:  # noqa: BLE001 - one backend's bug is no other's
        failure = _failure(backend, error)
        return Availability(available=False, message=failure.message, reason=failure.reason)


def _failure(backend: Backend, error: Exception) -> BackendError:
    """What others are told of a backend's error; a traceback goes to the log alone."""
    if isinstance(error, BackendError):
        log.info("passed over", backend=backend.kind.name, reason=error.reason.name)
        return error
    log.error("a backend failed by a fault of its own", backend=backend.kind.name, exc_info=error)
    return BackendError(Reason.GENERATION_FAILED, _FAULT)


class _Ends:
    """When the time of a call is over, on the monotonic clock."""

    def __init__(self, started: float, remaining: float | None) -> None:
        self._of_call = math.inf if remaining is None else started + remaining
        reserve = 0.0 if remaining is None else min(RESERVE, remaining / 5)
        self._of_models = self._of_call - reserve

    def of(self, backend: Backend) -> float:
        """When `backend` must have ended."""
        return self._of_call if backend.kind is Kind.PLACEHOLDER else self._of_models

    def no_time_for_models(self) -> bool:
        """Whether the call's time, less what is kept for a placeholder, is over."""
        return time.monotonic() >= self._of_models


class _Attempt:
    """One backend's try at one frame, with its times."""

    def __init__(self, backend: Backend, frame_timeout: float, end: float) -> None:
        """`frame_timeout` is for work, neither for waiting nor for the reader of the events.

        `end` is `_Ends.of` the backend.
        """
        self._backend = backend
        self._frame_timeout = frame_timeout
        self._end = end
        self._waiting = False
        self._waited = 0.0
        self._worked = 0.0

    async def events(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """The backend's events until it has made the frame. BackendError if it has not."""
        if math.isfinite(self._end):
            request = replace(request, deadline=self._end)
        async with aclosing(self._backend.generate(request)) as events:
            while True:
                try:
                    # The time limit must not span a yield: it would fire in the caller.
                    event = await self._next(events)
                except StopAsyncIteration:
                    raise BackendError(
                        Reason.GENERATION_FAILED, "AI frame generation failed: no frame came"
                    ) from None
                self._waiting = isinstance(event, Queued)
                yield event
                if isinstance(event, Generated):
                    return

    async def _next(self, events: AsyncGenerator[GenerationEvent, None]) -> GenerationEvent:
        """The next event. BackendError when the time is over."""
        task = asyncio.current_task()
        cancelled_before = task.cancelling() if task else 0
        asked_at = time.monotonic()
        left = self._end - asked_at
        if not self._waiting:
            left = min(left, self._frame_timeout - self._worked)
        if left <= 0:
            # A backend that never waits for anything would not notice a time-out.
            raise self._too_late()
        limit = asyncio.timeout(left)
        try:
            async with limit:
                return await anext(events)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._too_late() from None
        except asyncio.CancelledError:
            raise BackendError(
                Reason.GENERATION_FAILED, "AI frame generation failed: the backend gave it up"
            ) from None
        finally:
            self._count(time.monotonic() - asked_at)
            if task and task.cancelling() > cancelled_before:
                # The call was cancelled, whatever the backend has made of that.
                raise asyncio.CancelledError

    def _count(self, seconds: float) -> None:
        if self._waiting:
            self._waited += seconds
        else:
            self._worked += seconds

    def _too_late(self) -> BackendError:
        what = (
            "the call's time ran out; give it more, or use fewer steps"
            if time.monotonic() >= self._end
            else "it took longer than a frame may take; use fewer steps, or raise "
            "GATOR_FRAME_GEN_FRAME_TIMEOUT"
        )
        return BackendError(Reason.DEADLINE_EXCEEDED, f"AI frame generation failed: {what}")

    def done(
        self,
        made: Generated,
        request: GenerationRequest,
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
            queue_time=Fraction(self._waited),
            generation_time=Fraction(self._worked),
            frame_sha256=header.sha256,
            passed_over=tuple(passed_over),
        )
        return Done(made.frame, provenance, made.warnings)


def _nothing_left(
    request: GenerationRequest, passed_over: Sequence[PassedOver], *, call_ended: bool
) -> GatorError:
    """The error that names every attempt."""
    tried = "; ".join(f"{over.backend.name}: {over.message}" for over in passed_over)
    reasons = {over.reason for over in passed_over}
    unavailable = reasons <= {Reason.NO_MODEL_AVAILABLE.value}
    if unavailable:
        reason = Reason.NO_MODEL_AVAILABLE
        message = NO_MODEL_ADVICE if len(passed_over) < 2 else f"{NO_MODEL_ADVICE}. {tried}"
    else:
        reason = Reason.DEADLINE_EXCEEDED if call_ended else Reason.GENERATION_FAILED
        message = f"AI frame generation failed. {tried}"
    backends = ",".join(over.backend.name for over in passed_over)
    return GatorError(
        reason,
        f"scenes[{request.scene_index}]: {message}",
        metadata={"backends": backends, "scene": str(request.scene_index)},
    )
