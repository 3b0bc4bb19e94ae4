"""Objects: bytes under a key, in a local folder, S3, GCS, Azure or memory.

The only module that knows obstore, but for local files, which obstore does not
sync: `local_files` writes those.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, GenericError
from obstore.store import LocalStore, from_url

from gateway import metrics
from gateway.jobs.feeding import Feed, FeedAborted, Transfer
from gateway.jobs.local_files import LocalFolder, UnfinishedFile
from rpckit.errors import GatorError, Reason
from rpckit.telemetry import logger

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logger(__name__)

PIECE = 1 << 20
"""Bytes that `Objects.read` gives at a time, but for the last."""
BATCH = 1_000
"""Objects of a listing at a time."""
RETRY_AFTER = 5.0
"""Seconds after which a store that is away may be asked again."""
RETRY_AFTER_FULL = 30.0
"""Seconds after which a full store may have room again."""
_CONNECT = timedelta(seconds=5)
_REQUEST = timedelta(seconds=30)
_RETRY = timedelta(seconds=10)
"""How long requests are tried again, with what obstore takes for transient."""
_PART = 5 << 20
"""Bytes of a part of an upload: the least that S3 takes; 10,000 of them are 50 GB."""
_PARTS = 3
"""Parts under way at a time."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_ANSWERS = (" 507 ", "StorageFull", "InsufficientStorage", "QuotaExceeded")
"""What remote stores say when they are full, by status or by name."""


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


class ObjectWriter(Protocol):
    """An object that is being written. It is not there before `finish`."""

    async def write(self, data: bytes) -> None:
        """Appends bytes; waits while the store is slower."""

    async def finish(self) -> None:
        """Makes the object of what was written, in the place of any before it."""


