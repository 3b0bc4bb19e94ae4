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


class Disk:
    """A thread of a file's own: what is queued runs in order.

    So a write whose caller was cancelled is over before the file is closed.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gator-output")

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns, done off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self, last: Callable[[], None]) -> None:
        """Does `last` after all that is queued, and ends the thread."""
        self._thread.submit(last)
        self._thread.shutdown(wait=True)


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
        self._disk = Disk()
        self._descriptor = -1
        self._left = False

    async def __aenter__(self) -> Self:
        """Creates the hidden file."""
        try:
            await self._disk.run(self._open)
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

    async def begin_anew(self) -> None:
        """Drops what was written."""
        await self._disk.run(self._truncate)

    async def write(self, data: bytes) -> None:
        """Appends `data`."""
        await self._disk.run(lambda: self._write(data))

    async def commit(self) -> None:
        """Puts the file on disk for good and gives it its name."""
        await self._disk.run(self._commit)

    def _open(self) -> None:
        check_replaceable(self.path, overwrite=self._overwrite)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._descriptor = open_beside(self.path, self._part, flags)

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def _commit(self) -> None:
        os.fsync(self._descriptor)
        self._close()
        if self._left:  # cancelled while the disk was busy: the caller counts on no file
            return
        put_in_place(self._part, self.path, overwrite=self._overwrite)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _discard(self) -> None:
        self._close()
        self._part.unlink(missing_ok=True)

    def _finish(self) -> None:
        self._left = True
        self._disk.close(self._discard)


def check_replaceable(path: Path, *, overwrite: bool) -> None:
    """FileExistsError if a file cannot, or may not, be put at `path`."""
    if path.exists():
        if not path.is_file():
            raise FileExistsError(f"{path} is not a file that could be replaced")
        if not overwrite:
            raise FileExistsError(f"{path} exists already")


def open_beside(path: Path, part: Path, flags: int) -> int:
    """A descriptor of `part`, opened with `flags`. OSError that names `path`."""
    try:
        return os.open(part, flags, 0o666)
    except OSError as error:  # the name of the part would only puzzle
        raise OSError(error.errno, error.strerror, str(path)) from None


def put_in_place(part: Path, path: Path, *, overwrite: bool) -> None:
    """Gives `part`, which is on disk, the name `path`, and has the name on disk too.

    FileExistsError if the name is taken and `overwrite` is false.
    """
    if overwrite:
        part.replace(path)
    else:
        _name_unless_taken(part, path)
    with contextlib.suppress(OSError):  # not every system can sync a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _name_unless_taken(part: Path, path: Path) -> None:
    """The name was found free at the beginning. Another may have taken it since."""
    try:
        os.link(part, path)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise FileExistsError(f"{path} exists already") from None
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(f"{path} exists already") from None
        part.replace(path)
    else:
        part.unlink()
