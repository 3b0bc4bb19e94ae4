"""Items get what they start from: embeddings of their texts, and noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from frame_gen.diffusion.conditioning import Embedding, TextConditioner
from frame_gen.diffusion.item import Item
from frame_gen.diffusion.memory import Attempt, MemoryGate, Phase
from frame_gen.diffusion.models import LoadedModel
from frame_gen.diffusion.recovery import Recovery, fail
from frame_gen.diffusion.residence import Part, Residence

MAX_TEXTS = 16
"""Texts in one call of a text encoder."""


class Preparer:
    """Prepares items of one model together: their new texts are encoded in one call."""

    def __init__(
        self,
        *,
        residence: Residence,
        recovery: Recovery,
        gate: MemoryGate,
        cache_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._residence = residence
        self._recovery = recovery
        self._gate = gate
        self._cache_size = cache_size
        self._clock = clock
        self._conditioners: dict[LoadedModel, TextConditioner] = {}

    def forget(self, model: LoadedModel) -> None:
        """Drops the embeddings of a model."""
        self._conditioners.pop(model, None)

    def warm_up(self, model: LoadedModel) -> None:
        """Calls the text encoders once."""
        self._encode(model, self._conditioner(model), [""])

    def prepare(self, items: Sequence[Item]) -> list[Item]:
        """Prepares items of one model; those that could not be are failed and returned.

        Raises:
            DeviceLostError: the device fails every call. No item was failed for it.
        """
        if not items:
            return []
        model = items[0].model
        conditioner = self._conditioner(model)
        failed: list[Item] = []
        texts = [text for item in items for text in self._texts(conditioner, item)]
        embeddings: dict[str, Embedding] = {}
        size = MAX_TEXTS
        pending = list(dict.fromkeys(texts))
        while pending:
            chunk = pending[:size]
            with Attempt() as attempt:
                embeddings.update(self._encode(model, conditioner, chunk))
            if attempt.fault is None:
                pending = pending[len(chunk) :]
            elif len(chunk) > 1:
                # Less memory, and whose fault it is shows when each goes alone.
                size = 1
            elif not self._recovery.can_go_on(attempt.fault, Phase.ENCODE, rows=1):
                needing = [i for i in items if chunk[0] in self._texts(conditioner, i)]
                failed += fail([i for i in needing if i not in failed], attempt.fault)
                pending = pending[1:]
        for item in items:
            if item not in failed:
                failed += self._start(conditioner, item, embeddings)
        return failed

    def _conditioner(self, model: LoadedModel) -> TextConditioner:
        if model not in self._conditioners:
            self._conditioners[model] = TextConditioner(model, self._cache_size)
        return self._conditioners[model]

    def _encode(
        self, model: LoadedModel, conditioner: TextConditioner, texts: list[str]
    ) -> dict[str, Embedding]:
        if not conditioner.missing(texts):
            return conditioner.encode(texts)
        self._gate.enter(Phase.ENCODE, rows=len(texts), pixels=0)
        with self._residence.using(model, Part.TEXT):
            return conditioner.encode(texts)

    def _texts(self, conditioner: TextConditioner, item: Item) -> list[str]:
        job = item.job
        return conditioner.texts(job.prompt, job.negative_prompt, guided=item.guided)

    def _start(
        self, conditioner: TextConditioner, item: Item, embeddings: dict[str, Embedding]
    ) -> list[Item]:
        job = item.job
        while True:
            with Attempt() as attempt:
                texts = {"prompt": job.prompt}
                if item.guided:
                    texts["negative_prompt"] = job.negative_prompt
                cut = [conditioner.truncated(*field) for field in texts.items()]
                item.truncated = tuple(part for part in cut if part is not None)
                item.prepare(
                    conditioner.conditioning(
                        embeddings,
                        prompt=job.prompt,
                        negative_prompt=job.negative_prompt,
                        guided=item.guided,
                        width=job.width,
                        height=job.height,
                    ),
                    self._clock(),
                )
            if attempt.fault is None:
                return []
            if not self._recovery.can_go_on(attempt.fault, Phase.ENCODE, rows=1):
                return fail([item], attempt.fault)