class Objects:
    """A store of objects. An object is there whole or not at all, whatever dies meanwhile.

    Keys are paths of letters, digits and `-_.=`, with `/` between their parts.
    Every method may raise GatorError STORAGE_UNAVAILABLE (the store is away;
    with `retry_after`), those that write also STORAGE_FULL.
    """

    def __init__(self, store: ObjectStore, folder: LocalFolder | None = None) -> None:
        """`folder` is where a LocalStore's files are."""
        self._store = store
        self._folder = folder

    @classmethod
    def open(cls, url: str) -> Objects:
        """The store at `file:///folder`, `s3://bucket/prefix`, `gs://`, `az://` or `memory:///`.

        The folder is made if it is not there. Credentials come from the
        environment, as each store's own tools read them (AWS_ACCESS_KEY_ID, ...).

        Raises:
            ValueError: the URL cannot be used.
        """
        try:
            if url.startswith("file:"):
                local = from_url(url, mkdir=True, automatic_cleanup=True)
                if not isinstance(local, LocalStore) or local.prefix is None:
                    raise ValueError("it names no folder")  # noqa: TRY301 - told below
                return cls(local, LocalFolder(Path(local.prefix)))
            if url.startswith("memory:"):
                return cls(from_url(url))
            return cls(
                from_url(
                    url,
                    client_options={
                        # In the place of AWS_ALLOW_HTTP and the like, which are not read then.
                        "allow_http": True,
                        "connect_timeout": _CONNECT,
                        "timeout": _REQUEST,
                    },
                    retry_config={"max_retries": 3, "retry_timeout": _RETRY},
                )
            )
        except (BaseError, OSError, ValueError) as error:
            raise ValueError(f"the object store {url} cannot be opened: {error}") from error

    async def check(self) -> None:
        """Asks the store for a listing: raises if it is away or refuses."""
        async with aclosing(self.listing("frames/00")) as batches:
            async for _ in batches:
                return

    # --- writing -----------------------------------------------------------------------

    async def put(
        self, key: str, content: bytes | AsyncIterable[bytes], *, durable: bool = True
    ) -> None:
        """Stores an object, in the place of any before it.

        An iterable is stored as it comes, with at most some 24 MiB of it in
        memory; if it raises, or the call is cancelled before it ends, nothing is
        stored and what was there stays. `durable` waits until a local file and its folder
        are on the disk: what has returned survives a power cut.
        """
        if not isinstance(content, bytes):
            async with self.writer(key, durable=durable) as out:
                async for data in content:
                    await out.write(data)
                await out.finish()
            return
        with _operation("put"):
            if self._folder is not None:
                await asyncio.to_thread(_write_file, self._folder, key, content, durable=durable)
            else:
                await obstore.put_async(self._store, key, content, use_multipart=False)

    async def create(self, key: str, content: bytes) -> bool:
        """Stores an object unless there is one; False if there is. Durable. At most 4 MiB."""
        with _operation("create"):
            if self._folder is not None:
                return await asyncio.to_thread(
                    _write_file, self._folder, key, content, replace=False
                )
            try:
                await obstore.put_async(self._store, key, content, mode="create")
            except AlreadyExistsError:
                return False
            return True

    @asynccontextmanager
    async def writer(self, key: str, *, durable: bool = True) -> AsyncIterator[ObjectWriter]:
        """An object to be written piece by piece.

        Unless it is finished in the block, nothing is stored and what was there
        stays. At most some 24 MiB are in memory.
        """
        if self._folder is not None:
            with _operation("begin"):
                unfinished = await asyncio.to_thread(self._folder.begin)
            try:
                yield _LocalWriter(unfinished, key, durable=durable)
            finally:
                await asyncio.to_thread(unfinished.discard)
            return
        upload = Transfer(lambda feed: _upload(self._store, key, feed))
        try:
            yield _RemoteWriter(upload)
        finally:
            await upload.abort()

    # --- reading -----------------------------------------------------------------------

    async def get(self, key: str) -> bytes:
        """A small object's bytes. MissingObjectError if there is none."""
        with _operation("get"):
            try:
                found = await obstore.get_async(self._store, key)
                return bytes(await found.bytes_async())
            except FileNotFoundError:
                raise MissingObjectError(key) from None

    async def read(
        self, key: str, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of an object from `start` to before `end`, in pieces of 1 MiB and a rest.

        One piece is read ahead. `end` past the object's end, or None, means its
        end; `start` at or past the end gives nothing. No connection stays open
        while the reader takes its time.

        Raises:
            MissingObjectError: there is no such object, or it went away meanwhile.
        """
        if end is not None and end <= start:
            return
        piece, size = await self._piece(key, start, start + PIECE, end)
        end = size if end is None else min(end, size)
        while piece:
            start += len(piece)
            ahead = None
            if start < end:
                ahead = asyncio.create_task(self._piece(key, start, start + PIECE, end))
            try:
                yield piece
                if ahead is None:
                    return
                piece, _ = await ahead
            finally:
                if ahead is not None and not ahead.done():
                    ahead.cancel()
                    await asyncio.wait([ahead])

    async def _piece(self, key: str, start: int, stop: int, end: int | None) -> tuple[bytes, int]:
        """Bytes from `start` to before `stop` or `end`, and the object's size."""
        stop = stop if end is None else min(stop, end)
        with _operation("read"):
            try:
                found = await obstore.get_async(self._store, key, options={"range": (start, stop)})
                return bytes(await found.bytes_async()), found.meta["size"]
            except FileNotFoundError:
                raise MissingObjectError(key) from None
            except GenericError:
                # No store says in a way of its own that the range begins past the end.
                info = await self.head(key)
                if info is None:
                    raise MissingObjectError(key) from None
                if start < info.size:
                    raise
                return b"", info.size

    async def head(self, key: str) -> ObjectInfo | None:
        """What is known of an object; None if there is none."""
        with _operation("head"):
            try:
                meta = await obstore.head_async(self._store, key)
            except FileNotFoundError:
                return None
            return ObjectInfo(meta["path"], meta["size"], meta["last_modified"])

    async def listing(
        self, prefix: str, *, after: str = ""
    ) -> AsyncGenerator[list[ObjectInfo], None]:
        """The objects below a folder, in batches of up to 1,000 and no particular order.

        `prefix` names whole parts of keys: `outputs/a` has `outputs/a/1`, not
        `outputs/ab`. `after` leaves out keys up to this one.
        """
        with _store_errors():
            batches = obstore.list(self._store, prefix, offset=after or None, chunk_size=BATCH)
        while True:
            with _operation("list"):
                try:
                    batch = await anext(batches)
                except StopAsyncIteration:
                    return
            yield [ObjectInfo(meta["path"], meta["size"], meta["last_modified"]) for meta in batch]

    # --- deleting ----------------------------------------------------------------------

    async def delete(self, *keys: str) -> None:
        """Deletes objects. Nothing happens to those that are not there."""
        with _operation("delete"):
            if self._folder is None:
                if keys:
                    await obstore.delete_async(self._store, list(keys))
                return
            for key in keys:
                with contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, key)

    async def delete_below(self, prefix: str) -> int:
        """Deletes every object below a folder; how many there were."""
        count = 0
        async with aclosing(self.listing(prefix)) as batches:
            async for batch in batches:
                await self.delete(*(info.key for info in batch))
                count += len(batch)
        return count

    async def clean(self) -> None:
        """Removes what writers left behind that have died; those that live are unharmed."""
        if self._folder is not None:
            with _operation("clean"):
                await asyncio.to_thread(self._folder.clean)


