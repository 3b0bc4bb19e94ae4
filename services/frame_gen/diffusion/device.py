"""The device that runs models: which one, what it is called, how much memory it has.

Everything here imports torch late or not at all. `no_accelerator` looks at the
machine's files only, so that a machine without a GPU says so in no time.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from frame_gen.diffusion.catalog import Dtype

Wanted = Literal["auto", "cuda", "mps", "cpu"]

_GPU_FILES = ("nvidiactl", "nvidia0", "kfd", "dxg", "nvhost-gpu", "nvmap")
"""Under /dev: NVIDIA, ROCm, the Windows subsystem's GPU, Tegra."""


class DeviceType(StrEnum):
    """Kinds of devices."""

    CUDA = "cuda"
    ROCM = "rocm"
    """AMD's, which torch calls "cuda" too."""
    MPS = "mps"
    CPU = "cpu"


@dataclass(frozen=True)
class Device:
    """A device that runs models."""

    type: DeviceType
    name: str = ""
    """Such as "NVIDIA H100"; empty where it has none."""
    total_memory: int = 0
    """Bytes; 0 where it is not known."""
    free_memory: int = 0
    """Bytes that could be used when it was asked; 0 where it is not known."""

    @property
    def torch_name(self) -> str:
        """What torch calls it."""
        return "cuda" if self.type is DeviceType.ROCM else self.type.value

    @property
    def is_gpu(self) -> bool:
        """Whether it is one on which an image takes seconds."""
        return self.type is not DeviceType.CPU


class NoDevice(Exception):  # noqa: N818 - a fact about the machine, said to people
    """The device that the settings want is not there; the message says what to do."""


class DeviceLostError(Exception):
    """The device fails every call of this process."""


CPU_ADVICE = (
    "set GATOR_FRAME_GEN_DIFFUSERS_DEVICE=cpu to use the CPU (possible, but very slow: minutes "
    "an image)"
)


def no_accelerator(dev: Path = Path("/dev")) -> bool:
    """Whether this machine certainly has no GPU; without torch, in no time.

    False means only that there may be one.
    """
    system = platform.system()
    if system == "Linux":
        return not any((dev / name).exists() for name in _GPU_FILES)
    if system == "Darwin":
        return platform.machine() != "arm64"
    return False


def find_device(wanted: Wanted) -> Device:
    """The device that the settings want, with its memory as it is now.

    Takes seconds the first time, and memory on a GPU: call it in a thread, and
    never for a health check.

    Raises:
        NoDevice: it is not there.
    """
    if wanted == "auto" and no_accelerator():
        raise NoDevice(f"this machine has no GPU; {CPU_ADVICE}")
    import torch  # noqa: PLC0415 - seconds, and only where models are used

    if wanted in ("auto", "cuda") and torch.cuda.is_available():
        return _cuda(torch)
    if wanted in ("auto", "mps") and torch.backends.mps.is_available():
        return _mps(torch)
    if wanted == "cpu":
        total, free = _main_memory()
        return Device(DeviceType.CPU, platform.processor(), total, free)
    if wanted == "auto":
        raise NoDevice(f"torch sees no GPU; check its driver and torch's build, or {CPU_ADVICE}")
    raise NoDevice(f"torch sees no {wanted} device; check its driver and torch's build")


def _cuda(torch: Any) -> Device:
    index = torch.cuda.current_device()
    free, total = torch.cuda.mem_get_info(index)
    # What torch keeps for later is free for the next model.
    free += torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
    kind = DeviceType.ROCM if torch.version.hip else DeviceType.CUDA
    return Device(kind, torch.cuda.get_device_name(index), int(total), int(free))


def _mps(torch: Any) -> Device:
    total = int(torch.mps.recommended_max_memory())
    return Device(
        DeviceType.MPS,
        platform.processor() or "Apple GPU",
        total,
        max(0, total - int(torch.mps.driver_allocated_memory())),
    )


def _main_memory() -> tuple[int, int]:
    """Bytes of main memory in all and free, within what a container may use."""
    import psutil  # noqa: PLC0415 - comes with the diffusers extra

    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    limit, used = _container_memory()
    if limit:
        total = min(total, limit)
        free = min(free, max(0, limit - used))
    return total, free


def _container_memory(root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Bytes that a container may use and uses; 0 where there is no limit."""
    try:
        limit = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
    except (OSError, ValueError):
        return 0, 0
    return limit, used


def number_format(wanted: Dtype, device: Device) -> Dtype:
    """The format in which weights are loaded: the entry's, or the best of the device."""
    if wanted is not Dtype.AUTO:
        return wanted
    if device.type is DeviceType.CPU:
        return Dtype.FLOAT32
    if device.type is DeviceType.MPS:
        return Dtype.FLOAT16
    import torch  # noqa: PLC0415 - see above

    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Dtype.BFLOAT16 if native else Dtype.FLOAT16


def peak_memory(device: Device, *, restart: bool = False) -> int | None:
    """Bytes of tensors on the device at their most since the last restart; None if not counted."""
    if device.torch_name != "cuda":
        return None
    import torch  # noqa: PLC0415 - see above

    peak = int(torch.cuda.max_memory_allocated())
    if restart:
        torch.cuda.reset_peak_memory_stats()
    return peak
