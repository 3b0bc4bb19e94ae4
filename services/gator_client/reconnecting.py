"""One stream over many calls: when the connection breaks, the call is made again."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

import grpc
import tenacity

from gator_client.errors import RenderError
from gator_client.result import ConnectionLost
from gator_client.status import reason_of, to_error, unreachable

M = TypeVar("M")

OpenCall = Callable[[float | None], "grpc.aio.UnaryStreamCall[Any, M]"]
"""Makes the call again, with that time-out, from where the stream stands."""

STEADY = 5.0
"""Seconds for which a call that brought nothing but its first message must have lasted for
the connection to have been made again."""
SILENT = 45.0
"""The same for a call that brought nothing: longer than gRPC tries to connect."""

_backoff = tenacity.wait_exponential_jitter(multiplier=0.1, max=2.0, jitter=0.1)


class _BrokenError(Exception):
    """The connection broke; `error` says how."""

    def __init__(self, error: RenderError) -> None:
        super().__init__(error.message)
        self.error = error


async def _always(_: grpc.aio.AioRpcError) -> bool:
    return True


class ReconnectingStream(Generic[M]):
    """Reads the messages of a stream, over as many calls as it takes."""

    def __init__(
        self,
        open_call: OpenCall[M],
        target: str,
        *,
        patience: float,
        timeout: float | None,
        may_go_on: Callable[[grpc.aio.AioRpcError], Awaitable[bool]] = _always,
        known: bool = False,
    ) -> None:
        """Prepares the stream; `read` makes the first call.

        Args:
            open_call: makes the call.
            target: the server's address, for errors.
            patience: seconds for which a connection that broke is tried to be made again.
            timeout: seconds for all of the stream; None is no bound.
            may_go_on: whether a call that ended so may be made again at all.
            known: whether the server has been reached before. If not, an error of the first
                call is final.
        """
        self._open_call = open_call
        self._target = target
        self._patience = patience
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._may_go_on = may_go_on
        self._known = known
        self._call: grpc.aio.UnaryStreamCall[Any, M] | None = None
        self._opened = 0.0
        self._answers = 0
        self._broken_since: float | None = None

    async def read(self) -> M | ConnectionLost | None:
        """The next message; None at the end.

        ConnectionLost once when the connection breaks: the next `read` makes it again.
        Raises RenderError when it cannot, and for what the server refuses.
        """
        try:
            if self._broken_since is None:
                return await self._read_once()
            retrying = tenacity.AsyncRetrying(
                retry=tenacity.retry_if_exception_type(_BrokenError),
                stop=lambda _: self._is_out_of_patience(),
                wait=_wait,
                reraise=True,
            )
            return cast("M | None", await retrying(self._read_once))
        except _BrokenError as broken:
            if not self._known or self._is_out_of_patience():
                raise broken.error from broken.error.__cause__
            return ConnectionLost(broken.error.message)

    def close(self) -> None:
        """Ends the call."""
        if self._call is not None:
            self._call.cancel()  # an abandoned call would never end
            self._call = None

    async def _read_once(self) -> M | None:
        if self._call is None:
            self._answers = 0
            self._opened = time.monotonic()
            left = None if self._deadline is None else max(self._deadline - self._opened, 0.0)
            self._call = self._open_call(left)
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._note_break()
            if not is_broken(error):
                raise to_error(error, self._target) from error
            if reason_of(error) or error.code() is grpc.StatusCode.CANCELLED:
                failure = to_error(error, self._target)
            else:
                failure = unreachable(self._target, error.details() or "")
            if not await self._may_go_on(error):
                raise failure from error
            raise _BrokenError(failure) from error
        self._known = True
        self._answers += 1
        if self._answers > 1:
            self._broken_since = None
        if message is grpc.aio.EOF:  # type: ignore[attr-defined]  # the stubs lack it
            return None
        return cast("M", message)

    def _note_break(self) -> None:
        self.close()
        now = time.monotonic()
        was_up = now - self._opened > (STEADY if self._answers else SILENT)
        if self._broken_since is None or was_up:
            self._broken_since = now

    def _is_out_of_patience(self) -> bool:
        since = self._broken_since
        return since is not None and time.monotonic() - since >= self._patience


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.error.retry_after if isinstance(error, _BrokenError) else None
    return max(_backoff(state), asked or 0.0)


def is_broken(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call ended because the server, or the way to it, is away for now."""
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return True
        # A server that goes down, or a proxy before it, resets the streams that it has.
        case grpc.StatusCode.CANCELLED:
            return not reason_of(error)
        # The server's own deadline, not this client's: a reader was slow, a paused player perhaps.
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return bool(reason_of(error))
        case grpc.StatusCode.INTERNAL:
            return not reason_of(error) and "RST_STREAM" in (error.details() or "")
        case _:
            return False
