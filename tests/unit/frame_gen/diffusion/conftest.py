"""Tiny models for the tests of the engine; tests that need torch are left out without it."""

import importlib.util
import os
import threading

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

collect_ignore_glob: list[str] = []
if all(importlib.util.find_spec(name) for name in ("torch", "diffusers", "transformers")):
    import torch

    from frame_gen.backends.diffusers import _Mailbox
    from tests.support.engine_jobs import TIMEOUT
    from tests.support.tiny_models import sd15_pipeline, sdxl_pipeline

    # Tiny tensors are up to 20 times slower with two threads on a busy machine.
    torch.set_num_threads(1)

    @pytest.fixture(scope="session")
    def sd15():
        return sd15_pipeline()

    @pytest.fixture(scope="session")
    def sdxl():
        return sdxl_pipeline()

    @pytest.fixture
    def hold_at(monkeypatch):
        """Holds the engine of a backend after it has told a step of an image.

        `hold_at(step)` gives the event that lets it on; it is set at the end at the latest.
        """
        events = []

        def hold_at(step: int) -> threading.Event:
            go = threading.Event()
            events.append(go)
            told = _Mailbox.progress

            def progress(mailbox, progress):
                told(mailbox, progress)
                if progress.step == step:
                    assert go.wait(TIMEOUT)

            monkeypatch.setattr(_Mailbox, "progress", progress)
            return go

        yield hold_at
        for go in events:
            go.set()

else:
    # Without torch there is still the queue.
    collect_ignore_glob = ["test_[!f]*.py"]
