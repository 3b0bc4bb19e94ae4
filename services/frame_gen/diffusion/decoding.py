"""Latents to pictures, beside the denoising: a thread and a CUDA stream of their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

import torch

from frame_gen.diffusion.device import DeviceLostError
from frame_gen.diffusion.item import Item
from frame_gen.diffusion.job import FailureReason, Picture, Preview
from frame_gen.diffusion.ladder import Rung
from frame_gen.diffusion.memory import Attempt, Fault, MemoryGate, Phase
from frame_gen.diffusion.models import LoadedModel
from frame_gen.diffusion.previews import picture_of, to_jpeg
from frame_gen.diffusion.recovery import Recovery, fail
from frame_gen.diffusion.residence import Part, Residence
from frame_gen.diffusion.streams import SideStream, mark
from rpckit.telemetry import logger

log = logger(__name__)

_TIME_WEIGHT = 0.3
"""Of the latest decoding in the estimate of the next."""


def decode(model: LoadedModel, latents: torch.Tensor, *, tiled: bool) -> Picture:
    """The picture of finished latents of shape (1, channels, rows, columns).

    Raises:
        OverflowError: the latents or the picture are not finite numbers.
    """
    if not bool(torch.isfinite(latents).all()):
        raise OverflowError("the latents are not finite; the model's dtype may be too narrow")
    vae = model.vae
    if tiled:
        vae.enable_tiling()
        vae.enable_slicing()
    else:
        vae.disable_tiling()
    config = vae.config
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        mean, std = (
            torch.tensor(config[name]).view(1, -1, 1, 1).to(latents.device, latents.dtype)
            for name in ("latents_mean", "latents_std")
        )
        latents = latents * std / config.scaling_factor + mean
    else:
        latents = latents / config.scaling_factor
    decoded = vae.decode(latents.to(vae.dtype), return_dict=False)[0][0].float()
    if not bool(torch.isfinite(decoded).all()):
        raise OverflowError("the picture is not finite; the VAE's dtype may be too narrow")
    levels = (decoded / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return cast("Picture", levels.permute(1, 2, 0).contiguous().cpu().numpy())


@dataclass(frozen=True)
class _Glimpse:
    """What a preview is made from."""

    latents: torch.Tensor
    step: int
    ready: Any


class Decoder:
    """Decodes items that have taken all their steps, and makes previews in between."""

    def __init__(
        self,
        device: torch.device,
        *,
        residence: Residence,
        recovery: Recovery,
        gate: MemoryGate,
        tile_above: int,
        clock: Callable[[], float],
        lost: Callable[[], None],
    ) -> None:
        """Pictures of more than `tile_above` pixels are decoded in tiles.

        `lost` is called when the device fails every call.
        """
        self._device = device
        self._residence = residence
        self._recovery = recovery
        self._gate = gate
        self._tile_above = tile_above
        self._clock = clock
        self._lost = lost
        self._stream = SideStream(device)
        self._wake = threading.Condition()
        self._finished: deque[tuple[Item, Any]] = deque()
        self._glimpses: dict[Item, _Glimpse] = {}
        self._warming: deque[Callable[[], None]] = deque()
        self._closing = False
        self.expected_time = 0.0
        """Seconds that a decoding is likely to take; 0 before the first."""
        self._thread = threading.Thread(target=self._run, name="gator-decoder", daemon=True)
        self._thread.start()

    def decode(self, item: Item) -> None:
        """Decodes an item and ends it."""
        with self._wake:
            self._glimpses.pop(item, None)
            self._finished.append((item, mark(self._device)))
            self._wake.notify()

    def preview(self, item: Item) -> None:
        """Makes a preview of the item as it stands; only its latest, if there is time."""
        if item.estimate is None:
            return
        glimpse = _Glimpse(item.estimate, item.steps_done, mark(self._device))
        with self._wake:
            self._glimpses[item] = glimpse
            self._wake.notify()

    def warm_up(self, model: LoadedModel, call: Callable[[], None]) -> None:
        """Makes a call of a model's VAE where pictures are decoded, and waits for it.

        What cuDNN has found out about convolutions is known to one thread alone.

        Raises:
            Exception: what `call` raises.
        """
        ready, done = mark(self._device), Future[None]()

        def work() -> None:
            try:
                with self._residence.using(model, Part.VAE), self._stream.after(ready):
                    call()
            except Exception as error:  # noqa: BLE001 - the caller has it
                done.set_exception(error)
            else:
                done.set_result(None)

        with self._wake:
            self._warming.append(work)
            self._wake.notify()
        done.result()

    def close(self) -> None:
        """Ends after the work in hand; items that still wait are failed."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        for item, _ in self._finished:
            item.fail(FailureReason.CLOSED, "the service is shutting down")
        self._finished.clear()

    def _run(self) -> None:
        with torch.inference_mode():
            while self._work():
                pass

    def _work(self) -> bool:
        """Waits for a piece of work and does it; False once closed."""
        with self._wake:
            self._wake.wait_for(
                lambda: self._closing or self._warming or self._finished or self._glimpses
            )
            if self._closing:
                return False
            warming = self._warming.popleft() if self._warming else None
            busy = warming is not None
            item, ready = self._finished.popleft() if self._finished and not busy else (None, None)
            glimpsed = None if busy or item is not None else self._glimpses.popitem()
        if warming is not None:
            warming()
        elif glimpsed is not None:
            self._show(*glimpsed)
        elif item is not None:
            try:
                self._end(item, ready)
            except DeviceLostError:
                fail([item], Fault.DEVICE_LOST)
                self._lost()
            except Exception:
                log.exception("decoding failed")
                fail([item], Fault.OTHER)
        return True

    def _show(self, item: Item, glimpse: _Glimpse) -> None:
        with Attempt(), self._stream.after(glimpse.ready, glimpse.latents):
            jpeg = to_jpeg(picture_of(item.model, glimpse.latents))
            item.tell_preview(Preview(jpeg, glimpse.step))

    def _end(self, item: Item, ready: Any) -> None:
        while not item.leave_if_due(self._clock()):
            picture = None
            started = self._clock()
            with Attempt() as attempt:
                pixels = item.job.width * item.job.height
                self._gate.enter(Phase.DECODE, rows=1, pixels=pixels)
                picture = self._decoded(item, ready)
            if picture is not None:
                took = self._clock() - started
                before = self.expected_time or took
                self.expected_time = before + _TIME_WEIGHT * (took - before)
                self._judge(item, picture)
                return
            fault = attempt.fault or Fault.OTHER
            if not self._recovery.can_go_on(fault, Phase.DECODE, rows=1):
                fail([item], fault)
                return

    def _decoded(self, item: Item, ready: Any) -> Picture:
        latents = item.latents
        if latents is None:
            raise RuntimeError("the item has no latents")
        with self._residence.using(item.model, Part.VAE), self._stream.after(ready, latents):
            return decode(item.model, latents, tiled=self._tiled(item))

    def _tiled(self, item: Item) -> bool:
        tight = self._recovery.ladder.taken(Rung.VAE_TILING)
        return tight or item.job.width * item.job.height > self._tile_above

    def _judge(self, item: Item, picture: Picture) -> None:
        flagged = True
        while True:
            with Attempt() as attempt:
                # Safety checkers answer with a black picture; no model draws one.
                check = item.model.safety_check
                flagged = not picture.any() or (check is not None and check(picture))
            if attempt.fault is None:
                break
            if not self._recovery.can_go_on(attempt.fault, Phase.DECODE, rows=1):
                fail([item], attempt.fault)
                return
        if flagged:
            item.fail(
                FailureReason.CONTENT_REJECTED,
                "the safety checker rejected the image; change the prompt",
            )
        elif not item.leave_if_due(self._clock()):
            item.finish(picture, self._clock())
