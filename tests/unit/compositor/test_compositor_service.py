"""Composing without gRPC: order, streaming, bounds, cancellation, leftovers."""

import asyncio
import hashlib
import threading
from contextlib import aclosing
from fractions import Fraction

import numpy as np
import pytest
from compositor_reference import natural
from compositor_video import complaints, decode, pictures_so_far

from compositor.encoder.x264 import X264Coding
from compositor.engine import Cancelled
from compositor.handoff import MAX_CHUNK, OUTPUT_BYTES, STILLS, Output, StillQueue
from compositor.intake import SceneFrame, Specification
from compositor.planes import Planes, to_i420
from compositor.reference import ReferenceEngine
from compositor.service import Compositor, Content, Plan, Progress, Summary
from compositor.timeline import SceneTiming
from rpckit.errors import GatorError, Reason
from rpckit.frame import Frame, FrameHeader, PixelFormat
from rpckit.testing import other_tasks
from rpckit.video import PRESETS, Codec, Quality, Transition


def specification(*seconds, quality=Quality.DRAFT, kind=Transition.CROSSFADE, transition="0.5"):
    return Specification(
        quality, tuple(SceneTiming(Fraction(s), kind, Fraction(transition)) for s in seconds)
    )


def frame(index, width=854, height=480):
    return Frame.of(width, height, natural(index, width, height).tobytes())


def frame_parts(index, content):
    return [SceneFrame(index, content.header), *content.chunks()]


async def parts_of(spec, frames):
    yield spec
    for index, content in enumerate(frames):
        for part in frame_parts(index, content):
            yield part


def compositor(max_concurrent=2, flush_after=0.0, threads=2):
    engine = ReferenceEngine(X264Coding(threads=threads), flush_after)
    return Compositor({Codec.H264: engine}, max_concurrent=max_concurrent)


async def collect(events):
    return [event async for event in events]


def nothing_left():
    return not other_tasks() and not [
        t.name for t in threading.enumerate() if t.name.startswith("compose")
    ]


async def test_events_come_in_order_and_add_up(tmp_path):
    spec = specification("0.5", "1.0", "2.37")
    events = await collect(compositor().compose(parts_of(spec, [frame(i) for i in range(3)])))
    plan, *between, summary = events
    count = 93  # floor(24 * 3.87 + 1/2)
    assert isinstance(plan, Plan)
    assert plan.preset is PRESETS[Quality.DRAFT]
    assert [s.transition_frame_count for s in plan.timeline.slots] == [11, 12, 0]
    assert isinstance(summary, Summary)
    assert summary.timeline.frame_count == count
    data = b"".join(e for e in between if isinstance(e, bytes))
    assert summary.fragmented == Content(len(data), hashlib.sha256(data).digest())
    assert summary.stored is None
    assert all(0 < len(e) <= MAX_CHUNK for e in between if isinstance(e, bytes))
    told = [e.frames_encoded for e in between if isinstance(e, Progress)]
    assert told == sorted(set(told))
    assert told[-1] == count
    video = decode(data)
    assert video.times == [Fraction(k, 24) for k in range(count)]
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    assert complaints(path) == ""
    assert nothing_left()


@pytest.mark.parametrize("seconds", [["1/24"], ["1/24", "1/24"], ["1/24", "1", "1/24"]], ids=str)
async def test_scenes_of_one_picture(seconds):
    frames = [frame(i) for i in range(len(seconds))]
    events = await collect(compositor().compose(parts_of(specification(*seconds), frames)))
    data = b"".join(e for e in events if isinstance(e, bytes))
    assert len(decode(data).times) == events[-1].timeline.frame_count


