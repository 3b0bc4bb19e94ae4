"""The chain of backends: order, failures, time limits, cancellation."""

import asyncio
import itertools
import time
from contextlib import aclosing
from fractions import Fraction

import pytest
from structlog.testing import capture_logs

from frame_gen.backends import fallback
from frame_gen.backends.base import (
    NO_MODEL_ADVICE,
    Availability,
    BackendError,
    FrameWarning,
    Generated,
    GenerationRequest,
    Preview,
    Progress,
    Queued,
)
from frame_gen.backends.fallback import Done, FallbackChain
from rpckit.errors import Code, GatorError, Reason
from rpckit.provenance import Backend as Kind
from rpckit.provenance import PassedOver
from rpckit.testing import other_tasks
from tests.support.backends import ScriptedBackend, generated

REQUEST = GenerationRequest("a lighthouse", seed=2**64 - 1, scene_index=3, scene_count=5)
FAIL = GenerationRequest("a lighthouse", may_fall_back=False, scene_index=3, scene_count=5)
LONG = 100.0
"""Seconds that no machine takes for what a test does: they pass when it says so."""
NEVER = 1e9


def forever():
    return asyncio.Event()


def error(reason=Reason.GENERATION_FAILED, message="the device is on fire; call somebody"):
    return BackendError(reason, message)


def external(*steps, **more):
    return ScriptedBackend(Kind.EXTERNAL, *steps, **more)


def diffusers(*steps, **more):
    return ScriptedBackend(Kind.DIFFUSERS, *steps, **more)


def placeholder(*steps):
    return ScriptedBackend(Kind.PLACEHOLDER, *(steps or (Progress(0, 0), generated(b"PLH"))))


async def events_of(*backends, request=REQUEST, frame_timeout=NEVER, remaining=None):
    chain = FallbackChain(backends, frame_timeout)
    async with aclosing(chain.generate(request, remaining)) as events:
        return [event async for event in events]


async def frame_of(*backends, **more):
    """The Done of a request that succeeds; there is one, and it is the last event."""
    *before, done = await events_of(*backends, **more)
    assert isinstance(done, Done)
    assert not any(isinstance(event, Done) for event in before)
    return done


async def failure_of(*backends, **more):
    with pytest.raises(GatorError) as caught:
        await events_of(*backends, **more)
    return caught.value


def kinds(done):
    return [over.backend for over in done.provenance.passed_over]


async def test_the_first_backend_makes_the_frame_and_the_others_are_not_asked():
    warning = FrameWarning("prompt", "a", "b", "c")
    made = Generated(generated().frame, "sdxl@abc", 9, 3.5, (warning,))
    first, second, last = external(Progress(0, 9), made), diffusers(generated()), placeholder()
    done = await frame_of(first, second, last)
    assert done.frame is made.frame
    assert done.warnings == (warning,)
    provenance = done.provenance
    assert (provenance.backend, provenance.model) == (Kind.EXTERNAL, "sdxl@abc")
    assert (provenance.num_inference_steps, provenance.guidance_scale) == (9, 3.5)
    assert provenance.seed == 2**64 - 1
    assert (provenance.width, provenance.height) == (3, 2)
    assert provenance.frame_sha256 == made.frame.header.sha256
    assert provenance.passed_over == ()
    assert provenance.queue_time == 0
    assert isinstance(provenance.generation_time, Fraction)
    assert provenance.generation_time >= 0
    assert first.asked == [REQUEST]
    assert (second.asked, last.asked) == ([], [])


async def test_events_pass_in_order_and_those_of_a_failed_attempt_come_first():
    first = external(Queued(2), Queued(1), Progress(1, 4), Preview(b"jpeg", 1), error())
    second = diffusers(Progress(0, 2, Fraction(3)), generated())
    *events, done = await events_of(first, second)
    assert events == [
        Queued(2),
        Queued(1),
        Progress(1, 4),
        Preview(b"jpeg", 1),
        Progress(0, 2, Fraction(3)),
    ]
    assert done.provenance.backend is Kind.DIFFUSERS


