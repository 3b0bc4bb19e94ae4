"""One image on its way through the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from frame_gen.diffusion.conditioning import Conditioning
from frame_gen.diffusion.job import (
    Failure,
    FailureReason,
    Image,
    Job,
    Listener,
    Preview,
    Progress,
    Truncated,
)
from frame_gen.diffusion.models import LoadedModel
from frame_gen.diffusion.packing import Row
from frame_gen.diffusion.schedulers import Sampler
from rpckit.telemetry import logger

log = logger(__name__)

_PACE_WEIGHT = 0.3
"""Of the latest step in the estimate of the next."""


class Item:
    """A job with what it has become: conditioning, latents, scheduler, noise generator.

    It is prepared and stepped by the engine's thread, decoded by the decoder's,
    cancelled by any.
    """

    def __init__(self, number: int, job: Job, listener: Listener, now: float) -> None:
        self.number = number
        self.job = job
        self.model: LoadedModel = job.model
        self.cancelled = False
        self.truncated: tuple[Truncated, ...] = ()
        self.position: int | None = None
        """That the listener was told last."""
        self._listener = listener
        self._lock = threading.Lock()
        self._ended = False
        self._submitted = now
        self._started: float | None = None
        self._stepped: float | None = None
        self._pace: float | None = None
        self._conditioning: Conditioning | None = None
        self._sampler: Sampler | None = None
        self._generator = torch.Generator("cpu")
        self.latents: torch.Tensor | None = None
        """Shape (1, channels, rows, columns), the model's dtype, on its device."""
        self.estimate: torch.Tensor | None = None
        """Of the finished latents, at the latest step."""

    @property
    def guided(self) -> bool:
        """Whether it steps with a negative row too."""
        return self.job.guidance > 1

    @property
    def row_count(self) -> int:
        """Rows that it takes in a call of the UNet."""
        return 2 if self.guided else 1

    @property
    def key(self) -> Hashable:
        """Items with the same key can share a call of the UNet."""
        return (id(self.model), self.job.width, self.job.height)

    @property
    def prepared(self) -> bool:
        """Whether it can be stepped."""
        return self._sampler is not None

    @property
    def done(self) -> bool:
        """Whether every step was taken."""
        return self._sampler is not None and self._sampler.done

    @property
    def steps_done(self) -> int:
        """Denoising steps done."""
        return 0 if self._sampler is None else self._sampler.steps_done

    def expired(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.job.deadline is not None and now >= self.job.deadline

    def prepare(self, conditioning: Conditioning, now: float) -> None:
        """Draws the noise from which it starts: the same as diffusers' pipelines draw."""
        job = self.job
        self._started = now
        self._stepped = now
        self._conditioning = conditioning
        sampler = Sampler(self.model.scheduler, job.steps)
        noise = randn_tensor(
            self.model.latent_shape(job.width, job.height),
            generator=self._generator.manual_seed(job.seed),
            device=self.model.device,
            dtype=self.model.dtype,
        )
        self.latents = noise * sampler.initial_scale
        self._sampler = sampler

    def rows(self) -> list[Row]:
        """What the UNet is to be given at this step: the negative row first."""
        sampler, conditioning, latents = self._prepared()
        sample = sampler.model_input(latents)
        return [
            Row(
                sample,
                sampler.timestep,
                embedding.hidden,
                embedding.pooled,
                conditioning.time_ids,
            )
            for embedding in conditioning.rows
        ]

    def advance(self, predictions: list[torch.Tensor], now: float) -> None:
        """Takes the step for which the UNet predicted; unchanged if that raises."""
        sampler, _, latents = self._prepared()
        prediction = predictions[-1]
        if self.guided:
            negative = predictions[0]
            prediction = negative + self.job.guidance * (prediction - negative)
        self.latents, self.estimate = sampler.step(prediction, latents, self._generator)
        if self._stepped is not None:
            took = now - self._stepped
            before = took if self._pace is None else self._pace
            self._pace = before + _PACE_WEIGHT * (took - before)
        self._stepped = now

    def report(self, decode_time: float) -> None:
        """Tells the listener how far it is; decoding is expected to take `decode_time` seconds."""
        sampler, _, _ = self._prepared()
        left = None if self._pace is None else sampler.calls_left * self._pace + decode_time
        self._tell(self._listener.progress, Progress(sampler.steps_done, self.job.steps, left))

    def report_position(self, position: int) -> None:
        """Tells the listener its place in the line, if that is news."""
        if position != self.position:
            self.position = position
            self._tell(self._listener.queued, position)

    def finish(self, picture: Any, now: float) -> bool:
        """Ends it with its picture; whether it had not ended before."""
        started = self._submitted if self._started is None else self._started
        image = Image(picture, started - self._submitted, now - started, self.truncated)
        return self._end(self._listener.finished, image)

    def fail(self, reason: FailureReason, message: str) -> bool:
        """Ends it without a picture; whether it had not ended before."""
        return self._end(self._listener.failed, Failure(reason, message))

    def leave_if_due(self, now: float) -> bool:
        """Ends it if it was cancelled or its deadline has passed; whether it had to."""
        if self.cancelled:
            self.fail(FailureReason.CANCELLED, "the image was cancelled")
            return True
        if self.expired(now):
            message = f"time ran out after {self.steps_done} of {self.job.steps} steps"
            self.fail(FailureReason.DEADLINE_EXCEEDED, message)
            return True
        return False

    def wants_preview(self) -> bool:
        """Whether its listener would take a preview now."""
        return bool(self._tell(self._listener.wants_preview))

    def tell_preview(self, preview: Preview) -> None:
        """Shows the listener a preview, unless it has ended."""
        with self._lock:
            if not self._ended:
                self._tell(self._listener.preview, preview)

    def _end(self, method: Callable[..., Any], value: Any) -> bool:
        # The lock is held while the listener is told, so that nothing comes after the end.
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            self._conditioning = self._sampler = self.latents = self.estimate = None
            self._tell(method, value)
        return True

    def _prepared(self) -> tuple[Sampler, Conditioning, torch.Tensor]:
        if self._sampler is None or self._conditioning is None or self.latents is None:
            raise RuntimeError("the item is not prepared or has ended")
        return self._sampler, self._conditioning, self.latents

    def _tell(self, method: Callable[..., Any], *values: Any) -> Any:
        """Calls a method of the listener, whose faults are its own."""
        try:
            return method(*values)
        except Exception:
            # A listener's fault must not reach the other items.
            log.exception("a listener failed")
            return None
