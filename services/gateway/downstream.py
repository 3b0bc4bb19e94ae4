"""The services below the gateway, called for one render."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

import grpc

from gateway.convert.composing import (
    compose_chunk,
    compose_event,
    compose_scene,
    compose_specification,
)
from gateway.convert.frames import (
    frame_event,
    frame_plan,
    generate_frame_request,
    plan_frame_request,
)
from gateway.events import ComposeEvent, FrameEvent
from gateway.jobs.frames import FramePlan
from gateway.request import Render
from gateway.spool import SpooledFrame
from gator.compositor.v1 import compositor_service_pb2 as compositor_pb
from gator.compositor.v1.compositor_service_pb2_grpc import CompositorServiceStub
from gator.frame_gen.v1 import frame_gen_service_pb2 as frame_gen_pb
from gator.frame_gen.v1.frame_gen_service_pb2_grpc import FrameGenServiceStub
from rpckit.errors import Code, FieldViolation, GatorError, Reason, invalid
from rpckit.status import from_rpc_error
from rpckit.telemetry import RENDER_ID_KEY
from rpckit.tracing import CallMetadata, client_span

_FRAME_GEN = frame_gen_pb.DESCRIPTOR.services_by_name["FrameGenService"].full_name
_COMPOSITOR = compositor_pb.DESCRIPTOR.services_by_name["CompositorService"].full_name

CAPABILITIES_TIMEOUT = 10.0
"""Seconds."""
PLAN_TIMEOUT = 30.0
"""Seconds."""


@dataclass(frozen=True)
class CallContext:
    """What a render's calls share."""

    render_id: str
    timeout: Callable[[], float | None]
    """Seconds that a call may take from now; None is no limit."""

    def metadata(self, trace: CallMetadata) -> grpc.aio.Metadata:
        """The metadata of a call; `trace` is what its span must carry."""
        return grpc.aio.Metadata((RENDER_ID_KEY, self.render_id), *trace)