async def test_what_was_passed_over_is_told_best_first_whatever_stopped_it():
    gone = Availability(available=False, message="no key; set one")
    first = external(error(Reason.OVERLOADED, "busy; wait"))
    second = ScriptedBackend(Kind.OPENAI, generated(), state=gone)
    third = diffusers(error())
    done = await frame_of(first, second, third, placeholder())
    assert done.provenance.passed_over == (
        PassedOver(Kind.EXTERNAL, "OVERLOADED", "busy; wait"),
        PassedOver(Kind.OPENAI, "NO_MODEL_AVAILABLE", "no key; set one"),
        PassedOver(Kind.DIFFUSERS, "GENERATION_FAILED", "the device is on fire; call somebody"),
    )
    assert second.asked == []


async def test_a_worse_backend_that_is_away_is_not_passed_over():
    away = diffusers(generated(), state=Availability(available=False, message="no GPU"))
    done = await frame_of(external(generated()), away, placeholder())
    assert done.provenance.passed_over == ()


async def test_with_no_model_at_all_the_placeholder_says_what_to_install():
    done = await frame_of(placeholder())
    over = PassedOver(Kind.DIFFUSERS, "NO_MODEL_AVAILABLE", NO_MODEL_ADVICE)
    assert done.provenance.passed_over == (over,)
    assert NO_MODEL_ADVICE.startswith("No image generation models available")


@pytest.mark.parametrize("may_fall_back", [True, False])
async def test_without_ai_the_placeholder_is_what_was_asked_for(may_fall_back):
    model = external(generated())
    request = GenerationRequest("x", use_ai_generation=False, may_fall_back=may_fall_back)
    done = await frame_of(model, placeholder(), request=request)
    assert done.provenance.backend is Kind.PLACEHOLDER
    assert done.provenance.passed_over == ()
    assert model.asked == []


async def test_under_the_policy_fail_a_model_that_works_is_used():
    done = await frame_of(external(error()), diffusers(generated()), placeholder(), request=FAIL)
    assert done.provenance.backend is Kind.DIFFUSERS
    assert kinds(done) == [Kind.EXTERNAL]


async def test_the_policy_fail_with_no_model_is_a_failed_precondition():
    card = placeholder()
    refused = await failure_of(card, request=FAIL)
    assert refused.reason is Reason.NO_MODEL_AVAILABLE
    assert refused.code is Code.FAILED_PRECONDITION
    assert refused.message == f"scenes[3]: {NO_MODEL_ADVICE}"
    assert refused.metadata == {"backends": "DIFFUSERS", "scene": "3"}
    assert card.asked == []


async def test_the_policy_fail_with_models_that_are_away_names_each():
    away = Availability(available=False, message="the GPU is lost; restart the driver")
    no_key = Availability(available=False, message="no key; set OPENAI_API_KEY")
    refused = await failure_of(
        diffusers(state=away),
        ScriptedBackend(Kind.OPENAI, state=no_key),
        placeholder(),
        request=FAIL,
    )
    assert refused.reason is Reason.NO_MODEL_AVAILABLE
    assert "No image generation models available" in refused.message
    assert "DIFFUSERS: the GPU is lost; restart the driver" in refused.message
    assert "OPENAI: no key; set OPENAI_API_KEY" in refused.message
    assert refused.metadata["backends"] == "DIFFUSERS,OPENAI"


async def test_the_policy_fail_names_every_attempt_and_both_causes():
    away = Availability(available=False, message=NO_MODEL_ADVICE)
    card = placeholder()
    refused = await failure_of(
        external(Progress(1, 2), error()), diffusers(state=away), card, request=FAIL
    )
    assert refused.reason is Reason.GENERATION_FAILED
    assert refused.code is Code.INTERNAL
    assert refused.message.startswith("scenes[3]: AI frame generation failed")
    assert "EXTERNAL: the device is on fire; call somebody" in refused.message
    assert "DIFFUSERS: No image generation models available" in refused.message
    assert refused.metadata == {"backends": "EXTERNAL,DIFFUSERS", "scene": "3"}
    assert card.asked == []


