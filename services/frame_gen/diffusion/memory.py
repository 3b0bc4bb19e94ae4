"""Memory that runs out: how that is told from other errors, and what is freed then."""

from __future__ import annotations

import gc
from enum import Enum
from typing import Protocol, Self

import torch

from frame_gen.diffusion.device import DeviceLostError
from rpckit.telemetry import logger

log = logger(__name__)


class Phase(Enum):
    """Parts of the work that need much memory."""

    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"


class MemoryGate(Protocol):
    """Is asked before each piece of work that needs much memory."""

    def enter(self, phase: Phase, *, rows: int, pixels: int) -> None:
        """Raises torch.OutOfMemoryError to refuse the work.

        `rows` is its batch size, `pixels` the size of the image (0 for texts).
        """


class OpenGate:
    """Refuses nothing: the device's own allocator decides."""

    def enter(self, phase: Phase, *, rows: int, pixels: int) -> None:
        """See `MemoryGate`."""


class Fault(Enum):
    """What an exception from a piece of work means for the engine."""

    OUT_OF_MEMORY = "out of memory"
    """The work may succeed with less memory."""
    DEVICE_LOST = "device lost"
    """Every later call fails too."""
    OTHER = "other"
    """A fault of this piece of work."""


# What the allocators and libraries of CUDA, ROCm, MPS and the CPU say that do
# not raise torch.OutOfMemoryError.
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "alloc_failed",
    "allocation failed",
    # cuDNN's search for a convolution passes over those for which memory ran out,
    # and says only this when none is left.
    "unable to find an engine to execute",
)
_LOST_WORDS = (
    "cuda error",
    "hip error",
    "device-side assert",
    "illegal memory access",
    # Compiled code says it in its own way: "Triton Error [CUDA]: unspecified launch failure".
    "unspecified launch failure",
    "uncorrectable ecc error",
)


def fault_of(error: BaseException) -> Fault:
    """What an exception from torch means, or one of the engine's own."""
    if isinstance(error, DeviceLostError):
        return Fault.DEVICE_LOST
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return Fault.OUT_OF_MEMORY
    if isinstance(error, RuntimeError):
        text = str(error).lower()
        if any(words in text for words in _MEMORY_WORDS):
            return Fault.OUT_OF_MEMORY
        lost = isinstance(error, torch.AcceleratorError)
        if lost or any(words in text for words in _LOST_WORDS):
            return Fault.DEVICE_LOST
    return Fault.OTHER


class Attempt:
    """A block of work that may fail. Afterwards `fault` says what that meant.

    It does not keep the exception, whose traceback would keep the tensors of
    the work alive.
    """

    def __init__(self) -> None:
        self.fault: Fault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        self.fault = fault_of(error)
        if self.fault is not Fault.OUT_OF_MEMORY:
            log.error("work on the device failed", exc_info=error)
        return True


def release_unused(device: torch.device) -> None:
    """Gives the memory that nothing uses back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
