"""Models that are called as whole diffusers pipelines: images with equal settings at once.

For architectures whose steps the step engine does not know (transformers). The
jobs, listeners and handles are the step engine's. A pipeline is not safe to use
from several threads: one thread calls them all.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from frame_gen.diffusion.fair_queue import FairQueue
from frame_gen.diffusion.job import (
    Failure,
    FailureReason,
    Handle,
    Image,
    Job,
    Listener,
    Picture,
    Preview,
    Progress,
    Truncated,
)
from frame_gen.diffusion.loaded_pipeline import LoadedPipeline
from frame_gen.diffusion.memory import (
    Attempt,
    Fault,
    MemoryGate,
    OpenGate,
    Phase,
    release_unused,
)
from frame_gen.diffusion.previews import to_jpeg
from frame_gen.metrics import out_of_memory, steps_taken
from rpckit.telemetry import logger

log = logger(__name__)


class _AbandonedError(BaseException):
    """No job of the call is wanted any more."""


class _Order:
    """A job that was submitted."""

    def __init__(self, number: int, job: Job, listener: Listener, now: float) -> None:
        self.number = number
        self.job = job
        self.cancelled = False
        self.ended = False
        self.submitted = now
        self.started: float | None = None
        self.truncated: tuple[Truncated, ...] = ()
        self._listener = listener
        self._position: int | None = None
        self._lock = threading.Lock()

    @property
    def key(self) -> Hashable:
        job = self.job
        return (id(job.model), job.width, job.height, job.steps, job.guidance)

    def report_position(self, position: int) -> None:
        if position != self._position:
            self._position = position
            self.tell(self._listener.queued, position)

    def report(self, step: int, now: float) -> None:
        left = None
        if self.started is not None and step:
            left = (now - self.started) / step * (self.job.steps - step)
        self.tell(self._listener.progress, Progress(step, self.job.steps, left))

    def wants_preview(self) -> bool:
        """Whether its listener would take a preview now."""
        return not self.ended and bool(self.tell(self._listener.wants_preview))

    def show(self, preview: Preview) -> None:
        self.tell(self._listener.preview, preview)

    def finish(self, picture: Picture, now: float) -> None:
        started = self.submitted if self.started is None else self.started
        image = Image(picture, started - self.submitted, now - started, self.truncated)
        self._end(self._listener.finished, image)

    def fail(self, reason: FailureReason, message: str) -> None:
        self._end(self._listener.failed, Failure(reason, message))

    def fail_if_due(self, now: float) -> bool:
        """Ends it if nobody wants it any more, or it is too late; whether it has ended."""
        deadline = self.job.deadline
        if self.cancelled:
            self.fail(FailureReason.CANCELLED, "the job was cancelled")
        elif deadline is not None and now >= deadline:
            self.fail(FailureReason.DEADLINE_EXCEEDED, "the image took longer than it may")
        return self.ended

    def _end(self, method: Callable[..., Any], value: Any) -> None:
        with self._lock:
            if self.ended:
                return
            self.ended = True
        self.tell(method, value)

    def tell(self, method: Callable[..., Any], *values: Any) -> Any:
        try:
            return method(*values)
        except Exception:
            # A listener's fault must not reach the other jobs.
            log.exception("a listener failed")
            return None


class WholePipelineEngine:
    """Makes images with whole pipelines; used like `engine.StepEngine`."""

    def __init__(
        self,
        device: torch.device | str,
        max_batch: int = 4,
        *,
        preview_every: int = 5,
        gate: MemoryGate | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience: float = 30.0,
    ) -> None:
        """At most `max_batch` images in one call, a preview every so many steps (0: none).

        `gate` may refuse memory, for tests.
        """
        self._preview_every = preview_every
        self._device = torch.device(device)
        self._gate = gate or OpenGate()
        self._clock = clock
        self._limit = max_batch
        self._queue = FairQueue(max_batch, patience=patience)
        self._orders: dict[int, _Order] = {}
        self._numbers = itertools.count()
        self._wake = threading.Condition()
        self._arrivals: deque[_Order] = deque()
        self._closing = False
        self.lost = False
        """Whether the device fails every call; every job is failed then."""
        self._thread = threading.Thread(target=self._run, name="gator-pipelines", daemon=True)
        self._thread.start()

    def submit(self, job: Job, listener: Listener) -> Handle:
        """Puts a job, whose model is a LoadedPipeline, in; answers at once, from any thread.

        Raises:
            ValueError: the size does not suit the model, or there are no steps.
        """
        multiple = job.model.size_multiple
        if job.width % multiple or job.height % multiple or min(job.width, job.height) < 1:
            raise ValueError(f"{job.width}x{job.height} must be multiples of {multiple}")
        if job.steps < 1:
            raise ValueError("there must be at least one step")
        order = _Order(next(self._numbers), job, listener, self._clock())
        with self._wake:
            closing = self._closing
            if not closing:
                self._arrivals.append(order)
                self._wake.notify()
        if closing:
            order.fail(FailureReason.CLOSED, "the service is shutting down")
        return _Handle(order, self._wake)

    def close(self) -> None:
        """Fails what is not finished and ends the thread; waits for the step in hand."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._wait():
                self._attend()
                orders = [self._orders[number] for number in self._queue.turn()]
                self._report_positions()
                if orders:
                    self._make(orders)
        finally:
            with self._wake:
                self._closing = True
            for order in [*self._orders.values(), *self._arrivals]:
                order.fail(FailureReason.CLOSED, "the service is shutting down")

    def _wait(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._closing or self._orders or self._arrivals)
            return not self._closing

    def _attend(self) -> None:
        """Takes in what has come, and out what has ended."""
        with self._wake:
            arrivals = list(self._arrivals)
            self._arrivals.clear()
        now = self._clock()
        for order in arrivals:
            self._orders[order.number] = order
            self._queue.add(
                order.number,
                key=order.key,
                render=order.job.render or order.number,
                rows=1,
                now=now,
                deadline=order.job.deadline,
                work=float(order.job.width * order.job.height * order.job.steps),
            )
        for order in list(self._orders.values()):
            if self.lost:
                order.fail(FailureReason.DEVICE_LOST, "the device does not answer any more")
            if order.fail_if_due(now):
                self._queue.remove(order.number)
                del self._orders[order.number]

    def _report_positions(self) -> None:
        for number, position in self._queue.positions().items():
            self._orders[number].report_position(position)

    def _make(self, orders: Sequence[_Order]) -> None:
        pending = list(orders)
        alone = False
        while pending := [order for order in pending if not order.ended]:
            chunk = pending[: 1 if alone else self._limit]
            try:
                with Attempt() as attempt:
                    self._call(chunk)
            except _AbandonedError:
                return
            if attempt.fault is None:
                pending = pending[len(chunk) :]
            elif not self._can_go_on(attempt.fault, chunk):
                if len(chunk) > 1 and not self.lost:
                    # Whose fault it is shows when each goes alone.
                    alone = True
                    continue
                for order in chunk:
                    order.fail(*_FAILURES[attempt.fault])
                pending = pending[len(chunk) :]

    def _call(self, chunk: Sequence[_Order]) -> None:
        model: LoadedPipeline = chunk[0].job.model
        now = self._clock()
        for order in chunk:
            if order.started is None:
                order.started = now
                texts = {"prompt": order.job.prompt, "negative_prompt": order.job.negative_prompt}
                cut = [model.truncated(*text) for text in texts.items()]
                order.truncated = tuple(part for part in cut if part is not None)
        pixels = chunk[0].job.width * chunk[0].job.height
        self._gate.enter(Phase.DENOISE, rows=len(chunk), pixels=pixels)

        def step_done(step: int, latents: torch.Tensor) -> None:
            steps_taken(len(chunk))
            self._attend()
            self._report_positions()
            if self._closing or all(order.ended for order in chunk):
                raise _AbandonedError
            for order in chunk:
                if not order.ended:
                    order.report(min(step, order.job.steps), self._clock())
            self._show(chunk, step, latents)

        pictures = model.images([order.job for order in chunk], step_done)
        for order, picture in zip(chunk, pictures, strict=True):
            if not picture.any():
                order.fail(*_REJECTED)
            elif not order.fail_if_due(self._clock()):
                order.finish(picture, self._clock())

    def _show(self, chunk: Sequence[_Order], step: int, latents: torch.Tensor) -> None:
        """Makes previews if it is time; one that fails or is not wanted is left out."""
        job = chunk[0].job
        every = self._preview_every
        if not every or step % every or step >= job.steps or not job.model.has_previews:
            return
        for place, order in enumerate(chunk):
            if order.wants_preview():
                with Attempt():
                    picture = job.model.preview(latents, place, job)
                    if picture is not None:
                        order.show(Preview(to_jpeg(picture), step))

    def _can_go_on(self, fault: Fault, chunk: Sequence[_Order]) -> bool:
        """Whether the call may succeed with less memory, which is arranged for."""
        if fault is Fault.DEVICE_LOST:
            log.error("the device is lost")
            self.lost = True
        if fault is not Fault.OUT_OF_MEMORY:
            return False
        out_of_memory(Phase.DENOISE.value)
        if len(chunk) > 1:
            self._limit = len(chunk) // 2
            taken = "FEWER_ROWS"
        else:
            taken = chunk[0].job.model.save_memory()
        release_unused(self._device)
        log.warning("out of memory", images=len(chunk), rung=taken or None)
        return bool(taken)


_REJECTED = (
    FailureReason.CONTENT_REJECTED,
    "the safety checker rejected the image; change the prompt",
)
_FAILURES = {
    Fault.OUT_OF_MEMORY: (
        FailureReason.OUT_OF_MEMORY,
        "the device has too little memory for this model; configure a smaller one",
    ),
    Fault.OTHER: (
        FailureReason.BROKEN,
        "the model failed on this image; the service's log has the details",
    ),
    Fault.DEVICE_LOST: (
        FailureReason.DEVICE_LOST,
        "the device does not answer any more; restart the service",
    ),
}


class _Handle:
    """See `job.Handle`."""

    def __init__(self, order: _Order, wake: threading.Condition) -> None:
        self._order = order
        self._wake = wake

    def cancel(self) -> None:
        """See `job.Handle`."""
        self._order.cancelled = True
        with self._wake:
            self._wake.notify()