async def test_when_the_placeholder_fails_too_the_caller_is_told_of_both():
    refused = await failure_of(external(error()), placeholder(error(message="no fonts")))
    assert refused.reason is Reason.GENERATION_FAILED
    assert refused.metadata["backends"] == "EXTERNAL,PLACEHOLDER"
    assert "PLACEHOLDER: no fonts" in refused.message


@pytest.mark.parametrize("steps", [(), (Progress(1, 3), Queued(1))])
async def test_a_backend_that_ends_without_a_frame_is_passed_over(steps):
    done = await frame_of(external(*steps), placeholder())
    (over,) = done.provenance.passed_over
    assert (over.backend, over.reason) == (Kind.EXTERNAL, "GENERATION_FAILED")
    assert over.message.startswith("AI frame generation failed")


async def test_what_a_backend_does_after_its_frame_does_not_matter():
    backend = external(generated(b"one"), generated(b"two"), error())
    done = await frame_of(backend, placeholder())
    assert bytes(done.frame.data[:3]) == b"one"
    assert backend.running == 0


BUGS = [
    RuntimeError("sk-secret"),
    TimeoutError("sk-secret"),
    MemoryError("sk-secret"),
    GatorError(Reason.INVALID_ARGUMENT, "sk-secret"),
    StopAsyncIteration("sk-secret"),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: type(bug).__name__)
@pytest.mark.parametrize("before", [(), (Progress(0, 5),)], ids=["at once", "later"])
async def test_a_backends_bug_is_passed_over_and_logged_and_tells_nothing(bug, before):
    with capture_logs() as logs:
        done = await frame_of(external(*before, bug), diffusers(generated()), remaining=NEVER)
    assert done.provenance.backend is Kind.DIFFUSERS
    (over,) = done.provenance.passed_over
    assert (over.backend, over.reason) == (Kind.EXTERNAL, "GENERATION_FAILED")
    assert over.message.startswith("AI frame generation failed")
    assert "secret" not in over.message
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert entry["backend"] == "EXTERNAL"
    assert isinstance(entry["exc_info"], type(bug) | RuntimeError)


async def test_a_bug_of_the_last_backend_is_an_error_that_tells_nothing():
    with capture_logs():
        refused = await failure_of(external(ZeroDivisionError("sk-secret")), request=FAIL)
    assert refused.reason is Reason.GENERATION_FAILED
    assert "secret" not in refused.message
    assert "EXTERNAL" in refused.message


async def test_a_backend_that_cannot_say_whether_it_is_available_is_passed_over():
    broken = external(generated(), state=OSError("sk-secret"))
    with capture_logs() as logs:
        done = await frame_of(broken, placeholder())
    assert kinds(done) == [Kind.EXTERNAL]
    assert "secret" not in done.provenance.passed_over[0].message
    assert broken.asked == []
    assert [entry["log_level"] for entry in logs] == ["error"]


class FailsAfterwards(ScriptedBackend):
    """Makes its frame and trips over its own cleaning up."""

    async def generate(self, request):
        self.asked.append(request)
        try:
            yield generated(b"one")
        finally:
            raise RuntimeError


async def test_a_bug_after_the_frame_is_logged_and_the_frame_is_kept():
    with capture_logs() as logs:
        done = await frame_of(FailsAfterwards(Kind.EXTERNAL), placeholder())
    assert bytes(done.frame.data[:3]) == b"one"
    assert done.provenance.backend is Kind.EXTERNAL
    assert done.provenance.passed_over == ()
    assert [entry["log_level"] for entry in logs] == ["error"]


