"""The embedding program's own generator: whatever it does, the service stays whole."""

import asyncio
import io
from contextlib import aclosing

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from frame_gen.backends.base import BackendError, Generated, GenerationRequest, Progress, Queued
from frame_gen.backends.external import ExternalBackend, ImageRequest
from frame_gen.backends.fallback import FallbackChain
from frame_gen.backends.placeholder import PlaceholderBackend
from rpckit.errors import GatorError, Reason
from rpckit.provenance import Backend as Kind
from rpckit.testing import other_tasks

SECRET = "sk-secret"
FAIL = GenerationRequest("a lighthouse", may_fall_back=False)
LONG = 100.0
"""Seconds that no machine takes for what a test does: they pass when it says so."""


def png(colour=(10, 20, 30), size=(5, 3)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


PNG = png()


def returning(value):
    async def images(request):
        return value

    return images


async def events_of(backend, request=FAIL):
    async with aclosing(backend.generate(request)) as events:
        return [event async for event in events]


async def refusal(images):
    """What a backend with these images fails with; a following request works."""
    failing = True

    async def once(request):
        return await images(request) if failing else PNG

    backend = ExternalBackend(once)
    with pytest.raises(BackendError) as caught:
        await events_of(backend)
    failing = False
    assert isinstance((await events_of(backend))[-1], Generated)
    assert caught.value.reason is Reason.GENERATION_FAILED
    assert caught.value.message.startswith("AI frame generation failed: ")
    assert "use_ai_generation = false" in caught.value.message
    assert SECRET not in caught.value.message
    return caught.value.message


async def test_the_program_is_asked_for_all_that_the_request_says():
    asked = []

    async def images(request):
        asked.append(request)
        return PNG

    request = GenerationRequest(
        "a lighthouse",
        negative_prompt="fog",
        seed=2**64 - 1,
        num_inference_steps=7,
        guidance_scale=3.5,
        video_width=101,
        video_height=67,
    )
    first, made = await events_of(ExternalBackend(images), request)
    assert asked == [ImageRequest("a lighthouse", "fog", 101, 67, 7, 3.5, 2**64 - 1)]
    assert first == Progress(0, 7)
    assert (made.model, made.num_inference_steps, made.guidance_scale) == ("external", 7, 3.5)


async def test_the_image_is_the_frame_at_its_own_size():
    *_, made = await events_of(ExternalBackend(returning(PNG)))
    header = made.frame.header
    assert (header.width, header.height) == (5, 3)
    assert (np.frombuffer(made.frame.data, np.uint8).reshape(3, 5, 3) == (10, 20, 30)).all()


async def test_it_is_available_under_its_own_kind():
    backend = ExternalBackend(returning(PNG))
    assert backend.kind is Kind.EXTERNAL
    assert backend.availability().available
    assert backend.availability().models == ("external",)
    await backend.close()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_any_bytes_are_an_image(kind):
    assert isinstance((await events_of(ExternalBackend(returning(kind(PNG)))))[-1], Generated)


@pytest.mark.parametrize(
    "value", [None, SECRET, 7, {"image_data": PNG}, [PNG]], ids=lambda v: type(v).__name__
)
async def test_what_is_no_bytes_is_refused_by_its_type(value):
    assert f"it gave {type(value).__name__}, not the bytes" in await refusal(returning(value))


@pytest.mark.parametrize("value", [b"", SECRET.encode(), PNG[:40], b"GIF89a" + bytes(20)])
async def test_bytes_that_are_no_image_are_refused(value):
    assert "PNG, JPEG, WEBP" in await refusal(returning(value))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        TimeoutError(SECRET),
        MemoryError(SECRET),
        GatorError(Reason.INVALID_ARGUMENT, SECRET),
        BackendError(Reason.OVERLOADED, SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_is_named_by_its_type_alone_and_logged_whole(error):
    async def images(request):
        raise error

    with capture_logs() as logs:
        message = await refusal(images)
    assert f"raised {type(error).__name__}" in message
    assert [entry["exc_info"] for entry in logs] == [error]


async def test_a_function_that_is_not_async_is_refused_by_its_error():
    with capture_logs():
        assert "raised TypeError" in await refusal(lambda request: PNG)


async def test_a_cancellation_inside_the_program_is_its_failure_and_not_the_calls():
    async def raises(request):
        raise asyncio.CancelledError(SECRET)

    async def cancels_a_part_of_itself(request):
        part = asyncio.create_task(asyncio.Event().wait())
        part.cancel()
        await part

    for images in (raises, cancels_a_part_of_itself):
        assert "was cancelled" in await refusal(images)


class Gated:
    """Makes images one at a time, each when its gate is opened."""

    def __init__(self):
        self.running = self.most = self.made = 0
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()

    async def __call__(self, request):
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.set()
        try:
            await self.gate.wait()
            self.made += 1
            return PNG
        finally:
            self.running -= 1


async def test_the_program_is_asked_for_one_image_at_a_time():
    images = Gated()
    backend = ExternalBackend(images)
    positions = []

    async def one():
        async for event in backend.generate(FAIL):
            if isinstance(event, Queued):
                positions.append(event.position)
        return event

    requests = [asyncio.create_task(one()) for _ in range(20)]
    await images.begun.wait()
    images.gate.set()
    made = await asyncio.gather(*requests)
    assert all(isinstance(event, Generated) for event in made)
    assert (images.made, images.most) == (20, 1)
    assert positions == list(range(19))


async def test_a_request_that_comes_between_two_others_says_that_it_waits():
    """The first has ended and the second has not yet gone on: the third must wait."""
    queued = asyncio.Event()
    third = None

    async def images(request):
        nonlocal third
        await queued.wait()
        third = third or asyncio.create_task(events_of(backend))
        return PNG

    async def waits():
        events = []
        async with aclosing(backend.generate(FAIL)) as coming:
            async for event in coming:
                events.append(event)
                queued.set()
        return events

    backend = ExternalBackend(images)
    first = asyncio.create_task(events_of(backend))
    second = asyncio.create_task(waits())
    await first
    assert (await second)[0] == Queued(0)
    assert (await third)[0] == Queued(1)


async def test_waiting_for_a_slow_image_does_not_count_as_time_for_the_next(clock):
    images = Gated()
    chain = FallbackChain([ExternalBackend(images)], frame_timeout=LONG)

    async def backend_of(queued=None):
        async with aclosing(chain.generate(FAIL)) as events:
            async for event in events:
                if queued and isinstance(event, Queued):
                    queued.set()
            return event.provenance.backend

    slow = asyncio.create_task(backend_of())
    await images.begun.wait()
    queued = asyncio.Event()
    waiting = asyncio.create_task(backend_of(queued))
    await queued.wait()
    clock.go_on(LONG)
    with pytest.raises(GatorError):
        await slow
    # The first ran out of its time. The second waited as long, and its time begins now.
    assert not waiting.done()
    images.gate.set()
    assert await waiting is Kind.EXTERNAL


@pytest.mark.parametrize("stubborn", [False, True], ids=["obedient", "stubborn"])
async def test_a_generator_that_is_too_slow_is_passed_over_and_asked_again_for_the_next(
    clock, stubborn
):
    class Images(Gated):
        async def __call__(self, request):
            try:
                if not self.gate.is_set():
                    clock.go_on(LONG)
                return await super().__call__(request)
            except asyncio.CancelledError:
                if stubborn:
                    return None
                raise

    images = Images()
    cards = PlaceholderBackend(1)
    chain = FallbackChain([ExternalBackend(images), cards], frame_timeout=LONG)
    request = GenerationRequest("a lighthouse", video_width=32, video_height=18)

    async def frame():
        async with aclosing(chain.generate(request)) as events:
            return [event async for event in events][-1].provenance

    provenance = await frame()
    assert provenance.backend is Kind.PLACEHOLDER
    assert [over.backend for over in provenance.passed_over] == [Kind.EXTERNAL]
    assert images.running == 0
    images.gate.set()
    assert (await frame()).backend is Kind.EXTERNAL
    await cards.close()


@pytest.mark.parametrize("when", ["generating", "queued"])
async def test_a_request_that_is_given_up_leaves_nothing_and_the_next_one_works(when):
    images = Gated()
    backend = ExternalBackend(images)
    first = asyncio.create_task(events_of(backend))
    await images.begun.wait()
    given_up = first
    if when == "queued":
        waiting = backend.generate(FAIL)
        assert await anext(waiting) == Queued(0)
        given_up = asyncio.create_task(anext(waiting))
        await asyncio.wait([given_up], timeout=0.01)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    images.gate.set()
    if when == "queued":
        await first
    assert images.running == 0
    assert not other_tasks()
    assert (await events_of(backend))[0] == Progress(0, 25)


async def test_a_generator_cannot_swallow_that_the_call_was_cancelled():
    begun = asyncio.Event()

    async def images(request):
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return PNG

    cards = PlaceholderBackend(1)
    chain = FallbackChain([ExternalBackend(images), cards], frame_timeout=60)

    async def run():
        async with aclosing(chain.generate(GenerationRequest("x"))) as events:
            return [event async for event in events]

    task = asyncio.create_task(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not other_tasks()
    await cards.close()


async def test_a_reader_that_leaves_before_the_image_is_asked_for_gives_back_its_turn():
    backend = ExternalBackend(returning(PNG))
    for _ in range(3):
        async with aclosing(backend.generate(FAIL)) as events:
            assert await anext(events) == Progress(0, 25)
    assert (await events_of(backend))[0] == Progress(0, 25)
