"""What is read from files, and read again when they change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from rpckit.telemetry import logger

log = logger(__name__)

T = TypeVar("T")

LOOK_EVERY = 1.0
"""Seconds between two looks at the files. A look costs microseconds."""

_Stamp = tuple[tuple[int, int, int, int] | None, ...]


class Reloaded(Generic[T]):
    """A value read from files. Asking for it is cheap, and safe from any thread.

    A file counts as changed when it is another one or was written to, also behind
    the symbolic links by which Kubernetes swaps the files of a secret. Files that
    cannot be used change nothing: the value stays as it was, the log says why,
    and they are tried again at each look.
    """

    def __init__(
        self,
        what: str,
        files: Sequence[Path | None],
        read: Callable[[], T],
    ) -> None:
        """Reads the value; what `read` raises is raised. `what` names it in the log."""
        self._what = what
        self._files = [file for file in files if file is not None]
        self._read = read
        self._lock = threading.Lock()
        self._complaint = ""
        self._looked = time.monotonic()
        # Before the files are read: what is written meanwhile is a change.
        self._stamp = self._stamp_now()
        self._value = read()

    def get(self) -> T:
        """The value as the files had it at the last look; a new object after a change."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked >= LOOK_EVERY:
                self._looked = now
                self._look()
            return self._value

    def _look(self) -> None:
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        try:
            self._value = self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, the old value still serves
            complaint = f"{type(error).__name__}: {error}"
            if complaint != self._complaint:
                self._complaint = complaint
                log.warning("changed files cannot be used", what=self._what, why=complaint)
            return
        self._stamp = stamp
        self._complaint = ""
        log.info("read again", what=self._what)

    def _stamp_now(self) -> _Stamp:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, int, int, int] | None:
    """What tells one content of a file from another; None without a file."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
