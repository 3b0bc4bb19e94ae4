"""A diffusers pipeline that is loaded and called as a whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from frame_gen.diffusion.job import Job, Picture, Truncated
from frame_gen.diffusion.previews import draw, factors_for

StepDone = Callable[[int, torch.Tensor], None]
"""Hears how many steps are done, and the latents of all images as they stand."""

_UNPACKING = ["latents", "height", "width", "vae_scale_factor"]
"""Parameters of `_unpack_latents` where a pipeline packs as Flux does; others differ."""


@dataclass(eq=False)
class LoadedPipeline:
    """A diffusers text-to-image pipeline that is loaded; the engine owns it from its first job."""

    name: str
    """Of the catalog's entry."""
    revision: str
    pipeline: Any
    device: torch.device
    dtype: torch.dtype
    width: int
    """Native width for 16:9, pixels."""
    height: int
    """Native height for 16:9, pixels."""
    size_multiple: int = 8
    """Width and height of an image must be multiples of this."""
    offloaded: bool = False
    """Whether only the module that works is on the device."""
    preview_decoder: Any = None
    """diffusers' AutoencoderTiny for previews; None makes them by linear factors, if known."""

    def __post_init__(self) -> None:
        self.pipeline.set_progress_bar_config(disable=True)
        self._parameters = inspect.signature(self.pipeline.__call__).parameters
        self._factors = factors_for(getattr(self.pipeline, "vae", None))
        unpack = getattr(self.pipeline, "_unpack_latents", None)
        self._unpacks = unpack is not None and (
            list(inspect.signature(unpack).parameters) == _UNPACKING
        )

    @property
    def scheduler_name(self) -> str:
        """For provenance."""
        return type(self.pipeline.scheduler).__name__

    def images(self, jobs: Sequence[Job], step_done: StepDone) -> list[Picture]:
        """The images of jobs with equal settings; `step_done` is called after each step.

        What `step_done` raises ends the call.
        """
        first = jobs[0]
        arguments: dict[str, Any] = {
            "prompt": [job.prompt for job in jobs],
            "negative_prompt": [job.negative_prompt for job in jobs],
            "num_inference_steps": first.steps,
            "guidance_scale": first.guidance,
            "width": first.width,
            "height": first.height,
            "generator": [torch.Generator("cpu").manual_seed(job.seed) for job in jobs],
            "output_type": "np",
            # The size is the model's own, and the prompt is meant as it is.
            "use_resolution_binning": False,
            "clean_caption": False,
            **self._callback(step_done),
        }
        known = {name: value for name, value in arguments.items() if name in self._parameters}
        try:
            images = self.pipeline(**known).images
        except BaseException:
            # A pipeline that is offloaded clears the device at the end of a call only.
            self.pipeline.maybe_free_model_hooks()
            raise
        if not all(np.isfinite(image).all() for image in images):
            raise OverflowError("the picture is not finite; the model's dtype may be too narrow")
        return [np.rint(image.clip(0, 1) * 255).astype(np.uint8) for image in images]

    def _callback(self, step_done: StepDone) -> dict[str, Any]:
        def at_step_end(_pipeline: Any, index: int, _time: Any, values: Any) -> Any:
            step_done(index + 1, values["latents"])
            return values

        def at_step(index: int, _time: Any, latents: torch.Tensor) -> None:
            step_done(index + 1, latents)

        if "callback_on_step_end" in self._parameters:
            return {"callback_on_step_end": at_step_end}
        return {"callback": at_step, "callback_steps": 1}

    @property
    def has_previews(self) -> bool:
        """Whether its latents can be drawn."""
        return self.preview_decoder is not None or self._factors is not None

    def preview(self, latents: torch.Tensor, place: int, job: Job) -> Picture | None:
        """A picture of the image at a place in the latents of a call; None if they are strange.

        Latents that are packed, as those of Flux, are of shape (images, patches, values).
        """
        if latents.ndim == 3 and self._unpacks:
            scale = self.pipeline.vae_scale_factor
            unpack = self.pipeline._unpack_latents  # noqa: SLF001 - its own layout
            latents = unpack(latents, job.height, job.width, scale)
        if latents.ndim != 4:
            return None
        return draw(latents[place : place + 1], self.preview_decoder, self._factors)

    def truncated(self, field: str, text: str) -> Truncated | None:
        """The end of a text that the longest of the text encoders does not see, if any."""
        names = ("tokenizer_3", "tokenizer_2", "tokenizer")
        tokenizer = next((t for n in names if (t := getattr(self.pipeline, n, None))), None)
        if tokenizer is None:
            return None
        default = self._parameters.get("max_sequence_length")
        limit = int(tokenizer.model_max_length if default is None else default.default)
        tokens = tokenizer(text, truncation=False, add_special_tokens=False).input_ids
        # One place goes to the token that ends the text.
        ignored = tokens[limit - 1 :]
        return Truncated(field, tokenizer.decode(ignored), limit - 1) if ignored else None

    def save_memory(self) -> str:
        """Takes the next way of needing less memory; what it is, or "" if there is none left."""
        vae: Any = getattr(self.pipeline, "vae", None)
        if hasattr(vae, "enable_tiling") and not getattr(vae, "use_tiling", True):
            vae.enable_tiling()
            return "VAE_TILING"
        if not self.offloaded and self.device.type == "cuda":
            self.pipeline.enable_model_cpu_offload(device=self.device)
            self.offloaded = True
            return "MODEL_OFFLOAD"
        return ""
