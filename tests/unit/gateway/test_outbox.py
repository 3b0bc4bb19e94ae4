"""The queue before a client: order, replacement, bounds."""

import asyncio
from contextlib import aclosing

import pytest

from gateway.outbox import Outbox


async def read_all(outbox: Outbox[object]) -> list[object]:
    events = []
    while (event := await outbox.get()) is not None:
        events.append(event)
    return events


async def test_events_come_in_order_and_only_the_newest_of_a_key():
    outbox: Outbox[object] = Outbox(8)
    await outbox.put("accepted")
    outbox.post("progress", 1)
    await outbox.put("video")
    outbox.post("progress", 2)
    outbox.post("scene", "old")
    outbox.retract("scene")
    outbox.close()
    assert await read_all(outbox) == ["accepted", 2, "video"]


async def test_put_waits_for_the_reader_and_post_does_not():
    outbox: Outbox[object] = Outbox(2)
    await outbox.put("a")
    await outbox.put("b")
    third = asyncio.create_task(outbox.put("c"))
    for number in range(1000):
        outbox.post("progress", number)
    done, _ = await asyncio.wait([third], timeout=0.05)
    assert not done
    assert await outbox.get() == "a"
    await third
    outbox.close()
    assert await read_all(outbox) == ["b", 999, "c"]


async def test_a_reader_wakes_at_the_close():
    outbox: Outbox[object] = Outbox(1)
    reader = asyncio.create_task(read_all(outbox))
    await asyncio.sleep(0)
    outbox.close()
    assert await reader == []


async def test_what_fills_it_is_read_to_its_end_and_then_raises():
    outbox: Outbox[object] = Outbox(1)

    async def work() -> None:
        try:
            for number in range(3):
                await outbox.put(number)
            raise ValueError("broken")
        finally:
            outbox.close()

    read = []
    with pytest.raises(ValueError, match="broken"):
        async for event in outbox.filled_by(work(), "work"):
            read.append(event)
    assert read == [0, 1, 2]


async def test_a_reader_that_leaves_ends_what_fills_it():
    outbox: Outbox[object] = Outbox(1)
    ended = []

    async def work() -> None:
        try:
            while True:
                await outbox.put("more")
        finally:
            await asyncio.sleep(0)
            ended.append("work")
            outbox.close()

    async with aclosing(outbox.filled_by(work(), "work")) as events:
        assert await anext(events) == "more"
    assert ended == ["work"]
