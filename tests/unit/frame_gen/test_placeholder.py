"""The placeholder backend: what it makes, how many at a time, and how it is given up."""

import asyncio
import hashlib
import threading
from contextlib import aclosing

import numpy as np
import pytest

from frame_gen.backends import placeholder
from frame_gen.backends.base import Generated, GenerationRequest, Progress, Queued
from frame_gen.backends.placeholder import PlaceholderBackend
from frame_gen.drawing import card
from rpckit.errors import Reason
from rpckit.frame import PixelFormat
from rpckit.provenance import Backend as Kind
from rpckit.testing import other_tasks

HUGE = GenerationRequest("a lighthouse", video_width=8192, video_height=4096)


def request(prompt="a lighthouse", width=96, height=54, index=0, count=1):
    return GenerationRequest(
        prompt, video_width=width, video_height=height, scene_index=index, scene_count=count
    )


def threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("placeholder")]


@pytest.fixture
async def backend():
    backend = PlaceholderBackend(1)
    yield backend
    await backend.close()
    assert not threads()
    assert not other_tasks()


@pytest.fixture
async def begun(monkeypatch):
    """Set once a drawing has begun in its thread."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def plan_card(*args):
        loop.call_soon_threadsafe(begun.set)
        return card.plan_card(*args)

    monkeypatch.setattr(placeholder, "plan_card", plan_card)
    return begun


async def events_of(backend, asked):
    async with aclosing(backend.generate(asked)) as events:
        return [event async for event in events]


async def frame_of(backend, asked):
    *_, made = await events_of(backend, asked)
    assert isinstance(made, Generated)
    return made


@pytest.mark.parametrize(("width", "height"), [(101, 67), (16, 16), (17, 1080), (1080, 17)])
async def test_a_frame_has_exactly_the_size_of_the_video(backend, width, height):
    made = await frame_of(backend, request(width=width, height=height))
    header = made.frame.header
    assert (header.width, header.height) == (width, height)
    assert header.pixel_format is PixelFormat.RGB24
    assert len(made.frame.data) == header.size == width * height * 3
    assert header.sha256 == hashlib.sha256(made.frame.data).digest()
    assert (made.model, made.num_inference_steps, made.guidance_scale) == ("", 0, 0.0)


async def test_it_is_always_there_and_has_no_models(backend):
    state = backend.availability()
    assert (backend.kind, state.available, state.models) == (Kind.PLACEHOLDER, True, ())
    assert state.reason is Reason.NO_MODEL_AVAILABLE


async def test_progress_comes_first_and_the_frame_last(backend):
    first, made = await events_of(backend, request())
    assert first == Progress(0, 0)
    assert made.warnings == ()


async def test_what_does_not_show_has_no_part_in_it(backend):
    plain = await frame_of(backend, request())
    other = GenerationRequest(
        "a lighthouse",
        negative_prompt="fog",
        seed=7,
        num_inference_steps=50,
        guidance_scale=3.0,
        video_width=96,
        video_height=54,
        render_id="another",
    )
    assert (await frame_of(backend, other)).frame == plain.frame


async def test_scenes_of_one_prompt_differ(backend):
    frames = [(await frame_of(backend, request(index=i, count=3))).frame for i in range(3)]
    pictures = [np.frombuffer(frame.data, np.uint8).astype(int) for frame in frames]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(pictures[one] - pictures[other]).mean() > 2


async def test_characters_that_no_typeface_has_are_told_once_each(backend):
    made = await frame_of(backend, request("sea ზღვა ზღვა 海 море", 320, 180))
    (warning,) = made.warnings
    assert warning.field == "prompt"
    assert warning.asked == "ზ (U+10D6), ღ (U+10E6), ვ (U+10D5), ა (U+10D0)"
    assert warning.applied == "\ufffd"
    assert "typefaces" in warning.reason


async def test_of_many_missing_characters_twenty_are_named(backend):
    prompt = "".join(map(chr, range(0x12000, 0x12100)))
    (warning,) = (await frame_of(backend, request(prompt, 854, 480))).warnings
    assert warning.asked.count("U+") == 20


async def test_a_prompt_that_does_not_fit_is_told_with_its_lengths(backend):
    (warning,) = (await frame_of(backend, request("word " * 800, 64, 36))).warnings
    shown, length = (
        int(text.removesuffix(" characters")) for text in (warning.applied, warning.asked)
    )
    assert 0 <= shown < length <= 4_000


@pytest.mark.parametrize(
    "prompt", ["\u200b", "\u202e", "\x00", "\ufffd", "\u0301", "\U0010ffff", "a\n" * 2_000]
)
async def test_no_prompt_is_too_odd_to_be_drawn(backend, prompt):
    made = await frame_of(backend, request(prompt))
    assert len(made.frame.data) == 96 * 54 * 3


async def test_fifty_at_a_time_are_drawn_two_by_two_and_none_disturbs_another():
    backend = PlaceholderBackend(2)
    requests = [request(f"scene {i}", 160, 90, i, 50) for i in range(50)]
    drawing = most = 0
    positions = []

    async def one(asked):
        nonlocal drawing, most
        async with aclosing(backend.generate(asked)) as events:
            async for event in events:
                match event:
                    case Queued(position):
                        positions.append(position)
                    case Progress():
                        drawing += 1
                        most = max(most, drawing)
                        assert len(threads()) <= 2
                    case Generated():
                        drawing -= 1
                        return event
        raise AssertionError("no frame")

    together = await asyncio.gather(*map(one, requests))
    assert most <= 2
    assert positions == list(range(48))
    for asked, made in zip(requests[::7], together[::7], strict=True):
        assert (await frame_of(backend, asked)).frame == made.frame
    await backend.close()
    assert not threads()


async def test_who_waits_is_told_how_many_are_before(backend):
    drawing, second, third, fourth = (backend.generate(request()) for _ in range(4))
    assert await anext(drawing) == Progress(0, 0)
    assert await anext(second) == Queued(0)
    assert await anext(third) == Queued(1)
    await second.aclose()
    assert await anext(fourth) == Queued(1)
    await drawing.aclose()
    assert await anext(third) == Progress(0, 0)
    await third.aclose()
    await fourth.aclose()
    assert (await events_of(backend, request()))[0] == Progress(0, 0)


async def test_waiting_can_be_given_up_and_the_next_one_follows(backend):
    drawing = backend.generate(request())
    await anext(drawing)
    waiting, last = backend.generate(request()), backend.generate(request())
    assert await anext(waiting) == Queued(0)
    assert await anext(last) == Queued(1)
    given_up = asyncio.ensure_future(anext(waiting))
    turn = asyncio.ensure_future(anext(last))
    await asyncio.wait([given_up, turn], timeout=0.01)
    assert not given_up.done()
    assert not turn.done()
    given_up.cancel()
    await asyncio.wait([given_up])
    await drawing.aclose()
    assert await turn == Progress(0, 0)
    await last.aclose()


async def test_a_turn_that_comes_as_it_is_given_up_goes_to_the_next(backend):
    drawing = backend.generate(request())
    await anext(drawing)
    waiting = backend.generate(request())
    await anext(waiting)
    given_up = asyncio.ensure_future(anext(waiting))
    await asyncio.wait([given_up], timeout=0.01)
    await drawing.aclose()
    given_up.cancel()
    await asyncio.wait([given_up])
    assert (await events_of(backend, request()))[0] == Progress(0, 0)


async def test_drawing_can_be_given_up_and_the_next_one_is_drawn(backend, begun):
    drawing = asyncio.create_task(frame_of(backend, HUGE))
    await begun.wait()
    drawing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drawing
    assert len((await frame_of(backend, request())).frame.data) == 96 * 54 * 3


async def test_a_reader_that_stops_at_the_progress_gives_back_its_turn(backend):
    for _ in range(3):
        async with aclosing(backend.generate(HUGE)) as events:
            async for _ in events:
                break
    assert (await events_of(backend, request()))[0] == Progress(0, 0)


class Countdown(threading.Event):
    """Set from the n-th look on."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def is_set(self):
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize("looks", [0, 1, 5, 20])
def test_a_drawing_that_nobody_waits_for_ends_at_its_next_look(looks):
    abandoned = Countdown(looks)
    with pytest.raises(placeholder._Abandoned):
        placeholder._draw(request(width=1920, height=1080), abandoned)
    assert abandoned.looks == -1


async def test_a_failed_drawing_gives_back_its_turn(backend):
    for _ in range(2):
        with pytest.raises(ValueError, match="reshape"):
            await frame_of(backend, request(width=-1, height=-1))
    assert len(await events_of(backend, request())) == 2


async def test_closing_waits_for_what_is_being_drawn(begun):
    backend = PlaceholderBackend(2)
    drawing = asyncio.create_task(frame_of(backend, request(width=1920, height=1080)))
    await begun.wait()
    await backend.close()
    assert not threads()
    assert (await drawing).frame.header.width == 1920
