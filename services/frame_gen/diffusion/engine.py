"""The step engine: one thread that owns the device and steps many images at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from frame_gen.diffusion.decoding import Decoder
from frame_gen.diffusion.device import DeviceLostError
from frame_gen.diffusion.fair_queue import FairQueue
from frame_gen.diffusion.item import Item
from frame_gen.diffusion.job import FailureReason, Handle, Job, Listener
from frame_gen.diffusion.ladder import Ladder, Rung
from frame_gen.diffusion.memory import Attempt, Fault, MemoryGate, OpenGate, Phase
from frame_gen.diffusion.models import LoadedModel
from frame_gen.diffusion.packing import Buckets
from frame_gen.diffusion.preparing import Preparer
from frame_gen.diffusion.recovery import Recovery, fail
from frame_gen.diffusion.residence import Part, Residence
from frame_gen.diffusion.stepping import StepCounts, Stepper
from frame_gen.diffusion.streams import Lead
from frame_gen.diffusion.warming import call_unet, call_vae, compiled_graphs, make_ready
from rpckit.telemetry import logger

log = logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class EngineSettings:
    """How the engine works."""

    max_rows: int = 16
    """Most rows in one call of a UNet; an image with guidance has two."""
    row_buckets: tuple[int, ...] | None = None
    """Batch sizes of the UNet; unset: each up to 8, then every second; fewer when compiled."""
    preview_every: int = 5
    """Steps between previews; 0 makes none."""
    patience: float = 30.0
    """Seconds after which an image is due though its deadline is later."""
    calm: float = 60.0
    """Seconds with enough memory after which a rung of the ladder is taken back."""
    cached_embeddings: int = 128
    """Of texts, for each model."""
    tile_above: int = 2_400_000
    """Pixels above which a picture is decoded in tiles."""
    compile_backend: str | None = None
    """With which UNets are compiled, such as `inductor`; unset: they are not."""
    compile_mode: str | None = None
    """Of the backend `inductor`, such as `max-autotune-no-cudagraphs`."""

    def buckets(self) -> Buckets:
        """The batch sizes of the UNet, none above `max_rows`."""
        coarse = (1, 2, 4, 6, 8, 12, 16, 24, 32)
        fine = (*range(1, 9), *range(10, self.max_rows + 2, 2))
        sizes = self.row_buckets or (fine if self.compile_backend is None else coarse)
        return Buckets([*(size for size in sizes if size < self.max_rows), self.max_rows])


class StepEngine:
    """Makes images of any number of jobs, sharing calls of the UNet between them.

    Jobs of the same model object and size take their denoising steps together,
    each with its own steps, guidance, prompts and seed. A new one joins at the
    next step, a cancelled or late one leaves at the next.
    """

    def __init__(
        self,
        device: torch.device | str,
        settings: EngineSettings | None = None,
        *,
        gate: MemoryGate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gate` may refuse memory, for tests; `clock` is that of the jobs' deadlines."""
        self.settings = settings = settings or EngineSettings()
        self.device = device = torch.device(device)
        self.ladder = Ladder(settings.max_rows, calm=settings.calm)
        self._clock = clock
        self._buckets = settings.buckets()
        self._residence = Residence(device, self.ladder)
        self._recovery = Recovery(device, self.ladder, clock)
        self._gate = gate = gate or OpenGate()
        self._preparer = Preparer(
            residence=self._residence,
            recovery=self._recovery,
            gate=gate,
            cache_size=settings.cached_embeddings,
            clock=clock,
        )
        self._stepper = Stepper(
            buckets=self._buckets,
            residence=self._residence,
            recovery=self._recovery,
            gate=gate,
            clock=clock,
        )
        self._decoder = Decoder(
            device,
            residence=self._residence,
            recovery=self._recovery,
            gate=gate,
            tile_above=settings.tile_above,
            clock=clock,
            lost=self._lose,
        )
        self._queue = FairQueue(settings.max_rows, patience=settings.patience)
        self._items: dict[int, Item] = {}
        self._lead = Lead(device)
        self._numbers = itertools.count()
        self._wake = threading.Condition()
        self._arrivals: deque[Item] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[], None]]] = deque()
        self._closing = False
        self._lost = False
        self._recompiles = 0
        self._thread = threading.Thread(target=self._run, name="gator-step-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job, listener: Listener) -> Handle:
        """Puts a job in; answers at once, from any thread.

        The model is hosted from its first job on (see `host`, which also warms it up).

        Raises:
            ValueError: the size does not suit the model, or there are no steps.
        """
        multiple = job.model.size_multiple
        if job.width % multiple or job.height % multiple or min(job.width, job.height) < 1:
            raise ValueError(f"{job.width}x{job.height} must be multiples of {multiple}")
        if job.steps < 1:
            raise ValueError("there must be at least one step")
        item = Item(next(self._numbers), job, listener, self._clock())
        with self._wake:
            closing = self._closing
            if not closing:
                self._arrivals.append(item)
                self._wake.notify()
        if closing:
            item.fail(FailureReason.CLOSED, "the service is shutting down")
        return _Handle(item, self._wake)

    def host(self, model: LoadedModel, sizes: Sequence[tuple[int, int]] = ()) -> Future[None]:
        """Takes over a model's modules and warms it up for images of the sizes in pixels.

        What is compiled is compiled now, for every batch size, and not when a
        job comes.
        """

        def work() -> None:
            self._host(model)
            self._warm_up(model, sizes)

        return self.call(work)

    def release(self, model: LoadedModel) -> Future[None]:
        """Gives up a model; fails its jobs. Its memory is free once its owner drops it."""
        return self.call(lambda: self._release(model))

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Runs a function on the engine's thread between two steps.

        For other work on the device that must not run beside a step; it holds
        up every job while it runs.
        """
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function())
            except Exception as error:  # noqa: BLE001 - the caller has it
                future.set_exception(error)

        with self._wake:
            if self._closing:
                raise RuntimeError("the engine is closed")
            self._calls.append((future, run))
            self._wake.notify()
        return future

    def close(self) -> None:
        """Fails what is not finished and ends the threads; waits for the step in hand."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._decoder.close()

    @property
    def counts(self) -> StepCounts:
        """Steps, calls and rows so far."""
        return self._stepper.counts

    @property
    def recompiles(self) -> int:
        """Graphs that were compiled for a job and not when its model was hosted."""
        return self._recompiles

    @property
    def lost(self) -> bool:
        """Whether the device fails every call; every job is failed then."""
        return self._lost

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._recovery.relax()
                    self._dismiss()
                    self._turn()
        finally:
            with self._wake:
                self._closing = True
            for item in [*self._items.values(), *self._arrivals]:
                item.fail(FailureReason.CLOSED, "the service is shutting down")
            for future, _ in self._calls:
                future.cancel()
            for left in (self._items, self._arrivals, self._calls):
                left.clear()

    def _wait(self) -> bool:
        """Waits for something to do and takes in what has come; False once closed."""
        with self._wake:
            self._wake.wait_for(
                lambda: self._closing or self._items or self._arrivals or self._calls
            )
            calls, arrivals = list(self._calls), list(self._arrivals)
            self._calls.clear()
            self._arrivals.clear()
            closing = self._closing
        for item in arrivals:
            self._items[item.number] = item
            self._queue.add(
                item.number,
                key=item.key,
                render=item.job.render or item.number,
                rows=item.row_count,
                now=self._clock(),
                deadline=item.job.deadline,
                work=float(item.job.width * item.job.height),
            )
        with torch.inference_mode(mode=False):
            for _, run in calls:
                run()
        return not closing

    def _dismiss(self) -> None:
        """Takes out what was cancelled or is late; tells the others their places in the line."""
        now = self._clock()
        for item in list(self._items.values()):
            if item.leave_if_due(now):
                self._remove(item)
        if self._lost:
            self._remove(*fail(list(self._items.values()), Fault.DEVICE_LOST))

    def _remove(self, *items: Item) -> None:
        for item in items:
            self._queue.remove(item.number)
            del self._items[item.number]

    def _linger(self) -> int:
        """Steps for which one model keeps the device: long where changing models moves them."""
        offloaded = self.ladder.taken(Rung.MODEL_OFFLOAD)
        return 16 if offloaded and len(self._residence.models) > 1 else 1

    def _turn(self) -> None:
        numbers = self._queue.turn(linger=self._linger())
        for number, position in self._queue.positions().items():
            self._items[number].report_position(position)
        items = [self._items[number] for number in numbers]
        if not items:
            return
        compiled = compiled_graphs()
        with Attempt() as attempt:
            self._step(items)
            self._lead.step_queued()
        self._recompiles += compiled_graphs() - compiled
        if attempt.fault is Fault.DEVICE_LOST:
            self._lose()
        elif attempt.fault is not None:
            # A fault of this engine, or of a model that cannot be hosted.
            self._remove(*fail([i for i in items if i.number in self._items], attempt.fault))

    def _step(self, items: list[Item]) -> None:
        try:
            self._host(items[0].model)
            self._remove(*self._preparer.prepare([i for i in items if not i.prepared]))
            ready = [item for item in items if item.number in self._items]
            self._remove(*self._stepper.step(ready))
        except DeviceLostError:
            self._lose()
            return
        for item in ready:
            if item.number in self._items:
                self._after_step(item)

    def _after_step(self, item: Item) -> None:
        item.report(self._decoder.expected_time)
        if item.done:
            self._remove(item)
            self._decoder.decode(item)
        elif self._preview_is_due(item) and item.wants_preview():
            self._decoder.preview(item)

    def _preview_is_due(self, item: Item) -> bool:
        every = self.settings.preview_every
        return bool(every) and item.steps_done > 0 and item.steps_done % every == 0

    def _host(self, model: LoadedModel) -> None:
        if model not in self._residence.models:
            with torch.inference_mode(mode=False):
                settings = self.settings
                make_ready(model, settings.compile_backend, settings.compile_mode)
            self._residence.host(model)

    def _warm_up(self, model: LoadedModel, sizes: Sequence[tuple[int, int]]) -> None:
        """Until memory runs out: what is larger than that will not be tried at first.

        If the UNet is compiled it never will: no code for it was made.
        """
        if not sizes:
            return
        rows, warmed = 1, self._buckets.largest
        with torch.inference_mode(), Attempt() as attempt:
            self._preparer.warm_up(model)
            for size in sizes:
                warmed = 1
                for rows in self._buckets:
                    self._gate.enter(Phase.DENOISE, rows=rows, pixels=size[0] * size[1])
                    with self._residence.using(model, Part.UNET):
                        call_unet(model, size, rows)
                    warmed = rows
                self._decoder.warm_up(model, partial(call_vae, model, size))
        if attempt.fault is Fault.OTHER:
            raise RuntimeError("the model fails at every call; the log has the details")
        if attempt.fault is not None:
            if self.settings.compile_backend is not None:
                self.ladder.cap_rows(warmed)
            self._recovery.can_go_on(attempt.fault, Phase.DENOISE, rows=rows)

    def _release(self, model: LoadedModel) -> None:
        for item in [item for item in self._items.values() if item.model is model]:
            item.fail(FailureReason.CLOSED, "the model was unloaded")
            self._remove(item)
        self._preparer.forget(model)
        if model in self._residence.models:
            self._residence.release(model)

    def _lose(self) -> None:
        log.error("the device is lost")
        self._lost = True
        with self._wake:
            self._wake.notify()


class _Handle:
    """See `job.Handle`."""

    def __init__(self, item: Item, wake: threading.Condition) -> None:
        self._item = item
        self._wake = wake

    def cancel(self) -> None:
        """See `job.Handle`."""
        self._item.cancelled = True
        with self._wake:
            self._wake.notify()
