"""Previews as files: how the image of each scene comes about."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import secrets
from pathlib import Path
from typing import Self

import typer

from gator_client.cli.destination import says_yes
from gator_client.cli.failure import os_message
from gator_client.result import RenderWarning, ScenePreview

_NAME = re.compile(r"scene-\d{3,}-step-\d{3,}\.jpg")


class PreviewFolder:
    """A folder to which previews are written as scene-003-step-010.jpg, each whole.

    Scenes count from 1, as everywhere on the command line. A context manager. A preview
    that cannot be written costs the render nothing: `warnings` says why.
    """

    def __init__(self, path: Path, *, force: bool, may_ask: bool) -> None:
        """`force`, or the user's yes, lets files of an earlier render be replaced, by name."""
        self.path = path
        self.written: list[Path] = []
        """In the order in which they came."""
        self.warnings: tuple[RenderWarning, ...] = ()
        """Why the rest were not written."""
        self._may_replace = force
        self._may_ask = may_ask
        self._is_new = False

    def __str__(self) -> str:
        count = len(self.written)
        return f"{count} preview{'s are' if count > 1 else ' is'} in {self.path}"

    def __enter__(self) -> Self:
        """Makes the folder where there is none.

        Raises:
            typer.BadParameter: it is no folder, or it holds previews that would be mixed
                with new ones.
            OSError: it cannot be made or read.
        """
        if self.path.exists() and not self.path.is_dir():
            raise typer.BadParameter(f"{self.path} is a file; name a folder for the previews")
        try:
            self.path.mkdir()
        except FileExistsError:
            self._check_older()
        else:
            self._is_new = True
        return self

    def _check_older(self) -> None:
        older = sorted(p.name for p in self.path.iterdir() if _NAME.fullmatch(p.name))
        if not older or self._may_replace:
            return
        holds = f"{self.path} holds previews already, such as {older[0]}"
        self._may_replace = self._may_ask and says_yes(f"{holds}. Replace those of the same name?")
        if not self._may_replace:
            raise typer.BadParameter(
                f"{holds}; add --force to replace those of the same name, or name another folder"
            )

    def __exit__(self, *_: object) -> None:
        """Removes the folder if it was made for previews and none came."""
        if self._is_new and not self.written:
            with contextlib.suppress(OSError):  # others may have put files there
                self.path.rmdir()

    async def save(self, preview: ScenePreview) -> None:
        """Writes one preview, off the event loop."""
        if self.warnings:
            return
        path = self.path / f"scene-{preview.index + 1:03}-step-{preview.step:03}.jpg"
        try:
            await asyncio.to_thread(self._write, path, preview.jpeg)
        except OSError as error:
            why = f"{os_message(error)}; the previews after it were not written"
            self.warnings = (RenderWarning("preview", "", "", why),)

    def _write(self, path: Path, jpeg: bytes) -> None:
        # A scene that is started again comes to the same steps again.
        ours = path in self.written
        if path.exists() and not (ours or self._may_replace):
            raise FileExistsError(errno.EEXIST, "another program made it meanwhile", str(path))
        part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
        try:
            part.write_bytes(jpeg)
            part.replace(path)
        except OSError as error:  # the hidden name would only puzzle
            raise OSError(error.errno, error.strerror, str(path)) from None
        finally:
            part.unlink(missing_ok=True)
        if not ours:
            self.written.append(path)
