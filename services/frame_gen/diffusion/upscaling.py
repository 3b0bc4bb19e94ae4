"""Pictures enlarged by a second model, where one is configured; without it they are as before.

An upscaler is a diffusers pipeline that takes a picture and a prompt, such as
StableDiffusionLatentUpscalePipeline. It serves the model in use: its memory is
set aside when that model is chosen, and it is left out where both do not fit.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from frame_gen.diffusion.catalog import Dtype, ModelEntry
from frame_gen.diffusion.choosing import ROWS_OF_ONE_IMAGE, Choice, Chooser, Unfit, gib
from frame_gen.diffusion.device import Device, number_format
from frame_gen.diffusion.footprint import RESERVE, predict
from frame_gen.diffusion.hub import Located
from frame_gen.diffusion.job import Picture
from rpckit.frame import MAX_PIXELS, MAX_SIDE
from rpckit.telemetry import logger

log = logger(__name__)

STEPS = 20
"""Of an upscaler, unless its entry sets fewer."""
TILE_ABOVE = 2_400_000
"""Pixels of an enlarged picture above which it is decoded in tiles."""
_MARGIN = 2.0
"""Seconds before a frame's deadline at which it is handed on as it is."""


class NotUpscaled(Exception):  # noqa: N818 - a fact about a picture, said to people
    """A picture stays as it was made; the message says why."""


class _AbandonedError(BaseException):
    """Nobody waits for the picture any more."""


@dataclass(frozen=True)
class Plan:
    """An upscaler that can be loaded, and how."""

    entry: ModelEntry
    located: Located
    dtype: Dtype
    needed: int
    """Bytes: its weights, and an allowance for its work."""


@dataclass(frozen=True)
class NoUpscaler:
    """Stands where an upscaler is configured and cannot be used."""

    entry: ModelEntry
    why: str
    name: str = ""

    async def upscale(self, *_: object, **__: object) -> Picture:
        """Raises NotUpscaled."""
        raise NotUpscaled(self.why)

    def close(self) -> None:
        """There is nothing to free."""


def plan(
    upscaler: ModelEntry, choice: Choice, chooser: Chooser, device: Device
) -> tuple[Choice, Plan | NoUpscaler]:
    """Looks for an upscaler, downloading it if that is allowed, and makes room for it.

    The model goes first: where both do not fit, its choice stays as it is.

    Raises:
        DownloadStopped: the download was stopped.
    """
    model = choice.entry
    dtype = number_format(upscaler.dtype, device)
    # Its work is at the size of what it makes.
    sized = dataclasses.replace(
        upscaler, width=model.width * upscaler.scale, height=model.height * upscaler.scale
    )
    try:
        located, weights = chooser.find(upscaler)
    except Unfit as error:
        return choice, NoUpscaler(upscaler, str(error))
    whole = predict(sized, weights, dtype, ROWS_OF_ONE_IMAGE)
    tiles = whole.decode * min(sized.width * sized.height, TILE_ABOVE)
    decode = tiles // (sized.width * sized.height)
    needed = whole.weights + max(whole.denoise, decode) + RESERVE
    planned = Plan(upscaler, located, dtype, needed)
    if not device.free_memory:
        return choice, planned
    left = dataclasses.replace(device, free_memory=max(1, device.free_memory - needed))
    try:
        return chooser.examine(model, left), planned
    except Unfit:
        why = f"it needs {gib(needed)} of memory, which {model.name} does not leave"
        return choice, NoUpscaler(upscaler, why)


def start(planned: Plan | NoUpscaler, device: Device) -> Upscaler | NoUpscaler:
    """Loads an upscaler. Takes seconds to a minute."""
    if isinstance(planned, NoUpscaler):
        log.warning("no upscaler", model=planned.entry.name, why=planned.why)
        return planned
    import torch  # noqa: PLC0415 - seconds, and only where models are used

    from frame_gen.diffusion.loading import load  # noqa: PLC0415 - as torch
    from frame_gen.diffusion.memory import Attempt, Fault, release_unused  # noqa: PLC0415

    entry = planned.entry
    torch_device = torch.device(device.torch_name)
    loaded: Any = None
    with Attempt() as attempt:
        loaded = load(entry, planned.located, torch_device, planned.dtype, safety_checker=False)
        if "image" not in inspect.signature(loaded.pipeline.__call__).parameters:
            raise TypeError(f"{type(loaded.pipeline).__name__} takes no picture")
    if attempt.fault is None:
        log.info(
            "upscaler in use",
            model=entry.name,
            source=entry.source,
            revision=planned.located.revision,
            licence=entry.licence,
        )
        return Upscaler(planned, loaded)
    loaded = None
    release_unused(torch_device)
    if attempt.fault is Fault.OUT_OF_MEMORY:
        return NoUpscaler(entry, "memory ran out while it was loaded")
    return NoUpscaler(entry, "its files could not be loaded; the log has the details")


