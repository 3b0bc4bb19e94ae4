"""Prompts as the UNet takes them: embeddings by the text encoders, kept for the next time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from frame_gen.diffusion.job import Truncated
from frame_gen.diffusion.models import Family, LoadedModel


@dataclass(frozen=True)
class Embedding:
    """One text."""

    hidden: torch.Tensor
    """Shape (1, tokens, width)."""
    pooled: torch.Tensor | None
    """Shape (1, width); None where the model takes none."""

    def zeros(self) -> Embedding:
        """An embedding of zeros of the same shape."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Embedding(torch.zeros_like(self.hidden), pooled)


@dataclass(frozen=True)
class Conditioning:
    """What one image's UNet calls are given beside its latents."""

    rows: tuple[Embedding, ...]
    """The negative and the positive text; without guidance the positive one only."""
    time_ids: torch.Tensor | None
    """Sizes for SDXL, shape (1, 6); None where the model takes none."""


class TextConditioner:
    """The text encoders of one model, with a cache of the latest embeddings."""

    def __init__(self, model: LoadedModel, cache_size: int) -> None:
        """Keeps up to `cache_size` embeddings on the model's device."""
        self._model = model
        self._cache_size = cache_size
        self._cache: OrderedDict[str, Embedding] = OrderedDict()

    def __len__(self) -> int:
        """Number of embeddings in the cache."""
        return len(self._cache)

    def clear(self) -> None:
        """Forgets every embedding."""
        self._cache.clear()

    def texts(self, prompt: str, negative_prompt: str, *, guided: bool) -> list[str]:
        """The texts that an image needs embeddings of."""
        if guided and (negative_prompt or not self._model.zero_empty_negative):
            return [negative_prompt, prompt]
        return [prompt]

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts that are not in the cache, each once."""
        return [text for text in dict.fromkeys(texts) if text not in self._cache]

    def encode(self, texts: Sequence[str]) -> dict[str, Embedding]:
        """The embeddings of the texts, in one call of each text encoder for what is not cached."""
        missing = self.missing(texts)
        result = {text: self._cache[text] for text in texts if text in self._cache}
        if missing:
            result.update(zip(missing, self._embed(missing), strict=True))
        for text in texts:
            self._cache[text] = result[text]
            self._cache.move_to_end(text)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return result

    def conditioning(
        self,
        embeddings: dict[str, Embedding],
        *,
        prompt: str,
        negative_prompt: str,
        guided: bool,
        width: int,
        height: int,
    ) -> Conditioning:
        """What an image of `width` x `height` pixels is conditioned on."""
        positive = embeddings[prompt]
        rows: tuple[Embedding, ...] = (positive,)
        if guided and (negative_prompt or not self._model.zero_empty_negative):
            rows = (embeddings[negative_prompt], positive)
        elif guided:
            rows = (positive.zeros(), positive)
        time_ids = None
        if self._model.family is Family.SDXL:
            # Original size, top left corner of the crop, target size.
            sizes = [[height, width, 0, 0, height, width]]
            time_ids = torch.tensor(sizes, dtype=positive.hidden.dtype, device=self._model.device)
        return Conditioning(rows, time_ids)

    def truncated(self, field: str, text: str) -> Truncated | None:
        """What of a text the encoders do not see, if anything."""
        tokenizer = self._model.tokenizers[0]
        limit = tokenizer.model_max_length
        tokens = tokenizer(
            text, truncation=False, verbose=False, return_offsets_mapping=tokenizer.is_fast
        )
        if len(tokens.input_ids) <= limit:
            return None
        if tokenizer.is_fast:
            ignored = text[tokens.offset_mapping[limit - 1][0] :]
        else:
            ignored = tokenizer.decode(tokens.input_ids[limit - 1 : -1])
        # The tokens that mark start and end are not the text's.
        return Truncated(field, ignored.strip(), limit - 2)

    def _embed(self, texts: list[str]) -> list[Embedding]:
        model = self._model
        hidden: list[torch.Tensor] = []
        pooled: torch.Tensor | None = None
        for tokenizer, encoder in zip(model.tokenizers, model.text_encoders, strict=True):
            ids = tokenizer(
                texts,
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            ).input_ids.to(_device_of(encoder))
            if model.family is Family.SD15:
                hidden.append(encoder(ids)[0])
                continue
            # SDXL: the layer before the last of both, the pooled output of the second.
            output = encoder(ids, output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled = output[0]
        joined = torch.cat(hidden, dim=-1).to(model.device, model.dtype)
        if pooled is not None:
            pooled = pooled.to(model.device, model.dtype)
        # Clones: a view would keep the embeddings of the whole batch.
        return [
            Embedding(
                joined[i : i + 1].clone(), None if pooled is None else pooled[i : i + 1].clone()
            )
            for i in range(len(texts))
        ]


def _device_of(module: Any) -> torch.device:
    device: torch.device = next(module.parameters()).device
    return device
