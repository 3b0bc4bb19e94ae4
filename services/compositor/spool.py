"""A finished video that waits on disk until it is sent."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO

from rpckit.disk import spooling


class Spool:
    """Bytes in a file without a name: it is gone when it is closed, whatever ends the process.

    Methods raise GatorError(STORAGE_FULL) when the disk is full.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` must exist; None is the system's for temporary files."""
        with spooling("compositor"):
            self._file: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115 - `close`
                dir=folder, buffering=0
            )

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes from byte `at` on; none at the end."""
        return os.pread(self._file.fileno(), size, at)

    def write(self, at: int, data: bytes) -> None:
        """Puts all of `data` at byte `at`."""
        left = memoryview(data)
        with spooling("compositor"):
            while left:
                written = os.pwrite(self._file.fileno(), left, at)
                left, at = left[written:], at + written

    def close(self) -> None:
        """Frees the disk space."""
        self._file.close()