class Upscaler:
    """Enlarges one picture at a time, in a thread of its own."""

    def __init__(self, planned: Plan, loaded: Any) -> None:
        """`loaded` is a LoadedPipeline, which nothing else may use."""
        self.entry = planned.entry
        self.name = f"{planned.entry.source}@{planned.located.revision}"
        """For provenance: where it is from, and its revision."""
        self.needed = planned.needed
        """Bytes that it was predicted to need."""
        self._loaded = loaded
        self._parameters = inspect.signature(loaded.pipeline.__call__).parameters
        self._closing = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gator-upscaler")

    async def upscale(
        self, picture: Picture, *, prompt: str, seed: int, deadline: float | None
    ) -> Picture:
        """The picture, enlarged. Cancelling ends the work at its next step.

        Args:
            picture: shape (height, width, 3), uint8.
            prompt: that of the picture.
            seed: of the noise that it draws; the same gives the same picture.
            deadline: of the frame, `time.monotonic` seconds; None: any time.

        Raises:
            NotUpscaled: it failed, or there is no time left.
        """
        abandoned = threading.Event()
        seconds = None if deadline is None else deadline - _MARGIN - time.monotonic()
        try:
            work = self._pool.submit(self._work, picture, prompt, seed, abandoned)
        except RuntimeError as error:
            raise NotUpscaled("the model is being given up") from error
        try:
            async with asyncio.timeout(seconds):
                made = await asyncio.wrap_future(work)
        except TimeoutError as error:
            raise NotUpscaled("there was no time left for it") from error
        finally:
            abandoned.set()
        if isinstance(made, str):
            raise NotUpscaled(made)
        return made

    def close(self) -> None:
        """Ends after the step in hand and lets go of the weights."""
        self._closing = True
        self._pool.shutdown(wait=True)
        self._loaded = None

    def _work(
        self, picture: Picture, prompt: str, seed: int, abandoned: threading.Event
    ) -> Picture | str:
        """The enlarged picture, or why there is none."""
        from frame_gen.diffusion.memory import Attempt, Fault, release_unused  # noqa: PLC0415

        def check() -> None:
            if self._closing or abandoned.is_set():
                raise _AbandonedError

        while True:
            made: Picture | None = None
            try:
                with Attempt() as attempt:
                    check()
                    made = self._call(picture, prompt, seed, check)
            except _AbandonedError:
                return "the model is being given up"
            if made is not None:
                return made
            if attempt.fault is not Fault.OUT_OF_MEMORY:
                return "the upscaler failed on this image; the service's log has the details"
            taken = self._loaded.save_memory()
            release_unused(self._loaded.device)
            log.warning("out of memory", model=self.entry.name, rung=taken or None)
            if not taken:
                return "the device has too little memory for it"

    def _call(self, picture: Picture, prompt: str, seed: int, check: Any) -> Picture:
        import torch  # noqa: PLC0415 - see above
        from PIL import Image  # noqa: PLC0415 - as torch

        height, width = picture.shape[:2]
        pipeline = self._loaded.pipeline
        vae: Any = getattr(pipeline, "vae", None)
        if width * height * self.entry.scale**2 > TILE_ABOVE and hasattr(vae, "enable_tiling"):
            vae.enable_tiling()

        def at_step_end(_pipeline: Any, _index: int, _time: Any, values: Any) -> Any:
            check()
            return values

        steps, guidance = self.entry.settings_for(STEPS, 0.0)
        arguments = {
            "prompt": prompt,
            "image": Image.fromarray(picture),
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "output_type": "np",
            "callback_on_step_end": at_step_end,
            "callback": lambda *_: check(),
            "callback_steps": 1,
        }
        # Pipelines have one of the two callbacks.
        if "callback_on_step_end" in self._parameters:
            del arguments["callback"], arguments["callback_steps"]
        known = {name: value for name, value in arguments.items() if name in self._parameters}
        try:
            image = pipeline(**known).images[0]
        except BaseException:
            # A pipeline that is offloaded clears the device at the end of a call only.
            pipeline.maybe_free_model_hooks()
            raise
        return _checked(image, width, height)


def _checked(image: Any, width: int, height: int) -> Picture:
    """The levels of what an upscaler made of a picture of this size.

    Raises:
        ValueError: it is no picture, not larger, or larger than a frame may be.
    """
    if not np.isfinite(image).all():
        raise ValueError("the picture is not finite; the upscaler's dtype may be too narrow")
    levels: Picture = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    rows, columns = levels.shape[:2]
    if not levels.any() or rows < height or columns < width:
        raise ValueError(f"the upscaler made {columns}x{rows} of {width}x{height}, or all black")
    if max(rows, columns) > MAX_SIDE or rows * columns > MAX_PIXELS:
        raise ValueError(f"{columns}x{rows} is larger than a frame may be")
    return levels
