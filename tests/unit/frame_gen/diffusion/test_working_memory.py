"""The catalog's figures for memory at work are those of the architectures at full size."""

import pytest
import torch

from frame_gen.diffusion.catalog import Dtype
from frame_gen.diffusion.footprint import Weights
from tests.benchmarks_gpu.architectures import architecture, working


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_the_figures_are_the_live_tensors_of_a_forward_pass(name):
    model = architecture(name, tiny=False)
    # Nothing is stored on the meta device.
    pipeline = model.build(torch.device("meta"), torch.bfloat16)
    parts = {
        part: sum(p.numel() for p in module.parameters())
        for part, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module)
    }
    assert Weights(parts).bytes(Dtype.BFLOAT16) == pytest.approx(model.entry.weights, rel=0.01)
    counted = working(pipeline, model.entry)
    assert counted.denoise == pytest.approx(model.entry.working.denoise, rel=0.01)
    assert counted.decode == pytest.approx(model.entry.working.decode, rel=0.01)
