"""`python -m frame_gen download`, against a stand-in for the hub on loopback."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.model_folders import hollow_model
from tests.support.model_hub import COMMIT, serve_models

pytest.importorskip("huggingface_hub")


async def fetch(cache: Path, hub: str, **environment: str) -> tuple[int, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "GATOR_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "frame_gen", "download"),
        env={**inherited, "HF_HOME": str(cache), "HF_ENDPOINT": hub, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


def catalog(*names: str) -> dict[str, str]:
    entries = [
        {"name": name, "repository": f"tiny/{name}", "width": 64, "height": 64, "engine": "steps"}
        for name in names
    ]
    return {
        "GATOR_FRAME_GEN_DIFFUSERS_CATALOG": json.dumps(entries),
        "GATOR_FRAME_GEN_DIFFUSERS_MODELS": ",".join(names),
    }


async def test_every_model_of_the_settings_is_brought_and_only_once(tmp_path: Path):
    folders = {f"tiny/{name}": hollow_model(tmp_path / name) for name in ("fox", "hen")}
    with serve_models(folders) as hub:
        code, out = await fetch(tmp_path / "cache", hub.url, **catalog("fox", "hen"))
        assert code == 0, out
        for name in ("fox", "hen"):
            snapshot = tmp_path / "cache" / "hub" / f"models--tiny--{name}" / "snapshots" / COMMIT
            assert (snapshot / "model_index.json").is_file()
        asked = len(hub.requests)
        code, out = await fetch(tmp_path / "cache", hub.url, **catalog("fox", "hen"))
        assert code == 0, out
        assert len(hub.requests) == asked


async def test_a_model_that_cannot_be_had_is_an_error_with_its_name(tmp_path: Path):
    with serve_models({}) as hub:
        code, out = await fetch(tmp_path / "cache", hub.url, **catalog("fox"))
    assert code == 1
    assert "Error: the hub has no tiny/fox" in out
    assert "Traceback" not in out
