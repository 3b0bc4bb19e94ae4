"""Tiny models in folders, as entries of a catalog."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from frame_gen.diffusion.catalog import Engine, ModelEntry


def save(pipeline: Any, folder: Path) -> Path:
    """Writes a pipeline in diffusers' layout."""
    with contextlib.redirect_stderr(io.StringIO()):
        pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def entry(name: str, folder: Path | None = None, **more: Any) -> ModelEntry:
    """A catalog's entry of a tiny model: 128x64 pixels."""
    values: dict[str, Any] = {"width": 128, "height": 64, "engine": Engine.STEPS, **more}
    if folder is None:
        values.setdefault("repository", f"tiny/{name}")
    return ModelEntry(name=name, folder=folder, **values)


def write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    """A file with tensors of zeros of these number formats and shapes, written byte by byte."""
    sizes = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        start = end
        size = sizes[dtype]
        for side in shape:
            size *= side
        end += size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))


def hollow_model(folder: Path, *, variant: str = "", elements: int = 1000) -> Path:
    """A folder in the layout of a Stable Diffusion model, with weights that mean nothing."""
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    index = {"_class_name": "StableDiffusionPipeline", **parts, "safety_checker": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index))
    middle = f".{variant}" if variant else ""
    for part in ("unet", "text_encoder", "vae"):
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        weights = folder / part / f"{stem}{middle}.safetensors"
        write_safetensors(weights, {f"{part}.w": ("F16", [elements])})
        (folder / part / "config.json").write_text("{}")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    return folder
