"""Frames on disk: whole or refused, and gone when closed."""

import os
import tempfile
from pathlib import Path

import pytest

from gateway.spool import SpooledFrame
from rpckit.errors import GatorError, Reason
from rpckit.frame import CHUNK_SIZE, Frame

FRAME = Frame.of(1000, 700, os.urandom(1000 * 700 * 3))


async def spooled(chunks, folder):
    frame = SpooledFrame(FRAME.header, folder)
    try:
        for chunk in chunks:
            await frame.write(chunk)
        frame.finish()
        return b"".join([chunk async for chunk in frame.chunks()])
    finally:
        frame.close()


async def test_a_frame_comes_back_as_it_was_and_leaves_no_file(tmp_path):
    assert await spooled(FRAME.chunks(), tmp_path) == FRAME.data
    assert list(tmp_path.iterdir()) == []


async def test_it_comes_back_in_chunks_of_one_mebibyte(tmp_path):
    frame = SpooledFrame(FRAME.header, tmp_path)
    for chunk in FRAME.chunks():
        await frame.write(chunk)
    sizes = [len(chunk) async for chunk in frame.chunks()]
    frame.close()
    assert sizes == [CHUNK_SIZE, CHUNK_SIZE, 2_100_000 - 2 * CHUNK_SIZE]


@pytest.mark.parametrize(
    "chunks",
    [
        [FRAME.data[:1_000_000]],
        [*FRAME.chunks(), b"x"],
        [b""],
        [bytes(3 << 20)],
        [*list(FRAME.chunks())[:2], bytes(2_100_000 - 2 * CHUNK_SIZE)],
    ],
    ids=["short", "long", "empty chunk", "huge chunk", "wrong bytes"],
)
async def test_bytes_that_do_not_fit_the_header_are_refused(chunks, tmp_path):
    with pytest.raises(GatorError) as raised:
        await spooled(chunks, tmp_path)
    assert raised.value.reason is Reason.FRAME_CORRUPT


async def test_a_full_disk_is_told_as_such(monkeypatch):
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full.open("wb"))
    with pytest.raises(GatorError, match="GATOR_GATEWAY_SPOOL_DIR") as raised:
        await spooled(FRAME.chunks(), None)
    assert raised.value.reason is Reason.STORAGE_FULL
