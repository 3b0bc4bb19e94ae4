"""Tiny models for the tests of the engine; tests that need torch are left out without it."""

import importlib.util
import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

collect_ignore_glob: list[str] = []
if all(importlib.util.find_spec(name) for name in ("torch", "diffusers", "transformers")):
    import torch

    from tests.support.tiny_models import sd15_pipeline, sdxl_pipeline

    # Tiny tensors are up to 20 times slower with two threads on a busy machine.
    torch.set_num_threads(1)

    @pytest.fixture(scope="session")
    def sd15():
        return sd15_pipeline()

    @pytest.fixture(scope="session")
    def sdxl():
        return sdxl_pipeline()

else:
    # Without torch there is still the queue.
    collect_ignore_glob = ["test_[!f]*.py"]
