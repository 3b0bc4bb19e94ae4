"""What happens to work that failed: it is tried again with less memory, or its items fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from frame_gen.diffusion.device import DeviceLostError
from frame_gen.diffusion.item import Item
from frame_gen.diffusion.job import FailureReason
from frame_gen.diffusion.ladder import Ladder
from frame_gen.diffusion.memory import Fault, Phase, release_unused
from frame_gen.metrics import out_of_memory
from rpckit.telemetry import logger

log = logger(__name__)


class Recovery:
    """Takes the next rung of the ladder where that may help."""

    def __init__(self, device: torch.device, ladder: Ladder, clock: Callable[[], float]) -> None:
        self.ladder = ladder
        self._device = device
        self._clock = clock

    def can_go_on(self, fault: Fault, phase: Phase, *, rows: int) -> bool:
        """Whether work with so many rows may succeed when it is tried again.

        Raises:
            DeviceLostError: nothing can succeed any more.
        """
        if fault is Fault.DEVICE_LOST:
            raise DeviceLostError
        if fault is not Fault.OUT_OF_MEMORY:
            return False
        out_of_memory(phase.value)
        rung = self.ladder.descend(phase, rows=rows, now=self._clock())
        release_unused(self._device)
        log.warning(
            "out of memory", phase=phase.value, rows=rows, rung=None if rung is None else rung.name
        )
        return rung is not None

    def relax(self) -> None:
        """Takes a rung back where memory sufficed for long enough."""
        if (rung := self.ladder.relax(self._clock())) is not None:
            log.info("memory sufficed for a while", rung=rung.name)


_FAILURES = {
    Fault.OUT_OF_MEMORY: (
        FailureReason.OUT_OF_MEMORY,
        (
            "the device has too little memory for this image, even with everything else off it; "
            "ask for a smaller size or configure a smaller model"
        ),
    ),
    Fault.OTHER: (
        FailureReason.BROKEN,
        "the model failed on this image; the service's log has the details",
    ),
    Fault.DEVICE_LOST: (
        FailureReason.DEVICE_LOST,
        "the device does not answer any more; restart the service",
    ),
}


def fail(items: Iterable[Item], fault: Fault) -> list[Item]:
    """Fails items for a fault; they are returned."""
    failed = list(items)
    for item in failed:
        item.fail(*_FAILURES[fault])
    return failed
