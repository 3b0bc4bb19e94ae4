"""Where a video goes: a file, or the standard output."""

from __future__ import annotations

import itertools
import os
import re
import stat
import sys
import unicodedata
from pathlib import Path
from typing import Self

import typer

STDOUT = Path("-")
"""The `-o` that means the standard output."""

_PIPE_BUF = 4096  # a pipe that is ready takes at least this much without blocking


def default_path(name: str) -> Path:
    """A free file name in the current folder, made from a prompt or a storyboard's name."""
    words = re.sub(r"\W+", "-", unicodedata.normalize("NFC", name).lower()).strip("-_")
    stem = words[:40].rsplit("-", 1)[0] if len(words) > 40 else words
    for number in itertools.count(1):
        path = Path(f"{stem or 'video'}{'' if number == 1 else f'-{number}'}.mp4")
        if not path.exists():
            return path
    raise AssertionError("itertools.count ended")


def check_path(path: Path, *, force: bool, may_ask: bool) -> None:
    """Refuses, as a usage error, a path to which no video can or may be written.

    A file that exists is replaced only with `force`, or if the user says so.
    """
    if path == STDOUT:
        if sys.stdout.isatty():
            raise typer.BadParameter(
                "the video would go to the terminal; send it to a file or a program: "
                "gator render ... -o - | mpv -"
            )
    elif path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name a file in it, such as {path}/film.mp4")
    elif path.is_file() and not (force or (may_ask and says_yes(f"{path} exists. Replace it?"))):
        raise typer.BadParameter(f"{path} exists; add --force to replace it, or name another file")


def says_yes(question: str) -> bool:
    """Whether the user, at a terminal, says yes."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    typer.echo(f"{question} [y/N] ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def is_stream(path: Path) -> bool:
    """Whether bytes can only be sent there, not put there at the end: stdout, a pipe, a device."""
    return path == STDOUT or (path.exists() and not path.is_file())


class Stream:
    """Sends bytes to the standard output, a pipe or a device. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Opens it."""
        if self._path == STDOUT:
            self._descriptor = os.dup(sys.stdout.fileno())
        else:
            self._descriptor = os.open(self._path, os.O_WRONLY)
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        os.close(self._descriptor)

    async def write(self, data: bytes) -> None:
        """Sends `data`. Cancelling works though nobody reads, which a thread would not allow."""
        import anyio  # noqa: PLC0415 - not needed by --help

        mode = os.fstat(self._descriptor).st_mode
        waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        view = memoryview(data)
        while view:
            if waits:
                await anyio.wait_writable(self._descriptor)
            view = view[os.write(self._descriptor, view[:_PIPE_BUF] if waits else view) :]
