"""What the process does with memory that it has used."""

from __future__ import annotations

import ctypes
import platform

_M_MMAP_THRESHOLD = -3
"""Of <malloc.h>; see mallopt(3)."""
LARGE = 1 << 20
"""Bytes from which a block is given back to the system when it is freed."""


def give_back_large_blocks() -> None:
    """Lets no freed frame stay with the process. Does nothing where there is no glibc.

    By itself glibc takes blocks of up to 32 MiB from its heap once one of them was freed, so
    that it can use them again. Frames of 24 MiB between small blocks that stay leave holes
    there: at 4K a third of what is resident.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)
