"""A client that stays, whose gateway is killed, and which does not come back: for real times."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1.render_service_pb2_grpc import RenderServiceStub
from rpckit.client import open_channel
from tests.support.databases import Database
from tests.support.fleet import Member
from tests.support.frame_source import FrameSource
from tests.support.gateways import request, services_below

MOST = 32.0
"""Seconds: 30 from the last sign of the client, a look a second, and a little."""


async def measured(database: Database, folder: Path) -> float:
    """Seconds from the death of the gateway until another has cancelled the render."""
    source = FrameSource()
    source.hold(0)
    async with services_below(source) as below, AsyncExitStack() as stack:
        stubs, members = [], []
        for _ in range(2):
            member = Member(
                "gateway",
                "GATOR_GATEWAY_LISTEN",
                GATOR_GATEWAY_FRAME_GEN_TARGET=below[0],
                GATOR_GATEWAY_COMPOSITOR_TARGET=below[1],
                GATOR_GATEWAY_STATE_DIR=str(folder),
                GATOR_GATEWAY_DATABASE_URL=database.url,
            )
            stack.push_async_callback(member.close)
            await member.start()
            channel = await stack.enter_async_context(open_channel(member.address))
            members.append(member)
            stubs.append(RenderServiceStub(channel))
        call = stubs[0].Render(request(1, request_id="mine"))
        render_id = (await call.read()).accepted.render_id
        await source.started[0].wait()
        died = time.monotonic()
        members[0].process.kill()
        await members[0].process.wait()
        call.cancel()
        async with asyncio.timeout(2 * MOST):
            async for event in stubs[1].WatchRender(pb.WatchRenderRequest(render_id=render_id)):
                last = event.render
        assert last.state == pb.RENDER_STATE_CANCELLED, last
        return time.monotonic() - died
