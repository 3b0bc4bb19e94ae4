"""The OpenAI backend against a stand-in of OpenAI on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frame_gen.backends.base import BackendError, GenerationRequest, Preview, Queued
from frame_gen.backends.fallback import Done, FallbackChain
from frame_gen.backends.openai import OpenAIBackend
from frame_gen.backends.openai_images.models import RETIRED
from frame_gen.backends.placeholder import PlaceholderBackend
from rpckit.errors import GatorError, Reason
from rpckit.provenance import Backend as Kind
from rpckit.testing import other_tasks
from tests.support.openai_buying import SCENE, backend, buying, events_of, frame_of, written
from tests.support.openai_server import (
    OpenAIServer,
    Reply,
    drop,
    failing_event,
    half,
    held,
    picture,
    png,
    raw,
    refusal,
    silence,
    stream,
)
from tests.support.passing_time import PassingTime


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running:
        yield running


async def test_a_frame_is_the_image_at_the_size_received(
    server: OpenAIServer, tmp_path: Path
) -> None:
    server.script.append(picture(png(48, 80, (200, 10, 30))))
    async with backend(buying(server, tmp_path)) as openai:
        made = await frame_of(openai)
    assert (made.frame.header.width, made.frame.header.height) == (48, 80)
    pixels = np.frombuffer(made.frame.data, np.uint8).reshape(80, 48, 3)
    assert (pixels == (200, 10, 30)).all()
    assert made.model == "gpt-image-2"
    assert (made.num_inference_steps, made.guidance_scale) == (0, 0.0)


async def test_a_request_says_what_the_settings_and_the_scene_say(
    server: OpenAIServer, tmp_path: Path
) -> None:
    async with backend(buying(server, tmp_path, size="auto", quality="low")) as openai:
        made = await frame_of(openai, replace(SCENE, negative_prompt="people"))
    assert (made.frame.header.width, made.frame.header.height) == (1536, 864)
    (request,) = server.requests
    assert request.body == {
        "model": "gpt-image-2",
        "prompt": "a lighthouse in a storm\n\nDo not show: people",
        "size": "1536x864",
        "quality": "low",
        "n": 1,
        "background": "opaque",
    }


async def test_a_draft_and_a_premium_render_ask_for_the_same_size(
    server: OpenAIServer, tmp_path: Path
) -> None:
    async with backend(buying(server, tmp_path, model="gpt-image-1.5", size="auto")) as openai:
        for index, (width, height) in enumerate([(854, 480), (3840, 2160)]):
            scene = replace(SCENE, scene_index=index, video_width=width, video_height=height)
            await frame_of(openai, scene)
    assert [request.body["size"] for request in server.requests] == ["1536x1024"] * 2


REFUSALS = [
    # what is answered, tries, reason, whether it counts as paid, a word of the advice
    (refusal(400, "moderation_blocked", kind="image_generation_user_error"), 1, "CONTENT_REJECTED",
     True, "Change its prompt"),
    (refusal(400, "content_policy_violation"), 1, "CONTENT_REJECTED", True, "Change its prompt"),
    (refusal(400, "invalid_value", param="size"), 1, "GENERATION_FAILED", False, "SIZE"),
    (refusal(422), 1, "GENERATION_FAILED", False, "GATOR_OPENAI_MODEL"),
    (refusal(401, "invalid_api_key"), 1, "NO_MODEL_AVAILABLE", False, "OPENAI_API_KEY"),
    (refusal(403, "unsupported_country_region_territory"), 1, "NO_MODEL_AVAILABLE", False, "403"),
    (refusal(404, "model_not_found"), 1, "NO_MODEL_AVAILABLE", False, "GATOR_OPENAI_MODEL"),
    (refusal(408), 3, "DOWNSTREAM_UNAVAILABLE", False, "later"),
    (refusal(409), 3, "DOWNSTREAM_UNAVAILABLE", False, "later"),
    (refusal(429, "rate_limit_exceeded"), 3, "OVERLOADED", False, "MAX_CONCURRENT"),
    (refusal(429, "insufficient_quota"), 1, "NO_MODEL_AVAILABLE", False, "credit"),
    (refusal(400, "billing_hard_limit_reached"), 1, "NO_MODEL_AVAILABLE", False, "credit"),
    (refusal(500, kind="server_error"), 3, "DOWNSTREAM_UNAVAILABLE", False, "later"),
    (refusal(503, kind="server_error"), 3, "DOWNSTREAM_UNAVAILABLE", False, "later"),
    # Said by something on the way: whether there was an image is not known.
    (refusal(502), 1, "DOWNSTREAM_UNAVAILABLE", True, "charged"),
    (refusal(504), 1, "DOWNSTREAM_UNAVAILABLE", True, "charged"),
    (refusal(524), 1, "DOWNSTREAM_UNAVAILABLE", True, "charged"),
    (drop(), 1, "DOWNSTREAM_UNAVAILABLE", True, "charged"),
    (half(), 1, "DOWNSTREAM_UNAVAILABLE", True, "charged"),
    (raw(b"{ not json"), 1, "GENERATION_FAILED", True, "no image"),
    (raw(b"<html>", content_type="text/html"), 1, "GENERATION_FAILED", True, "no image"),
    (raw(b'{"created": 1, "data": []}'), 1, "GENERATION_FAILED", True, "no image"),
    (raw(b'{"created": 1, "data": [null]}'), 1, "GENERATION_FAILED", True, "no image"),
    (raw(b'{"data": [{"url": "http://127.0.0.1/x"}]}'), 1, "GENERATION_FAILED", True, "no image"),
    (raw(b'{"data": [{"b64_json": "%%%"}]}'), 1, "GENERATION_FAILED", True, "no image"),
    (picture(b"GIF89a and no more"), 1, "GENERATION_FAILED", True, "not a whole"),
    (picture(png(64, 32)[:-40]), 1, "GENERATION_FAILED", True, "not a whole"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "tries", "reason", "spent", "advice"), REFUSALS)
async def test_what_each_failure_means_and_costs(
    server: OpenAIServer,
    tmp_path: Path,
    reply: Reply,
    tries: int,
    reason: str,
    spent: bool,
    advice: str,
) -> None:
    server.script.extend([reply] * 3)
    async with backend(buying(server, tmp_path, recheck_after=0)) as openai:
        with pytest.raises(BackendError) as caught:
            await frame_of(openai)
        assert len(server.requests) == tries
        assert caught.value.reason is Reason[reason]
        assert advice in caught.value.message
        assert "Scripted" not in caught.value.message
        assert bool(written(tmp_path)) == spent
        server.script.clear()
        if spent:
            with pytest.raises(BackendError) as again:
                await frame_of(openai)
            assert again.value.reason in (Reason[reason], Reason.GENERATION_FAILED)
            assert len(server.requests) == tries
        else:
            await frame_of(openai)
            assert len(server.requests) == tries + 1


async def test_refusals_that_cost_nothing_are_tried_again_until_an_image_comes(
    server: OpenAIServer, tmp_path: Path
) -> None:
    server.script.extend([refusal(429), refusal(500)])
    async with backend(buying(server, tmp_path)) as openai:
        await frame_of(openai)
    assert len(server.requests) == 3
    assert written(tmp_path) == [
        "days/000001",
        "purchases/image",
        "purchases/intent",
        "renders/000001",
    ]


@pytest.mark.parametrize("wait", ["3600", "Fri, 01 Jan 2100 00:00:00 GMT"])
async def test_a_wait_longer_than_the_time_there_is_is_not_waited_for(
    server: OpenAIServer, tmp_path: Path, wait: str
) -> None:
    server.script.append(refusal(429, headers=[("retry-after", wait)]))
    async with backend(buying(server, tmp_path)) as openai:
        with pytest.raises(BackendError) as caught:
            await frame_of(openai)
    assert caught.value.reason is Reason.OVERLOADED
    assert len(server.requests) == 1


async def test_a_server_that_cannot_be_reached_costs_nothing(
    server: OpenAIServer, tmp_path: Path, unused_tcp_port: int
) -> None:
    settings = buying(server, tmp_path, base_url=f"http://127.0.0.1:{unused_tcp_port}/v1")
    async with backend(settings) as openai:
        with pytest.raises(BackendError) as caught:
            await frame_of(openai)
    assert caught.value.reason is Reason.DOWNSTREAM_UNAVAILABLE
    assert "OPENAI_BASE_URL" in caught.value.message
    assert written(tmp_path) == []


@pytest.mark.parametrize("slow", [silence(), half(then_wait=True)])
async def test_a_time_out_ends_the_request_and_is_not_tried_again(
    server: OpenAIServer, tmp_path: Path, clock: PassingTime, slow: Reply
) -> None:
    server.script.append(slow)
    async with backend(buying(server, tmp_path, timeout=100.0)) as openai:
        task = asyncio.create_task(frame_of(openai))
        await server.until(lambda: len(server.requests) == 1)
        clock.go_on(100.0)
        with pytest.raises(BackendError) as caught:
            await task
        assert caught.value.reason is Reason.DEADLINE_EXCEEDED
        await server.until(lambda: server.hang_ups == 1)
        with pytest.raises(BackendError, match="timed out"):
            await frame_of(openai)
    assert len(server.requests) == 1


async def test_cancelling_ends_the_request_and_leaves_nothing_running(
    server: OpenAIServer, tmp_path: Path
) -> None:
    server.script.append(silence())
    async with backend(buying(server, tmp_path)) as openai:
        task = asyncio.create_task(frame_of(openai))
        await server.until(lambda: len(server.requests) == 1)
        before = other_tasks() - {task}
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.until(lambda: server.hang_ups == 1)
        assert other_tasks() <= before
        with pytest.raises(BackendError, match="was cancelled"):
            await frame_of(openai)
    assert len(server.requests) == 1


async def test_cancelling_before_the_request_is_sent_costs_nothing(
    server: OpenAIServer, tmp_path: Path
) -> None:
    release = asyncio.Event()
    server.script.append(held(release))
    async with backend(buying(server, tmp_path, max_concurrent=1)) as openai:
        first = asyncio.create_task(frame_of(openai))
        await server.until(lambda: len(server.requests) == 1)
        waiting = openai.generate(replace(SCENE, scene_index=1))
        assert await anext(waiting) == Queued(0)
        await waiting.aclose()
        release.set()
        await first
    assert len(server.requests) == 1
    assert written(tmp_path).count("purchases/intent") == 1


async def test_a_caller_who_comes_again_gets_what_is_being_bought(
    server: OpenAIServer, tmp_path: Path
) -> None:
    release = asyncio.Event()
    server.script.append(held(release))
    settings = buying(server, tmp_path)
    # Two services, as two replicas: only what is written down connects them.
    async with backend(settings) as one, backend(settings) as other:
        first = asyncio.create_task(frame_of(one))
        await server.until(lambda: len(server.requests) == 1)
        second = asyncio.create_task(frame_of(other))
        third = asyncio.create_task(frame_of(one))
        release.set()
        frames = await asyncio.gather(first, second, third)
    assert len(server.requests) == 1
    assert len({made.frame.header.sha256 for made in frames}) == 1


async def test_at_most_so_many_requests_at_a_time(server: OpenAIServer, tmp_path: Path) -> None:
    release = asyncio.Event()
    server.script.extend([held(release)] * 7)
    async with backend(buying(server, tmp_path, max_concurrent=3)) as openai:
        scenes = [replace(SCENE, scene_index=index) for index in range(7)]
        positions: list[int] = []
        all_wait = asyncio.Event()

        async def heard(scene: GenerationRequest) -> None:
            async for event in openai.generate(scene):
                if isinstance(event, Queued):
                    positions.append(event.position)
                    if len(positions) == 4:
                        all_wait.set()

        tasks = [asyncio.create_task(heard(scene)) for scene in scenes]
        await all_wait.wait()
        await server.until(lambda: len(server.requests) == 3)
        release.set()
        await asyncio.gather(*tasks)
    assert server.most_at_once == 3
    assert len(server.requests) == 7
    assert positions == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", ["images_per_render", "images_per_day"])
async def test_no_more_images_than_allowed(
    server: OpenAIServer, tmp_path: Path, limit: str
) -> None:
    async with backend(buying(server, tmp_path, **{limit: 2})) as openai:
        await frame_of(openai, replace(SCENE, scene_index=0))
        await frame_of(openai, replace(SCENE, scene_index=1))
        with pytest.raises(BackendError, match=limit.upper()) as caught:
            await frame_of(openai, replace(SCENE, scene_index=2))
        assert caught.value.reason is Reason.SPEND_LIMIT_REACHED
        await frame_of(openai, replace(SCENE, scene_index=0))
        other = replace(SCENE, scene_index=2, render_id="r-2")
        if limit == "images_per_render":
            await frame_of(openai, other)
        else:
            with pytest.raises(BackendError, match="00:00 UTC"):
                await frame_of(openai, other)
    assert len(server.requests) == 2 + (limit == "images_per_render")


async def test_nothing_is_bought_that_cannot_be_written_down(
    server: OpenAIServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    async with backend(buying(server, tmp_path / "file" / "folder")) as openai:
        with pytest.raises(BackendError, match="GATOR_OPENAI_PURCHASES_URL"):
            await frame_of(openai)
    assert server.requests == []


async def test_nothing_is_bought_where_no_ledger_is_named(
    server: OpenAIServer, tmp_path: Path
) -> None:
    async with backend(buying(server, tmp_path, purchases_url="none")) as openai:
        state = openai.availability()
        assert (state.available, state.reason) == (False, Reason.NO_MODEL_AVAILABLE)
        assert "GATOR_OPENAI_PURCHASES_URL names a bucket" in state.message
        with pytest.raises(BackendError, match="GATOR_OPENAI_PURCHASES_URL"):
            await frame_of(openai)
    assert server.requests == []


async def test_callers_without_a_render_share_nothing(server: OpenAIServer, tmp_path: Path) -> None:
    async with backend(buying(server, tmp_path)) as openai:
        await frame_of(openai, replace(SCENE, render_id=""))
        await frame_of(openai, replace(SCENE, render_id=""))
    assert len(server.requests) == 2


async def test_a_retired_model_is_told_as_such(server: OpenAIServer, tmp_path: Path) -> None:
    for model, day in RETIRED.items():
        state = OpenAIBackend(buying(server, tmp_path, model=model, base_url=None)).availability()
        assert not state.available
        assert f"{model} on {day}" in state.message
    async with backend(buying(server, tmp_path, model="dall-e-3", recheck_after=60)) as openai:
        assert openai.availability().available  # another service may have a model of that name
        with pytest.raises(BackendError, match="shut down the model dall-e-3 on 2026-05-12"):
            await frame_of(openai)
        assert "gpt-image-2" in openai.availability().message
        with pytest.raises(BackendError):
            await frame_of(openai)
    assert len(server.requests) == 1
    assert written(tmp_path) == []


async def test_an_answer_about_the_key_is_remembered_for_a_while(
    server: OpenAIServer, tmp_path: Path
) -> None:
    async with backend(buying(server, tmp_path, api_key="sk-proj-other")) as openai:
        with pytest.raises(BackendError, match="does not take the API key"):
            await frame_of(openai)
        state = openai.availability()
        assert not state.available
        assert "OPENAI_API_KEY" in state.message
        with pytest.raises(BackendError):
            await frame_of(openai, replace(SCENE, scene_index=1))
    assert len(server.requests) == 1


async def test_partial_images_come_as_previews(server: OpenAIServer, tmp_path: Path) -> None:
    async with backend(buying(server, tmp_path, partial_images=2, size="1024x512")) as openai:
        first, second, last = await events_of(openai)
    assert server.requests[0].body["partial_images"] == 2
    assert isinstance(first, Preview)
    assert isinstance(second, Preview)
    assert (first.step, second.step) == (1, 2)
    assert first.jpeg[:2] == b"\xff\xd8"
    assert len(first.jpeg) <= 64 << 10
    assert last.frame.header.width == 1024


REJECTED_EVENT = failing_event("moderation_blocked", "image_generation_user_error")
FAILED_EVENT = failing_event("server_error", "server_error")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (stream(1, REJECTED_EVENT), Reason.CONTENT_REJECTED),
        (stream(1, FAILED_EVENT), Reason.DOWNSTREAM_UNAVAILABLE),
        (refusal(400, "moderation_blocked"), Reason.CONTENT_REJECTED),
    ],
)
async def test_a_stream_that_fails_half_way(
    server: OpenAIServer, tmp_path: Path, reply: Reply, reason: Reason
) -> None:
    server.script.append(reply)
    async with backend(buying(server, tmp_path, partial_images=1)) as openai:
        with pytest.raises(BackendError) as caught:
            await frame_of(openai)
    assert caught.value.reason is reason
    assert len(server.requests) == 1


async def test_a_broken_preview_spoils_nothing(server: OpenAIServer, tmp_path: Path) -> None:
    server.script.append(stream(1, partial=b"no image at all"))
    async with backend(buying(server, tmp_path, partial_images=3)) as openai:
        (only,) = await events_of(openai)
    assert only.frame.header.width == 64


async def test_the_provenance_tells_what_openai_refused(
    server: OpenAIServer, tmp_path: Path
) -> None:
    server.script.append(refusal(400, "moderation_blocked"))
    placeholder = PlaceholderBackend(1)
    async with backend(buying(server, tmp_path)) as openai:
        chain = FallbackChain([openai, placeholder], frame_timeout=60)
        made = [event async for event in chain.generate(SCENE)][-1]
        bought = [event async for event in chain.generate(replace(SCENE, scene_index=1))][-1]
    await placeholder.close()
    assert isinstance(made, Done)
    assert made.provenance.backend is Kind.PLACEHOLDER
    (over,) = made.provenance.passed_over
    assert (over.backend, over.reason) == (Kind.OPENAI, "CONTENT_REJECTED")
    assert isinstance(bought, Done)
    assert bought.provenance.backend is Kind.OPENAI
    assert bought.provenance.model == "gpt-image-2"
    assert (bought.provenance.width, bought.provenance.height) == (64, 32)


async def test_out_of_time_in_the_chain_it_counts_as_paid(
    server: OpenAIServer, tmp_path: Path, clock: PassingTime
) -> None:
    async with backend(buying(server, tmp_path)) as openai:
        server.script.append(silence())
        chain = FallbackChain([openai], frame_timeout=100.0)
        making = asyncio.ensure_future(anext(chain.generate(SCENE)))
        await server.until(lambda: len(server.requests) == 1)
        clock.go_on(100.0)
        with pytest.raises(GatorError, match="longer than a frame may take"):
            await making
        await server.until(lambda: server.hang_ups == 1)
        with pytest.raises(BackendError, match="was cancelled"):
            await frame_of(openai)
    assert len(server.requests) == 1