async def test_a_cut_shows_each_scene_alone():
    spec = specification("0.5", "0.5", transition="0")
    frames = [frame(0), frame(1)]
    events = await collect(compositor().compose(parts_of(spec, frames)))
    lumas = decode(b"".join(e for e in events if isinstance(e, bytes))).lumas
    stills = [to_i420(natural(i, 854, 480)).y for i in range(2)]
    for number, luma in enumerate(lumas):
        assert np.abs(luma.astype(float) - stills[number // 12]).mean() < 3


async def test_a_scene_is_sent_before_the_next_one_is_there():
    wanted = asyncio.Event()
    first, second = frame(0), frame(1)

    async def parts():
        yield specification("2", "1")
        for part in frame_parts(0, first):
            yield part
        await wanted.wait()
        for part in frame_parts(1, second):
            yield part

    data, shown_before = b"", 0
    async with aclosing(compositor().compose(parts())) as events:
        async for event in events:
            if isinstance(event, bytes):
                data += event
                if not wanted.is_set():
                    shown_before = pictures_so_far(data)
                    # The hold's 36 pictures but for what the muxer's last fragment holds.
                    if shown_before >= 36 - 12:
                        wanted.set()
    assert shown_before >= 24
    assert decode(data).times == [Fraction(k, 24) for k in range(72)]
    assert nothing_left()


async def test_a_frame_is_read_only_when_there_is_room():
    taken = asyncio.Event()
    go_on = threading.Event()
    loop = asyncio.get_running_loop()
    asked = []

    class Engine:
        description = "scripted"

        def compose(self, preset, timeline, stills, sink, stored=None):
            kept = [stills.get() for _ in range(STILLS)]
            loop.call_soon_threadsafe(taken.set)
            go_on.wait()
            for _ in timeline.slots[STILLS:]:
                stills.release()
                kept = [*kept[1:], stills.get()]
            sink.write(b"video")

    async def parts():
        yield specification("1", "1", "1", "1")
        for index in range(4):
            asked.append(index)
            for part in frame_parts(index, frame(index)):
                yield part

    task = asyncio.create_task(
        collect(Compositor({Codec.H264: Engine()}, max_concurrent=1).compose(parts()))
    )
    await taken.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert asked == [0, 1]
    go_on.set()
    events = await task
    assert asked == [0, 1, 2, 3]
    assert b"video" in events


async def test_a_slow_reader_makes_the_engine_wait():
    written = 0
    full = asyncio.Event()
    loop = asyncio.get_running_loop()
    piece = bytes(1 << 16)
    total = 3 * OUTPUT_BYTES

    class Engine:
        description = "scripted"

        def compose(self, preset, timeline, stills, sink, stored=None):
            nonlocal written
            stills.get()
            while written < total:
                written += sink.write(piece)
                if written == OUTPUT_BYTES:
                    loop.call_soon_threadsafe(full.set)

    read = 0
    spec = specification("1")
    events = Compositor({Codec.H264: Engine()}, max_concurrent=1).compose(
        parts_of(spec, [frame(0)])
    )
    async for event in events:
        if isinstance(event, bytes):
            await full.wait()
            assert written - read <= OUTPUT_BYTES + MAX_CHUNK
            read += len(event)
    assert read == total
    assert nothing_left()


@pytest.mark.parametrize("quality", [Quality.DRAFT, Quality.PREMIUM], ids=lambda q: q.name)
@pytest.mark.parametrize("after", ["plan", "bytes"])
async def test_closing_ends_the_encoder_and_its_threads(quality, after):
    preset = PRESETS[quality]
    content = frame(0, preset.width, preset.height)
    events = compositor().compose(parts_of(specification("600", quality=quality), [content]))
    async for event in events:
        if isinstance(event, bytes) or after == "plan":
            break
    await events.aclose()
    assert nothing_left()


async def test_cancelling_the_task_ends_the_encoder_and_its_threads():
    encoding = asyncio.Event()

    async def read():
        async with aclosing(
            compositor().compose(parts_of(specification("600"), [frame(0)]))
        ) as events:
            async for event in events:
                if isinstance(event, bytes):
                    encoding.set()

    task = asyncio.create_task(read())
    await encoding.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_left()


async def test_cancelling_while_a_frame_is_awaited():
    waiting = asyncio.Event()
    closed = asyncio.Event()

    async def parts():
        yield specification("1", "1")
        for part in frame_parts(0, frame(0)):
            yield part
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            closed.set()

    task = asyncio.create_task(collect(compositor().compose(parts())))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()
    assert nothing_left()


async def test_more_than_the_allowed_number_are_refused():
    service = compositor(max_concurrent=1)
    spec = specification("1")

    async def stalled():
        yield spec
        await asyncio.Event().wait()

    first = service.compose(stalled())
    assert isinstance(await anext(first), Plan)
    with pytest.raises(GatorError) as error:
        await anext(service.compose(parts_of(spec, [frame(0)])))
    assert error.value.reason is Reason.OVERLOADED
    assert error.value.retry_after == 1
    await first.aclose()
    events = await collect(service.compose(parts_of(spec, [frame(0)])))
    assert isinstance(events[-1], Summary)
    assert nothing_left()


async def test_an_engine_that_fails_fails_the_call():
    class Engine:
        description = "scripted"

        def compose(self, preset, timeline, stills, sink, stored=None):
            stills.get()
            raise GatorError(Reason.ENCODING_FAILED, "broken")

    with pytest.raises(GatorError, match="broken"):
        await collect(
            Compositor({Codec.H264: Engine()}, max_concurrent=1).compose(
                parts_of(specification("1", "1", "1"), [frame(i) for i in range(3)])
            )
        )
    assert nothing_left()


def header(size=6, sha256=bytes(32)):
    return FrameHeader(size // 3, 1, PixelFormat.RGB24, sha256)


GOOD = Frame.of(2, 1, bytes(6))
SPEC = specification("1", "1")


@pytest.mark.parametrize(
    ("parts", "reason", "expected"),
    [
        ([], Reason.MESSAGE_OUT_OF_ORDER, "specification"),
        ([SceneFrame(0, header())], Reason.MESSAGE_OUT_OF_ORDER, "specification"),
        ([b"x"], Reason.MESSAGE_OUT_OF_ORDER, "specification"),
        ([SPEC], Reason.MESSAGE_OUT_OF_ORDER, "scene"),
        ([SPEC, SPEC], Reason.MESSAGE_OUT_OF_ORDER, "scene"),
        ([SPEC, b"x"], Reason.MESSAGE_OUT_OF_ORDER, "scene"),
        ([SPEC, SceneFrame(1, header())], Reason.MESSAGE_OUT_OF_ORDER, "scene"),
        ([SPEC, *frame_parts(0, GOOD)], Reason.MESSAGE_OUT_OF_ORDER, "scene"),
        ([SPEC, *frame_parts(0, GOOD), b"x"], Reason.MESSAGE_OUT_OF_ORDER, "scene"),
        (
            [SPEC, SceneFrame(0, header()), SceneFrame(1, header())],
            Reason.MESSAGE_OUT_OF_ORDER,
            "chunk",
        ),
        ([SPEC, SceneFrame(0, header())], Reason.FRAME_CORRUPT, None),
        ([SPEC, SceneFrame(0, header()), b"abc"], Reason.FRAME_CORRUPT, None),
        ([SPEC, SceneFrame(0, header()), b"abcdefg"], Reason.FRAME_CORRUPT, None),
        ([SPEC, SceneFrame(0, header()), b"abcdef"], Reason.FRAME_CORRUPT, None),
        ([SPEC, SceneFrame(0, header()), b""], Reason.FRAME_CORRUPT, None),
        (
            [SPEC, *frame_parts(0, GOOD), *frame_parts(1, GOOD), *frame_parts(2, GOOD)],
            Reason.MESSAGE_OUT_OF_ORDER,
            "end",
        ),
    ],
)
async def test_parts_out_of_order_are_refused(parts, reason, expected):
    async def stream():
        for part in parts:
            yield part

    with pytest.raises(GatorError) as error:
        await collect(compositor().compose(stream()))
    assert error.value.reason is reason
    if expected:
        assert error.value.metadata["expected"] == expected
    assert nothing_left()


async def test_a_caller_that_keeps_its_side_open_gets_its_video():
    async def parts():
        async for part in parts_of(specification("0.5"), [frame(0)]):
            yield part
        await asyncio.Event().wait()

    events = await collect(compositor().compose(parts()))
    assert isinstance(events[-1], Summary)
    assert nothing_left()


async def test_waits_of_the_engine_end_with_a_cancellation():
    loop = asyncio.get_running_loop()
    output, stills = Output(loop), StillQueue(loop)
    assert await asyncio.to_thread(stills.get, 0) is None
    stills.put(Planes.empty(2, 2))
    assert await asyncio.to_thread(stills.get) is not None
    waiting = [
        asyncio.create_task(asyncio.to_thread(stills.get)),
        asyncio.create_task(asyncio.to_thread(_write_forever, output)),
    ]
    await output.changed()
    stills.cancel()
    output.cancel()
    for task in waiting:
        with pytest.raises(Cancelled):
            await task


def _write_forever(output):
    while True:
        output.write(bytes(MAX_CHUNK))
