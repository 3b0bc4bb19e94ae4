"""A tiny transformer pipeline with the real architecture, made offline in a moment."""

from __future__ import annotations

import torch
from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from tests.support.tiny_models import tiny_vae


def pixart_pipeline(seed: int = 0) -> PixArtSigmaPipeline:
    """PixArt-Sigma with one block and a T5 of one layer; DPM++."""
    torch.manual_seed(seed)
    tokenizer = t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=1,
        cross_attention_dim=16,
        sample_size=8,
        patch_size=2,
        caption_channels=16,
        use_additional_conditions=False,
    )
    # What ends in zeros when it is new would make every picture the same.
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    encoder = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    )
    pipeline = PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=encoder.eval(),
        vae=tiny_vae(),
        transformer=transformer.eval(),
        scheduler=DPMSolverMultistepScheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def t5_tokenizer() -> T5Tokenizer:
    """One token a character."""
    characters = [chr(c) for c in range(0x21, 0x7F)]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -1.0)]
    return T5Tokenizer(vocab=[*vocabulary, *((c, -2.0) for c in characters)], extra_ids=0)
