"""Small pictures of latents that are still noisy."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import PIL.Image
import torch

from frame_gen.diffusion.job import Picture
from frame_gen.diffusion.models import Family, LoadedModel

MAX_JPEG_BYTES = 64 * 1024
MAX_SIDE = 320


@dataclass(frozen=True)
class LinearFactors:
    """Colours of a pixel as sums over the channels of a latent."""

    channels: tuple[tuple[float, float, float], ...]
    """R, G and B per latent channel."""
    offset: tuple[float, float, float]
    """What is added to R, G and B; the sum is in 0..255."""
    scale: float = 1.0
    """Of `channels`, to 0..255."""


# In -1..1: K. Turner on the forum of Hugging Face, "Decoding latents to RGB
# without upscaling", 2022.
_SD15 = LinearFactors(
    channels=(
        (0.298, 0.207, 0.208),
        (0.187, 0.286, 0.173),
        (-0.158, 0.189, 0.264),
        (-0.184, -0.271, -0.473),
    ),
    offset=(127.5, 127.5, 127.5),
    scale=127.5,
)
# T. A. Vass, "Explaining the SDXL latent space", 2023; also in diffusers' guide
# to callbacks.
_SDXL = LinearFactors(
    channels=((60.0, 60.0, 60.0), (-60.0, -5.0, 10.0), (25.0, 15.0, -5.0), (-70.0, -50.0, -35.0)),
    offset=(150.0, 140.0, 130.0),
)
_BY_FAMILY = {Family.SD15: _SD15, Family.SDXL: _SDXL}
_BY_SCALING = {0.18215: _SD15, 0.13025: _SDXL}
"""The scaling factor tells which VAE of 4 channels a pipeline was trained with."""


def factors_for(vae: Any) -> LinearFactors | None:
    """The published factors for the latents of a VAE; None where none are known here."""
    config: Any = getattr(vae, "config", {})
    if config.get("latent_channels") != 4 or config.get("latents_mean") is not None:
        return None
    return _BY_SCALING.get(config.get("scaling_factor"))


def picture_of(model: LoadedModel, latents: torch.Tensor) -> Picture:
    """A picture of latents of shape (1, channels, rows, columns).

    One pixel a latent by linear factors, or as the model's preview decoder makes it.
    """
    return draw(latents, model.preview_decoder, _BY_FAMILY[model.family])


def draw(latents: torch.Tensor, decoder: Any, factors: LinearFactors | None) -> Picture:
    """A picture of latents of shape (1, channels, rows, columns): by the decoder if there is one.

    The decoder is diffusers' AutoencoderTiny, the latents as the denoiser has them.

    Raises:
        ValueError: there is neither a decoder nor factors.
    """
    if decoder is not None:
        decoded = decoder.decode(latents.to(decoder.dtype), return_dict=False)[0][0].float()
        rgb = (decoded / 2 + 0.5).mul(255)
    elif factors is None:
        raise ValueError("there is nothing to draw the latents with")
    else:
        rgb = _linear(factors, latents[0].float())
    whole = rgb.nan_to_num().clamp(0, 255).round().to(torch.uint8)
    return cast("Picture", whole.permute(1, 2, 0).cpu().numpy())


def _linear(factors: LinearFactors, latents: torch.Tensor) -> Any:
    channels = (torch.tensor(factors.channels) * factors.scale).to(latents.device)
    offset = torch.tensor(factors.offset).to(latents.device)
    return torch.einsum("lyx,lr->ryx", latents, channels) + offset[:, None, None]


def to_jpeg(picture: Picture) -> bytes:
    """A JPEG file of at most 64 KiB and 320 pixels a side."""
    image = PIL.Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    for quality in (85, 70, 50, 30, 10):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= MAX_JPEG_BYTES:
            break
    return file.getvalue()
