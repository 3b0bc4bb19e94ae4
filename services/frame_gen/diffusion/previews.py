"""Small pictures of latents that are still noisy."""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
import PIL.Image
import torch

from frame_gen.diffusion.job import Picture
from frame_gen.diffusion.models import Family, LoadedModel

MAX_JPEG_BYTES = 64 * 1024
MAX_SIDE = 320

# R, G and B in -1..1 per latent channel: K. Turner on the forum of Hugging
# Face, "Decoding latents to RGB without upscaling", 2022.
_SD15_FACTORS = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
)
# R, G and B in 0..255 per latent channel, and what is added: T. A. Vass,
# "Explaining the SDXL latent space", 2023; also in diffusers' guide to callbacks.
_SDXL_FACTORS = ((60.0, 60.0, 60.0), (-60.0, -5.0, 10.0), (25.0, 15.0, -5.0), (-70.0, -50.0, -35.0))
_SDXL_OFFSET = (150.0, 140.0, 130.0)


def picture_of(model: LoadedModel, latents: torch.Tensor) -> Picture:
    """A picture of latents of shape (1, channels, rows, columns).

    One pixel a latent by linear factors, or as the model's preview decoder makes it.
    """
    if model.preview_decoder is not None:
        decoder = model.preview_decoder
        decoded = decoder.decode(latents.to(decoder.dtype), return_dict=False)[0][0].float()
        rgb = (decoded / 2 + 0.5).mul(255)
    else:
        rgb = _linear(model.family, latents[0].float())
    whole = rgb.nan_to_num().clamp(0, 255).round().to(torch.uint8)
    return cast("Picture", whole.permute(1, 2, 0).cpu().numpy())


def _linear(family: Family, latents: torch.Tensor) -> Any:
    if family is Family.SDXL:
        factors, offset = torch.tensor(_SDXL_FACTORS), torch.tensor(_SDXL_OFFSET)
    else:
        factors = torch.tensor(_SD15_FACTORS) * 127.5
        offset = torch.full((3,), 127.5)
    factors, offset = factors.to(latents.device), offset.to(latents.device)
    return torch.einsum("lyx,lr->ryx", latents, factors) + offset[:, None, None]


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