async def test_something_cancelled_inside_a_backend_is_its_failure_and_not_the_calls():
    async def cancels_itself(request):
        inner = asyncio.create_task(forever().wait())
        inner.cancel()
        await inner

    done = await frame_of(external(cancels_itself), placeholder(), remaining=NEVER)
    assert kinds(done) == [Kind.EXTERNAL]


async def test_one_requests_failure_touches_no_other():
    def fails_for_odd_scenes(request):
        if request.scene_index % 2:
            raise error()

    chain = FallbackChain([external(fails_for_odd_scenes, generated()), placeholder()], NEVER)

    async def backend_for(index):
        request = GenerationRequest("x", scene_index=index, scene_count=20)
        async with aclosing(chain.generate(request)) as events:
            return [event async for event in events][-1].provenance.backend

    made = await asyncio.gather(*map(backend_for, range(20)))
    assert made == [Kind.EXTERNAL, Kind.PLACEHOLDER] * 10


async def test_a_backend_that_is_too_slow_is_passed_over(clock):
    slow = external(Progress(0, 20), clock.taking(LONG), forever(), generated())
    done = await frame_of(slow, diffusers(generated()), frame_timeout=LONG)
    (over,) = done.provenance.passed_over
    assert (over.backend, over.reason) == (Kind.EXTERNAL, "DEADLINE_EXCEEDED")
    assert over.message.startswith("AI frame generation failed")
    assert "GATOR_FRAME_GEN_FRAME_TIMEOUT" in over.message
    assert slow.running == 0


async def test_the_time_limit_is_over_all_the_events_of_an_attempt(clock):
    works = clock.taking(LONG / 10, Progress(1, 100))
    endless = external(*itertools.repeat(works, 1000))
    done = await frame_of(endless, placeholder(), frame_timeout=LONG)
    assert done.provenance.passed_over[0].reason == "DEADLINE_EXCEEDED"
    assert done.provenance.queue_time == 0


async def test_a_backend_that_never_waits_cannot_outrun_its_time_limit(clock):
    class Floods(ScriptedBackend):
        async def generate(self, request):
            while True:
                clock.go_on(LONG / 10)
                yield Progress(1, 2)

    done = await frame_of(Floods(Kind.EXTERNAL), placeholder(), frame_timeout=LONG)
    assert done.provenance.passed_over[0].reason == "DEADLINE_EXCEEDED"


async def test_waiting_does_not_count_as_work(clock):
    waits = clock.taking(2 * LONG)
    backend = external(Queued(1), Queued(0), waits, Progress(0, 1), generated())
    began = time.monotonic()
    done = await frame_of(backend, placeholder(), frame_timeout=LONG)
    assert done.provenance.backend is Kind.EXTERNAL
    assert 2 * LONG <= done.provenance.queue_time <= 2 * LONG + time.monotonic() - began
    assert done.provenance.generation_time < LONG


async def test_the_works_of_an_attempt_add_up_between_its_waits(clock):
    works = clock.taking(LONG / 4, Queued(0))
    backend = external(
        *itertools.chain.from_iterable(itertools.repeat((Progress(1, 2), works), 999))
    )
    done = await frame_of(backend, placeholder(), frame_timeout=LONG)
    assert done.provenance.passed_over[0].reason == "DEADLINE_EXCEEDED"


async def test_time_lost_to_another_backend_is_no_queueing(clock):
    slow = external(clock.taking(LONG), forever())
    done = await frame_of(slow, placeholder(), frame_timeout=LONG)
    assert done.provenance.queue_time == 0


@pytest.mark.parametrize("waits", [(), (Queued(4),)], ids=["working", "queued"])
async def test_a_model_leaves_time_of_the_call_for_the_placeholder(clock, monkeypatch, waits):
    monkeypatch.setattr(fallback, "RESERVE", 2 * LONG)
    first = external(*waits, clock.taking(8 * LONG), forever())
    second = diffusers(forever())
    done = await frame_of(first, second, placeholder(), remaining=10 * LONG)
    told = "AI frame generation failed: the call's time ran out"
    for over in done.provenance.passed_over:
        assert over.reason == "DEADLINE_EXCEEDED"
        assert over.message.startswith(told)
    assert kinds(done) == [Kind.EXTERNAL, Kind.DIFFUSERS]
    assert second.asked == []


