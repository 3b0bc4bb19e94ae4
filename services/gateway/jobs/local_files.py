"""Files that appear whole under their name, and are still there after a power cut.

    <folder>/.writing/<random>   what is being written: locked by its writer
    <folder>/<name>              what was finished

obstore's local store renames without a sync, which a power cut can undo or,
worse, leave as an empty file. Here the file is synced before it has its name,
and the folder after that. Every method blocks: call them in a thread.
"""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from pathlib import Path

if sys.platform != "win32":
    import fcntl

WRITING = ".writing"
_ATTEMPTS = 5
"""To put a file into a folder that others remove, while it is empty, at the time."""


class LocalFolder:
    """Where finished files are."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made if it is not there."""
        self.path = folder
        self._writing = folder / WRITING
        self._writing.mkdir(parents=True, exist_ok=True)

    def begin(self) -> UnfinishedFile:
        """A new file, without a name yet. OSError if it cannot be made."""
        while True:
            path = self._writing / uuid.uuid4().hex
            self._writing.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            # Between the two `clean` may have taken it for a dead writer's.
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return UnfinishedFile(self, path, descriptor)
            os.close(descriptor)

    def publish(self, written: Path, name: str, *, replace: bool, durable: bool) -> bool:
        """Gives a file its name; False if there is one and it is not to be replaced."""
        target = self.path / name
        for attempt in range(_ATTEMPTS):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if replace:
                    written.replace(target)
                else:
                    os.link(written, target)
                    written.unlink()
                break
            except FileExistsError:
                return False
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
        if durable:
            folder = target.parent
            while folder != self.path:
                _sync(folder)
                folder = folder.parent
            _sync(folder)
        return True

    def clean(self) -> None:
        """Removes what writers have left that are dead: their locks went with them."""
        for path in self._writing.iterdir():
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_WRONLY)
                try:
                    if _lock(descriptor):
                        path.unlink()
                finally:
                    os.close(descriptor)


class UnfinishedFile:
    """A file that is being written. Ends with `publish` or `discard`."""

    def __init__(self, folder: LocalFolder, path: Path, descriptor: int) -> None:
        self._folder = folder
        self._path = path
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Appends bytes. OSError on a full disk."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def publish(self, name: str, *, replace: bool = True, durable: bool = True) -> bool:
        """Gives it its name, in the place of what was there; False if it is not to be replaced.

        `durable`: once this has returned, the file survives a power cut. OSError
        leaves the name as it was.
        """
        try:
            if durable:
                os.fsync(self._file.fileno())
            return self._folder.publish(self._path, name, replace=replace, durable=durable)
        finally:
            self.discard()

    def discard(self) -> None:
        """Removes what has no name."""
        if not self._file.closed:
            self._file.close()
            self._path.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool:
    """Locks a file for as long as it is open in this process; False if another has it."""
    if sys.platform == "win32":
        return True  # a file that is open cannot be removed there
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(folder: Path) -> None:
    """Writes a folder's names to the disk. One that is gone has none."""
    if os.name != "posix":  # elsewhere folders cannot be synced
        return
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
