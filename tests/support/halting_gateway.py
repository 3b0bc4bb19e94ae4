"""A gateway that takes no call between SIGUSR2 and SIGUSR1, and lets few wait meanwhile."""

from __future__ import annotations

import asyncio
import signal

from gator.gateway.v1 import render_service_pb2 as pb
from gator.gateway.v1 import render_service_pb2_grpc as stubs
from rpckit import server as servers
from rpckit.telemetry import configure_logging
from rpckit.termination import terminations
from rpckit.testing import running, scripted

AT_MOST = 3
"""Calls that may wait to be taken."""
HALTED = "it stands still"
"""What it says then."""

_BOUNDS = ("grpc.server.max_pending_requests", "grpc.server.max_pending_requests_hard_limit")


class Gateway(stubs.RenderServiceServicer):
    async def GetCapabilities(self, request, context):
        return pb.GetCapabilitiesResponse()


def halt() -> None:
    print(HALTED, flush=True)
    signal.sigwait({signal.SIGUSR1})


async def main() -> None:
    # Before there are other threads, which would end by it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    servers._OPTIONS += [(name, AT_MOST) for name in _BOUNDS]
    gateway = scripted(
        lambda server: stubs.add_RenderServiceServicer_to_server(Gateway(), server),
        "gator.gateway.v1.RenderService",
    )
    with terminations() as terminated:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, halt)
        async with running(gateway):
            await terminated.wait()


if __name__ == "__main__":
    configure_logging()
    asyncio.run(main())
