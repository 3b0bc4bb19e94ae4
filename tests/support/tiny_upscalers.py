"""Tiny upscalers with the real architectures, made offline in a moment."""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionLatentUpscalePipeline,
    StableDiffusionUpscalePipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel

from tests.support.tiny_models import NOISE, clip_text_config, clip_tokenizer, tiny_vae


def latent_upscaler(seed: int = 0) -> StableDiffusionLatentUpscalePipeline:
    """Twice as large: the narrow UNet of K blocks of the x2 upscaler; Euler."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    text_encoder = CLIPTextModel(clip_text_config(tokenizer)).eval()
    unet = UNet2DConditionModel(
        act_fn="gelu",
        attention_head_dim=8,
        norm_num_groups=None,
        block_out_channels=[32, 32, 64, 64],
        # The noise level's 128 and the pooled text.
        time_cond_proj_dim=128 + 32,
        conv_in_kernel=1,
        conv_out_kernel=1,
        cross_attention_dim=32,
        down_block_types=("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 3),
        up_block_types=(*("KCrossAttnUpBlock2D",) * 3, "KUpBlock2D"),
        in_channels=8,
        out_channels=5,
        mid_block_type=None,
        resnet_time_scale_shift="scale_shift",
        time_embedding_type="fourier",
        timestep_post_act="gelu",
    ).eval()
    pipeline = StableDiffusionLatentUpscalePipeline(
        vae=tiny_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(prediction_type="sample"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def x4_upscaler(seed: int = 0) -> StableDiffusionUpscalePipeline:
    """Four times as large: a UNet that sees the small picture; DDIM."""
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer()
    pipeline = StableDiffusionUpscalePipeline(
        vae=AutoencoderKL(
            block_out_channels=[8, 8, 16],
            norm_num_groups=4,
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            latent_channels=4,
            sample_size=64,
            scaling_factor=0.08333,
        ).eval(),
        text_encoder=CLIPTextModel(clip_text_config(tokenizer)).eval(),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            block_out_channels=(16, 32),
            layers_per_block=1,
            sample_size=32,
            in_channels=7,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=8,
            num_class_embeds=1000,
        ).eval(),
        low_res_scheduler=DDPMScheduler(),
        scheduler=DDIMScheduler(**NOISE, clip_sample=False, prediction_type="v_prediction"),
        max_noise_level=350,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
