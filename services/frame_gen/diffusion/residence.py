"""Where modules are, and who may use the device at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch

from frame_gen.diffusion.ladder import Ladder, Rung
from frame_gen.diffusion.memory import release_unused
from frame_gen.diffusion.models import LoadedModel


class Part(Enum):
    """Modules of a model that work and move together."""

    TEXT = "text encoders"
    UNET = "unet"
    VAE = "vae"


def modules_of(model: LoadedModel, part: Part) -> tuple[Any, ...]:
    """The modules of a part."""
    if part is Part.TEXT:
        return model.text_encoders
    return (model.unet,) if part is Part.UNET else (model.vae,)


class Turns:
    """Shared and exclusive use, in the order of asking."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._line: deque[object] = deque()
        self._sharing = 0
        self._alone = False

    @contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        """Waits for a turn, keeps it for the block; nothing else has one if it is `alone`."""
        ticket = object()
        with self._condition:
            self._line.append(ticket)
            self._condition.wait_for(
                lambda: (
                    self._line[0] is ticket and not self._alone and not (alone and self._sharing)
                )
            )
            self._line.popleft()
            self._alone = alone
            self._sharing += not alone
            self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._alone = False
                self._sharing -= not alone
                self._condition.notify_all()


class Residence:
    """Puts a part of a model where the ladder wants it while it works.

    As long as memory suffices, everything stays on the device and parts work
    side by side. Once memory ran out they work one at a time.
    """

    def __init__(self, device: torch.device, ladder: Ladder) -> None:
        self._device = device
        self._ladder = ladder
        self._turns = Turns()
        self._models: list[LoadedModel] = []
        self._away: set[tuple[LoadedModel, Part]] = set()

    @property
    def models(self) -> tuple[LoadedModel, ...]:
        """The models that are hosted."""
        return tuple(self._models)

    def host(self, model: LoadedModel) -> None:
        """Takes charge of a model's modules, which are on the device."""
        with self._turns.take(alone=True):
            self._models.append(model)

    def release(self, model: LoadedModel) -> None:
        """Gives up a model; its modules stay where they are."""
        with self._turns.take(alone=True):
            self._models.remove(model)
            self._away = {(other, part) for other, part in self._away if other is not model}

    @contextmanager
    def using(self, model: LoadedModel, part: Part) -> Iterator[None]:
        """Waits until the part may work; it is in its place for the block."""
        if not self._one_at_a_time():
            with self._turns.take(alone=False):
                # Modules may have been moved while this waited.
                if not self._one_at_a_time():
                    yield
                    return
        with self._turns.take(alone=True):
            self._arrange(self._wanted_away(model, part))
            yield

    def _one_at_a_time(self) -> bool:
        return self._ladder.strained or bool(self._away)

    def _wanted_away(self, model: LoadedModel, part: Part) -> set[tuple[LoadedModel, Part]]:
        offload = self._ladder.taken(Rung.MODEL_OFFLOAD)
        wanted: set[tuple[LoadedModel, Part]] = set()
        if offload and part is Part.TEXT:
            # The CPU encodes: nothing has to make room for it.
            wanted |= self._away
        elif offload:
            wanted |= {(other, kind) for other in self._models for kind in Part}
            wanted -= {(model, part)}
        if self._ladder.taken(Rung.TEXT_ENCODERS_TO_CPU):
            wanted |= {(other, Part.TEXT) for other in self._models}
        return wanted

    def _arrange(self, wanted: set[tuple[LoadedModel, Part]]) -> None:
        leaving, coming = wanted - self._away, self._away - wanted
        # Outside inference mode: parameters moved within it could not be used outside.
        with torch.inference_mode(mode=False):
            self._move(leaving, torch.device("cpu"))
            self._away |= leaving
            if leaving:
                release_unused(self._device)
            self._move(coming, self._device)
            self._away -= coming

    def _move(self, parts: set[tuple[LoadedModel, Part]], target: torch.device) -> None:
        for model, part in parts:
            for module in modules_of(model, part):
                module.to(target)
