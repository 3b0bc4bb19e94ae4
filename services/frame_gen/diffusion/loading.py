"""From files on this machine to a model on its device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

from frame_gen.diffusion import schedulers
from frame_gen.diffusion.catalog import Dtype, Engine, ModelEntry
from frame_gen.diffusion.hub import INDEX, Located, parts_of
from frame_gen.diffusion.job import Picture
from frame_gen.diffusion.loaded_pipeline import LoadedPipeline
from frame_gen.diffusion.models import LoadedModel, SafetyCheck, why_not_steppable
from rpckit.telemetry import logger

log = logger(__name__)

DTYPES = {
    Dtype.FLOAT32: torch.float32,
    Dtype.FLOAT16: torch.float16,
    Dtype.BFLOAT16: torch.bfloat16,
}

TILE = 512
"""Pixels of a side of a tile, where a picture is decoded in tiles."""


def load(
    entry: ModelEntry,
    located: Located,
    device: torch.device,
    dtype: Dtype,
    *,
    safety_checker: bool,
    offload: bool = False,
) -> LoadedModel | LoadedPipeline:
    """Loads a model from its folder: safetensors only, no code of others, no network.

    Of a whole pipeline only the working module is put on the device if `offload`.

    Raises:
        Exception: whatever diffusers raises for files that do not fit each other,
            and torch where memory runs out.
    """
    index = json.loads((located.folder / INDEX).read_text())
    checker: dict[str, Any] = {}
    if "safety_checker" in index:
        has_checker = (located.folder / "safety_checker").is_dir() and (
            "safety_checker" in parts_of(index)
        )
        if not (safety_checker and has_checker):
            checker = {"safety_checker": None, "requires_safety_checker": False}
    with _quiet():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            located.folder,
            dtype=DTYPES[dtype],
            variant=entry.variant or None,
            use_safetensors=True,
            local_files_only=True,
            **checker,
        )
    _fit_vae(pipeline, device)
    if entry.scheduler:
        pipeline.scheduler = schedulers.build(entry.scheduler, pipeline.scheduler)
    if entry.engine is Engine.STEPS:
        reason = why_not_steppable(pipeline)
        if not reason:
            return _steppable(pipeline, entry, located, device)
        log.warning("called as a whole pipeline", model=entry.name, reason=reason)
    return _whole(pipeline, entry, located, device, offload=offload)


def _fit_vae(pipeline: Any, device: torch.device) -> None:
    """Makes tiles small enough to save memory, and numbers wide enough not to overflow."""
    vae: Any = getattr(pipeline, "vae", None)
    if getattr(vae, "tile_sample_min_size", 0) > TILE:
        # SDXL's own tiles are so large that one is most of its picture.
        vae.tile_latent_min_size = vae.tile_latent_min_size * TILE // vae.tile_sample_min_size
        vae.tile_sample_min_size = TILE
    narrow = vae is not None and vae.dtype is torch.float16 and device.type != "cuda"
    if narrow and vae.config.get("force_upcast"):
        vae.to(torch.float32)


def _steppable(
    pipeline: Any, entry: ModelEntry, located: Located, device: torch.device
) -> LoadedModel:
    return LoadedModel.from_pipeline(
        pipeline,
        name=entry.name,
        revision=located.revision,
        device=device,
        width=entry.width,
        height=entry.height,
        safety_check=safety_check_of(pipeline, device),
        preview_decoder=_preview_decoder(entry, device, pipeline.unet.dtype),
    )


def _whole(
    pipeline: Any, entry: ModelEntry, located: Located, device: torch.device, *, offload: bool
) -> LoadedPipeline:
    if offload:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return LoadedPipeline(
        name=entry.name,
        revision=located.revision,
        pipeline=pipeline,
        device=device,
        dtype=pipeline.dtype,
        width=entry.width,
        height=entry.height,
        size_multiple=entry.multiple,
        offloaded=offload,
        preview_decoder=_preview_decoder(entry, device, pipeline.dtype),
    )


def safety_check_of(pipeline: Any, device: torch.device) -> SafetyCheck | None:
    """The check by the safety checker that came with a pipeline; None if none did."""
    checker = getattr(pipeline, "safety_checker", None)
    extractor = getattr(pipeline, "feature_extractor", None)
    if checker is None or extractor is None:
        return None
    checker.to(device).eval()

    def check(picture: Picture) -> bool:
        inputs = extractor(images=[Image.fromarray(picture)], return_tensors="pt")
        pixels = inputs.pixel_values.to(device, checker.dtype)
        with torch.inference_mode():
            # It would paint the pictures that it is given black: give it one of its own.
            _, flagged = checker(images=np.zeros((1, 1, 1, 3)), clip_input=pixels)
        return bool(flagged[0])

    return check


def _preview_decoder(entry: ModelEntry, device: torch.device, dtype: torch.dtype) -> Any:
    if not entry.preview_decoder:
        return None
    decoder = diffusers.AutoencoderTiny.from_pretrained(
        entry.preview_decoder, dtype=dtype, use_safetensors=True, local_files_only=True
    )
    return decoder.to(device).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars on standard error: a service has a log instead."""
    both = (diffusers.utils.logging, transformers.utils.logging)
    shown = [module for module in both if module.is_progress_bar_enabled()]
    for module in shown:
        module.disable_progress_bar()
    try:
        yield
    finally:
        for module in shown:
            module.enable_progress_bar()
