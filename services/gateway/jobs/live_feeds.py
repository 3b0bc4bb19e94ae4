"""What a `LiveForm` learns from: the encoder in this process, or the parts that another stores."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing, suppress

from gateway.jobs.live_form import END, Ending, LiveForm, content_changed
from gateway.jobs.objects import MissingObjectError, ObjectInfo, Objects
from rpckit.errors import GatorError

PART = 256 << 10
"""Bytes that make a part, if they come within `PART_SECONDS`."""
PART_SECONDS = 1.0
"""After which fewer bytes make a part too."""
MAX_WAITING = 2 << 20
"""Bytes that wait to be stored; the encoder waits when there are more."""
POLL_SECONDS = 0.5
"""Between two looks for new parts."""


class LiveVideo:
    """The live form, while it is written. One writer; it ends with `finish` or `abort`."""

    def __init__(self, objects: Objects, form: LiveForm) -> None:
        self._objects = objects
        self._form = form
        self._hash = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._waiting_since = 0.0
        self._finished = False
        self._given = asyncio.Event()
        self._taken = asyncio.Event()
        self._storing = asyncio.create_task(self._store(), name=f"store {form.folder}")
        # Whoever waits for room would wait forever.
        self._storing.add_done_callback(lambda _: self._taken.set())

    async def write(self, data: bytes) -> None:
        """Takes the next bytes. Followers in this process have them at once.

        Waits while the store is slower than the encoder: at most some 8 MiB are
        in memory.

        Raises:
            GatorError: STORAGE_UNAVAILABLE, STORAGE_FULL, perhaps from bytes before.
        """
        if not data:
            return
        while self._waiting_size >= MAX_WAITING and not self._storing.done():
            self._taken.clear()
            await self._taken.wait()
        if self._storing.done():
            await self._storing
        if not self._waiting:
            self._waiting_since = asyncio.get_running_loop().time()
        self._hash.update(data)
        self._waiting.append(data)
        self._waiting_size += len(data)
        self._form.append(data)
        self._given.set()

    async def finish(self) -> Ending:
        """Says that all bytes have come, once they are stored. Followers end."""
        self._finished = True
        self._given.set()
        await asyncio.shield(self._storing)
        ending = Ending(self._form.size, self._hash.digest())
        await self._objects.put(f"{self._form.folder}/{END}", ending.to_json(), durable=False)
        self._form.end(ending)
        return ending

    async def abort(self) -> None:
        """Gives it up: followers get CONTENT_CHANGED. Does nothing after `finish`."""
        self._storing.cancel()
        await asyncio.wait([self._storing])
        if not self._storing.cancelled():
            self._storing.exception()  # it was raised by `write`, or nobody asks any more
        self._form.fail(content_changed())

    async def _store(self) -> None:
        start = 0
        while await self._is_due():
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_size = 0
            self._taken.set()
            # Nothing durable: a new attempt after a crash makes it anew.
            await self._objects.put(self._form.part_key(start), data, durable=False)
            self._form.add_part(start, len(data))
            start += len(data)

    async def _is_due(self) -> bool:
        """Waits for enough bytes, or their time; False once all are stored."""
        loop = asyncio.get_running_loop()
        while not self._finished and self._waiting_size < PART:
            due = self._waiting_since + PART_SECONDS if self._waiting else None
            if due is not None and loop.time() >= due:
                break
            self._given.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._given.wait()
        return bool(self._waiting)


async def watch_parts(objects: Objects, form: LiveForm) -> None:
    """Tells `form` of the parts that another process stores, until it has ended or it fails."""
    missed = -1
    try:
        while form.ending is None:
            if await _learn(objects, form):
                await asyncio.sleep(POLL_SECONDS)
            elif missed == form.size:  # it is missing, and not only from one listing
                form.fail(content_changed())
                return
            else:
                missed = form.size
    except GatorError as error:
        form.fail(error)
    except (MissingObjectError, ValueError, LookupError):
        # It is being deleted, or what is there is none of ours.
        form.fail(content_changed())


async def _learn(objects: Objects, form: LiveForm) -> bool:
    """Tells `form` what is newly stored, in order; False if some of it was not listed.

    Parts are stored in order, and the end after them. But a folder is not listed in one moment:
    what comes meanwhile may be in the listing, and what came just before it may not.
    """
    for info in await _newly_stored(objects, form):
        name = info.key.rpartition("/")[2]
        if name == END:
            ending = Ending.of_json(await objects.get(info.key))
            if ending.size > form.size:
                return False
            form.end(ending)
        elif int(name) > form.size:
            return False
        else:
            form.add_part(int(name), info.size)
    return True


async def _newly_stored(objects: Objects, form: LiveForm) -> list[ObjectInfo]:
    """What is stored after the newest part that `form` knows, in order.

    MissingObjectError if that part, which is listed again, is gone: so is what follows it.
    """
    newest, before = form.newest_keys
    found: list[ObjectInfo] = []
    async with aclosing(objects.listing(form.folder, after=before)) as batches:
        async for batch in batches:
            found += batch
    if newest and all(info.key != newest for info in found):
        raise MissingObjectError(newest)
    return sorted((info for info in found if info.key > newest), key=lambda info: info.key)
