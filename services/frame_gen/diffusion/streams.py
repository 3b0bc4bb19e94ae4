"""Work beside the denoising on CUDA; on other devices nothing of this is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def mark(device: torch.device) -> Any:
    """The point that the device's work of this thread has been queued up to; None off CUDA."""
    if device.type != "cuda":
        return None
    # Blocking: a thread that waits for it does not keep a core busy.
    event = torch.cuda.Event(blocking=True)
    event.record(torch.cuda.current_stream(device))
    return event


class SideStream:
    """A second queue of work on the device."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def after(self, event: Any, tensor: torch.Tensor | None = None) -> Iterator[None]:
        """In the block work goes to this queue, behind `event`, and may read `tensor`."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            if event is not None:
                self._stream.wait_event(event)
            # The allocator must not hand the tensor's memory on before this queue has read it.
            if tensor is not None:
                tensor.record_stream(self._stream)
            yield


class Lead:
    """Keeps the CPU from queueing more than so many steps ahead of the device.

    Without it a cancelled item would go on for as long as the queue is deep;
    with no lead at all the device would wait for the CPU between steps.
    """

    def __init__(self, device: torch.device, steps: int = 1) -> None:
        self._device = device
        self._steps = steps
        self._events: deque[Any] = deque()

    def step_queued(self) -> None:
        """Call after each step; waits for the step that is one too far back."""
        event = mark(self._device)
        if event is None:
            return
        self._events.append(event)
        if len(self._events) > self._steps:
            self._events.popleft().synchronize()
