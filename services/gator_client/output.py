"""A file that appears under its name only when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

_T = TypeVar("_T")


class OutputFile:
    """Writes to a hidden file beside `path` and renames it at the end; else removes it.

    An async context manager. Opening raises OSError if the folder is missing or
    not writable, so that this is known before the work begins; FileExistsError
    if `path` exists and `overwrite` is false.
    """

    def __init__(self, path: Path | str, *, overwrite: bool = True) -> None:
        """`path` may be a link: then the file it leads to is replaced."""
        self.path = Path(os.path.realpath(path))
        self._overwrite = overwrite
        self._part = self.path.with_name(f".{self.path.name[:100]}.{secrets.token_hex(6)}.part")
        # One thread of its own: what is queued runs in order, so that a write
        # whose caller was cancelled is over before the file is closed.
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gator-output")
        self._descriptor = -1
        self._left = False

    async def __aenter__(self) -> Self:
        """Creates the hidden file."""
        try:
            await self._run(self._open)
        except BaseException:
            self._finish()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Removes the hidden file, if `commit` was not reached."""
        self._finish()

    async def write(self, data: bytes) -> None:
        """Appends `data`."""
        await self._run(lambda: self._write(data))

    async def commit(self) -> None:
        """Puts the file on disk for good and gives it its name."""
        await self._run(self._commit)

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _open(self) -> None:
        if self.path.exists():
            if not self.path.is_file():
                raise FileExistsError(f"{self.path} is not a file that could be replaced")
            if not self._overwrite:
                raise FileExistsError(f"{self.path} exists already")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            self._descriptor = os.open(self._part, flags, 0o666)
        except OSError as error:  # the hidden name would only puzzle
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _commit(self) -> None:
        os.fsync(self._descriptor)
        self._close()
        if self._left:  # cancelled while the disk was busy: the caller counts on no file
            return
        if self._overwrite:
            self._part.replace(self.path)
        else:
            self._name_unless_taken()
        with contextlib.suppress(OSError):  # not every system can sync a folder
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _name_unless_taken(self) -> None:
        """Names the file as `_open` found the name: free. Another may have taken it since."""
        try:
            os.link(self._part, self.path)  # unlike a rename it replaces nothing
        except FileExistsError:
            raise FileExistsError(f"{self.path} exists already") from None
        except OSError:  # a file system without links
            if self.path.exists():
                raise FileExistsError(f"{self.path} exists already") from None
            self._part.replace(self.path)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _discard(self) -> None:
        self._close()
        self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._left = True
        self._disk.submit(self._discard)
        self._disk.shutdown(wait=True)
