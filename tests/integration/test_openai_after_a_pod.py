"""What a pod paid for is there after its death: the ledger of the manifests, on a real S3."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

from tests.support.manifests import overlay
from tests.support.object_stores import S3Server
from tests.support.openai_server import KEY, OpenAIServer
from tests.support.processes import ROOT


async def bought(server: OpenAIServer, s3: S3Server, disk: Path) -> str:
    """What a pod says of the image of a scene, before it dies and its own disk with it."""
    (container,) = overlay("dev").pod("frame-gen").containers
    environment = container.environment.items()
    own = {
        **{name: value.replace("/tmp", str(disk)) for name, value in environment},
        **s3.environment,  # which the cluster's names would be
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.base_url,
        "GATOR_OPENAI_SIZE": "64x32",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.support.openai_buyer", "stay"),
        cwd=ROOT,
        env={**os.environ, **own},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        return (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.communicate()
        shutil.rmtree(disk, ignore_errors=True)


async def test_an_image_is_not_bought_again_by_the_pod_that_comes_after(
    s3: S3Server, tmp_path: Path
) -> None:
    async with OpenAIServer() as server:
        first = await bought(server, s3, tmp_path / "first")
        second = await bought(server, s3, tmp_path / "second")
        assert first.startswith("made ")
        assert second == first
        assert len(server.requests) == 1
