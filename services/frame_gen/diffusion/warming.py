"""Models are made ready for the device before the first job: layout, dtype, compiled code."""

from __future__ import annotations

import torch

from frame_gen.diffusion.decoding import decode
from frame_gen.diffusion.models import Family, LoadedModel
from frame_gen.diffusion.packing import Row, predict

RECOMPILE_LIMIT = 256
"""Kinds of call that compiled code may be made for, over all models; 8 is torch's own limit."""


def make_ready(
    model: LoadedModel, compile_backend: str | None = None, compile_mode: str | None = None
) -> None:
    """Lays a model out for its device; its UNet will be compiled if there is a backend.

    On CUDA the VAE becomes bfloat16, in which it does not overflow as in float16.
    """
    if model.device.type == "cuda":
        model.unet.to(memory_format=torch.channels_last)
        model.vae.to(torch.bfloat16, memory_format=torch.channels_last)
        # Batch sizes are few, so that each can have the convolutions that suit it best.
        torch.backends.cudnn.benchmark = True
    if compile_backend is not None:
        # All models share the code object of the UNet's forward, and so one limit;
        # past it torch would silently stop to use compiled code.
        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT  # noqa: SLF001 - the only way
        torch._dynamo.config.accumulated_recompile_limit = RECOMPILE_LIMIT  # noqa: SLF001
        model.unet.compile(
            backend=compile_backend, mode=compile_mode, dynamic=False, fullgraph=True
        )


def compiled_graphs() -> int:
    """How many graphs this process has compiled so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])  # noqa: SLF001


def call_unet(model: LoadedModel, size: tuple[int, int], rows: int) -> None:
    """Calls the UNet with a batch of `rows` for images of `size` in pixels."""
    latents = _latents(model, size)
    predict(model.unet, [_row(model, latents)] * rows, rows)


def call_vae(model: LoadedModel, size: tuple[int, int]) -> None:
    """Decodes an image of `size` in pixels."""
    decode(model, _latents(model, size), tiled=False)


def _latents(model: LoadedModel, size: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(model.latent_shape(*size), dtype=model.dtype, device=model.device)


def _row(model: LoadedModel, latents: torch.Tensor) -> Row:
    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=model.dtype, device=model.device)

    config = model.unet.config
    tokens = model.tokenizers[0].model_max_length
    hidden = zeros(1, tokens, config.cross_attention_dim)
    if model.family is Family.SD15:
        return Row(latents, 500.0, hidden, None, None)
    pooled = zeros(1, model.text_encoders[-1].config.projection_dim)
    return Row(latents, 500.0, hidden, pooled, zeros(1, 6))