class _LocalWriter:
    """See `ObjectWriter`."""

    def __init__(self, unfinished: UnfinishedFile, key: str, *, durable: bool) -> None:
        self._unfinished = unfinished
        self._key = key
        self._durable = durable

    async def write(self, data: bytes) -> None:
        with _operation("write"):
            await asyncio.to_thread(self._unfinished.write, data)

    async def finish(self) -> None:
        with _operation("finish"):
            await asyncio.to_thread(self._unfinished.publish, self._key, durable=self._durable)


class _RemoteWriter:
    """See `ObjectWriter`."""

    def __init__(self, upload: Transfer) -> None:
        self._upload = upload

    async def write(self, data: bytes) -> None:
        with _operation("write"):
            await self._upload.write(data)

    async def finish(self) -> None:
        with _operation("finish"):
            await self._upload.finish()


def _upload(store: ObjectStore, key: str, feed: Feed) -> asyncio.Future[object]:
    """Begins an upload in parts, which is aborted if the feed raises."""
    return asyncio.ensure_future(
        obstore.put_async(store, key, feed, chunk_size=_PART, max_concurrency=_PARTS)
    )


def _write_file(
    folder: LocalFolder, key: str, content: bytes, *, replace: bool = True, durable: bool = True
) -> bool:
    unfinished = folder.begin()
    try:
        unfinished.write(content)
        return unfinished.publish(key, replace=replace, durable=durable)
    finally:
        unfinished.discard()


@contextmanager
def _operation(name: str) -> Iterator[None]:
    """Around an operation of the store: measures it under `name`; errors as `_store_errors`."""
    with metrics.object_operation(name), _store_errors():
        yield


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turns a store's failures into errors that say what to do."""
    try:
        yield
    except FeedAborted as error:
        raise _away("the upload was given up") from error
    except (BaseError, OSError) as error:
        full = (isinstance(error, OSError) and error.errno in _FULL) or any(
            answer in str(error) for answer in _FULL_ANSWERS
        )
        # What follows in obstore's texts is a dump of its structures.
        text = next(iter(str(error).splitlines()), "")
        log.warning("the object store failed", error=type(error).__name__, text=text)
        if full:
            raise GatorError(
                Reason.STORAGE_FULL,
                "the object store is full: free space in it, shorten how long videos and frames "
                "are kept, or set GATOR_GATEWAY_OBJECTS_URL to a larger one",
                retry_after=RETRY_AFTER_FULL,
            ) from error
        raise _away("it cannot be reached or refuses") from error


def _away(why: str) -> GatorError:
    return GatorError(
        Reason.STORAGE_UNAVAILABLE,
        f"the object store failed: {why}. Look at GATOR_GATEWAY_OBJECTS_URL and the log",
        retry_after=RETRY_AFTER,
        metadata={"storage": "objects"},
    )
