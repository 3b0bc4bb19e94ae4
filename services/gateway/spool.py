"""A scene's frame that waits on disk until the compositor has room for it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rpckit.disk import spooling
from rpckit.frame import CHUNK_SIZE, FrameCheck, FrameHeader


class SpooledFrame:
    """A frame in a file without a name: it is gone when it is closed, whatever ends the process."""

    def __init__(self, header: FrameHeader, folder: Path | None) -> None:
        """`folder` must exist; None is the system's for temporary files."""
        self.header = header
        self._readers = 0
        self._unwanted = False
        self._check = FrameCheck(header)
        with spooling("gateway"):
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close`

    async def write(self, chunk: bytes) -> None:
        """Takes the next bytes; FRAME_CORRUPT if they do not fit the header."""
        await asyncio.to_thread(self._write, chunk)

    def _write(self, chunk: bytes) -> None:
        self._check.add(chunk)
        with spooling("gateway"):
            self._file.write(chunk)
            if self._check.complete:
                self._file.flush()

    def finish(self) -> None:
        """FRAME_CORRUPT if bytes are missing."""
        self._check.finish()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The frame's bytes in pieces of 1 MiB and a rest. Several may read at a time."""
        with self.kept_open():
            start = 0
            while chunk := await asyncio.to_thread(
                os.pread, self._file.fileno(), CHUNK_SIZE, start
            ):
                yield chunk
                start += len(chunk)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Puts off a `close` to the end of the block."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            if self._unwanted and not self._readers:
                self._file.close()

    def close(self) -> None:
        """Frees the disk space, once nobody reads it any more."""
        self._unwanted = True
        if not self._readers:
            self._file.close()
