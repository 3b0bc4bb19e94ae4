"""Around every call of a server: its caller, logs, its span, errors to statuses, bounded writes.

A stream handler becomes a coroutine that writes what the servicer's generator
yields. So a call that is cancelled while it writes closes the generator at
once, and the servicer's `finally` blocks run, instead of when the garbage
collector finds them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import grpc
import structlog

from rpckit.auth import Door, Peer
from rpckit.errors import GatorError, Reason, fault
from rpckit.identity import calling
from rpckit.metrics import RpcCall
from rpckit.status import DETAILS_KEY, grpc_code, to_status
from rpckit.telemetry import RENDER_ID_KEY, logger
from rpckit.tracing import answered, server_span

log = logger(__name__)
_lines = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

LAST_WORD = 2.0
"""Seconds that a call which the server ends has to tell its client so."""


_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not at run time
    """Wraps each call of one service."""

    def __init__(self, service: str, write_timeout: float) -> None:
        """`service` is named in errors; `write_timeout` is in seconds."""
        self._service = service
        self._write_timeout = write_timeout
        self.door = Door()
        """Who is let in."""
        self._running: set[asyncio.Task[Any] | None] = set()
        self._ending = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Returns once no call is running. A server's stop() does not wait for cancelled ones."""
        await self._idle.wait()

    async def end(self, after: float) -> None:
        """Lets calls run for `after` seconds; those that still do then end with SHUTTING_DOWN."""
        try:
            async with asyncio.timeout(after):
                await self.idle()
        except TimeoutError:
            self._ending = True
            for call in self._running:
                if call is not None:
                    call.cancel()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of the call, wrapped; those of health and reflection as they are."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith("/gator."):
            return handler
        if handler.response_streaming:
            wrapped = self._stream(method, handler.unary_stream or handler.stream_stream)
        else:
            wrapped = self._unary(method, handler.unary_unary or handler.stream_unary)
        make: Any = _MAKERS[bool(handler.request_streaming), bool(handler.response_streaming)]
        rewrapped: grpc.RpcMethodHandler[Any, Any] = make(
            wrapped,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return rewrapped

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            async with self._around(method, context):
                return await behaviour(request, context)

        return call

    def _stream(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: Context) -> None:
            async with self._around(method, context) as counted:
                responses = cast("AsyncGenerator[Any]", behaviour(request, context))
                async with aclosing(responses):
                    async for response in responses:
                        await self._write(context, response)
                        counted.wrote()

        return call

    async def _write(self, context: Context, response: Any) -> None:
        try:
            async with asyncio.timeout(self._write_timeout):
                await context.write(response)
        except TimeoutError:
            raise GatorError(
                Reason.DEADLINE_EXCEEDED,
                f"the client left a message unread for {self._write_timeout:g} s; "
                "read the stream faster",
            ) from None

    @asynccontextmanager
    async def _around(self, method: str, context: Context) -> AsyncIterator[RpcCall]:
        rpc = method.removeprefix("/")
        counted = RpcCall(rpc)
        task = asyncio.current_task()
        self._running.add(task)
        self._idle.clear()
        metadata = tuple(context.invocation_metadata() or ())
        told = dict(metadata)
        bound = {"rpc": rpc}
        if render_id := told.get(RENDER_ID_KEY):
            bound["render_id"] = str(render_id)
        with server_span(rpc, told) as span, structlog.contextvars.bound_contextvars(**bound):
            code = "OK"
            try:
                peer = Peer.of(context.auth_context())
                identity = await self.door.admit(method, metadata, peer)
                if identity.name:  # until the end of this task, which is the call's own
                    structlog.contextvars.bind_contextvars(caller=identity.name)
                with calling(identity):
                    yield counted
            except GatorError as error:
                code = error.code.name
                log.info("call failed", reason=error.reason.name, message=error.message)
                await self._abort(context, error)
            except asyncio.CancelledError:
                if not self._ending:
                    code = "CANCELLED"
                    raise
                code = "UNAVAILABLE"
                await self._abort(context, self._shutting_down(), LAST_WORD)
            except grpc.aio.AbortError:
                code = "ABORTED"
                raise
            except NotImplementedError:
                # The generated base class: a method that this service does not have.
                code = "UNIMPLEMENTED"
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such method here")
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status
                code = "INTERNAL"
                await self._abort(context, self._fault(error))
            finally:
                _log_end(code, counted.ended(code))
                answered(span, code)
                self._running.discard(task)
                if not self._running:
                    self._idle.set()

    def _fault(self, error: Exception) -> GatorError:
        """What the caller is told of an unforeseen `error`; its traceback goes to the log."""
        told = fault(self._service)
        log.error("call failed by a fault of the service", exc_info=error, **told.metadata)
        return told

    def _shutting_down(self) -> GatorError:
        return GatorError(
            Reason.SHUTTING_DOWN, f"the {self._service} service shuts down", retry_after=0.1
        )

    async def _abort(
        self, context: Context, error: GatorError, within: float | None = None
    ) -> None:
        status = to_status(error, self._service)
        trailers = ((DETAILS_KEY, status.SerializeToString()),)
        try:
            async with asyncio.timeout(self._write_timeout if within is None else within):
                await context.abort(grpc_code(error.code), status.message, trailers)
        except TimeoutError:
            # The status waits behind a message that the client does not read. A call
            # that ends without one is reset, which waits for nothing.
            raise asyncio.CancelledError from None


def _log_end(code: str, seconds: float) -> None:
    if _lines.isEnabledFor(logging.DEBUG):  # a line that nobody sees takes its time too
        log.debug("call ended", code=code, seconds=round(seconds, 4))
