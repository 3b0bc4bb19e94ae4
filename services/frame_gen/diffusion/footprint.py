"""How much of a device's memory a model will need, told from its files' headers.

Weights are counted from the headers of the safetensors files, without loading
them. Work beside the weights is a constant of the architecture times the area
(see `catalog.Working`). Free of torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frame_gen.diffusion.catalog import Dtype, ModelEntry

MAX_HEADER = 100_000_000
"""Bytes, as safetensors itself allows."""
LATENT_SCALE = 8
"""Pixels per latent in each direction, of the VAEs that `catalog.Working` counts by."""
RESERVE = 256 << 20
"""Bytes that libraries take beside tensors, and what splits leave unused."""

BYTES = {Dtype.FLOAT32: 4, Dtype.FLOAT16: 2, Dtype.BFLOAT16: 2}
"""Of one element."""

_PARTS = (
    *("unet", "transformer", "transformer_2", "vae"),
    *("text_encoder", "text_encoder_2", "text_encoder_3"),
)
"""Folders of a model whose weights go to the device."""


class BadWeights(Exception):  # noqa: N818 - a fact about a file, said to people
    """A weight file is not one that can be loaded; the message says which."""


@dataclass(frozen=True)
class Weights:
    """Elements of a model's parts, by the name of their folder."""

    elements: Mapping[str, int]

    def bytes(self, dtype: Dtype) -> int:
        """In memory in a number format, all parts together."""
        return sum(self.elements.values()) * BYTES[dtype]

    def largest(self, dtype: Dtype) -> int:
        """As `bytes`, of the largest part."""
        return max(self.elements.values()) * BYTES[dtype]


@dataclass(frozen=True)
class Footprint:
    """Memory that a model is predicted to need, in bytes."""

    weights: int
    largest: int
    """Of the weights, those of the largest part."""
    denoise: int
    """Of one step of `rows` rows."""
    decode: int
    """Of one image in the VAE."""
    rows: int

    @property
    def peak(self) -> int:
        """At most in use: one picture may be decoded while the next step is made."""
        return self.weights + self.denoise + self.decode

    @property
    def needed(self) -> int:
        """Free memory with which it runs at full speed."""
        return self.peak + RESERVE

    @property
    def least(self) -> int:
        """Free memory with which it runs at all: a row at a time, then pictures in tiles."""
        return self.weights + self._least_work + RESERVE

    @property
    def least_offloaded(self) -> int:
        """As `least`, where only the part that works is on the device."""
        return self.largest + self._least_work + RESERVE

    @property
    def _least_work(self) -> int:
        return max(self.denoise // self.rows, self.decode // 4)


def elements_in(path: Path) -> int:
    """Elements of all tensors in a safetensors file, from its header alone.

    The format: 8 bytes with the header's length, little endian, then JSON with
    the number format, shape and place of each tensor.

    Raises:
        BadWeights: it is not such a file, or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= MAX_HEADER:
                raise BadWeights(f"{path.name} is not a safetensors file")
            header: dict[str, Any] = json.loads(file.read(length))
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        end = max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
        elements = sum(math.prod(tensor["shape"]) for tensor in tensors)
        size = path.stat().st_size
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadWeights(f"{path.name} is not a safetensors file") from error
    if size < 8 + length + end:
        raise BadWeights(f"{path.name} is cut off: it has {size} of {8 + length + end} bytes")
    return int(elements)


def weight_files(folder: Path, variant: str = "") -> dict[str, tuple[Path, ...]]:
    """The safetensors files that are loaded, by part: those of `variant` where a part has them."""
    found: dict[str, tuple[Path, ...]] = {}
    for part in sorted(p for p in folder.iterdir() if p.is_dir()):
        files = sorted(part.glob("*.safetensors"))
        marked = [f for f in files if variant and f".{variant}" in f.name]
        plain = [f for f in files if f.name.count(".") == 1]
        if chosen := marked or plain:
            found[part.name] = tuple(chosen)
    return found


def weights_of(folder: Path, variant: str = "", *, safety_checker: bool = True) -> Weights:
    """The weights in a folder with a model.

    Raises:
        BadWeights: a file is broken, or there are none.
    """
    elements = {
        part: sum(elements_in(file) for file in files)
        for part, files in weight_files(folder, variant).items()
        if part in _PARTS or (part == "safety_checker" and safety_checker)
    }
    if not elements:
        raise BadWeights("the folder holds no safetensors files of a model")
    return Weights(elements)


def predict(entry: ModelEntry, weights: Weights | None, dtype: Dtype, rows: int) -> Footprint:
    """The memory that a model will need; `weights` None judges by the catalog's figure."""
    size = BYTES[dtype]
    pixels = entry.width * entry.height
    latents = pixels // LATENT_SCALE**2
    weight = entry.weights * size // 2 if weights is None else weights.bytes(dtype)
    return Footprint(
        weights=weight,
        largest=weight if weights is None else weights.largest(dtype),
        denoise=entry.working.denoise * latents * rows * size,
        decode=entry.working.decode * pixels * size,
        rows=rows,
    )


def rows_that_fit(
    entry: ModelEntry, weights: Weights | None, dtype: Dtype, free: int, most: int
) -> int:
    """The most rows of a step, at most `most`, with which the model fits; 0 if one does not."""
    one = predict(entry, weights, dtype, 1)
    spare = free - one.needed
    if spare < 0:
        return 0
    return min(most, 1 + spare // max(one.denoise, 1))
