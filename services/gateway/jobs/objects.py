"""Objects: bytes under a key, in a local folder, S3, GCS, Azure or memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from datetime import datetime

PIECE = 1 << 20
"""Bytes that `Objects.read` gives at a time, but for the last."""


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing tells of an object."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """When it was written, by the store's clock; aware."""


class MissingObjectError(Exception):
    """There is no object under the key, or not any more."""


class Objects:
    """A store of objects. An object is there whole or not at all, whatever dies meanwhile.

    Keys are paths of letters, digits and `-_.=`, with `/` between their parts.
    Every method may raise GatorError STORAGE_UNAVAILABLE (the store is away;
    with `retry_after`), those that write also STORAGE_FULL.
    """

    @classmethod
    def open(cls, url: str) -> Objects:
        """The store at `file:///folder`, `s3://bucket/prefix`, `gs://`, `az://` or `memory:///`.

        The folder is made if it is not there. Credentials come from the
        environment, as each store's own tools read them (AWS_ACCESS_KEY_ID, ...).

        Raises:
            ValueError: the URL cannot be used.
        """
        raise NotImplementedError

    async def check(self) -> None:
        """Asks the store for a listing: raises if it is away or refuses."""
        raise NotImplementedError

    async def put(
        self, key: str, content: bytes | AsyncIterable[bytes], *, durable: bool = True
    ) -> None:
        """Stores an object, in the place of any before it.

        An iterable is stored as it comes, with at most some 20 MiB of it in
        memory; if it raises, or the call is cancelled, nothing is stored and
        what was there stays. `durable` waits until a local file and its folder
        are on the disk: what has returned survives a power cut.
        """
        raise NotImplementedError

    async def create(self, key: str, content: bytes) -> bool:
        """Stores an object unless there is one; False if there is. Durable. At most 4 MiB."""
        raise NotImplementedError

    async def get(self, key: str) -> bytes:
        """A small object's bytes. MissingObjectError if there is none."""
        raise NotImplementedError

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of an object from `start` to before `end`, in pieces of 1 MiB and a rest.

        One piece is read ahead. `end` past the object's end, or None, means its
        end; `start` at or past the end gives nothing. No connection stays open
        while the reader takes its time.

        Raises:
            MissingObjectError: there is no such object, or it went away meanwhile.
        """
        raise NotImplementedError

    async def head(self, key: str) -> ObjectInfo | None:
        """What is known of an object; None if there is none."""
        raise NotImplementedError

    def listing(self, prefix: str, *, after: str = "") -> AsyncGenerator[list[ObjectInfo], None]:
        """The objects below a folder, in batches of up to 1,000 and no particular order.

        `prefix` names whole parts of keys: `outputs/a` has `outputs/a/1`, not
        `outputs/ab`. `after` leaves out keys up to this one.
        """
        raise NotImplementedError

    async def delete(self, *keys: str) -> None:
        """Deletes objects. Nothing happens to those that are not there."""
        raise NotImplementedError

    async def delete_below(self, prefix: str) -> int:
        """Deletes every object below a folder; how many there were."""
        raise NotImplementedError

    async def clean(self) -> None:
        """Removes what writers left behind that have died; those that live are unharmed."""
        raise NotImplementedError
