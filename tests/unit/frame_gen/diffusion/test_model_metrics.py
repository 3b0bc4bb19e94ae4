"""What Prometheus reads of models that run on this machine's device."""

from __future__ import annotations

import psutil
import pytest
from prometheus_client import REGISTRY

from frame_gen.backends.base import GenerationRequest
from frame_gen.backends.diffusers import DiffusersBackend
from frame_gen.diffusion.catalog import Engine
from frame_gen.diffusion.settings import DiffusersSettings
from tests.support.model_folders import entry, save


def shown(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


@pytest.mark.parametrize("engine", [Engine.STEPS, Engine.PIPELINE])
async def test_steps_batches_loading_and_memory_are_measured(tmp_path, sd15, engine):
    model = entry(f"tiny-{engine.value}", save(sd15, tmp_path / "tiny"), engine=engine)
    settings = DiffusersSettings(device="cpu", catalog=(model,), models=(model.name,))
    backend = DiffusersBackend(settings)
    steps, calls = shown("gator_denoising_steps_total"), shown("gator_denoiser_batch_rows_count")
    rows = shown("gator_denoiser_batch_rows_sum")
    try:
        asked = GenerationRequest("a cat", seed=7, num_inference_steps=4, guidance_scale=5.0)
        async for _ in backend.generate(asked):
            pass
    finally:
        await backend.close()
    assert shown("gator_denoising_steps_total") - steps == 4
    if engine is Engine.STEPS:
        assert shown("gator_denoiser_batch_rows_count") - calls == 4
        assert shown("gator_denoiser_batch_rows_sum") - rows == 8
    assert shown("gator_model_load_seconds_count", model=model.name) == 1
    free, total = (shown(f"gator_device_memory_{kind}_bytes") for kind in ("free", "total"))
    assert 0 < free <= total <= psutil.virtual_memory().total
