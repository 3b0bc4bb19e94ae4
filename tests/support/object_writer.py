"""A process that writes an object, for tests that kill it, limit it or measure it.

python -m tests.support.object_writer halfway URL KEY   stops in the middle and says so
python -m tests.support.object_writer measure URL MIB   prints the growth of its memory
python -m tests.support.object_writer limited URL KEY   may write files of 1 MiB only
"""

from __future__ import annotations

import asyncio
import hashlib
import resource
import signal
import sys
from collections.abc import AsyncIterator

from gateway.jobs.objects import Objects
from rpckit.errors import GatorError

MIB = 1 << 20


async def _pieces(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number % 251]) * MIB


async def _halfway(url: str, key: str) -> None:
    async with Objects.open(url).writer(key) as out:
        # More than the parts that are under way at a time: some of them are stored by now.
        async for piece in _pieces(18):
            await out.write(piece)
        print("halfway", flush=True)
        await asyncio.Event().wait()


async def _measure(url: str, mebibytes: str) -> None:
    objects = Objects.open(url)
    await objects.put("warm/up", _pieces(2))
    async for _ in objects.read("warm/up"):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await objects.put("large/object", _pieces(int(mebibytes)))
    written = hashlib.sha256()
    async for piece in _pieces(int(mebibytes)):
        written.update(piece)
    read = hashlib.sha256()
    async for piece in objects.read("large/object"):
        read.update(piece)
    assert read.digest() == written.digest()
    await objects.delete_below("large")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown >> 10)


async def _limited(url: str, key: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))
    objects = Objects.open(url)
    try:
        await objects.put(key, _pieces(3))
    except GatorError as error:
        print(error.reason.value)
    await objects.put(key + ".small", b"small")


if __name__ == "__main__":
    command = {"halfway": _halfway, "measure": _measure, "limited": _limited}[sys.argv[1]]
    asyncio.run(command(*sys.argv[2:]))
