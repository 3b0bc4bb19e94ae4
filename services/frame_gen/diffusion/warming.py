"""Models are made ready for the device before the first job: layout, dtype, compiled code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from frame_gen.diffusion.decoding import decode
from frame_gen.diffusion.models import Family, LoadedModel
from frame_gen.diffusion.packing import Row, predict

RECOMPILE_LIMIT = 256
"""Kinds of call that compiled code may be made for, over all models; 8 is torch's own limit."""


def make_ready(model: LoadedModel, compile_backend: str | None) -> None:
    """Lays a model out for its device; its UNet will be compiled if there is a backend.

    On CUDA the VAE becomes bfloat16, in which it does not overflow as in float16.
    """
    if model.device.type == "cuda":
        model.unet.to(memory_format=torch.channels_last)
        model.vae.to(torch.bfloat16, memory_format=torch.channels_last)
    if compile_backend is not None:
        # All models share the code object of the UNet's forward, and so one limit;
        # past it torch would silently stop to use compiled code.
        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT  # noqa: SLF001 - the only way
        torch._dynamo.config.accumulated_recompile_limit = RECOMPILE_LIMIT  # noqa: SLF001
        model.unet.compile(backend=compile_backend, dynamic=False, fullgraph=True)


def compiled_graphs() -> int:
    """How many graphs this process has compiled so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])  # noqa: SLF001


def warm_up(model: LoadedModel, size: tuple[int, int], buckets: Iterable[int]) -> Iterator[int]:
    """Calls the UNet with every batch size, smallest first, then the VAE, for images of `size`.

    Yields each batch size when it has been called.
    """
    shape = model.latent_shape(*size)
    latents = torch.zeros(shape, dtype=model.dtype, device=model.device)
    for rows in buckets:
        predict(model.unet, [_row(model, latents)] * rows, rows)
        yield rows
    decode(model, latents, tiled=False)


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