@pytest.mark.parametrize("remaining", [0.0, LONG])
async def test_a_call_whose_time_is_over_fails_with_that_reason(clock, remaining):
    for request in (REQUEST, FAIL):
        takes = clock.taking(remaining)
        backends = external(takes, forever()), placeholder(takes, forever())
        refused = await failure_of(*backends, request=request, remaining=remaining)
        assert refused.reason is Reason.DEADLINE_EXCEEDED
        assert refused.code is Code.DEADLINE_EXCEEDED
        assert "EXTERNAL" in refused.message
        assert [b.running for b in backends] == [0, 0]


async def test_a_frame_that_takes_too_long_is_a_failure_while_the_call_has_time(clock):
    slow = external(clock.taking(LONG), forever())
    refused = await failure_of(slow, request=FAIL, frame_timeout=LONG, remaining=NEVER)
    assert refused.reason is Reason.GENERATION_FAILED


async def test_a_backend_is_told_when_the_frame_must_be_there():
    backend = diffusers(generated())
    await frame_of(backend)
    before = time.monotonic()
    await frame_of(backend, remaining=100.0)
    whenever, deadline = (asked.deadline for asked in backend.asked)
    assert whenever is None
    assert before + 90 < deadline < time.monotonic() + 100


async def test_the_readers_time_is_not_the_backends(clock):
    chain = FallbackChain([external(Progress(0, 1), generated())], LONG)
    async with aclosing(chain.generate(FAIL)) as events:
        assert await anext(events) == Progress(0, 1)
        clock.go_on(2 * LONG)
        assert isinstance(await anext(events), Done)


@pytest.mark.parametrize("before", [(), (Queued(0),), (Progress(1, 2),)])
async def test_a_cancelled_call_ends_its_backend_and_asks_no_other(before):
    backend, card = external(*before, forever()), placeholder()
    task = asyncio.create_task(frame_of(backend, card))
    await backend.waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (backend.running, card.asked) == (0, [])
    assert not other_tasks()


@pytest.mark.parametrize("then", ["frame", "error", "bug", "ends", "raises it anew"])
async def test_a_backend_cannot_swallow_the_cancellation_of_a_call(then):
    reached = asyncio.Event()

    class Swallows(ScriptedBackend):
        async def generate(self, request):
            yield Progress(0, 1)
            try:
                reached.set()
                await forever().wait()
            except asyncio.CancelledError:
                if then == "raises it anew":
                    raise asyncio.CancelledError from None
                if then == "error":
                    raise error() from None
                if then == "bug":
                    raise ZeroDivisionError from None
            if then == "frame":
                yield generated()

    card = placeholder()
    task = asyncio.create_task(frame_of(Swallows(Kind.EXTERNAL), card, remaining=NEVER))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert card.asked == []


async def test_a_backend_that_swallows_its_time_out_may_still_hand_in_its_frame(clock):
    class Late(ScriptedBackend):
        async def generate(self, request):
            try:
                clock.go_on(LONG)
                await forever().wait()
            except asyncio.CancelledError:
                yield generated(b"one")

    done = await frame_of(Late(Kind.EXTERNAL), placeholder(), frame_timeout=LONG)
    assert bytes(done.frame.data[:3]) == b"one"


async def test_an_outer_time_out_is_the_callers_own():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await frame_of(external(forever()), placeholder())


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_reader_that_leaves_at_any_event_leaves_nothing_running(after):
    backend = external(Queued(0), Progress(0, 1), generated())
    events = FallbackChain([backend, placeholder()], NEVER).generate(REQUEST)
    for _ in range(after):
        await anext(events)
    await events.aclose()
    assert backend.running == 0
    assert not other_tasks()
