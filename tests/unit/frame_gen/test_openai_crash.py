"""A buyer that is killed buys nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from frame_gen.backends.base import BackendError
from tests.support.openai_buying import SCENE, backend, buying, frame_of, written
from tests.support.openai_server import KEY, OpenAIServer, half
from tests.support.processes import ROOT


@asynccontextmanager
async def buyer(
    server: OpenAIServer, folder: Path, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that buys the image of a scene and says what came of it."""
    environment = {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.base_url,
        "GATOR_OPENAI_PURCHASES_URL": folder.as_uri(),
        "GATOR_OPENAI_SIZE": "64x32",
        "GATOR_OPENAI_TIMEOUT": "100",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.openai_buyer",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout
    async with asyncio.timeout(100):
        return (await process.stdout.readline()).decode().strip()


async def test_killed_while_the_image_comes_it_counts_as_paid(tmp_path: Path) -> None:
    async with OpenAIServer() as server:
        # OpenAI has made the image and answers: half of it is under way.
        server.script.append(half(then_wait=True))
        async with buyer(server, tmp_path) as first:
            await server.until(lambda: len(server.requests) == 1)
            first.kill()
            await first.wait()
        assert written(tmp_path) == ["days/000001", "purchases/intent", "renders/000001"]
        _age(tmp_path)
        async with backend(buying(server, tmp_path)) as second:
            with pytest.raises(BackendError, match=r"an earlier try .* did not end"):
                await frame_of(second)
            assert len(server.requests) == 1
            # Another render is another purchase.
            await frame_of(second, replace(SCENE, render_id="r-2"))
        assert len(server.requests) == 2


async def test_killed_after_the_image_came_it_is_used(tmp_path: Path) -> None:
    async with OpenAIServer() as server:
        async with buyer(server, tmp_path, "stay") as first:
            made = await line(first)
            first.kill()
            await first.wait()
        async with backend(buying(server, tmp_path)) as second:
            again = await frame_of(second)
        assert made == f"made {again.frame.header.sha256.hex()}"
        assert len(server.requests) == 1


async def test_two_processes_at_once_buy_once(tmp_path: Path) -> None:
    async with (
        OpenAIServer() as server,
        buyer(server, tmp_path) as first,
        buyer(server, tmp_path) as second,
    ):
        one, other = await asyncio.gather(line(first), line(second))
        assert one.startswith("made ")
        assert one == other
        assert len(server.requests) == 1


def _age(folder: Path) -> None:
    """Makes an intent older than any buyer's patience, so that nobody waits for it."""
    (intent,) = folder.glob("purchases/*/intent")
    content = json.loads(intent.read_text())
    intent.write_text(json.dumps(content | {"at": "2020-01-01T00:00:00+00:00"}))
