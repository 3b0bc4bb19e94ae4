"""A model that is loaded and whose UNet can be stepped for many images at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch

from frame_gen.diffusion.job import Picture


class Family(Enum):
    """Architectures that the engine steps; others are called as whole pipelines."""

    SD15 = "sd15"
    """One CLIP text encoder; Stable Diffusion 1.x."""
    SDXL = "sdxl"
    """Two CLIP text encoders, pooled embedding and sizes as added conditions."""


SafetyCheck = Callable[[Picture], bool]
"""Whether a picture must not be shown. Called on the decoding thread."""


@dataclass(eq=False)
class LoadedModel:
    """The modules of one model, in evaluation mode, and what is known about them.

    The engine owns the modules from the first job on: nothing else may call or
    move them. Two models are the same only if they are the same object.
    """

    name: str
    """Of the catalog's entry."""
    revision: str
    family: Family
    tokenizers: tuple[Any, ...]
    """One (SD15) or two (SDXL) CLIP tokenizers."""
    text_encoders: tuple[Any, ...]
    """One (SD15) or two (SDXL) CLIP text models."""
    unet: Any
    """diffusers' UNet2DConditionModel."""
    vae: Any
    """diffusers' AutoencoderKL; on CUDA the engine casts it to bfloat16."""
    scheduler: Any
    """A diffusers scheduler as configured; each item steps with a copy of its own."""
    device: torch.device
    dtype: torch.dtype
    """Of the UNet, the text encoders and the latents."""
    width: int
    """Native width for 16:9, pixels."""
    height: int
    """Native height for 16:9, pixels."""
    zero_empty_negative: bool = False
    """Whether an empty negative prompt stands for zeros, as SDXL was trained."""
    safety_check: SafetyCheck | None = None
    preview_decoder: Any = None
    """diffusers' AutoencoderTiny for previews; None makes them by linear factors."""
    scheduler_name: str = field(default="", kw_only=True)
    """For provenance; the scheduler's class unless said."""

    def __post_init__(self) -> None:
        self.scheduler_name = self.scheduler_name or type(self.scheduler).__name__

    @property
    def scale_factor(self) -> int:
        """Pixels per latent, in each direction."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def size_multiple(self) -> int:
        """Width and height of an image must be multiples of this."""
        return self.scale_factor

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Shape of one image's latents: (1, channels, rows, columns)."""
        scale = self.scale_factor
        return (1, int(self.unet.config.in_channels), height // scale, width // scale)

    @classmethod
    def from_pipeline(
        cls,
        pipeline: Any,
        *,
        name: str,
        revision: str = "",
        device: torch.device | str = "cpu",
        width: int,
        height: int,
        safety_check: SafetyCheck | None = None,
        preview_decoder: Any = None,
    ) -> LoadedModel:
        """The model of a diffusers StableDiffusionPipeline or StableDiffusionXLPipeline.

        The pipeline's modules are moved to `device` and taken over.

        Raises:
            ValueError: the pipeline cannot be stepped (`why_not_steppable`).
        """
        if reason := why_not_steppable(pipeline):
            raise ValueError(reason)
        two = getattr(pipeline, "text_encoder_2", None) is not None
        device = torch.device(device)
        names = ("", "_2") if two else ("",)
        text_encoders = tuple(getattr(pipeline, f"text_encoder{n}") for n in names)
        for module in (*text_encoders, pipeline.unet, pipeline.vae):
            module.to(device).eval().requires_grad_(requires_grad=False)
        return cls(
            name=name,
            revision=revision,
            family=Family.SDXL if two else Family.SD15,
            tokenizers=tuple(getattr(pipeline, f"tokenizer{n}") for n in names),
            text_encoders=text_encoders,
            unet=pipeline.unet,
            vae=pipeline.vae,
            scheduler=pipeline.scheduler,
            device=device,
            dtype=pipeline.unet.dtype,
            width=width,
            height=height,
            zero_empty_negative=bool(pipeline.config.get("force_zeros_for_empty_prompt", False)),
            safety_check=safety_check,
            preview_decoder=preview_decoder,
        )


def why_not_steppable(pipeline: Any) -> str:
    """Why the engine cannot step a pipeline's UNet, for people; empty if it can.

    What it refuses is called as a whole pipeline instead.
    """
    if getattr(pipeline, "unet", None) is None or getattr(pipeline, "vae", None) is None:
        return "it has no UNet with a VAE"
    if getattr(pipeline, "text_encoder", None) is None:
        return "it lacks the first text encoder, as refiners do"
    config = pipeline.unet.config
    two = getattr(pipeline, "text_encoder_2", None) is not None
    other_inputs = {
        "a mask or an image": config.in_channels != pipeline.vae.config.latent_channels,
        "the guidance": config.time_cond_proj_dim is not None,
        "a class": config.class_embed_type is not None or config.num_class_embeds is not None,
        "further conditions": config.addition_embed_type != ("text_time" if two else None),
    }
    taken = [name for name, is_taken in other_inputs.items() if is_taken]
    return f"its UNet takes {', '.join(taken)} beside latents and text" if taken else ""
