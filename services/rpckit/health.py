"""The health service, which lets its watchers go when the server drains."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

LIVENESS = "liveness"
"""Name under which a process is SERVING as long as it answers and a restart would not help,
whether or not it is ready: one whose database is away should get no calls, but must not be
restarted for that."""


class HealthServicer(health.aio.HealthServicer):  # type: ignore[misc,name-defined]  # untyped
    """grpc.health.v1.Health. A call of Watch ends at the drain, after its last status."""

    def __init__(self) -> None:
        super().__init__()
        self._draining = asyncio.Event()

    def release_watchers(self) -> None:
        """Ends every call of Watch: a server would wait for them as long as its grace lasts."""
        self._draining.set()

    async def Watch(  # noqa: N802 - gRPC names it
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Sends the status of a service, and each that follows, until the drain."""
        watching = asyncio.create_task(super().Watch(request, context))
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait({watching, draining}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (watching, draining):
                task.cancel()
            await asyncio.wait({watching, draining})
