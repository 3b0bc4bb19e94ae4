"""A model that is loaded, with the engine that runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from frame_gen.diffusion.catalog import ModelEntry
from frame_gen.diffusion.choosing import Choice, Unfit, gib
from frame_gen.diffusion.device import (
    Device,
    DeviceLostError,
    Wanted,
    find_device,
    peak_memory,
)
from frame_gen.diffusion.job import Handle, Job, Listener
from frame_gen.diffusion.settings import DiffusersSettings
from frame_gen.diffusion.upscaling import NoUpscaler, Upscaler
from frame_gen.metrics import device_memory, model_loaded
from rpckit.telemetry import logger

log = logger(__name__)


class ImageEngine(Protocol):
    """What the two engines have in common."""

    @property
    def lost(self) -> bool:
        """Whether the device fails every call."""

    def submit(self, job: Job, listener: Listener) -> Handle:
        """Puts a job in."""

    def close(self) -> None:
        """Fails what is not finished and ends the threads."""


@dataclass(eq=False)
class ModelInUse:
    """A model that is loaded, with the engine that runs it."""

    choice: Choice
    device: Device
    model: Any
    engine: ImageEngine
    upscaler: Upscaler | NoUpscaler | None = None
    """Enlarges what the model makes; None if none is configured."""
    measured_peak: int | None = None
    """Bytes of tensors on the device at their most since it was loaded; None if not counted."""
    idle: threading.Event = field(default_factory=threading.Event)
    """Set while no image is being made with it."""

    def __post_init__(self) -> None:
        self._users = 0
        self.idle.set()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """It is not idle in the block. On one event loop only."""
        self._users += 1
        self.idle.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self.idle.set()

    @property
    def entry(self) -> ModelEntry:
        """In the catalog."""
        return self.choice.entry

    @property
    def name(self) -> str:
        """For provenance: where the model is from, and its revision."""
        return f"{self.entry.source}@{self.choice.located.revision}"

    def retire(self, seconds: float) -> None:
        """Frees its memory, once its images are made or so many seconds have passed."""
        import torch  # noqa: PLC0415 - seconds, and only where models are used

        from frame_gen.diffusion.memory import release_unused  # noqa: PLC0415 - as torch

        self.idle.wait(seconds)
        self.close()
        # Others may hold on to this object for as long as they like.
        self.engine, self.model, self.upscaler = _Retired(), None, None
        # The engine's parts know each other: without a collection the weights would stay
        # on the device, and the next model would find no room there.
        release_unused(torch.device(self.device.torch_name))

    def close(self) -> None:
        """Fails what is not finished and ends the threads."""
        self.engine.close()
        if self.upscaler is not None:
            self.upscaler.close()

    def measure(self) -> None:
        """Compares the memory that was used with what was predicted."""
        peak = peak_memory(self.device)
        if peak is None or (self.measured_peak is not None and peak <= self.measured_peak * 1.01):
            return
        self.measured_peak = peak
        predicted = self.choice.footprint.peak
        if isinstance(self.upscaler, Upscaler):
            predicted += self.upscaler.needed
        log.info(
            "memory",
            model=self.entry.name,
            predicted=predicted,
            measured=peak,
            ratio=round(predicted / max(peak, 1), 3),
        )


def show_memory(device: Device) -> None:
    """Shows the memory of the device in the metrics. Touches it: not for an event loop."""
    try:
        now = find_device(cast("Wanted", device.torch_name))
    except Exception as error:  # noqa: BLE001 - an image that was made is not lost to this
        log.info("the device does not say what memory it has", error=type(error).__name__)
        return
    device_memory(now.total_memory, now.free_memory)


class _Retired:
    """Stands where the engine was."""

    lost = False

    def submit(self, job: Job, listener: Listener) -> Handle:  # noqa: ARG002 - never called
        """Nobody is given a retired model."""
        raise RuntimeError("the model is retired")

    def close(self) -> None:
        """Was done before."""


def put_in_use(choice: Choice, device: Device, settings: DiffusersSettings) -> ModelInUse:
    """Loads a model and starts its engine. Takes seconds to minutes.

    Raises:
        Unfit: its files do not fit each other, or memory ran out.
        DeviceLostError: the device fails every call.
    """
    import torch  # noqa: PLC0415 - seconds, and only where models are used

    from frame_gen.diffusion.loading import load  # noqa: PLC0415 - as torch
    from frame_gen.diffusion.memory import Attempt, Fault, release_unused  # noqa: PLC0415
    from frame_gen.diffusion.models import LoadedModel  # noqa: PLC0415

    started = time.monotonic()
    torch_device = torch.device(device.torch_name)
    peak_memory(device, restart=True)
    model: Any = None
    engine: ImageEngine | None = None
    with Attempt() as attempt:
        model = load(
            choice.entry,
            choice.located,
            torch_device,
            choice.dtype,
            safety_checker=settings.safety_checker,
            offload=choice.offload,
        )
        steps = isinstance(model, LoadedModel)
        engine = (
            _step_engine(model, choice, device, settings)
            if steps
            else _pipeline_engine(model, choice, settings)
        )
    if engine is None:
        model = None
        release_unused(torch_device)
        if attempt.fault is Fault.OUT_OF_MEMORY:
            raise Unfit(f"memory ran out while it was loaded; {gib(device.free_memory)} were free")
        if attempt.fault is Fault.DEVICE_LOST:
            raise DeviceLostError
        raise Unfit("its files could not be loaded; the log has the details")
    seconds = time.monotonic() - started
    model_loaded(choice.entry.name, seconds)
    show_memory(device)
    log.info(
        "model in use",
        model=choice.entry.name,
        source=choice.entry.source,
        revision=choice.located.revision,
        licence=choice.entry.licence,
        device=device.name or device.type.value,
        dtype=choice.dtype.value,
        rows=choice.footprint.rows,
        predicted=choice.footprint.peak,
        seconds=round(seconds, 1),
    )
    return ModelInUse(choice, device, model, engine)


def _step_engine(
    model: Any, choice: Choice, device: Device, settings: DiffusersSettings
) -> ImageEngine:
    from frame_gen.diffusion.engine import EngineSettings, StepEngine  # noqa: PLC0415 - as torch

    engine = StepEngine(
        model.device,
        EngineSettings(
            max_rows=choice.footprint.rows,
            preview_every=settings.preview_every,
            compile_backend="inductor" if settings.compile else None,
        ),
    )
    # On a CPU the first image warms up what little there is, and every call takes seconds.
    warm = device.is_gpu or settings.compile
    try:
        engine.host(model, [(choice.entry.width, choice.entry.height)] if warm else []).result()
    except BaseException:
        engine.close()
        raise
    return engine


def _pipeline_engine(model: Any, choice: Choice, settings: DiffusersSettings) -> ImageEngine:
    from frame_gen.diffusion.whole_pipeline import WholePipelineEngine  # noqa: PLC0415 - as torch

    return WholePipelineEngine(
        model.device, choice.entry.max_batch, preview_every=settings.preview_every
    )
