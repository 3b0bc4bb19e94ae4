"""One denoising step of many items, with less memory if it must be."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from frame_gen.diffusion.item import Item
from frame_gen.diffusion.memory import Attempt, MemoryGate, Phase
from frame_gen.diffusion.packing import Buckets, Row, predict
from frame_gen.diffusion.recovery import Recovery, fail
from frame_gen.diffusion.residence import Part, Residence
from frame_gen.metrics import steps_taken, unet_called


@dataclass
class StepCounts:
    """What was done so far."""

    steps: int = 0
    """Denoising steps of one or more items."""
    calls: int = 0
    """Calls of a UNet that succeeded."""
    rows: int = 0
    """Rows in them that belonged to an item."""
    padding: int = 0
    """Rows in them that belonged to none."""


_Owned = tuple[Item, Row]
"""A row and the item that it belongs to."""


class Stepper:
    """Steps items of one model and size together.

    An item whose step fails for good is failed; no other item is touched by it.
    """

    def __init__(
        self,
        *,
        buckets: Buckets,
        recovery: Recovery,
        residence: Residence,
        gate: MemoryGate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._buckets = buckets
        self._recovery = recovery
        self._residence = residence
        self._gate = gate
        self._clock = clock
        self.counts = StepCounts()

    def step(self, items: Sequence[Item]) -> list[Item]:
        """Takes one step of each item; the items that were failed.

        Where memory runs out between the UNet and the scheduler, an item may
        stay at its step, which the next call takes again.

        Raises:
            DeviceLostError: the device fails every call. No item was failed for it.
        """
        self.counts.steps += 1
        failed: list[Item] = []
        pending: list[_Owned] = []
        for item in items:
            with Attempt() as attempt:
                pending += [(item, row) for row in item.rows()]
            if attempt.fault and not self._recovery.can_go_on(attempt.fault, Phase.DENOISE, rows=1):
                failed += fail([item], attempt.fault)
        predictions = self._predict_all(pending, failed)
        for item, outputs in predictions.items():
            with Attempt() as attempt:
                item.advance(outputs, self._clock())
                steps_taken(1)
            if attempt.fault and not self._recovery.can_go_on(attempt.fault, Phase.DENOISE, rows=1):
                failed += fail([item], attempt.fault)
        return failed

    def _predict_all(
        self, pending: list[_Owned], failed: list[Item]
    ) -> dict[Item, list[torch.Tensor]]:
        """The UNet's outputs for every row, by item; adds to `failed` the items that have none."""
        predictions: dict[Item, list[torch.Tensor]] = {}
        alone = False
        while pending:
            pack = self._next_pack(pending, alone=alone)
            size = self._buckets.size_for(len(pack))
            with Attempt() as attempt:
                self._call(pack, size, predictions)
            if attempt.fault is None:
                pending = pending[len(pack) :]
                continue
            if self._recovery.can_go_on(attempt.fault, Phase.DENOISE, rows=size):
                continue
            owners = list(dict.fromkeys(item for item, _ in pack))
            if len(owners) > 1:
                # Whose fault it is shows when each goes alone.
                alone = True
                continue
            failed += fail(owners, attempt.fault)
            predictions.pop(owners[0], None)
            pending = [owned for owned in pending if owned[0] is not owners[0]]
        return predictions

    def _next_pack(self, pending: list[_Owned], *, alone: bool) -> list[_Owned]:
        limit = self._buckets.at_most(self._recovery.ladder.row_limit)
        pack = pending[:limit]
        return [owned for owned in pack if owned[0] is pack[0][0]] if alone else pack

    def _call(
        self, pack: list[_Owned], size: int, predictions: dict[Item, list[torch.Tensor]]
    ) -> None:
        first = pack[0][0]
        self._gate.enter(Phase.DENOISE, rows=size, pixels=first.job.width * first.job.height)
        model = first.model
        with self._residence.using(model, Part.UNET):
            outputs = predict(model.unet, [row for _, row in pack], size)
        for (item, _), output in zip(pack, outputs, strict=True):
            predictions.setdefault(item, []).append(output)
        unet_called(len(pack), size - len(pack))
        self.counts.calls += 1
        self.counts.rows += len(pack)
        self.counts.padding += size - len(pack)
