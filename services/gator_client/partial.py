"""A download that is kept when it breaks off, so that the next one goes on from there.

Beside film.mp4 stand film.mp4.part, the bytes that have come, and film.mp4.part.json, which
says of what. Both are gone when film.mp4 is there.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from gator_client.integrity import VideoCheck
from gator_client.output import Disk, check_replaceable, open_beside, put_in_place

try:
    import fcntl
except ImportError:  # Windows: two downloads to one file are not told apart
    fcntl = None  # type: ignore[assignment]

_PIECE = 1 << 20


class PartialFile:
    """The beginning of a video beside its final path. An async context manager.

    Raises, when it is opened, OSError if the folder is missing or not writable,
    FileExistsError if the final path is taken and `overwrite` is false, or if another
    download to it runs.
    """

    def __init__(self, path: Path | str, render_id: str, *, overwrite: bool = True) -> None:
        """`path` may be a link: then the file it leads to is replaced."""
        self.path = Path(os.path.realpath(path))
        self.part = self.path.with_name(f"{self.path.name}.part")
        """What has come is here until all has."""
        self.content_tag = ""
        """Of what the bytes that are there are the beginning."""
        self.check = VideoCheck()
        self._render_id = render_id
        self._overwrite = overwrite
        self._note = self.path.with_name(f"{self.path.name}.part.json")
        self._disk = Disk()
        self._descriptor = -1

    async def __aenter__(self) -> Self:
        """Finds what an earlier download of the same render left, or begins."""
        try:
            await self._disk.run(self._open)
        except BaseException:
            self._disk.close(self._close)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keeps what has come, unless that is nothing."""
        self._disk.close(self._leave)

    async def begin(self, content_tag: str) -> None:
        """Drops what is there: the bytes of another content come."""
        await self._disk.run(lambda: self._begin(content_tag))

    async def write(self, data: bytes) -> None:
        """Appends `data`."""
        await self._disk.run(lambda: self._write(data))

    async def commit(self) -> None:
        """Puts the file on disk for good and gives it its name."""
        await self._disk.run(self._commit)

    def _open(self) -> None:
        check_replaceable(self.path, overwrite=self._overwrite)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._descriptor = open_beside(self.path, self.part, flags)
        if fcntl is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._close()
                raise FileExistsError(f"another download to {self.path} runs already") from None
        size = os.fstat(self._descriptor).st_size
        tag = self._noted_tag()
        if size and tag is None:
            self._close()
            raise FileExistsError(
                f"{self.part} is there and is not of a download; move it out of the way"
            )
        if tag and size:
            self._take_up(tag)
        else:
            self._begin("")

    def _noted_tag(self) -> str | None:
        """The tag of what is there; empty if it is of another render, None if there is no note."""
        try:
            note = json.loads(self._note.read_text())
            ours = note["render_id"] == self._render_id
            return str(note["content_tag"]) if ours else ""
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _take_up(self, tag: str) -> None:
        self.content_tag = tag
        while piece := os.read(self._descriptor, _PIECE):
            self.check.add(piece)

    def _begin(self, content_tag: str) -> None:
        # In this order: a note must never stand beside bytes of another content.
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        note = {"render_id": self._render_id, "content_tag": content_tag}
        self._note.write_text(json.dumps(note))
        self.content_tag = content_tag
        self.check = VideoCheck()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self.check.add(data)

    def _commit(self) -> None:
        os.fsync(self._descriptor)
        put_in_place(self.part, self.path, overwrite=self._overwrite)
        self._note.unlink(missing_ok=True)
        self._close()

    def _leave(self) -> None:
        if self._descriptor >= 0 and not self.check.size:
            with contextlib.suppress(OSError):
                self.part.unlink(missing_ok=True)
                self._note.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
