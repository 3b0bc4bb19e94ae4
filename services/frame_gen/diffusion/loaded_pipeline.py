"""A diffusers pipeline that is loaded and called as a whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from frame_gen.diffusion.job import Job, Picture, Truncated


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

    def __post_init__(self) -> None:
        self.pipeline.set_progress_bar_config(disable=True)
        self._parameters = inspect.signature(self.pipeline.__call__).parameters

    @property
    def scheduler_name(self) -> str:
        """For provenance."""
        return type(self.pipeline.scheduler).__name__

    def images(self, jobs: Sequence[Job], step_done: Callable[[int], None]) -> list[Picture]:
        """The images of jobs with equal settings; `step_done` hears how many steps are done.

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
        images = self.pipeline(**known).images
        return [np.rint(np.nan_to_num(i).clip(0, 1) * 255).astype(np.uint8) for i in images]

    def _callback(self, step_done: Callable[[int], None]) -> dict[str, Any]:
        def at_step_end(_pipeline: Any, index: int, _time: Any, values: Any) -> Any:
            step_done(index + 1)
            return values

        if "callback_on_step_end" in self._parameters:
            return {"callback_on_step_end": at_step_end}
        return {"callback": lambda index, *_: step_done(index + 1), "callback_steps": 1}

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
