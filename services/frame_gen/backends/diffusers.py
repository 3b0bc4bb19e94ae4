"""Image models on this machine's device, as a backend."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from frame_gen.backends.base import (
    Availability,
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
from frame_gen.diffusion import job as engine
from frame_gen.diffusion.catalog import ModelEntry
from frame_gen.diffusion.device import Device
from frame_gen.diffusion.host import ModelHost, NoModel
from frame_gen.diffusion.in_use import ModelInUse, show_memory
from frame_gen.diffusion.settings import DiffusersSettings
from frame_gen.diffusion.upscaling import NotUpscaled
from rpckit.errors import Reason
from rpckit.frame import Frame
from rpckit.provenance import Backend as Kind
from rpckit.telemetry import logger

log = logger(__name__)

GENERATION_VERSION = "diffusers 1"
"""Grows when the same model and parameters would give another picture."""
HEARTBEAT = 2.0
"""Seconds between events while a model is downloaded and loaded."""
MAX_MODELS = 3
"""That are tried for one frame, each smaller than the one before."""


_Event = Queued | Progress | Preview | engine.Image | engine.Failure


class Loss(Enum):
    """When the device began to fail every call of this process."""

    AT_WORK = "at work"
    """It has made images before: a restart most often brings it back."""
    FROM_THE_START = "from the start"
    """It has made none since the process started: the restart before this one did not help."""


class DiffusersBackend:
    """See `base.Backend`. Loads a model at the first frame that is wanted."""

    def __init__(self, settings: DiffusersSettings | None = None) -> None:
        settings = settings or DiffusersSettings()
        self._host = ModelHost(settings)
        # What no checker has seen must not serve where one is wanted.
        checked = "" if settings.safety_checker else " unchecked"
        self._version = GENERATION_VERSION + checked
        self._made_images = False

    @property
    def kind(self) -> Kind:
        """See `base.Backend`."""
        return Kind.DIFFUSERS

    def availability(self) -> Availability:
        """See `base.Backend`."""
        state = self._host.state()
        return Availability(state.usable, state.models, state.why_not)

    @property
    def loss(self) -> Loss | None:
        """Of the device; None while it is not lost. Answers at once, from what is known."""
        if not self._host.lost:
            return None
        return Loss.AT_WORK if self._made_images else Loss.FROM_THE_START

    async def device(self) -> Device | None:
        """The device and its memory as it is now; None if there is none for models.

        May take seconds and touch the device: not for health checks.
        """
        return await self._host.device()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        """See `base.Backend`."""
        for _ in range(MAX_MODELS):
            used: ModelInUse | None = None
            async with aclosing(self._ready()) as waiting:
                async for state in waiting:
                    if isinstance(state, ModelInUse):
                        used = state
                    else:
                        yield state
            if used is None:
                break
            outcome: engine.Image | engine.Failure | None = None
            async with aclosing(_run(used, request)) as events:
                async for event in events:
                    if isinstance(event, engine.Image | engine.Failure):
                        outcome = event
                    else:
                        yield event
            if isinstance(outcome, engine.Image):
                self._made_images = True
                if used.upscaler is not None:
                    # One image at a time: this may be waiting, and is no time for the frame.
                    yield Queued(0)
                upscaled = await _upscaled(used, request, outcome)
                used.measure()
                yield await asyncio.to_thread(_generated, used, request, outcome, upscaled)
                return
            if outcome is None or not self._may_try_again(used, outcome):
                raise _error(outcome)
        raise _error(None)

    async def plan(self, request: GenerationRequest) -> Plan:
        """See `base.Backend`. Before a model is loaded, by what is on this machine."""
        try:
            model = await self._host.expected()
        except NoModel as error:
            raise BackendError(Reason.NO_MODEL_AVAILABLE, str(error)) from error
        steps, guidance = model.entry.settings_for(
            request.num_inference_steps, request.guidance_scale
        )
        return Plan(
            self.kind,
            model.width,
            model.height,
            self._version,
            model=model.name,
            scheduler=model.scheduler,
            num_inference_steps=steps,
            guidance_scale=guidance,
            shareable=True,
        )

    async def _ready(self) -> AsyncGenerator[Queued | ModelInUse, None]:
        """The model to use, after signs of life while it is downloaded and loaded."""
        seconds = 0.0
        while True:
            try:
                used = await self._host.ready(seconds)
            except NoModel as error:
                raise BackendError(Reason.NO_MODEL_AVAILABLE, str(error)) from error
            if used is not None:
                yield used
                return
            download = self._host.download
            left = download.time_left if download is not None else None
            yield Queued(0, None if left is None else Fraction(left))
            seconds = HEARTBEAT

    def _may_try_again(self, used: ModelInUse, failure: engine.Failure) -> bool:
        if failure.reason is engine.FailureReason.OUT_OF_MEMORY:
            return self._host.give_up(used)
        # Its model was given up for a smaller one meanwhile.
        return failure.reason is engine.FailureReason.CLOSED and self._host.in_use is not used

    async def close(self) -> None:
        """See `base.Backend`."""
        await self._host.close()


async def _run(used: ModelInUse, request: GenerationRequest) -> AsyncGenerator[_Event, None]:
    """Events of the making of an image; its outcome is the last."""
    with used.taken():
        mail = _Mailbox()
        handle = used.engine.submit(_job(used, request), mail)
        try:
            async with aclosing(mail.events()) as events:
                async for event in events:
                    yield event
        finally:
            handle.cancel()


def _job(used: ModelInUse, request: GenerationRequest) -> engine.Job:
    entry = used.entry
    steps, guidance = entry.settings_for(request.num_inference_steps, request.guidance_scale)
    return engine.Job(
        model=used.model,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=entry.width,
        height=entry.height,
        steps=steps,
        guidance=guidance,
        seed=request.seed,
        render=request.render_id,
        deadline=request.deadline,
    )


@dataclass(frozen=True)
class _Upscaled:
    """What an upscaler made of an image."""

    picture: engine.Picture
    upscaler: str = ""
    """For provenance; empty where there is none, or it failed."""
    warnings: tuple[FrameWarning, ...] = ()


async def _upscaled(used: ModelInUse, request: GenerationRequest, image: engine.Image) -> _Upscaled:
    """The image, enlarged if an upscaler is configured; as it was made if that fails."""
    upscaler = used.upscaler
    if upscaler is None:
        return _Upscaled(image.picture)
    with used.taken():
        try:
            picture = await upscaler.upscale(
                image.picture, prompt=request.prompt, seed=request.seed, deadline=request.deadline
            )
        except NotUpscaled as error:
            reason = f"the image was not enlarged: {error}"
            warning = FrameWarning("upscaler", upscaler.entry.name, "", reason)
            return _Upscaled(image.picture, warnings=(warning,))
    return _Upscaled(picture, upscaler.name)


def _generated(
    used: ModelInUse, request: GenerationRequest, image: engine.Image, upscaled: _Upscaled
) -> Generated:
    show_memory(used.device)
    entry = used.entry
    steps, guidance = entry.settings_for(request.num_inference_steps, request.guidance_scale)
    height, width = upscaled.picture.shape[:2]
    return Generated(
        Frame.of(width, height, upscaled.picture.tobytes()),
        model=" + ".join(name for name in (used.name, upscaled.upscaler) if name),
        num_inference_steps=steps,
        guidance_scale=guidance,
        warnings=(*_replaced(entry, request), *_unread(image), *upscaled.warnings),
    )


def _replaced(entry: ModelEntry, request: GenerationRequest) -> Iterator[FrameWarning]:
    """What the model does not take as it was asked for."""
    asked = request.num_inference_steps, request.guidance_scale
    applied = entry.settings_for(*asked)
    reasons = (
        f"{entry.name} is made for at most {entry.max_steps} steps",
        f"{entry.name} takes no other guidance",
    )
    names = ("num_inference_steps", "guidance_scale")
    for name, before, after, reason in zip(names, asked, applied, reasons, strict=True):
        if before != after:
            yield FrameWarning(name, f"{before:g}", f"{after:g}", reason)


def _unread(image: engine.Image) -> Iterator[FrameWarning]:
    """The ends of texts that were too long for the model."""
    for part in image.truncated:
        ignored = part.ignored if len(part.ignored) <= 200 else part.ignored[:199] + "\u2026"
        yield FrameWarning(
            part.field,
            ignored,
            "",
            f"the model reads {part.limit} tokens of a text; this end of it was not seen",
        )


_REASONS = {
    engine.FailureReason.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    engine.FailureReason.CONTENT_REJECTED: Reason.CONTENT_REJECTED,
    engine.FailureReason.CLOSED: Reason.SHUTTING_DOWN,
}


def _error(failure: engine.Failure | None) -> BackendError:
    if failure is None:
        return BackendError(
            Reason.GENERATION_FAILED, "AI frame generation failed: no model had enough memory"
        )
    reason = _REASONS.get(failure.reason, Reason.GENERATION_FAILED)
    return BackendError(reason, f"AI frame generation failed: {failure.message}")


class _Mailbox:
    """Hears an engine's threads for the event loop on which it is made.

    Of each kind of event only the latest is kept: a slow reader holds nothing up.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._lock = threading.Lock()
        self._queued: Queued | None = None
        self._progress: Progress | None = None
        self._preview: Preview | None = None
        self._outcome: engine.Image | engine.Failure | None = None

    def queued(self, position: int) -> None:
        """See `job.Listener`."""
        with self._lock:
            self._queued = Queued(position)
        self._ring()

    def progress(self, progress: engine.Progress) -> None:
        """See `job.Listener`."""
        left = None if progress.time_left is None else Fraction(progress.time_left)
        with self._lock:
            self._queued = None
            self._progress = Progress(progress.step, progress.steps, left)
        self._ring()

    def wants_preview(self) -> bool:
        """See `job.Listener`."""
        with self._lock:
            return self._preview is None

    def preview(self, preview: engine.Preview) -> None:
        """See `job.Listener`."""
        with self._lock:
            self._preview = Preview(preview.jpeg, preview.step)
        self._ring()

    def finished(self, image: engine.Image) -> None:
        """See `job.Listener`."""
        self._end(image)

    def failed(self, failure: engine.Failure) -> None:
        """See `job.Listener`."""
        self._end(failure)

    def _end(self, outcome: engine.Image | engine.Failure) -> None:
        with self._lock:
            self._outcome = outcome
        self._ring()

    def _ring(self) -> None:
        # The loop may be gone by the time that the engine notices.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._rung.set)

    async def events(self) -> AsyncGenerator[_Event, None]:
        """What has come, as it comes; the outcome last."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            with self._lock:
                # Progress takes back that it waits: what still says so came after it.
                come = (self._progress, self._preview, self._queued, self._outcome)
                self._queued = self._progress = self._preview = None
            for event in come:
                if event is not None:
                    yield event
            if come[-1] is not None:
                return
