"""A channel whose credentials change while it is used.

grpcio fixes the credentials of a channel when it is made. So this one is a
channel in front of another, which it replaces when the credentials have changed:
new calls go over the new one once that is connected, and the old one is closed
when its last call has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from rpckit.telemetry import logger

log = logger(__name__)


class _Connection:
    """A channel and how many calls it carries."""

    def __init__(self, channel: grpc.aio.Channel, credentials: grpc.ChannelCredentials) -> None:
        self.channel = channel
        self.credentials = credentials
        self.calls = 0


class ReloadingChannel(grpc.aio.Channel):
    """A secure channel with the credentials that `credentials` returns at each call.

    The replacement is made at the first call after a change, and used when it is
    connected, or when the old one is not: a certificate that servers do not accept
    leaves a connection that stands as it is.
    """

    def __init__(
        self,
        credentials: Callable[[], grpc.ChannelCredentials],
        open_with: Callable[[grpc.ChannelCredentials], grpc.aio.Channel],
    ) -> None:
        """`credentials` returns the same object until they change."""
        self._credentials = credentials
        self._open_with = open_with
        self._current = self._opened(credentials())
        self._next: _Connection | None = None
        self._retired: set[_Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the channel, and cancels what still runs."""
        await self.close(None)

    async def close(self, grace: float | None = None) -> None:
        """Closes the channel, after up to `grace` seconds for running calls."""
        connections = [self._current, *self._retired]
        if self._next is not None:
            connections.append(self._next)
        await asyncio.gather(*(each.channel.close(grace) for each in connections))
        if self._closing:
            await asyncio.wait(self._closing)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel over which a call would go now."""
        return self._connection().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns once the channel that is used now is in another state."""
        await self._current.channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Returns once the channel that is used now is connected."""
        await self._connection().channel.channel_ready()

    # Calls are not typed here: gRPC gives each stub its own types.
    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """As every channel."""
        return self._callable(lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """As every channel."""
        return self._callable(lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """As every channel."""
        return self._callable(lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """As every channel."""
        return self._callable(lambda channel: channel.stream_stream(*args, **kwargs))

    def _callable(self, of: Callable[[grpc.aio.Channel], Any]) -> Callable[..., Any]:
        """A multicallable of whatever channel is in use when it is called."""
        made_for: _Connection | None = None
        made: Any = None

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal made_for, made
            connection = self._connection()
            if connection is not made_for:
                made_for, made = connection, of(connection.channel)
            started = made(*args, **kwargs)
            connection.calls += 1
            started.add_done_callback(lambda _: self._ended(connection))
            return started

        return call

    def _opened(self, credentials: grpc.ChannelCredentials) -> _Connection:
        return _Connection(self._open_with(credentials), credentials)

    def _connection(self) -> _Connection:
        """What a call that starts now goes over."""
        credentials = self._credentials()
        newest = self._next or self._current
        if credentials is not newest.credentials:
            if self._next is not None:  # carried no call yet
                self._close(self._next)
            self._next = self._opened(credentials)
        if self._next is not None and self._takes_over(self._next):
            log.info("calls go over a connection with the new certificate")
            old, self._current, self._next = self._current, self._next, None
            self._retired.add(old)
            self._close_if_idle(old)
        return self._current

    def _takes_over(self, connection: _Connection) -> bool:
        ready = grpc.ChannelConnectivity.READY
        return (
            connection.channel.get_state(try_to_connect=True) is ready
            or self._current.channel.get_state() is not ready
        )

    def _ended(self, connection: _Connection) -> None:
        connection.calls -= 1
        self._close_if_idle(connection)

    def _close_if_idle(self, connection: _Connection) -> None:
        if connection in self._retired and connection.calls == 0:
            self._retired.discard(connection)
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        task = asyncio.get_running_loop().create_task(connection.channel.close(None))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
