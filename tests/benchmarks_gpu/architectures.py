"""Stable Diffusion 1.5 and SDXL at full size with random weights, and tiny ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from frame_gen.diffusion.catalog import SD15, SDXL, ModelEntry, Working
from tests.support.live_tensors import counted
from tests.support.tiny_models import NOISE, clip_tokenizer, sd15_pipeline, sdxl_pipeline


@dataclass(frozen=True)
class Architecture:
    """A model to measure."""

    entry: ModelEntry
    build: Callable[[torch.device, torch.dtype], Any]
    """Makes a diffusers pipeline."""


def architecture(name: str, *, tiny: bool) -> Architecture:
    """The architecture of a catalog's entry."""
    entry, full, small = {
        "sd15": (SD15, _sd15, sd15_pipeline),
        "sdxl": (SDXL, _sdxl, sdxl_pipeline),
    }[name]
    if not tiny:
        return Architecture(entry, full)
    entry = replace(entry, width=128, height=64)

    def build(device: torch.device, dtype: torch.dtype) -> Any:
        return small().to(device, dtype)

    return Architecture(replace(entry, working=working(small(), entry)), build)


def working(pipeline: Any, entry: ModelEntry) -> Working:
    """What `catalog.Working` says of an architecture: live tensors of forward passes on meta.

    The pipeline's UNet and VAE lose their weights.
    """
    unet, vae = pipeline.unet.to("meta"), pipeline.vae.to("meta")
    rows, height, width = 2, entry.height // 8, entry.width // 8
    size = unet.dtype.itemsize
    with torch.device("meta"):
        sample = torch.empty(rows, 4, height, width, dtype=unet.dtype)
        texts = torch.empty(rows, 77, unet.config.cross_attention_dim, dtype=unet.dtype)
        added = {}
        if unet.config.addition_embed_type is not None:
            pooled = pipeline.text_encoder_2.config.projection_dim
            added = {
                "text_embeds": torch.empty(rows, pooled, dtype=unet.dtype),
                "time_ids": torch.empty(rows, 6),
            }
        with counted(unet) as step:
            unet(sample, torch.empty(rows), texts, added_cond_kwargs=added)
        with counted(vae) as decoding:
            vae.decode(sample[:1].to(vae.dtype))
    return Working(
        denoise=round(step.peak / (rows * height * width * size)),
        decode=round(decoding.peak / (entry.width * entry.height * vae.dtype.itemsize)),
    )


@contextmanager
def _defaults(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """New weights are made there and so, without a copy in 32 bits in main memory."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def _text(size: int, layers: int, heads: int, activation: str) -> CLIPTextConfig:
    tokenizer = clip_tokenizer()
    return CLIPTextConfig(
        vocab_size=49408,
        hidden_size=size,
        intermediate_size=4 * size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=size,
        hidden_act=activation,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _vae(sample_size: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=sample_size,
    )


def _sd15(device: torch.device, dtype: torch.dtype) -> Any:
    with _defaults(device, dtype):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
            up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
            cross_attention_dim=768,
            attention_head_dim=8,
        )
        text_encoder = CLIPTextModel(_text(768, 12, 12, "quick_gelu"))
        vae = _vae(512)
    return StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=clip_tokenizer(),
        unet=unet.eval(),
        scheduler=DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(device, dtype)


def _sdxl(device: torch.device, dtype: torch.dtype) -> Any:
    with _defaults(device, dtype):
        unet = UNet2DConditionModel(
            sample_size=128,
            block_out_channels=(320, 640, 1280),
            layers_per_block=2,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
            up_block_types=(*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        text_encoder = CLIPTextModel(_text(768, 12, 12, "quick_gelu"))
        text_encoder_2 = CLIPTextModelWithProjection(_text(1280, 32, 20, "gelu"))
        vae = _vae(1024)
    return StableDiffusionXLPipeline(
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=text_encoder_2.eval(),
        tokenizer_2=clip_tokenizer(),
        unet=unet.eval(),
        scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="leading", steps_offset=1),
        add_watermarker=False,
    ).to(device, dtype)