class FrameGen:
    """The frame generation service, for one render."""

    def __init__(self, channel: grpc.aio.Channel, context: CallContext) -> None:
        self._stub = FrameGenServiceStub(channel)
        self._context = context

    async def plan(self, render: Render, index: int) -> FramePlan | None:
        """What would make the frame of scene `index`; None from a service that cannot tell."""
        left = self._context.timeout()
        with client_span(f"{_FRAME_GEN}/PlanFrame") as trace:
            try:
                message = await self._stub.PlanFrame(
                    plan_frame_request(render, index),
                    metadata=self._context.metadata(trace),
                    timeout=PLAN_TIMEOUT if left is None else min(left, PLAN_TIMEOUT),
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return None
                raise _of_scene(_failed(error, "frame_gen"), index) from error
        return frame_plan(message)

    async def generate(self, render: Render, index: int) -> AsyncGenerator[FrameEvent, None]:
        """Makes the frame of scene `index`. GatorError if the call fails."""
        with client_span(f"{_FRAME_GEN}/GenerateFrame") as trace:
            call = self._stub.GenerateFrame(
                generate_frame_request(render, index),
                metadata=self._context.metadata(trace),
                timeout=self._context.timeout(),
            )
            try:
                async for message in call:
                    yield frame_event(message, index)
            except grpc.aio.AioRpcError as error:
                raise _of_scene(_failed(error, "frame_gen"), index) from error
            finally:
                call.cancel()


_BROKEN_OFF = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
"""Codes with which a call ends whose server died or ended in it."""


def _failed(error: grpc.aio.AioRpcError, downstream: str) -> GatorError:
    """The error of a call that this gateway did not cancel."""
    failure = from_rpc_error(error, downstream)
    told_by_service = "service" in failure.metadata
    if error.code() in _BROKEN_OFF and not told_by_service:
        return GatorError(Reason.DOWNSTREAM_UNAVAILABLE, failure.message, metadata=failure.metadata)
    return failure


def _of_scene(error: GatorError, index: int) -> GatorError:
    """A scene's error, with fields as they are named in the request of the render."""
    if not error.violations:
        return error
    return invalid(
        *(FieldViolation(f"scenes[{index}].{v.field}", v.description) for v in error.violations)
    )


class Compositor:
    """The compositor, for one render."""

    def __init__(self, channel: grpc.aio.Channel, context: CallContext) -> None:
        self._stub = CompositorServiceStub(channel)
        self._context = context

    async def compose(
        self, render: Render, frames: AsyncGenerator[SpooledFrame, None]
    ) -> AsyncGenerator[ComposeEvent, None]:
        """Makes the video, closing each frame once it is sent. GatorError if the call fails."""
        with client_span(f"{_COMPOSITOR}/Compose") as trace:
            call = self._stub.Compose(  # type: ignore[call-arg]  # requests are written below
                metadata=self._context.metadata(trace), timeout=self._context.timeout()
            )
            sending = asyncio.create_task(_send(call, render, frames), name="compose input")
            # The compositor would wait for a frame that cannot be sent.
            sending.add_done_callback(lambda task: call.cancel() if _failure(task) else None)
            try:
                async for message in call:
                    yield compose_event(message)
                await sending
            except grpc.aio.AioRpcError as error:
                raise _not_the_clients(_failed(error, "compositor")) from error
            except asyncio.CancelledError:
                if sending.done() and (failure := _failure(sending)):
                    raise failure from None
                raise
            finally:
                sending.cancel()
                call.cancel()
                await asyncio.wait([sending])


def _not_the_clients(error: GatorError) -> GatorError:
    """What the compositor refuses, the gateway made: no client can mend it."""
    if error.code is not Code.INVALID_ARGUMENT:
        return error
    return GatorError(
        Reason.INTERNAL,
        f"the compositor refused what the gateway sent: {error.message}",
        metadata={**error.metadata, "downstream": "compositor"},
    )


def _failure(task: asyncio.Task[None]) -> BaseException | None:
    """What a finished task raised; None if it was cancelled."""
    return None if task.cancelled() else task.exception()


_ComposeCall = grpc.aio.StreamStreamCall[
    compositor_pb.ComposeRequest, compositor_pb.ComposeResponse
]


async def _send(
    call: _ComposeCall, render: Render, frames: AsyncGenerator[SpooledFrame, None]
) -> None:
    try:
        await call.write(compose_specification(render))
        index = 0
        async with aclosing(frames):
            async for frame in frames:
                await call.write(compose_scene(index, frame.header))
                async with aclosing(frame.chunks()) as chunks:
                    async for chunk in chunks:
                        await call.write(compose_chunk(chunk))
                frame.close()
                index += 1
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The call has ended; whoever reads its responses gets the status.
        return


async def frame_gen_capabilities(
    channel: grpc.aio.Channel,
) -> frame_gen_pb.GetCapabilitiesResponse:
    """What the frame generation service can do. GatorError if it cannot be asked."""
    request = frame_gen_pb.GetCapabilitiesRequest()
    with client_span(f"{_FRAME_GEN}/GetCapabilities") as trace:
        try:
            return await FrameGenServiceStub(channel).GetCapabilities(
                request, metadata=trace, timeout=CAPABILITIES_TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "frame_gen") from error


async def compositor_capabilities(
    channel: grpc.aio.Channel,
) -> compositor_pb.GetCapabilitiesResponse:
    """What the compositor can do. GatorError if it cannot be asked."""
    request = compositor_pb.GetCapabilitiesRequest()
    with client_span(f"{_COMPOSITOR}/GetCapabilities") as trace:
        try:
            return await CompositorServiceStub(channel).GetCapabilities(
                request, metadata=trace, timeout=CAPABILITIES_TIMEOUT
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, "compositor") from error
